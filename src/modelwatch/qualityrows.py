"""The labelled predictions of one model as numbers in one order, whatever the order they came in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from modelwatch.errors import fault
from modelwatch.labels import label_text

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Column = Sequence[Any] | npt.NDArray[Any]
Task = Literal["classification", "regression"]


class LabelledRows(Protocol):
    """Columns of one model's predictions, of one length, in any order; a label of None is none yet.

    predictions, labels : text, or numbers.  confidence : NaN where there was none.  segments : text or None.
    inclusion : probability with which each was kept.  predicted_at, labelled_at : seconds since the epoch.
    """

    @property
    def predictions(self) -> Column: ...  # noqa: D102
    @property
    def labels(self) -> Column: ...  # noqa: D102
    @property
    def confidence(self) -> Column: ...  # noqa: D102
    @property
    def segments(self) -> Column: ...  # noqa: D102
    @property
    def inclusion(self) -> Column: ...  # noqa: D102
    @property
    def predicted_at(self) -> Column: ...  # noqa: D102
    @property
    def labelled_at(self) -> Column: ...  # noqa: D102


@dataclass(frozen=True)
class Columns:
    """Labelled rows that somebody has as plain columns; see `LabelledRows`."""

    predictions: Column
    labels: Column
    confidence: Column
    segments: Column
    inclusion: Column
    predicted_at: Column
    labelled_at: Column


@dataclass(frozen=True, eq=False)
class OrderedRows:
    """Labelled rows in the order of their labels; ties are ordered by all that is known of a row.

    n : rows.  unusable : those left out of a regression because a value is no finite number.
    names : of the classes.  predicted, truth : the code of the class, or the value.
    segments : code in `segment_names`, -1 for none.
    """

    task: Task
    n: int
    unusable: int
    names: tuple[str, ...]
    predicted: Floats
    truth: Floats
    segment_names: tuple[str, ...]
    segments: Codes
    confidence: Floats
    inclusion: Floats
    predicted_at: Floats
    labelled_at: Floats

    @classmethod
    def of(cls, rows: LabelledRows, now: float, task: Task, classes: Sequence[str]) -> OrderedRows:
        """Put the rows that were labelled by `now` in order.

        Raises
        ------
        ValueError   the columns are of different length.
        """
        given = (rows.confidence, rows.inclusion, rows.predicted_at, rows.labelled_at)
        numbers = [np.asarray(column, np.float64) for column in given]
        lengths = {len(column) for column in (rows.predictions, rows.labels, rows.segments, *numbers)}
        if len(lengths) > 1:
            raise ValueError(
                fault("quality", "lengths of the columns", sorted(lengths), "one length", "Give whole rows.")
            )
        labelled = np.array([label is not None for label in rows.labels], np.bool_) & (numbers[3] <= now)
        known = np.flatnonzero(labelled).tolist()
        names: tuple[str, ...] = ()
        if task == "classification":
            texts = [[_text(column[i]) for i in known] for column in (rows.predictions, rows.labels)]
            names, (predicted, truth) = _coded(texts, classes)
        else:
            predicted, truth = (np.array([_number(c[i]) for i in known]) for c in (rows.predictions, rows.labels))
        segments = [None if rows.segments[i] is None else _text(rows.segments[i]) for i in known]
        segment_names, (codes,) = _coded([segments], ())
        columns = [predicted, truth, codes, *(column[known] for column in numbers)]
        order = np.lexsort(columns)  # the last one, labelled_at, counts most
        order = order[np.isfinite(predicted + truth)[order]]
        predicted, truth, codes, *rest = (column[order] for column in columns)
        unusable = len(known) - len(order)
        return cls(task, len(order), unusable, names, predicted, truth, segment_names, codes.astype(np.int64), *rest)


def _text(value: object) -> str:
    return value if type(value) is str else label_text(value)[0]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _coded(columns: Sequence[Sequence[str | None]], first: Sequence[str]) -> tuple[tuple[str, ...], list[Floats]]:
    """Return (names: `first`, then the others in order; columns as codes, None as -1)."""
    given = dict.fromkeys(first)
    others = sorted({text for column in columns for text in column if text is not None} - given.keys())
    names = (*given, *others)
    code: dict[str | None, int] = {name: i for i, name in enumerate(names)}
    code[None] = -1
    return names, [np.array([code[text] for text in column], np.float64) for column in columns]
