"""The six kinds of objectives: what a valid event is, what a good one is, and how many were bad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from modelwatch.config import ModelConfig
from modelwatch.errors import ConfigError
from modelwatch.signals import FAILURES, SLOW, Counts, Events, Signal
from modelwatch.signals.quality import WRONG, WRONG_LOW, WRONG_RATIO, label_sums
from modelwatch.signals.service import AVAILABILITY, THROUGHPUT, slices, spending
from modelwatch.slo.burn import BurnRule, burn_rules
from modelwatch.slo.period import Period

SloType = Literal["latency", "availability", "error_rate", "accuracy", "throughput", "cost"]
THROUGHPUT_BUDGET = 0.05  # share of minutes that may not hold the load
MOST_UNKNOWN = 0.05  # share of minutes in which nobody looked


class Spent(NamedTuple):
    """What a window used of an objective.

    bad, valid : events, minutes, or weighted labels; of a cost what was spent and what is allowed.
    unknown : minutes in which nobody looked.
    events : bad ones as they were counted, without weights.
    """

    bad: float | None
    valid: float
    unknown: int = 0
    events: int = 0

    @property
    def ratio(self) -> float | None:
        """Share of bad events; of a cost the part of what is allowed. None without valid events."""
        return None if self.bad is None or self.valid <= 0 else self.bad / self.valid


@dataclass(frozen=True)
class Slo:
    """An objective of one model.

    kind : one of the six.
    objective : as configured: a share, requests per second, or currency per 1000 requests.
    budget : share of valid events that may be bad; None for a cost, which has no events.
    good : the promise in words.
    spent : from counts to what they used of it.
    ratio, bad : the signals of its burn-rate alerts; the first as share of bad events.
    low : signal of the surely bad share; None where the count of bad events is guard enough.
    """

    kind: SloType
    objective: float
    budget: float | None
    good: str
    spent: Callable[[Counts], Spent]
    ratio: Signal | None = None
    bad: Signal | None = None
    low: Signal | None = None

    def burn(self, counts: Counts) -> float | None:
        """Return how many times too fast the budget was spent in a window; None where it cannot be told."""
        ratio = self.spent(counts).ratio
        return ratio if ratio is None or self.budget is None else ratio / self.budget


def slos_of(model: ModelConfig) -> tuple[Slo, ...]:
    """Return the objectives of a model, in the order of the kinds."""
    slos = model.slos
    found = []
    if slos.latency:
        latency = slos.latency
        good = f"{latency.objective:.4g} of requests answered within {latency.threshold_s * 1000:g} ms"
        found.append(_of_events("latency", latency.objective, good, SLOW))
    if slos.availability:
        good = f"at least one replica answers in {slos.availability.objective:.4g} of minutes"
        ratio = AVAILABILITY.ratio("unavailable_ratio", "Down", "Share of minutes in which no replica answered", 1)
        found.append(
            Slo(
                "availability", slos.availability.objective, _budget(slos.availability.objective), good,
                lambda counts: _minutes(counts, "availability"), ratio, AVAILABILITY.bad_count(),
            )
        )  # fmt: skip
    if slos.error_rate:
        good = f"{slos.error_rate.objective:.4g} of requests without an exception or a status of 500 and above"
        found.append(_of_events("error_rate", slos.error_rate.objective, good, FAILURES))
    if slos.accuracy:
        good = f"{slos.accuracy.objective:.4g} of labelled predictions right"
        found.append(
            Slo(
                "accuracy", slos.accuracy.objective, _budget(slos.accuracy.objective), good, _labels, WRONG_RATIO,
                WRONG, WRONG_LOW,
            )
        )  # fmt: skip
    if slos.throughput:
        good = f"{slos.throughput.objective:g} requests per second without breaking latency or errors"
        ratio = THROUGHPUT.ratio("not_held_ratio", "Not held", "Share of minutes in which the load was not held", 1)
        found.append(
            Slo(
                "throughput", slos.throughput.objective, THROUGHPUT_BUDGET, good,
                lambda counts: _minutes(counts, "throughput"), ratio, THROUGHPUT.bad_count(),
            )
        )  # fmt: skip
    if slos.cost:
        good = f"at most {slos.cost.objective:g} per 1,000 requests"
        found.append(Slo("cost", slos.cost.objective, None, good, _cost))
    return tuple(found)


def burns_of(model: ModelConfig, slo: Slo) -> list[BurnRule]:
    """Return how fast the budget of an objective must burn for somebody to be told.

    None for a cost, nor for a model that is often wrong: its budget cannot burn fast; its accuracy is watched itself.

    Raises
    ------
    ConfigError   another objective is too low to be alerted on.
    """
    if slo.budget is None:
        return []
    try:
        return burn_rules(
            slo.budget, Period.of_model(model).days_s, where=f"models.{model.name}.slos.{slo.kind}.objective"
        )
    except ConfigError:
        if slo.kind != "accuracy":
            raise
        return []


def burn_notes(model: ModelConfig) -> list[str]:
    """Return what was changed of the usual burn rates, and why, by objective.

    Raises
    ------
    ConfigError   as `burns_of`.
    """
    notes = []
    for slo in slos_of(model):
        where, rules = f"models.{model.name}.slos.{slo.kind}", burns_of(model, slo)
        notes += [f"{where}: {rule.severity}: {rule.note}" for rule in rules if rule.note]
        if slo.kind == "accuracy" and not rules:
            notes.append(
                f"{where}: no burn rate: {slo.objective:g} is too often wrong to burn; the accuracy itself alerts"
            )
    return notes


def _budget(objective: float) -> float:
    return round(1 - objective, 12)  # 1 - 0.9 is a little less than 0.1


def _of_events(kind: SloType, objective: float, good: str, events: Events) -> Slo:
    def spent(counts: Counts) -> Spent:
        bad, n = events.count(counts)
        return Spent(bad, n, events=int(bad or 0))

    ratio = events.ratio(f"{events.name}_bad_ratio", f"{events.bad.capitalize()} requests", f"Share {events.bad}", 1)
    return Slo(kind, objective, _budget(objective), good, spent, ratio, events.bad_count())


def _minutes(counts: Counts, kind: str) -> Spent:
    good, bad, unknown = slices(counts, kind)
    return Spent(bad, good + bad, unknown, bad)


def _labels(counts: Counts) -> Spent:
    sums = label_sums(counts)
    wrong = WRONG.measure(counts)[()][0]
    return Spent(sums.w - sums.wo if sums.n else None, sums.w, events=int(wrong or 0))


def _cost(counts: Counts) -> Spent:
    spent, allowed, _ = spending(counts)
    return Spent(spent, allowed)
