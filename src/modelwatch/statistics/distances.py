"""How far two distributions are apart: exactly from raw values, and from counts on the same bins or categories.

A function of counts takes bins as sequences and categories as mappings, integers or floats, and returns None where
either side is empty. Shares are compared, so the sizes of the two sides do not matter, except to `chi_square`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.statistics.counts import Cells, Counts, Floats, paired, special, stats

FLOOR = 1e-4  # of shares, in PSI
KEPT_STEPS = 10_000  # of raw values: the cumulative shares of a window so large, or smaller, are kept for the next


# -- raw values --------------------------------------------------------------------------------------------------------


class Sorted:
    """A sample sorted once, for many comparisons; NaN are left out, infinities stay.

    Examples
    --------
    >>> training = Sorted([3, 1, 2, float("nan")])
    >>> len(training), round(ks(training, [2, 3, 4]).statistic, 3)
    (3, 0.333)
    """

    def __init__(self, values: Sequence[float] | npt.NDArray[Any]) -> None:
        ordered: Floats = np.sort(np.asarray(values, np.float64), axis=None)  # NaN come last
        last = len(ordered) - 1
        self.values = ordered[: ordered.searchsorted(np.nan)] if last >= 0 and np.isnan(ordered[last]) else ordered

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class KS:
    """The exact two-sample Kolmogorov-Smirnov statistic.

    Unpacks into (statistic, p_value). The p-value is computed when it is asked for.
    """

    statistic: float
    m: int
    n: int

    @cached_property
    def p_value(self) -> float:
        """Asymptotic two-sided p-value, as `scipy.stats.ks_2samp(method="asymp")`; of one value against one it is 1.

        Raises
        ------
        MissingExtra   SciPy is not installed.
        """
        scipy = stats("ks")
        effective = np.round(self.m * self.n / (self.m + self.n))
        return float(np.clip(scipy.kstwo.sf(self.statistic, effective), 0.0, 1.0)) if effective else 1.0

    def __iter__(self) -> Iterator[float]:
        yield self.statistic
        yield self.p_value


def ks(
    reference: Sorted | Sequence[float] | npt.NDArray[Any], current: Sorted | Sequence[float] | npt.NDArray[Any]
) -> KS | None:
    """Two-sample Kolmogorov-Smirnov test of raw values: the largest gap between their cumulative shares.

    Parameters
    ----------
    reference, current : numbers; NaN are left out. A `Sorted` is not sorted again.

    Returns
    -------
    KS, or None when either side has no number.

    Examples
    --------
    >>> round(ks([1, 2, 3, 4], [3, 4, 5, 6]).statistic, 3)
    0.5
    >>> statistic, p_value = ks(range(100), range(50, 150))

    References
    ----------
    Smirnov (1939), "On the estimation of the discrepancy between empirical curves of distribution".
    """
    one = (reference if isinstance(reference, Sorted) else Sorted(reference)).values
    other = (current if isinstance(current, Sorted) else Sorted(current)).values
    m, n = len(one), len(other)
    if not m or not n:
        return None
    few, many = (other, one) if n <= m else (one, other)
    return KS(_largest_gap(many, few), m, n)


def _largest_gap(many: Floats, few: Floats) -> float:
    """Return max |F - G|: it is reached at a value of the smaller sample, or just below one."""
    m, n = len(many), len(few)
    upto = many.searchsorted(few, "right")
    is_shared = (many[upto - 1] == few).any()
    before = (_kept_steps if n <= KEPT_STEPS else _steps)(n)  # of equal values the last has all steps, the first none
    above = upto / m - before
    below = many.searchsorted(few, "left") / m - before if is_shared else above
    gap = max(float(below.max()), 1 / n - float(above.min()))
    return gap if gap * m * n > 0.5 else 0.0  # a gap is a multiple of 1 / (m n): less is rounding


def _steps(n: int) -> Floats:
    """Return the shares of a sample of n below each of its values."""
    steps: Floats = np.arange(n) / n
    steps.flags.writeable = False
    return steps


_kept_steps = lru_cache(maxsize=4)(_steps)  # windows of one length follow each other


def outside_share(reference: Sorted, current: Sequence[float] | npt.NDArray[Any]) -> float | None:
    """Return the share of current numbers that are below the least or above the greatest reference value."""
    values = Sorted(current).values
    if not len(values) or not len(reference):
        return None
    low, high = reference.values[0], reference.values[-1]
    return float(values.searchsorted(low, "left") + len(values) - values.searchsorted(high, "right")) / len(values)


# -- counts on ordered bins --------------------------------------------------------------------------------------------


def ks_counts(reference: Counts, current: Counts) -> float | None:
    """Kolmogorov-Smirnov statistic of binned values: a lower bound of the exact one, see `ks_bracket`.

    max |F - G| over the bin edges, F and G the cumulative shares.

    Examples
    --------
    >>> round(ks_counts([25, 25, 25, 25], [10, 20, 30, 40]), 12)
    0.2
    """
    pair = paired("ks_counts", reference, current, ordered=True)
    if pair is None:
        return None
    q, s = pair.shares
    return float(np.abs(np.cumsum(q - s)).max())


def ks_bracket(reference: Counts, current: Counts) -> tuple[float, float] | None:
    """Return what the exact statistic of the raw values certainly lies between: (`ks_counts`, the most it can be).

    Examples
    --------
    >>> low, high = ks_bracket([25, 25, 25, 25], [10, 20, 30, 40])
    >>> round(low, 12), round(high, 12)
    (0.2, 0.45)
    """
    pair = paired("ks_bracket", reference, current, ordered=True)
    if pair is None:
        return None
    q, s = pair.shares
    gap = np.cumsum(q - s)
    # within a bin one side may have all of its mass before any of the other: F_b - G_(b-1), G_b - F_(b-1)
    most = max((gap + s).max(), (q - gap).max())
    return float(np.abs(gap).max()), min(float(most), 1.0)


def wasserstein(
    reference: Counts,
    current: Counts,
    means: Sequence[float] | Floats,
    deviation: float | None = None,
    *,
    reference_mean: float | None = None,
    current_mean: float | None = None,
) -> float | None:
    """Wasserstein-1 distance in standard deviations of the reference; where only the tails move it is "at least".

    max(sum_b |F_b - G_b| (means[b + 1] - means[b]), |current_mean - reference_mean|) / deviation

    Parameters
    ----------
    means : mean of the reference inside each bin, not decreasing.
    deviation : standard deviation of the reference (ddof 0); without it that of its bin means.
    reference_mean, current_mean : means of the raw values, where they are known.

    Returns
    -------
    float, >= 0; None where a side is empty or the reference is constant.

    Examples
    --------
    >>> round(wasserstein([25, 25, 25, 25], [10, 20, 30, 40], [5, 15, 25, 35]), 7)
    0.4472136

    References
    ----------
    Vallender (1974), "Calculation of the Wasserstein distance between probability distributions on the line".
    """
    pair = paired("wasserstein", reference, current, ordered=True)
    if pair is None:
        return None
    q, s = pair.shares
    at = np.asarray(means, np.float64)
    if deviation is None:
        deviation = math.sqrt(float(q @ (at - q @ at) ** 2))
    if not deviation:
        return None
    moved = float(np.abs(np.cumsum(q - s))[:-1] @ np.diff(at))
    if reference_mean is not None and current_mean is not None:
        moved = max(moved, abs(current_mean - reference_mean))
    return moved / deviation


# -- counts on bins or categories --------------------------------------------------------------------------------------


def total_variation(reference: Cells, current: Cells) -> float | None:
    """Total variation: the share of the mass that is elsewhere, 0 to 1. Half the sum of |s - q|.

    Examples
    --------
    >>> round(total_variation({"a": 50, "b": 50}, {"a": 30, "b": 30, "new": 40}), 12)
    0.4
    """
    pair = paired("total_variation", reference, current)
    if pair is None:
        return None
    q, s = pair.shares
    return min(float(np.abs(s - q).sum()) / 2, 1.0)


def psi(reference: Cells, current: Cells) -> float | None:
    """Return the population stability index: sum of (s - q) ln(s / q), q and s the shares, floored at 1e-4.

    Returns
    -------
    float, >= 0; None where a side is empty. Without drift it is about (cells - 1) (1/n + 1/m).

    Raises
    ------
    SchemaMismatch   the two sides have different bins.

    Examples
    --------
    >>> round(psi([10, 10], [15, 5]), 3)
    0.275

    References
    ----------
    Jeffreys (1946), "An invariant form for the prior probability"; Siddiqi (2006), "Credit Risk Scorecards".
    """
    pair = paired("psi", reference, current)
    return None if pair is None else float(_psi_terms(*pair.shares).sum())


def _psi_terms(q: Floats, s: Floats) -> Floats:
    q, s = np.maximum(q, FLOOR), np.maximum(s, FLOOR)
    terms: Floats = (s - q) * np.log(s / q)
    return terms


def jensen_shannon(reference: Cells, current: Cells) -> float | None:
    """Jensen-Shannon divergence, base 2, 0 to 1. SciPy and NannyML return its square root, the distance.

    Examples
    --------
    >>> jensen_shannon([1, 0], [0, 1])
    1.0

    References
    ----------
    Lin (1991), "Divergence measures based on the Shannon entropy".
    """
    pair = paired("jensen_shannon", reference, current)
    if pair is None:
        return None
    q, s = pair.shares
    middle = (q + s) / 2
    total = 0.0
    for side in (q, s):
        there = side > 0
        total += float((side[there] * np.log2(side[there] / middle[there])).sum())
    return min(max(total / 2, 0.0), 1.0)


def hellinger(reference: Cells, current: Cells) -> float | None:
    """Hellinger distance, 0 to 1: the root of half the sum of (sqrt s - sqrt q)^2.

    Examples
    --------
    >>> hellinger([1, 0], [0, 1])
    1.0
    """
    pair = paired("hellinger", reference, current)
    if pair is None:
        return None
    q, s = pair.shares
    return min(math.sqrt(float(((np.sqrt(s) - np.sqrt(q)) ** 2).sum()) / 2), 1.0)


@dataclass(frozen=True)
class ChiSquare:
    """Pearson's statistic with its degrees of freedom. Unpacks into (statistic, p_value)."""

    statistic: float
    degrees: int

    @cached_property
    def p_value(self) -> float:
        """Probability of a statistic at least as large without drift; 1 without degrees of freedom.

        Raises
        ------
        MissingExtra   SciPy is not installed.
        """
        scipy = special("chi_square")
        return float(scipy.chdtrc(self.degrees, self.statistic)) if self.degrees else 1.0

    def __iter__(self) -> Iterator[float]:
        yield self.statistic
        yield self.p_value


def chi_square(reference: Cells, current: Cells) -> ChiSquare | None:
    """Pearson's chi-square test of a 2 x B table, without Yates' correction; cells that are empty in both are dropped.

    It takes counts, not shares: the sizes of the two sides are what it judges by.

    Returns
    -------
    ChiSquare, or None when either side is empty.

    Examples
    --------
    >>> found = chi_square([25, 25, 25, 25], [10, 20, 30, 40])
    >>> round(found.statistic, 6), found.degrees, round(found.p_value, 6)
    (10.900211, 3, 0.012278)

    References
    ----------
    Pearson (1900), "On the criterion that a given system of deviations ... is such that it can be reasonably supposed
    to have arisen from random sampling".
    """
    pair = paired("chi_square", reference, current)
    if pair is None:
        return None
    m, n = pair.totals
    q, s = pair.shares
    pooled = (pair.reference + pair.current) / (m + n)
    there = pooled > 0
    statistic = float(((s - q)[there] ** 2 / pooled[there]).sum()) * (m * n / (m + n))
    return ChiSquare(statistic, int(there.sum()) - 1)


# -- which cells -------------------------------------------------------------------------------------------------------


class Contribution(NamedTuple):
    """What one bin or category adds to a distance.

    key : number of the bin, or the category.
    reference, current : its shares.
    moved : current - reference; half the sum of their sizes is the total variation.
    psi : its term of the index.
    """

    key: Hashable
    reference: float
    current: float
    moved: float
    psi: float


def contributions(reference: Cells, current: Cells) -> list[Contribution] | None:
    """Return what each bin or category adds, in their order; None where a side is empty.

    Examples
    --------
    >>> [round(cell.moved, 2) for cell in contributions([25, 25, 25, 25], [10, 20, 30, 40])]
    [-0.15, -0.05, 0.05, 0.15]
    """
    pair = paired("contributions", reference, current)
    if pair is None:
        return None
    q, s = pair.shares
    columns = (q.tolist(), s.tolist(), (s - q).tolist(), _psi_terms(q, s).tolist())
    return [Contribution(*cell) for cell in zip(pair.keys, *columns, strict=True)]


def unseen_share(reference: Cells, current: Cells) -> float | None:
    """Return the share of current mass in bins or categories that the reference has nothing in.

    Examples
    --------
    >>> unseen_share({"a": 50, "b": 50}, {"a": 30, "b": 30, "new": 40})
    0.4
    """
    pair = paired("unseen_share", reference, current)
    if pair is None:
        return None
    return float(pair.current[pair.reference == 0].sum()) / pair.totals[1]


def invalid_share(invalid: float, valid: float) -> float | None:
    """Return the share of values that are in no bin; None when there were none at all.

    Examples
    --------
    >>> invalid_share(30, 70), invalid_share(0, 0)
    (0.3, None)
    """
    return invalid / (invalid + valid) if invalid + valid else None
