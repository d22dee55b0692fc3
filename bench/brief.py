"""The code of the design document that modelwatch began from, as it is written there: the baseline to be better than.

Sections 1 to 3 (requests, quality, drift) and the SLO tracker of section 6. What the document calls without defining it
(the version of the model, the review queue, Slack) does nothing here.
"""

from __future__ import annotations

import functools
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

REQUEST_COUNT = Counter("ml_requests_total", "Total ML inference requests", ["model_name", "endpoint", "model_version"])
ERROR_COUNT = Counter("ml_errors_total", "Total ML inference errors", ["model_name", "endpoint", "error_type"])
LATENCY_BUCKETS = [0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0]
REQUEST_LATENCY = Histogram(
    "ml_request_duration_seconds", "ML inference request latency", ["model_name", "endpoint"], buckets=LATENCY_BUCKETS
)
IN_PROGRESS = Gauge("ml_requests_in_progress", "ML inference requests currently being processed", ["model_name"])
THROUGHPUT_GAUGE = Gauge("ml_throughput_requests_per_second", "Current requests per second", ["model_name"])
PREDICTION_COUNT = Counter(
    "ml_predictions_by_class", "Total predictions by class label", ["model_name", "predicted_class"]
)
CONFIDENCE_BUCKETS = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
CONFIDENCE_HISTOGRAM = Histogram(
    "ml_prediction_confidence", "Model prediction confidence scores", ["model_name"], buckets=CONFIDENCE_BUCKETS
)
LOW_CONFIDENCE_COUNT = Counter(
    "ml_low_confidence_predictions", "Predictions below confidence threshold", ["model_name", "threshold"]
)
SEGMENT_ACCURACY_GAUGE = Gauge(
    "ml_accuracy_by_segment", "Model accuracy for different data segments", ["model_name", "segment"]
)
DRIFT_SCORE_GAUGE = Gauge("ml_data_drift_score", "KS test D-statistic for data drift", ["model_name", "feature_name"])
DRIFT_ALERT = Counter("ml_data_drift_alerts", "Data drift alerts triggered", ["model_name", "feature_name", "severity"])
PSI_GAUGE = Gauge("ml_concept_drift_psi", "Population Stability Index for concept drift", ["model_name"])
SLO_COMPLIANCE_GAUGE = Gauge("ml_slo_compliance_percentage", "SLO compliance percentage", ["model_name", "slo_type"])


def get_model_version() -> str:
    return "1.0"


def send_to_review_queue(request_id: str, prediction: dict[str, Any]) -> None:
    pass


def send_alert_to_slack(message: str) -> None:
    pass


def monitor_ml_endpoint(model_name: str, endpoint: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorator(func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            REQUEST_COUNT.labels(model_name=model_name, endpoint=endpoint, model_version=get_model_version()).inc()
            IN_PROGRESS.labels(model_name=model_name).inc()
            start_time = time.time()
            try:
                result = func(*args, **kwargs)
                REQUEST_LATENCY.labels(model_name=model_name, endpoint=endpoint).observe(time.time() - start_time)
                return result
            except Exception as e:
                ERROR_COUNT.labels(model_name=model_name, endpoint=endpoint, error_type=type(e).__name__).inc()
                raise
            finally:
                IN_PROGRESS.labels(model_name=model_name).dec()

        return wrapper

    return decorator


class LatencyTracker:
    def __init__(self, window_size: int = 1000) -> None:
        self.latencies: deque[float] = deque(maxlen=window_size)

    def record(self, latency_seconds: float) -> None:
        self.latencies.append(latency_seconds)


class ThroughputMonitor:
    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.request_times: deque[float] = deque()

    def record_request(self) -> None:
        now = time.time()
        self.request_times.append(now)
        cutoff = now - 60
        while self.request_times and self.request_times[0] < cutoff:
            self.request_times.popleft()
        throughput = len(self.request_times) / 60.0
        THROUGHPUT_GAUGE.labels(model_name=self.model_name).set(throughput)


def track_prediction(model_name: str, prediction: str) -> None:
    PREDICTION_COUNT.labels(model_name=model_name, predicted_class=prediction).inc()


def track_confidence(model_name: str, confidence: float, threshold: float = 0.7) -> None:
    CONFIDENCE_HISTOGRAM.labels(model_name=model_name).observe(confidence)
    if confidence < threshold:
        LOW_CONFIDENCE_COUNT.labels(model_name=model_name, threshold=str(threshold)).inc()


class SegmentPerformanceTracker:
    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.segments: dict[str, dict[str, int]] = {}

    def record_prediction(self, segment: str, is_correct: bool) -> None:
        if segment not in self.segments:
            self.segments[segment] = {"correct": 0, "total": 0}
        self.segments[segment]["total"] += 1
        if is_correct:
            self.segments[segment]["correct"] += 1
        accuracy = self.segments[segment]["correct"] / self.segments[segment]["total"]
        SEGMENT_ACCURACY_GAUGE.labels(model_name=self.model_name, segment=segment).set(accuracy)


class GroundTruthSampler:
    def __init__(self, model_name: str, sampling_rate: float = 0.1) -> None:
        self.model_name = model_name
        self.sampling_rate = sampling_rate
        self.predictions: list[dict[str, Any]] = []

    def sample_prediction(self, request_id: str, prediction: dict[str, Any]) -> bool:
        if random.random() < self.sampling_rate:
            self.predictions.append({"request_id": request_id, "prediction": prediction, "timestamp": time.time()})
            send_to_review_queue(request_id, prediction)
            return True
        return False


class DataDriftDetector:
    def __init__(self, model_name: str, reference_data: dict[str, Any], window_size: int = 1000) -> None:
        self.model_name = model_name
        self.reference_data = reference_data
        self.window_size = window_size
        self.current_window: dict[str, list[float]] = {feature: [] for feature in reference_data}
        self.thresholds = {"info": 0.1, "warning": 0.15, "critical": 0.25}

    def add_sample(self, features: dict[str, float]) -> None:
        for feature_name, value in features.items():
            if feature_name in self.current_window:
                self.current_window[feature_name].append(value)
        if len(self.current_window[list(self.current_window.keys())[0]]) >= self.window_size:  # noqa: RUF015 - as written
            self.check_drift()
            self.current_window = {feature: [] for feature in self.reference_data}

    def check_drift(self) -> dict[str, Any]:
        from scipy.stats import ks_2samp

        results = {}
        for feature_name in self.reference_data:
            reference = self.reference_data[feature_name]
            current = np.array(self.current_window[feature_name])
            statistic, p_value = ks_2samp(reference, current)
            results[feature_name] = {"ks_statistic": statistic, "p_value": p_value}
            DRIFT_SCORE_GAUGE.labels(model_name=self.model_name, feature_name=feature_name).set(statistic)
            severity = self._get_severity(statistic)
            if severity:
                DRIFT_ALERT.labels(model_name=self.model_name, feature_name=feature_name, severity=severity).inc()
                send_alert_to_slack(
                    f"DATA DRIFT {self.model_name} {feature_name} {severity} {statistic:.3f} {p_value:.4f}"
                )
        return results

    def _get_severity(self, ks_statistic: float) -> str | None:
        if ks_statistic >= self.thresholds["critical"]:
            return "critical"
        if ks_statistic >= self.thresholds["warning"]:
            return "warning"
        if ks_statistic >= self.thresholds["info"]:
            return "info"
        return None


class ConceptDriftDetector:
    def __init__(self, model_name: str, num_bins: int = 10) -> None:
        self.model_name = model_name
        self.num_bins = num_bins
        self.baseline_distribution: Any = None
        self.current_predictions: list[float] = []
        self.window_size = 1000

    def track_prediction(self, prediction: float) -> None:
        self.current_predictions.append(prediction)
        if len(self.current_predictions) >= self.window_size:
            self.check_concept_drift()
            self.current_predictions = []

    def _calculate_distribution(self, values: list[float]) -> Any:
        hist, _ = np.histogram(values, bins=self.num_bins, range=(0, 1))
        return hist / len(values)

    def calculate_psi(self, expected: Any, actual: Any) -> float:
        expected = np.where(expected == 0, 0.0001, expected)
        actual = np.where(actual == 0, 0.0001, actual)
        return float(np.sum((actual - expected) * np.log(actual / expected)))

    def check_concept_drift(self) -> float | None:
        if self.baseline_distribution is None:
            self.baseline_distribution = self._calculate_distribution(self.current_predictions)
            return None
        current_distribution = self._calculate_distribution(self.current_predictions)
        psi = self.calculate_psi(self.baseline_distribution, current_distribution)
        PSI_GAUGE.labels(model_name=self.model_name).set(psi)
        return psi


class SLOTracker:
    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.slos = {"latency_p95": {"target": 0.5, "threshold": 0.95}}
        self.measurements: dict[str, list[dict[str, Any]]] = {slo: [] for slo in self.slos}

    def record_measurement(self, slo_type: str, value: float) -> None:
        self.measurements[slo_type].append(
            {"value": value, "timestamp": time.time(), "compliant": self._is_compliant(slo_type, value)}
        )
        cutoff = time.time() - (30 * 24 * 3600)
        self.measurements[slo_type] = [m for m in self.measurements[slo_type] if m["timestamp"] > cutoff]
        compliance = self.calculate_compliance(slo_type)
        SLO_COMPLIANCE_GAUGE.labels(model_name=self.model_name, slo_type=slo_type).set(compliance)

    def _is_compliant(self, slo_type: str, value: float) -> bool:
        return value <= self.slos[slo_type]["target"]

    def calculate_compliance(self, slo_type: str) -> float:
        if not self.measurements[slo_type]:
            return 0.0
        compliant_count = sum(1 for m in self.measurements[slo_type] if m["compliant"])
        return compliant_count / len(self.measurements[slo_type])


class WholeSet:
    """Everything that sections 1 to 3 have a request do, around one function."""

    def __init__(self, function: Callable[..., Any], reference_data: dict[str, Any]) -> None:
        name = "sentiment_classifier"
        self.name = name
        self.predict = monitor_ml_endpoint(name, "/predict")(function)
        self.latency, self.throughput = LatencyTracker(), ThroughputMonitor(name)
        self.segments, self.sampler = SegmentPerformanceTracker(name), GroundTruthSampler(name)
        self.drift, self.concept = DataDriftDetector(name, reference_data), ConceptDriftDetector(name)

    def request(self, features: dict[str, float]) -> Any:
        """Answer one request with the whole set around it."""
        start = time.time()
        result = self.predict(1)
        self.latency.record(time.time() - start)
        self.throughput.record_request()
        track_prediction(self.name, "positive")
        track_confidence(self.name, 0.93)
        self.segments.record_prediction("books", is_correct=True)
        self.sampler.sample_prediction("request-1", {"label": "positive", "confidence": 0.93})
        self.drift.add_sample(features)
        self.concept.track_prediction(0.93)
        return result
