"""Has the error rate risen above what it was? The Shiryaev-Roberts e-detector, on blocks of labels as they arrive."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from modelwatch.errors import fault
from modelwatch.statistics.accuracy import Z99, Floats, wilson

ODDS = (1.25, 1.5, 2.0, 3.0, 5.0, 9.0, 20.0)  # the alternatives, as multiples of the odds of the null
LIMIT = 100_000.0  # with blocks of 5 minutes: about a year between false alarms
CAP = 60 * math.log(10)
LEAST_BASELINE = 1000  # labels


def error_null(errors: int, n: int, margin: float = 0.0) -> float | None:
    """Return the null "error rate <= p0" of a baseline: its upper Wilson bound at z = 2.576, and a margin.

    Parameters
    ----------
    errors, n : of the labelled reference.
    margin : of the error rate, 0 to 1, that is no matter.

    Returns
    -------
    float above 0 and below 1, or None with fewer than 1 000 labels, or where nothing can be worse.
    """
    if n < LEAST_BASELINE:
        return None
    bound = wilson(errors, n, Z99)
    assert bound is not None
    p0 = bound.high + margin
    return p0 if p0 < 1 else None


class ErrorDetector:
    """Tells a rise of the error rate above `p0` from counts of blocks, with a bound on false alarms.

    For every true error rate <= p0 and any block sizes, the expected number of blocks with labels before a false alarm
    is at least `limit`. Blocks are by arrival of the labels, each label once. Labels of a non-uniform sample are not
    allowed here. For "better than before", give the counts of right labels and the null of those.

    Parameters
    ----------
    p0 : error rate of the null, above 0 and below 1: `error_null`, or 1 - target.
    limit : wanted time between false alarms in blocks.

    Examples
    --------
    >>> detector = ErrorDetector(0.15)
    >>> for errors, n in [(2, 10), (5, 10), (8, 10)]:
    ...     detector.block(errors, n)
    >>> round(detector.evidence(), 2), detector.alarm()
    (103775.86, True)

    References
    ----------
    Roberts (1966); Pollak (1985); Shin, Ramdas, Rinaldo (2024), "E-detectors".
    """

    def __init__(self, p0: float, limit: float = LIMIT) -> None:
        if not 0 < p0 < 1:
            raise ValueError(
                fault(
                    "ErrorDetector",
                    "p0",
                    p0,
                    "a rate above 0 and below 1",
                    "Give 1 - target, or error_null of a baseline.",
                )
            )
        self.p0, self.limit = p0, limit
        odds = p0 / (1 - p0) * np.array(ODDS)
        self.alternatives: Floats = odds / (1 + odds)
        self._error = np.log(self.alternatives / p0)
        self._right = np.log((1 - self.alternatives) / (1 - p0))
        self.state: tuple[float, ...] = (-math.inf,) * len(ODDS)  # logarithms of M; may be stored and set

    def block(self, errors: int, n: int) -> None:
        """Take in one block; an empty one changes nothing.

        Raises
        ------
        ValueError   more errors than labels, or fewer than none.
        """
        if not 0 <= errors <= n:
            raise ValueError(
                fault("ErrorDetector", "block", (errors, n), "0 <= errors <= n", "Give the counts of one block.")
            )
        if n:
            grown = np.logaddexp(np.array(self.state), 0.0) + errors * self._error + (n - errors) * self._right
            self.state = tuple(np.minimum(grown, CAP).tolist())

    def blocks(self, counts: Iterable[tuple[int, int]]) -> int | None:
        """Take in (errors, n) blocks until the first alarm; return its place, None without one."""
        for at, (errors, n) in enumerate(counts):
            self.block(errors, n)
            if self.alarm():
                return at
        return None

    def evidence(self) -> float:
        """Return the mean of M: an alarm from `limit` on."""
        return float(np.exp(np.array(self.state)).mean())

    def alarm(self) -> bool:
        """Tell whether the evidence has reached the limit."""
        return self.evidence() >= self.limit
