"""Alerts of requests, of the service, and of the monitor itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from modelwatch.alerts.conditions import All, AnyOf, Clause
from modelwatch.alerts.rule import (
    BAD_OF_HALF,
    BUSY_HOUR,
    FEWEST_BAD,
    MINUTE_S,
    RISE,
    SLOW_SHARE,
    SOON_RISE,
    Rule,
    Severity,
    level_of,
)
from modelwatch.config import ModelConfig
from modelwatch.errors import ConfigError, fault
from modelwatch.reference import Reference
from modelwatch.schema import latency_edges
from modelwatch.signals import (
    ERROR_RATIO,
    ERRORS,
    FAILED_RISE,
    REQUESTS,
    SLOW_RATIO,
    SLOW_RISE,
    Signal,
    slower_ratio,
    slower_rise,
    slower_than,
)
from modelwatch.signals.drift import (
    OTHER_BINS,
)
from modelwatch.signals.service import (
    MONITOR_FAULTS,
    REPLICAS_ANSWERING,
    REPLICAS_SILENT,
    REPORTING,
    UNKNOWN_MINUTES,
)
from modelwatch.slo.burn import DAY_S, HOUR_S
from modelwatch.slo.objectives import MOST_UNKNOWN


def errors(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of failing requests."""
    windows: dict[Severity, float] = {"critical": 5 * MINUTE_S, "warning": 10 * MINUTE_S, "info": 10 * MINUTE_S}
    for severity, window_s in windows.items():
        limit = level_of(model, "HighErrorRate", severity)
        if limit is None:
            continue
        condition = All(
            (Clause(ERROR_RATIO, window_s, ">", limit), Clause(ERRORS, window_s, ">=", FEWEST_BAD, enough=True)),
        )
        yield Rule(
            "HighErrorRate", severity, model.name, condition, "{model}: {value} of requests fail",
            "{value} of the requests to {model} failed in the last {window}; the limit is {limit} ({samples} "
            "requests).",
            for_s=window_s,
        )  # fmt: skip
    if level_of(model, "HighErrorRate", "info") is not None:
        yield _more_errors(model)


def _more_errors(model: ModelConfig) -> Rule:
    """Return the rule of few errors that are many for this service: what a threshold of 1 % cannot see."""
    soon, half = 10 * MINUTE_S, 5 * MINUTE_S
    condition = All(
        (
            Clause(FAILED_RISE, soon, ">=", SOON_RISE),
            Clause(ERRORS, soon, ">=", FEWEST_BAD, enough=True),
            Clause(ERRORS, half, ">=", BAD_OF_HALF),
            Clause(ERRORS, half, ">=", BAD_OF_HALF, half),
        )
    )
    return Rule(
        "HighErrorRate", "info", model.name, condition, "{model}: more requests fail than on the day before",
        "More requests to {model} fail than in the 24 hours before: a rise of {value} over the last {window}; the "
        "limit is {limit} ({samples} requests).",
        for_s=2 * MINUTE_S, labels={"trend": "day"}, urgency=-1.0,
    )  # fmt: skip


def latency(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of slow requests."""
    slo = model.slos.latency
    if slo is None:
        return
    edges = latency_edges([slo.threshold_s])
    holding: dict[Severity, float] = {"critical": 10 * MINUTE_S, "warning": 15 * MINUTE_S}
    for severity, for_s in holding.items():
        factor = level_of(model, "HighLatencyP95", severity)
        if factor is None:
            continue
        edge = float(f"{factor * slo.threshold_s:.12g}")
        if edge not in edges:
            raise ConfigError(_no_edge(model, severity, factor, edges))
        condition = All(
            (
                Clause(slower_ratio(edge), 5 * MINUTE_S, ">", SLOW_SHARE),
                Clause(slower_than(edge).bad_count(), 5 * MINUTE_S, ">=", FEWEST_BAD, enough=True),
            )
        )
        yield Rule(
            "HighLatencyP95", severity, model.name, condition, f"{{model}}: P95 latency is above {edge:g} s",
            f"{{value}} of the requests to {{model}} took longer than {edge:g} s in the last {{window}}, "
            f"{factor:g} times the objective of {slo.threshold_s:g} s; the limit is {{limit}} ({{samples}} requests).",
            for_s=for_s,
        )  # fmt: skip
    allowed = round(1 - slo.objective, 12) / 2
    condition = All((Clause(SLOW_RISE, HOUR_S, ">=", RISE), Clause(SLOW_RATIO, HOUR_S, ">", allowed)))
    yield Rule(
        "LatencyTrend", "info", model.name, condition, "{model}: more requests are slow than a day ago",
        f"More requests to {{model}} take longer than {slo.threshold_s:g} s than at the same time a day ago: a rise of "
        "{value} over the last {window}; the limit is {limit} ({samples} requests).",
        for_s=10 * MINUTE_S,
    )  # fmt: skip
    yield _slower_soon(model, slo.threshold_s, allowed)


def _slower_soon(model: ModelConfig, threshold_s: float, allowed: float) -> Rule:
    """Return the rule of a rise within ten minutes, of slow requests or of those slower than twice the promise."""
    soon, twice_s = 10 * MINUTE_S, float(f"{2 * threshold_s:.12g}")
    condition = AnyOf(
        (
            All((Clause(SLOW_RISE, soon, ">=", SOON_RISE), Clause(SLOW_RATIO, soon, ">", allowed))),
            All(
                (Clause(slower_rise(twice_s), soon, ">=", SOON_RISE), Clause(slower_ratio(twice_s), soon, ">", allowed))
            ),
        )
    )
    return Rule(
        "LatencyTrend", "info", model.name, condition, "{model}: suddenly more requests are slow than a day ago",
        f"More requests to {{model}} take longer than {threshold_s:g} s, or {twice_s:g} s, than at the same time a day "
        "ago: a rise of {value} over the last {window}; the limit is {limit} ({samples} requests).",
        for_s=5 * MINUTE_S, labels={"window": "10m"}, urgency=1.0,
    )  # fmt: skip


def _no_edge(model: ModelConfig, severity: str, factor: float, edges: tuple[float, ...]) -> str:
    threshold = model.slos.latency.threshold_s if model.slos.latency else 1.0
    possible = ", ".join(f"{edge / threshold:.4g}" for edge in edges if edge >= threshold)
    where = f"models.{model.name}.alerts.HighLatencyP95.{severity}"
    return fault(where, severity, factor, f"one of {possible}, which are edges of buckets", "Take one of them.")


def service(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of replicas, traffic and counts."""
    yield Rule(
        "ServiceDown", "critical", model.name, Clause(REPLICAS_ANSWERING, MINUTE_S, "<=", 0),
        "{model}: the service is down",
        "No replica answers its health check. Every other alert of this service is blind meanwhile.",
        for_s=MINUTE_S,
    )  # fmt: skip
    yield Rule(
        "ReplicaDown", "warning", model.name, Clause(REPLICAS_SILENT, MINUTE_S, ">=", 1),
        "{model}: {value} do not answer",
        "{value} of {samples} do not answer their health check; the others carry the load.",
        for_s=5 * MINUTE_S,
    )  # fmt: skip
    busy = replace(REQUESTS, name="requests_of_a_busy_hour", smallest=BUSY_HOUR)
    condition = All(
        (Clause(REQUESTS, 10 * MINUTE_S, "<=", 0), Clause(busy, HOUR_S, ">=", BUSY_HOUR, 10 * MINUTE_S)),
    )
    yield Rule(
        "TrafficStopped", "critical", model.name, condition, "{model}: no requests come any more",
        "{model} had no request in the last {window}, and at least " f"{BUSY_HOUR} in the hour before.",
    )  # fmt: skip
    yield Rule(
        "MetricsAbsent", "critical", model.name, Clause(REPORTING, MINUTE_S, "<=", 0),
        "{model}: its metrics are gone",
        "Nothing is counted of {model} any more, though its service is watched: its alerts are blind.",
        for_s=15 * MINUTE_S,
    )  # fmt: skip


# -- the monitor ------------------------------------------------------------------------------------------------------

ALWAYS = Signal(
    "always", "Watchdog", "Always 1", "", lambda _counts: {(): (1.0, 1)}, lambda _s, _w, _o: "vector(1)",
    lambda _s, _w: "vector(1)", 0, of_service=True,
)  # fmt: skip


def monitor(model: ModelConfig, _reference: Reference | None) -> Iterator[Rule]:
    """Yield those of modelwatch itself."""
    yield Rule(
        "CannotTell", "warning", model.name, Clause(OTHER_BINS, MINUTE_S, ">", 0),
        "{model}: drift cannot be told",
        "{value} of {model} {model_version} are counted on other bins than the reference has: their drift is "
        "not judged.",
        for_s=HOUR_S, labels={"what": "drift"},
    )  # fmt: skip
    yield Rule(
        "CannotTell", "warning", model.name, Clause(UNKNOWN_MINUTES, DAY_S, ">", MOST_UNKNOWN),
        "{model}: its availability cannot be told",
        "Nobody asked the replicas in {value} of the minutes of the last {window}; the limit is {limit}.",
        for_s=HOUR_S, labels={"what": "availability"},
    )  # fmt: skip
    yield Rule(
        "MonitorUnhealthy", "warning", model.name, Clause(MONITOR_FAULTS, 15 * MINUTE_S, ">", 0),
        "{model}: the monitor has {value}",
        "modelwatch counted {value} of its own in the last {window}, or had to give events or samples up: its numbers "
        "may be incomplete. The service is not disturbed.",
        for_s=5 * MINUTE_S,
    )  # fmt: skip
    yield Rule(
        "Watchdog", "none", model.name, Clause(ALWAYS, MINUTE_S, ">", 0), "Alerting works",
        "Always on: when it stops to arrive at its receiver, alerts do not reach anybody any more.",
        keep_s=0.0,
    )  # fmt: skip
