"""One evaluation of all rules of a model: which alerts fire or wait, what changed, and why the others are quiet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelwatch.alerts.conditions import COMPARE, Key, Truth
from modelwatch.alerts.culprits import culprits
from modelwatch.alerts.rule import SEVERITIES, Rule
from modelwatch.alerts.state import INACTIVE, AlertState, Change, Phase, step
from modelwatch.alerts.words import ago, amount, window_words
from modelwatch.signals import Look, Outcome

#: While one of the first fires, the others of the service are quiet: they would only say the same again.
SILENCES = ("ServiceDown",)
ALWAYS_ON = "Watchdog"
_GONE = Truth(None, None, None, 0, "nothing is counted of it any more")


class Verdict(NamedTuple):
    """What one look says of one alert.

    labels : of this alert, beside the model.
    change : what happened at this look.
    silenced_by : the alert that says it already; empty for none.
    """

    rule: Rule
    labels: Mapping[str, str]
    truth: Truth
    state: AlertState
    change: Change
    silenced_by: str = ""

    @property
    def phase(self) -> Phase:
        """Where it is in its life."""
        return self.state.phase

    @property
    def outcome(self) -> Outcome:
        """Return firing, ok, or that some of it cannot be told."""
        if self.state.phase == "firing":
            return "firing"
        return "cannot_tell" if self.truth.holds is None or self.truth.reason else "ok"

    @property
    def key(self) -> str:
        """Its name in the states."""
        return key_of(self.rule, self.labels)


@dataclass(frozen=True)
class Evaluation:
    """The verdicts of one look, and the states to go on from."""

    verdicts: tuple[Verdict, ...]
    states: Mapping[str, AlertState]

    @property
    def firing(self) -> list[Verdict]:
        """Those that fire and that nobody else says already, the worst first; the watchdog is left out."""
        found = [
            verdict
            for verdict in self.verdicts
            if verdict.phase == "firing" and not verdict.silenced_by and verdict.rule.name != ALWAYS_ON
        ]
        return sorted(found, key=lambda verdict: SEVERITIES.index(verdict.rule.severity))


def key_of(rule: Rule, labels: Mapping[str, str]) -> str:
    """Return the name of an alert in the states."""
    return f"{rule.key}/{','.join(f'{name}={value}' for name, value in labels.items())}"


def evaluate(rules: Iterable[Rule], look: Look, states: Mapping[str, AlertState]) -> Evaluation:
    """Evaluate rules once. Deterministic in the rules, the look and the states.

    Parameters
    ----------
    states : those that the last evaluation left; alerts that are not in it are inactive.
    """
    verdicts: list[Verdict] = []
    left: dict[str, AlertState] = {}
    for rule in rules:
        truths = dict(rule.condition.evaluate(look))
        prefix = f"{rule.key}/"
        known = {prefix + ",".join(f"{n}={v}" for n, v in labels): labels for labels in truths}
        for key in states:
            if key.startswith(prefix) and key not in known:  # a version or a segment that is gone
                labels = _labels(key[len(prefix) :])
                truths[labels], known[key] = _GONE, labels
        for key, labels in known.items():
            truth = truths[labels]
            state, change = step(states.get(key, INACTIVE), truth.holds, look.now, for_s=rule.for_s, keep_s=rule.keep_s)
            if state is not INACTIVE:
                left[key] = state
            verdicts.append(Verdict(rule, dict(labels), truth, state, change))
    return Evaluation(tuple(_silenced(verdicts)), left)


def _labels(text: str) -> Key:
    return tuple((name, value) for name, _, value in (pair.partition("=") for pair in text.split(",")) if name)


def _silenced(verdicts: list[Verdict]) -> list[Verdict]:
    """Mark what a worse alert says already: of the same name and labels, or of the whole service."""
    firing = [verdict for verdict in verdicts if verdict.phase == "firing"]
    down = next((verdict for verdict in firing if verdict.rule.name in SILENCES), None)
    worst: dict[tuple[object, ...], Rule] = {}
    for verdict in firing:
        known = worst.get(_same(verdict))
        if known is None or _rank(verdict.rule) < _rank(known):
            worst[_same(verdict)] = verdict.rule
    found = []
    for verdict in verdicts:
        rule, by = verdict.rule, ""
        if verdict.phase != "inactive" and rule.name != ALWAYS_ON:
            worse = worst.get(_same(verdict))
            if down is not None and rule.name not in SILENCES:
                by = down.rule.name
            elif worse is not None and _rank(worse) < _rank(rule):
                by = f"{worse.name} ({worse.severity})"
        found.append(verdict._replace(silenced_by=by) if by else verdict)
    return found


def _rank(rule: Rule) -> tuple[int, float]:
    return SEVERITIES.index(rule.severity), -rule.urgency


def _same(verdict: Verdict) -> tuple[object, ...]:
    fixed = verdict.rule.labels
    return verdict.rule.name, fixed.get("slo"), fixed.get("kind"), tuple(sorted(verdict.labels.items()))


# -- for people --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """An alert in words: one line, some sentences, where to look and what to do."""

    summary: str
    description: str
    culprits: tuple[str, ...]
    dashboard: str
    runbook: str


_PAGES = {
    "DataDriftDetected": "drift", "ConceptDriftDetected": "drift", "MissingValues": "drift",
    "LowModelAccuracy": "quality", "SegmentAccuracyLow": "quality", "HighLowConfidencePredictions": "quality",
    "LabelStarvation": "review", "SLOBurnRate": "slos", "SLOBudgetExhausted": "slos", "MonitorUnhealthy": "monitor",
}  # fmt: skip


def message(verdict: Verdict, look: Look, base_url: str = "") -> Message:
    """Return a verdict in words, with what is behind it.

    base_url : of the pages; links are relative without it.
    """
    rule, truth = verdict.rule, verdict.truth
    lead = rule.condition.lead
    words = {
        "model": rule.model, **rule.labels, **verdict.labels,
        "value": amount(truth.value, lead.signal.unit), "limit": amount(truth.limit, lead.signal.unit),
        "window": window_words(lead.window_s), "samples": f"{truth.samples:,}",
    }  # fmt: skip
    behind = culprits(rule, look, verdict.labels)
    page = _PAGES.get(rule.name, "")
    url = base_url.rstrip("/")
    return Message(
        rule.summary.format_map(_Known(words)), rule.description.format_map(_Known(words)), behind,
        f"{url}/{page}?model={rule.model}", f"{url}/runbooks/{rule.name}",
    )  # fmt: skip


class _Known(dict[str, str]):
    """Values of a template; one that is not known reads as "?"."""

    def __missing__(self, key: str) -> str:
        return "?"


def why_quiet(verdict: Verdict, now: float) -> str:
    """Return why an alert is not firing, or since when it is."""
    rule, truth, state = verdict.rule, verdict.truth, verdict.state
    if state.phase == "firing":
        if verdict.silenced_by:
            return f"firing for {ago(now - state.since)}, said by {verdict.silenced_by}"
        held = "" if truth.holds is not False else ", not seen any more"
        lost = "" if truth.holds is not None else f", cannot be told now: {truth.reason}"
        return f"firing for {ago(now - state.since)}{held}{lost}"
    if state.phase == "pending":
        return f"for {ago(now - state.since)} of {ago(rule.for_s)}"
    if verdict.outcome == "cannot_tell":
        return truth.reason
    lead = rule.condition.lead
    if truth.holds is False and truth.value is not None:
        value, limit = (amount(each, lead.signal.unit) for each in (truth.value, truth.limit))
        beyond = truth.limit is not None and COMPARE[lead.op](truth.value, truth.limit)
        return f"{value}, fires at {lead.op} {limit}" + (", with more that does not hold" if beyond else "")
    return "quiet"


def verdict_dict(verdict: Verdict, look: Look) -> dict[str, Any]:
    """Return a verdict as plain values; with its words where it is not quiet."""
    rule = verdict.rule
    found: dict[str, Any] = {
        "alert": rule.name, "severity": rule.severity, "model": rule.model,
        "labels": {**rule.labels, **verdict.labels}, "state": verdict.phase, "outcome": verdict.outcome,
        "value": verdict.truth.value, "limit": verdict.truth.limit, "op": rule.condition.lead.op,
        "unit": rule.condition.lead.signal.unit, "samples": verdict.truth.samples, "for_s": rule.for_s,
        "since": verdict.state.since if verdict.phase != "inactive" else None,
        "why": why_quiet(verdict, look.now), "silenced_by": verdict.silenced_by or None,
    }  # fmt: skip
    if verdict.phase != "inactive":
        told = message(verdict, look)
        found |= {
            "summary": told.summary, "description": told.description, "culprits": list(told.culprits),
            "dashboard": told.dashboard, "runbook": told.runbook,
        }  # fmt: skip
    return found
