"""The pages on the health of a model and of modelwatch itself, whole and in the parts that the refresh replaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from modelwatch import names
from modelwatch.server import words
from modelwatch.server.accuracy import accuracy
from modelwatch.server.frame import (
    ALERTS_PAGE,
    HEALTH,
    MONITOR,
    PATHS,
    QUALITY,
    band,
    choose,
    document,
    frame,
    page_title,
    query,
    render,
)
from modelwatch.server.health import VERDICTS, View, verdict
from modelwatch.server.itself import Line, itself
from modelwatch.server.panels import confidence, errors_by_type, panels, shares_over_time
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
        "health", parts, base, f"{base}/fragments{query(model)}", title, state,
        regression=chosen is not None and chosen.get("task") == "regression", empty=chosen is None,
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
    fires = view.standing is not None and view.standing.worst != "ok"
    act = ("What to do", f"{base}{PATHS[ALERTS_PAGE]}{query(model)}") if fires else None
    bits |= band(said, model=chosen, act=act)
    by_key = {panel.key: panel for panel in panels(view)}
    bits |= {key: render("panel", panel=panel) for key, panel in by_key.items()}
    if not view.regression:
        shares, left_out = shares_over_time(view)
        bits["history"] = render(
            "shares", shares=shares, left_out=left_out, state=by_key["mix"].state,
            incomplete=view.incomplete(names.PREDICTIONS, "answers"),
        )  # fmt: skip
        picture, told = confidence(view)
        bits["confidence"] = render("confidence", picture=picture, told=told)
    rows, hidden, empty = errors_by_type(view)
    bits["types"] = render(
        "errors", rows=rows, hidden=hidden, empty=empty, window=view.window, cancelled=view.detail("cancelled"),
        cancelled_words=words.plural(view.detail("cancelled"), "request was", "requests were"),
        incomplete=view.incomplete(names.ERRORS, "errors"),
    )  # fmt: skip
    bits["right"] = render("right", found=accuracy(chosen), href=f"{base}{PATHS[QUALITY]}{query(model)}")
    bits["monitor"] = render("monitor", facts=_monitor(status, view), **_well(status, base, model))
    return bits


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
        Fact("Counts kept", kept, "" if live.get("kept") else "unk"),
    ]


def _well(status: Mapping[str, Any], base: str, model: str | None) -> dict[str, str]:
    """Return whether all is well with modelwatch itself, as its own page says, and the way there."""
    state = itself(status).verdict.state
    return {
        "state": state,
        "word": {"ok": "Yes", "warn": "No", "unk": "Cannot tell"}[state],
        "href": f"{base}{PATHS[MONITOR]}{query(model)}",
    }
