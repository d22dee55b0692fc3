"""The usage snippets of the design document's sections 1 and 2 run as they stand there, apart from their imports."""

from __future__ import annotations

import itertools
import json
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from integrations.calling import call
from modelwatch import standalone
from modelwatch.groundtruth.sampling import chance

IMPORTS = """
    from modelwatch import (
        GroundTruthSampler, LatencyTracker, SegmentPerformanceTracker, ThroughputMonitor, monitor_ml_endpoint,
        track_confidence, track_prediction
    )
"""

ENDPOINT = """
    # Usage example
    @monitor_ml_endpoint(model_name="sentiment_classifier", endpoint="/predict")
    def predict_sentiment(text: str):
        result = model.predict(text)
        return result
"""

PREDICTION = """
    # Example: Sentiment classifier
    result = model.predict("Great product!") # Returns "positive"
    track_prediction("sentiment_classifier", result)
"""

# The document defines these and shows no call; their signatures and keys are its own.
LATENCY = """
    tracker = LatencyTracker(window_size=1000)
    for latency_seconds in latencies:
        tracker.record(latency_seconds)
    percentiles = tracker.get_percentiles()
"""

THROUGHPUT = """
    throughput = ThroughputMonitor(model_name="sentiment_classifier")
    for _ in range(120):
        throughput.record_request()
"""

CONFIDENCE = """
    track_confidence(model_name="sentiment_classifier", confidence=0.93)
    track_confidence("sentiment_classifier", 0.55)
    track_confidence("sentiment_classifier", 0.85, threshold=0.9)
"""

SEGMENTS = """
    # Example: E-commerce recommendations
    tracker = SegmentPerformanceTracker("recommender")
    tracker.record_prediction(segment="electronics", is_correct=True)
    tracker.record_prediction(segment="clothing", is_correct=False)
"""

SAMPLER = """
    sampler = GroundTruthSampler("sentiment_classifier", sampling_rate=0.1)

    @app.post("/predict")
    def predict(text: str):
        result = model.predict(text)
        request_id = generate_request_id()
        # Sample for human review
        sampler.sample_prediction(request_id, result)
        return {"request_id": request_id, "result": result}

    # Later: Human reviewer provides label
    @app.post("/feedback")
    def feedback(request_id: str, true_label: str):
        sampler.add_ground_truth(request_id, true_label)
        return {"status": "recorded"}
"""

#: What the document's sections 1 and 2 define, with their labels. prometheus_client ends its counters in _total.
DEFINED = {
    "ml_requests_total": {"model_name", "endpoint", "model_version"},
    "ml_errors_total": {"model_name", "endpoint", "error_type"},
    "ml_request_duration_seconds_bucket": {"model_name", "endpoint", "le"},
    "ml_requests_in_progress": {"model_name"},
    "ml_throughput_requests_per_second": {"model_name"},
    "ml_predictions_by_class_total": {"model_name", "predicted_class"},
    "ml_prediction_confidence_bucket": {"model_name", "le"},
    "ml_low_confidence_predictions_total": {"model_name", "threshold"},
}
LATENCY_BUCKETS = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0]
CONFIDENCE_BUCKETS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


class Model:
    """The document's model: a text in, a class out."""

    def predict(self, text: str) -> str:
        """Return the class of a text."""
        if not text:
            raise ValueError("no text")
        time.sleep(0.002 if text in ("Great", "Bad") else 0.02)
        return "positive" if "Great" in text else "negative"


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has its own live.db and its own default monitors."""
    monkeypatch.setenv("MODELWATCH_LIVE", str(tmp_path / "live.db"))
    monkeypatch.setattr(standalone, "_monitors", {})
    yield
    for monitor in standalone._monitors.values():
        monitor.close()


def run(*snippets: str, **given: Any) -> dict[str, Any]:
    """Run snippets one after another, in one module; return its names."""
    names = {"model": Model(), **given}
    for snippet in (IMPORTS, *snippets):
        exec(compile(textwrap.dedent(snippet), "<design document>", "exec"), names)
    return names


def samples() -> list[Sample]:
    """Return what a scrape shows."""
    monitor = standalone.default_monitor("sentiment_classifier")
    assert monitor.flush(5)
    return [s for family in text_string_to_metric_families(monitor.metrics().decode()) for s in family.samples]


def value(name: str, **labels: str) -> float:
    """Return the sum of the series that have these labels."""
    return sum(s.value for s in samples() if s.name == name and labels.items() <= s.labels.items())


def test_monitor_ml_endpoint() -> None:
    """The decorated function answers and fails as before; its rate, errors, duration and requests in progress are counted."""
    predict_sentiment = run(ENDPOINT)["predict_sentiment"]
    assert [predict_sentiment("Great product!"), predict_sentiment(text="Bad.")] == ["positive", "negative"]
    with pytest.raises(ValueError, match="no text"):
        predict_sentiment("")
    assert value("ml_requests_total", endpoint="/predict") == 3
    assert value("ml_errors_total", endpoint="/predict", error_type="ValueError") == 1
    assert value("ml_request_duration_seconds_count", endpoint="/predict") == 3
    assert 0.04 <= value("ml_request_duration_seconds_sum", endpoint="/predict") < 1
    assert value("ml_requests_in_progress") == 0


def test_latency_tracker() -> None:
    """The percentiles have the document's keys, and are those of the last 1,000 latencies."""
    names = run(LATENCY, latencies=[9.0, *[i / 1000 for i in range(1000)]])
    percentiles = names["percentiles"]
    assert percentiles == pytest.approx({"p50": 0.4995, "p95": 0.94905, "p99": 0.98901, "mean": 0.4995, "max": 0.999})
    assert run(LATENCY, latencies=[])["percentiles"] is None


def test_throughput_monitor() -> None:
    """120 requests within the last minute are 2 a second."""
    run(THROUGHPUT, PREDICTION)
    assert value("ml_throughput_requests_per_second", model_name="sentiment_classifier") == 2


def test_track_prediction() -> None:
    """The predicted class is counted, and no request with it."""
    assert run(PREDICTION)["result"] == "positive"
    assert value("ml_predictions_by_class_total", predicted_class="positive") == 1
    assert value("ml_requests_total") == 0


def test_track_confidence() -> None:
    """Each confidence is in its bucket; those below their threshold are counted by it, which is 0.7 where none is given."""
    run(CONFIDENCE)
    assert value("ml_prediction_confidence_count") == 3
    assert value("ml_prediction_confidence_bucket", le="0.9") == 2
    assert value("ml_low_confidence_predictions_total", threshold="0.7") == 1
    assert value("ml_low_confidence_predictions_total", threshold="0.9") == 1


def test_segment_performance_tracker() -> None:
    """Right and wrong predictions are counted by segment, in the tracker and on the page."""
    tracker = run(SEGMENTS)["tracker"]
    assert tracker.segments == {
        "electronics": {"correct": 1, "total": 1}, "clothing": {"correct": 0, "total": 1},
    }  # fmt: skip
    monitor = standalone.default_monitor("recommender")
    assert monitor.flush(5)
    page = monitor.metrics().decode()
    assert 'segment="electronics",outcome="correct"} 1' in page
    assert 'segment="clothing",outcome="wrong"} 1' in page


def test_ground_truth_sampler() -> None:
    """Over HTTP: a tenth is kept, labels of the others change nothing, and the accuracy is that of the kept ones."""
    app, numbers = FastAPI(), itertools.count()
    names = run(SAMPLER, app=app, generate_request_id=lambda: f"request {next(numbers)}")

    def post(path: str, **parameters: str) -> Any:
        return json.loads(call(app, path, method="POST", query_string=urlencode(parameters).encode()).body)

    answers = [post("/predict", text="Great" if i % 4 else "Bad") for i in range(600)]
    for answer in answers:  # the model is right about three quarters of the texts
        truth = "positive" if int(answer["request_id"].split()[1]) % 2 else "negative"
        told = post("/feedback", request_id=answer["request_id"], true_label=truth)
        assert told == {"status": "recorded"}
    sampler = names["sampler"]
    kept = [a for a in answers if chance(a["request_id"]) < 0.1]
    right = sum(a["result"] == ("positive" if int(a["request_id"].split()[1]) % 2 else "negative") for a in kept)
    assert 30 < len(kept) < 100
    assert sampler.states["matched"] == len(kept)
    assert sampler.states["not_sampled"] == 600 - len(kept)
    assert sampler.calculate_accuracy() == right / len(kept)


def test_every_metric_that_the_document_defines_is_on_the_page() -> None:
    """All of its names are there, with its labels and its buckets among them."""
    predict_sentiment = run(ENDPOINT, PREDICTION, CONFIDENCE, THROUGHPUT)["predict_sentiment"]
    with pytest.raises(ValueError, match="no text"):
        predict_sentiment("")
    shown = samples()
    for name, labels in DEFINED.items():
        assert any(labels <= s.labels.keys() for s in shown if s.name == name), name
    for name, buckets in [
        ("ml_request_duration_seconds_bucket", LATENCY_BUCKETS),
        ("ml_prediction_confidence_bucket", CONFIDENCE_BUCKETS),
    ]:
        assert set(buckets) <= {float(s.labels["le"]) for s in shown if s.name == name}
