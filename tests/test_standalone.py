"""The names that are usable alone: exact over threads, bounded, and unmoved by hostile values."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelwatch import (
    LatencyTracker,
    ThroughputMonitor,
    standalone,
    track_confidence,
    track_prediction,
)
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has its own live.db and its own default monitors."""
    monkeypatch.setenv("MODELWATCH_LIVE", str(tmp_path / "live.db"))
    monkeypatch.setattr(standalone, "_monitors", {})
    yield
    for monitor in standalone._monitors.values():
        monitor.close()


def samples(model: str) -> dict[tuple[str, ...], float]:
    """Return {(name, label values): value} of everything that is not 0."""
    monitor = standalone.default_monitor(model)
    assert monitor.flush(5)
    found = {}
    for family in text_string_to_metric_families(monitor.metrics().decode()):
        for sample in family.samples:
            labels = [value for name, value in sample.labels.items() if name not in ("model_name", "model_version")]
            if sample.value and sample.labels.get("model_name") in (model, None):
                key = (sample.name, *labels)
                found[key] = sample.value
    return found


def test_calls_without_a_request_are_no_requests() -> None:
    """Tracked predictions and confidences of eight threads are all counted, and none is a request."""

    def work(me: int) -> None:
        for i in range(2000):
            track_prediction("tracked", "ab"[i % 2])
            track_confidence("tracked", i / 2000, threshold=0.5 if me % 2 else 0.7)

    threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples("tracked")
    assert found["ml_predictions_by_class_total", "a"] == found["ml_predictions_by_class_total", "b"] == 8000
    assert found["ml_prediction_confidence_count",] == 16000
    assert found["ml_low_confidence_predictions_total", "0.5"] == 4 * 1000
    assert found["ml_low_confidence_predictions_total", "0.7"] == 4 * 1400
    assert not [key for key in found if key[0] == "ml_requests_total"]


@pytest.mark.parametrize("value", [None, math.nan, "0.9", [], 10**400, object()])
def test_hostile_values_cost_only_themselves(value: object) -> None:
    """A bad class, confidence or threshold is refused or replaced; the next good one counts."""
    track_prediction("hostile", value)
    track_confidence("hostile", value)  # type: ignore[arg-type]
    track_confidence("hostile", 0.5, threshold=value)  # type: ignore[arg-type]
    track_prediction("hostile", "a")
    found = samples("hostile")
    assert found["ml_predictions_by_class_total", "a"] == 1
    assert found["ml_prediction_confidence_count",] == 1
    assert not [key for key in found if key[0].endswith("internal_errors_total")]


def test_thresholds_are_bounded() -> None:
    """Endless thresholds are one series beyond the cap, counted as overflow."""
    kernel = Kernel(ModelSchema(cap=10))
    kernel.fold_answers([(None, 0.5, i / 100) for i in range(100)])
    low = kernel.tally.tables["ml_low_confidence_predictions_total"]
    assert len(low.rows) <= 11
    assert low.total() == 49


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50))
def test_latency_percentiles_equal_numpy(values: list[float]) -> None:
    """The percentiles of the window are numpy's."""
    tracker = LatencyTracker(window_size=20)
    for value in values:
        tracker.record(value)
    last = values[-20:]
    found = tracker.get_percentiles()
    assert found is not None
    assert found["p95"] == pytest.approx(np.percentile(last, 95))
    assert found["max"] == max(last)
    assert found["mean"] == pytest.approx(np.mean(last))


def test_latency_tracker_refuses_what_is_no_latency() -> None:
    """NaN, infinities, negatives and text are refused and counted, and bend no percentile; nothing gives no number."""
    tracker = LatencyTracker()
    assert tracker.get_percentiles() is None
    for bad in (math.nan, math.inf, -1.0, "x", None, object()):
        tracker.record(bad)  # type: ignore[arg-type]
    tracker.record(0.5)
    assert tracker.refused == 6
    assert tracker.get_percentiles() == {"p50": 0.5, "p95": 0.5, "p99": 0.5, "mean": 0.5, "max": 0.5}
    with pytest.raises(ValueError, match="window_size is 0; expected"):
        LatencyTracker(0)


def test_throughput_of_the_last_minute_reads_dead_when_dead() -> None:
    """One request a second is 1/60 each; a minute after the last one it is 0, whatever the number of calls."""
    now = [1000.0]
    monitor = ThroughputMonitor("throughput", clock=lambda: now[0])
    for _ in range(120):
        monitor.record_request()
        monitor.record_request()
        now[0] += 1
    assert monitor.throughput() == pytest.approx(2.0, rel=0.02)
    now[0] += 61
    assert monitor.throughput() == 0

    def work() -> None:
        for _ in range(5000):
            monitor.record_request()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert monitor.last_minute() == 20_000
    track_prediction("throughput", "a")  # a gauge is told with the next commit
    assert samples("throughput")["ml_throughput_requests_per_second",] == pytest.approx(20_000 / 60)
