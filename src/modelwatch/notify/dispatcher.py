"""Sends what is in the outbox: one thread decides what is due, and one a receiver sends, each at its own pace."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from modelwatch.clock import SteadyClock
from modelwatch.errors import ModelwatchError
from modelwatch.notify.client import Client
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.outboxrows import Claim
from modelwatch.notify.outcome import Delivered, Outcome, Retry, back_off
from modelwatch.notify.senders import Sender

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

LONGEST_TICK_S, SHORTEST_TICK_S = 1.0, 0.05
MARK_AGAIN_S = 0.5
PRUNE_S = 3600.0
QUIET_S = 60.0  # between two log lines about one thing
SHARE = 0.1  # of a processor, at most, that looking may take


class Dispatcher:
    """Sends notices until it is stopped. A receiver that hangs delays no other one.

    Several processes may do so over one store: a notice is sent by one of them.

    Parameters
    ----------
    outbox : what is to be sent.
    senders : of every receiver.
    client : sends requests.
    clock, chance : tests pass their own.
    """

    def __init__(
        self,
        outbox: Outbox,
        senders: Mapping[str, Sender],
        client: Client | None = None,
        clock: SteadyClock | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self.outbox, self.clock = outbox, clock or SteadyClock()
        policy = outbox.policy
        shortest = min(policy.group_wait_s or LONGEST_TICK_S, policy.group_interval_s, policy.settle_s)
        self.tick_s = min(max(shortest / 5, SHORTEST_TICK_S), LONGEST_TICK_S)
        self._stopping, self._look, self._faults = threading.Event(), threading.Event(), _Faults()
        client, chance = client or Client(), chance or random.Random()
        self._receivers = [
            _Receiver(name, sender, outbox, client, self.clock, chance, self.tick_s, self._stopping, self._faults)
            for name, sender in senders.items()
        ]
        self._threads: list[threading.Thread] = []
        self._pruned_at = float("-inf")

    def start(self) -> None:
        """Start the threads; what was refused before is tried once more."""
        self._faults.keep("store", lambda: self.outbox.retry_refused(self.clock.now()))
        works = [("plan", self._plan_for_ever), *((one.name, one.send_for_ever) for one in self._receivers)]
        for name, work in works:
            thread = threading.Thread(target=work, name=f"modelwatch-notify-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self) -> None:
        """Look at once: something has changed."""
        self._look.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything that is due is sent; return whether it is."""
        deadline = time.monotonic() + timeout_s
        while True:
            planned = self._faults.keep("store", lambda: self.outbox.plan(self.clock.now()))
            if planned is not None and self._faults.keep("store", self.outbox.waiting) == 0:
                return True
            self._wake_receivers()
            if time.monotonic() >= deadline or self._stopping.wait(0.02):
                return False

    def stop(self, timeout_s: float = 6.0) -> bool:
        """End the threads; return whether they have ended. What is not sent stays in the outbox."""
        self._stopping.set()
        self._look.set()
        self._wake_receivers()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _wake_receivers(self) -> None:
        for receiver in self._receivers:
            receiver.wake.set()

    def _plan_for_ever(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            if self._faults.keep("store", lambda: self.outbox.plan(self.clock.now())):
                self._wake_receivers()
            if began - self._pruned_at >= PRUNE_S:
                self._faults.keep("store", lambda: self.outbox.prune(self.clock.now()))
                self._pruned_at = began
            took = time.monotonic() - began
            self._look.wait(max(self.tick_s, took / SHARE))
            self._look.clear()


class _Receiver:
    """The thread of one receiver."""

    def __init__(
        self,
        name: str,
        sender: Sender,
        outbox: Outbox,
        client: Client,
        clock: SteadyClock,
        chance: random.Random,
        tick_s: float,
        stopping: threading.Event,
        faults: _Faults,
    ) -> None:
        self.name, self._sender, self._outbox, self._client = name, sender, outbox, client
        self._clock, self._chance, self._tick_s = clock, chance, tick_s
        self._stopping, self._faults, self.wake = stopping, faults, threading.Event()
        self._failures = 0
        self._not_before = float("-inf")  # of the monotonic clock

    def send_for_ever(self) -> None:
        while not self._stopping.is_set():
            wait_s = self._not_before - self._clock.monotonic()
            claim = None
            if wait_s <= 0:
                claim = self._faults.keep("store", lambda: self._outbox.claim(self.name, self._clock.now()))
            if claim is not None:
                self._mark(claim, self._paced(claim, self._send(claim)))
                continue
            self.wake.wait(min(max(wait_s, self._tick_s), LONGEST_TICK_S))
            self.wake.clear()

    def _send(self, claim: Claim) -> Outcome:
        try:
            return self._sender.send(claim.notice, self._client)
        except Exception as error:  # noqa: BLE001 - a mistake of ours in one message must not stop the others
            self._faults.say(self.name, error)
            return Retry(0.0, f"it could not be sent ({type(error).__name__})", maybe_told=True)

    def _paced(self, claim: Claim, outcome: Outcome) -> Outcome:
        """Return an outcome with the time of the next try in it: of this notice, and of the receiver at all."""
        if isinstance(outcome, Delivered):
            self._failures, self._not_before = 0, float("-inf")
        if not isinstance(outcome, Retry):
            return outcome
        self._failures += 1
        pause_s = back_off(self._failures, outcome.after_s, self._chance)
        self._not_before = self._clock.monotonic() + pause_s
        own_s = max(back_off(claim.tries, outcome.after_s, self._chance), pause_s)
        return Retry(own_s, outcome.reason, outcome.maybe_told)

    def _mark(self, claim: Claim, outcome: Outcome) -> None:
        """Keep what became of it, as soon as the store can be used: until then nothing else is sent."""
        while True:
            try:
                self._outbox.mark(claim, outcome, self._clock.now())
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it passes or a person reads of it
                self._faults.say("store", error)
            if self._stopping.wait(MARK_AGAIN_S):
                return


class _Faults:
    """Says what does not work, about one thing at most once a minute."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def keep(self, what: str, work: Callable[[], Answer]) -> Answer | None:
        """Return what `work` returns; None where it fails."""
        try:
            return work()
        except Exception as error:  # noqa: BLE001 - a thread that ends tells nobody anything any more
            self.say(what, error)
        return None

    def say(self, what: str, error: Exception) -> None:
        """Say it, without values that may be secrets."""
        now = time.monotonic()
        if now - self._said.get(what, float("-inf")) >= QUIET_S:
            self._said[what] = now
            words = str(error) if isinstance(error, ModelwatchError) else type(error).__name__
            logger.warning("modelwatch: notices wait", extra={"where": what, "fault": words})
