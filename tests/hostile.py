"""More than 300 values that no service should record, each with what must become of it, written down by hand."""

from __future__ import annotations

import array
import asyncio
import collections
import ctypes
import datetime as dt
import decimal
import enum
import fractions
import io
import math
import re
import sys
import time
import types
import uuid
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

Verdict = Literal["ok", "missing", "nan", "inf", "type"]


class Case(NamedTuple):
    """A value, made anew each time, and what it is as a number and as a label."""

    name: str
    make: Callable[[], Any]
    number: Verdict
    label: Verdict
    seconds: str = ""  # why it is refused as a duration, where that is not what it is as a number


class Fatal(BaseException):
    """An error that is no Exception."""


ERRORS = (
    ZeroDivisionError,
    RecursionError,
    MemoryError,
    StopIteration,
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    Fatal,
)
METHODS = (
    "__str__", "__repr__", "__float__", "__index__", "__int__", "__eq__", "__hash__", "__bool__", "__len__", "__iter__", "__getitem__",
    "__getattr__", "__getattribute__", "__contains__", "__format__", "__lt__", "__bytes__", "__sizeof__", "__dir__", "__array__",
    "__complex__", "__reduce_ex__", "__fspath__", "__next__", "__buffer__", "__copy__", "__deepcopy__", "__call__",
)  # fmt: skip


def fails(error: type[BaseException]) -> Callable[..., Any]:
    """Return a method that raises."""

    def method(*_: Any, **__: Any) -> Any:
        raise error

    return method


def raising(
    error: type[BaseException], *methods: str, base: type = object, value: tuple[Any, ...] = ()
) -> Callable[[], Any]:
    """Return a maker of an object whose methods raise."""
    kind = type("Hostile", (base,), {name: fails(error) for name in methods})
    return lambda: kind(*value)


class AskedClass:
    """Raises when it is asked for its class."""

    @property
    def __class__(self) -> Any:
        raise ZeroDivisionError

    @__class__.setter
    def __class__(self, _: Any) -> None:
        raise ZeroDivisionError


class Nameless(type):
    """A class that raises when it is named, hashed, compared or asked about its kind."""

    __name__ = property(fails(Fatal))
    __module__ = property(fails(Fatal))
    __hash__ = __eq__ = __instancecheck__ = __subclasscheck__ = __repr__ = fails(ZeroDivisionError)


def constant(value: Any) -> Callable[[], Any]:
    """Return a maker of this value."""
    return lambda: value


def floating(answer: Any) -> Callable[[], Any]:
    """Return a maker of an object that is this number."""
    return type("Floating", (), {"__float__": lambda _: answer})


class Word(str, enum.Enum):
    """Text as an enumeration."""

    WORD = "word"


class Whole(enum.IntEnum):
    """Numbers as an enumeration."""

    ONE = 1


class Plain(enum.Enum):
    """Anything as an enumeration."""

    ONE = 1


def recursive_dict() -> Any:
    """Return a dict that contains itself."""
    made: dict[str, Any] = {}
    made["me"] = made
    return made


def recursive_list() -> Any:
    """Return a list that contains itself."""
    made: list[Any] = []
    made.append(made)
    return made


def coroutine() -> Any:
    """Return a coroutine that nobody awaits."""

    async def nothing() -> None:
        await asyncio.sleep(0)

    made = nothing()
    made.close()
    return made


def generator() -> Iterator[int]:
    """Yield nothing."""
    yield from ()


def good_numbers() -> Iterator[Case]:
    """Yield numbers that are in range as seconds, too."""
    for value in (0, 1, 7, 0.0, -0.0, 0.5, 5e-324, 2.2e-308, 86_400.0, 1e-9, True, False, np.int8(3), np.uint64(5), np.int64(0), np.float32(0.5), np.float64(2), np.bool_(True)):  # fmt: skip
        yield Case(f"number {value!r}", constant(value), "ok", "ok")
    others: dict[str, Callable[[], Any]] = {
        "decimal": lambda: decimal.Decimal("0.5"), "fraction": lambda: fractions.Fraction(1, 3), "float16": lambda: np.float16(0.5),
        "longdouble": lambda: np.longdouble(1), "0-d array": lambda: np.array(1.5), "0-d int array": lambda: np.array(2),
        "0-d object array": lambda: np.array(3, object), "__float__": floating(0.5), "IntEnum": lambda: Whole.ONE,
        "__index__": type("Index", (), {"__index__": lambda _: 3}), "int subclass": lambda: type("I", (int,), {})(5),
        "float subclass": raising(Fatal, "__float__", "__str__", "__repr__", "__hash__", "__eq__", "__lt__", base=float, value=(0.25,)),
        "int subclass without text": raising(Fatal, "__str__", "__repr__", "__hash__", base=int, value=(9,)),
    }  # fmt: skip
    for name, make in others.items():
        yield Case(name, make, "ok", "type")


def far_numbers() -> Iterator[Case]:
    """Yield numbers that no request takes."""
    for value in (-1, -1e-9, -5e-324, 86_400.0001, 1e9, -1e9, 2**63, -(2**63), 10**30, 1e308, -1e308, sys.float_info.max, np.int64(-2), np.uint64(2**64 - 1)):  # fmt: skip
        yield Case(f"number {value!r}", constant(value), "ok", "ok", "range")
    yield Case("decimal -1", lambda: decimal.Decimal(-1), "ok", "type", "range")
    yield Case("nanoseconds", lambda: np.datetime64("2026-01-01", "ns"), "ok", "type", "range")


def undefined() -> Iterator[Case]:
    """Yield what is missing, NaN or endless."""
    yield Case("None", lambda: None, "missing", "missing")
    yield Case("NA", lambda: pd.NA, "missing", "missing")
    for kind in (float, np.float32, np.float64):
        yield Case(f"{kind.__name__} nan", constant(kind("nan")), "nan", "nan")
        for sign in "+-":
            yield Case(f"{kind.__name__} {sign}inf", constant(kind(f"{sign}inf")), "inf", "nan", "range")
    yield Case("float subclass nan", lambda: type("F", (float,), {})("nan"), "nan", "nan")
    for name, number, make in (
        ("decimal nan", "nan", lambda: decimal.Decimal("NaN")), ("decimal inf", "inf", lambda: decimal.Decimal("Infinity")),
        ("decimal 1e400", "inf", lambda: decimal.Decimal("1e400")), ("float16 inf", "inf", lambda: np.float16("inf")),
        ("0-d nan", "nan", lambda: np.array(math.nan)), ("__float__ nan", "nan", floating(math.nan)), ("__float__ inf", "inf", floating(-math.inf)),
        ("masked", "nan", lambda: np.ma.masked), ("0-d masked", "nan", lambda: np.ma.array(1.0, mask=True)),
    ):  # fmt: skip
        yield Case(name, make, number, "type", "range" if number == "inf" else "")  # type: ignore[arg-type]
    yield Case("10**400", lambda: 10**400, "type", "ok")
    yield Case("-10**400", lambda: -(10**400), "type", "ok")
    yield Case("10**5000", lambda: 10**5000, "type", "type")


TEXTS = (
    "", " ", "a", "NaN", "1", "1.5", "None", "\ud800", "x\udfffy", "\0", "\n", "\r\n", "\t", '"', "'", "\\", "\\n", '\\"', "{{ template }}", "%s %d %", "%%",
    "${x}", "{}", "{", "}", ",", "=", "\u2028", "\u2029", "\u202e", "\u200b", "\ufeff", "é", "e\u0301", "🙂", "<script>alert(1)</script>", "' OR 1=1 --",
    "__other__", "../../etc/passwd", "=cmd|' /C calc'!A0", "@channel", "a" * 128, "a" * 129, "é" * 200, "\U0010ffff", "\x7f", "\x85", "# HELP", "# EOF",
)  # fmt: skip


def texts() -> Iterator[Case]:
    """Yield texts: labels, and no numbers."""
    for i, text in enumerate(TEXTS):
        yield Case(f"text {i} {ascii(text)[:20]}", constant(text), "type", "ok")
    yield Case("10 MB", lambda: "x" * 10_000_000, "type", "ok")
    yield Case("numpy text", lambda: np.str_("numpy"), "type", "ok")
    yield Case("enumerated text", lambda: Word.WORD, "type", "ok")
    liar = raising(Fatal, "__str__", "__repr__", "__hash__", "__eq__", "__len__", "__iter__", "__getitem__", "encode", "__bool__", "__format__", base=str, value=("liar",))  # fmt: skip
    yield Case("text that raises", liar, "type", "ok")


def foreign() -> Iterator[Case]:
    """Yield objects that are neither numbers nor labels."""
    makers: dict[str, Callable[[], Any]] = {
        "bytes": lambda: b"7", "empty bytes": lambda: b"", "bytearray": lambda: bytearray(b"7"), "memoryview": lambda: memoryview(b"7"),
        "list": lambda: [1], "empty list": list, "tuple": lambda: (1,), "empty tuple": tuple, "set": lambda: {1}, "frozenset": frozenset,
        "recursive list": recursive_list, "object": object, "class": lambda: int, "function": lambda: len, "lambda": lambda: fails, "module": lambda: math,
        "ellipsis": lambda: ..., "not implemented": lambda: NotImplemented, "complex": lambda: 1j, "0-d complex": lambda: np.array(1j), "slice": lambda: slice(1),
        "range": lambda: range(3), "iterator": lambda: iter([]), "generator": generator, "coroutine": coroutine, "map": lambda: map(len, ()),
        "datetime": lambda: dt.datetime(2026, 1, 1), "date": lambda: dt.date(2026, 1, 1), "time": lambda: dt.time(1), "timedelta": lambda: dt.timedelta(1),
        "Timestamp": lambda: pd.Timestamp(0), "Timedelta": lambda: pd.Timedelta("1s"), "Period": lambda: pd.Period("2026"), "Interval": lambda: pd.Interval(0, 1),
        "NaT": lambda: pd.NaT, "datetime64": lambda: np.datetime64("2026-01-01", "D"), "timedelta64": lambda: np.timedelta64(1, "s"),
        "Series": lambda: pd.Series([1.0, 2.0]), "DataFrame": lambda: pd.DataFrame({"a": [1]}), "Index": lambda: pd.Index([1, 2]), "Categorical": lambda: pd.Categorical(["a"]),
        "array": lambda: np.array([1.0, 2.0]), "empty array": lambda: np.array([]), "matrix": lambda: np.eye(2), "masked array": lambda: np.ma.array([1, 2], mask=[True, False]),
        "object array": lambda: np.array([None, "x"], object), "structured": lambda: np.zeros(1, [("a", "f8")])[0], "numpy bytes": lambda: np.bytes_(b"7"),
        "array.array": lambda: array.array("d", [1]), "ctypes": lambda: ctypes.c_double(1), "decimal snan": lambda: decimal.Decimal("sNaN"),
        "huge fraction": lambda: fractions.Fraction(10**400), "0-d text array": lambda: np.array("x"), "0-d None array": lambda: np.array(None, object),
        "enum": lambda: Plain.ONE, "enum class": lambda: Plain, "uuid": lambda: uuid.UUID(int=1), "pattern": lambda: re.compile("x"), "file": lambda: io.BytesIO(b"x"),
        "deque": collections.deque, "struct_time": lambda: time.gmtime(0), "namespace": types.SimpleNamespace, "weak": lambda: weakref.ref(Plain),
        "proxy": lambda: types.MappingProxyType({}), "property": lambda: property(), "type of types": lambda: type, "exception class": lambda: Plain,
        "__float__ text": floating("1"), "__float__ None": floating(None), "__class__": AskedClass, "metaclass": Nameless("Nameless", (), {}),
        "class with metaclass": lambda: Nameless("Nameless", (), {}), "int without float": raising(Fatal, "__float__", base=int, value=(3,)),
        "complex subclass": raising(Fatal, "__complex__", base=complex), "bytes that raise": raising(Fatal, "__len__", "__hash__", base=bytes, value=(b"x",)),
        "list that raises": raising(Fatal, "__len__", "__iter__", "__bool__", base=list), "tuple that raises": raising(Fatal, "__len__", "__iter__", "__hash__", base=tuple),
    }  # fmt: skip
    for name, make in makers.items():
        yield Case(name, make, "type", "type")
    for method in METHODS:
        for error in ERRORS:
            yield Case(f"{method} {error.__name__}", raising(error, method), "type", "type")
    yield Case("all methods", raising(Fatal, *METHODS), "type", "type")


def mappings() -> Iterator[Case]:
    """Yield dicts; as the features of a request each key of theirs is unknown."""
    yield Case("empty dict", dict, "type", "type")
    yield Case("dict", lambda: {"a": 1, 2: 3}, "type", "type")
    yield Case("recursive dict", recursive_dict, "type", "type")
    yield Case("dict of unhashable", lambda: {"k": [{}]}, "type", "type")
    yield Case("ordered dict", lambda: collections.OrderedDict(a=1), "type", "type")
    yield Case("counter", lambda: collections.Counter("ab"), "type", "type")
    yield Case("default dict", lambda: collections.defaultdict(fails(Fatal)), "type", "type")
    methods = (
        "__getitem__",
        "__iter__",
        "__len__",
        "keys",
        "items",
        "get",
        "copy",
        "__contains__",
        "__bool__",
        "__eq__",
    )
    yield Case("dict that raises", raising(Fatal, *methods, base=dict, value=({"a": 1},)), "type", "type")


CORPUS: tuple[Case, ...] = (*good_numbers(), *far_numbers(), *undefined(), *texts(), *foreign(), *mappings())


def keys_of(value: Any) -> int | None:
    """Return how many keys a dict has, None for anything else."""
    return dict.__len__(value) if issubclass(type(value), dict) else None
