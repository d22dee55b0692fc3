"""One column of a file or frame, a part at a time: whether it is numbers or categories, and its values as these.

Values are judged as the kernel judges those of a live request: the same numbers, the same texts, the same reasons.
Only the text of a CSV file is parsed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from modelwatch.kernel import numbers
from modelwatch.labels import is_missing, label_text

Kind: TypeAlias = Literal["numeric", "categorical", "empty", "other"]
MOSTLY = 0.95  # of the values that are there must be numbers for a column to be one of numbers
NUMBER = r"^[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity|nan))$"


class Text:
    """Cells of a CSV file: an Arrow array of text, which may be that of numbers."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def split(self) -> tuple[Any, Any]:
        """Return (the cells that are there, without blanks around them; which of them are numbers)."""
        from pyarrow import compute

        cells = compute.utf8_trim_whitespace(self.array.drop_null())
        return cells, compute.match_substring_regex(cells, NUMBER)


Part: TypeAlias = Any  # Column | Text | an Arrow array


class Numbers(NamedTuple):
    """Values of a numeric column, infinities included, and how many have no number, by reason."""

    values: npt.NDArray[np.float64]
    invalid: dict[str, int]


def kind_of(column: Part) -> tuple[Kind, str]:
    """Return (what a column is of, its type in words); `empty` where nothing in this part tells."""
    if isinstance(column, Text):
        cells, is_number = column.split()
        share = is_number.true_count / len(cells) if len(cells) else None
        return ("empty" if share is None else "numeric" if share >= MOSTLY else "categorical"), "text"
    if _is_arrow(column):
        return _kind_of_arrow(column)
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiu":
        return "numeric", str(column.dtype)
    there = [value for value in column if not is_missing(value)]
    if not there:
        return "empty", "nothing"
    if all(isinstance(value, (bool, np.bool_)) for value in there):
        return "categorical", "truth values"
    wrong = numbers(there)[3]
    if wrong <= (1 - MOSTLY) * len(there):
        return "numeric", "numbers"
    named = next(value for value in there if not isinstance(value, (int, float)))
    texts = sum(not label_text(value)[1] for value in there)
    return ("categorical" if texts >= MOSTLY * len(there) else "other"), type(named).__name__


def _kind_of_arrow(column: Any) -> tuple[Kind, str]:
    from pyarrow import types

    kind = column.type
    if column.null_count == len(column):
        return "empty", str(kind)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "numeric", str(kind)
    if types.is_boolean(kind) or types.is_dictionary(kind) or str(kind) in {"string", "large_string", "string_view"}:
        return "categorical", str(kind)
    return "other", str(kind)


def _is_arrow(column: Any) -> bool:
    return hasattr(column, "to_pylist") and hasattr(column, "null_count")


def as_numbers(column: Part) -> Numbers:
    """Return a column's numbers; NaN is a reason, infinities are values and a reason."""
    if isinstance(column, Text):
        cells, is_number = column.split()
        values = cells.filter(is_number).cast("double").to_numpy(zero_copy_only=False)
        return _judged(values, len(column) - len(cells), len(cells) - len(values))
    if _is_arrow(column) and _kind_of_arrow(column)[0] == "numeric":
        values = column.drop_null().cast("double", safe=False).to_numpy(zero_copy_only=False)
        return _judged(values, column.null_count, 0)
    values, _, missing, wrong = numbers(as_list(column) if _is_arrow(column) else column)
    return _judged(values, missing, wrong)


def _judged(values: npt.NDArray[np.float64], missing: int, wrong: int) -> Numbers:
    nan = np.isnan(values)
    reasons = {"missing": missing, "nan": int(nan.sum()), "type": wrong, "inf": int(np.isinf(values).sum())}
    return Numbers(values[~nan] if reasons["nan"] else values, {reason: n for reason, n in reasons.items() if n})


def as_categories(column: Part) -> tuple[Counter[str], Counter[str]]:
    """Return (how often each category occurs, how many values are none, by reason)."""
    counts: Counter[str] = Counter()
    invalid: Counter[str] = Counter()
    for value, n in _distinct(column):
        text, refused = ("", "missing") if is_missing(value) else label_text(value)
        (invalid if refused else counts)[refused or text] += n
    return counts, invalid


def _distinct(column: Part) -> Sequence[tuple[Any, int]]:
    """Return (value, how often); equal values of different types are apart."""
    if isinstance(column, Text) or _is_arrow(column):
        found = (column.array if isinstance(column, Text) else column).value_counts()
        return list(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))
    try:
        typed = Counter((type(value), value) for value in as_list(column))
    except TypeError:  # unhashable
        return [(value, 1) for value in as_list(column)]
    return [(value, n) for (_, value), n in typed.items()]


def as_list(column: Part) -> list[Any]:
    """Return the values in the order of the rows."""
    if isinstance(column, Text):
        column = column.array
    if hasattr(column, "to_pylist"):
        return list(column.to_pylist())
    return list(column.tolist()) if isinstance(column, np.ndarray) else list(column)
