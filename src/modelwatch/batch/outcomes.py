"""Labelled predictions as counts beside the tally: which class was taken for which, calibration, errors of values.

These tables are of logs only: the live store has the labels themselves. They add as all tables do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.batch.arrow import listed
from modelwatch.batch.profile import class_text
from modelwatch.kernel import Column, Gapped, Kernel, numbers
from modelwatch.labels import Coded, is_missing
from modelwatch.schema import FINE_CONFIDENCE_EDGES, ModelSchema
from modelwatch.tally import Table, TableSchema, Tally

CONFUSION = TableSchema("batch_confusion", ("true_label", "predicted_class"))
#: Confidences of labelled predictions by outcome, on 50 equal bins; the sum is that of the confidences.
CALIBRATION = TableSchema(
    "batch_calibration", ("outcome",), len(FINE_CONFIDENCE_EDGES) + 1, "float", (FINE_CONFIDENCE_EDGES,)
)
#: Of labelled values: `of` is absolute, squared, signed (prediction less truth), truth, truth_squared.
ERRORS = TableSchema("batch_errors", ("of",), 1, "float")
SCHEMAS = (CONFUSION, CALIBRATION, ERRORS)


class Labelled(NamedTuple):
    """Columns of rows that have a label, or may have."""

    predictions: Column
    labels: Column
    segments: Column
    confidences: Column


def prepared(tally: Tally) -> Tally:
    """Give a tally the tables of labelled predictions, and return it."""
    for schema in SCHEMAS:
        tally.tables[schema.name] = Table(schema.fingerprint, schema.width, schema.sums)
    return tally


def count_labels(kernel: Kernel, rows: Labelled) -> None:
    """Count the labels of rows: right or wrong by segment, as live; and what only logs tell."""
    if kernel.schema.classes is None:
        _count_values(kernel, rows)
    else:
        _count_classes(kernel, rows)


def _texts(column: Column) -> tuple[npt.NDArray[np.intp], list[str | None], npt.NDArray[np.bool_]]:
    """Return (codes, texts by code with None for no class, which rows were given a value)."""
    if not isinstance(column, Coded):
        values = listed(column)
        column = Coded(np.arange(len(values)), values)
    texts = [class_text(value) for value in column.values]
    given = np.array([not is_missing(value) for value in column.values], bool)
    return column.at.astype(np.intp), texts, given[column.at] if len(given) else np.zeros(len(column.at), bool)


def is_right(schema: ModelSchema, label: object, prediction: object) -> bool | None:
    """Tell whether a label is that of its prediction; None where it is no class, or there is no prediction."""
    true, predicted = class_text(label), class_text(prediction)
    if true is None or predicted is None or (schema.classes and true not in schema.classes):
        return None
    return true == predicted


def _count_classes(kernel: Kernel, rows: Labelled) -> None:
    true_at, true_texts, given = _texts(rows.labels)
    if not given.any():
        return
    at, texts, _ = _texts(rows.predictions)
    classes = kernel.schema.classes
    seen = dict.fromkeys(text for text in (*true_texts, *texts) if text is not None)
    known = {text: i for i, text in enumerate(seen)}
    true_code = np.array([-1 if text is None else known[text] for text in true_texts], np.intp)
    if classes:
        true_code[[text not in classes for text in true_texts]] = -1
    truth = true_code[true_at]
    code = np.array([-1 if text is None else known[text] for text in texts], np.intp)[at]
    kernel.refuse("label", "unknown", int((given & (truth < 0)).sum()))
    kernel.refuse("label", "no_prediction", int(((truth >= 0) & (code < 0)).sum()))
    chosen = np.flatnonzero((truth >= 0) & (code >= 0))
    if not len(chosen):
        return
    right = truth[chosen] == code[chosen]
    kernel.fold_outcomes(taken(rows.segments, chosen), right)
    table, words = kernel.tally.tables[CONFUSION.name], list(known)
    pairs, counts = np.unique(truth[chosen] * len(words) + code[chosen], return_counts=True)
    for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True):
        row = (words[pair // len(words)], words[pair % len(words)])
        if row not in table.rows and len(table.rows) >= kernel.schema.cap:
            row = (names.OTHER, names.OTHER)
        table.count(row, n)
    _count_calibration(kernel, taken(rows.confidences, chosen), right)


def _count_calibration(kernel: Kernel, confidences: Column, right: npt.NDArray[np.bool_]) -> None:
    values, at, _, _ = numbers(confidences)
    right = right if at is None else right[at]
    fine = (values >= 0) & (values <= 1)
    values, right = values[fine], right[fine]
    table, edges = kernel.tally.tables[CALIBRATION.name], np.array([*FINE_CONFIDENCE_EDGES, np.inf])
    for outcome, some in ((names.CORRECT, values[right]), (names.WRONG, values[~right])):
        row = table.row((outcome,))
        table.counts[row] += np.bincount(edges.searchsorted(some), minlength=len(edges))
        table.sums[row] += some.sum()


def _count_values(kernel: Kernel, rows: Labelled) -> None:
    truths, where, _, wrong = numbers(rows.labels)
    kernel.refuse("label", "type", wrong)
    values, at, _, _ = numbers(rows.predictions)
    n = len(rows.labels)
    truth, value = np.full(n, np.nan), np.full(n, np.nan)
    truth[slice(None) if where is None else where] = truths
    value[slice(None) if at is None else at] = values
    good = np.isfinite(truth) & np.isfinite(value)
    if not good.any():
        return
    kernel.tally.tables[names.LABEL_STATES.name].count(("matched",), int(good.sum()))
    truth, error = truth[good], (value - truth)[good]
    table = kernel.tally.tables[ERRORS.name]
    for of, some in (("absolute", np.abs(error)), ("squared", error**2), ("signed", error), ("truth", truth),
                     ("truth_squared", truth**2)):  # fmt: skip
        row = table.row((of,))
        table.counts[row, 0] += len(some)
        table.sums[row] += some.sum()


def taken(column: Column, rows: npt.NDArray[np.intp]) -> Column:
    """Return some rows of a column."""
    if isinstance(column, (np.ndarray, Coded, Gapped)):
        return column[rows]
    return [column[row] for row in rows.tolist()]
