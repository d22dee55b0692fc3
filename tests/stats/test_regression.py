"""Regression quality from sums: the golden, scikit-learn, large values, merging."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelwatch.errors import SchemaMismatch
from modelwatch.statistics import RegressionSums

NUMBERS = st.floats(-1000, 1000)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, st.floats(0.05, 1)), min_size=1, max_size=60)


def test_golden() -> None:
    """The worked example of the statistics page."""
    found = RegressionSums.of([1, 2, 3, 4], [1.5, 2, 2.5, 4]).quality(z=2)
    assert found is not None
    assert (found.n, found.mae, found.bias) == (4, 0.25, 0)
    assert found.rmse == pytest.approx(0.353553391, abs=5e-10)
    assert found.r2 == pytest.approx(0.9, abs=1e-12)
    half = 2 * math.sqrt((0.125 - 0.0625) / 4)
    assert (found.mae_low, found.mae_high) == pytest.approx((0.25 - half, 0.25 + half))


@given(ROWS, NUMBERS)
def test_equals_scikit_learn(rows: list[tuple[float, float, float]], shift: float) -> None:
    """MAE, RMSE and R² are scikit-learn's, weighted, whatever the shift."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, prediction, pi = (np.array(column) for column in zip(*rows, strict=True))
    found = RegressionSums.of(truth, prediction, pi, shift).quality()
    assert found is not None
    w = 1 / pi
    assert found.mae == pytest.approx(metrics.mean_absolute_error(truth, prediction, sample_weight=w), rel=1e-12)
    assert found.rmse**2 == pytest.approx(metrics.mean_squared_error(truth, prediction, sample_weight=w), rel=1e-11)
    assert found.bias == pytest.approx(np.average(truth - prediction, weights=w), abs=1e-9)
    assert found.mae_low <= found.mae <= found.mae_high
    if found.r2 is None:
        assert len(truth) < 2 or np.ptp(truth) < 1e-3
    elif np.ptp(truth) > 1:
        assert found.r2 == pytest.approx(metrics.r2_score(truth, prediction, sample_weight=w), rel=1e-7, abs=1e-7)


def test_equals_scikit_learn_to_the_last_digit() -> None:
    """On data of an ordinary size, to 1e-12."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    truth = rng.normal(50, 10, 5000)
    prediction = truth + rng.normal(0.5, 3, 5000)
    found = RegressionSums.of(truth, prediction, shift=50.0).quality()
    assert found is not None
    assert found.mae == pytest.approx(metrics.mean_absolute_error(truth, prediction), rel=1e-12)
    assert found.rmse == pytest.approx(metrics.root_mean_squared_error(truth, prediction), rel=1e-12)
    assert found.r2 == pytest.approx(metrics.r2_score(truth, prediction), rel=1e-12)


def test_the_shift_saves_the_digits() -> None:
    """Around 10⁶ with a spread of 1, R² needs the shift."""
    rng = np.random.default_rng(4)
    truth = rng.normal(1e6, 1, 20_000)
    prediction = truth + rng.normal(0, 0.5, 20_000)
    exact = 1 - np.square(truth - prediction).sum() / np.square(truth - truth.mean()).sum()
    shifted = RegressionSums.of(truth, prediction, shift=1e6).quality()
    assert shifted is not None
    assert shifted.r2 == pytest.approx(exact, rel=1e-12)
    plain = RegressionSums.of(truth, prediction).quality()
    assert plain is not None
    assert plain.r2 is None or plain.r2 != pytest.approx(exact, rel=1e-7)


@given(st.floats(-1e9, 1e9), st.integers(1, 400))
@example(2.6219317676900093e-157, 3)
def test_a_constant_truth_has_no_r2(value: float, n: int) -> None:
    """However large it is, and however the sums round."""
    found = RegressionSums.of([value] * n, [value + 1] * n).quality()
    assert found is not None
    assert found.r2 is None


def test_undefined_is_none() -> None:
    """Without labels there is no quality; with one label no R²."""
    assert RegressionSums().quality() is None
    one = RegressionSums.of([1.0], [2.0]).quality()
    assert one is not None
    assert (one.mae, one.r2) == (1.0, None)


@given(ROWS, st.integers(0, 60))
def test_sums_merge(rows: list[tuple[float, float, float]], cut: int) -> None:
    """The sums of two parts add up to those of the whole; another shift is refused."""
    whole, head, tail = (
        RegressionSums.of([r[0] for r in p], [r[1] for r in p], [r[2] for r in p], 5.0)
        for p in (rows, rows[:cut], rows[cut:])
    )
    assert vars(head + tail) == pytest.approx(vars(whole), rel=1e-9, abs=1e-6)
    assert (head + tail).n == len(rows)
    with pytest.raises(SchemaMismatch, match=r"shift is 0\.0; expected 5\.0"):
        whole + RegressionSums()
    assert whole + RegressionSums(shift=5.0) == whole


def test_the_interval_covers_the_true_error() -> None:
    """In about 95 of 100 samples, also where labels were kept with different probabilities."""
    rng = np.random.default_rng(6)
    e = rng.normal(0, 1, 20_000)
    pi = np.clip(np.abs(e) / 20, 0.02, 1)
    covered = 0
    for _ in range(400):
        kept = rng.random(20_000) < pi
        found = RegressionSums.of(e[kept], np.zeros(int(kept.sum())), pi[kept]).quality()
        assert found is not None
        covered += found.mae_low <= float(np.abs(e).mean()) <= found.mae_high
    assert 0.92 <= covered / 400 <= 0.99


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    """One NaN would make every sum NaN for ever."""
    with pytest.raises(ValueError, match="expected finite numbers"):
        RegressionSums.of([1.0, value], [1.0, 1.0])
