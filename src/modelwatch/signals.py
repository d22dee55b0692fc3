"""Signals: the numbers that an on-call reads, each defined once, as a value of a tally and as PromQL.

A signal uses only what Prometheus can compute too. It has three outcomes: ok, firing, cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelwatch import names
from modelwatch.names import Metric, number
from modelwatch.schema import ModelSchema
from modelwatch.statistics import Quantile, histogram_quantile
from modelwatch.tally import Table, Tally

Outcome = Literal["ok", "firing", "cannot_tell"]
Measured = Mapping[tuple[str, ...], tuple["float | None", int]]  # label values -> (value, samples)


@dataclass(frozen=True)
class Objectives:
    """What the configuration promises of one model. None: nothing promised."""

    latency_threshold_s: float | None = None
    latency_objective: float | None = None
    error_objective: float | None = None


@dataclass(frozen=True)
class Counts:
    """What a signal is measured on: the counts of a window of `covered_s` seconds, and how they were counted."""

    tally: Tally
    schema: ModelSchema
    covered_s: float
    objectives: Objectives = field(default_factory=Objectives)

    def table(self, metric: Metric) -> Table | None:
        """Return the table of a metric, None when nothing was counted."""
        return self.tally.tables.get(metric.name)

    def total(self, metric: Metric) -> int:
        """Return the count of a metric over all its series."""
        table = self.table(metric)
        return 0 if table is None else table.total()


@dataclass(frozen=True)
class Reading:
    """One value of a signal: `value` is None when it is undefined, `reason` says why it cannot be told."""

    signal: str
    title: str
    words: str
    unit: str
    labels: Mapping[str, str]
    value: float | None
    samples: int
    outcome: Outcome
    reason: str
    limit: float | None


@dataclass(frozen=True)
class Signal:
    """A number that an on-call reads.

    Parameters
    ----------
    name, title, words, unit : for machines, for panels, for sentences; a ratio is 0 to 1.
    measure : from counts to {label values: (value, samples)}.
    promql : from (selector, window, objectives) to the expression that gives the same numbers; None where it needs
        an objective
        that is not there. It has no result where the value is undefined.
    samples_promql : from (selector, window) to the expression that gives the number of samples.
    smallest : fewer samples cannot tell.
    labels : of its values, beside the model's.
    limit : from objectives to the value above which it fires; None: it never does.
    """

    name: str
    title: str
    words: str
    unit: str
    measure: Callable[[Counts], Measured]
    promql: Callable[[str, str, Objectives], str | None]
    samples_promql: Callable[[str, str], str]
    smallest: int = 1
    labels: tuple[str, ...] = ()
    limit: Callable[[Objectives], float | None] = lambda _objectives: None

    def read(self, counts: Counts) -> list[Reading]:
        """Return the readings of a window.

        One that cannot tell where there is nothing to read, none without the objective it needs.
        """
        if self.promql("", "5m", counts.objectives) is None:
            return []
        limit = self.limit(counts.objectives)
        measured = self.measure(counts) or {(): (None, 0)}
        readings = []
        for values, (value, samples) in measured.items():
            outcome: Outcome = "ok"
            reason = ""
            if value is None:
                reason = "these counts cannot tell it" if samples else "no requests in this window"
                outcome = "cannot_tell"
            elif samples < self.smallest:
                outcome, reason = "cannot_tell", f"{samples} of {self.smallest} requests that are needed"
            elif limit is not None and value > limit:
                outcome = "firing"
            labels = dict(zip(self.labels, values, strict=False))
            readings.append(
                Reading(self.name, self.title, self.words, self.unit, labels, value, samples, outcome, reason, limit)
            )
        return readings


# -- measures ----------------------------------------------------------------------------------------------------------


def _valid(counts: Counts) -> int:
    """Return the number of requests that are in ratios: those whose client stayed."""
    return counts.total(names.REQUESTS) - counts.total(names.CANCELLED)


def _request_rate(counts: Counts) -> Measured:
    n = counts.total(names.REQUESTS)
    return {(): (n / counts.covered_s if counts.covered_s > 0 else None, n)}


def _error_ratio(counts: Counts) -> Measured:
    valid = _valid(counts)
    return {(): (counts.total(names.FAILED) / valid if valid > 0 else None, valid)}


def durations(counts: Counts) -> tuple[tuple[float, ...], list[int]]:
    """Return (edges in seconds, counts per bucket) over all endpoints."""
    table = counts.table(names.DURATION)
    edges = counts.schema.latency
    return edges, [0] * (len(edges) + 1) if table is None else table.counts[: len(table.rows)].sum(axis=0).tolist()


def _slow_ratio(counts: Counts) -> Measured:
    threshold = counts.objectives.latency_threshold_s
    edges, buckets = durations(counts)
    total = sum(buckets)
    if threshold not in edges or not total:
        return {(): (None, total)}
    fast = sum(buckets[: edges.index(threshold) + 1])
    return {(): ((total - fast) / total, total)}


def latency_quantile(counts: Counts, q: float) -> Quantile | None:
    """Return a latency quantile in seconds over all endpoints, for display.

    Objectives use the exact share of slow requests.
    """
    return histogram_quantile(*durations(counts), q)


def _latency_p95(counts: Counts) -> Measured:
    found = latency_quantile(counts, 0.95)
    return {(): (None if found is None else found.value, sum(durations(counts)[1]))}


def _prediction_share(counts: Counts) -> Measured:
    table = counts.table(names.PREDICTIONS)
    total = 0 if table is None else table.total()
    if table is None or not total:
        return {}
    return {labels: (int(table.counts[row, 0]) / total, total) for labels, row in table.rows.items()}


# -- PromQL ------------------------------------------------------------------------------------------------------------


def _increase(name: str, selector: str, window: str, by: str = "model_name") -> str:
    return f"sum by ({by}) (increase({name}{{{selector}}}[{window}]))"


def _valid_promql(selector: str, window: str) -> str:
    requests, cancelled = (_increase(m.name, selector, window) for m in (names.REQUESTS, names.CANCELLED))
    return f"({requests} - {cancelled} > 0)"


def _rate_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return f"sum by (model_name) (rate({names.REQUESTS.name}{{{selector}}}[{window}]))"


def _error_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return f"{_increase(names.FAILED.name, selector, window)} / {_valid_promql(selector, window)}"


def _slow_promql(selector: str, window: str, objectives: Objectives) -> str | None:
    threshold = objectives.latency_threshold_s
    if threshold is None:
        return None
    bucket = f"{names.DURATION.name}_bucket"
    comma = "," if selector else ""
    fast = _increase(bucket, f'{selector}{comma}le="{number(threshold)}"', window)
    total = _increase(bucket, f'{selector}{comma}le="+Inf"', window)
    return f"1 - {fast} / ({total} > 0)"


def _p95_promql(selector: str, window: str, _objectives: Objectives) -> str:
    buckets = _increase(f"{names.DURATION.name}_bucket", selector, window, "model_name, le")
    total = _increase(f"{names.DURATION.name}_count", selector, window)
    return f"histogram_quantile(0.95, {buckets}) and {total} > 0"


def _share_promql(selector: str, window: str, _objectives: Objectives) -> str:
    mine = _increase(names.PREDICTIONS.name, selector, window, "model_name, predicted_class")
    total = _increase(names.PREDICTIONS.name, selector, window)
    return f"{mine} / on (model_name) group_left () ({total} > 0)"


def _budget(objective: float | None) -> float | None:
    return None if objective is None else round(1 - objective, 12)  # 1 - 0.9 is a little less than 0.1


def _requests_samples(selector: str, window: str) -> str:
    return _increase(names.REQUESTS.name, selector, window)


def _valid_samples(selector: str, window: str) -> str:
    return f"{_increase(names.REQUESTS.name, selector, window)} - {_increase(names.CANCELLED.name, selector, window)}"


def _duration_samples(selector: str, window: str) -> str:
    return _increase(f"{names.DURATION.name}_count", selector, window)


def _prediction_samples(selector: str, window: str) -> str:
    return _increase(names.PREDICTIONS.name, selector, window)


REQUEST_RATE = Signal(
    "request_rate",
    "Request rate",
    "Requests finished per second",
    "req/s",
    _request_rate,
    _rate_promql,
    _requests_samples,
)
ERROR_RATIO = Signal(
    "error_ratio", "Error rate", "Share of requests that ended in an exception or a status of 500 and above", "ratio",
    _error_ratio, _error_promql, _valid_samples, 20, limit=lambda objectives: _budget(objectives.error_objective),
)  # fmt: skip
SLOW_RATIO = Signal(
    "slow_ratio", "Slow requests", "Share of requests slower than the latency objective", "ratio",
    _slow_ratio, _slow_promql, _duration_samples, 20, limit=lambda objectives: _budget(objectives.latency_objective),
)  # fmt: skip
LATENCY_P95 = Signal(
    "latency_p95",
    "Latency P95",
    "95 % of the requests are answered within this time",
    "s",
    _latency_p95,
    _p95_promql,
    _duration_samples,
    smallest=20,
)
PREDICTION_SHARE = Signal(
    "prediction_share", "Prediction mix", "Share of each class among the predictions", "ratio",
    _prediction_share, _share_promql, _prediction_samples, labels=("predicted_class",),
)  # fmt: skip

SIGNALS: dict[str, Signal] = {s.name: s for s in (REQUEST_RATE, ERROR_RATIO, SLOW_RATIO, LATENCY_P95, PREDICTION_SHARE)}
