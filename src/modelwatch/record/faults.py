"""Faults of the monitor itself: counted, logged at most once a minute per place, never raised into the host."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter, deque

from modelwatch.errors import ModelwatchError

logger = logging.getLogger("modelwatch")

QUIET_S = 60.0
MOST_PENDING = 10_000


class Faults:
    """Collects faults until the folding thread counts and logs them: no request waits for a log handler."""

    def __init__(self) -> None:
        self.pending: deque[str] = deque(maxlen=MOST_PENDING)  # append is atomic: no lock on the request path
        self._said: dict[str, float] = {}  # place -> when it was last logged
        self._unsaid: dict[str, BaseException | None] = {}

    def add(self, where: str, error: BaseException | None, *, ours: bool = True) -> None:
        """Count a fault at a place.

        `ours`: a mistake in modelwatch, raised again under pytest so that it cannot hide; a full disk is none.
        """
        now = time.monotonic()
        if now - self._said.get(where, float("-inf")) >= QUIET_S:
            self._said[where] = now
            self._unsaid[where] = error
        self.pending.append(where)
        if ours and error is not None and "PYTEST_CURRENT_TEST" in os.environ and "pytest" in sys.modules:
            raise error

    def drain(self) -> Counter[str]:
        """Log what is new, and return and forget how often each place failed since the last call."""
        while self._unsaid:
            where, error = self._unsaid.popitem()
            try:
                logger.warning(
                    "modelwatch: internal fault; the service goes on",
                    extra={"where": where, "fault": repr(error)},
                    exc_info=None if isinstance(error, ModelwatchError) else error,  # its line says what is wrong
                )
            except Exception:  # noqa: BLE001 - a log handler of the host's
                self.pending.append("log")
        found: Counter[str] = Counter()
        while self.pending:
            try:
                found[self.pending.popleft()] += 1
            except IndexError:  # another thread was faster
                break
        return found
