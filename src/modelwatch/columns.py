"""Columns of values: which of them are numbers, which are not there, and what they sum up to.

Every column has a vector path and, when that raises, a path that takes each value alone. Both convert in the same
way (the C double of a number; text is never parsed), so a bad neighbour cannot change how a good value counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch.labels import Coded, is_missing
from modelwatch.schema import can_fall

Floats = npt.NDArray[np.float64]
HUGE = 1e200  # values are taken as at most this in a sum, which must stay finite
_ABSENT = object()


class Gapped:
    """A column of numbers with gaps.

    values : (rows,) of any kind of number; where there is a gap, anything.
    there : (rows,) whether there is a value.
    """

    __slots__ = ("there", "values")

    def __init__(self, values: npt.NDArray[Any], there: npt.NDArray[np.bool_]) -> None:
        self.values, self.there = values, there

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Gapped:
        return Gapped(self.values[rows], self.there[rows])

    def given(self) -> list[tuple[int, Any]]:
        """Return (row, value) where there is one."""
        return [(row, self.values[row]) for row in np.flatnonzero(self.there).tolist()]

    def tolist(self) -> list[Any]:
        """Return the values, None in the gaps."""
        return [value if there else None for value, there in zip(self.values.tolist(), self.there, strict=True)]


Plain = Sequence[Any] | npt.NDArray[Any]
Column = Plain | Coded | Gapped
#: Doubles, their positions (None: all), how many values were missing, how many were no number.
Numbers = tuple[Floats, "npt.NDArray[np.intp] | None", int, int]


def numbers(values: Column, caught: type[BaseException] = BaseException) -> Numbers:
    """Return (doubles, their positions or None for all, how many were missing, how many were no number)."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        return values.astype(np.float64), None, 0, 0
    if isinstance(values, Gapped):
        at = np.flatnonzero(values.there)
        return values.values[at].astype(np.float64), at, len(values) - len(at), 0
    if isinstance(values, Coded):
        return _coded_numbers(values, caught)
    try:
        return np.frombuffer(array("d", values)).copy(), None, 0, 0
    except caught:  # a value's own __float__ may raise anything
        good, rows, missing = array("d"), [], 0
    for i, value in enumerate(values):
        if is_missing(value):
            missing += 1
            continue
        try:
            good.append(value)  # the same conversion as array("d", values), one at a time
            rows.append(i)
        except caught:
            continue
    return np.frombuffer(good).copy(), np.array(rows, np.intp), missing, len(values) - missing - len(good)


def _coded_numbers(column: Coded, caught: type[BaseException]) -> Numbers:
    """Judge each distinct value once."""
    found, at, _, _ = numbers(list(column.values), caught)
    each, good = np.zeros(len(column.values)), np.zeros(len(column.values), bool)
    each[slice(None) if at is None else at], good[slice(None) if at is None else at] = found, True
    rows = np.flatnonzero(good[column.at])
    gaps = np.array([is_missing(value) for value in column.values], bool)
    missing = int(column.counts()[gaps].sum())
    return each[column.at[rows]], rows, missing, len(column) - missing - len(rows)


def of_rows(rows: list[dict[str, Any]], name: str, caught: type[BaseException]) -> tuple[list[Any], int]:
    """Return the values of one feature, None where it is absent, and how many rows have the key."""
    try:
        values = list(map(dict.get, rows, repeat(name), repeat(_ABSENT)))
    except caught:  # another key's own __eq__
        values = [_value(row, name, caught) for row in rows]
    absent = sum(value is _ABSENT for value in values)
    return ([None if value is _ABSENT else value for value in values] if absent else values), len(rows) - absent


def _value(row: dict[str, Any], name: str, caught: type[BaseException]) -> Any:
    try:
        return row.get(name, _ABSENT)
    except caught:
        return _ABSENT


def cumulative(values: Floats, edges: Floats) -> npt.NDArray[np.intp]:
    """Sort `values` in place and return how many are <= each edge.

    Sorting first is twice as fast as searching each value.
    """
    values.sort()
    return values.searchsorted(edges, "right")


def per_bucket(upto: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Return the counts of the buckets from cumulative counts, in place.

    np.diff takes five times as long on so few.
    """
    upto[1:] -= upto[:-1].copy()
    return upto


def present(codes: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    """Return (code, how often) of the codes that occur."""
    counts = np.bincount(codes)
    return [(code, int(counts[code])) for code in np.flatnonzero(counts).tolist()]


def floor(edges: Sequence[float]) -> float:
    """Return what a value is taken as at least in a sum."""
    return -HUGE if can_fall(edges) else 0.0


def bounded_sum(values: Floats, low: float) -> float:
    """Return the sum; of values so large that it would overflow, the sum of what they are within +-1e200."""
    if low == 0:
        values = values.clip(0.0)
    with np.errstate(over="ignore"):
        total = float(values.sum())
    return total if abs(total) < HUGE else float(values.clip(-HUGE, HUGE).sum())
