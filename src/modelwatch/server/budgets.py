"""Objectives as the pages show them: state, budget, speed and forecast of each, the most urgent first; one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import words
from modelwatch.server.health import Verdict, worst
from modelwatch.server.standing import Standing
from modelwatch.server.words import MISSING, NBSP, clean, finite, limit_percent, number, percent, plural

TITLES = {
    "latency": "Latency", "availability": "Availability", "error_rate": "Error rate", "accuracy": "Accuracy",
    "throughput": "Throughput", "cost": "Cost",
}  # fmt: skip
EVENTS = {
    "latency": ("slow", "requests"), "availability": ("down", "minutes"), "error_rate": ("failed", "requests"),
    "accuracy": ("wrong, weighted", "labels"), "throughput": ("not held", "minutes"),
    "cost": ("spent", "allowed"),
}  # fmt: skip
Plain = Mapping[str, Any]


class Row(NamedTuple):
    """One objective. `left` : part of the budget that is left; None where it cannot be told."""

    kind: str
    title: str
    good: str
    state: str
    word: str
    kept: str
    promised: str
    left: float | None
    said: str
    bar: Markup
    burns: Sequence[tuple[str, str]]
    lasts: str
    days: Markup
    since: float | None


class Budgets(NamedTuple):
    """All objectives of a model. `why` : they cannot be told; `nobody` : nobody looks at them here."""

    rows: Sequence[Row]
    why: str = ""
    nobody: bool = False


def budgets(status: Plain, model: Plain | None, standing: Standing | None) -> Budgets:
    """Return the objectives of a model, the most urgent first."""
    held = status.get("slos")
    if not isinstance(held, Mapping):
        return Budgets((), nobody=True)
    if held.get("reason"):
        return Budgets((), why=clean(held["reason"], 200).rstrip("."))
    models: Plain = held.get("models") or {}
    judged = standing if standing is not None and not standing.reason else None
    rows = [_row(one, judged) for one in models.get((model or {}).get("name", "")) or () if isinstance(one, Mapping)]
    order = ("crit", "warn", "unk", "info", "ok")
    return Budgets(sorted(rows, key=lambda row: (order.index(row.state), 1.0 if row.left is None else row.left)))


def _row(one: Plain, standing: Standing | None) -> Row:
    kind, objective = str(one.get("slo", "")), finite(one.get("objective"))
    left, told = finite(one.get("remaining")), str(one.get("state"))
    state, word = {"meeting": ("ok", "Meeting"), "broken": ("warn", "Violated")}.get(told, ("unk", "Cannot tell"))
    since = None
    if standing is not None:
        burning = standing.state_of("SLOBurnRate", slo=kind)
        spent = standing.state_of("SLOBudgetExhausted", slo=kind)
        fires = [s for s in (burning, spent) if s]
        if fires:
            state = worst(fires)
            since = min(
                (a.since for a in standing.of("SLOBurnRate", "SLOBudgetExhausted", slo=kind) if a.since), default=None
            )
            word = "Burning" if word == "Meeting" else word
    shares = kind not in {"throughput", "cost"}
    promised = limit_percent(objective) if shares else _plain(objective)
    good = clean(one.get("good") or "", 200)
    if shares and objective is not None:
        good = good.replace(f"{objective:.4g} of", f"{promised} of")
    hour, day = finite(one.get("burn_hour")), finite(one.get("burn_day"))
    return Row(
        kind, TITLES.get(kind, clean(kind, 40)), good, state, word, _kept(one, kind), promised, left,
        _said(one, kind, left), Markup(budget_bar(left)), [("1 h", _times(hour)), ("1 d", _times(day))],
        _lasts(one, left), Markup(day_bars(one.get("by_day"))), since,
    )  # fmt: skip


def _kept(one: Plain, kind: str) -> str:
    kept = finite(one.get("compliance"))
    if kind == "throughput" and finite(one.get("held")) is not None:
        return words.rate(finite(one.get("held")))
    if kept is None or kept >= 1:
        return MISSING if kept is None else percent(1.0, 0)
    return f">{NBSP}{percent(0.9999, 2)}" if kept > 0.99995 else percent(kept, 2 if kept > 0.99 else 1)


def _plain(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.6g}"


def _times(burn: float | None) -> str:
    return MISSING if burn is None else f"{number(burn, 2 if burn < 10 else 1)}{NBSP}×"


def _said(one: Plain, kind: str, left: float | None) -> str:
    """Return the budget in words, with the counts that it is made of."""
    if left is None:
        return clean(one.get("reason") or "cannot be told", 200)
    bad, valid = finite(one.get("bad")), finite(one.get("valid"))
    budget = f"{percent(-left, 0)} over budget" if left < 0 else f"{percent(left, 0)} left"
    if bad is None or valid is None or kind not in EVENTS:
        return budget
    what, of = EVENTS[kind]
    digits = 2 if kind == "cost" else 0
    return f"{budget} · {number(bad, digits)} of {number(valid, digits)} {of}{'' if kind == 'cost' else f' {what}'}"


def _lasts(one: Plain, left: float | None) -> str:
    told = one.get("forecast")
    said = told[3] if isinstance(told, (list, tuple)) and len(told) > 3 else None
    if left is None:
        return "Cannot tell"
    said = clean(said or "cannot tell", 80)
    return {"not at this rate": "Not spent at this rate", "spent": "Spent"}.get(said, f"Spent {said}")


def budget_bar(left: float | None, *, height: int = 12) -> str:
    """Return the budget as a bar: 0 at a third with a line, all of it at the right, what is overspent to the left."""
    zero = 100 / 3
    whole = f'<rect class="bb" width="100%" height="{height}" rx="2"/>'
    if left is None:
        whole += f'<rect width="100%" height="{height}" fill="url(#mw-hatch)"/>'
    else:
        end = min(100.0, max(0.0, zero + (100 - zero) * left))
        begin, wide = min(zero, end), abs(end - zero)
        whole += f'<rect class="bf s" x="{begin:.4g}%" width="{wide:.4g}%" height="{height}"/>'
    line = f'<line class="zero" x1="{zero:.4g}%" x2="{zero:.4g}%" y1="-3" y2="{height + 3}"/>'
    return f'<svg class="share over" width="100%" height="{height}" aria-hidden="true">{whole}{line}</svg>'


def day_bars(days: Any, *, height: int = 30) -> str:
    """Return what was spent on each day as bars, today at the right; dashed: a day's fair part of the budget."""
    held = [finite(day) for day in days][-31:] if isinstance(days, (list, tuple)) else []
    if not held:
        return ""
    fair = 1 / len(held)
    top = max([2 * fair, *(value for value in held if value is not None)])
    wide = 100 / len(held)
    bars = []
    for i, value in enumerate(held):
        place = f'x="{i * wide + wide * 0.12:.4g}%" width="{wide * 0.76:.4g}%"'
        if value is None:
            bars.append(f'<rect class="bb" {place} y="{height - 2}" height="2"/>')
        else:
            tall = max(1.0, height * min(1.0, max(0.0, value) / top))
            bars.append(
                f'<rect class="bf{" s" if value > fair else ""}" {place} y="{height - tall:.4g}" height="{tall:.4g}"/>'
            )
    row = height - height * fair / top
    known = [value for value in held if value is not None]
    label = "Nothing was counted." if not known else f"Most of the budget that one day spent: {percent(max(known), 0)}."
    return (
        f'<svg class="share" width="100%" height="{height}" role="img" aria-label="{label}">{"".join(bars)}'
        f'<line class="limit" x1="0" x2="100%" y1="{row:.4g}" y2="{row:.4g}"/></svg>'
    )


def slos_verdict(found: Budgets) -> Verdict:
    """Return whether all objectives are met, and which is the most urgent."""
    if found.nobody:
        told = (
            "This page of the service has no account of budgets. Run modelwatch serve: it keeps it and shows it here."
        )
        return Verdict("none", "Not evaluated", "nobody looks at the objectives here", told)
    if found.why:
        return Verdict("unk", "Cannot tell", "the budgets cannot be read", f"{found.why}.")
    if not found.rows:
        return Verdict(
            "none", "No objectives", "nothing is promised of this model", "Below stands how to promise something."
        )
    broken = [row for row in found.rows if row.word == "Violated"]
    burning = [row for row in found.rows if row.word == "Burning"]
    silent = [row for row in found.rows if row.state == "unk"]
    state = worst([row.state for row in found.rows])
    unsaid = f" No answer: {words.listed([row.title.lower() for row in silent])}." if silent else ""
    if broken and found.rows[0].word != "Burning":
        clause = f"{words.listed([row.title.lower() for row in broken])} {'is' if len(broken) == 1 else 'are'} not kept"
        first = broken[0]
        told = f"{first.title}: {first.kept} of the promised {first.promised}, {first.said}. Hold risky changes."
        return Verdict(state, "Violated", clause, f"{told}{unsaid}")
    if burning:
        clause = f"the budget of {words.listed([row.title.lower() for row in burning])} goes too fast"
        first = burning[0]
        also = f" Not kept: {words.listed([row.title.lower() for row in broken])}." if broken else ""
        told = f"{first.title}: {first.said}. {first.lasts}. Hold risky changes.{also}"
        return Verdict(state, "Burning", clause, f"{told}{unsaid}")
    if silent:
        met = plural(len(found.rows) - len(silent), "objective is", "objectives are")
        told = f"{silent[0].title}: {silent[0].said}. {met} met."
        return Verdict("unk", "Cannot tell", f"{len(silent)} of {len(found.rows)} objectives have no answer", told)
    first = found.rows[0]
    told = f"The least budget is left of {first.title.lower()}: {first.said}."
    return Verdict("ok", "Meeting", "all objectives are met", told)
