"""Signals: the numbers that an on-call reads, each defined once, as a value of a tally and as PromQL.

A signal uses only what Prometheus can compute too. It has three outcomes: ok, firing, cannot tell.
"""

from modelwatch.signals import drift, quality, service
from modelwatch.signals.core import Counts, Events, Facts, Measure, Measured, Objectives, Outcome, Reading, Signal
from modelwatch.signals.look import Look
from modelwatch.signals.requests import (
    ERROR_RATIO,
    ERRORS,
    FAILED_RISE,
    FAILURES,
    LATENCY_P95,
    PREDICTION_SHARE,
    REQUEST_RATE,
    REQUESTS,
    SLOW,
    SLOW_RATIO,
    SLOW_RISE,
    durations,
    latency_quantile,
    slower_ratio,
    slower_rise,
    slower_than,
)

__all__ = [
    "ALERTING",
    "ERRORS",
    "ERROR_RATIO",
    "FAILED_RISE",
    "FAILURES",
    "LATENCY_P95",
    "PREDICTION_SHARE",
    "REQUESTS",
    "REQUEST_RATE",
    "SIGNALS",
    "SLOW",
    "SLOW_RATIO",
    "SLOW_RISE",
    "Counts",
    "Events",
    "Facts",
    "Look",
    "Measure",
    "Measured",
    "Objectives",
    "Outcome",
    "Reading",
    "Signal",
    "durations",
    "latency_quantile",
    "slower_ratio",
    "slower_rise",
    "slower_than",
]

#: Those that the live page shows, by name.
SIGNALS: dict[str, Signal] = {s.name: s for s in (REQUEST_RATE, ERROR_RATIO, SLOW_RATIO, LATENCY_P95, PREDICTION_SHARE)}

#: All that alerts and objectives are built from, by name; `slower_ratio` and `slower_rise` make those of bucket edges.
ALERTING: dict[str, Signal] = {
    signal.name: signal
    for signal in (
        REQUESTS, ERROR_RATIO, ERRORS, SLOW_RATIO, SLOW.bad_count(), SLOW_RISE, FAILED_RISE,
        quality.LOW_CONFIDENCE_RATIO, quality.ACCURACY, quality.ACCURACY_HIGH, quality.WRONG_RATIO, quality.WRONG_LOW,
        quality.WRONG, quality.SEGMENT_ACCURACY_HIGH, quality.LABELS, quality.SAMPLES,
        drift.FEATURE_KS, drift.FEATURE_CERTAINTY, drift.CATEGORY_DRIFT, drift.CATEGORY_CERTAINTY, drift.ANSWER_PSI,
        drift.ANSWER_CERTAINTY, drift.INVALID_EXCESS, drift.OTHER_BINS,
        service.AVAILABILITY.ratio("unavailable_ratio", "Down", "Share of minutes in which no replica answered", 1),
        service.AVAILABILITY.bad_count(),
        service.THROUGHPUT.ratio("not_held_ratio", "Not held", "Share of minutes in which the load was not held", 1),
        service.THROUGHPUT.bad_count(), service.REPLICAS_ANSWERING,
        service.REPLICAS_SILENT, service.REPORTING, service.SEASONED,
        service.UNKNOWN_MINUTES,
        service.COST, service.COST_BURN, service.MONITOR_FAULTS,
    )
}  # fmt: skip
