"""SLOTracker: the brief's keys and words, all six kinds, constant cost, nothing lost between threads."""

from __future__ import annotations

import gc
import math
import threading
import time

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from modelwatch import SLOTracker
from modelwatch.slotracker import PERIOD_S


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_the_brief_s_own_use() -> None:
    """Three good measurements: the keys and the words of the brief; what was not measured is not 0."""
    tracker = SLOTracker("sentiment_classifier")
    tracker.record_measurement("latency_p95", 0.45)
    tracker.record_measurement("error_rate", 0.008)
    tracker.record_measurement("accuracy", 0.87)
    status = tracker.check_slo_status()
    assert status["latency_p95"] == {"compliance": 1.0, "threshold": 0.95, "status": "✓ MEETING SLO"}
    assert status["availability"] == {"compliance": None, "threshold": 1.0, "status": "? NO DATA"}
    assert {"latency", "availability", "error_rate", "accuracy", "throughput", "cost", "latency_p95"} <= set(status)


@pytest.mark.parametrize(
    ("slo", "good", "bad"),
    [
        ("latency", 0.5, 0.501), ("latency_p95", 0.5, 0.501), ("error_rate", 0.01, 0.011), ("accuracy", 0.85, 0.849),
        ("availability", 0.995, 0.994), ("throughput", 1000, 999), ("cost", 0.05, 0.051),
    ],
)  # fmt: skip
def test_each_kind_has_its_better_side(slo: str, good: float, bad: float) -> None:
    """At the target is good; beyond it, on the worse side, is not."""
    tracker = SLOTracker("m")
    tracker.record_measurement(slo, good)
    assert tracker.calculate_compliance(slo) == 1.0
    tracker.record_measurement(slo, bad)
    assert tracker.calculate_compliance(slo) == 0.5
    assert tracker.check_slo_status()[slo]["status"] == "✗ VIOLATING SLO"


def test_what_is_no_number_is_neither_good_nor_bad() -> None:
    """NaN, infinities and text are refused and counted; an unknown kind is told."""
    tracker = SLOTracker("m")
    for value in (math.nan, math.inf, "0.1", None, 10**400):
        tracker.record_measurement("latency", value)  # type: ignore[arg-type]  # that is the point
    assert tracker.refused == 5
    assert tracker.calculate_compliance("latency") is None
    with pytest.raises(ValueError, match="slo_type is 'latncy'; expected one of latency_p95"):
        tracker.record_measurement("latncy", 0.1)


def test_old_measurements_leave() -> None:
    """After 30 days only the newer ones count; a clock that is set back loses nothing."""
    clock = Clock()
    tracker = SLOTracker("m", clock=clock)
    for _ in range(3):
        tracker.record_measurement("latency", 9.0)
    clock.now += PERIOD_S - 7200
    tracker.record_measurement("latency", 0.1)
    assert tracker.calculate_compliance("latency") == 0.25
    clock.now -= 600
    tracker.record_measurement("latency", 0.1)
    assert tracker.calculate_compliance("latency") == 0.4
    clock.now += 3 * 3600
    assert tracker.calculate_compliance("latency") == 1.0
    clock.now += 2 * PERIOD_S
    assert tracker.calculate_compliance("latency") is None


def test_own_objectives() -> None:
    """A target of one's own replaces the brief's."""
    tracker = SLOTracker("m", {"latency": {"target": 0.1, "threshold": 0.5}})
    tracker.record_measurement("latency", 0.2)
    tracker.record_measurement("latency", 0.05)
    assert tracker.check_slo_status()["latency"] == {"compliance": 0.5, "threshold": 0.5, "status": "✓ MEETING SLO"}


def test_the_gauge_is_of_what_was_measured() -> None:
    """0 to 100 by model and type, worked out when it is read; no series without a measurement, and none of who is gone."""
    registry = CollectorRegistry()
    tracker, other = (SLOTracker(model, registry=registry) for model in ("a", "b"))
    for seconds in (0.1, 0.2, 0.3, 9.0):
        tracker.record_measurement("latency_p95", seconds)
    other.record_measurement("accuracy", 0.2)
    name = "ml_slo_compliance_percentage"
    text = generate_latest(registry).decode()
    assert text.count(f"# TYPE {name} gauge") == 1
    assert [line for line in text.splitlines() if line.startswith(name)] == [
        f'{name}{{model_name="a",slo_type="latency_p95"}} 75.0',
        f'{name}{{model_name="b",slo_type="accuracy"}} 0.0',
    ]
    del other
    gc.collect()
    assert registry.get_sample_value(name, {"model_name": "b", "slo_type": "accuracy"}) is None
    again = SLOTracker("a", registry=registry)
    again.record_measurement("latency_p95", 0.1)
    assert registry.get_sample_value(name, {"model_name": "a", "slo_type": "latency_p95"}) == 100.0
    assert generate_latest(CollectorRegistry()) == b""


def test_threads_lose_nothing() -> None:
    """Eight threads record 20 000 measurements each; the brief's own tracker lost 73 % of them."""
    tracker = SLOTracker("m")

    def record() -> None:
        for i in range(20_000):
            tracker.record_measurement("latency", 0.1 if i % 4 else 9.0)

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tracker._sums("latency") == (120_000, 160_000)
    assert tracker.calculate_compliance("latency") == 0.75


@pytest.mark.slow
def test_a_record_costs_the_same_after_a_million() -> None:
    """The best of several rounds at 1 000 and at 1 000 000 records: within a factor of two."""
    tracker = SLOTracker("m")

    def cost() -> float:
        best = math.inf
        for _ in range(20):
            began = time.perf_counter()
            for _ in range(1000):
                tracker.record_measurement("latency", 0.1)
            best = min(best, (time.perf_counter() - began) / 1000)
        return best

    early = cost()
    for _ in range(980_000):
        tracker.record_measurement("latency", 0.1)
    late = cost()
    print(f"a record: {1e6 * early:.2f} µs at 20 000, {1e6 * late:.2f} µs at 1 000 000")
    assert late < 2 * early
    assert tracker._counts["latency"].total == 1_020_000
    assert len(tracker._counts["latency"].hours) <= 2
