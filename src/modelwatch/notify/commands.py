"""What `modelwatch alerts test`, `acknowledge`, `silence` and `unsilence` do."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from modelwatch.catalogue import ALERTS
from modelwatch.config import Config, load_config
from modelwatch.configfields import did_you_mean, seconds
from modelwatch.errors import ConfigError, ModelwatchError, fault
from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert, Group, notice_of
from modelwatch.notify.client import Client
from modelwatch.notify.grouping import Policy, Silence
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.outcome import Delivered
from modelwatch.notify.senders import sender_of


def send_test(config: Path, name: str) -> None:
    """Send one notice to a receiver, and its end where it would stay open: as a page at PagerDuty.

    Raises
    ------
    ConfigError       there is no such receiver, or it cannot be used.
    ModelwatchError   it did not take the notice; the message says why.
    """
    found = load_config(config)
    receiver = found.alerting.receivers.get(name)
    if receiver is None:
        remedy = did_you_mean(name, found.alerting.receivers, "receiver")
        raise ConfigError(fault("alerting.receivers", "receiver", name, "the name of a receiver", remedy))
    client, sender, now = Client(found.alerting.private_hosts), sender_of(name, receiver), time.time()
    alert = Alert(
        "Test", "info", labels={"service": found.service.name}, started_at=now,
        summary=f"modelwatch of {found.service.name} can reach {name}",
        description="Somebody asked for this with `modelwatch alerts test`. There is nothing to do.",
    )  # fmt: skip
    group = Group(name, "Test", found.service.name)
    notices = [notice_of(group, 1, "test", now, [alert])]
    if receiver.kind == "pagerduty":
        notices.append(notice_of(group, 2, "resolved", now, (), [alert.ended(now)]))
    for notice in notices:
        outcome = sender.send(notice, client)
        if not isinstance(outcome, Delivered):
            where = f"alerting.receivers.{name}"
            raise ModelwatchError(
                fault(where, "answer", outcome.reason, "a message that is taken", "See its address and key.")
            )


def acknowledge(config: Path, alert: str, model: str, by: str | None) -> int:
    """Acknowledge what fires of a name and model; return how many alerts there are.

    Raises
    ------
    ConfigError   there is no alert of this name.
    """
    _must_be_known(alert, "alerts acknowledge")
    return _outbox(load_config(config, secrets=False)).acknowledge(alert, model, by or _me(), time.time())


def silence(config: Path, matches: Iterable[str], lasts: str, by: str | None, note: str) -> Silence:
    """Silence what matches "name=value" for a while.

    Raises
    ------
    ConfigError   a matcher or the duration cannot be read, or there is no alert of the name.
    """
    values: dict[str, str] = {}
    for given in matches:
        name, equals, value = given.partition("=")
        if not equals or not name:
            expected = "name=value such as alertname=HighErrorRate or model=sentiment"
            raise ConfigError(fault("alerts silence", "matcher", given, expected, "Write both."))
        values[name] = value
    if "alertname" in values:
        _must_be_known(values["alertname"], "alerts silence")
    return silenced(lambda: _outbox(load_config(config, secrets=False)), values, lasts, by or _me(), note, time.time())


def _must_be_known(alert: str, where: str) -> None:
    if alert not in ALERTS:
        raise ConfigError(fault(where, "alert", alert, "the name of an alert", did_you_mean(alert, ALERTS, "alert")))


def silenced(
    outbox: Callable[[], Outbox], values: Mapping[str, str], lasts: str, by: str, note: str, now: float
) -> Silence:
    """Keep a silence from now on, of what has all these values; the outbox is asked for when it can be.

    Raises
    ------
    ConfigError   there is no matcher, or the duration cannot be read.
    """
    duration = seconds(lasts)
    if not values or not duration:
        given = lasts if values else "none"
        expected = "a duration such as 2h" if values else "at least one name=value"
        what = "duration" if values else "matcher"
        remedy = (
            "Write --for 2h; units are s, m, h, d, w." if values else "Write alertname=HighErrorRate, or model=NAME."
        )
        raise ConfigError(fault("alerts silence", what, given, expected, remedy))
    return outbox().silence(values, by, note, now, now + duration)


def end_silence(config: Path, name: str, by: str | None) -> None:
    """End a silence.

    Raises
    ------
    ConfigError   there is none of this id.
    """
    outbox = _outbox(load_config(config, secrets=False))
    if not outbox.end_silence(name, by or _me(), time.time()):
        known = ", ".join(one.id for one in outbox.silences(time.time())) or "none"
        raise ConfigError(fault("alerts unsilence", "silence", name, f"one of those that hold: {known}", "Name one."))


def _outbox(config: Config) -> Outbox:
    return outbox_of(config, Database(store_url(config, config.live)))


def outbox_of(config: Config, database: Database) -> Outbox:
    """Return what is known of the alerts of a configuration."""
    return Outbox(database, Policy.of(config))


def store_url(config: Config, live: Path) -> str:
    """Return the address of the store; without one in the configuration, a file beside `live.db`."""
    return config.store or f"sqlite:///{live.absolute().parent / 'modelwatch.db'}"


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
