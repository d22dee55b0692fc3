"""Label values: safe text of bounded length from any value, and codes that hold a cap and miscount nothing."""

from __future__ import annotations

import enum
import math
import tracemalloc
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.labels import LONGEST, NONE_CODE, OTHER_CODE, LabelCodes, is_missing, label_text, name_of
from modelwatch.names import INVALID, OTHER

TEXTS = st.text(st.characters(), max_size=200) | st.text(max_size=3).map(lambda text: text * 99)


class Colour(str, enum.Enum):
    """A label that is text."""

    RED = "red"


class Number(enum.IntEnum):
    """A label that is a number of another type."""

    ONE = 1


class Nameless(type):
    """A class without a name, a hash or an equal."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]
        """Raise."""
        raise RuntimeError

    def __hash__(cls) -> int:
        raise RuntimeError

    def __eq__(cls, _other: object) -> bool:
        raise RuntimeError


def hostile() -> Any:
    """Return an object whose class raises when it is asked for anything."""
    return Nameless("Hostile", (), {})()


@given(st.text(st.characters()) | st.text(st.characters(categories=["Cs"]), min_size=1))
def test_any_text_is_safe_and_bounded(text: str) -> None:
    """A label of any text can be encoded, has at most 128 characters, and is the text itself where that is so."""
    label, refused = label_text(text)
    assert refused == ""
    assert len(label) <= LONGEST
    assert label.encode().decode() == label
    if len(text) <= LONGEST and not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert label == text


def test_long_texts_stay_apart() -> None:
    """Of 20 000 texts that differ only beyond the cut, no two have the same label."""
    labels = {label_text("x" * 500 + str(i))[0] for i in range(20_000)}
    assert len(labels) == 20_000
    assert {len(label) for label in labels} == {LONGEST}


@pytest.mark.parametrize(
    ("value", "text", "refused"),
    [
        (True, "True", ""), (np.bool_(False), "False", ""), (3, "3", ""), (np.int8(-3), "-3", ""),
        (np.uint64(2**64 - 1), "18446744073709551615", ""), (0.5, "0.5", ""), (np.float32(0.5), "0.5", ""),
        (np.str_("n"), "n", ""), (Colour.RED, "red", ""), ("", "", ""), ("\ud800", "?", ""), ("a\nb", "a\nb", ""),
        (math.nan, INVALID, "nan"), (math.inf, INVALID, "nan"), (np.float32("nan"), INVALID, "nan"),
        (10**5000, INVALID, "type"), (Number.ONE, INVALID, "type"), (b"x", INVALID, "type"), ((), INVALID, "type"),
        (object(), INVALID, "type"), (str, INVALID, "type"), (1j, INVALID, "type"),
    ],
    ids=lambda v: type(v).__name__,
)  # fmt: skip
def test_known_types_have_a_text(value: object, text: str, refused: str) -> None:
    """Text, numbers and booleans have one; everything else is refused, by its kind."""
    assert label_text(value) == (text, refused)


def test_a_class_is_never_asked() -> None:
    """A class that raises when it is named, hashed or compared is refused like any unknown one."""
    codes = LabelCodes(10)
    assert name_of(type(hostile())) == "Hostile"
    assert not is_missing(hostile())
    assert codes.names[codes.encode_one(hostile())] == INVALID
    assert codes.names[codes.encode([hostile(), "a"])[1]] == "a"
    assert codes.drain() == (0, {"type": 2})


def test_missing_is_none_and_pandas_na() -> None:
    """Only these are missing: NaN, NaT and an empty text are values."""
    assert [is_missing(v) for v in (None, pd.NA)] == [True, True]
    assert not any(is_missing(v) for v in (math.nan, pd.NaT, "", 0, False))
    assert LabelCodes(1).encode([None, pd.NA]).tolist() == [NONE_CODE, NONE_CODE]


def test_equal_keys_of_other_types_are_other_labels() -> None:
    """1, True and 1.0 are one key of a dict, but three labels, in any order and again."""
    for order in ((1, True, 1.0), (1.0, True, 1), (True, 1.0, 1)):
        codes = LabelCodes(10)
        for _ in range(2):
            assert [codes.names[codes.encode_one(v)] for v in order] == [str(v) for v in order]
            assert [codes.names[c] for c in codes.encode(list(order))] == [str(v) for v in order]


@pytest.mark.parametrize("value", [10**5000, math.nan, [], object()], ids=["huge", "nan", "list", "object"])
def test_a_refused_value_is_counted_every_time(value: object) -> None:
    """The third time as the first, alone and in a column."""
    codes = LabelCodes(10)
    for _ in range(3):
        codes.encode_one(value)
    codes.encode([value, "a", value])
    assert sum(codes.drain()[1].values()) == 5
    assert codes.drain() == (0, {})


VALUES = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(), st.floats(), st.just(pd.NA), st.just(Colour.RED), st.binary(max_size=2),
    st.sampled_from([np.int64(1), np.bool_(True), np.float64(1.5), OTHER, INVALID]), st.lists(st.none(), max_size=1),
)  # fmt: skip


@given(st.lists(VALUES, max_size=40), st.integers(0, 5), st.sets(st.sampled_from(["a", "b", "1"])))
def test_a_column_is_its_values(values: list[Any], cap: int, known: set[str]) -> None:
    """A column gives the codes of its values one by one: the texts up to the cap, then `__other__`, all counted."""
    column, single = LabelCodes(cap, known), LabelCodes(cap, known)
    codes = column.encode(values)
    assert codes.tolist() == [single.encode_one(value) for value in values]
    assert column.names == single.names
    overflow, refused = column.drain()
    assert (overflow, refused) == single.drain()
    expected, taken = Counter[str](), set[str]()
    for value, code in zip(values, codes.tolist(), strict=True):
        if value is None or value is pd.NA:
            assert code == NONE_CODE
            continue
        text, why = label_text(value)
        if why:
            expected[why] += 1
            assert column.names[code] == INVALID
        elif code == OTHER_CODE:
            expected["over"] += text != OTHER
        else:
            assert column.names[code] == text
            taken.add(text)
    assert overflow == expected.pop("over", 0)
    assert refused == dict(expected)
    assert len(taken - known - {INVALID}) <= cap


def test_arrays_are_columns() -> None:
    """An array of numbers, texts or objects gives the labels of its items."""
    for array in (np.array([1, 2, 1]), np.array(["a", "b"]), np.array([True, False]), np.array(["x", None], object)):
        codes = LabelCodes(10)
        found = [codes.names[c] for c in codes.encode(array)]
        assert found == ["" if v is None else str(v) for v in array.tolist()]


def test_what_is_counted_already_is_known_above_the_cap() -> None:
    """Values taken over from another worker keep their names; new ones are `__other__`."""
    codes = LabelCodes(1)
    for value in ("a", "b", "c"):
        codes.know(value)
    assert [codes.names[c] for c in codes.encode(["c", "d", "a"])] == ["c", OTHER, "a"]
    assert codes.drain() == (1, {})


def test_many_distinct_values_take_little_memory() -> None:
    """100 000 distinct texts and as many distinct numbers: the cap holds, and under 2 MB are kept."""
    codes = LabelCodes(1000)
    tracemalloc.start()
    for start in range(0, 100_000, 500):
        codes.encode([f"user-{i}" for i in range(start, start + 500)])
        codes.encode(list(range(start, start + 500)))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2e6
    assert len(codes.names) == 1002
    assert codes.drain() == (200_000 - 1000, {})
