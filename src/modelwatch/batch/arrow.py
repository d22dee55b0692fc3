"""Columns of Arrow, NumPy and pandas as the kernel takes them: numbers, labels as codes, times as whole seconds."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from modelwatch.batch.columns import Text
from modelwatch.kernel import Column, Gapped
from modelwatch.labels import Coded, is_missing, plain_number
from modelwatch.record.batch import host_values

Given: TypeAlias = Any  # an Arrow array, a Text, a NumPy array, a pandas column or a sequence
Ints: TypeAlias = npt.NDArray[np.int64]

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
#: A timestamp without a unit is of seconds below the first, then of ms, us, ns: the years 1970 to 5138.
UNIT_LIMITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (math.inf, 1e-9))
LAST_S = 253_402_300_800  # the year 10000
AHEAD_S = 60.0  # clocks may differ by so much
NO_TIME = -1


def is_arrow(column: Given) -> bool:
    """Tell Arrow's arrays from others."""
    return hasattr(column, "to_pylist") and hasattr(column, "null_count")


def whole(column: Any) -> Any:
    """Return one array of one that may be in chunks."""
    if not hasattr(column, "chunks"):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # which copies even one


# -- numbers -----------------------------------------------------------------------------------------------------------


def numbers_of(column: Given) -> Column:
    """Return a column of numbers for the kernel to judge; what is no number stays what it is."""
    if isinstance(column, Text):
        return _parsed(column)
    if not is_arrow(column):
        return _host(column)
    from pyarrow import types

    array, kind = whole(column), column.type
    if types.is_dictionary(kind):
        return labels_of(array, gaps=False)
    if types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind):
        if types.is_boolean(kind):
            array = array.cast("uint8")
        if not array.null_count:
            return array.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]  # an array of numbers
        there = array.is_valid().to_numpy(zero_copy_only=False)
        return Gapped(array.fill_null(0).to_numpy(zero_copy_only=False), there)
    if types.is_null(kind):
        return Coded.gap(len(array))
    return objects(array.to_pylist())


def _parsed(column: Text) -> Column:
    """Return the numbers that the cells of a CSV file are, and as text those that are none."""
    cells, is_number = column.split()
    there = column.array.is_valid().to_numpy(zero_copy_only=False)
    if is_number.true_count == len(cells):
        values = np.zeros(len(there))
        values[there] = cells.cast("double").to_numpy(zero_copy_only=False)
        return Gapped(values, there)
    parsed = [
        float(cell) if number else cell for cell, number in zip(cells.to_pylist(), is_number.to_pylist(), strict=True)
    ]
    return _placed(parsed, there)


def _placed(values: Sequence[Any], there: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    placed = np.full(len(there), None, object)
    for row, value in zip(np.flatnonzero(there).tolist(), values, strict=True):
        placed[row] = value
    return placed


def _host(column: Given) -> Column:
    values = host_values(column)
    return values if isinstance(values, np.ndarray) else objects(values)


def objects(values: Sequence[Any]) -> npt.NDArray[Any]:
    """Return values as an array that keeps each as it is."""
    array = np.empty(len(values), object)
    for i, value in enumerate(values):
        array[i] = value
    return array


def seconds_of(column: Given, unit: str) -> Column:
    """Return latencies in seconds."""
    if is_arrow(column) and str(column.type).startswith("duration"):
        array = whole(column)
        there = array.is_valid().to_numpy(zero_copy_only=False)
        nanoseconds = array.cast("duration[ns]", safe=False).cast("int64").fill_null(0).to_numpy(zero_copy_only=False)
        return Gapped(nanoseconds / 1e9, there)
    values = numbers_of(column)
    if unit == "s":
        return values
    scale = NANOSECONDS[unit] / 1e9
    if isinstance(values, Gapped):
        return Gapped(values.values * scale, values.there)
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        return values * scale
    return objects([value if (n := plain_number(value)) is None else n * scale for value in listed(values)])


def listed(values: Column) -> list[Any]:
    """Return the values one by one, None in the gaps."""
    return list(values.tolist()) if isinstance(values, (np.ndarray, Coded, Gapped)) else list(values)


def there(column: Column) -> npt.NDArray[np.bool_]:
    """Return which rows have a value of any kind."""
    if isinstance(column, Gapped):
        return np.array(column.there, bool)
    if isinstance(column, Coded):
        return np.take(_given(column.values), column.at)
    if isinstance(column, np.ndarray) and column.dtype.kind != "O":
        return np.ones(len(column), bool)
    return _given(column)


def _given(values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.array([not is_missing(value) for value in values], bool)


# -- labels ------------------------------------------------------------------------------------------------------------


def labels_of(column: Given, *, gaps: bool = True, known: Sequence[str] = ()) -> Column:
    """Return a column of labels as codes.

    gaps : NaN stands for: not given.
    known : texts that are likely: to look these up takes less time than to find out which there are.
    """
    if isinstance(column, Text):
        column = column.array
    if not is_arrow(column):
        return _coded_host(column, gaps=gaps)
    from pyarrow import types

    array = whole(column)
    if types.is_null(array.type):
        return Coded.gap(len(array))
    if not types.is_dictionary(array.type):
        try:
            if known and types.is_string(array.type) and (found := _known(array, known)) is not None:
                return found
            array = array.dictionary_encode()
        except Exception:  # noqa: BLE001  # a type that has no dictionary: lists, structures
            return objects(array.to_pylist())
    values = [_gap(value) if gaps else value for value in array.dictionary.to_pylist()]
    return _coded(array.indices, values)


def _known(array: Any, known: Sequence[str]) -> Coded | None:
    """Return texts as codes, where all are of those known or gaps."""
    from pyarrow import array as to_arrow
    from pyarrow import compute

    at = compute.index_in(array, value_set=to_arrow(known, array.type))
    return None if at.null_count > array.null_count else _coded(at, known)


def _coded(at: Any, values: Sequence[Any]) -> Coded:
    """Return a column of Arrow's positions in `values`; the narrow ones stay so."""
    if at.null_count:
        at = at.cast("int64").fill_null(len(values))  # which may be one more than narrow ones hold
    found = at.to_numpy(zero_copy_only=False)
    return Coded(found if np.can_cast(found.dtype, np.intp) else found.astype(np.intp), [*values, None])


def _gap(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _coded_host(column: Given, *, gaps: bool) -> Column:
    values = host_values(column)
    given = values.tolist() if isinstance(values, np.ndarray) else values
    seen: dict[tuple[type, Any], int] = {}
    at = np.empty(len(given), np.intp)
    try:
        for i, value in enumerate(given):
            at[i] = seen.setdefault((type(value), value), len(seen))
    except Exception:  # noqa: BLE001  # unhashable, or its own code raises: each is judged alone
        return objects(given)
    distinct = [_gap(value) if gaps else value for _, value in seen]
    return Coded(at, distinct or (None,))


# -- times -------------------------------------------------------------------------------------------------------------


def times_of(column: Given, zone: str, now: float) -> tuple[Ints, Counter[str]]:
    """Return (Unix seconds, rounded down; `NO_TIME` where there is none, how many of those by reason).

    Parameters
    ----------
    column : Arrow or NumPy times, ISO 8601 texts, or numbers: seconds, milliseconds, microseconds or nanoseconds,
        told by their size.
    zone : of those that do not say theirs.
    now : Unix time; what is more than a minute later is of a clock that is wrong.
    """
    found, missing = _unix(column, zone)
    refused: Counter[str] = Counter(missing=int(missing.sum()))
    known = np.isfinite(found)
    refused["type"] = len(found) - int(known.sum()) - refused["missing"]
    early, late = known & ((found < 0) | (found >= LAST_S)), known & (found > now + AHEAD_S) & (found < LAST_S)
    refused["range"], refused["future"] = int(early.sum()), int(late.sum())
    known &= ~(early | late)
    starts = np.full(len(found), NO_TIME, np.int64)
    starts[known] = np.floor(found[known]).astype(np.int64)
    return starts, +refused


def _unix(column: Given, zone: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return (Unix seconds, NaN where there are none; where nothing was given)."""
    if isinstance(column, Text):
        column = column.array
    if not is_arrow(column):
        from pyarrow import array as to_arrow

        try:
            column = to_arrow(column, from_pandas=True)
        except Exception:  # noqa: BLE001  # values of several kinds
            return _one_by_one(list(column), zone)
    from pyarrow import types

    array = whole(column)
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if types.is_date(array.type):
        array = array.cast("timestamp[s]")
    if types.is_timestamp(array.type):
        return _of_timestamps(array, zone), missing
    if types.is_integer(array.type) or types.is_floating(array.type):
        values = array.cast("double", safe=False).to_numpy(zero_copy_only=False)
        return _scaled(values), missing
    if types.is_null(array.type):
        return np.full(len(array), np.nan), missing
    return _one_by_one(array.to_pylist(), zone)


def _of_timestamps(array: Any, zone: str) -> npt.NDArray[np.float64]:
    from pyarrow import compute

    if array.type.tz is None:
        array = compute.assume_timezone(array, zone, ambiguous="earliest", nonexistent="earliest")
    unit = array.type.unit
    whole_units = array.cast("int64").fill_null(0).to_numpy(zero_copy_only=False)
    seconds: npt.NDArray[np.float64] = (whole_units // (10**9 // NANOSECONDS[unit])).astype(np.float64)
    seconds[array.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return seconds


def _scaled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sizes = np.abs(values)
    scaled, lower = np.full(len(values), np.nan), -1.0
    for limit, scale in UNIT_LIMITS:
        chosen = (sizes >= lower) & (sizes < limit)
        scaled[chosen] = values[chosen] * scale
        lower = limit
    return scaled


def _one_by_one(values: Sequence[Any], zone: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    place = ZoneInfo(zone)
    known: dict[Any, float] = {}
    found = np.full(len(values), np.nan)
    missing = np.zeros(len(values), bool)
    for i, value in enumerate(values):
        if is_missing(value) or value != value:
            missing[i] = True
        elif isinstance(value, str):
            if value not in known:
                known[value] = _parsed_time(value, place)
            found[i] = known[value]
        elif isinstance(value, dt.datetime):
            found[i] = _unix_of(value, place)
        elif (number := plain_number(value)) is not None:
            found[i] = _scaled(np.array([number]))[0]
    return found, missing


def _parsed_time(text: str, place: ZoneInfo) -> float:
    text = text.strip()
    try:
        return _unix_of(dt.datetime.fromisoformat(text.removesuffix("Z") + "+00:00" * text.endswith("Z")), place)
    except ValueError:
        pass
    try:
        return float(_scaled(np.array([float(text)]))[0])
    except ValueError:
        return math.nan


def _unix_of(value: dt.datetime, place: ZoneInfo) -> float:
    try:
        return (value if value.tzinfo else value.replace(tzinfo=place)).timestamp()
    except (OverflowError, ValueError, OSError):
        return math.nan
