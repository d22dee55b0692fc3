"""Performance without labels, estimated from calibrated scores (CBPE) and from the errors of the reference (DLE).

An estimate holds only while P(truth | input) is what it was: it cannot see concept drift, and never pages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.errors import fault
from modelwatch.statistics.accuracy import Z95, Floats

SCORE_BINS = 50
WRONG_BY, WRONG_IN, OF_LAST = 0.05, 2, 4  # hidden when it was 5 points off in 2 of the last 4 mature windows


class Estimate(NamedTuple):
    """An estimated value with its interval: noise of the labels to come, and error of the calibrator."""

    value: float
    low: float
    high: float
    se: float


class BinaryEstimate(NamedTuple):
    """Expected confusion of a binary classifier and what follows from it. What is undefined is None.

    over_time_se : standard error of the accuracy where windows of the same size are compared over time.
    """

    tp: float
    fp: float
    fn: float
    tn: float
    accuracy: Estimate
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None
    roc_auc: Estimate | None
    over_time_se: float


class RegressionEstimate(NamedTuple):
    """Estimated errors of a regression model, in the unit of its target."""

    mae: Estimate
    rmse: float


def score_edges(threshold: float = 0.5, bins: int = SCORE_BINS) -> Floats:
    """Return the inner edges of equal-width bins on 0 to 1, with the decision threshold among them.

    Bins are `[lower, upper)`: the score that equals the threshold is positive, as scikit-learn decides.

    Quantile edges are wrong for scores: mass at 0 and 1 leaves half of the bins.
    """
    inner = np.arange(1, bins) / bins
    return inner if bool(np.isclose(inner, threshold, atol=1e-12).any()) else np.sort(np.append(inner, threshold))


def score_counts(scores: npt.ArrayLike, edges: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> Floats:
    """Count scores in the bins of `score_edges`: shape (len(edges) + 1,). Mergeable: counts add up."""
    at = np.searchsorted(np.asarray(edges), np.asarray(scores, np.float64), "right")
    w = None if weights is None else np.asarray(weights, np.float64)
    return np.bincount(at, w, len(np.asarray(edges)) + 1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Calibrator:
    """The rate of positives per score bin, never falling with the score.

    rates : shape (bins,). samples : reference rows behind each rate, shape (bins,).
    """

    rates: Floats
    samples: Floats

    @classmethod
    def fit(cls, positives: npt.ArrayLike, totals: npt.ArrayLike) -> Calibrator | None:
        """Make the rates of the reference monotone by pooling adjacent violators; empty bins are interpolated.

        Parameters
        ----------
        positives, totals : positives, and all rows, of the labelled reference per score bin, shape (bins,).

        Returns
        -------
        Calibrator, or None when the reference is empty.

        Examples
        --------
        >>> Calibrator.fit([1, 3, 0, 2, 9], [10, 10, 0, 10, 10]).rates.tolist()
        [0.1, 0.25, 0.25, 0.25, 0.9]

        References
        ----------
        Zadrozny, Elkan (2002); Ayer et al. (1955).
        """
        y, n = np.asarray(positives, np.float64), np.asarray(totals, np.float64)
        if y.shape != n.shape or not bool(np.all((y >= 0) & (y <= n))):
            raise ValueError(
                fault(
                    "Calibrator",
                    "positives of totals",
                    (positives, totals),
                    "0 <= positives <= totals",
                    "Count both alike.",
                )
            )
        filled = np.flatnonzero(n > 0)
        if not len(filled):
            return None
        bins = np.arange(len(n))
        rates = np.interp(bins, filled, _pooled(y[filled], n[filled]))
        before = n[filled[np.clip(np.searchsorted(filled, bins, "right") - 1, 0, None)]]
        after = n[filled[np.clip(np.searchsorted(filled, bins, "left"), None, len(filled) - 1)]]
        return cls(rates, np.minimum(before, after))  # an empty bin is known no better than its worse neighbour

    @property
    def error2(self) -> Floats:
        """Variance of each rate."""
        return self.rates * (1 - self.rates) / self.samples


def _pooled(y: Floats, n: Floats) -> Floats:
    """Return the non-decreasing rates closest to y/n, weighted by n."""
    blocks: list[list[float]] = []  # positives, rows, bins
    for positives, rows in zip(y.tolist(), n.tolist(), strict=True):
        blocks.append([positives, rows, 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    return np.repeat([b[0] / b[1] for b in blocks], [int(b[2]) for b in blocks])


def _around(value: float, variance: float, z: float, most: float = 1.0) -> Estimate:
    se = math.sqrt(max(variance, 0.0))
    return Estimate(value, max(value - z * se, 0.0), min(value + z * se, most), se)


def estimate_binary(
    calibrator: Calibrator, negatives: npt.ArrayLike, positives: npt.ArrayLike, z: float = Z95
) -> BinaryEstimate | None:
    """Estimate a binary classifier's performance from counts of its scores.

    Parameters
    ----------
    calibrator : of the reference, on the same bins.
    negatives, positives : predictions of class 0 and of class 1 per score bin, shape (bins,).
    z : half-width of the intervals in standard errors.

    Returns
    -------
    BinaryEstimate, or None without predictions.

    Examples
    --------
    >>> g = Calibrator(np.array([0.1, 0.4, 0.8]), np.array([1e9, 1e9, 1e9]))
    >>> found = estimate_binary(g, [50, 30, 0], [0, 0, 20])
    >>> round(found.accuracy.value, 9), round(found.f1.value, 9), round(found.roc_auc.value, 9)
    (0.79, 0.603773585, 0.814337404)

    References
    ----------
    NannyML documentation, "Confidence-based performance estimation"; DeLong et al. (1988).
    """
    g = calibrator.rates
    n0, n1 = np.asarray(negatives, np.float64), np.asarray(positives, np.float64)
    n = float(n0.sum() + n1.sum())
    if not n:
        return None
    tp, fn = float((n1 * g).sum()), float((n0 * g).sum())
    fp, tn = float((n1 * (1 - g)).sum()), float((n0 * (1 - g)).sum())

    def estimate(value: float, by_tp: float, by_fn: float) -> Estimate:
        """Give the interval by the delta method, from the derivatives by the positives among n1 and among n0."""
        labels = float(((n1 * by_tp**2 + n0 * by_fn**2) * g * (1 - g)).sum())
        return _around(value, labels + float(((n1 * by_tp + n0 * by_fn) ** 2 * calibrator.error2).sum()), z)

    called, real = tp + fp, tp + fn
    accuracy = estimate((tp + tn) / n, 1 / n, -1 / n)
    precision = recall = f1 = None
    if called:
        precision = estimate(tp / called, 1 / called, 0.0)
    if real:
        recall = estimate(tp / real, fn / real**2, -tp / real**2)
    if called + real:
        both = called + real
        f1 = estimate(2 * tp / both, 2 / both - 2 * tp / both**2, -2 * tp / both**2)
    a = accuracy.value
    over_time = math.sqrt(max(a * (1 - a), 0.0) / n)
    return BinaryEstimate(tp, fp, fn, tn, accuracy, precision, recall, f1, _roc_auc(calibrator, n0 + n1, z), over_time)


def _roc_auc(calibrator: Calibrator, n: Floats, z: float) -> Estimate | None:
    """Estimate the area under the ROC curve, bins ordered by their rate, equal rates tied."""
    rates, group = np.unique(calibrator.rates, return_inverse=True)
    count = np.bincount(group, n, len(rates))
    p, q = count * rates, count * (1 - rates)
    positive, negative = float(p.sum()), float(q.sum())
    if not positive or not negative:
        return None
    v10 = (np.cumsum(q) - q / 2) / negative  # share of negatives that a positive of the bin is above
    v01 = (np.cumsum(p[::-1])[::-1] - p / 2) / positive
    area = float((q * v01).sum()) / negative
    labels = float((p * (v10 - area) ** 2).sum()) / positive**2 + float((q * (v01 - area) ** 2).sum()) / negative**2
    by_rate = n * ((v10[group] - area) / positive - (v01[group] - area) / negative)
    return _around(area, labels + float((by_rate**2 * calibrator.error2).sum()), z)


def estimate_accuracy(
    calibrators: Sequence[Calibrator | None], counts: npt.ArrayLike, z: float = Z95
) -> Estimate | None:
    """Estimate the accuracy of a classifier of any number of classes, from the confidence of what it predicts.

    Parameters
    ----------
    calibrators : one for each predicted class, fitted on "right or not" over bins of its confidence.
    counts : predictions by predicted class and bin, shape (classes, bins).

    Returns
    -------
    Estimate, or None without predictions, or where a class is predicted that the reference never had.
    """
    cells = np.asarray(counts, np.float64)
    n = float(cells.sum())
    if not n:
        return None
    right = variance = 0.0
    for calibrator, row in zip(calibrators, cells, strict=True):
        if not row.any():
            continue
        if calibrator is None:
            return None
        g = calibrator.rates
        right += float((row * g).sum())
        variance += float((row * g * (1 - g)).sum() + (row**2 * calibrator.error2).sum())
    return _around(right / n, variance / n**2, z)


def estimate_regression(
    counts: npt.ArrayLike, reference: npt.ArrayLike, absolute: npt.ArrayLike, square: npt.ArrayLike, z: float = Z95
) -> RegressionEstimate | None:
    """Estimate MAE and RMSE from the errors that the reference had in each bin of the prediction.

    It sees that predictions move to where the model is worse; it is blind to shifts that the prediction does not carry.

    Parameters
    ----------
    counts : predictions per bin, shape (bins,): 20 quantile bins of the reference's predictions.
    reference, absolute, square : labels of the reference per bin, and their Σ|e| and Σe². Mergeable.

    Returns
    -------
    RegressionEstimate, or None without predictions, or where they are in bins that the reference never had.

    References
    ----------
    NannyML documentation, "Direct loss estimation".
    """
    c, r = np.asarray(counts, np.float64), np.asarray(reference, np.float64)
    n = float(c.sum())
    if not n or bool(((c > 0) & (r == 0)).any()):
        return None
    used = r > 0
    share, rows = c[used] / n, r[used]
    mean, mean2 = np.asarray(absolute, np.float64)[used] / rows, np.asarray(square, np.float64)[used] / rows
    spread = np.maximum(mean2 - mean**2, 0.0)
    variance = float((share * spread).sum()) / n + float((share**2 * spread / rows).sum())
    mae = _around(float((share * mean).sum()), variance, z, most=math.inf)
    return RegressionEstimate(mae, math.sqrt(float((share * mean2).sum())))


def estimate_is_low(
    estimate: Estimate, target: float | None = None, reference: float | None = None, se: float | None = None
) -> bool:
    """Tell whether an estimate is reason for a warning: its upper bound is below the target, or the reference - 3 se.

    Parameters
    ----------
    se : of windows compared over time (`BinaryEstimate.over_time_se`); by default the estimate's own.
    """
    by_reference = reference is not None and estimate.high < reference - 3 * (estimate.se if se is None else se)
    return by_reference or (target is not None and estimate.high < target)


def estimate_misleads(estimated: Sequence[float], realised: Sequence[float]) -> bool:
    """Tell whether to hide the estimate: it was off by more than 5 points in 2 of the last 4 mature windows.

    Parameters
    ----------
    estimated, realised : of the same mature windows, in order of time.

    Examples
    --------
    >>> estimate_misleads([0.91, 0.90, 0.92, 0.90], [0.90, 0.84, 0.91, 0.80])
    True
    """
    pairs = list(zip(estimated, realised, strict=True))[-OF_LAST:]
    return sum(round(abs(guess - real), 12) > WRONG_BY for guess, real in pairs) >= WRONG_IN
