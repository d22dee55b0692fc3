"""Bins put together, and the moment in which counts left what they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.statistics import began, merged, psi
from modelwatch.statistics.decision import PER_BIN
from modelwatch.statistics.merging import FEW

PAIRS = st.integers(2, 12).flatmap(
    lambda bins: st.tuples(*(st.lists(st.integers(0, 300), min_size=bins, max_size=bins).filter(any) for _ in range(2)))
)


@given(PAIRS, st.sampled_from([1.0, 3.0]))
def test_merged_bins_hold_enough_and_nothing_is_lost(pair: tuple[list[int], list[int]], deff: float) -> None:
    """Every bin expects 25 effective values, both sides keep their totals, and PSI before its floor is no larger."""
    reference, current = pair
    found = merged(reference, current, deff)
    if found is None:
        expected, groups = 0.0, 0
        for share in np.array(reference) / sum(reference):
            expected += share * sum(current) / deff
            if expected >= PER_BIN:
                expected, groups = 0.0, groups + 1
        assert groups < 2
        return
    before, now = (np.array(side) for side in found)
    assert before.sum() == sum(reference)
    assert now.sum() == sum(current)
    assert (before / before.sum() * now.sum() / deff >= PER_BIN - 1e-9).all()
    if all(reference) and all(current):
        assert (psi(*found) or 0) <= (psi(reference, current) or 0) + 1e-9


def test_few_categories_become_one_cell() -> None:
    """Those that are expected fewer than five times are one cell; where nothing is left to compare, None."""
    before, now = {"a": 500, "b": 490, "c": 6, "d": 4}, {"a": 50, "b": 40, "c": 9, "e": 1}
    found = merged(before, now)
    assert found == ({"a": 500.0, "b": 490.0, FEW: 10.0}, {"a": 50.0, "b": 40.0, FEW: 10.0})
    assert merged({"a": 10}, {"a": 10}) is None
    assert merged([1, 1], [1, 1]) is None
    assert merged([1, 1], [0, 0]) is None


@given(st.integers(1, 11), st.integers(0, 10_000))
def test_the_moment_is_found_wherever_it_is(at: int, seed: int) -> None:
    """Twelve blocks that are as the reference before one moment, and with a mean half a deviation higher after it."""
    rng = np.random.default_rng(seed)
    edges = [-1.0, -0.3, 0.3, 1.0]

    def block(mean: float) -> list[int]:
        values = rng.normal(mean, 1, 2000)
        return [int(n) for n in np.bincount(np.searchsorted(edges, values), minlength=5)]

    reference = [1587, 2234, 2358, 2234, 1587]
    assert began(reference, [block(0.5 * (i >= at)) for i in range(12)]) == at


def test_away_from_the_start_and_nothing_at_all() -> None:
    """No earlier state to compare with: the first block that has values; none has: None."""
    assert began([50, 50], [[0, 0], [9, 91], [11, 89]]) == 1
    assert began([50, 50], [[0, 0], [9, 91]]) == 1
    assert began([50, 50], [[0, 0], [0, 0]]) is None
    assert began([50, 50], []) is None
    named: list[Mapping[str, float]] = [Counter(a=50, b=51), {}, {"a": 10, "c": 90}]
    assert began({"a": 50, "b": 50}, named) == 2


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.1, 0.9)])
def test_silence_before_the_move_is_no_part_of_it(shares: tuple[float, float]) -> None:
    """Blocks without values between both states: the first that has the new one."""
    after = [round(100 * share) for share in (0.9, 0.1)]
    before = [round(100 * share) for share in shares]
    assert began(before, [before, before, [0, 0], [0, 0], after, after]) == 4
