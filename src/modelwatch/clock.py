"""Wall time for windows that a step of the system's clock does not bend."""

from __future__ import annotations

import time
from collections.abc import Callable

SETTLE_S = 60.0  # a step must last this long before it is believed
SLACK_S = 1.0  # smaller differences are corrections of the clock, followed at once


class SteadyClock:
    """Wall time that goes on by the monotonic clock and follows the system's only when it has differed for a minute.

    A step back and forth changes nothing; a step that stays is taken once, and counted in `steps`.

    Parameters
    ----------
    wall, monotonic : functions that return seconds; tests pass their own.
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self.monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._differs_since: float | None = None
        self.steps = 0

    def now(self) -> float:
        """Return seconds since the epoch."""
        now = self.monotonic()
        difference = self._wall() - (now + self._offset)
        if abs(difference) <= SLACK_S:
            self._offset += difference
            self._differs_since = None
        elif self._differs_since is None:
            self._differs_since = now
        elif now - self._differs_since >= SETTLE_S:
            self._offset += difference
            self._differs_since = None
            self.steps += 1
        return now + self._offset
