"""Proposes thresholds for a budget of pages: a grid per alert, what each point costs and finds, the smallest change."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from modelwatch.alerts import rules_of
from modelwatch.backtest.incidents import Incident, compare
from modelwatch.backtest.replay import Told, Watch
from modelwatch.catalogue import ALERTS
from modelwatch.config import Config, Thresholds
from modelwatch.config import Levels as Limits
from modelwatch.configfields import FrozenMap
from modelwatch.errors import ConfigError, fault
from modelwatch.reference import Reference
from modelwatch.schema import latency_edges
from modelwatch.store.live import DAY

#: What thresholds are made stricter by: above 1 an alert fires less.
STRICTNESS = (0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0)
PERIODS = {"day": DAY, "week": 7 * DAY, "month": 30 * DAY}
MONTH_S = PERIODS["month"]
_BUDGET = re.compile(r"max\s+(\d+(?:\.\d+)?)\s+pages?\s*(?:/|per|a)\s*(day|week|month)", re.IGNORECASE)
Levels = Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """One alert at one strictness: what it costs and finds by itself.

    pages_a_month, warnings_a_month : of this alert; where incidents are labelled, those outside of them.
    found, incidents : of the incidents in the log; delay_s : the median of those found, None without any.
    """

    alert: str
    strictness: float
    levels: Levels
    told: Sequence[Told]
    pages_a_month: float
    warnings_a_month: float
    found: int
    incidents: int
    delay_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "alert": self.alert, "strictness": self.strictness, "thresholds": dict(self.levels),
            "pages_a_month": self.pages_a_month, "warnings_a_month": self.warnings_a_month, "found": self.found,
            "incidents": self.incidents, "delay_s": self.delay_s,
        }  # fmt: skip


@dataclass(frozen=True)
class Whole:
    """All alerts together: pages a month (outside of labelled incidents), incidents missed, median delay."""

    pages_a_month: float
    missed: int
    delay_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"pages_a_month": self.pages_a_month, "missed": self.missed, "delay_s": self.delay_s}


@dataclass(frozen=True)
class Tuned:
    """A proposal.

    budget : pages a month.
    grid : every alert at every strictness.
    proposed : {alert: {level: threshold}} of what should change; empty where nothing should.
    before, after : with the thresholds of today, and with those proposed.
    others : {alert without thresholds: pages a month of it}.
    """

    budget: float
    grid: Sequence[Point]
    proposed: Mapping[str, Levels]
    before: Whole
    after: Whole
    others: Mapping[str, float]

    @property
    def kept(self) -> bool:
        """Whether the proposal keeps the budget."""
        return self.after.pages_a_month <= self.budget

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "budget_pages_a_month": self.budget, "kept": self.kept,
            "proposed": {name: dict(levels) for name, levels in self.proposed.items()},
            "before": self.before.to_dict(), "after": self.after.to_dict(),
            "pages_a_month_without_thresholds": dict(self.others), "grid": [point.to_dict() for point in self.grid],
        }  # fmt: skip


def budget_of(text: str) -> float:
    """Return the pages a month of 30 days that a text allows.

    Examples
    --------
    >>> budget_of("max 1 page/month"), budget_of("max 7 pages a week")
    (1.0, 30.0)

    Raises
    ------
    ConfigError   it says something else.
    """
    found = _BUDGET.fullmatch(text.strip())
    if found is None:
        expected = "a budget such as 'max 1 page/month'"
        raise ConfigError(fault("--tune", "budget", text, expected, "The period is day, week or month."))
    return float(found.group(1)) * MONTH_S / PERIODS[found.group(2).lower()]


@dataclass(frozen=True)
class Variant:
    """One alert at one strictness, watched. config : with its thresholds."""

    alert: str
    strictness: float
    levels: Levels
    watch: Watch
    config: Config


def variants(config: Config, name: str, reference: Reference | None) -> list[Variant]:
    """Return every alert of a model that has thresholds, at every strictness that can be configured."""
    found = []
    for alert, thresholds in config.model(name).alerts.items():
        if thresholds is None or not any(thresholds.model_dump().values()):
            continue
        known = set[tuple[float, ...]]()
        for strictness in sorted(STRICTNESS, key=lambda each: abs(each - 1)):  # today's first: it is kept as it is
            levels = _levels(config, name, alert, strictness)
            if levels is None or tuple(levels.values()) in known:
                continue
            other = changed(config, name, {alert: levels})
            rules = [rule for rule in rules_of(other, name, reference) if rule.name == alert]
            if rules:
                known.add(tuple(levels.values()))
                found.append(Variant(alert, strictness, levels, Watch(rules, words=False), other))
    return sorted(found, key=lambda one: (one.alert, one.strictness))


def _levels(config: Config, name: str, alert: str, strictness: float) -> Levels | None:
    """Return the thresholds of an alert at a strictness; None where they are no thresholds any more."""
    model = config.model(name)
    given = model.alerts[alert]
    today = {level: value for level, value in given.model_dump().items() if value is not None} if given else {}
    if strictness == 1:
        return today
    factor = 1 / strictness if ALERTS[alert].falling else strictness
    levels = {level: float(f"{value * factor:.3g}") for level, value in today.items()}
    if ALERTS[alert].unit == "factor":
        slo = model.slos.latency
        if slo is None:
            return None
        edges = [float(f"{edge / slo.threshold_s:.12g}") for edge in latency_edges([slo.threshold_s])]
        levels = {level: min(edges, key=lambda edge: abs(edge - value)) for level, value in levels.items()}
    if ALERTS[alert].unit == "ratio" and max(levels.values()) > 1:
        return None
    return levels


def changed(config: Config, name: str, levels: Mapping[str, Levels]) -> Config:
    """Return a configuration with other thresholds of some alerts of a model."""
    model = config.model(name)
    alerts = {**model.alerts, **{alert: Thresholds(**each) for alert, each in levels.items()}}
    fields = {"DataDriftDetected": "ks", "ConceptDriftDetected": "psi"}
    drift = {fields[alert]: Limits(**each) for alert, each in levels.items() if alert in fields}
    update = {"alerts": FrozenMap(alerts), "drift": model.drift.model_copy(update=drift)}
    return config.model_copy(update={"models": FrozenMap({**config.models, name: model.model_copy(update=update)})})


@dataclass(frozen=True)
class Log:
    """What a proposal is judged by. seconds : length, as the windows count it; grace_s : of the log's own seconds."""

    incidents: Sequence[Incident]
    span: tuple[float, float]
    seconds: float
    grace_s: float

    def judge(self, told: Sequence[Told], severity: str = "critical") -> tuple[float, list[float], int]:
        """Return (alerts of a severity a month, delays of the incidents found, how many incidents there are)."""
        found, false = compare(self.incidents, told, self.span, self.grace_s)
        counted = false if self.incidents else told
        n = sum(one.severity == severity for one in counted if not one.eased)
        inside = [one for one in found if one.inside]
        delays = [delay for one in inside if (delay := one.delay_s()) is not None]
        return n * MONTH_S / self.seconds, delays, len(inside)


def tune(budget: float, tried: Sequence[Variant], told: Sequence[Told], log: Log) -> Tuned:
    """Propose thresholds: within the budget the fewest missed incidents, then the smallest change.

    Parameters
    ----------
    budget : pages a month; where incidents are labelled, of those outside of them.
    tried : variants that have seen the log.
    told : with the thresholds of today.
    """
    grid = [_point(one, log) for one in tried]
    by_alert: dict[str, list[Point]] = {}
    for point in grid:
        by_alert.setdefault(point.alert, []).append(point)
    others = [one for one in told if one.name not in by_alert]
    chosen = {alert: next(p for p in points if p.strictness == 1) for alert, points in by_alert.items()}
    before = _whole([*others, *_told(chosen.values())], log)
    best = _cost(chosen, others, budget, log)
    while True:
        better = min(
            ((_cost({**chosen, point.alert: point}, others, budget, log), i) for i, point in enumerate(grid)),
            default=(best, -1),
        )
        if better[0] >= best:
            break
        best = better[0]
        chosen[grid[better[1]].alert] = grid[better[1]]
    pages = {one.name: 0.0 for one in others if one.severity == "critical"}
    return Tuned(
        budget, grid, {alert: point.levels for alert, point in chosen.items() if point.strictness != 1}, before,
        _whole([*others, *_told(chosen.values())], log),
        {name: log.judge([one for one in others if one.name == name])[0] for name in pages},
    )  # fmt: skip


def _told(points: Any) -> Iterator[Told]:
    for point in points:
        yield from point.told


def _point(one: Variant, log: Log) -> Point:
    told = one.watch.told
    pages, delays, incidents = log.judge(told)
    return Point(
        one.alert, one.strictness, one.levels, told, pages, log.judge(told, "warning")[0], len(delays), incidents,
        median(delays) if delays else None,
    )  # fmt: skip


def _whole(told: Sequence[Told], log: Log) -> Whole:
    pages, delays, incidents = log.judge(sorted(told, key=lambda one: one.began))
    return Whole(pages, incidents - len(delays), median(delays) if delays else None)


def _cost(
    chosen: Mapping[str, Point], others: Sequence[Told], budget: float, log: Log
) -> tuple[float, int, float, float]:
    whole = _whole([*others, *_told(chosen.values())], log)
    change = sum(abs(point.strictness - 1) for point in chosen.values())
    return max(whole.pages_a_month - budget, 0.0), whole.missed, round(change, 9), whole.delay_s or 0.0
