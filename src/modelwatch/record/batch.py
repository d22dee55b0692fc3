"""A batch of predictions as columns: from a DataFrame, an Arrow table or a dict of arrays; imports neither library."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from modelwatch.errors import ModelwatchError
from modelwatch.kernel import Column, Plain

TEXT_COLUMNS = ("endpoint", "error", "segment")
NUMBER_COLUMNS = ("duration", "confidence")
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS, "prediction")


def columns_of(
    frame: Any, endpoint: str, features: Container[str], *, classes: bool = True
) -> tuple[dict[str, Column], dict[str, Column], int]:
    """Return (columns, feature columns, number of rows); columns that are neither are left alone.

    Parameters
    ----------
    frame : pandas DataFrame, Arrow table or record batch, or {column: array}.
    endpoint : of every row, where there is no such column.
    features : names of the features.
    classes : whether predictions are labels; else numbers. NaN in a column of labels means: not given.

    Raises
    ------
    ModelwatchError   no such form, or columns of different lengths.
    """
    try:
        named = named_columns(frame)
    except BaseException as error:  # whatever the object's own code raises
        if isinstance(error, ModelwatchError):
            raise
        raise ModelwatchError(f"record_batch: the batch raises {type(error).__name__} when it is read.") from None
    columns: dict[str, Column] = {}
    found: dict[str, Column] = {}
    for name, column in named.items():
        if name in COLUMNS:
            text = name in TEXT_COLUMNS or (name == "prediction" and classes)
            columns[name] = _labels(column) if text else host_values(column)
        elif name in features:
            found[name] = host_values(column)
    lengths = {len(column) for column in (*columns.values(), *found.values())}
    if len(lengths) > 1:
        raise ModelwatchError(
            f"record_batch: lengths of the columns are {sorted(lengths)!r}; expected one. Give a value for every row."
        )
    n = lengths.pop() if lengths else 0
    columns.setdefault("endpoint", [endpoint] * n)
    return columns, found, n


def named_columns(frame: Any, where: str = "record_batch") -> Mapping[str, Any]:
    """Return the columns of a DataFrame, an Arrow table, or a dict of arrays.

    Raises
    ------
    ModelwatchError   none of these.
    """
    if isinstance(frame, Mapping):
        return frame
    if hasattr(frame, "column_names") and hasattr(frame, "column"):  # Arrow
        return {name: frame.column(i) for i, name in enumerate(frame.column_names)}
    if hasattr(frame, "columns") and hasattr(frame, "__getitem__"):  # pandas, polars
        return {name: frame[name] for name in frame.columns}
    raise ModelwatchError(
        f"{where}: type of the batch is {type(frame).__name__!r}; expected a DataFrame, "
        "an Arrow table or a dict of arrays. Convert it."
    )


def host_values(column: Any) -> Plain:
    """Return a column for the kernel to judge: an array where it is one of numbers, else a list."""
    if hasattr(column, "to_pylist"):  # Arrow: null and NaN are different things
        if column.null_count == 0 and str(column.type) in {"double", "float", "int64", "int32", "int16", "int8"}:
            return np.asarray(column)
        return list(column.to_pylist())
    dtype = getattr(column, "dtype", None)
    if getattr(column, "ndim", 1) != 1:  # each row is no value: the kernel refuses it
        return list(np.asarray(column).tolist())
    # a mask is not in the array: tolist() writes None
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub" and not isinstance(column, np.ma.MaskedArray):
        return np.asarray(column)
    values = list(column.tolist()) if hasattr(column, "tolist") else list(column)
    if dtype is not None and not isinstance(dtype, np.dtype):  # pandas' text and categories: NaN stands for None
        return _without_nan(values)
    return values


def _labels(column: Any) -> Column:
    values = host_values(column)
    if isinstance(values, np.ndarray):
        values = values.tolist()
    return _without_nan(values)


def _without_nan(values: Any) -> list[Any]:
    return [None if issubclass(type(value), float) and math.isnan(value) else value for value in values]
