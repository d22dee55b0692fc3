"""Signals: one number each, or the reason why there is none."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch import names, signals
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema
from modelwatch.signals import SIGNALS, Counts, Objectives, Reading
from modelwatch.tally import Tally

SCHEMA = ModelSchema(latency=(0.1, 0.25, 0.5, 1.0), classes=("a", "b"))
PROMISED = Objectives(latency_threshold_s=0.25, latency_objective=0.9, error_objective=0.95)


def counts(events: list[tuple[Any, ...]], objectives: Objectives = PROMISED, covered_s: float = 300.0) -> Counts:
    """Return the counts of events."""
    kernel = Kernel(SCHEMA)
    if events:
        kernel.fold(events)
    return Counts(kernel.tally, SCHEMA, covered_s, objectives)


def requests(n: int, duration: float = 0.05, error: str | None = None, label: str = "a") -> list[tuple[Any, ...]]:
    """Return n equal events."""
    return [("/p", duration, error, None, label, 0.9, None)] * n


def read(name: str, given: Counts) -> Reading:
    """Return the only reading of a signal."""
    (reading,) = SIGNALS[name].read(given)
    return reading


def told(reading: Reading) -> tuple[float | None, int, str]:
    """Return what matters of it."""
    return reading.value, reading.samples, reading.outcome


def test_request_rate() -> None:
    """Requests of the covered seconds, failed and cancelled ones included, over all endpoints."""
    events = [*requests(150), *requests(75, error="ValueError"), *requests(75, error="CancelledError")]
    assert told(read("request_rate", counts(events))) == (1.0, 300, "ok")
    assert told(read("request_rate", counts([]))) == (0.0, 0, "cannot_tell")
    nothing_covered = read("request_rate", counts(requests(5), covered_s=0.0))
    assert told(nothing_covered) == (None, 5, "cannot_tell")
    assert nothing_covered.reason == "these counts cannot tell it"


def test_error_ratio() -> None:
    """Failed of those whose client stayed; it fires above the budget of the objective, not at it."""
    at_limit = [*requests(95), *requests(5, error="http_503"), *requests(900, error="CancelledError")]
    reading = read("error_ratio", counts(at_limit))
    assert told(reading) == (0.05, 100, "ok")
    assert reading.limit == pytest.approx(0.05)
    assert told(read("error_ratio", counts([*at_limit, *requests(1, error="ValueError")]))) == (6 / 101, 101, "firing")


def test_slow_ratio() -> None:
    """Exact at the objective's edge: what took just that long is not slow. Cancelled requests have no duration."""
    events = [*requests(90, 0.25), *requests(10, 0.2501), *requests(50, 9.0, "CancelledError")]
    assert told(read("slow_ratio", counts(events))) == (0.1, 100, "ok")
    assert told(read("slow_ratio", counts([*events, *requests(1, 9.0, "ValueError")]))) == (11 / 101, 101, "firing")


def test_latency_p95() -> None:
    """As Prometheus interpolates; above the last edge it is that edge."""
    reading = read("latency_p95", counts(requests(100, 0.2)))
    assert reading.value == pytest.approx(0.1 + 0.15 * 0.95)
    assert (reading.samples, reading.outcome) == (100, "ok")
    assert told(read("latency_p95", counts(requests(100, 99.0)))) == (1.0, 100, "ok")


def test_prediction_share() -> None:
    """A share for every class, those that were not predicted included; they add up to 1."""
    given = counts([*requests(30), *requests(10, label="new")])
    readings = {reading.labels["predicted_class"]: told(reading) for reading in SIGNALS["prediction_share"].read(given)}
    assert readings == {"a": (0.75, 40, "ok"), "b": (0.0, 40, "ok"), "new": (0.25, 40, "ok")}


@pytest.mark.parametrize("name", SIGNALS)
def test_nothing_counted_cannot_be_told(name: str) -> None:
    """No traffic, or a tally without tables: one reading without a verdict and with its reason, never 0 errors."""
    empty = Counts(Tally(), SCHEMA, 300.0, PROMISED)
    for nothing in (counts([]), empty):
        reading = read(name, nothing)
        assert reading.outcome == "cannot_tell"
        assert reading.reason
        assert reading.samples == 0
        if name != "request_rate":
            assert reading.value is None
            assert reading.reason == "no requests in this window"


@pytest.mark.parametrize("name", ["error_ratio", "slow_ratio", "latency_p95"])
def test_too_few_samples_cannot_be_told(name: str) -> None:
    """19 of the 20 requests that are needed, all of them bad, do not fire; the 20th does."""
    few, enough = (counts(requests(n, 9.0, "ValueError")) for n in (19, 20))
    reading = read(name, few)
    assert (reading.outcome, reading.reason) == ("cannot_tell", "19 of 20 requests that are needed")
    assert reading.value is not None
    assert read(name, enough).outcome == ("ok" if name == "latency_p95" else "firing")


def test_only_cancelled_requests_have_no_error_ratio() -> None:
    """A share of nothing is no number."""
    reading = read("error_ratio", counts(requests(50, error="CancelledError")))
    assert told(reading) == (None, 0, "cannot_tell")


def test_a_threshold_without_a_bucket_cannot_be_told() -> None:
    """Counts that were made for another objective do not show the share; the reason is not that there was no traffic."""
    reading = read("slow_ratio", counts(requests(50), Objectives(0.3, 0.9)))
    assert told(reading) == (None, 50, "cannot_tell")
    assert reading.reason == "these counts cannot tell it"


def test_what_is_not_promised_is_not_read() -> None:
    """Without a latency objective there are no slow requests; without an error objective nothing fires."""
    nothing = counts(requests(50, 9.0, "ValueError"), Objectives())
    assert SIGNALS["slow_ratio"].read(nothing) == []
    assert SIGNALS["slow_ratio"].promql("", "5m", Objectives()) is None
    reading = read("error_ratio", nothing)
    assert (reading.value, reading.outcome, reading.limit) == (1.0, "ok", None)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["/p", "/q"]),
        st.one_of(st.none(), st.floats(), st.floats(0, 2)),
        st.sampled_from([None, None, "ValueError", "CancelledError"]),
        st.none(),
        st.sampled_from([None, "a", "b", "c", math.nan]),
        st.one_of(st.none(), st.floats()),
        st.none(),
    ),
    max_size=60,
)


@given(EVENTS, st.sampled_from([PROMISED, Objectives(), Objectives(0.3, 1.0, 1.0)]), st.sampled_from([0.0, 300.0]))
def test_no_reading_is_nan_or_out_of_range(
    events: list[tuple[Any, ...]], objectives: Objectives, covered_s: float
) -> None:
    """Whatever was counted: a number or None, a share within 0 and 1, a reason exactly where it cannot be told."""
    given = counts(events, objectives, covered_s)
    for signal in SIGNALS.values():
        for reading in signal.read(given):
            assert reading.value is None or math.isfinite(reading.value)
            if reading.unit == "ratio" and reading.value is not None:
                assert 0 <= reading.value <= 1
            assert (reading.outcome == "cannot_tell") == bool(reading.reason)
            assert reading.value is not None or reading.outcome == "cannot_tell"
            assert tuple(reading.labels) in (signal.labels, ())
            assert "model_version" not in reading.labels
            assert reading.samples >= 0
            if reading.outcome == "firing":
                assert reading.limit is not None
                assert reading.value is not None
                assert reading.value > reading.limit


def test_latency_quantiles_rise() -> None:
    """P50 to P99 of the same counts are in order, each within its bracket."""
    given = counts([*requests(50, 0.05), *requests(40, 0.3), *requests(10, 0.8)])
    found = [signals.latency_quantile(given, q) for q in (0.5, 0.9, 0.95, 0.99)]
    for quantile in found:
        assert quantile is not None
        assert quantile.high is not None
        assert quantile.low < quantile.value <= quantile.high
    assert all(a is not None and b is not None and a.value <= b.value for a, b in pairwise(found))
    assert signals.latency_quantile(counts([]), 0.5) is None


def test_signals_are_named_once_and_use_exported_names() -> None:
    """Each has words, and its PromQL uses metrics that the page has, its selector and its window."""
    exported = {m.name for m in vars(names).values() if isinstance(m, names.Metric)}
    for name, signal in SIGNALS.items():
        assert signal.name == name
        assert signal.title
        assert signal.words
        assert signal.unit
        for text in (
            signal.promql('model_name="m"', "7m", PROMISED),
            signal.samples_promql('model_name="m"', "7m"),
        ):
            assert text is not None
            used = {word for word in text.replace("{", " ").replace("(", " ").split() if word.startswith("ml_")}
            assert used
            for word in used:
                assert any(word in (e, f"{e}_bucket", f"{e}_count") for e in exported), word
            assert text.count('{model_name="m"') == text.count("[7m]") > 0
            assert text.count("(") == text.count(")")
