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
from modelwatch.reference import (
    EXPORTED,
    FINE,
    Calibration,
    CategoricalProfile,
    NumericProfile,
    NumericSums,
    Reference,
    profile_numeric,
)

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
        content["schema"] = 3

    with pytest.raises(NewerFormat, match=r"^here\.json: schema is 3; expected at most 2\. Upgrade modelwatch"):
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
    expected = NumericProfile((1.0,), (1.0,), (1, 1), (1.0, 2.0), 1.5, 0.5, 1.0, 2.0)
    assert profile_numeric([1.0, 2.0]) == expected
    assert Reference() == Reference.from_json(Reference().to_json())


def schema_1() -> str:
    """Return a profile as the first version wrote it."""
    content: dict[str, Any] = {
        "schema": 1,
        "numeric": {"x": {"edges": [1.0, 2.0], "exported": [2.0], "counts": [3, 4, 5]}},
        "categorical": {"c": {"red": 7, "blue": 1}},
    }
    digest = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest})


def test_profiles_of_schema_1_still_load() -> None:
    """Edges, counts and categories are there; what it did not have is unknown."""
    found = Reference.from_json(schema_1())
    assert found.numeric["x"] == NumericProfile((1.0, 2.0), (2.0,), (3, 4, 5))
    assert (found.numeric["x"].mean, found.numeric["x"].means, found.rows) == (None, (), 0)
    assert found.numeric["x"].shown_counts == (7, 5)
    assert found.categorical["c"] == CategoricalProfile({"red": 7, "blue": 1})
    assert Reference.from_json(found.to_json()) == found


def full() -> Reference:
    """Return a profile with everything in it."""
    fifty = (*([2] * 49), 0)
    calibration = Calibration(fifty, (*([1] * 49), 0), tuple(n / 50 for n in range(50)))
    prediction = CategoricalProfile({"a": 3, "b": 2}, {"missing": 1})
    return Reference(
        whole().numeric, whole().categorical, 6, prediction, profile_numeric([0.5, 0.7]), calibration, 5, 4
    )


def test_everything_comes_back() -> None:
    """Predictions of classes or values, confidences, calibration, labels, invalid values."""
    for written in (full(), Reference(prediction=profile_numeric([1, 5, 9]), rows=3)):
        assert Reference.from_json(written.to_json()) == written
        assert Reference.from_json(written.to_json()).sha256 == written.sha256


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content["calibration"]["counts"].pop(),
        lambda content: content["calibration"]["right"].__setitem__(0, 3),
        lambda content: content["calibration"]["confidence"].__setitem__(0, math.nan),
        lambda content: content.__setitem__("right", 6),
        lambda content: content["prediction"]["counts"].__setitem__("a", -1),
        lambda content: content["prediction"].pop("invalid"),
        lambda content: content["numeric"]["x"]["means"].pop(),
        lambda content: content["numeric"]["x"].__setitem__("mean", math.inf),
        lambda content: content["numeric"]["x"].__setitem__("invalid", {"nan": -1}),
        lambda content: content.pop("rows"),
    ],
)
def test_parts_that_do_not_fit_are_refused(edit: Callable[[dict[str, Any]], None]) -> None:
    """Even with a hash that fits."""
    content: dict[str, Any] = json.loads(full().to_json())
    edit(content)
    del content["sha256"]
    content["sha256"] = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    with pytest.raises(DamagedData, match=r"^here\.json: not a reference profile "):
        Reference.from_json(json.dumps(content), "here.json")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_parts_give_the_profile_of_the_whole(values: list[float], cuts: list[int]) -> None:
    """Counts are equal in any split; moments are those of NumPy; a bin's mean is within it."""
    whole_profile = profile_numeric(values)
    sums = NumericSums(np.array(whole_profile.edges))
    ends = sorted({0, len(values), *(min(cut, len(values)) for cut in cuts)})
    for i, j in zip(ends, ends[1:], strict=False):
        sums.add(np.array(values[i:j]))
    found = sums.profile(whole_profile.exported)
    assert found.counts == whole_profile.counts
    assert found.size == len(values)
    assert sum(found.shown_counts) == len(values)
    assert (found.low, found.high) == (min(values), max(values))
    scale = 1 + max(map(abs, values))
    assert found.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-9 * scale)
    assert found.deviation == pytest.approx(np.std(values), rel=1e-6, abs=1e-7 * scale)
    bounds = [-math.inf, *found.edges, math.inf]
    slack = 1e-9 * scale
    for low, mean, high in zip(bounds, found.means, bounds[1:], strict=False):
        assert low - slack <= mean <= high + slack
    assert all(b >= a - slack for a, b in zip(found.means, found.means[1:], strict=False))


def test_infinities_are_in_the_outer_bins() -> None:
    """Counted, in no sum and in no moment; sums too large to be written leave the moments unknown."""
    sums = NumericSums(np.array([1.0, 2.0]))
    sums.add(np.array([0.0, 1.5, math.inf, -math.inf]))
    found = sums.profile((1.0,))
    assert found.counts == (2, 1, 1)
    sums.add(np.array([math.inf]))
    assert sums.profile((1.0,)).counts == (2, 1, 2)
    assert NumericSums(np.array([])).profile(()) == NumericProfile((), (), (0,), (0.0,))
    assert (found.mean, found.low, found.high) == (0.75, 0.0, 1.5)
    huge = profile_numeric([1e308] * 9 + [-1e308])
    assert huge.deviation is None
    assert huge.means == ()
    assert Reference.from_json(Reference({"x": huge}).to_json()).numeric["x"] == huge
    assert profile_numeric([0.1] * 7).deviation == 0
