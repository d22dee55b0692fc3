"""The table of alerts: every name with its default thresholds, as data."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Alert(NamedTuple):
    """An alert of the table.

    `levels` are the thresholds that a configuration may change, with their defaults; `None` is a threshold that
    other settings give (the accuracy objective) or that is off unless set. An alert without levels has no threshold: it
    is on or off. `falling`: the alert fires below its thresholds, so the more severe one is the smaller one.
    """

    unit: Literal["", "ratio", "factor", "score"] = ""
    levels: dict[str, float | None] = {}  # noqa: RUF012 - never written to; a NamedTuple has no ClassVar
    falling: bool = False


KS: dict[str, float | None] = {"info": 0.10, "warning": 0.15, "critical": 0.25}
PSI: dict[str, float | None] = {"info": 0.10, "warning": 0.20, "critical": 0.25}

ALERTS: dict[str, Alert] = {
    "HighErrorRate": Alert("ratio", {"info": 0.01, "warning": 0.02, "critical": 0.05}),
    "HighLatencyP95": Alert("factor", {"warning": 1.5, "critical": 2.0}),  # times the threshold of the latency SLO
    "LatencyTrend": Alert(),
    "ServiceDown": Alert(),
    "ReplicaDown": Alert(),
    "TrafficStopped": Alert(),
    "MetricsAbsent": Alert(),
    "LowModelAccuracy": Alert("ratio", {"warning": None, "critical": 0.70, "catastrophic": 0.60}, falling=True),
    "SegmentAccuracyLow": Alert("ratio", {"warning": None}, falling=True),
    "DataDriftDetected": Alert("ratio", KS),  # the same numbers as drift.ks
    "ConceptDriftDetected": Alert("score", PSI),  # the same numbers as drift.psi
    "HighLowConfidencePredictions": Alert("ratio", {"info": None, "warning": 0.20}),
    "MissingValues": Alert("ratio", {"warning": 0.05}),  # share of invalid values above the share of the reference
    "LabelStarvation": Alert(),
    "SLOBurnRate": Alert(),
    "SLOBudgetExhausted": Alert(),
    "CannotTell": Alert(),
    "MonitorUnhealthy": Alert(),
    "Watchdog": Alert(),
}

# what a receiver takes: the first option is the one that a plain text stands for, and required
RECEIVERS: dict[str, tuple[str, ...]] = {
    "pagerduty": ("routing_key", "url"),
    "slack": ("url", "channel"),
    "email": ("to", "from", "smarthost", "username", "password", "tls"),
    "webhook": ("url", "token"),
    "apprise": ("url",),
}
