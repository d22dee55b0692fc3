"""The accuracy to be expected without a label: from how sure the model is, and how right it was in training then.

A view. It is right only as long as the same confidence means the same: it cannot see concept drift.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from modelwatch import names
from modelwatch.reference import Reference
from modelwatch.schema import FINE_CONFIDENCE_EDGES
from modelwatch.signals import Counts
from modelwatch.statistics import Calibrator, estimate_accuracy

FEWEST = 100  # predictions
HOPE = "labels will confirm it; it cannot see that the meaning of the data has changed"


def estimated(counts: Counts | None) -> dict[str, Any] | None:
    """Return the accuracy to be expected of the predictions of a window, as plain values.

    None for a regression, without a profile of labelled training predictions with confidences, or with fewer than 100
    predictions. `low` and `high` are the 95 % interval; `training` is the accuracy in training.

    References
    ----------
    NannyML documentation, "Confidence-based performance estimation".
    """
    reference = None if counts is None else counts.reference
    calibration = None if reference is None else reference.calibration
    if counts is None or calibration is None or counts.schema.classes is None:
        return None
    calibrator = Calibrator.fit(calibration.right, calibration.counts)
    sure = _by_bin(counts)
    if calibrator is None or sure is None or sure.sum() < FEWEST:
        return None
    found = estimate_accuracy([calibrator], [sure])
    if found is None:
        return None
    return {
        "value": found.value, "low": found.low, "high": found.high, "n": int(sure.sum()),
        "training": _training(reference), "words": HOPE,
    }  # fmt: skip


def _training(reference: Reference | None) -> float | None:
    return None if reference is None or not reference.labelled else reference.right / reference.labelled


def _by_bin(counts: Counts) -> np.ndarray[Any, np.dtype[np.int64]] | None:
    """Return the predictions by the 50 equal bins of their confidence; what is outside 0 to 1 is in the outer ones."""
    table = counts.table(names.CONFIDENCE)
    if table is None or not table.rows:
        return None
    kept = counts.schema.confidence
    upto = table.counts[0].cumsum()
    at = np.array([upto[kept.index(edge)] for edge in FINE_CONFIDENCE_EDGES[1:-1]] + [upto[-1]])
    return np.diff(at, prepend=0)
