"""Signals of requests: rate, errors, duration, and how they compare with an earlier time."""

from __future__ import annotations

import math
from dataclasses import replace

from modelwatch import names
from modelwatch.names import number
from modelwatch.signals.core import (
    MODEL,
    Counts,
    Events,
    Measured,
    Objectives,
    Signal,
    increase,
    joined,
    span,
)
from modelwatch.statistics import Quantile, histogram_quantile

DAY, DAY_S = "1d", 86_400.0

# -- measures ----------------------------------------------------------------------------------------------------------


def _valid(counts: Counts) -> int:
    """Return the number of requests that are in ratios: those whose client stayed."""
    return counts.total(names.REQUESTS) - counts.total(names.CANCELLED)


def _requests(counts: Counts) -> Measured:
    n = counts.total(names.REQUESTS)
    return {(): (n, n)}


def _request_rate(counts: Counts) -> Measured:
    n = counts.total(names.REQUESTS)
    return {(): (n / counts.covered_s if counts.covered_s > 0 else None, n)}


def durations(counts: Counts) -> tuple[tuple[float, ...], list[int]]:
    """Return (edges in seconds, counts per bucket) over all endpoints."""
    table = counts.table(names.DURATION)
    edges = counts.schema.latency
    return edges, [0] * (len(edges) + 1) if table is None else table.counts[: len(table.rows)].sum(axis=0).tolist()


def _slower(counts: Counts, edge_s: float | None) -> tuple[float | None, int]:
    """Return (requests slower than an edge, requests); None where there is no such edge."""
    edges, buckets = durations(counts)
    total = sum(buckets)
    if edge_s not in edges:
        return None, total
    return total - sum(buckets[: edges.index(edge_s) + 1]), total


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


def _rise(bad: float | None, n: int, bad_before: float | None, n_before: int) -> Measured:
    """Return how many standard errors the share of bad requests is above that of before."""
    samples = min(n, n_before)
    if bad is None or bad_before is None or not samples:
        return {(): (None, samples)}
    pooled = (bad + bad_before) / (n + n_before)
    spread = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_before))
    return {(): ((bad / n - bad_before / n_before) / spread if spread > 0 else 0.0, samples)}


def _slow_rise(counts: Counts, edge_s: float | None) -> Measured:
    before = counts.earlier(DAY_S)
    return _rise(*_slower(counts, edge_s), *((None, 0) if before is None else _slower(before, edge_s)))


def _failed_rise(counts: Counts) -> Measured:
    before = counts.before(DAY_S)
    return _rise(*FAILURES.count(counts), *((None, 0) if before is None else FAILURES.count(before)))


# -- PromQL ------------------------------------------------------------------------------------------------------------


def _requests_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return increase(names.REQUESTS.name, selector, window)


def _rate_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return f"sum by ({MODEL}) (rate({names.REQUESTS.name}{{{selector}}}{span(window)}))"


def _failed_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return increase(names.FAILED.name, selector, window)


def _valid_promql(selector: str, window: str, _objectives: Objectives) -> str:
    requests, cancelled = (increase(m.name, selector, window) for m in (names.REQUESTS, names.CANCELLED))
    return f"{requests} - {cancelled} > 0"


def _slow_promql(selector: str, window: str, edge_s: float | None) -> str | None:
    if edge_s is None:
        return None
    fast = increase(f"{names.DURATION.name}_bucket", joined(selector, f'le="{number(edge_s)}"'), window)
    return f"{_all_durations(selector, window)} - {fast}"


def _all_durations(selector: str, window: str) -> str:
    return increase(f"{names.DURATION.name}_bucket", joined(selector, 'le="+Inf"'), window)


def _durations_promql(selector: str, window: str, _objectives: Objectives) -> str:
    return f"{_all_durations(selector, window)} > 0"


def _p95_promql(selector: str, window: str, _objectives: Objectives) -> str:
    buckets = increase(f"{names.DURATION.name}_bucket", selector, window, f"{MODEL}, le")
    total = increase(f"{names.DURATION.name}_count", selector, window)
    return f"histogram_quantile(0.95, {buckets}) and {total} > 0"


def _share_promql(selector: str, window: str, _objectives: Objectives) -> str:
    mine = increase(names.PREDICTIONS.name, selector, window, f"{MODEL}, predicted_class")
    total = increase(names.PREDICTIONS.name, selector, window)
    return f"{mine} / on ({MODEL}) group_left () ({total} > 0)"


def _rise_promql(bad: str, n: str, bad_before: str, n_before: str) -> str:
    """Return `_rise` as PromQL; the numbers of requests have a result above 0, or none."""
    rise = f"({bad}) / ({n}) - ({bad_before}) / ({n_before})"
    pooled = f"(({bad}) + ({bad_before})) / (({n}) + ({n_before}))"
    variance = f"{pooled} * (1 - {pooled}) * (1 / ({n}) + 1 / ({n_before}))"
    return f"(({rise}) / sqrt(({variance}) > 0)) or ({variance} == 0)"


def _less_promql(now: str, before: str) -> str:
    return f"(({now}) < ({before})) or ({before})"


def _slow_rise_promql(selector: str, window: str, edge_s: float | None) -> str | None:
    earlier = f"{window} offset {DAY}"
    slow, before = (_slow_promql(selector, each, edge_s) for each in (window, earlier))
    if slow is None or before is None:
        return None
    n, n_before = (f"{_all_durations(selector, each)} > 0" for each in (window, earlier))
    return _rise_promql(slow, n, before, n_before)


def _both_durations(selector: str, window: str) -> str:
    return _less_promql(_all_durations(selector, window), _all_durations(selector, f"{window} offset {DAY}"))


def _failed_rise_promql(selector: str, window: str, objectives: Objectives) -> str:
    each = (
        part(selector, when, objectives)
        for when in (window, f"{DAY} offset {window}")
        for part in (_failed_promql, _valid_promql)
    )
    return _rise_promql(*each)


def _both_valid(selector: str, window: str) -> str:
    return _less_promql(*(_valid_promql(selector, each, Objectives()) for each in (window, f"{DAY} offset {window}")))


def _budget(objective: float | None) -> float | None:
    return None if objective is None else round(1 - objective, 12)  # 1 - 0.9 is a little less than 0.1


def _requests_samples(selector: str, window: str) -> str:
    return increase(names.REQUESTS.name, selector, window)


def _duration_samples(selector: str, window: str) -> str:
    return increase(f"{names.DURATION.name}_count", selector, window)


def _prediction_samples(selector: str, window: str) -> str:
    return increase(names.PREDICTIONS.name, selector, window)


# -- the signals -------------------------------------------------------------------------------------------------------

FAILURES = Events(
    "errors", "failed", "requests", lambda counts: (counts.total(names.FAILED), _valid(counts)),
    _failed_promql, _valid_promql,
)  # fmt: skip
SLOW = Events(
    "latency", "slow", "requests", lambda counts: _slower(counts, counts.objectives.latency_threshold_s),
    lambda selector, window, objectives: _slow_promql(selector, window, objectives.latency_threshold_s),
    _durations_promql,
)  # fmt: skip


def slower_than(edge_s: float) -> Events:
    """Return the requests slower than a bucket's edge, in seconds."""
    return Events(
        f"slower_than_{edge_s:g}s", "slow", "requests", lambda counts: _slower(counts, edge_s),
        lambda selector, window, _objectives: _slow_promql(selector, window, edge_s), _durations_promql,
    )  # fmt: skip


def slower_ratio(edge_s: float) -> Signal:
    """Return the signal of the share of requests slower than a bucket's edge, in seconds."""
    words = f"Share of requests slower than {edge_s:g} s"
    return slower_than(edge_s).ratio(f"slower_than_{edge_s:g}s", f"Slower than {edge_s:g} s", words)


REQUESTS = Signal(
    "requests", "Requests", "Requests finished", "requests", _requests, _requests_promql, _requests_samples, 0
)
REQUEST_RATE = Signal(
    "request_rate", "Request rate", "Requests finished per second", "req/s", _request_rate, _rate_promql,
    _requests_samples,
)  # fmt: skip
ERROR_RATIO = FAILURES.ratio(
    "error_ratio", "Error rate", "Share of requests that ended in an exception or a status of 500 and above",
    limit=lambda objectives: _budget(objectives.error_objective),
)  # fmt: skip
ERRORS = FAILURES.bad_count()
SLOW_RATIO = SLOW.ratio(
    "slow_ratio", "Slow requests", "Share of requests slower than the latency objective",
    limit=lambda objectives: _budget(objectives.latency_objective),
)  # fmt: skip
LATENCY_P95 = Signal(
    "latency_p95", "Latency P95", "95 % of the requests are answered within this time", "s", _latency_p95,
    _p95_promql, _duration_samples, smallest=20,
)  # fmt: skip
SLOW_RISE = Signal(
    "slow_rise", "Latency trend",
    "Rise of the share of slow requests against the same time a day before, in standard errors", "standard errors",
    lambda counts: _slow_rise(counts, counts.objectives.latency_threshold_s),
    lambda selector, window, objectives: _slow_rise_promql(selector, window, objectives.latency_threshold_s),
    _both_durations, smallest=100,
)  # fmt: skip
FAILED_RISE = Signal(
    "failed_rise", "Error trend",
    "Rise of the share of failed requests against the day before, in standard errors", "standard errors",
    _failed_rise, _failed_rise_promql, _both_valid, smallest=100,
)  # fmt: skip


def slower_rise(edge_s: float) -> Signal:
    """Return the signal of the rise of the share of requests slower than a bucket's edge, in seconds."""
    return replace(
        SLOW_RISE, name=f"rise_of_slower_than_{edge_s:g}s".replace(".", "_"), title=f"Trend above {edge_s:g} s",
        words=f"Rise of the share of requests slower than {edge_s:g} s against the same time a day before, "
        "in standard errors",
        measure=lambda counts: _slow_rise(counts, edge_s),
        promql=lambda selector, window, _objectives: _slow_rise_promql(selector, window, edge_s),
    )  # fmt: skip


PREDICTION_SHARE = Signal(
    "prediction_share", "Prediction mix", "Share of each class among the predictions", "ratio",
    _prediction_share, _share_promql, _prediction_samples, labels=("predicted_class",),
)  # fmt: skip
