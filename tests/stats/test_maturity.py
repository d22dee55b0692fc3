"""How late labels come, and how much of a window is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.statistics import DelayHistogram
from modelwatch.statistics.maturity import DAY, DELAY_EDGES, HOUR, MINUTE


def delays_of(seconds: list[float], age: float = 60 * DAY) -> DelayHistogram:
    """Return the histogram of old predictions with these delays."""
    return DelayHistogram.of(np.zeros(len(seconds)), seconds, now=age)


def test_shares_by_age() -> None:
    """Half after 30 s, half after 2 h: none known at once, half from a minute on, all from three hours on."""
    delays = delays_of([30.0] * 50 + [2 * HOUR] * 50)
    assert delays.n == 100
    ages = (0, 59, MINUTE, 2 * HOUR, 3 * HOUR, 50 * DAY)
    assert [delays.share_by(age) for age in ages] == [0, 0, 0.5, 0.5, 1, 1]


def test_young_predictions_are_left_out() -> None:
    """A prediction younger than the longest delay shows only its quick labels: it is not counted."""
    now = 10 * DAY
    predicted = np.array([0.0] * 40 + [now - 600] * 40)
    labelled = predicted + np.array([HOUR / 2] * 20 + [5 * HOUR] * 20 + [30.0] * 40)
    delays = DelayHistogram.of(predicted, labelled, now)
    assert delays.n == 40
    assert delays.share_by(HOUR) == 0.5


def test_edges() -> None:
    """The bins are those of the documents, in seconds."""
    minutes = (1, 5, 15, 60, 180, 360, 720, 1440, 2880, 5760, 10080, 20160, 43200)
    assert tuple(60.0 * m for m in minutes) == DELAY_EDGES
    assert (MINUTE, HOUR, DAY) == (60, 3600, 86400)


def test_a_prediction_as_old_as_the_largest_edge_is_old_enough() -> None:
    """All labels after two hours: predictions of three hours count, younger ones do not."""
    assert delays_of([2 * HOUR] * 40, age=3 * HOUR).n == 40
    assert delays_of([2 * HOUR] * 40, age=3 * HOUR - 1).n == 0


def test_weights_stand_for_what_was_not_sampled() -> None:
    """A label kept with a tenth counts ten times."""
    delays = DelayHistogram.of([0.0] * 40, [30.0] * 20 + [2 * HOUR] * 20, 60 * DAY, [0.1] * 20 + [1.0] * 20)
    assert delays.share_by(MINUTE) == pytest.approx(10 / 11)


def test_too_few_labels_tell_no_delay() -> None:
    """With 29 labels, or none, nothing is said."""
    assert delays_of([30.0] * 29).share_by(DAY) is None
    assert delays_of([30.0] * 29).maturity(0, DAY) is None
    assert delays_of([]).maturity(0, DAY) is None
    assert delays_of([30.0] * 30).maturity(0, DAY) == pytest.approx(1 - MINUTE / DAY)


@given(
    st.lists(st.floats(0, 40 * DAY), min_size=30, max_size=80),
    st.floats(0, 45 * DAY),
    st.floats(1, 45 * DAY),
)
def test_maturity_is_the_mean_share(delays: list[float], youngest: float, length: float) -> None:
    """Over a window it is the mean of the shares by age; it lies between those of its ends, and 0 and 1."""
    histogram = delays_of(delays, 100 * DAY)
    oldest = youngest + length
    found, first, last = histogram.maturity(youngest, oldest), histogram.share_by(youngest), histogram.share_by(oldest)
    assert found is not None
    assert first is not None
    assert last is not None
    assert 0 <= first <= found + 1e-9
    assert found <= last + 1e-9
    assert last <= 1
    ages = np.linspace(youngest, oldest, 501)
    numeric = np.mean([histogram.share_by(float(age)) for age in (ages[1:] + ages[:-1]) / 2])
    assert found == pytest.approx(numeric, abs=len(DELAY_EDGES) / 500)
    assert histogram.maturity(youngest, youngest) == first


@given(st.lists(st.floats(0, 40 * DAY), min_size=30, max_size=60), st.integers(0, 60))
def test_histograms_merge(delays: list[float], cut: int) -> None:
    """Counts of two parts add up to those of the whole."""
    padded = [40 * DAY, *delays]  # both parts use the same largest edge
    whole = delays_of([40 * DAY, *padded], 100 * DAY)
    merged = delays_of(padded[: cut + 1], 100 * DAY) + delays_of([40 * DAY, *padded[cut + 1 :]], 100 * DAY)
    assert merged.counts.tolist() == whole.counts.tolist()
    assert merged.n == whole.n


def test_a_label_before_its_prediction_has_no_delay() -> None:
    """Clocks of two hosts differ a little: a negative delay counts as none."""
    assert delays_of([-5.0] * 30).share_by(MINUTE) == 1
