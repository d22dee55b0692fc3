"""Accuracy, F1 and ROC AUC of a classifier of two classes: to be expected without labels, and as labels show them.

A view over the predictions that are sampled for review. Like every estimate it cannot see concept drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelwatch.qualityrows import Floats, LabelledRows
from modelwatch.reference import Calibration, Reference
from modelwatch.statistics import Z95, Calibrator, Estimate, estimate_binary, wilson
from modelwatch.statistics.estimates import SCORE_BINS, score_edges

FEWEST, FEWEST_LABELS = 100, 30
FIGURES = ("accuracy", "f1", "roc_auc")


def binary(rows: LabelledRows, classes: Sequence[str], reference: Reference | None) -> dict[str, Any] | None:
    """Return what to expect of a classifier of two classes, as plain values, beside what its labels show.

    The score of a prediction is its confidence, or 1 - confidence where it is the first class; predictions weigh
    1 / inclusion. Both classes are taken to be equally right at the same confidence, as the profile counts them.

    Returns
    -------
    None for other classifiers, without a profile of labelled training predictions with confidences, or with fewer than
    100 predictions. Else `positive` (the second class), `n`, and for each of `accuracy`, `f1` and `roc_auc` a mapping
    with `value`, `low`, `high` (95 %), or None where it is not defined; `measured` has the same of those that have a
    label, `n` of them, without intervals but that of the accuracy; None below 30.

    References
    ----------
    NannyML documentation, "Confidence-based performance estimation".
    """
    calibration = None if reference is None else reference.calibration
    if len(classes) != 2 or calibration is None:
        return None
    sure, weight = np.asarray(rows.confidence, np.float64), 1 / np.asarray(rows.inclusion, np.float64)
    said = np.array([code_of(value, classes) for value in rows.predictions], np.int64)
    truth = np.array([-1 if value is None else code_of(value, classes) for value in rows.labels], np.int64)
    known = np.isfinite(sure) & (said >= 0)
    sure, weight, said, truth = sure[known].clip(0, 1), weight[known], said[known], truth[known]
    calibrator = _mirrored(calibration)
    if calibrator is None or len(sure) < FEWEST:
        return None
    at = np.searchsorted(score_edges(), sure, "left")  # bins of the profile are (lower, upper]
    at = np.where(said == 1, at, SCORE_BINS - 1 - at)
    told = _as_many(weight)
    n0, n1 = (np.bincount(at[said == one], told[said == one], SCORE_BINS) for one in (0, 1))
    found = estimate_binary(calibrator, n0, n1)
    if found is None:
        return None
    figures = {name: _plain(getattr(found, name)) for name in FIGURES}
    measured = _measured(np.where(said == 1, sure, 1 - sure), weight, said, truth)
    return {"positive": classes[1], "n": len(sure), **figures, "measured": measured}


def code_of(value: object, classes: Sequence[str]) -> int:
    """Return which of two classes a prediction or a label is; -1 for none of them."""
    return classes.index(value) if isinstance(value, str) and value in classes else -1


def _mirrored(calibration: Calibration) -> Calibrator | None:
    """Return the rate of the second class by score: right where it was said, wrong where the first one was."""
    counts, right = np.array(calibration.counts, np.float64), np.array(calibration.right, np.float64)
    return Calibrator.fit(right + (counts - right)[::-1], counts + counts[::-1])


def _as_many(weight: Floats) -> Floats:
    """Return weights that sum to the number of equal ones that would tell as much."""
    return weight * float(weight.sum() / (weight**2).sum())


def _plain(estimate: Estimate | None) -> dict[str, float] | None:
    if estimate is None:
        return None
    return {"value": estimate.value, "low": max(estimate.low, 0.0), "high": min(estimate.high, 1.0)}


def _measured(score: Floats, weight: Floats, said: Any, truth: Any) -> dict[str, Any] | None:
    """Return the figures of those that have a label of the two classes."""
    known = truth >= 0
    if known.sum() < FEWEST_LABELS:
        return None
    score, weight, said, truth = score[known], _as_many(weight[known]), said[known], truth[known]
    n, right = float(weight.sum()), float(weight[said == truth].sum())
    hits, both = (
        float(weight[(said == 1) & (truth == 1)].sum()),
        float(weight[said == 1].sum() + weight[truth == 1].sum()),
    )
    share = wilson(right, n, Z95)
    accuracy = {"value": right / n, "low": share.low if share else None, "high": share.high if share else None}
    return {
        "n": int(known.sum()), "accuracy": accuracy, "f1": {"value": 2 * hits / both} if both else None,
        "roc_auc": _roc_auc(score, weight, truth),
    }  # fmt: skip


def _roc_auc(score: Floats, weight: Floats, truth: Any) -> dict[str, float] | None:
    """Return the weighted share of pairs that are in order; equal scores count half."""
    _, at = np.unique(score, return_inverse=True)
    positives, negatives = (np.bincount(at[truth == one], weight[truth == one], at.max() + 1) for one in (1, 0))
    p, q = float(positives.sum()), float(negatives.sum())
    if not p or not q:
        return None
    above = p - positives.cumsum() + positives / 2
    return {"value": float((negatives * above).sum()) / (p * q)}
