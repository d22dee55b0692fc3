"""The pages on the health of a model and of modelwatch itself, whole and in the parts that the refresh replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelwatch.server import words
from modelwatch.server.budgets import budgets
from modelwatch.server.frame import (
    ALERTS_PAGE,
    HEALTH,
    MONITOR,
    PATHS,
    QUALITY,
    RUNBOOKS,
    SLOS,
    Act,
    band,
    choose,
    document,
    frame,
    page_title,
    query,
    render,
)
from modelwatch.server.health import VERDICTS, View, alerts_answered, sentence, verdict
from modelwatch.server.itself import Line, itself
from modelwatch.server.overview import SHOWN_FIRING, budget_lines, ended_lines, firing_lines, moment
from modelwatch.server.panels import panels
from modelwatch.server.rightpanel import right_panel
from modelwatch.server.standing import Standing
from modelwatch.server.words import clean, finite


class Fact(NamedTuple):
    """A line of a list of facts; with a state only when it is not as it should be."""

    term: str
    value: str
    state: str


def health_page(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> str:
    """Return the health page of one model as a full HTML document.

    Parameters
    ----------
    status : mapping
        What the server knows now: clock, window, workers, and for each model its readings, details and history.
    base : str
        Path that the pages are mounted under, without a slash at the end.
    model : str, optional
        Name of the model to show; the first one when it is missing.

    Returns
    -------
    str, HTML. All text of the status is escaped; a value that is None or not finite is told in words, never drawn.

    Raises
    ------
    KeyError   `model` is not among the models of the status.
    """
    parts = health_fragments(status, base=base, model=model)
    chosen = choose(status, model)
    state = View(status, chosen).state if chosen else "unk"
    title = page_title(VERDICTS[state], model=chosen) if chosen else "modelwatch"
    return document(
        "health", parts, base, f"{base}/fragments{query(model)}", title, state, empty=chosen is None,
    )  # fmt: skip


def monitor_page(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> str:
    """Return the page on modelwatch itself as a full HTML document.

    Parameters and errors are those of `health_page`; `model` is the one that the link back to its health leads to.
    """
    parts = monitor_fragments(status, base=base, model=model)
    state = itself(status).verdict.state
    refresh = f"{base}/fragments/monitor{query(model)}"
    return document("itself", parts, base, refresh, page_title(VERDICTS[state], MONITOR), state)


def monitor_fragments(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the page on modelwatch itself, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    found = itself(status)
    said = found.verdict
    return {
        **frame(status, chosen, base, model, MONITOR),
        **band(said, MONITOR),
        "counted": _lines("Is everything counted?", _OF_ALL, found.counted, days=True),
        "kept": _lines("Is it kept?", "in the host's own live.db", found.kept),
        "used": _lines("What does it use?", _UNJUDGED, found.used, low=True),
    }


def _lines(title: str, about: str, lines: Sequence[Line], *, days: bool = False, low: bool = False) -> str:
    return render("lines", title=title, about=about, lines=lines, days=days, low=low)


_OF_ALL = "all models of this host; info is worth a look and no reason to wake up"
_UNJUDGED = "the worker processes with your model in them, and the GPUs of this host; shown, not judged"


def health_fragments(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the health page, by the name that the page gives their boxes.

    Parameters and errors are those of `health_page`; a page and its fragments of the same status are the same text.
    """
    chosen = choose(status, model)
    bits = frame(status, chosen, base, model, HEALTH)
    if chosen is None:
        return bits | {"verdict": render("no_models"), "said": "Cannot tell: no model has reported yet"}
    view = View(status, chosen)
    said = verdict(view)
    bits |= band(said, model=chosen, act=_act(view, base, model))
    held = [*panels(view), right_panel(view, chosen, f"{base}{PATHS[QUALITY]}{query(model)}")]
    bits |= {panel.key: render("panel", panel=panel) for panel in held}
    bits |= _alerted(status, view, base, model)
    bits["monitor"] = render("monitor", facts=_monitor(status, view), **_deploy(view), **_well(status, base, model))
    return bits


def _about(standing: Standing) -> str:
    """Return how many alerts fire and wait."""
    firing = len(standing.firing)
    parts = [f"{firing} firing" + (f", the {SHOWN_FIRING} most severe" if firing > SHOWN_FIRING else "")]
    parts += [f"{len(standing.pending)} pending"] if standing.pending else []
    return " · ".join(parts)


def _act(view: View, base: str, model: str | None) -> Act | None:
    """Return what to do: the runbook of the worst alert, and since when it fires."""
    if view.standing is None or view.standing.worst == "ok":
        return None
    first = next((a for a in view.standing.firing if a.state == view.standing.worst), None)
    if first is None:
        return Act("What to do", f"{base}{PATHS[ALERTS_PAGE]}{query(model)}")
    since, age = "", ""
    if first.since is not None:
        since, age = f"{moment(first.since, view.now)} UTC", words.span(max(0.0, view.now - first.since))
    return Act("Open the runbook", f"{base}{PATHS[RUNBOOKS]}/{first.name}{query(model)}", since, age)


def _alerted(status: Mapping[str, Any], view: View, base: str, model: str | None) -> dict[str, str]:
    """Return what fires, when it did, and the budgets; how to have them where nobody evaluates."""
    if view.standing is None:
        return {"firing": render("noalerts"), "budgets": ""}
    standing, href = view.standing, f"{base}{PATHS[ALERTS_PAGE]}{query(model)}"
    unread = standing.reason
    firing = render(
        "firinglines", lines=firing_lines(standing, view.now, href), ended=ended_lines(status, view.name, view.now),
        about=_about(standing), href=href, state="unk" if unread else "ok",
        empty="The alerts are not evaluated." if unread else "Nothing is firing.",
        why=sentence(unread) if unread else alerts_answered(standing),
    )  # fmt: skip
    found = budgets(status, view.model, standing)
    lines = budget_lines(found)
    all_of = f"All {words.plural(len(found.rows), 'objective', 'objectives')}"
    bars = render("budgetbars", lines=lines, href=f"{base}{PATHS[SLOS]}{query(model)}", all=all_of) if lines else ""
    return {"firing": firing, "budgets": bars}


def _monitor(status: Mapping[str, Any], view: View) -> list[Fact]:
    """Return whether modelwatch itself is well: who reports, how fresh, what was refused, where counts are kept."""
    workers, live = status.get("workers") or {}, status.get("live") or {}
    alive, died = finite(workers.get("alive")), finite(workers.get("died"))
    where = clean(live.get("path") or "no file")
    reason = clean(live.get("reason") or "no reason is known", 160)
    kept = f"over restarts, in {where}" if live.get("kept") else f"not kept: {reason}"
    workers_words = f"{words.number(alive)} reporting, {words.number(died)} died"
    stale = view.data_age_s is None or view.data_age_s > 30
    newest = "none yet" if view.data_age_s is None else f"{words.age(view.data_age_s)} old"
    faults = [
        ("Values refused", "refused", "their counts are missing here"),
        ("Internal errors", "internal_errors", "see the log of the service"),
        ("Labels over cap", "label_overflow", "counted together as __other__"),
    ]
    return [
        Fact("Workers", workers_words, "unk" if not alive else "info" if died else ""),
        Fact("Newest data", newest, "unk" if stale else ""),
        *(
            Fact(term, view.count(key) + (f", {hint}" if view.detail(key) else ""), "info" if view.detail(key) else "")
            for term, key, hint in faults
        ),
        *_checked(view.standing),
        Fact("Counts kept", kept, "" if live.get("kept") else "unk"),
    ]


def _deploy(view: View) -> dict[str, Any]:
    """Return the last deploy that somebody has told of, with author, note and age; without facts where nobody has."""
    told: Sequence[Mapping[str, Any]] = (view.model.get("quality") or {}).get("deploys") or ()
    if not told:
        return {"deploy": [], "deployed": ""}
    last, at = told[0], finite(told[0].get("at"))
    what = " · ".join(part for part in (clean(last.get("version", ""), 40), clean(last.get("note") or "", 200)) if part)
    who = clean(last.get("by", ""), 60)
    facts = [Fact("What", what, ""), Fact("Who, when", who if at is None else f"{who}, {words.day_and_clock(at)}", "")]
    age = "" if at is None else f"{words.age(max(0.0, view.now - at))} ago"
    return {"deploy": facts, "deployed": age}


def _checked(standing: Standing | None) -> list[Fact]:
    """Return how many alerts were checked, and how many of them have no answer."""
    if standing is None:
        return []
    if standing.reason:
        return [Fact("Alerts", "not evaluated now", "unk")]
    silent = len(standing.silent)
    told = f"{words.number(standing.count)} checked {words.age(standing.age_s)} ago"
    return [Fact("Alerts", f"{told}, {silent} without an answer" if silent else told, "unk" if silent else "")]


def _well(status: Mapping[str, Any], base: str, model: str | None) -> dict[str, str]:
    """Return whether all is well with modelwatch itself, as its own page says, and the way there."""
    state = itself(status).verdict.state
    return {
        "state": state,
        "word": {"ok": "Yes", "warn": "No", "unk": "Cannot tell"}[state],
        "href": f"{base}{PATHS[MONITOR]}{query(model)}",
    }
