"""The reference profile: bins at quantiles of the training data, kept as JSON that shows every change."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.errors import ConfigError, DamagedData, NewerFormat, NotEnoughData
from modelwatch.reference import EXPORTED, FINE, CategoricalProfile, NumericProfile, Reference, profile_numeric

VALUES = st.one_of(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=300),
    st.lists(st.integers(-3, 9).map(float), min_size=1, max_size=300),
    st.lists(st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.0, 1e308]), min_size=1, max_size=50),
).filter(lambda values: any(map(math.isfinite, values)))


@given(VALUES)
def test_bins_hold_every_finite_value_once(values: list[float]) -> None:
    """Edges are finite and increasing, the shown ones are among them, and each bin counts the values in (lower, upper]."""
    profile = profile_numeric(values)
    finite = [v for v in values if math.isfinite(v)]
    bounds = [-math.inf, *profile.edges, math.inf]
    assert list(profile.counts) == [
        sum(low < v <= high for v in finite) for low, high in zip(bounds, bounds[1:], strict=False)
    ]
    assert len(profile.edges) < FINE
    assert len(profile.exported) < EXPORTED
    assert set(profile.exported) <= set(profile.edges)
    assert all(math.isfinite(edge) for edge in profile.edges)
    assert sorted(set(profile.edges)) == list(profile.edges)
    assert sorted(set(profile.exported)) == list(profile.exported)
    assert Reference.from_json(Reference({"x": profile}).to_json()).numeric["x"] == profile


def test_bins_of_many_values_are_equal_shares() -> None:
    """10 000 distinct values: 100 bins of 100, of which 20 of 500 are shown."""
    values = np.random.default_rng(1).normal(size=10_000)
    profile = profile_numeric(values)
    assert profile.counts == (100,) * 100
    shown = np.searchsorted(profile.exported, values, "left")
    assert np.bincount(shown).tolist() == [500] * 20
    assert profile_numeric(values[::-1]) == profile


def test_few_values_have_a_bin_each() -> None:
    """Up to 10 distinct values: every value is a bin of its own, shown as kept."""
    for distinct in range(2, 11):
        profile = profile_numeric([float(v) for v in range(distinct)] * 3)
        assert profile.counts == (3,) * distinct
        assert profile.exported == profile.edges == tuple(map(float, range(distinct - 1)))


@pytest.mark.parametrize("value", [0.0, 7.0, -2.5, 1e300, 5e-324])
def test_a_constant_has_three_bins(value: float) -> None:
    """Below, equal, above: anything but the constant is seen."""
    profile = profile_numeric([value] * 9)
    assert profile.counts == (0, 9, 0)
    assert profile.exported == profile.edges == (np.nextafter(value, -np.inf), value)


@pytest.mark.parametrize("share", [0.96, 0.995, 0.9999])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_one_value_that_nearly_all_are_keeps_a_bin(share: float, side: float) -> None:
    """Of a feature that nearly always is its greatest or its least value, the few others stay in bins that are shown."""
    n = 100_000
    others = np.arange(1, 1 + round(n * (1 - share)), dtype=float)
    values = np.concatenate([np.zeros(n - len(others)), -side * others])
    profile = profile_numeric(values)
    assert profile.exported
    moved = np.searchsorted(profile.exported, [0.0, -side * (len(others) + 1.0)], "left")
    assert moved[0] != moved[1]


def test_nothing_finite_has_no_profile() -> None:
    """No number to be drawn from: refused, with what to do."""
    for values in ([], [math.nan], [math.inf, -math.inf]):
        with pytest.raises(
            NotEnoughData, match=r"^reference: .*expected at least one\. Leave it out of the profile\.$"
        ):
            profile_numeric(values)


def whole() -> Reference:
    """Return a profile of every kind."""
    numeric = {"x": profile_numeric(range(1000)), "é": profile_numeric([1.0])}
    return Reference(numeric, {"c": CategoricalProfile({"red": 7, "\ud800\u2028": 1})})


def test_json_comes_back_whole(tmp_path: Path) -> None:
    """From text, from a file, and the same bytes again."""
    text = whole().to_json()
    assert Reference.from_json(text) == whole()
    assert Reference.from_json(text).to_json() == text
    path = tmp_path / "reference.json"
    path.write_text(text, encoding="utf-8")
    assert Reference.load(path) == Reference.load(str(path)) == whole()


def changed(edit: Callable[[dict[str, Any]], None], *, sign: bool) -> str:
    """Return the profile's JSON after a change by hand; `sign`: with a hash that fits."""
    content: dict[str, Any] = json.loads(whole().to_json())
    edit(content)
    if sign:
        del content["sha256"]
        content["sha256"] = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps(content)


def test_a_change_by_hand_is_seen() -> None:
    """One count more, and the hash does not fit."""

    def more(content: dict[str, Any]) -> None:
        content["numeric"]["x"]["counts"][0] += 1

    with pytest.raises(DamagedData, match="the hash does not match"):
        Reference.from_json(changed(more, sign=False), "here.json")


@pytest.mark.parametrize(
    "edges",
    [
        {"edges": [2.0, 1.0], "exported": [], "counts": [1, 1, 1]},
        {"edges": [1.0, 1.0], "exported": [], "counts": [1, 1, 1]},
        {"edges": [math.nan], "exported": [], "counts": [1, 1]},
        {"edges": [1.0, math.inf], "exported": [], "counts": [1, 1, 1]},
        {"edges": [1.0], "exported": [2.0], "counts": [1, 1]},
        {"edges": [1.0, 2.0], "exported": [2.0, 1.0], "counts": [1, 1, 1]},
        {"edges": [1.0], "exported": [1.0], "counts": [1]},
        {"edges": [1.0], "exported": [1.0], "counts": [1, -1]},
        {"edges": list(map(float, range(100))), "exported": [], "counts": [1] * 101},
        {"edges": [1.0], "counts": [1, 1]},
        {"edges": ["one"], "exported": [], "counts": [1, 1]},
        [],
        None,
    ],
)
def test_bins_that_do_not_fit_are_refused(edges: Any) -> None:
    """Even with a hash that fits: edges out of order, shown ones that are not kept, counts of other bins."""

    def put(content: dict[str, Any]) -> None:
        content["numeric"]["x"] = edges

    with pytest.raises(
        DamagedData, match=r"^here\.json: not a reference profile .* Profile the training data again\.$"
    ):
        Reference.from_json(changed(put, sign=True), "here.json")


def test_every_truncation_is_refused() -> None:
    """Whatever is cut off."""
    text = whole().to_json()
    for cut in range(0, len(text), 37):
        with pytest.raises(DamagedData):
            Reference.from_json(text[:cut])


@pytest.mark.parametrize("text", ["", "1", "null", "[1]", '{"schema": 1}', "\x80\x04}q\x00.", "[" * 100_000])
def test_foreign_text_is_refused(text: str) -> None:
    """Numbers, lists, pickles and towers of brackets are no profile."""
    with pytest.raises(DamagedData):
        Reference.from_json(text)


def test_newer_profiles_are_left_alone() -> None:
    """The message says what to do."""

    def newer(content: dict[str, Any]) -> None:
        content["schema"] = 2

    with pytest.raises(NewerFormat, match=r"^here\.json: schema is 2; expected at most 1\. Upgrade modelwatch"):
        Reference.from_json(changed(newer, sign=True), "here.json")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing file, a folder, or bytes that are no text: one line with the path."""
    path = tmp_path / "reference.json"
    if content is not None:
        path.write_bytes(content)
    for place in (path, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            Reference.load(place)
        assert repr(str(place)) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_profiles_are_values() -> None:
    """Equal data give equal profiles."""
    assert profile_numeric([1.0, 2.0]) == NumericProfile((1.0,), (1.0,), (1, 1))
    assert Reference() == Reference.from_json(Reference().to_json())
