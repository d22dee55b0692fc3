"""Tells the dead-man's receiver, all the time, that alerts are evaluated: it raises alarm itself when that stops."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.notify.alert import Alert, Group, notice_of
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Delivered
from modelwatch.notify.senders import Sender, sender_of

logger = logging.getLogger("modelwatch")

EVERY_S = 60.0  # divided by `time_scale`; as often as the generated Alertmanager tells
SHORTEST_S = 1.0
ALERT = "Watchdog"  # as the rule that always fires


class Heartbeat:
    """Sends one notice again and again, in a thread of its own: a receiver that hangs delays no evaluation.

    It is sent only while `is_alive` says so: a process that runs but does not evaluate must be missed, too. What does
    not arrive is not tried again: the next one is due soon.

    Parameters
    ----------
    name, sender : of the receiver.
    is_alive : whether alerts were evaluated lately, by this process.
    every_s : between two.
    """

    def __init__(
        self,
        name: str,
        sender: Sender,
        is_alive: Callable[[], bool],
        *,
        every_s: float = EVERY_S,
        client: Client | None = None,
        clock: SteadyClock | None = None,
    ) -> None:
        self.name, self.every_s = name, max(every_s, SHORTEST_S)
        self._sender, self._is_alive = sender, is_alive
        self._client, self._clock = client or Client(), clock or SteadyClock()
        self._began = self._clock.now()
        self._number = 0
        self._said = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelwatch-heartbeat", daemon=True)

    @classmethod
    def of(cls, config: Config, is_alive: Callable[[], bool], clock: SteadyClock) -> Heartbeat | None:
        """Return what `alerting.deadman` asks for; None where it asks for nothing, or an Alertmanager tells.

        Raises
        ------
        ConfigError, MissingExtra   the receiver cannot be used.
        """
        alerting = config.alerting
        name = alerting.deadman
        if name is None or alerting.alertmanager is not None:
            return None
        sender, client = sender_of(name, alerting.receivers[name]), Client(alerting.private_hosts)
        return cls(name, sender, is_alive, every_s=EVERY_S / config.time_scale, client=client, clock=clock)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; one that is under way is not waited for."""
        self._stop.set()

    def beat(self) -> bool:
        """Send one, if alerts are evaluated. Return whether it arrived; what is in its way is said once."""
        if not self._is_alive():
            return False
        now = self._clock.now()
        self._number += 1
        alert = Alert(
            ALERT, "none", started_at=self._began, summary="Alerts are evaluated",
            description="This comes all the time. Without it nobody watches: see whether `modelwatch serve` runs.",
        )  # fmt: skip
        notice = notice_of(Group(self.name, ALERT, ""), self._number, "firing", now, [alert])
        outcome = self._sender.send(notice, self._client)
        why = "" if isinstance(outcome, Delivered) else outcome.reason
        if why and why != self._said:
            logger.warning("modelwatch: the dead-man's receiver %s does not take the heartbeat: %s", self.name, why)
        self._said = why
        return not why

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.beat()
            except Exception:  # it must go on, or its receiver raises alarm for nothing
                logger.warning("modelwatch: a heartbeat failed; the next one is tried", exc_info=True)
            self._stop.wait(self.every_s)
