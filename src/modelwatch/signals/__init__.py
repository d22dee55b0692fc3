"""Signals: the numbers that an on-call reads, each defined once, as a value of a tally and as PromQL.

A signal uses only what Prometheus can compute too. It has three outcomes: ok, firing, cannot tell.
"""

from modelwatch.signals.core import Counts, Events, Facts, Measured, Objectives, Outcome, Reading, Signal
from modelwatch.signals.requests import (
    ERROR_RATIO,
    LATENCY_P95,
    PREDICTION_SHARE,
    REQUEST_RATE,
    SLOW_RATIO,
    durations,
    latency_quantile,
)

__all__ = [
    "ERROR_RATIO",
    "LATENCY_P95",
    "PREDICTION_SHARE",
    "REQUEST_RATE",
    "SIGNALS",
    "SLOW_RATIO",
    "Counts",
    "Events",
    "Facts",
    "Measured",
    "Objectives",
    "Outcome",
    "Reading",
    "Signal",
    "durations",
    "latency_quantile",
]

#: Those that the live page shows, by name.
SIGNALS: dict[str, Signal] = {s.name: s for s in (REQUEST_RATE, ERROR_RATIO, SLOW_RATIO, LATENCY_P95, PREDICTION_SHARE)}
