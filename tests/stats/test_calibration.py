"""Calibration: the golden, the noise floor by simulation, counts alone, merging."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.errors import SchemaMismatch
from modelwatch.statistics import CalibrationSums, wilson

ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.05, 1)), min_size=1, max_size=60)
FIELDS = ("n", "w", "wo", "w2", "w2o", "wc", "wc2", "wco", "noise")


def test_golden() -> None:
    """Two bins of 50: right 30 and 45 for confidences of 35 and 42 in sum: 0.08."""
    sums = CalibrationSums.of([0.7] * 50 + [0.84] * 50, [1] * 30 + [0] * 20 + [1] * 45 + [0] * 5)
    found = sums.error()
    assert found is not None
    assert found.ece == pytest.approx(0.08, abs=1e-12)
    assert found.exact
    low, high = sums.curve()
    assert (low.confidence, high.confidence) == pytest.approx((0.7, 0.84))
    assert low.right == pytest.approx(wilson(30, 50))
    assert high.right == pytest.approx(wilson(45, 50))
    assert (low.n, high.n) == (50, 50)


@pytest.mark.parametrize("n", [100, 1000, 10_000])
def test_a_calibrated_model_is_at_its_noise_floor(n: int) -> None:
    """The ECE of a perfectly calibrated model is what the floor says, and it is not called miscalibrated."""
    rng = np.random.default_rng(n)
    errors = []
    for _ in range(200):
        confidence = rng.random(n)
        found = CalibrationSums.of(confidence, rng.random(n) < confidence).error()
        assert found is not None
        errors.append(found)
    floor = float(np.mean([each.noise for each in errors]))
    assert floor == pytest.approx(0.0985 * math.sqrt(100 / n), rel=0.02)  # √(2/π) √(10/n) mean √(c(1 - c)) within bins
    assert np.mean([each.ece for each in errors]) == pytest.approx(floor, rel=0.06)
    assert sum(each.miscalibrated for each in errors) <= 2


def test_an_overconfident_model_is_miscalibrated() -> None:
    """90 % said, 70 % right, over 500 labels."""
    found = CalibrationSums.of([0.9] * 500, [True] * 350 + [False] * 150).error()
    assert found is not None
    assert found.ece == pytest.approx(0.2)
    assert found.miscalibrated
    assert found.excess == pytest.approx(found.ece - found.noise)


def test_undefined_is_none() -> None:
    """Without labels there is no error, no score, and no point on the curve."""
    empty = CalibrationSums.of([], [])
    assert (empty.error(), empty.brier(), empty.curve()) == (None, None, ())


@given(ROWS)
def test_brier_and_bins_equal_a_plain_loop(rows: list[tuple[float, bool, float]]) -> None:
    """The score is the weighted mean of squares; every label is in the bin whose upper edge is its confidence or above."""
    confidence, right, pi = (np.array(column) for column in zip(*rows, strict=True))
    sums = CalibrationSums.of(confidence, right, pi)
    w = 1 / pi
    assert sums.brier() == pytest.approx(float((w * (confidence - right) ** 2).sum() / w.sum()), abs=1e-12)
    edges = [b / 10 for b in range(1, 10)]
    counts = [0] * 10
    for c in confidence.tolist():
        counts[min(math.ceil(c * 10) - 1 if c else 0, 9)] += 1
        assert c * 10 in range(11) or np.searchsorted(edges, c, "left") == max(math.ceil(c * 10) - 1, 0)
    assert sums.n.tolist() == counts
    assert [point.n for point in sums.curve()] == [n for n in counts if n]


def test_brier_equals_scikit_learn() -> None:
    """To 1e-12, weighted."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    confidence, pi = rng.random(300), rng.uniform(0.1, 1, 300)
    right = rng.random(300) < 0.6
    theirs = metrics.brier_score_loss(right, confidence, sample_weight=1 / pi)
    assert CalibrationSums.of(confidence, right, pi).brier() == pytest.approx(theirs, abs=1e-12)


@given(ROWS, st.integers(0, 60))
def test_sums_merge(rows: list[tuple[float, bool, float]], cut: int) -> None:
    """The sums of two parts add up to those of the whole; other bins are refused."""
    whole, head, tail = (
        CalibrationSums.of([r[0] for r in p], [r[1] for r in p], [r[2] for r in p])
        for p in (rows, rows[:cut], rows[cut:])
    )
    for name in FIELDS:
        assert getattr(head + tail, name) == pytest.approx(getattr(whole, name), rel=1e-12, abs=1e-9)
    with pytest.raises(SchemaMismatch, match="number of bins is 5; expected 10"):
        whole + CalibrationSums.of([0.5], [True], bins=5)


def test_counts_alone_use_the_centres() -> None:
    """Where only counts per bin exist, the confidence is that of the centre, and the result says so, merged too."""
    n, right = [0] * 6 + [50, 0, 50, 0], [0] * 6 + [30, 0, 45, 0]
    sums = CalibrationSums.from_counts(n, right)
    found = sums.error()
    assert found is not None
    assert found.ece == pytest.approx((abs(30 - 50 * 0.65) + abs(45 - 50 * 0.85)) / 100)
    assert not found.exact
    exact = CalibrationSums.of([0.65] * 50 + [0.85] * 50, [1] * 30 + [0] * 20 + [1] * 45 + [0] * 5)
    assert sums.brier() == pytest.approx(exact.brier())
    assert [(p.right, p.n) for p in sums.curve()] == [(p.right, p.n) for p in exact.curve()]
    assert [p.confidence for p in sums.curve()] == pytest.approx([0.65, 0.85])
    for name in FIELDS:
        assert getattr(sums, name) == pytest.approx(getattr(exact, name)), name
    merged = (sums + exact).error()
    assert merged is not None
    assert not merged.exact


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan])
def test_what_is_no_confidence_is_refused(value: float) -> None:
    """A confidence outside of 0 to 1 is in no bin."""
    with pytest.raises(ValueError, match="expected numbers of 0 to 1"):
        CalibrationSums.of([0.5, value], [True, False])
