"""What the dashboards show: pages of panels whose titles, words, units and queries are those of the signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from modelwatch import names
from modelwatch.config import ModelConfig
from modelwatch.names import Metric
from modelwatch.signals import (
    ERROR_RATIO,
    ERRORS,
    LATENCY_P95,
    PREDICTION_SHARE,
    REQUEST_RATE,
    Objectives,
    Signal,
)
from modelwatch.signals.core import MODEL, increase, joined
from modelwatch.signals.drift import ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS, INVALID_EXCESS
from modelwatch.signals.quality import ACCURACY, ACCURACY_HIGH, LOW_CONFIDENCE_RATIO
from modelwatch.slo.burn import DAY_S, HOUR_S

Kind = Literal["number", "lines", "bars", "histogram"]
PAGES = ("health", "quality", "drift", "resources", "slos")
TITLES = {
    "health": "System health", "quality": "Model quality", "drift": "Drift", "resources": "Resources",
    "slos": "Objectives",
}  # fmt: skip
WORDS = {
    "health": "Is the system healthy?", "quality": "Is the model right?", "drift": "Did the world move?",
    "resources": "Is it the machine?", "slos": "May we deploy?",
}  # fmt: skip
UNITS = {"ratio": "percentunit", "req/s": "reqps", "s": "s"}
INTERVAL = "$__rate_interval"
#: Of the series as they are scraped; what is recorded has neither job nor instance nor version.
RAW = f'job=~"$job",instance=~"$instance",{MODEL}=~"$model",model_version=~"$version"'
HOST = 'job=~"$job",instance=~"$instance"'
RECORDED = f'{MODEL}=~"$model"'


class Limits(NamedTuple):
    """From which value a panel is yellow and red; below which, where less is worse."""

    warning: float | None = None
    critical: float | None = None
    falling: bool = False


class Query(NamedTuple):
    """An expression and the name of its series."""

    expression: str
    legend: str
    instant: bool = False


class Panel(NamedTuple):
    """One panel: what it is called, what it says, in which unit, and how large it is, in columns of 24."""

    title: str
    words: str
    unit: str
    kind: Kind
    queries: tuple[Query, ...]
    width: int = 12
    height: int = 8
    limits: Mapping[str, Limits] = MappingProxyType({})  # by model


def legend_of(*labels: str) -> str:
    """Return the name of a series by its labels, as Grafana writes it."""
    return " ".join(f"{{{{{label}}}}}" for label in labels)


def of_signal(
    signal: Signal, kind: Kind, *more: Query, window: str = INTERVAL, limits: Mapping[str, Limits] | None = None,
    width: int = 12, height: int = 8,
) -> Panel:  # fmt: skip
    """Return the panel of a signal, from the series as they are scraped."""
    expression = signal.promql(RAW, window, Objectives())
    assert expression is not None
    first = Query(expression, legend_of(MODEL, *signal.labels))
    unit = UNITS.get(signal.unit, "none")
    return Panel(signal.title, f"{signal.words}.", unit, kind, (first, *more), width, height, limits or {})


def of_record(
    signal: Signal, record: str, kind: Kind, *more: Query, limits: Mapping[str, Limits] | None = None, width: int = 12
) -> Panel:
    """Return the panel of a signal, from what is recorded of it: its window is longer than six hours."""
    first = Query(f"{record}{{{RECORDED}}}", legend_of(MODEL, *signal.labels))
    return Panel(
        signal.title, f"{signal.words}.", UNITS.get(signal.unit, "none"), kind, (first, *more), width, 8, limits or {}
    )


def of_metric(
    metric: Metric, unit: str, title: str, *labels: str, selector: str = HOST, counter: bool = False, width: int = 12
) -> Panel:
    """Return the panel of a metric of the hosts."""
    labels = (*labels, "instance")
    name = f"{metric.name}{{{selector}}}"
    inner = f"rate({name}[{INTERVAL}])" if counter else name
    query = Query(f"sum by ({', '.join(labels)}) ({inner})", legend_of(*labels))
    return Panel(title, metric.help, unit, "lines", (query,), width)


# -- limits ------------------------------------------------------------------------------------------------------------


def limits_of(
    models: Mapping[str, ModelConfig], alert: str, *, falling: bool = False, seconds: bool = False
) -> dict[str, Limits]:
    """Return the limits of an alert by model.

    seconds : the thresholds are multiples of the latency objective.
    """
    found = {}
    for name, model in models.items():
        levels = model.alerts.get(alert)
        if levels is None:
            continue
        slo = model.slos.latency
        factor = (slo.threshold_s if slo else None) if seconds else 1.0
        if factor is not None:
            warning, critical = (
                None if x is None else float(f"{x * factor:.12g}") for x in (levels.warning, levels.critical)
            )
            found[name] = Limits(warning, critical, falling)
    return found


# -- pages -------------------------------------------------------------------------------------------------------------


def page(name: str, models: Mapping[str, ModelConfig], records: Mapping[str, list[str]]) -> list[Panel]:
    """Return the panels of a page.

    records : names of what is recorded, by signal.
    """
    return list(_PAGES[name](models, records))


Records = Mapping[str, list[str]]
Models = Mapping[str, ModelConfig]


def _before(signal: Signal, ago: str, words: str) -> Query:
    expression = signal.promql(RAW, f"{INTERVAL} offset {ago}", Objectives())
    assert expression is not None
    return Query(expression, f"{legend_of(MODEL)} {words}")


def _health(models: Models, _records: Records) -> Iterator[Panel]:
    errors = ERRORS.promql(RAW, INTERVAL, Objectives())
    assert errors is not None
    large: dict[str, Any] = {"width": 12, "height": 7}
    rate, ratio, p95 = REQUEST_RATE, ERROR_RATIO, LATENCY_P95
    yield of_signal(rate, "number", _before(rate, "1w", "a week before"), **large)
    limits = limits_of(models, "HighErrorRate")
    yield of_signal(ratio, "number", limits=limits, **large)
    limits = limits_of(models, "HighLatencyP95", seconds=True)
    yield of_signal(p95, "number", limits=limits, **large)
    limits = limits_of(models, "LowModelAccuracy", falling=True)
    yield of_signal(ACCURACY, "number", window="1d", limits=limits, **large)
    yield of_signal(rate, "lines", _before(rate, "1w", "a week before"), width=8)
    yield Panel(
        ERRORS.title or "Errors", "Requests that failed.", "none", "lines", (Query(errors, legend_of(MODEL)),), 8
    )
    yield of_signal(p95, "lines", limits=limits_of(models, "HighLatencyP95", seconds=True), width=8)


def _quality(models: Models, records: Records) -> Iterator[Panel]:
    yield of_signal(PREDICTION_SHARE, "lines", window="1h")
    upto = increase(f"{names.CONFIDENCE.name}_bucket", RAW, "1h", "le")
    words = "How many predictions of the last hour have a confidence up to each edge."
    yield Panel("Confidence", words, "none", "histogram", (Query(upto, "{{le}}", instant=True),))
    yield of_signal(
        LOW_CONFIDENCE_RATIO, "lines", window="1h", limits=limits_of(models, "HighLowConfidencePredictions")
    )
    segments = Query(f"{names.ACCURACY.name}{{{RECORDED}}}", legend_of(MODEL, "segment"))
    limits = limits_of(models, "SegmentAccuracyLow", falling=True)
    words = "Share of the labels of a day on which the model was right, by segment; of the whole sample, too."
    yield Panel("Accuracy by segment", words, "percentunit", "lines", (segments,), limits=limits)
    limits = limits_of(models, "LowModelAccuracy", falling=True)
    for record in records.get(ACCURACY.name, ())[:1]:
        bound = record.replace(ACCURACY.name, ACCURACY_HIGH.name)
        high = (
            [Query(f"{bound}{{{RECORDED}}}", f"{legend_of(MODEL)} at most")]
            if bound in records[ACCURACY_HIGH.name]
            else []
        )
        yield of_record(ACCURACY, record, "lines", *high, limits=limits, width=24)


def _drift(models: Models, records: Records) -> Iterator[Panel]:
    for signal, alert in (
        (FEATURE_KS, "DataDriftDetected"),
        (CATEGORY_DRIFT, "DataDriftDetected"),
        (ANSWER_PSI, "ConceptDriftDetected"),
    ):
        for record in records.get(signal.name, ()):
            panel = of_record(signal, record, "lines", limits=limits_of(models, alert))
            yield panel._replace(title=f"{signal.title} ({record.rpartition(':')[2]}, {signal.name.replace('_', ' ')})")
    yield of_signal(INVALID_EXCESS, "lines", window="1h", limits=limits_of(models, "MissingValues"))
    total = increase(f"{names.FEATURE_VALUE.name}_bucket", joined(RAW, 'le="+Inf"'), "1h", "feature_name")
    upto = increase(f"{names.FEATURE_VALUE.name}_bucket", RAW, "1h", "feature_name, le")
    now = Query(
        f"{upto} / on (feature_name) group_left () ({total} > 0)", "{{feature_name}} up to {{le}}", instant=True
    )
    words = "Share of the values of the last hour up to each edge of a feature, beside that of training."
    before = f"max by (feature_name, upper) ({names.FEATURE_REFERENCE_CDF.name}{{{RAW}}})"
    trained = Query(before, "{{feature_name}} up to {{upper}}, training", instant=True)
    yield Panel("Features, now and in training", words, "percentunit", "bars", (now, trained), 24, 12)


def _resources(_models: Models, _records: Records) -> Iterator[Panel]:
    yield of_metric(names.PROCESS_CPU, "none", "CPU cores in use", counter=True)
    yield of_metric(names.PROCESS_MEMORY, "bytes", "Memory (RSS)")
    yield of_metric(names.GPU_UTILIZATION, "percentunit", "GPU", "gpu")
    yield of_metric(names.GPU_MEMORY_USED, "bytes", "GPU memory", "gpu")
    yield of_metric(names.PROCESS_DISK_READ, "Bps", "Disk read", counter=True)
    yield of_metric(names.PROCESS_DISK_WRITTEN, "Bps", "Disk written", counter=True)
    yield of_metric(names.IN_PROGRESS, "none", "Requests in progress", MODEL)
    yield of_metric(names.PROCESS_FILES, "none", "Open files")
    idle = f'node_cpu_seconds_total{{mode="idle",{HOST}}}'.replace('job=~"$job",instance=~"$instance"', 'job="node"')
    busy = Query(f"1 - avg by (instance) (rate({idle}[{INTERVAL}]))", "{{instance}}")
    yield Panel(
        "CPU of the machine", "Share of the time in which its CPUs are busy.", "percentunit", "lines", (busy,), 12
    )


def _slos(_models: Models, _records: Records) -> Iterator[Panel]:
    by = legend_of(MODEL, "slo_type")
    kept = Query(f"{names.COMPLIANCE.name}{{{RECORDED}}}", by)
    left = Query(f"{names.BUDGET_LEFT.name}{{{RECORDED}}}", by)
    words = "Share of good events of the period (30 days unless configured), by objective."
    yield Panel("Compliance", words, "percent", "number", (kept,), 12)
    limits = {"": Limits(0.25, 0.0, falling=True)}
    words = "Part of the error budget of the period that is left; below 0 it is overspent."
    yield Panel("Budget left", words, "percentunit", "number", (left,), 12, limits=limits)
    yield Panel("Budget left over time", words, "percentunit", "lines", (left,), 24, limits=limits)
    for window_s, words in ((HOUR_S, "hour"), (DAY_S, "day")):
        record = f"model_slo_type:slo_burn_rate:{'1h' if window_s == HOUR_S else '1d'}"
        text = f"How many times too fast the budget was spent in the last {words}; 1 spends it exactly in its period."
        yield Panel(
            f"Burn rate, 1 {words}",
            text,
            "none",
            "lines",
            (Query(f"{record}{{{RECORDED}}}", by),),
            limits={"": Limits(1.0)},
        )


_PAGES = {"health": _health, "quality": _quality, "drift": _drift, "resources": _resources, "slos": _slos}
