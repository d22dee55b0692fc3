"""The account of a drift: what moved, where, and what may be behind it, from counts alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.errors import SchemaMismatch
from modelwatch.explain import Explanation, History, explain
from modelwatch.reference import CategoricalProfile, NumericProfile, profile_numeric
from modelwatch.statistics import decide_categories, decide_ks

RNG = np.random.default_rng(11)
TRAINING = {
    "normal": RNG.normal(20, 5, 10_000),
    "lognormal": RNG.lognormal(3, 0.7, 10_000),
    "whole": RNG.poisson(40, 10_000).astype(float),
}


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Draw the same in every order of the tests."""
    RNG.bit_generator.state = np.random.default_rng(12).bit_generator.state


def account(
    training: npt.NDArray[Any], window: npt.NDArray[Any], *, exported: bool = False, mean: bool = True, invalid: int = 0
) -> Explanation:
    """Return what is said of a window of values of the feature `x`."""
    profile = profile_numeric(training)
    edges, before = (profile.exported, profile.shown_counts) if exported else (profile.edges, profile.counts)
    counts = np.bincount(np.searchsorted(edges, window), minlength=len(edges) + 1)
    known = float(window.mean()) if mean and len(window) else None
    return explain("x", profile, counts, decide_ks(before, counts), mean=known, invalid=invalid)


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("factor", [10, 100, 1000, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("exported", [False, True])
def test_another_unit_is_named(name: str, factor: float, exported: bool) -> None:
    """Ten, a hundred, a thousand times as much or as little: by how much, and what to check."""
    window = RNG.permutation(TRAINING[name])[:2_000] * factor
    found = account(TRAINING[name], window, exported=exported)
    assert found.cause == "unit"
    words = f"{factor:g} times" if factor > 1 else f"a {1 / factor:g}th of"
    assert found.summary == f"x is about {words} what it was in training: another unit?"
    assert "unit" in found.actions[0]


@pytest.mark.parametrize("exported", [False, True])
@pytest.mark.parametrize("by", [8.0, -4.0])
def test_another_zero_is_named(by: float, exported: bool) -> None:
    """Every value is so much more or less, and still among those of training."""
    window = RNG.permutation(TRAINING["normal"])[:2_000] + by
    found = account(TRAINING["normal"], window, exported=exported)
    assert found.cause == "zero"
    assert (
        found.summary
        == f"x is about {abs(window.mean() - TRAINING['normal'].mean()):.4g} {'more' if by > 0 else 'less'} throughout: another zero?"
    )


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("by", [273.15, -500.0])
def test_values_beyond_training_are_named(name: str, by: float) -> None:
    """Degrees that became kelvins: nearly all is beyond, and the mean says by how much."""
    window = RNG.permutation(TRAINING[name])[:2_000] + by
    found = account(TRAINING[name], window)
    assert found.cause == "range"
    assert "of its values are " + ("above" if by > 0 else "up to") in found.summary
    assert f"their mean is {window.mean():.6g}. Another zero, another unit, or a default?" in found.summary
    assert "their mean" not in account(TRAINING[name], window, mean=False).summary


@pytest.mark.parametrize(("value", "cause"), [(20.0, "constant"), (17.3, "constant"), (-1.0, "range"), (9e9, "range")])
def test_a_feed_that_is_stuck_is_named(value: float, cause: str) -> None:
    """One value for nearly all: a default that stands in for what is lost. Beyond training, counts tell only that."""
    window = np.append(np.full(1_900, value), TRAINING["normal"][:100])
    found = account(TRAINING["normal"], window)
    assert found.cause == cause
    assert "9" in found.summary and "% of its values are" in found.summary


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("window", ["shift", "spread", "mixture"])
def test_a_plain_move_is_no_unit(window: str, mean: bool) -> None:
    """Half a deviation more, twice the spread, a second mode: none is taken for a unit, a zero or a constant."""
    values = {
        "shift": RNG.normal(22.5, 5, 3_600),
        "spread": RNG.normal(20, 10, 3_600),
        "mixture": np.append(RNG.normal(20, 5, 2_600), RNG.normal(60, 5, 1_000)),
    }[window]
    found = account(TRAINING["normal"], values, mean=mean)
    assert found.cause == "shift" or (window == "shift" and mean and found.cause == "zero")
    if found.cause == "shift":
        assert found.summary.startswith("The distribution of x has moved: ")
        assert "before binning" in found.summary
    assert any(line.startswith("Most of it: ") for line in found.details)
    assert found.details[-1].startswith("Certain: 0.")
    assert found.details[-1].endswith("; 3600 values against 10000 of training.")


@pytest.mark.parametrize("exported", [False, True])
def test_another_spread_is_said(exported: bool) -> None:
    """Both ends won, or both lost; a shift is neither."""
    for deviation, words in ((10, "It is more spread out: 5"), (2, "It is less spread out: 0%")):
        found = account(TRAINING["normal"], RNG.normal(20, deviation, 2_000), exported=exported)
        assert found.cause == "shift"
        assert any(
            line.startswith(words) and line.endswith("of it is at the ends that had 20%.") for line in found.details
        )
    moved = np.append(RNG.normal(20, 5, 1_000), RNG.normal(30, 5, 1_000))
    assert not any("spread" in line for line in account(TRAINING["normal"], moved, exported=exported).details)


def test_without_a_mean_far_units_stay_open() -> None:
    """Where all is above the last edge, a hundred and a thousand times look alike: no guess."""
    found = account(TRAINING["normal"], TRAINING["normal"][:2_000] * 1000, mean=False)
    assert found.cause == "range"
    near = account(TRAINING["lognormal"], TRAINING["lognormal"][:2_000] * 10, mean=False)
    assert near.cause == "unit"


def test_missing_values_are_named() -> None:
    """Alone they are the cause; beside a move they are mentioned; as many as in training are not."""
    training = TRAINING["normal"]
    alone = account(training, training[:700], invalid=300)
    assert alone.cause == "missing"
    assert alone.summary == "x: 30% of its values are missing or no values (0% in training)."
    all_gone = account(training, training[:0], invalid=1_000)
    assert (all_gone.cause, all_gone.details) == (
        "missing",
        ("Cannot tell: no values in a window; 0 values against 10000 of training.",),
    )
    beside = account(training, training[:700] * 10, invalid=300)
    assert beside.cause == "unit"
    assert any("30% of its values are missing" in line for line in beside.details)
    profile = profile_numeric(training)
    usual = NumericProfile(profile.edges, profile.exported, profile.counts, invalid={"missing": 4_000, "inf": 10**9})
    counts = [7] * 100
    assert explain("x", usual, counts, decide_ks(profile.counts, counts), invalid=300).cause == "none"


def test_quiet_features_say_so() -> None:
    """No drift, too few values, no values: said, with nothing to do."""
    training = TRAINING["normal"]
    quiet = account(training, training[:3_600])
    assert (quiet.cause, quiet.actions) == ("none", ())
    assert quiet.summary.startswith("x is distributed as in training (KS 0.0")
    assert quiet.details[-1].startswith("No alert: no drift larger than 0.10;")
    few = account(training, training[:5] * 10)
    assert few.cause == "none"
    assert "no drift can be told from chance" in few.details[-1]
    assert account(training, training[:0]).summary == "x: no values to compare."


def test_a_move_inside_the_bins_is_said() -> None:
    """Where the exact KS fires and the bins show nothing."""
    profile = profile_numeric(TRAINING["normal"])
    found = explain("x", profile, [50] * 100, decide_ks(profile.counts, [50] * 100, exact=0.3))
    assert (found.cause, found.summary) == ("shift", "x has moved inside its bins (KS 0.30 of the raw values).")


def test_without_a_mean_the_direction_is_said() -> None:
    """More or less of it is above the edge where the gap is widest."""
    for by, word in ((6, "More"), (-6, "Less")):
        found = account(TRAINING["normal"], TRAINING["normal"][:2_000] + by, mean=False)
        assert any(line.startswith(f"{word} of it is above ") for line in found.details)


CATEGORIES = CategoricalProfile({"en": 8_000, "de": 1_500, "fr": 500})


@pytest.mark.parametrize(
    ("window", "cause", "words"),
    [
        ({"en": 500, "de": 500}, "mix", "The mix of lang has moved: 35% of its values are in other categories"),
        ({"en": 600, "EN": 400}, "unseen", "training did not have: 40% of its values (EN)."),
        ({"de": 990, "en": 10}, "constant", "lang hardly varies any more: 99% of its values are de."),
        ({"en": 800, "de": 150, "fr": 50}, "none", "lang is distributed as in training (total variation 0.00)."),
        ({}, "none", "lang: no values to compare."),
    ],
)
def test_categories(window: dict[str, int], cause: str, words: str) -> None:
    """Another mix, new names, one name for all: each in its words, with the categories that carry it."""
    found = explain("lang", CATEGORIES, window, decide_categories(CATEGORIES.counts, window))
    assert found.cause == cause
    assert words in found.summary
    assert bool(found.actions) == (cause != "none")
    if cause != "none":
        assert found.details[0].startswith("Most of it: ")


def test_the_text_is_a_message() -> None:
    """Summary, details and numbered steps, a line each."""
    lines = account(TRAINING["normal"], TRAINING["normal"][:2_000] * 10).text().splitlines()
    assert lines[0] == "x is about 10 times what it was in training: another unit?"
    assert lines[-2].startswith("1. Check the unit")
    assert lines[-1] == "2. Convert it back before the model sees it."


def test_the_wrong_counts_are_refused() -> None:
    """Counts on other bins, and counts of another kind than the profile's."""
    profile = profile_numeric(TRAINING["normal"])
    decision = decide_ks(profile.counts, profile.counts)
    with pytest.raises(SchemaMismatch):
        explain("x", profile, [1, 2, 3], decision)
    with pytest.raises(TypeError, match="explain: x: counts and profile are of different kinds"):
        explain("x", profile, Counter("ab"), decision)


@given(
    st.lists(st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 1e300, -1e300]), min_size=1, max_size=80),
    st.lists(st.floats(allow_nan=False), max_size=80),
    st.booleans(),
    st.none() | st.floats(allow_nan=False),
)
def test_whatever_is_counted_has_an_account(
    training: list[float], window: list[float], exported: bool, mean: float | None
) -> None:
    """Any profile and any counts give sentences, never an error."""
    profile = profile_numeric(training)
    edges, before = (profile.exported, profile.shown_counts) if exported else (profile.edges, profile.counts)
    counts = np.bincount(np.searchsorted(edges, window), minlength=len(edges) + 1) * 500
    with np.errstate(all="ignore"):
        found = explain("x", profile, counts, decide_ks(before, counts), mean=mean)
    assert found.summary.endswith((".", "?"))
    assert all(line.endswith(".") for line in found.details)
    assert "nan" not in found.text()


# -- since when --------------------------------------------------------------------------------------------------------

AT, QUARTER = 1_700_000_100, 900


def since(pieces: list[npt.NDArray[Any]]) -> Explanation:
    """Return what is said of windows of a quarter of an hour each, together."""
    profile = profile_numeric(TRAINING["normal"])
    counts = [np.bincount(np.searchsorted(profile.exported, each), minlength=20).tolist() for each in pieces]
    total = np.sum(counts, axis=0)
    history = History([AT + QUARTER * i for i in range(len(pieces))], QUARTER, counts)
    return explain("x", profile, total, decide_ks(profile.shown_counts, total), history=history)


@pytest.mark.parametrize("shift", [4.0, -2.5, 30.0])
@pytest.mark.parametrize("at", [1, 12, 19])
def test_since_when_is_the_piece_in_which_it_began(at: int, shift: float) -> None:
    """Twenty quarters of an hour, of which the later ones are moved: the first of them, and how fine that is."""
    found = since([RNG.normal(20 + shift * (i >= at), 5, 100 if i < at else 3000) for i in range(20)])
    assert found.since == AT + QUARTER * at
    assert found.since_words.startswith("Since about 2023-11-1")
    assert found.since_words.endswith(" UTC, to within 15 min.")
    assert found.since_words in found.text()


def test_what_was_away_from_the_start_began_earlier() -> None:
    """Where all that is kept is moved, only that it began before; where nothing is, not a word; silence is no beginning."""
    always = since([RNG.normal(24, 5, 300) for _ in range(20)])
    assert always.since is None
    assert always.since_words.startswith("Since 2023-11-14 22:15 UTC or earlier")
    assert since([RNG.normal(20, 5, 300) for _ in range(20)]).since_words == ""
    silent = since([RNG.normal(24 if i > 12 else 20, 5, 0 if 8 <= i <= 12 else 400) for i in range(20)])
    assert silent.since == AT + QUARTER * 13
    assert since([np.array([])] * 3).since_words == ""


def test_since_when_of_categories() -> None:
    """A category that training did not have comes in the third piece."""
    profile = CategoricalProfile({"en": 6000, "de": 4000})
    pieces = [{"en": 60, "de": 40}, {"en": 58, "de": 41}, {"en": 30, "pl": 70}, {"en": 33, "de": 2, "pl": 71}]
    total = Counter[str]()
    for piece in pieces:
        total.update(piece)
    history = History([AT + 3600 * i for i in range(4)], 3600, pieces)
    found = explain("language", profile, total, decide_categories(profile.counts, total), history=history)
    assert found.since == AT + 7200
    assert found.since_words.endswith("to within 60 min.")
