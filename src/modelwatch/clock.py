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
    wall, monotonic : functions that return seconds; tests pass their own (`modelwatch.testing.FakeClock`).
    """

    def __init__(self, wall: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wall, self.monotonic = wall, monotonic
        self._offset = wall() - monotonic()
        self._step: tuple[float, float] | None = None  # (when it was first seen, how far)
        self.steps = 0

    def now(self) -> float:
        """Return seconds since the epoch. Threads may call it at once: every assignment is of a whole value."""
        now = self.monotonic()
        offset = self._wall() - now
        difference = offset - self._offset
        if abs(difference) <= SLACK_S:
            self._offset, self._step = offset, None
            return now + offset
        step = self._step
        if step is None or abs(step[1] - difference) > SLACK_S:  # new, or another one: it must last by itself
            self._step = now, difference
        elif now - step[0] >= SETTLE_S:
            self._offset, self._step = offset, None
            self.steps += 1
        return now + self._offset
