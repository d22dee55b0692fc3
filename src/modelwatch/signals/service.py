"""Signals of the service and of the monitor: who answers, minutes of availability and throughput, cost, own faults."""

from __future__ import annotations

import math
from collections.abc import Mapping

from modelwatch import names
from modelwatch.names import Metric
from modelwatch.signals.core import (
    MODEL,
    VERSION,
    Counts,
    Events,
    Measure,
    Measured,
    Objectives,
    Signal,
    increase,
    increase_from_birth,
    joined,
    matcher,
)
from modelwatch.tally import TableSchema

JOB = "job"
MUTED_S = 1800  # a new version has so long before its drift is judged
#: What the monitor counts itself, of the replicas.
MINUTE_TABLES = tuple(TableSchema(metric.name, metric.labels) for metric in (names.SLICES, names.REPLICA_SECONDS))

# -- replicas ----------------------------------------------------------------------------------------------------------


def _up(objectives: Objectives) -> str:
    return f"up{{{matcher(JOB, objectives.job)}}}"


def _answering(counts: Counts) -> Measured:
    answers = counts.facts.answers
    return {(): (float(sum(answers.values())) if answers else None, len(answers))}


def _silent(counts: Counts) -> Measured:
    answers = counts.facts.answers
    if not any(answers.values()):  # that is the whole service
        return {(): (None, len(answers))}
    return {(): (float(len(answers) - sum(answers.values())), len(answers))}


def _reporting(counts: Counts) -> Measured:
    told = counts.facts.reporting
    return {(): (None if told is None else float(told), int(told is not None))}


def _no_selector(_selector: str, _window: str) -> str:
    return "vector(1)"


def _present(selector: str, _window: str, _objectives: Objectives) -> str:
    info = f"{names.MODEL_INFO.name}{{{selector}}}"
    return f"(group by ({MODEL}) ({info})) or (absent({info}) - 1)"


def _seasoned(counts: Counts) -> Measured:
    age = counts.facts.ages.get(counts.version)
    if age is not None and age < MUTED_S:
        reason = f"version {counts.version} is new: judged in {math.ceil((MUTED_S - age) / 60)} minutes"
        return {(counts.version,): Measure(None, 1, 0, reason)}
    return {(counts.version,): Measure(1.0, 1)}


def _seasoned_promql(selector: str, _window: str, _objectives: Objectives) -> str:
    return f"group by ({MODEL}, {VERSION}) ({names.MODEL_INFO.name}{{{selector}}} offset {MUTED_S}s)"


# -- minutes of objectives ---------------------------------------------------------------------------------------------


def slices(counts: Counts, slo: str) -> tuple[int, int, int]:
    """Return the minutes of an objective that were (good, bad, unknown)."""
    table = counts.table(names.SLICES)
    if table is None:
        return 0, 0, 0
    good, bad, unknown = (table.value((slo, outcome)) for outcome in (names.GOOD, names.BAD, names.UNKNOWN))
    return good, bad, unknown


def _minutes(slo: str, bad: str, counted: str) -> Events:
    def count(counts: Counts) -> tuple[float | None, int]:
        good, wrong, _ = slices(counts, slo)
        return wrong, good + wrong

    def matching(selector: str, window: str, outcome: str) -> str:
        name = names.SLICES.name
        return increase_from_birth(name, joined(selector, f'slo="{slo}"', f'outcome=~"{outcome}"'), window)

    def all_promql(selector: str, window: str, _objectives: Objectives) -> str:
        return matching(selector, window, f"{names.GOOD}|{names.BAD}") + " > 0"

    def bad_promql(selector: str, window: str, objectives: Objectives) -> str:
        every = all_promql(selector, window, objectives)
        return f"{matching(selector, window, names.BAD)} or ({every}) * 0"

    return Events(slo, bad, counted, count, bad_promql, all_promql)


def _unknown(found: tuple[int, int, int]) -> Measured:
    total = sum(found)
    return {(): (found[2] / total if total else None, total)}


def _unknown_promql(selector: str, window: str) -> str:
    every = joined(selector, 'slo="availability"')
    total = increase_from_birth(names.SLICES.name, every, window)
    unknown = increase_from_birth(names.SLICES.name, joined(every, f'outcome="{names.UNKNOWN}"'), window)
    return f"({unknown} or {total} * 0) / ({total} > 0)"


def availability_minute(answers: Mapping[str, bool] | None) -> str:
    """Return what a minute is for the availability: good when at least one replica answered.

    answers : {replica: whether it answered}; None when nobody was asked, since the monitor itself did not run.
    """
    if answers is None:
        return names.UNKNOWN
    return names.GOOD if any(answers.values()) else names.BAD


def throughput_minute(
    requests: int, slow: int, failed: int, *, offered: float, objectives: Objectives, few: int = 20
) -> str | None:
    """Return what a minute is for the throughput objective; None where it says nothing.

    Good: latency and errors kept, or fewer than `few` requests. Bad: broken at an offered rate that should be held.
    Broken above that rate, or without requests: nothing.

    Parameters
    ----------
    requests, slow, failed : of the minute.
    offered : requests per second.
    """
    if not requests:
        return None
    allowed = [
        (slow, objectives.latency_objective),
        (failed, objectives.error_objective),
    ]
    kept = all(objective is None or bad / requests <= round(1 - objective, 12) for bad, objective in allowed)
    if requests < few or kept:
        return names.GOOD
    return names.BAD if offered <= (objectives.throughput or 0) else None


# -- cost --------------------------------------------------------------------------------------------------------------


def spending(counts: Counts) -> tuple[float | None, float, int]:
    """Return (spent, allowed, requests): what replicas cost, and what the objective allows for these requests."""
    objectives, requests = counts.objectives, counts.total(names.REQUESTS)
    if objectives.cost is None or objectives.hourly is None or counts.table(names.REPLICA_SECONDS) is None:
        return None, 0.0, requests
    spent = counts.total(names.REPLICA_SECONDS) / 3600 * objectives.hourly
    return spent, objectives.cost * requests / 1000, requests


def _cost(counts: Counts) -> Measured:
    spent, _, requests = spending(counts)
    return {(): (None if spent is None or not requests else 1000 * spent / requests, requests)}


def _cost_burn(counts: Counts) -> Measured:
    spent, allowed, requests = spending(counts)
    return {(): (None if spent is None or allowed <= 0 else spent / allowed, requests)}


def _cost_promql(selector: str, window: str, objectives: Objectives) -> str | None:
    if objectives.hourly is None or objectives.cost is None:
        return None
    spent = f"{increase_from_birth(names.REPLICA_SECONDS.name, selector, window)} / 3600 * {objectives.hourly!r}"
    return f"1000 * {spent} / ({increase(names.REQUESTS.name, selector, window)} > 0)"


def _cost_burn_promql(selector: str, window: str, objectives: Objectives) -> str | None:
    cost = _cost_promql(selector, window, objectives)
    return None if cost is None else f"{cost} / {objectives.cost!r}"


def _requests_samples(selector: str, window: str) -> str:
    return increase(names.REQUESTS.name, selector, window)


# -- the monitor -------------------------------------------------------------------------------------------------------

_FAULTS: tuple[Metric, ...] = (names.INTERNAL_ERRORS, names.ABANDONED, names.SAMPLES_DROPPED)


def _faults(counts: Counts) -> Measured:
    n = sum(counts.total(metric) for metric in _FAULTS)
    return {(): (float(n), max(counts.total(names.EVENTS), 1))}


def _faults_promql(selector: str, window: str, _objectives: Objectives) -> str:
    known = f"sum by ({MODEL}) ({names.EVENTS.name}{{{selector}}}) * 0"
    each = (f"({increase_from_birth(metric.name, selector, window)} or {known})" for metric in _FAULTS)
    return " + ".join(each)


def _events_samples(selector: str, window: str) -> str:
    events = increase(names.EVENTS.name, selector, window)
    return f"{events} >= 1 or ({events} * 0 + 1)"


# -- the signals -------------------------------------------------------------------------------------------------------

REPLICAS_ANSWERING = Signal(
    "replicas_answering", "Replicas", "Replicas that answer", "replicas", _answering,
    lambda _selector, _window, objectives: f"sum by ({JOB}) ({_up(objectives)}) or absent({_up(objectives)}) - 1",
    _no_selector, 0, counted="replicas", of_service=True,
)  # fmt: skip
REPLICAS_SILENT = Signal(
    "replicas_silent", "Silent replicas", "Replicas that do not answer while others do", "replicas", _silent,
    lambda _selector, _window, objectives: f"count by ({JOB}) ({_up(objectives)}) - (sum by ({JOB}) "
    f"({_up(objectives)}) > 0)",
    _no_selector, 0, counted="replicas", of_service=True,
)  # fmt: skip
REPORTING = Signal(
    "reporting", "Reporting", "1 while the service renews its counts, else 0", "", _reporting, _present,
    _no_selector, 0, counted="reports",
)  # fmt: skip
SEASONED = Signal(
    "seasoned", "Known version", "1 for a version that was there half an hour ago", "", _seasoned, _seasoned_promql,
    _no_selector, 0, labels=(VERSION,), counted="versions", by_version=True,
)  # fmt: skip
AVAILABILITY = _minutes("availability", "down", "minutes")
THROUGHPUT = _minutes("throughput", "not held", "minutes with requests")
UNKNOWN_MINUTES = Signal(
    "unknown_minutes", "Minutes unknown", "Share of minutes in which nobody asked the replicas", "ratio",
    lambda counts: _unknown(slices(counts, "availability")),
    lambda selector, window, _objectives: _unknown_promql(selector, window),
    lambda selector, window: increase_from_birth(names.SLICES.name, joined(selector, 'slo="availability"'), window),
    60, counted="minutes",
)  # fmt: skip
COST = Signal(
    "cost_per_1000", "Cost of 1,000 requests", "What replicas cost for 1,000 requests", "currency", _cost,
    _cost_promql, _requests_samples, 20,
)  # fmt: skip
COST_BURN = Signal(
    "cost_burn", "Cost against the objective", "What replicas cost, as a multiple of what is allowed", "times",
    _cost_burn, _cost_burn_promql, _requests_samples, 20,
)  # fmt: skip
MONITOR_FAULTS = Signal(
    "monitor_faults", "Faults of the monitor", "Faults of modelwatch itself, and what it had to give up", "faults",
    _faults, _faults_promql, _events_samples, counted="events",
)  # fmt: skip
