"""Every name that leaves the process, once.

Metrics with their labels, unit and help text, and the special label values.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

Kind = Literal["counter", "histogram", "gauge"]
DIGITS = 6  # before the point; numbers that have more are written with an exponent


def number(value: float) -> str:
    """Return a value, or the upper edge of a bucket, as Prometheus writes it.

    From a million on with an exponent: Prometheus 3 would write such an edge anew, and not the labels that name it.

    Examples
    --------
    >>> number(5), number(-1234567.5), number(1e-5), number(math.inf)
    ('5.0', '-1.2345675e+06', '1e-05', '+Inf')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(float(value))
    sign, (whole, _, rest) = "-" if value < 0 else "", text.lstrip("-").partition(".")
    if "e" in text or len(whole) <= DIGITS:
        return text
    first, others = whole[0], (whole[1:] + rest).rstrip("0")
    return f"{sign}{first}{'.' if others else ''}{others}e+{len(whole) - 1:02d}"


class Metric(NamedTuple):
    """A metric as it is exported: `labels` come after `model_name` and `model_version`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


# label values that mean something
OTHER = "__other__"  # every value over the cap of a label
INVALID = "__invalid__"  # a value whose type has no safe text
UNMATCHED = "__unmatched__"  # a request that no route answered
UNSEGMENTED = "__none__"  # a label of a prediction that belongs to no segment

# requests: rate, errors, duration
REQUESTS = Metric(
    "ml_requests_total", "counter", ("endpoint",),
    "Finished requests, failed and cancelled ones included.",
)  # fmt: skip
FAILED = Metric(
    "ml_requests_failed_total", "counter", ("endpoint",),
    "Requests that ended in an exception or a status of 500 and above. Known endpoints start at 0.",
)  # fmt: skip
ERRORS = Metric(
    "ml_errors_total", "counter", ("endpoint", "error_type"),
    "Failed requests by exception class, or http_<status> for a status of 500 and above.",
)  # fmt: skip
CANCELLED = Metric(
    "ml_requests_cancelled_total", "counter", ("endpoint",),
    "Requests whose client went away; counted in requests, in no ratio.",
)  # fmt: skip
DURATION = Metric(
    "ml_request_duration_seconds", "histogram", ("endpoint",),
    "Seconds from the start of a request to the end of its answer, failures included.",
)  # fmt: skip
IN_PROGRESS = Metric("ml_requests_in_progress", "gauge", (), "Requests being answered by this host now.")
THROUGHPUT = Metric(
    "ml_throughput_requests_per_second", "gauge", (),
    "Requests finished by this host in the last 60 seconds, divided by 60.",
)  # fmt: skip

# what the model answers
PREDICTIONS = Metric(
    "ml_predictions_by_class_total", "counter", ("predicted_class",), "Predictions by predicted class."
)
PREDICTION_VALUE = Metric("ml_prediction_value", "histogram", (), "Predicted values of a regression model.")
CONFIDENCE = Metric(
    "ml_prediction_confidence", "histogram", (),
    "Confidence of the predictions; values outside 0 to 1 are in the outer buckets.",
)  # fmt: skip
LOW_CONFIDENCE = Metric(
    "ml_low_confidence_predictions_total",
    "counter",
    ("threshold",),
    "Predictions with a confidence below the threshold.",
)
SEGMENTS = Metric("ml_requests_by_segment_total", "counter", ("segment",), "Predictions by segment.")

# what people say of its answers
LABELS = Metric(
    "ml_labels_total", "counter", ("segment", "outcome"),
    "Predictions whose first label has come, by whether it is that of the model: correct or wrong.",
)  # fmt: skip
LABELS_BY_INCLUSION = Metric(
    "ml_labels_by_inclusion_total", "counter", ("inclusion", "outcome"),
    "The same predictions by the probability with which they were kept for review.",
)  # fmt: skip
LABEL_STATES = Metric(
    "modelwatch_labels_total", "counter", ("state",), "Labels that came in, by what they were taken for.",
)  # fmt: skip
SAMPLES = Metric("modelwatch_samples_total", "counter", (), "Predictions kept for review.")
SAMPLES_DROPPED = Metric(
    "modelwatch_samples_dropped_total", "counter", ("reason",),
    "Predictions chosen for review that could not be kept: the queue was full, or the store did not take them.",
)  # fmt: skip
LABEL_INCLUSION = Metric(
    "ml_label_inclusion_ratio", "gauge", ("inclusion",),
    "The probability that the label `inclusion` of ml_labels_by_inclusion_total names, as a number.",
)  # fmt: skip
CORRECT, WRONG = "correct", "wrong"

# what the model is asked
FEATURE_VALUE = Metric(
    "ml_feature_value", "histogram", ("feature_name",), "Values of a numeric feature, on bins of the reference profile."
)
FEATURE_CATEGORY = Metric(
    "ml_feature_category_total", "counter", ("feature_name", "category"), "Values of a categorical feature."
)
FEATURE_INVALID = Metric(
    "ml_feature_invalid_total", "counter", ("feature_name", "reason"),
    "Feature values that are in no bin: missing, nan, type; and inf, which is in the outer bins too.",
)  # fmt: skip

# what the training data looked like, from the reference profile; absent without one
FEATURE_REFERENCE_CDF = Metric(
    "ml_feature_reference_cdf", "gauge", ("feature_name", "upper", "lower"),
    "Share of the reference's values up to `upper`, an edge of ml_feature_value; the bin begins at `lower`.",
)  # fmt: skip
FEATURE_REFERENCE_SAMPLES = Metric(
    "ml_feature_reference_samples", "gauge", ("feature_name",), "Values of the feature in the reference."
)
FEATURE_REFERENCE_INVALID = Metric(
    "ml_feature_reference_invalid_ratio", "gauge", ("feature_name",),
    "Share of the reference's values that are missing or no values.",
)  # fmt: skip
CATEGORY_REFERENCE_SHARE = Metric(
    "ml_feature_category_reference_share",
    "gauge",
    ("feature_name", "category"),
    "Share of a category in the reference.",
)
CONFIDENCE_REFERENCE_CDF = Metric(
    "ml_prediction_confidence_reference_cdf", "gauge", ("upper", "lower"),
    "Share of the reference's confidences up to `upper`, an edge of ml_prediction_confidence.",
)  # fmt: skip
VALUE_REFERENCE_CDF = Metric(
    "ml_prediction_value_reference_cdf", "gauge", ("upper", "lower"),
    "Share of the reference's predicted values up to `upper`, an edge of ml_prediction_value.",
)  # fmt: skip
PREDICTION_REFERENCE_SHARE = Metric(
    "ml_prediction_reference_share",
    "gauge",
    ("predicted_class",),
    "Share of a class among the reference's predictions.",
)
PREDICTION_REFERENCE_SAMPLES = Metric(
    "ml_prediction_reference_samples", "gauge", ("of",),
    "Predictions of the reference, by what is known of them: classes, confidence or value.",
)  # fmt: skip
MODEL_INFO = Metric("ml_model_info", "gauge", (), "1 for every model and version that this host serves.")

# minutes of objectives that are no requests, and what replicas cost; counted by whoever asks the replicas
SLICES = Metric(
    "modelwatch_slo_slices_total", "counter", ("slo", "outcome"),
    "Minutes by objective (availability, throughput) and outcome: good, bad, or unknown where nobody looked.",
)  # fmt: skip
REPLICA_SECONDS = Metric(
    "modelwatch_replica_seconds_total", "counter", (), "Seconds in which replicas answered, summed over the replicas."
)
GOOD, BAD, UNKNOWN = "good", "bad", "unknown"

# what `modelwatch serve` finds; one process of it a store, so gauges are safe
ACCURACY = Metric(
    "ml_accuracy_by_segment", "gauge", ("segment",),
    "Accuracy of the labels that came in the last day, by segment; ground_truth_sample is the whole sample.",
)  # fmt: skip
WHOLE_SAMPLE = "ground_truth_sample"
DRIFT_SCORE = Metric(
    "ml_data_drift_score", "gauge", ("feature_name",),
    "Distance of a feature from training over the last day: KS, or total variation beyond chance for categories.",
)  # fmt: skip
DRIFT_ALERTS = Metric(
    "ml_data_drift_alerts_total", "counter", ("feature_name", "severity"),
    "How often the drift of a feature began to alert.",
)  # fmt: skip
CONCEPT_PSI = Metric(
    "ml_concept_drift_psi", "gauge", (),
    "PSI of the confidence, or of the value of a regression, against training over the last day, beyond chance.",
)  # fmt: skip
CLASS_PSI = Metric(
    "ml_prediction_class_psi", "gauge", (),
    "PSI of the predicted classes against training over the last day, beyond chance.",
)  # fmt: skip
COMPLIANCE = Metric(
    "ml_slo_compliance_percentage", "gauge", ("slo_type",), "Share of good events over the period, 0 to 100."
)
BUDGET_LEFT = Metric(
    "ml_slo_error_budget_remaining_ratio", "gauge", ("slo_type",),
    "Part of the error budget that is left; below 0 when more than all is spent.",
)  # fmt: skip
COST = Metric("ml_cost_per_1000_requests", "gauge", (), "Currency per 1000 requests, over the last day.")
ALERTS_FIRING = Metric("modelwatch_alerts_firing", "gauge", ("severity",), "Alerts that fire now, by severity.")
EVALUATION_AGE = Metric(
    "modelwatch_evaluation_age_seconds", "gauge", (), "Seconds since the alerts were evaluated the last time."
)
REPLICA_UP = Metric("modelwatch_replica_up", "gauge", ("replica",), "1 if the replica answered its health check.")

# ourselves
EVENTS = Metric("modelwatch_events_total", "counter", (), "Events folded into the counts.")
REFUSED = Metric(
    "modelwatch_values_refused_total", "counter", ("where", "kind"),
    "Values that were left out of the counts: field of the event, and what was wrong with the value.",
)  # fmt: skip
OVERFLOW = Metric(
    "modelwatch_label_overflow_total", "counter", ("metric", "label"),
    "Events counted under __other__ because the label already has its maximum number of values.",
)  # fmt: skip
INTERNAL_ERRORS = Metric(
    "modelwatch_internal_errors_total",
    "counter",
    ("where",),
    "Faults of the monitor itself; the host was not disturbed.",
)
ABANDONED = Metric(
    "modelwatch_events_abandoned_total", "counter", (),
    "Events given up because the counting was blocked and the buffer was full twice over.",
)  # fmt: skip
CALLER_FOLDS = Metric(
    "modelwatch_caller_folds_total",
    "counter",
    (),
    "Chunks that a request had to count itself because the buffer was full.",
)
WORKERS = Metric(
    "modelwatch_workers", "gauge", (), "Worker processes of this host that reported in the last 10 seconds."
)
WORKER_DEATHS = Metric(
    "modelwatch_worker_deaths_total", "counter", (), "Worker processes that stopped reporting without closing."
)
FLUSH_LAG = Metric(
    "modelwatch_flush_lag_seconds", "gauge", (), "Age of the oldest counts of a living worker that are not yet shown."
)
COLLECTOR_ERRORS = Metric(
    "modelwatch_collector_errors_total", "counter", ("family",), "Families left out of a scrape because they failed."
)
LIVE_UP = Metric(
    "modelwatch_live_up", "gauge", (), "1 if the counts are kept in the live.db of the host, 0 if only in memory."
)
LIVE_DAMAGED = Metric(
    "modelwatch_live_damaged_rows", "gauge", (), "Rows of live.db that cannot be read and are in no count."
)

# what the worker processes of this host use of it, and its GPUs; absent where nobody can tell
PROCESS_CPU = Metric(
    "modelwatch_process_cpu_seconds_total", "counter", (),
    "CPU seconds of the worker processes of this host, ended ones included.",
)  # fmt: skip
PROCESS_MEMORY = Metric(
    "modelwatch_process_resident_memory_bytes", "gauge", (),
    "Resident memory of the living worker processes; memory that they share counts for each.",
)  # fmt: skip
PROCESS_FILES = Metric(
    "modelwatch_process_open_files", "gauge", (), "Open files and sockets of the living worker processes."
)
PROCESS_THREADS = Metric("modelwatch_process_threads", "gauge", (), "Threads of the living worker processes.")
PROCESS_DISK_READ = Metric(
    "modelwatch_process_disk_read_bytes_total", "counter", (),
    "Bytes that the worker processes, ended ones included, read from disks.",
)  # fmt: skip
PROCESS_DISK_WRITTEN = Metric(
    "modelwatch_process_disk_written_bytes_total", "counter", (),
    "Bytes that the worker processes, ended ones included, wrote to disks.",
)  # fmt: skip
GPU_UTILIZATION = Metric(
    "modelwatch_gpu_utilization_ratio",
    "gauge",
    ("gpu", "name"),
    "Share of the time in which a GPU was at work, 0 to 1.",
)
GPU_MEMORY_USED = Metric("modelwatch_gpu_memory_used_bytes", "gauge", ("gpu", "name"), "Memory of a GPU in use.")
GPU_MEMORY_TOTAL = Metric("modelwatch_gpu_memory_total_bytes", "gauge", ("gpu", "name"), "Memory that a GPU has.")
GPU_TEMPERATURE = Metric("modelwatch_gpu_temperature_celsius", "gauge", ("gpu", "name"), "Temperature of a GPU.")
GPU_POWER = Metric("modelwatch_gpu_power_watts", "gauge", ("gpu", "name"), "Power that a GPU draws.")
