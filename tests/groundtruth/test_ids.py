"""Request ids: signed ones come back, made-up ones do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.groundtruth.ids import LENGTH, Signer

RAW = "0123456789abcdef" * 2
SIGNER = Signer(b"a key of thirty-two random bytes")
WHEN = 1_700_000_040.0


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**31))
def test_a_signed_id_says_what_was_signed(raw, minute):
    """Any id and any minute come back."""
    issued = SIGNER.verify(SIGNER.sign(raw.hex(), minute * 60 + 59.9))
    assert issued == (raw.hex(), minute * 60.0)


@given(st.integers(0, LENGTH - 1), st.sampled_from("0123456789abcdef"))
def test_a_changed_digit_is_refused(at, digit):
    """No digit of a signed id can be changed, its minute and signature included."""
    signed = SIGNER.sign(RAW, WHEN)
    changed = signed[:at] + digit + signed[at + 1 :]
    assert (SIGNER.verify(changed) is None) == (changed != signed)


@pytest.mark.parametrize("made_up", ["", RAW, "x" * LENGTH, "é" * LENGTH, None, 7, b"0" * LENGTH, "0" * (LENGTH + 1)])
def test_what_was_never_signed_is_refused(made_up):
    """Texts of every form, and what is no text."""
    assert SIGNER.verify(made_up) is None


def test_another_key_signs_otherwise():
    """The id of a service with another secret is unknown here."""
    assert Signer(b"another key, just as long as it ").verify(SIGNER.sign(RAW, WHEN)) is None
    long = b"k" * 100
    assert Signer(long).verify(Signer(long).sign(RAW, WHEN)) is not None


def test_a_short_key_is_refused():
    """Nobody must be able to guess it."""
    with pytest.raises(ValueError, match="length is 3"):
        Signer(b"abc")
