"""Views of quality: every number against a plain loop, order-free, honest about what is missing and what is young."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.quality import WINDOWS, Missing, Quality, View, Window, quality
from modelwatch.qualityrows import Columns
from modelwatch.statistics import wilson

NOW = 1_700_000_000.0
HOUR, DAY = 3600.0, 86400.0


@dataclass
class Row:
    """One prediction and its label."""

    prediction: Any = "yes"
    label: Any = "yes"
    confidence: float = 0.9
    segment: Any = "a"
    inclusion: float = 0.1
    age: float = DAY
    delay: float = 30.0


def columns(rows: list[Row]) -> Columns:
    """Return the rows as columns."""
    predicted = [NOW - row.age for row in rows]
    return Columns(
        predictions=[row.prediction for row in rows],
        labels=[row.label for row in rows],
        confidence=[row.confidence for row in rows],
        segments=[row.segment for row in rows],
        inclusion=[row.inclusion for row in rows],
        predicted_at=predicted,
        labelled_at=[at + row.delay for at, row in zip(predicted, rows, strict=True)],
    )


def look(rows: list[Row], **options: Any) -> Quality:
    """Return the views of rows."""
    return quality(columns(rows), NOW, **options)


ROWS = st.lists(
    st.builds(
        Row,
        prediction=st.sampled_from(["yes", "no", "maybe"]),
        label=st.sampled_from(["yes", "no", "maybe", None]),
        confidence=st.floats(0, 1) | st.just(math.nan),
        segment=st.sampled_from(["a", "b", "c", "d", "e", "f", None]),
        inclusion=st.sampled_from([0.05, 0.1, 0.5, 1.0]),
        age=st.sampled_from([60.0, HOUR, 2 * HOUR, DAY, 2 * DAY, 30 * HOUR, 60 * HOUR, 10 * DAY, 60 * DAY]),
        delay=st.sampled_from([1.0, 600.0, 5 * HOUR, 30 * HOUR]),
    ),
    max_size=80,
)


def numbers(value: Any) -> Any:
    """Return a result with its floats rounded to 12 digits."""
    if isinstance(value, dict):
        return {name: numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [numbers(each) for each in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


@given(ROWS, st.randoms(use_true_random=False), st.sampled_from(["classification", "regression"]))
def test_the_order_of_rows_does_not_matter(rows: list[Row], random: Any, task: Any) -> None:
    """Any permutation gives the same views, in every digit; they are plain JSON without a NaN."""
    if task == "regression":
        rows = [
            Row(
                r.confidence * 10,
                len(r.label) * 1.5 if r.label else None,
                r.confidence,
                r.segment,
                r.inclusion,
                r.age,
                r.delay,
            )
            for r in rows
        ]
    shuffled = list(rows)
    random.shuffle(shuffled)
    one, other = (look(each, task=task, lasts=(7, 40), minimum=5) for each in (rows, shuffled))
    assert one.to_dict() == other.to_dict()
    assert numbers(one.to_dict()) == numbers(json.loads(json.dumps(one.to_dict(), allow_nan=False)))


@given(ROWS)
def test_views_equal_a_plain_loop(rows: list[Row]) -> None:
    """Members, counts, weighted accuracy, segments, confusion of every window, counted one by one."""
    found = look(rows, minimum=1)
    known = [row for row in rows if row.label is not None and row.age >= row.delay]
    assert found.labels == len(known)
    for view, (young, old) in zip(
        found.windows,
        [(0, HOUR), (0, DAY), (DAY, 2 * DAY), (2 * DAY, 3 * DAY), (0, 7 * DAY), (0, 30 * DAY)],
        strict=True,
    ):
        inside = [row for row in known if young < row.age <= old]
        assert view.n == len(inside)
        if not inside:
            assert view.accuracy is None
            assert view.missing == Missing(0, 1)
            continue
        assert view.accuracy is not None
        weights = [1 / row.inclusion for row in inside]
        right = [row.prediction == row.label for row in inside]
        value = sum(w for w, o in zip(weights, right, strict=True) if o) / sum(weights)
        assert view.accuracy.value == pytest.approx(value, abs=1e-12)
        assert (view.accuracy.right, view.accuracy.n) == (sum(right), len(inside))
        if len({row.inclusion for row in inside}) == 1:
            assert view.accuracy.method == "wilson"
            assert view.accuracy[:3] == wilson(sum(right), len(inside))
        else:
            assert view.accuracy.method == "hajek"
        by_segment = {segment.name: (segment.n, segment.right) for segment in view.segments}
        expected: dict[str, tuple[int, int]] = {}
        for row, o in zip(inside, right, strict=True):
            if row.segment is not None:
                n, k = expected.get(row.segment, (0, 0))
                expected[row.segment] = (n + 1, k + o)
        assert by_segment == expected
        assert view.confusion is not None
        for t, truth in enumerate(view.confusion.classes):
            for p, guess in enumerate(view.confusion.classes):
                count = sum(row.label == truth and row.prediction == guess for row in inside)
                assert view.confusion.counts[t][p] == count
        assert view.confusion.quality.accuracy == pytest.approx(value, abs=1e-12)


def test_the_windows_that_are_shown() -> None:
    """Without other wishes: the last hour and day, one and two days old, a week and a month."""
    spans = [(window.youngest_s / HOUR, window.oldest_s / HOUR) for window in WINDOWS]
    assert spans == [(0, 1), (0, 24), (24, 48), (48, 72), (0, 168), (0, 720)]
    assert [view.name for view in look([]).windows] == [window.name for window in WINDOWS]
    assert [view.name for view in look([]).last] == ["last 100 labels", "last 1000 labels"]


def test_the_last_labels_by_arrival() -> None:
    """Of 150 labels the last 100 are those that came last, not those predicted last; ties are cut the same way always."""
    rows = [Row(label="yes", age=DAY + i, delay=2 * i) for i in range(100)]
    rows += [
        Row(label="no", age=DAY - i, delay=0.5) for i in range(50)
    ]  # predicted last, and 1 to 25 of them came late
    last, both = look(rows, lasts=(100, 1000)).last
    assert (last.n, both.n) == (100, 150)
    assert last.accuracy is not None
    arrived = sorted(((NOW - row.age + row.delay, row.label) for row in rows))[-100:]
    assert last.accuracy.right == sum(label == "yes" for _, label in arrived)
    assert last.name == "last 100 labels"
    assert last.state == "decided"
    tied = [Row(label=label, age=DAY, delay=9.0) for label in ("yes", "no") * 30]
    right = {look(tied[::step], lasts=(40,)).last[0].accuracy.right for step in (1, -1)}  # type: ignore[union-attr]
    assert len(right) == 1


def test_too_few_labels_are_no_number() -> None:
    """12 labels: no accuracy, no class, no curve; what is missing, in words and in JSON."""
    found = look([Row(age=600.0)] * 12)
    view = found.windows[0]
    assert view.state == "too_few"
    assert view.missing == Missing(12, 30)
    assert (view.accuracy, view.confusion, view.calibration, view.segments) == (None, None, None, ())
    assert view.sentence() == "last hour: 12 of 30 labels"
    assert found.to_dict()["windows"][0]["missing"] == {
        "have": 12,
        "need": 30,
        "what": "labels",
        "words": "12 of 30 labels",
    }
    assert look([]).windows[0].missing == Missing(0, 30)
    assert look([Row(age=600.0)] * 30).windows[0].accuracy is not None
    assert look([], minimum=0).windows[0].missing == Missing(0, 1)


def late_labels() -> list[Row]:
    """2 000 predictions a day for ten days, 85 % right; wrong ones labelled after 6 h, right ones after 24 h on average."""
    rng = np.random.default_rng(12)
    rows = []
    for age in np.sort(rng.uniform(0, 10 * DAY, 20_000)).tolist():
        right = bool(rng.random() < 0.85)
        delay = float(rng.exponential(24 * HOUR if right else 6 * HOUR))
        rows.append(Row(label="yes" if right else "no", age=age, delay=min(delay, 3.9 * DAY)))
    return rows


def test_young_windows_are_not_decided_on() -> None:
    """The last hours read far too low for a true 0.85, the last day 0.74: both are too young; four days old is decided."""
    windows = (
        Window("hours", 0, 6 * HOUR),
        Window("day", 0, DAY),
        Window("old", 4 * DAY, 5 * DAY),
        Window("week", 0, 9 * DAY),
    )
    hours, day, old, week = look(late_labels(), windows=windows, minimum=5).windows
    assert hours.accuracy is not None
    assert day.accuracy is not None
    assert old.accuracy is not None
    assert hours.accuracy.value < 0.8
    assert day.accuracy.value == pytest.approx(0.74, abs=0.03)
    assert old.accuracy.value == pytest.approx(0.85, abs=0.02)
    assert [view.state for view in (hours, day, old)] == ["too_young", "too_young", "decided"]
    assert hours.maturity is not None
    assert hours.maturity < 0.16
    assert day.maturity is not None
    assert day.maturity < 0.45  # the truth is 0.38; between the edges it is a lower bound
    assert old.maturity == 1
    assert week.maturity is not None
    assert 0.75 < week.maturity < 0.9
    assert week.state == "too_young"
    assert day.sentence().endswith(" % of its labels have come, too young to decide on")
    assert look(late_labels(), windows=windows, minimum=5).decided() == old


def test_a_window_longer_than_the_history_is_as_young_as_its_labels() -> None:
    """Of a service that is six days old the last 30 days are six: their labels have not come because 24 days are empty."""
    rows = [row for row in late_labels() if row.age < 6 * DAY]
    month, week = look(rows, windows=(Window("month", 0, 30 * DAY), Window("six days", 0, 6 * DAY))).windows
    assert month.maturity is not None
    assert month.maturity == pytest.approx(week.maturity, abs=0.01)
    assert month.maturity < 0.85
    assert month.state == "too_young"


def test_without_known_delays_nothing_is_decided() -> None:
    """When no prediction is old enough to tell how late labels come, a window has no maturity, and is too young."""
    found = look([Row(age=2 * HOUR, delay=1.9 * HOUR)] * 50)
    assert found.delays.shares is None
    assert found.windows[1].accuracy is not None
    assert (found.windows[1].maturity, found.windows[1].state) == (None, "too_young")
    assert found.decided() is None


def test_non_uniform_sampling_is_weighted() -> None:
    """Where errors were kept ten times as often, the plain share is far too low, and the weighted one is right."""
    rng = np.random.default_rng(3)
    rows = []
    for _ in range(40_000):
        confident = bool(rng.random() < 0.8)
        right = bool(rng.random() < (0.97 if confident else 0.6))
        inclusion = 0.05 if confident else 0.5
        if rng.random() < inclusion:
            label = "yes" if right else "no"
            rows.append(Row(label=label, confidence=0.95 if confident else 0.6, inclusion=inclusion, age=30 * HOUR))
    view = look(rows).windows[2]
    assert view.accuracy is not None
    assert view.confusion is not None
    assert view.calibration is not None
    assert view.accuracy.method == "hajek"
    assert view.accuracy.right / view.accuracy.n < 0.75
    assert view.accuracy.low < 0.896 < view.accuracy.high
    assert view.confusion.quality.accuracy == pytest.approx(view.accuracy.value, abs=1e-12)
    assert view.calibration.n == len(rows)
    assert view.calibration.error.ece < 0.03


def test_segments_are_drawn_to_the_whole_and_small_ones_have_no_number() -> None:
    """A segment of 5 labels, all wrong, has no accuracy; its shrunk value is near the whole; k of n is shown."""
    rows = [Row(segment=name, label="no" if i < 15 else "yes") for name in "abcdef" for i in range(100)]
    rows += [Row(segment="rare", label="no")] * 5
    rows += [Row(segment=None)] * 10
    view = look(rows, windows=(Window("all", 0, 10 * DAY),)).windows[0]
    rare = next(segment for segment in view.segments if segment.name == "rare")
    assert (rare.right, rare.n, rare.accuracy, rare.missing) == (0, 5, None, Missing(5, 30))
    assert rare.shrunk is not None
    assert 0.3 < rare.shrunk < 0.85
    big = view.segments[0]
    assert big.accuracy is not None
    assert (big.name, big.accuracy.right, big.accuracy.n, big.missing) == ("a", 85, 100, None)
    assert [segment.name for segment in view.segments] == ["a", "b", "c", "d", "e", "f", "rare"]


def test_calibration_counts_only_labels_with_a_confidence() -> None:
    """NaN and what is outside of 0 to 1 are left out; too few with one are said to be."""
    rows = [Row()] * 40 + [Row(confidence=math.nan)] * 40 + [Row(confidence=7.0)] * 40
    view = look(rows, windows=(Window("all", 0, 10 * DAY),)).windows[0]
    assert view.calibration is not None
    assert (view.n, view.calibration.n) == (120, 40)
    assert view.calibration.brier == pytest.approx(0.01)
    without = look(rows[15:], windows=(Window("all", 0, 10 * DAY),)).windows[0]
    assert without.calibration is None
    assert str(without.calibration_missing) == "25 of 30 labels with a confidence"


def test_regression() -> None:
    """MAE with its interval overall and by segment; no accuracy; values without a number are counted apart."""
    rows = [Row(prediction=float(i), label=i + (1 if i % 2 else -2), segment="ab"[i % 2]) for i in range(100)]
    rows += [Row(prediction="?", label=1.0), Row(prediction=math.nan, label=1.0), Row(prediction=1.0, label="2.5")]
    found = look(rows, task="regression", windows=(Window("all", 0, 10 * DAY),))
    view = found.windows[0]
    assert (found.labels, found.unusable) == (101, 2)
    assert view.regression is not None
    assert (view.accuracy, view.confusion, view.calibration) == (None, None, None)
    assert view.regression.mae == pytest.approx((100 * 1.5 + 1.5) / 101)
    assert view.segments[1].regression is not None
    assert view.segments[1].regression.mae == pytest.approx(1.0)
    assert view.segments[1].regression.bias == pytest.approx(1.0)
    assert view.sentence().startswith("all: MAE 1.5 (1.4")
    few = look(rows[:40], task="regression", windows=(Window("all", 0, 10 * DAY),)).windows[0]
    assert [segment.missing for segment in few.segments] == [Missing(20, 30), Missing(20, 30)]
    just = look(rows[:60], task="regression", windows=(Window("all", 0, 10 * DAY),)).windows[0]
    assert [segment.n for segment in just.segments if segment.regression is not None] == [30, 30]


def test_labels_to_come_are_not_known_yet() -> None:
    """Looked at yesterday, a label of today is not there; rows without a label never are."""
    rows = (
        [Row(age=3 * DAY, delay=HOUR)] * 40 + [Row(label="no", age=3 * DAY, delay=2.5 * DAY)] * 40 + [Row(label=None)]
    )
    assert quality(columns(rows), NOW - DAY).labels == 40
    assert quality(columns(rows), NOW).labels == 80


def test_labels_are_compared_as_texts() -> None:
    """A number and its text are the same class; hostile values are a class of their own and break nothing."""
    rows = [Row(prediction=3, label="3")] * 30 + [Row(prediction=object(), label="3")] * 10 + [Row(segment="\ud800")]
    view = look(rows, windows=(Window("all", 0, 10 * DAY),), classes=["3", "5"]).windows[0]
    assert view.accuracy is not None
    assert view.confusion is not None
    assert (view.accuracy.right, view.accuracy.n) == (31, 41)
    assert view.confusion.classes == ("3", "5", "__invalid__", "yes")
    json.dumps(look(rows).to_dict())


def test_endless_classes_have_no_matrix() -> None:
    """Beyond 200 classes there is an accuracy and no matrix of them."""
    rows = [Row(prediction=str(i), label=str(i)) for i in range(201)]
    view = look(rows, windows=(Window("all", 0, 10 * DAY),)).windows[0]
    assert view.accuracy is not None
    assert view.accuracy.value == 1
    assert view.confusion is None


def test_columns_of_other_lengths_are_refused() -> None:
    """A row without its label time is a fault of the caller."""
    whole = columns([Row()] * 3)
    torn = Columns(**{**vars(whole), "labelled_at": [NOW]})
    with pytest.raises(ValueError, match=r"lengths of the columns is \[1, 3\]; expected one length"):
        quality(torn, NOW)


def test_a_view_says_it_in_words() -> None:
    """The sentence of a decided window: number, interval, labels, how many have come."""
    rows = [Row(label="no" if i < 16 else "yes", age=30 * HOUR) for i in range(100)]
    view: View = look(rows).windows[2]
    assert view.sentence() == (
        "1 to 2 days old: accuracy 84 % (76–90 %), from 100 labels, 100 % of its labels have come"
    )
    assert look(rows).last[0].sentence() == "last 100 labels: accuracy 84 % (76–90 %), from 100 labels"


def test_numbers_too_large_for_json_are_null() -> None:
    """An RMSE that overflows is null in JSON, which has no infinity."""
    rows = [Row(prediction=1e200 * (i % 2), label=0.0) for i in range(40)]
    with np.errstate(over="ignore", invalid="ignore"):
        found = look(rows, task="regression", windows=(Window("all", 0, 10 * DAY),))
    assert found.to_dict()["windows"][0]["regression"]["rmse"] is None
    json.dumps(found.to_dict(), allow_nan=False)


def test_rows_of_the_store_are_taken_as_they_are() -> None:
    """What the store of labels gives is what the views take: no conversion between them."""
    store_module = pytest.importorskip("modelwatch.groundtruth.store")
    pytest.importorskip("sqlalchemy")
    store = store_module.Store("sqlite:///:memory:", clock=lambda: NOW - DAY)
    samples = [
        store_module.Sample(f"{i:032x}", "m", "1", "/predict", NOW - 2 * DAY, "yes", 0.9, "a" if i % 2 else None, 0.1)
        for i in range(40)
    ]
    store.add_samples(samples)
    store.label_many([store_module.TrueLabel(f"{i:032x}", "yes" if i % 4 else "no") for i in range(40)])
    view = quality(store.rows("m"), NOW).last[0]
    assert view.accuracy is not None
    assert view.accuracy[3:5] == (30, 40)
    assert [(segment.name, segment.n) for segment in view.segments] == [("a", 20)]
    store.close()
