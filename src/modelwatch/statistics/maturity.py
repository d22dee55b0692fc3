"""How late labels come, and so how much of a window of predictions is known by now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modelwatch.statistics.accuracy import Floats, weights_of

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
#: Upper edges of the delay histogram in seconds; the last bin is above the last edge.
DELAY_EDGES = (
    MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR,
    DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY, 30 * DAY,
)  # fmt: skip
MATURE = 0.9  # a window is decided on from this share on
LEAST_DELAYS = 30  # fewer labels do not tell how late they come


@dataclass(frozen=True, eq=False)
class DelayHistogram:
    """Delays from prediction to label, of predictions that are old enough for all their labels to have come.

    counts : float, shape (len(DELAY_EDGES) + 1,): labels by delay, weighted by 1/π. Mergeable: counts add up.
    n : number of labels.
    """

    counts: Floats
    n: int

    @classmethod
    def of(
        cls, predicted_at: npt.ArrayLike, labelled_at: npt.ArrayLike, now: float, inclusion: npt.ArrayLike | None = None
    ) -> DelayHistogram:
        """Count the delays of the predictions older than the largest edge in use.

        Younger predictions show only their quick labels: a histogram of all would call every window mature.

        Parameters
        ----------
        predicted_at, labelled_at : seconds since the epoch, shape (n,).
        now : seconds since the epoch.
        inclusion : π of each; None: all alike.
        """
        predicted = np.asarray(predicted_at, np.float64)
        delays = np.maximum(np.asarray(labelled_at, np.float64) - predicted, 0.0)
        w = weights_of(inclusion, len(delays), "DelayHistogram")
        bins = np.searchsorted(DELAY_EDGES, delays, "left")
        largest = DELAY_EDGES[min(int(bins.max()), len(DELAY_EDGES) - 1)] if len(bins) else 0.0
        old = now - predicted >= largest
        counts = np.bincount(bins[old], w[old], len(DELAY_EDGES) + 1)
        return cls(counts.astype(np.float64), int(old.sum()))

    def __add__(self, other: DelayHistogram) -> DelayHistogram:
        """Return the delays of both together."""
        return DelayHistogram(self.counts + other.counts, self.n + other.n)

    def share_by(self, age_s: float) -> float | None:
        """Return the share of labels that have come `age_s` after their prediction, at least; None below 30 labels.

        Read at the largest edge that is not above the age: between two edges it is a lower bound.
        """
        if self.n < LEAST_DELAYS:
            return None
        edges_passed = int(np.searchsorted(DELAY_EDGES, age_s, "right"))
        return float(self.counts[:edges_passed].sum() / self.counts.sum())

    def maturity(self, youngest_s: float, oldest_s: float) -> float | None:
        """Return the share of the labels of a window that have come: the mean over its ages, traffic taken as even.

        Parameters
        ----------
        youngest_s, oldest_s : age of the last and of the first prediction of the window, in seconds.

        Returns
        -------
        float of 0 to 1, a lower bound; None when there are too few labels to tell how late they come.

        Examples
        --------
        >>> delays = DelayHistogram.of([0.0] * 100, [30.0] * 60 + [7200.0] * 40, now=1e6)
        >>> delays.maturity(0, 4 * HOUR), delays.maturity(3 * HOUR, 4 * HOUR)
        (0.6975, 1.0)
        """
        if self.n < LEAST_DELAYS:
            return None
        if oldest_s <= youngest_s:
            return self.share_by(youngest_s)
        cuts = np.clip(np.array((0.0, *DELAY_EDGES, np.inf)), youngest_s, oldest_s)
        come = np.concatenate(([0.0], np.cumsum(self.counts)[:-1])) / self.counts.sum()
        return float((np.diff(cuts) * come).sum() / (oldest_s - youngest_s))
