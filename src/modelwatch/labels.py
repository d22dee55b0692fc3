"""Label values: safe text from any value, and small integer codes for a bounded number of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from hashlib import blake2b
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch.names import INVALID, OTHER

LONGEST = 128  # characters of a label value; longer ones end in ~ and a hash of the whole

NONE_CODE, OTHER_CODE = 0, 1

_NUMPY_WHOLE = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64)
#: Only values of these types are ever asked for their text, by a function that is not the value's own.
_TEXT_OF: dict[type, Callable[[Any], str]] = {bool: str, int: int.__repr__, float: float.__repr__, np.bool_: str}
_TEXT_OF |= dict.fromkeys(_NUMPY_WHOLE, lambda value: int.__repr__(int(value)))
_TEXT_OF |= dict.fromkeys((np.float32, np.float64), lambda value: float.__repr__(float(value)))


def label_text(value: object) -> tuple[str, str]:
    """Return (a safe label value, why it was refused or ""); only well-known types are asked for their text.

    Lone surrogates are replaced, long text is cut to 128 characters and keeps a hash of the whole.

    Examples
    --------
    >>> label_text("positive"), label_text(3), label_text(object())
    (('positive', ''), ('3', ''), ('__invalid__', 'type'))
    """
    kind = type(value)
    try:
        if issubclass(kind, str):
            text = str.__str__(value)  # a subclass may override __str__: not asked
        elif (issubclass(kind, float) or kind is np.float32) and not math.isfinite(value):  # type: ignore[arg-type]  # a float
            return INVALID, "nan"
        else:
            text = _TEXT_OF[kind](value)
        text = text.encode("utf-8", "replace").decode()
    except BaseException:  # noqa: BLE001  # 10**5000 has no text; unknown types are a KeyError
        return INVALID, "type"
    if len(text) > LONGEST:
        text = text[: LONGEST - 17] + "~" + blake2b(text.encode(), digest_size=8).hexdigest()
    return text, ""


_NUMBERS = frozenset({bool, int, float, Decimal, np.bool_, np.float16, np.float32, np.float64, *_NUMPY_WHOLE})


def plain_number(value: object) -> float | None:
    """Return a finite number; None for anything else. Only well-known types are asked for theirs.

    Examples
    --------
    >>> plain_number(3), plain_number("3"), plain_number(float("nan")), plain_number(10**400)
    (3.0, None, None, None)
    """
    try:
        number = float(value) if type(value) in _NUMBERS else math.nan  # type: ignore[arg-type]  # a number
    except BaseException:  # noqa: BLE001  # 10**400; a signalling NaN; a class without a hash
        return None
    return number if math.isfinite(number) else None


#: The name of a class. Not `kind.__name__`, which a metaclass may answer.
name_of: Callable[[type], str] = type.__dict__["__name__"].__get__


def is_missing(value: object) -> bool:
    """Tell None and pandas' NA from values."""
    return value is None or name_of(type(value)) == "NAType"


class Coded:
    """A column as its distinct values and, for each row, which of them it has: what Arrow calls a dictionary.

    at : (rows,) positions in `values`.
    values : in the order of their first rows, or those that are known; None is a gap.
    """

    __slots__ = ("at", "values")

    def __init__(self, at: npt.NDArray[np.integer[Any]], values: Sequence[Any]) -> None:
        self.at, self.values = at, values

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Any) -> Coded:
        return Coded(self.at[rows], self.values)

    @classmethod
    def gap(cls, n: int) -> Coded:
        """Return a column of n rows that was not given."""
        return cls(np.zeros(n, np.intp), (None,))

    def tolist(self) -> list[Any]:
        """Return the values row by row."""
        return [self.values[i] for i in self.at.tolist()]

    def counts(self) -> npt.NDArray[np.intp]:
        """Return how many rows have each value."""
        if len(self.values) == 1:
            return np.array([len(self.at)])
        return np.bincount(self.at, minlength=len(self.values))

    def given(self) -> list[tuple[int, Any]]:
        """Return (row, value) where there is one."""
        there = np.array([not is_missing(value) for value in self.values], bool)
        rows = np.flatnonzero(there[self.at]).tolist() if there.any() else []
        return [(row, self.values[self.at[row]]) for row in rows]


class LabelCodes:
    """Codes of one label's values: 0 is None, 1 is every value over the cap.

    cap : most values with a code of their own.
    known : values that have one from the start; they do not count towards the cap.
    """

    def __init__(self, cap: int, known: Iterable[str] = ()) -> None:
        self.cap = cap
        self.names: list[str] = ["", OTHER]  # by code; the name of code 0 is never shown
        self._code: dict[str | None, int] = {None: NONE_CODE, OTHER: OTHER_CODE}
        self._typed: dict[type, dict[Any, int]] = {kind: {} for kind in (int, bool, np.int64, np.bool_)}
        self.overflow = 0  # values that went to `__other__` since `drain`
        self.refused: dict[str, int] = {}  # values without a safe text since `drain`, by reason
        for value in known:
            self.know(value)
        self._most = len(self.names) + cap

    def know(self, value: str) -> None:
        """Give a value a code whatever the cap: it is counted already."""
        if value not in self._code:
            self._code[value] = len(self.names)
            self.names.append(value)

    def encode_one(self, value: object, n: int = 1) -> int:
        """Return the code of a value, which occurs `n` times."""
        kind, same = type(value), None
        if kind is str:
            code = self._code.get(value)  # type: ignore[call-overload]  # a str
        else:  # identity: the class may be unhashable, too
            if kind is int or kind is bool or kind is np.int64 or kind is np.bool_:
                same = self._typed[kind]  # 1, True and 1.0 are one dict key: each type has a map of its own
            code = None if same is None else same.get(value)
        if code is not None:
            return code  # type: ignore[no-any-return]  # an int
        if is_missing(value):
            return NONE_CODE
        text, refused = label_text(value)
        if refused:
            self.refused[refused] = self.refused.get(refused, 0) + n
        code = self._code.get(text)
        if code is None:
            if len(self.names) >= self._most and not refused:
                self.overflow += n
                return OTHER_CODE
            self.know(text)
            code = self._code[text]
        if same is not None and not refused and len(same) < self.cap:  # a refused value is counted every time
            same[value] = code
        return code

    def encode(self, values: Any, caught: type[BaseException] = BaseException) -> npt.NDArray[np.intp]:
        """Return the codes of a column.

        values : sequence, array, or `Coded`.
        caught : what a value's own code may raise.
        """
        if isinstance(values, Coded):
            known = np.zeros(len(values.values), np.intp)
            for i, code, _ in self._coded(values):
                known[i] = code
            codes: npt.NDArray[np.intp] = known[values.at]
            return codes
        if hasattr(values, "tolist"):
            values = values.tolist()
        try:
            codes = np.fromiter(map(self._code.get, values, repeat(-1)), np.intp, len(values))
        except caught:  # unhashable, or a raising __hash__ or __eq__
            codes = np.fromiter(
                (-1 if type(v) is not str else self._code.get(v, -1) for v in values), np.intp, len(values)
            )
        if len(codes) and codes.min() < 0:
            for i in np.flatnonzero(codes < 0).tolist():
                codes[i] = self.encode_one(values[i])
        return codes

    def _coded(self, column: Coded) -> list[tuple[int, int, int]]:
        """Return (position of a value, its code, how often) of the values that occur."""
        counts = column.counts()
        there = np.flatnonzero(counts).tolist()
        return [(i, self.encode_one(column.values[i], int(counts[i])), int(counts[i])) for i in there]

    def count(self, values: Any, caught: type[BaseException] = BaseException) -> list[tuple[int, int]]:
        """Return (code, how often) of the codes that occur in a column; the arguments are those of `encode`."""
        if isinstance(values, Coded):
            found: dict[int, int] = {}
            for _, code, n in self._coded(values):
                found[code] = found.get(code, 0) + n
            return sorted(found.items())
        counts = np.bincount(self.encode(values, caught))
        return [(code, int(counts[code])) for code in np.flatnonzero(counts).tolist()]

    def drain(self) -> tuple[int, dict[str, int]]:
        """Return and clear (values over the cap, refused values by reason)."""
        overflow, refused = self.overflow, self.refused
        self.overflow, self.refused = 0, {}
        return overflow, refused
