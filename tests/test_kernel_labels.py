"""The kernel counts what comes without a request: labels, answers alone, columns of labels, columns with gaps."""

from __future__ import annotations

import numpy as np

from modelwatch import names
from modelwatch.events import LabelCount
from modelwatch.kernel import Gapped, Kernel, numbers
from modelwatch.schema import ModelSchema

SCHEMA = ModelSchema(classes=("a", "b"), categorical={"colour": ("red",)}, reviewed=True)


def rows(kernel: Kernel, metric: names.Metric) -> dict[tuple[str, ...], int]:
    """Return the counts of a plain table that are not 0."""
    table = kernel.tally.tables[metric.name]
    return {labels: int(table.counts[row, 0]) for labels, row in table.rows.items() if table.counts[row, 0]}


def test_labels_one_by_one_and_as_columns_are_the_same_counts() -> None:
    """Right and wrong by segment and by probability; a prediction without a segment has a name for it."""
    single, columns = Kernel(SCHEMA), Kernel(SCHEMA)
    segments, right = ["x", "x", None, "y"], [True, False, True, True]
    single.fold_labels([LabelCount("matched", s, 0.5, r) for s, r in zip(segments, right, strict=True)])
    columns.fold_outcomes(segments, np.array(right), 0.5)
    columns.fold_outcomes([], np.array([], bool))
    expected = {
        ("x", names.CORRECT): 1,
        ("x", names.WRONG): 1,
        (names.UNSEGMENTED, names.CORRECT): 1,
        ("y", names.CORRECT): 1,
    }
    for kernel in (single, columns):
        assert rows(kernel, names.LABELS) == expected
        assert rows(kernel, names.LABELS_BY_INCLUSION) == {("0.5", names.CORRECT): 3, ("0.5", names.WRONG): 1}
        assert rows(kernel, names.LABEL_STATES) == {("matched",): 4}


def test_kept_and_dropped_samples_and_other_states_are_counted() -> None:
    """What is not a first label moves only its own counter."""
    kernel = Kernel(SCHEMA)
    kernel.fold_labels([LabelCount(kept=3), LabelCount(dropped="full"), LabelCount("duplicate")])
    assert rows(kernel, names.SAMPLES) == {(): 3}
    assert rows(kernel, names.SAMPLES_DROPPED) == {("full",): 1}
    assert rows(kernel, names.LABEL_STATES) == {("duplicate",): 1}
    assert rows(kernel, names.LABELS) == {}


def test_answers_alone_are_no_requests() -> None:
    """Classes or values with their own threshold of a low confidence; no request is counted."""
    kernel = Kernel(SCHEMA)
    kernel.fold_answers([("a", 0.6, None), ("b", 0.6, 0.5), ("a", 0.9, float("nan"))])
    assert rows(kernel, names.PREDICTIONS) == {("a",): 2, ("b",): 1}
    assert rows(kernel, names.REQUESTS) == {}
    assert rows(kernel, names.LOW_CONFIDENCE) == {("0.7",): 1}
    values = Kernel(ModelSchema(classes=None))
    values.fold_answers([(1.5, None, None), (2.5, None, None)])
    table = values.tally.tables[names.PREDICTION_VALUE.name]
    assert int(table.counts[0].sum()) == 2
    assert float(table.sums[0]) == 4.0


def test_one_column_is_counted_alone() -> None:
    """Predictions, segments and a category, each into its own table."""
    kernel = Kernel(SCHEMA)
    kernel.fold_one("prediction", ["a", "a", "b"])
    kernel.fold_one("segment", ["x", "y", None])
    kernel.fold_one("colour", ["red", "blue", "red"])
    assert rows(kernel, names.PREDICTIONS) == {("a",): 2, ("b",): 1}
    assert rows(kernel, names.SEGMENTS) == {("x",): 1, ("y",): 1}
    assert rows(kernel, names.FEATURE_CATEGORY) == {("colour", "red"): 2, ("colour", "blue"): 1}


def test_an_endpoint_that_is_known_has_its_series_at_0() -> None:
    """Before its first request: requests, failures, cancellations and durations."""
    kernel = Kernel(SCHEMA)
    kernel.know_endpoint("/p")
    for metric in (names.REQUESTS, names.FAILED, names.CANCELLED, names.DURATION):
        table = kernel.tally.tables[metric.name]
        assert int(table.counts[table.rows["/p",]].sum()) == 0


def test_a_column_with_gaps() -> None:
    """It reads as its values with None in the gaps, a part of it as that part, and its gaps are missing numbers."""
    column = Gapped(np.array([1, 2, 3]), np.array([True, False, True]))
    assert column.tolist() == [1, None, 3]
    assert column.given() == [(0, 1), (2, 3)]
    assert column[1:].tolist() == [None, 3]
    values, at, missing, wrong = numbers(column)
    assert at is not None
    assert (values.tolist(), at.tolist(), missing, wrong) == ([1.0, 3.0], [0, 2], 1, 0)


def test_columns_without_features_and_labels_that_are_all_right() -> None:
    """A log of predictions alone has no features to count; where none is wrong, no row of wrong ones is made."""
    kernel = Kernel(SCHEMA)
    kernel.fold_columns({"prediction": ["a", "b"]}, {}, 2)
    kernel.fold_outcomes(["x", "x"], np.array([True, True]))
    assert rows(kernel, names.PREDICTIONS) == {("a",): 1, ("b",): 1}
    assert rows(kernel, names.LABELS) == {("x", names.CORRECT): 2}
    assert rows(kernel, names.FEATURE_INVALID) == {}
