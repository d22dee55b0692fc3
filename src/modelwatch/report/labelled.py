"""The quality of a log's labelled predictions, from counts, as the view that the pages show."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.batch.analysis import Analysis
from modelwatch.batch.outcomes import CALIBRATION, CONFUSION, ERRORS
from modelwatch.quality import (
    MINIMUM,
    MOST_CLASSES,
    Accuracy,
    Calibration,
    Confusion,
    Missing,
    Segment,
    View,
    plain,
)
from modelwatch.schema import FINE_CONFIDENCE_EDGES
from modelwatch.signals import Counts
from modelwatch.signals.quality import label_sums
from modelwatch.statistics import (
    CalibrationSums,
    RegressionQuality,
    RegressionSums,
    classification,
    shrinkage,
    shrunk,
    wilson,
)
from modelwatch.statistics.calibration import BINS
from modelwatch.tally import Tally


def quality_of(found: Analysis, counts: Counts) -> dict[str, Any]:
    """Return what the labels of a log say, as plain values.

    Returns
    -------
    `labels` : how many are in use. `states` : what became of all labels that came. `objective`, `segment` : of the
    configuration. `reference` : accuracy of the labelled training data. `view` : a `quality.View` over all labels.
    """
    tally, model = found.total, found.model
    regression = model.task == "regression"
    view = _of_values(tally) if regression else _of_classes(found, counts)
    states = tally.tables[names.LABEL_STATES.name]
    reference = found.reference
    share = wilson(reference.right, reference.labelled) if reference and reference.labelled else None
    return {
        "labels": view.n,
        "states": {labels[0]: n for labels, row in states.rows.items() if (n := int(states.counts[row, 0]))},
        "objective": model.slos.accuracy.objective if model.slos.accuracy else None,
        "segment": model.segment,
        "reference": None if share is None else share._asdict() | {"n": reference.labelled if reference else 0},
        "view": plain(view),
    }  # fmt: skip


def _too_few(n: int, what: str = "labels") -> Missing | None:
    return Missing(n, MINIMUM, what) if n < MINIMUM else None


# -- classes -----------------------------------------------------------------------------------------------------------


def _of_classes(found: Analysis, counts: Counts) -> View:
    table = found.total.tables[CONFUSION.name]
    sums = label_sums(counts)
    n, right = sums.n, round(sums.wo)
    lacks, share = _too_few(n), wilson(right, n)
    if lacks is not None or share is None:
        return View("the log", "labels", "too_few", n, found.began, found.ended, missing=lacks or Missing(0, MINIMUM))
    known = dict.fromkeys(name for labels in table.rows for name in labels)
    classes = tuple(dict.fromkeys([*(name for name in found.schema.classes or () if name in known), *sorted(known)]))
    at = {name: i for i, name in enumerate(classes)}
    cells = np.zeros((len(classes), len(classes)), np.int64)
    for (true, predicted), row in table.rows.items():
        cells[at[true], at[predicted]] += table.counts[row, 0]
    confusion = Confusion(classes, tuple(map(tuple, cells.tolist())), classification(classes, cells))
    accuracy = Accuracy(*share, right, n, float(n), "wilson")
    calibration, unknown = _calibration(found.total)
    return View(
        "the log", "labels", "decided", n, found.began, found.ended,
        accuracy=accuracy, segments=_segments(found.total, accuracy),
        confusion=confusion if len(classes) <= MOST_CLASSES else None,
        calibration=calibration, calibration_missing=unknown,
    )  # fmt: skip


def _segments(tally: Tally, overall: Accuracy) -> tuple[Segment, ...]:
    table = tally.tables[names.LABELS.name]
    each: dict[str, list[int]] = {}
    for (segment, outcome), row in table.rows.items():
        cell = each.setdefault(segment, [0, 0])
        n = int(table.counts[row, 0])
        cell[0] += n if outcome == names.CORRECT else 0
        cell[1] += n
    each = {name: cell for name, cell in each.items() if cell[1] and name != names.UNSEGMENTED}
    kappa = shrinkage([k for k, _ in each.values()], [n for _, n in each.values()])
    segments = []
    for name, (right, n) in each.items():
        share, lacks = wilson(right, n), _too_few(n)
        accuracy = Accuracy(*share, right, n, float(n), "wilson") if share is not None and lacks is None else None
        drawn = None if kappa is None else shrunk(right, n, overall.value, kappa)
        segments.append(Segment(name, n, right, accuracy, drawn, None, lacks))
    return tuple(segments)


def _calibration(tally: Tally) -> tuple[Calibration | None, Missing | None]:
    """Return the curve on ten bins; the confidences of each of the 50 kept bins are taken as its centre."""
    right, wrong = (_by_confidence(tally, outcome) for outcome in (names.CORRECT, names.WRONG))
    n = int(right.sum() + wrong.sum())
    lacks = _too_few(n, "labels with a confidence")
    if lacks is not None:
        return None, lacks
    fine = CalibrationSums.from_counts(right + wrong, right)
    parts = {name: getattr(fine, name).reshape(BINS, -1).sum(axis=1) for name in _SUMS}
    sums = CalibrationSums(**parts, inexact=1)
    error, brier = sums.error(), sums.brier()
    assert error is not None
    assert brier is not None
    return Calibration(n, sums.curve(), error, brier), None


def _by_confidence(tally: Tally, outcome: str) -> npt.NDArray[np.int64]:
    """Return labels on 50 equal bins of 0 to 1; a confidence of exactly 0 is in the first."""
    table = tally.tables[CALIBRATION.name]
    row = table.rows.get((outcome,))
    counts = np.zeros(len(FINE_CONFIDENCE_EDGES) + 1, np.int64) if row is None else table.counts[row].copy()
    counts[1] += counts[0]
    return counts[1:-1]


_SUMS = ("n", "w", "wo", "w2", "w2o", "wc", "wc2", "wco", "noise")


# -- values ------------------------------------------------------------------------------------------------------------


def _of_values(tally: Tally) -> View:
    found = regression_of(tally)
    n = 0 if found is None else found.n
    lacks = _too_few(n)
    if lacks is not None:
        return View("the log", "labels", "too_few", n, None, None, missing=lacks)
    return View("the log", "labels", "decided", n, None, None, regression=found)


def regression_of(tally: Tally) -> RegressionQuality | None:
    """Return the errors of labelled values; None without labels."""
    table = tally.tables[ERRORS.name]
    row = table.rows.get(("absolute",))
    if row is None or not table.counts[row, 0]:
        return None
    n = int(table.counts[row, 0])
    absolute, squared, signed, truth, square = (
        float(table.sums[table.rows[(of,)]]) for of in ("absolute", "squared", "signed", "truth", "truth_squared")
    )
    sums = RegressionSums(0.0, n, n, n, -signed, absolute, squared, truth, square, absolute, squared)
    return sums.quality()
