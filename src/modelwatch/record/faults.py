"""Faults of the monitor itself: counted, logged at most once a minute per place, never raised into the host."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque

logger = logging.getLogger("modelwatch")

QUIET_S = 60.0
MOST_PENDING = 10_000


class Faults:
    """Collects faults of any thread until the folding thread counts them."""

    def __init__(self) -> None:
        self.pending: deque[str] = deque(maxlen=MOST_PENDING)  # append is atomic: no lock on the request path
        self._said: dict[str, float] = {}

    def add(self, where: str, error: BaseException | None, *, ours: bool = True) -> None:
        """Count a fault at a place.

        `ours`: a mistake in modelwatch, raised again under pytest so that it cannot hide; a full disk or a locked file is not.
        """
        self.pending.append(where)
        now = time.monotonic()
        if now - self._said.get(where, float("-inf")) >= QUIET_S:
            self._said[where] = now
            logger.warning(
                "modelwatch: internal fault; the service goes on", extra={"where": where, "fault": repr(error)}, exc_info=error
            )
        if ours and error is not None and "PYTEST_CURRENT_TEST" in os.environ and "pytest" in sys.modules:
            raise error

    def drain(self) -> list[str]:
        """Return and forget the places of the faults since the last call."""
        found = []
        while self.pending:
            try:
                found.append(self.pending.popleft())
            except IndexError:  # another thread was faster
                break
        return found
