"""Accuracy from sampled labels: goldens, bounds, merging, coverage; late labels; the e-detector."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.statistics import (
    Z90,
    Z95,
    Z99,
    Z999,
    Z_BUSY,
    DifferenceSums,
    SampleSums,
    alert_z,
    shrinkage,
    shrunk,
    wilson,
)

LABELS = st.lists(st.tuples(st.booleans(), st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (66, 100, 0.562777, 0.745385),
        (85, 100, 0.767164, 0.906940),
        (850, 1000, 0.826531, 0.870790),
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
    ],
)
def test_wilson_goldens(right: int, n: int, low: float, high: float) -> None:
    """The worked examples of the statistics page."""
    found = wilson(right, n)
    assert found is not None
    assert found.value == right / n
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-7)


def test_constants() -> None:
    """90, 95, 99 and 99.9 % two-sided, and the one for many looks."""
    assert (Z90, Z95, Z99, Z999, Z_BUSY) == (1.645, 1.959964, 2.576, 3.29, 4.0)


def test_undefined_is_none() -> None:
    """No labels: no number, anywhere."""
    assert wilson(0, 0) is None
    empty = SampleSums()
    assert (empty.accuracy(), empty.variance(), empty.n_eff(), empty.interval()) == (None, None, None, None)
    assert DifferenceSums().interval(0.9) is None
    assert shrinkage([0, 0], [0, 0]) is None


@pytest.mark.parametrize(("right", "n"), [(-1, 3), (4, 3), (math.nan, 3), (1, math.inf), (1, math.nan)])
def test_what_is_no_count_is_refused(right: float, n: float) -> None:
    """More right ones than labels, negatives and NaN are refused with what to give."""
    with pytest.raises(ValueError, match=r"wilson: right of n is .*expected 0 <= right <= n\. Give"):
        wilson(right, n)


@pytest.mark.parametrize("inclusion", [[0.0, 0.5], [-0.1, 0.5], [0.5, 1.1], [math.nan, 0.5], [0.5]])
def test_what_is_no_probability_is_refused(inclusion: list[float]) -> None:
    """An inclusion probability of 0, above 1, or missing would give a weight without meaning."""
    with pytest.raises(ValueError, match="expected 2 probabilities above 0"):
        SampleSums.of([True, False], inclusion)


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([1.645, 1.96, 2.576, 3.29, 4.0]))
def test_wilson_bounds(n: int, share: float, z: float) -> None:
    """The interval is within 0 and 1, holds its value, is the mirror of the errors', and grows with z."""
    right = round(share * n)
    found, mirrored, wider = wilson(right, n, z), wilson(n - right, n, z), wilson(right, n, z + 0.5)
    assert found is not None
    assert mirrored is not None
    assert wider is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high), abs=1e-12)
    assert wider.low <= found.low
    assert wider.high >= found.high


def test_hajek_golden() -> None:
    """The worked example: two labels kept with 0.1, two with 0.5."""
    sums = SampleSums.of([True, False, True, True], [0.1, 0.1, 0.5, 0.5])
    assert sums.accuracy() == pytest.approx(0.583333, abs=5e-7)
    assert sums.variance() == pytest.approx(0.091628086, abs=5e-10)
    assert sums.n_eff() == pytest.approx(2.652632, abs=5e-7)
    found, by_hand = sums.interval(), wilson(0.58333333333333 * 2.652632, 2.652632)
    assert found == pytest.approx(by_hand, abs=1e-6)


def test_difference_golden() -> None:
    """The worked example: a mean confidence of 0.88, put right by four labels."""
    sums = DifferenceSums.of([1, 0, 1, 1], [0.9, 0.6, 0.95, 0.8], [0.1, 0.1, 0.5, 0.5])
    found = sums.interval(0.88)
    assert found is not None
    assert found.value == pytest.approx(0.6925, abs=1e-12)
    assert sums.variance() == pytest.approx(0.04532552, abs=5e-9)
    half = Z95 * math.sqrt(0.04532552)
    assert (found.low, found.high) == pytest.approx((0.6925 - half, min(0.6925 + half, 1)), abs=1e-6)


def test_a_confidence_that_is_off_by_a_constant_costs_nothing() -> None:
    """Where every label is as far from its confidence, the difference is known without an error."""
    sums = DifferenceSums.of([1, 1, 1], [0.9, 0.9, 0.9], [0.1, 0.5, 1.0])
    assert sums.variance() == pytest.approx(0, abs=1e-15)
    assert sums.interval(0.8) == pytest.approx((0.9, 0.9, 0.9))


@given(LABELS, st.floats(0.01, 1))
def test_equal_probabilities_are_wilson(labels: list[tuple[bool, float, float]], pi: float) -> None:
    """Where all were kept alike, whatever the rate, the weighted interval is the plain one."""
    right = [each[0] for each in labels]
    found, plain = SampleSums.of(right, [pi] * len(right)).interval(), wilson(sum(right), len(right))
    assert found == pytest.approx(plain, abs=1e-9)
    assert SampleSums.of(right).interval() == pytest.approx(plain, abs=1e-12)


@given(LABELS, st.integers(0, 60))
def test_sums_merge(labels: list[tuple[bool, float, float]], cut: int) -> None:
    """The sums of two parts add up to those of the whole, in either order; nothing adds nothing."""
    right, pi, confidence = (list(column) for column in zip(*labels, strict=True))
    whole, head, tail = (SampleSums.of(right[s], pi[s]) for s in (slice(None), slice(cut), slice(cut, None)))
    for merged in (head + tail, tail + head, whole + SampleSums()):
        assert vars(merged) == pytest.approx(vars(whole), rel=1e-12)
    every, first, last = (
        DifferenceSums.of(right[s], confidence[s], pi[s]) for s in (slice(None), slice(cut), slice(cut, None))
    )
    assert vars(first + last) == pytest.approx(vars(every), rel=1e-12, abs=1e-9)
    assert every + DifferenceSums() == every
    weights = [1 / each for each in pi]
    assert whole.n == len(pi)
    assert whole.w == pytest.approx(sum(weights), rel=1e-12)
    assert whole.w2 == pytest.approx(sum(w * w for w in weights), rel=1e-12)


@given(LABELS)
def test_hajek_bounds(labels: list[tuple[bool, float, float]]) -> None:
    """The estimate is the weighted mean of numpy, its variance the sum over labels, n_eff is at most 4 n."""
    right, pi, _ = (np.array(column) for column in zip(*labels, strict=True))
    sums = SampleSums.of(right, pi)
    a = float(np.average(right, weights=1 / pi))
    assert sums.accuracy() == pytest.approx(a, abs=1e-12)
    assert sums.variance() == pytest.approx(((right - a) ** 2 / pi**2).sum() / (1 / pi).sum() ** 2, abs=1e-12)
    n_eff, interval = sums.n_eff(), sums.interval()
    assert n_eff is not None
    assert 0 < n_eff <= 4 * len(labels)
    assert interval is not None
    assert 0 <= interval.low <= interval.value <= interval.high <= 1


def test_effective_labels_are_capped() -> None:
    """Few wrong labels of great probability would make a sample look better than four times its size."""
    sums = SampleSums.of([True] * 10 + [False] * 10, [0.01] * 10 + [1.0] * 10)
    a, variance = sums.accuracy(), sums.variance()
    assert a is not None
    assert variance is not None
    assert sums.n_eff() == pytest.approx(min(a * (1 - a) / variance, 80))
    one_sided = SampleSums.of([True] * 3, [0.1, 0.5, 1.0])  # no variance is seen: Kish's number
    assert one_sided.n_eff() == pytest.approx(13**2 / (100 + 4 + 1))


def test_shrinkage() -> None:
    """κ is 20 with few segments, 10⁴ where segments do not differ, small where they do; the value lies between."""
    assert shrinkage([8, 9, 7, 8], [10] * 4) == 20
    assert shrinkage([8, 9, 7, 8, 8], [10] * 5) == 1e4
    assert shrinkage([85] * 10, [100] * 10) == 1e4
    apart = shrinkage([10, 90, 20, 80, 50, 50], [100] * 6)
    assert apart is not None
    assert 1 <= apart < 5
    right, n = [40, 90, 20, 80, 50, 70, 0], [50, 100, 40, 90, 60, 100, 1]
    a = 350 / 441
    between = sum(m * (k / m - a) ** 2 for k, m in zip(right, n, strict=True)) / 441
    spread = between - 7 * a * (1 - a) / 441
    assert shrinkage([*right, 0], [*n, 0]) == pytest.approx(a * (1 - a) / spread - 1, rel=1e-12)
    assert shrunk(1, 5, 0.85, 20) == pytest.approx((1 + 17) / 25)
    assert shrunk(0, 0, 0.85, 20) == 0.85


def test_shrunk_segments_are_closer_to_the_truth() -> None:
    """Over 40 segments of 5, 20 and 100 labels the error of the shrunk values is far below that of the raw ones."""
    rng = np.random.default_rng(3)
    expected = {5: (0.158, 0.060), 20: (0.079, 0.046), 100: (0.036, 0.030)}
    for n, (raw_error, shrunk_error) in expected.items():
        raw, drawn = [], []
        for _ in range(100):
            truth = np.clip(rng.normal(0.85, 0.06, 40), 0, 1)
            right = rng.binomial(n, truth)
            kappa = shrinkage(right, [n] * 40)
            assert kappa is not None
            overall = right.sum() / (40 * n)
            raw.append(right / n - truth)
            drawn.append(np.array([shrunk(k, n, overall, kappa) for k in right]) - truth)
        assert np.sqrt(np.mean(np.square(raw))) == pytest.approx(raw_error, abs=0.01)
        assert np.sqrt(np.mean(np.square(drawn))) == pytest.approx(shrunk_error, abs=0.01)


def test_alert_z_grows_with_looks() -> None:
    """3.29 by default, 4 where there are more labels a month or segments to look at."""
    assert (alert_z(), alert_z(70_000, 20), alert_z(70_001), alert_z(0, 21)) == (3.29, 3.29, 4.0, 4.0)


def test_alert_bound_is_quiet_at_the_target() -> None:
    """At an accuracy of exactly the target a window of 500 labels pages 0.13 times in 10 000 labels at z = 3.29."""
    rng = np.random.default_rng(5)
    windows, pages, hasty = 0, 0, 0
    for _ in range(20):
        right = np.cumsum(rng.random(20_000) < 0.85)
        rolling: npt.NDArray[np.int64] = right[500:] - right[:-500]
        low_at = next(k for k in range(500, 0, -1) if wilson(k, 500, 3.29).high < 0.85)  # type: ignore[union-attr]
        windows += 20_000
        pages += int((np.diff(np.less_equal(rolling, low_at).astype(int)) == 1).sum())
        hasty += int((np.diff(np.less(rolling, 425).astype(int)) == 1).sum())
    assert pages / windows * 10_000 < 0.5
    assert hasty / windows * 10_000 > 20
