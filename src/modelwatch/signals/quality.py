"""Signals of quality: low confidence; accuracy by the arrival of labels, with its bounds, over all and by segment."""

from __future__ import annotations

from collections.abc import Callable

from modelwatch import names
from modelwatch.signals.core import (
    MODEL,
    Counts,
    Events,
    Measure,
    Measured,
    Objectives,
    Promql,
    Signal,
    increase,
    increase_from_birth,
    joined,
)
from modelwatch.statistics import Z999, Z_BUSY, SampleSums, wilson

LABELS_NEEDED = 30


def label_sums(counts: Counts) -> SampleSums:
    """Return the sums of the labels that came in, weighted by the probability with which each was kept."""
    table = counts.table(names.LABELS_BY_INCLUSION)
    sums = SampleSums()
    for (inclusion, outcome), row in table.rows.items() if table else ():
        n = int(table.counts[row, 0]) if table else 0
        w = 1 / float(inclusion)
        right = n if outcome == names.CORRECT else 0
        sums += SampleSums(n, n * w, right * w, n * w * w, right * w * w)
    return sums


def _accuracy(counts: Counts) -> Measured:
    sums = label_sums(counts)
    return {(): (sums.accuracy(), sums.n)}


def _accuracy_high(counts: Counts) -> Measured:
    sums = label_sums(counts)
    share = sums.interval(Z999)
    return {(): (None if share is None else share.high, sums.n)}


def _wrong(counts: Counts) -> Measured:
    table = counts.table(names.LABELS_BY_INCLUSION)
    rows = table.rows.items() if table else ()
    wrong = sum(int(table.counts[row, 0]) for (_, outcome), row in rows if outcome == names.WRONG) if table else 0
    n = counts.total(names.LABELS_BY_INCLUSION)
    return {(): (wrong if n else None, n)}


def _segments(counts: Counts) -> Measured:
    table = counts.table(names.LABELS)
    found: dict[tuple[str, ...], list[int]] = {}
    for (segment, outcome), row in table.rows.items() if table else ():
        cell = found.setdefault((segment,), [0, 0])
        n = int(table.counts[row, 0]) if table else 0
        cell[0] += n if outcome == names.CORRECT else 0
        cell[1] += n
    return {
        labels: (share.high if (share := wilson(right, n, Z_BUSY)) else None, n)
        for labels, (right, n) in found.items()
        if n and labels != (names.UNSEGMENTED,)
    }


def _labels(counts: Counts) -> Measured:
    n = counts.total(names.LABELS)
    return {(): (n, n)}


def _samples(counts: Counts) -> Measured:
    n = counts.total(names.SAMPLES)
    return {(): (n, n)}


def _low_confidence(counts: Counts) -> tuple[float | None, int]:
    table = counts.table(names.LOW_CONFIDENCE)
    low = 0 if table is None else table.value((f"{counts.schema.threshold:g}",))
    return low, counts.total(names.CONFIDENCE)


# -- PromQL ------------------------------------------------------------------------------------------------------------


def _by_inclusion(selector: str, window: str, power: int, outcome: str = "") -> str:
    """Return the sum of labels, each over the probability with which it was kept to this power."""
    matcher = f'outcome="{outcome}"' if outcome else ""
    by = f"{MODEL}, inclusion"
    n = increase_from_birth(names.LABELS_BY_INCLUSION.name, joined(selector, matcher), window, by)
    if not power:
        return f"sum by ({MODEL}) ({n})"
    pi = f"max by ({by}) ({names.LABEL_INCLUSION.name}{{{selector}}})"
    return f"sum by ({MODEL}) ({n} / on ({by}) ({pi}) ^ {power})"


def _labels_promql(selector: str, window: str) -> str:
    return increase_from_birth(names.LABELS_BY_INCLUSION.name, selector, window)


def _right(selector: str, window: str, power: int) -> str:
    every = _by_inclusion(selector, window, power)
    return f"({_by_inclusion(selector, window, power, names.CORRECT)} or {every} * 0)"


def _accuracy_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return f"{_right(selector, window, 1)} / ({_by_inclusion(selector, window, 1)} > 0)"


def wilson_high_promql(value: str, n: str, z: float) -> str:
    """Return the expression of the upper end of Wilson's interval."""
    centre = f"({value}) + {z * z / 2!r} / ({n})"
    half = f"{z!r} * sqrt(({value}) * (1 - ({value})) / ({n}) + {z * z / 4!r} / ({n}) ^ 2)"
    return f"clamp_max(({centre} + {half}) / (1 + {z * z!r} / ({n})), 1)"


def _n_eff_promql(selector: str, window: str) -> str:
    w, w2 = (_by_inclusion(selector, window, power) for power in (1, 2))
    right2 = _right(selector, window, 2)
    a = f"({_accuracy_promql(selector, window, Objectives())})"
    squares = f"({right2} * (1 - {a}) ^ 2 + clamp_min({w2} - {right2}, 0) * {a} ^ 2)"
    told = f"({a} * (1 - {a}) > 0) / ({squares} > 0) * {w} ^ 2"
    n = _by_inclusion(selector, window, 0)
    most = f"4 * {n}"
    n_eff = f"(({told}) or {w} ^ 2 / ({w2} > 0))"
    return f"({n_eff} < {most} or {most})"


def _accuracy_high_promql(selector: str, window: str, objectives: Objectives) -> str:
    return wilson_high_promql(_accuracy_promql(selector, window, objectives), _n_eff_promql(selector, window), Z999)


def _wrong_promql(selector: str, window: str, _objectives: Objectives) -> str:
    every = _by_inclusion(selector, window, 0)
    return f"({_by_inclusion(selector, window, 0, names.WRONG)} or {every} * 0) and {every} > 0"


def _segment_labels(selector: str, window: str, outcome: str = "") -> str:
    matcher = joined(selector, f'segment!="{names.UNSEGMENTED}"', f'outcome="{outcome}"' if outcome else "")
    return increase_from_birth(names.LABELS.name, matcher, window, f"{MODEL}, segment")


def _segments_promql(selector: str, window: str, _objectives: Objectives) -> str:
    n = f"({_segment_labels(selector, window)} > 0)"
    return wilson_high_promql(f"({_segment_labels(selector, window, names.CORRECT)} or {n} * 0) / {n}", n, Z_BUSY)


def _one_minus(promql: Promql) -> Promql:
    return lambda selector, window, objectives: f"1 - ({promql(selector, window, objectives)})"


def _inverted(measure: Callable[[Counts], Measured]) -> Callable[[Counts], Measured]:
    def inverted(counts: Counts) -> Measured:
        return {
            labels: Measure(None if found[0] is None else 1 - found[0], found[1])
            for labels, found in measure(counts).items()
        }

    return inverted


def _labels_count_promql(selector: str, window: str, _objectives: Objectives) -> str:
    labels = increase_from_birth(names.LABELS.name, selector, window)
    return f"{labels} or {increase(names.SAMPLES.name, selector, window)} * 0"


def _low_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return increase(names.LOW_CONFIDENCE.name, selector, window)


def _confidences_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return increase(f"{names.CONFIDENCE.name}_count", selector, window) + " > 0"


# -- the signals -------------------------------------------------------------------------------------------------------

LOW_CONFIDENCE = Events(
    "low_confidence", "of low confidence", "predictions with a confidence", _low_confidence, _low_promql,
    _confidences_promql,
)  # fmt: skip
LOW_CONFIDENCE_RATIO = LOW_CONFIDENCE.ratio(
    "low_confidence_ratio", "Low confidence", "Share of predictions with a confidence below the threshold", 100
)
ACCURACY = Signal(
    "accuracy", "Accuracy", "Share of the labels that came in on which the model was right", "ratio",
    _accuracy, _accuracy_promql, _labels_promql, LABELS_NEEDED, counted="labels",
)  # fmt: skip
ACCURACY_HIGH = Signal(
    "accuracy_high", "Accuracy, upper bound", "The accuracy is surely below this", "ratio",
    _accuracy_high, _accuracy_high_promql, _labels_promql, LABELS_NEEDED, counted="labels",
)  # fmt: skip
WRONG_RATIO = Signal(
    "wrong_ratio", "Wrong answers", "Share of the labels that came in on which the model was wrong", "ratio",
    _inverted(_accuracy), _one_minus(_accuracy_promql), _labels_promql, LABELS_NEEDED, counted="labels",
)  # fmt: skip
WRONG_LOW = Signal(
    "wrong_low", "Wrong answers, lower bound", "The share of wrong answers is surely above this", "ratio",
    _inverted(_accuracy_high), _one_minus(_accuracy_high_promql), _labels_promql, LABELS_NEEDED, counted="labels",
)  # fmt: skip
WRONG = Signal(
    "wrong", "Wrong labels", "Labels that came in on which the model was wrong", "labels",
    _wrong, _wrong_promql, _labels_promql, counted="labels",
)  # fmt: skip
SEGMENT_ACCURACY_HIGH = Signal(
    "segment_accuracy_high", "Accuracy of a segment, upper bound", "The accuracy is surely below this", "ratio",
    _segments, _segments_promql, _segment_labels, LABELS_NEEDED, labels=("segment",), counted="labels",
)  # fmt: skip
LABELS = Signal(
    "labels", "Labels", "First labels of predictions that came in", "labels", _labels, _labels_count_promql,
    lambda selector, window: _labels_count_promql(selector, window, Objectives()), 0, counted="labels",
)  # fmt: skip
SAMPLES = Signal(
    "samples", "Kept for review", "Predictions that were kept for review", "predictions", _samples,
    lambda selector, window, _objectives: increase(names.SAMPLES.name, selector, window),
    lambda selector, window: increase(names.SAMPLES.name, selector, window), 0, counted="predictions kept for review",
)  # fmt: skip
