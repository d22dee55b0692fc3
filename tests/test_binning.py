"""Counts at edges equal those of a comparison with every value, whatever the values and edges."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelwatch import binning
from modelwatch.binning import Edges

HUGE = np.finfo(np.float64).max
TINY = np.nextafter(0.0, 1.0)
SINGLE = float(np.finfo(np.float32).max)
#: Where singles round, overflow or vanish.
HOSTILE = [
    0.0,
    -0.0,
    TINY,
    -TINY,
    1e-46,
    1e-38,
    0.1,
    1.0,
    1.0 + 1e-9,
    2.0**24 + 1,
    SINGLE,
    SINGLE * 1.01,
    1e300,
    HUGE,
    np.inf,
    -np.inf,
]
NEAR = st.sampled_from([near for value in HOSTILE for signed in (value, -value)
                        for near in (signed, float(np.nextafter(signed, 0)), float(np.nextafter(signed, 3)))])  # fmt: skip
NUMBERS = NEAR | st.floats(allow_nan=False)


def compared(values: npt.NDArray[np.float64], edges: npt.NDArray[np.float64]) -> list[int]:
    """Return how many values are <= each edge, one by one."""
    return [sum(bool(value <= edge) for value in values.tolist()) for edge in edges.tolist()]


@settings(max_examples=400)
@given(
    st.lists(NUMBERS, min_size=1, max_size=24).map(sorted),
    st.lists(st.lists(NUMBERS | st.just(np.nan), max_size=60), min_size=1, max_size=3),
    st.sampled_from([0, 1, 8, 100]),
)
def test_as_a_comparison_with_every_value(given_edges: list[float], batches: list[list[float]], few: int) -> None:
    """Subnormals, overflow, edges a step apart, infinities, NaN: exact, also after a column was given up as singles."""
    edges = np.array(given_edges)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binning, "MANY", 0)
        patch.setattr(binning, "FEW_TIES", few)
        tested = Edges(edges)
        for batch in batches:
            values = np.array(batch, np.float64)
            expected = compared(values, edges)
            assert tested.upto(values).tolist() == expected


@given(arrays.arrays(np.float64, st.integers(0, 50), elements=st.floats(-1, 1, width=32)), st.integers(1, 30))
def test_values_on_the_edges_themselves(values: npt.NDArray[np.float64], bins: int) -> None:
    """Edges that are values of the column, and their neighbours, which are the same single."""
    edges = np.unique(np.concatenate([values, np.nextafter(values, np.inf), [0.0]]))[:bins]
    values = np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)])
    expected = compared(values, edges)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binning, "MANY", 0)
        assert Edges(edges).upto(values).tolist() == expected


def test_large_columns_are_counted_as_singles_until_many_values_are_on_edges() -> None:
    """Both ways give the counts, and the choice stays."""
    rng = np.random.default_rng(1)
    edges = np.array([*np.linspace(-2, 2, 41), np.inf])
    spread, prices = rng.normal(size=5000), np.round(rng.normal(size=5000), 1)
    tested = Edges(edges)
    before = spread.copy()
    assert tested.upto(spread).tolist() == compared(before, edges)
    assert (spread == before).all()  # not sorted: their singles were
    for _ in range(2):
        given_prices = prices.copy()
        assert tested.upto(given_prices).tolist() == compared(prices, edges)
        assert (np.diff(given_prices) >= 0).all()
