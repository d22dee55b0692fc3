"""What chance alone does: the constants of a month of looks, the scores without drift, and dependent requests."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.statistics.counts import Cells, Floats, Pair, paired, special

EVALUATIONS = 43_200  # in 30 days: one a minute
FALSE_EVALUATIONS = 0.5  # expected in 30 days without drift, over all series of a model


class Chance(NamedTuple):
    """What chance alone may do, over all looks at all series of a model in 30 days.

    series : drift scores watched in the model.
    evaluations : looks at each of them in 30 days.
    deff : the design effect of the model's requests, as many of which say as much as one that is independent.

    Examples
    --------
    >>> chance = Chance(series=50)
    >>> round(chance.z, 3), round(chance.chi_square_limit(20), 6)
    (2.826, 67.576222)
    """

    series: int = 50
    evaluations: int = EVALUATIONS
    deff: float = 1.0

    @property
    def alpha(self) -> float:
        """Probability of one look at one series to mislead."""
        return FALSE_EVALUATIONS / (self.series * self.evaluations)

    @property
    def z(self) -> float:
        """Factor of sqrt(v) that a KS statistic without drift stays below.

        References
        ----------
        Dvoretzky, Kiefer, Wolfowitz (1956); Massart (1990); Wei & Dudley (2012) for two samples.
        """
        return math.sqrt(math.log(2 / self.alpha) / 2)

    def chi_square_limit(self, cells: int) -> float:
        """Return the chi-square statistic that so many cells stay below without drift.

        Raises
        ------
        MissingExtra   SciPy is not installed.
        """
        return float(special("chi_square_limit").chdtri(cells - 1, self.alpha))


class Noise(NamedTuple):
    """Expected scores without drift; to be subtracted from what is shown, and before PSI and TV are judged."""

    psi: float
    jensen_shannon: float
    hellinger: float
    total_variation: float


def variance(m: float, n: float, deff: float = 1.0) -> float:
    """Return v = deff / n + 1 / m, which every bound below grows with; deff is the design effect of requests."""
    return deff / n + 1 / m


def noise(reference: Cells, current: Cells, deff: float = 1.0) -> Noise | None:
    """Return the scores to be expected without drift; None where a side is empty.

    Examples
    --------
    >>> round(noise([25, 25, 25, 25], [10, 20, 30, 40]).psi, 12)
    0.06
    """
    pair = paired("noise", reference, current)
    return None if pair is None else noise_of(pair, deff)


def noise_of(pair: Pair, deff: float) -> Noise:
    """Return `noise` of counts that are paired already."""
    m, n = pair.totals
    v = variance(m, n, deff)
    free = len(pair.keys) - 1
    t = _pooled(pair, deff)
    tv = float(np.sqrt(2 * t * (1 - t).clip(0) * v / math.pi).sum()) / 2
    return Noise(free * v, free * v / (8 * math.log(2)), math.sqrt(free * v / 8), tv)


def _pooled(pair: Pair, deff: float) -> Floats:
    m, n = pair.totals
    q, s = pair.shares
    pooled: Floats = (s * (n / deff) + q * m) / (n / deff + m)
    return pooled


def effective_chi_square(reference: Cells, current: Cells, deff: float = 1.0) -> float | None:
    """Pearson's statistic for requests that are not independent: that of n / deff requests.

    Equal to `chi_square` where deff is 1. None where a side is empty.
    """
    pair = paired("effective_chi_square", reference, current)
    return None if pair is None else effective_of(pair, deff)


def effective_of(pair: Pair, deff: float) -> float:
    """Return `effective_chi_square` of counts that are paired already."""
    q, s = pair.shares
    t = _pooled(pair, deff)
    there = t > 0
    return float(((s - q)[there] ** 2 / t[there]).sum() / variance(*pair.totals, deff))


def design_effect(minutes: npt.ArrayLike) -> float | None:
    """Return how much less a window says than as many independent requests would: at least 1.

    Parameters
    ----------
    minutes : counts, shape (minutes, bins).

    Returns
    -------
    The design effect of this window; use the median of the last 24 hours. None with fewer than two minutes that have
    traffic, or with fewer than two bins.

    Examples
    --------
    >>> design_effect([[4, 1], [2, 3], [6, 4]])
    1.0

    References
    ----------
    Kish (1965), "Survey Sampling"; Rao & Scott (1981).
    """
    counts = np.asarray(minutes, np.float64)
    raw = _dispersion(counts) if counts.ndim == 2 else None
    return None if raw is None else max(1.0, raw)


def _dispersion(minutes: Floats) -> float | None:
    """Return the squared deviations of the minutes from the window's shares, over those of independent requests."""
    totals = minutes.sum(axis=1)
    minutes = minutes[totals > 0][:, minutes.sum(axis=0) > 0]
    if len(minutes) < 2 or minutes.shape[1] < 2:
        return None
    expected = np.outer(totals[totals > 0], minutes.sum(axis=0) / minutes.sum())
    spread = float(((minutes - expected) ** 2 / expected).sum())
    free = (len(minutes) - 1) * (len(minutes[0]) - 1)
    return spread / free
