"""How numbers and foreign text are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.server import words

SPACE = words.NBSP


@given(st.one_of(st.none(), st.floats(), st.integers(-(10**400), 10**400), st.booleans(), st.text()))
def test_no_value_is_written_as_nan(value: float | None) -> None:
    """Whatever comes in, a number or a dash goes out."""
    writers = (words.number, words.percent, words.limit_percent, words.rate, words.latency, words.limit_latency)
    for write in (*writers, words.span, words.age, words.clock):
        text = write(value)
        assert text
        assert not {"nan", "inf", "None"} & {text.strip("\N{MINUS SIGN}").split(SPACE)[0]}


@given(st.text(st.characters(), max_size=300))
def test_clean_text_is_one_bounded_line_that_can_be_encoded(text: str) -> None:
    """Surrogates, controls and overrides are replaced; nothing else is needed to write it as UTF-8."""
    shown = words.clean(text)
    shown.encode("utf-8")
    assert len(shown) <= 120
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([0.05, 0.075], f"50–75{SPACE}ms"),
        ([7.5, 10.0], f"7,500{SPACE}ms–10{SPACE}s"),
        ([10.0, None], f"over 10{SPACE}s"),
        (None, "–"),
        ([None, 0.1], "–"),
    ],
)
def test_a_bucket_is_a_range_with_one_unit(bounds: list[float | None] | None, text: str) -> None:
    """The last bucket has no upper edge and says so."""
    assert words.bracket(bounds) == text


def test_ages_and_spans_use_large_units() -> None:
    """Seconds, then minutes, then hours, then days."""
    assert [words.age(v) for v in (0.2, 61, 540, 9000, 400000)] == [
        f"1{SPACE}s",
        f"61{SPACE}s",
        f"9{SPACE}min",
        f"2{SPACE}h",
        f"4{SPACE}d",
    ]
    assert words.span(90061) == f"1{SPACE}d{SPACE}1{SPACE}h"
    assert words.span(0.5) == f"0.5{SPACE}s"


def test_numbers_have_a_true_minus_and_no_minus_zero() -> None:
    """A value that rounds to zero has no sign."""
    assert words.number(-1234.5, 1) == "\N{MINUS SIGN}1,234.5"
    assert words.number(-0.001, 1) == "0.0"
