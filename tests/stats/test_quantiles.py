"""Quantiles from buckets are those of Prometheus, and lie where the data are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.schema import LATENCY_EDGES
from modelwatch.statistics import Quantile, histogram_quantile

LATENCIES = st.lists(st.floats(0, 20, allow_subnormal=False) | st.sampled_from(LATENCY_EDGES), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        (0.1, Quantile(0.05, 0.0, 0.1)),
        (0.5, Quantile(0.3, 0.1, 0.5)),
        (0.95, Quantile(1.0, 0.5, 1.0)),
        (0.99, Quantile(1.0, 1.0, None)),
        (1.0, Quantile(1.0, 1.0, None)),
        (0.0, Quantile(0.0, 0.0, 0.1)),
    ],
)
def test_golden(q: float, expected: Quantile) -> None:
    """The worked example of the statistics page, with its brackets; above the last edge there is no upper bound."""
    found = histogram_quantile([0.1, 0.5, 1.0], [20, 60, 15, 5], q)
    assert found is not None
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert (found.low, found.high) == (expected.low, expected.high)


def test_undefined_is_none() -> None:
    """No observations, or no edges: no number."""
    assert histogram_quantile([0.1, 0.5], [0, 0, 0], 0.5) is None
    assert histogram_quantile([], [7], 0.5) is None


@pytest.mark.parametrize("q", [-0.01, 1.01, math.nan, math.inf])
def test_no_share_is_refused(q: float) -> None:
    """A q outside of 0 to 1 is refused with what to write."""
    with pytest.raises(ValueError, match=r"q is .*; expected 0 to 1\. Give 0\.95"):
        histogram_quantile([0.1], [1, 1], q)


def test_first_bucket() -> None:
    """It begins at 0; where its edge is not above 0 it has no lower end, and the value is its edge."""
    assert histogram_quantile([2.0, 4.0], [4, 0, 0], 0.5) == Quantile(1.0, 0.0, 2.0)
    assert histogram_quantile([-1.0, 4.0], [4, 0, 0], 0.5) == Quantile(-1.0, -math.inf, -1.0)
    assert histogram_quantile([0.0, 4.0], [4, 0, 0], 0.5) == Quantile(0.0, -math.inf, 0.0)


def test_empty_buckets_are_passed_over() -> None:
    """The least and the greatest observation are in buckets that have any."""
    counts = [0, 0, 3, 0, 4, 0]
    edges = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert histogram_quantile(edges, counts, 0.0) == Quantile(2.0, 2.0, 3.0)
    assert histogram_quantile(edges, counts, 1.0) == Quantile(5.0, 4.0, 5.0)
    assert histogram_quantile(edges, counts, 3 / 7) == Quantile(3.0, 2.0, 3.0)


@given(LATENCIES, st.floats(0, 1))
def test_the_true_quantile_is_in_the_bracket(values: list[float], q: float) -> None:
    """The quantile of the raw values is within (low, high], and so is the interpolated one."""
    edges = list(LATENCY_EDGES)
    counts = np.bincount(np.searchsorted(edges, values, "left"), minlength=len(edges) + 1)
    found = histogram_quantile(edges, counts, q)
    assert found is not None
    true = float(np.quantile(values, q, method="inverted_cdf"))
    assert found.low < true or (true == found.low == 0)
    assert found.high is None or true <= found.high
    assert found.low <= found.value <= (found.high or edges[-1])


@given(LATENCIES, st.lists(st.floats(0, 1), min_size=2, max_size=5))
def test_quantiles_rise_with_their_share(values: list[float], shares: list[float]) -> None:
    """A greater share has no smaller quantile."""
    edges = list(LATENCY_EDGES)
    counts = np.bincount(np.searchsorted(edges, values, "left"), minlength=len(edges) + 1)
    found = [histogram_quantile(edges, counts, q) for q in sorted(shares)]
    numbers = [quantile.value for quantile in found if quantile is not None]
    assert len(numbers) == len(shares)
    assert numbers == sorted(numbers)
