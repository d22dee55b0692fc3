"""The state of a model and its evidence: states are those of its alerts; of readings where none are evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelwatch.names import OTHER, Metric
from modelwatch.server import charts, words
from modelwatch.server.standing import ALERTS_OF, Standing, standing_of
from modelwatch.server.words import NBSP, clean, finite

VERDICTS = {"ok": "Healthy", "crit": "Failing", "warn": "Degraded", "unk": "Cannot tell"}
TITLES = {
    "request_rate": "Request rate",
    "error_ratio": "Error rate",
    "slow_ratio": "Latency",
    "prediction_share": "Prediction mix",
}
_OUTCOMES = {"ok": "ok", "firing": "warn"}  # every other outcome is one that cannot tell
SHORT = 100  # characters of evidence that leave room for a second sentence on one line
LONG = 130  # characters of evidence that are one line
_WORST_FIRST = ("crit", "warn", "unk", "info", "ok", "none")

Model = Mapping[str, Any]


class Check(NamedTuple):
    """One reading: a signal's number and whether it is ok, firing, or without an answer."""

    signal: str
    title: str
    label: str
    value: float | None
    samples: int
    state: str
    reason: str
    limit: float | None


def _judged(check: Check, standing: Standing | None) -> Check:
    """Return a check with the state of its alerts; beyond its limit for less than they wait, it is information."""
    if standing is None or standing.reason or check.signal not in ALERTS_OF:
        return check
    fires = standing.state_of(*ALERTS_OF[check.signal])
    return check._replace(state=fires or ("info" if check.state == "warn" else check.state))


class Verdict(NamedTuple):
    """The band on top: state, word, one clause, one sentence of evidence."""

    state: str
    word: str
    clause: str
    evidence: str


class View:
    """One model of a status with the clock and the window that its numbers belong to."""

    def __init__(self, status: Mapping[str, Any], model: Model) -> None:
        self.model = model
        self.now = finite(status.get("now")) or 0.0
        picked = finite((status.get("range") or {}).get("to"))
        self.until = self.now if picked is None else min(picked, self.now)
        self.window = words.span(finite(status.get("window_s")))
        self.data_age_s = finite(status.get("data_age_s"))
        self.name = clean(model.get("name", ""))
        self.version = clean(model.get("version", ""), 40)
        self.regression = model.get("task") == "regression"
        self.details: Mapping[str, Any] = model.get("details") or {}
        self.history: Mapping[str, Any] = model.get("history") or {}
        self.standing = standing_of(status, model)
        self.checks = [_judged(_check(reading), self.standing) for reading in model.get("readings") or ()]
        live: Mapping[str, Any] = status.get("live") or {}
        self.unread = clean(live.get("reason") or "no reason is known", 200).rstrip(".") if not live.get("kept") else ""
        states = ["ok" if c.state == "info" else c.state for c in self.checks] or ["unk"]
        found = worst([*states, *([self.standing.worst] if self.standing else [])])
        self.state = "unk" if found == "ok" and self.unread else found  # old counts do not prove health

    def of(self, signal: str) -> list[Check]:
        """Return the checks of one signal."""
        return [c for c in self.checks if c.signal == signal]

    def detail(self, key: str) -> float | None:
        """Return a number of the window, or None."""
        return finite(self.details.get(key))

    def count(self, key: str) -> str:
        """Return a count of the window as text."""
        return words.number(self.detail(key))

    def incomplete(self, metric: Metric, what: str) -> str:
        """Return the sentence of a metric with a label over its cap, empty when all of its values are told apart."""
        n = finite((self.details.get("incomplete") or {}).get(metric.name))
        return f"Incomplete: {words.number(n)} {what} over the cap of labels are together in {OTHER}." if n else ""

    def series(self, values: Any) -> charts.Series:
        """Return a list of the history on its steps of time, without the steps before the first request was counted."""
        first = next((i for i, v in enumerate(self.history.get("request_rate") or ()) if finite(v) is not None), 0)
        start = (self.history.get("start") or ())[first:]
        return charts.Series(
            start,
            (values or ())[first:],
            finite(self.history.get("step_s")) or 60.0,
            self.until,
            self.until == self.now,
        )


def _check(reading: Mapping[str, Any]) -> Check:
    signal = str(reading.get("signal", ""))
    return Check(
        signal,
        TITLES.get(signal) or clean(reading.get("title") or signal, 60),
        clean((reading.get("labels") or {}).get("predicted_class", "")),
        finite(reading.get("value")),
        int(finite(reading.get("samples")) or 0),
        _OUTCOMES.get(str(reading.get("outcome")), "unk"),
        clean(reading.get("reason") or "", 200).rstrip("."),
        finite(reading.get("limit")),
    )


def worst(states: Sequence[str]) -> str:
    """Return the state that speaks for all: warning before cannot tell before ok; `none` of nothing.

    Examples
    --------
    >>> worst(["ok", "unk", "ok"]), worst([])
    ('unk', 'none')
    """
    return min(states, key=_WORST_FIRST.index, default="none")


def sentence(text: str) -> str:
    """Return words as a sentence: a capital in front, a full stop behind."""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def verdict(view: View) -> Verdict:
    """Return the one state of a model with its evidence."""
    if view.standing is not None and view.standing.worst in {"crit", "warn"}:
        return _fires(view, view.standing)
    firing = [c for c in view.checks if c.state == "warn"]
    silent = [c for c in view.checks if c.state == "unk"]
    word = VERDICTS[view.state]
    if firing:
        subject = words.listed(_titles(firing)).capitalize()
        one = len(_titles(firing)) == 1
        clause = f"{subject[0].lower()}{subject[1:]} {'is beyond its limit' if one else 'are beyond their limits'}"
        rest = [f"No answer: {words.listed(_titles(silent)).lower()}."] if silent else []
        good = [t for t in _titles(view.checks) if t not in _titles(firing + silent)]
        rest += [f"Still OK: {words.listed(good).lower()}."] if good else []
        return Verdict("warn", word, clause, " ".join([*(finding(view, c) for c in firing[:3]), *rest]))
    if not view.checks:
        return Verdict("unk", word, "nothing is checked", "No check has run for this model. That is not health.")
    if view.standing is not None and view.standing.worst == "unk":
        return _unjudged(view.standing)
    if silent:
        reasons = {c.reason for c in silent}
        whole = len(reasons) == 1 and len(silent) == len(view.checks) and silent[0].reason
        clause = silent[0].reason if whole else f"{len(silent)} of {len(view.checks)} checks have no answer"
        return Verdict("unk", word, clause, _silence(view, silent))
    if view.unread:
        told = f"The numbers below may be old: {view.unread}. Nothing was firing when they were read."
        return Verdict("unk", word, "the counts cannot be read", told)
    return Verdict("ok", word, "nothing is firing", _all_well(view))


def _fires(view: View, standing: Standing) -> Verdict:
    """Return the state of alerts that fire: the worst with its numbers, the others by their names."""
    told = [alert for alert in standing.firing if alert.state in {"crit", "warn"}]
    titles = list(dict.fromkeys(alert.title for alert in told))
    others = f" Also: {words.listed(titles[1:4])}." if len(titles) > 1 else ""
    first = told[0].description
    described = f"{first}{others}" if len(first) + len(others) < LONG else first
    good = [t for t in _titles(view.checks) if all(c.state in {"ok", "none"} for c in view.checks if c.title == t)]
    still = f" Still OK: {words.listed(good).lower()}." if good and len(described) < SHORT else ""
    more = "" if len(titles) == 1 else f", and {words.plural(len(titles) - 1, 'more alert fires', 'more alerts fire')}"
    return Verdict(view.state, VERDICTS[view.state], f"{titles[0]}{more}", f"{described}{still}")


def _unjudged(standing: Standing) -> Verdict:
    """Return that alerts cannot be told: nobody evaluates them, or one says so itself."""
    if standing.reason:
        told = f"No alert can be told: {standing.reason}. Silence is not health: check modelwatch serve."
        return Verdict("unk", VERDICTS["unk"], "the alerts are not evaluated", told)
    first = next(alert for alert in standing.firing if alert.state == "unk")
    return Verdict("unk", VERDICTS["unk"], first.title, f"{first.description} Nothing else is firing.")


def _titles(checks: Sequence[Check]) -> list[str]:
    return list(dict.fromkeys(c.title for c in checks))


def _silence(view: View, silent: Sequence[Check]) -> str:
    """Return what has no answer, why, and what to do."""
    told = dict.fromkeys((c.title, c.reason) for c in silent)
    why = [f"{title}: {reason}." if reason else f"{title}: no answer." for title, reason in list(told)[:2]]
    if len({c.reason for c in silent}) == 1 and len(silent) == len(view.checks):
        why = [f"{words.plural(len(silent), 'check', 'checks')} without an answer."]
    if not view.detail("requests"):
        if view.data_age_s is not None and view.data_age_s > 30:
            why.append(f"The newest data are {words.age(view.data_age_s)} old.")
        return " ".join([*why, "Silence is not health: check that the service runs and is being asked."])
    return " ".join([*why, "Nothing is firing, but this is not the same as healthy."])


def _all_well(view: View) -> str:
    parts = [f"{view.count('requests')} requests in the last {view.window}"]
    parts += [f"{words.percent(c.value, 2)} failed" for c in view.of("error_ratio") if c.value is not None]
    if view.detail("p95_s") is not None:
        parts.append(f"95{NBSP}% answered within {words.latency(view.detail('p95_s'))}")
    if view.standing is not None:
        return f"{sentence(', '.join(parts))} {alerts_answered(view.standing)}"
    return f"{sentence(', '.join(parts))} {_checks_answered(len(view.checks))}"


def alerts_answered(standing: Standing) -> str:
    """Return how many alerts were checked, and whether all have an answer."""
    silent = len(standing.silent)
    checked = words.plural(standing.count, "alert was checked", "alerts were checked")
    return f"{checked}; {f'{silent} without an answer' if silent else 'all have an answer'}."


def _checks_answered(count: int) -> str:
    return "The one check has an answer." if count == 1 else f"All {count} checks have an answer."


def finding(view: View, check: Check) -> str:
    """Return the sentence of one firing check: its number, then its limit."""
    limit = f" Limit: {words.limit_percent(check.limit)}." if check.limit is not None else ""
    if check.signal == "error_ratio":
        failed = f"{view.count('failed')} of {words.number(check.samples)} requests failed"
        return f"{failed} in the last {view.window} ({words.percent(check.value, 2)}).{limit}"
    if check.signal == "slow_ratio":
        than = words.limit_latency(view.detail("latency_threshold_s"))
        return f"{words.percent(check.value)} of requests are slower than {than}.{limit}"
    if check.signal == "prediction_share":
        return f"{words.percent(check.value)} of the answers are {check.label}.{limit}"
    if check.signal == "request_rate":
        bound = f" Limit: {words.rate(check.limit)}." if check.limit is not None else ""
        return f"{words.rate(check.value)} are finished.{bound}"
    return f"{check.title}: {words.rate_number(check.value)}.{limit.replace(NBSP + '%', '')}"
