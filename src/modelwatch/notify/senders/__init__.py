"""Every kind of receiver: how a notice is put into its words and sent to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr

from modelwatch.configalerting import Receiver
from modelwatch.errors import ConfigError, fault
from modelwatch.notify.alert import Notice
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Outcome
from modelwatch.notify.senders.mail import RELAY, Mail
from modelwatch.notify.senders.other import Other
from modelwatch.notify.senders.pagerduty import EVENTS, PagerDuty
from modelwatch.notify.senders.slack import Slack
from modelwatch.notify.senders.webhook import Webhook


class Sender(Protocol):
    """Sends a notice and tells what became of it. Never raises for what the receiver does."""

    def send(self, notice: Notice, client: Client) -> Outcome:
        """Try once, within the wall time of the client."""
        ...


def sender_of(name: str, receiver: Receiver) -> Sender:
    """Return the sender of a configured receiver.

    Raises
    ------
    MissingExtra   it needs a package that is not installed.
    ConfigError    its target cannot be used.
    """
    options = receiver.options
    if receiver.kind == "pagerduty":
        return PagerDuty(receiver.target, options.get("url", SecretStr(EVENTS)))
    if receiver.kind == "slack":
        return Slack(receiver.target, _shown(options, "channel"))
    if receiver.kind == "webhook":
        return Webhook(receiver.target, options.get("token"))
    if receiver.kind == "email":
        return _mail(name, receiver)
    return Other(receiver.target)


def senders_of(receivers: Mapping[str, Receiver]) -> dict[str, Sender]:
    """Return the senders of all receivers."""
    return {name: sender_of(name, receiver) for name, receiver in receivers.items()}


def _mail(name: str, receiver: Receiver) -> Mail:
    options = receiver.options
    host, _, port = _shown(options, "smarthost", f"localhost:{RELAY}").rpartition(":")
    if not host:
        host, port = port, str(RELAY)
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        where = f"alerting.receivers.{name}.email.smarthost"
        raise ConfigError(fault(where, "port", port[:20], "a number of 1 to 65535", "Write host:port."))
    return Mail(
        receiver.target, _shown(options, "from", "modelwatch@localhost"), host.strip("[]"), int(port),
        options.get("username"), options.get("password"), _shown(options, "tls"),
    )  # fmt: skip


def _shown(options: Mapping[str, SecretStr], name: str, default: str = "") -> str:
    option = options.get(name)
    return option.get_secret_value() if option is not None else default
