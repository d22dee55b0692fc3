"""Sampling: the same choice everywhere, with the probability that is stored."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.groundtruth.sampling import (
    FLOOR,
    LEVELS,
    STRATA_EDGES,
    Design,
    Seen,
    chance,
    halvings,
    spread,
    stratified,
    uncertainty,
    uniform,
)

ANYTHING = st.one_of(st.none(), st.floats(), st.integers(), st.text(), st.binary(), st.lists(st.integers()))


class Hostile:
    """A value whose every method raises."""

    def __float__(self):
        """No number."""
        raise SystemError("no")

    def __eq__(self, other):
        """Not comparable."""
        raise SystemError("no")

    __hash__ = None


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_the_chance_of_an_id_is_uniform(rate):
    """Of 20 000 ids the share below a rate is the rate, within four standard errors."""
    n, chances = 20_000, random.Random(5)
    kept = sum(chance(chances.randbytes(16).hex()) < rate for _ in range(n))
    assert abs(kept / n - rate) < 4 * math.sqrt(rate * (1 - rate) / n)


def test_the_chance_is_the_same_everywhere():
    """A replica, a rerun and another Python find the same number; surrogates have one, too."""
    assert chance("00112233445566778899aabbccddeeff") == 0.348752484479946
    assert 0 <= chance("\ud800") < 1


@given(ANYTHING, ANYTHING, ANYTHING)
def test_every_value_has_a_probability(prediction, confidence, segment):
    """Whatever the host says, a design gives one of its levels."""
    seen = {"a": Seen(10, 50, 50, 25)}
    for design in (uniform(0.1), uncertainty(0.1), stratified(0.1), stratified(0.1, seen, "segment")):
        assert design.of(prediction, confidence, segment) in design.levels
        assert design.of(Hostile(), Hostile(), Hostile()) == design.otherwise


@given(st.floats(0.001, 1), st.floats(0.01, 1))
def test_uncertainty_is_bounded(rate, doubt):
    """At most 16 levels, never below half the rate nor above 1, and never rising with the confidence."""
    design = uncertainty(rate, doubt)
    assert len(design.levels) <= LEVELS
    assert all(rate / 2 <= level <= 1 for level in design.levels)
    assert list(design.inclusion) == sorted(design.inclusion, reverse=True)
    assert design.of("a", 0.01, None) >= design.of("a", 0.99, None)
    assert design.of("a", math.nan, None) == design.of("a", None, None) == rate


@given(st.lists(st.tuples(st.floats(0, 1), st.none() | st.floats(0, 1)), min_size=5, max_size=5), st.floats(0.001, 0.1))
def test_strata_keep_the_rate(strata, rate):
    """The expected share of all predictions is the rate, and no stratum is left out."""
    shares, accuracies = zip(*strata, strict=True)
    levels = spread(shares, accuracies, rate)
    assert all(0 < level <= 1 for level in levels)
    assert max(levels) / min(levels) <= 0.5 / FLOOR + 1e-9
    if sum(shares) > 1e-6 and max(levels) < 1:
        assert math.isclose(sum(s * p for s, p in zip(shares, levels, strict=True)) / sum(shares), rate, rel_tol=1e-9)


def test_strata_follow_what_the_labels_say():
    """Where the model is right half of the time more is kept than where it is nearly always right."""
    sure, unsure = Seen(500, 100, 100, 99), Seen(500, 100, 100, 55)
    design = stratified(0.1, {0: unsure, len(STRATA_EDGES): sure})
    assert design.of("a", 0.3, None) > design.of("a", 0.99, None)
    assert stratified(0.1).levels == (0.1,)  # nothing known yet: uniform
    by_segment = stratified(0.1, {"new": unsure, "old": sure}, "segment")
    assert by_segment.of("a", None, "new") > by_segment.of("a", None, "old")
    assert by_segment.of("a", None, "never seen") == 0.1


def test_too_few_labels_say_nothing():
    """A stratum with 29 labels counts as the widest one."""
    assert Seen(1, 29, 29, 29).accuracy is None
    assert Seen(1, 30, 30, 30).accuracy == 1


@pytest.mark.parametrize(
    ("used", "expected", "times"),
    [(0, 100, 0), (0, 101, 1), (50, 100, 1), (99, 100, 7), (100, 0, None), (200, 5, None)],
)
def test_a_budget_halves_the_rate(used, expected, times):
    """Of 100 labels a week: what is left and what is to come decide how often the rate is halved."""
    assert halvings(100, used, expected) == times


def test_a_scaled_design_keeps_its_form():
    """Every level is halved; their number stays."""
    design = uncertainty(0.2).scaled(2)
    assert design.levels == tuple(level / 4 for level in uncertainty(0.2).levels)
    assert Design(0.0).most == 0
