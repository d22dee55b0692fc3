"""What the alerts of a status say of one model: which fire, wait or cannot tell, and why the others are quiet."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelwatch.alerts import ALWAYS_ON
from modelwatch.alerts.words import amount
from modelwatch.server import words
from modelwatch.server.words import NBSP, clean, finite

STALE_S = 60.0  # since the last evaluation; from then on it proves nothing
MANY = 400  # verdicts that are read
STATES = {"critical": "crit", "warning": "warn", "info": "info"}
#: Alerts as sentences without a number, so that they can be read aloud again and again.
TITLES = {
    "HighErrorRate": "too many requests fail",
    "HighLatencyP95": "too many requests are slow",
    "LatencyTrend": "answers become slower",
    "ServiceDown": "the service does not answer",
    "ReplicaDown": "a replica does not answer",
    "TrafficStopped": "no requests come any more",
    "MetricsAbsent": "the service reports nothing",
    "LowModelAccuracy": "accuracy is too low",
    "SegmentAccuracyLow": "accuracy is too low for {segment}",
    "DataDriftDetected": "{feature_name} has drifted",
    "ConceptDriftDetected": "the answers have drifted: {of}",
    "HighLowConfidencePredictions": "the model is unsure of too many answers",
    "MissingValues": "values of {feature_name} are missing",
    "LabelStarvation": "no labels come any more",
    "SLOBurnRate": "the error budget of {slo} burns too fast",
    "SLOBudgetExhausted": "the error budget of {slo} is spent",
    "CannotTell": "{what} cannot be told",
    "MonitorUnhealthy": "the monitor itself is not well",
    ALWAYS_ON: "alerting works",
}
#: The signals of the first page, and the alerts whose state they have.
ALERTS_OF = {
    "error_ratio": ("HighErrorRate",),
    "slow_ratio": ("HighLatencyP95",),
    "request_rate": ("TrafficStopped", "MetricsAbsent", "ServiceDown"),
}
_WORST = ("crit", "warn", "unk", "info")


class Alert(NamedTuple):
    """One alert in words.

    state : of one that fires: crit, warn, info, or unk where it says that something cannot be told.
    now, limit : its value and where it fires, with units. beyond : whether the value is
    beyond the limit; one that is quiet then needs more to fire.
    """

    name: str
    title: str
    severity: str
    state: str
    labels: Mapping[str, str]
    phase: str
    outcome: str
    now: str
    limit: str
    beyond: bool
    since: float | None
    for_s: float
    why: str
    said_by: str
    summary: str
    description: str
    culprits: Sequence[str]
    page: str


@dataclass(frozen=True)
class Standing:
    """The alerts of one model, each list as it is to be read.

    said : those that fire, but another one says it already. reason : why there is no evaluation now; empty where
    there is one.
    """

    firing: Sequence[Alert]
    pending: Sequence[Alert]
    said: Sequence[Alert]
    silent: Sequence[Alert]
    quiet: Sequence[Alert]
    age_s: float | None
    reason: str

    @property
    def count(self) -> int:
        """How many checks there are."""
        return sum(len(held) for held in (self.firing, self.pending, self.said, self.silent, self.quiet))

    @property
    def worst(self) -> str:
        """The state of the worst that fires; `unk` where nobody evaluates, `ok` where nothing fires but information."""
        states = [alert.state for alert in self.firing if alert.state != "info"]
        if self.reason:
            states.append("unk")
        return min(states, key=_WORST.index, default="ok")

    def of(self, *names: str, **labels: str) -> list[Alert]:
        """Return the alerts of these names that fire, with these labels."""
        held = (*self.firing, *self.said)
        return [a for a in held if a.name in names and all(a.labels.get(k) == v for k, v in labels.items())]

    def state_of(self, *names: str, **labels: str) -> str:
        """Return the state of the worst of these alerts that fire; empty where none does."""
        return min((a.state for a in self.of(*names, **labels)), key=_WORST.index, default="")


def standing_of(status: Mapping[str, Any], model: Mapping[str, Any] | None) -> Standing | None:
    """Return the alerts of a model; None where nobody evaluates at all, as on a page of the service alone."""
    held = status.get("alerts")
    if not isinstance(held, Mapping):
        return None
    name = (model or {}).get("name", "")
    found = [
        _alert(one)
        for one in (held.get("alerts") or ())[:MANY]
        if isinstance(one, Mapping) and (one.get("model") or name) == name and one.get("alert") != ALWAYS_ON
    ]
    firing = [alert for alert in found if alert.phase == "firing"]
    idle = [alert for alert in found if alert.phase not in {"firing", "pending"}]
    evaluation: Mapping[str, Any] = status.get("evaluation") or {}
    age_s = finite(evaluation.get("evaluated_s_ago"))
    return Standing(
        sorted((a for a in firing if not a.said_by), key=lambda a: (_WORST.index(a.state), a.since or 0.0, a.title)),
        sorted((a for a in found if a.phase == "pending" and not a.said_by), key=lambda a: (a.since or 0.0, a.title)),
        [a for a in found if a.said_by],
        [a for a in idle if a.outcome == "cannot_tell"],
        [a for a in idle if a.outcome != "cannot_tell"],
        age_s,
        _why_not(evaluation, age_s),
    )


def _why_not(evaluation: Mapping[str, Any], age_s: float | None) -> str:
    reason = clean(evaluation.get("reason") or "", 200).rstrip(".")
    if age_s is None:
        return reason or "no evaluation has been made yet"
    if age_s > STALE_S:
        return f"the last evaluation was {words.age(age_s)} ago" + (f": {reason}" if reason else "")
    return ""


def _alert(one: Mapping[str, Any]) -> Alert:
    name, severity = clean(one.get("alert", ""), 60), str(one.get("severity", ""))
    labels = {str(key): clean(value, 80) for key, value in (one.get("labels") or {}).items()}
    unit, limit = clean(one.get("unit") or "", 20), _amount(one.get("limit"), one.get("unit"))
    op = clean(one.get("op") or "", 2)
    return Alert(
        name, title_of(name, labels), clean(severity, 20),
        "unk" if name == "CannotTell" else STATES.get(severity, "info"), labels,
        str(one.get("state", "")), str(one.get("outcome", "")),
        _amount(one.get("value"), unit), _OPS.get(op, "at {}").format(limit) if limit else "",
        _is_beyond(one), finite(one.get("since")), finite(one.get("for_s")) or 0.0,
        clean(one.get("why") or "", 300), clean(one.get("silenced_by") or "", 80),
        clean(one.get("summary") or "", 300), clean(one.get("description") or "", 800),
        [clean(text, 400) for text in (one.get("culprits") or ())[:5]],
        str(one.get("dashboard") or "").partition("?")[0],
    )  # fmt: skip


_COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_OPS = {">": "over {}", ">=": "at {}", "<": "under {}", "<=": "at {} or less"}


def _amount(value: Any, unit: Any) -> str:
    known = finite(value)
    if known is None:
        return ""
    if unit not in {"ratio", "score", "times", ""} and known == int(known):
        return f"{words.number(known)}{NBSP}{clean(unit, 20)}"
    return amount(known, str(unit or "")).replace(" ", NBSP).replace("-", "\N{MINUS SIGN}")


def _is_beyond(one: Mapping[str, Any]) -> bool:
    value, limit = finite(one.get("value")), finite(one.get("limit"))
    compare = _COMPARE.get(str(one.get("op")))
    return value is not None and limit is not None and compare is not None and compare(value, limit)


class _Named(dict[str, str]):
    """Labels of a title; one that is missing is only called by its name."""

    def __missing__(self, key: str) -> str:
        return {"feature_name": "a feature", "segment": "a segment", "slo": "an objective"}.get(key, "something")


def title_of(name: str, labels: Mapping[str, str]) -> str:
    """Return an alert as a sentence without its number.

    Examples
    --------
    >>> title_of("DataDriftDetected", {"feature_name": "text_length"})
    'text_length has drifted'
    """
    title = TITLES.get(name)
    called = {key: value.replace("_", " ") if key == "slo" else value for key, value in labels.items()}
    return name if title is None else title.format_map(_Named(called))
