"""The pages as HTML: the whole document, and the same parts one by one for the live refresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from modelwatch import names
from modelwatch.server import charts, words
from modelwatch.server.health import VERDICTS, View, verdict
from modelwatch.server.itself import Line, itself
from modelwatch.server.panels import confidence, errors_by_type, panels, shares_over_time
from modelwatch.server.words import clean, finite

HEALTH, MONITOR = "Health", "Monitor"
PATHS = {HEALTH: "/", MONITOR: "/monitor"}
_ICON_COLOURS = {"ok": "#00695a", "warn": "#c96a00", "unk": "#6b48b8"}
_ICON_SHAPES = {
    "ok": '<circle cx="8" cy="8" r="7.5" fill="{0}"/><path d="M4.5 8.3l2.4 2.4 4.6-5" {1}/>',
    "warn": '<path d="M8 .8 15.6 15H.4Z" fill="{0}"/><path d="M8 6v4M8 12.2v.3" {1}/>',
    "unk": '<circle cx="8" cy="8" r="7.5" fill="{0}"/>'
    '<path d="M5.8 6.2a2.2 2.2 0 1 1 3.1 2c-.6.3-.9.7-.9 1.4M8 12v.3" {1}/>',
}


class Choice(NamedTuple):
    """A model in the menu."""

    name: str
    version: str
    state: str
    word: str
    href: str
    current: bool
    picture: Markup


class Tab(NamedTuple):
    """A page in the navigation, with the state of what it tells."""

    name: str
    href: str
    state: str
    word: str
    current: bool


class Fact(NamedTuple):
    """A line of a list of facts; with a state only when it is not as it should be."""

    term: str
    value: str
    state: str


@cache
def _templates() -> Environment:
    """Return the environment of the templates: everything is escaped, nothing may be undefined."""
    return Environment(
        loader=PackageLoader("modelwatch.server"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def model_names(status: Mapping[str, Any]) -> list[str]:
    """Return the names of the models of a status, as they are."""
    return [str(m.get("name", "")) for m in status.get("models") or ()]


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
    chosen = _choose(status, model)
    state = View(status, chosen).state if chosen else "unk"
    return _document(
        "health", parts, base, f"{base}/fragments{_query(model)}", _title(chosen, state), state,
        regression=chosen is not None and chosen.get("task") == "regression", empty=chosen is None,
    )  # fmt: skip


def monitor_page(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> str:
    """Return the page on modelwatch itself as a full HTML document.

    Parameters and errors are those of `health_page`; `model` is the one that the link back to its health leads to.
    """
    parts = monitor_fragments(status, base=base, model=model)
    state = itself(status).verdict.state
    refresh = f"{base}/fragments/monitor{_query(model)}"
    return _document("itself", parts, base, refresh, _monitor_title(state), state)


def monitor_fragments(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the page on modelwatch itself, by the name that the page gives their boxes."""
    chosen = _choose(status, model)
    found = itself(status)
    said = found.verdict
    return {
        **_frame(status, chosen, base, model, MONITOR),
        "verdict": _render("verdict", verdict=said, title=_monitor_title(said.state), tab=tab_icon(said.state)),
        "said": f"{said.word}: {Markup.escape(said.clause)}",
        "counted": _lines("Is everything counted?", _OF_ALL, found.counted, days=True),
        "kept": _lines("Is it kept?", "in the host's own live.db", found.kept),
        "used": _lines("What does it use?", _UNJUDGED, found.used, low=True),
    }


def _lines(title: str, about: str, lines: Sequence[Line], *, days: bool = False, low: bool = False) -> str:
    return _render("lines", title=title, about=about, lines=lines, days=days, low=low)


_OF_ALL = "all models of this host; info is worth a look and no reason to wake up"
_UNJUDGED = "the worker processes with your model in them, and the GPUs of this host; shown, not judged"


def _query(model: str | None) -> str:
    return f"?model={quote(model, safe='', errors='replace')}" if model is not None else ""


def _document(
    template: str, parts: Mapping[str, str], base: str, refresh: str, title: str, state: str, **more: Any
) -> str:
    return (
        _templates()
        .get_template(f"{template}.html")
        .render(
            parts={name: Markup(html) for name, html in parts.items()},
            base=base,
            refresh=refresh,
            title=title,
            tab=tab_icon(state),
            hatch=Markup(charts.HATCH),
            **more,
        )
    )


def health_fragments(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the health page, by the name that the page gives their boxes.

    Parameters and errors are those of `health_page`; a page and its fragments of the same status are the same text.
    """
    chosen = _choose(status, model)
    bits = _frame(status, chosen, base, model, HEALTH)
    if chosen is None:
        return bits | {"verdict": _render("no_models"), "said": "Cannot tell: no model has reported yet"}
    view = View(status, chosen)
    said = verdict(view)
    bits["verdict"] = _render("verdict", verdict=said, title=_title(chosen, said.state), tab=tab_icon(said.state))
    bits["said"] = f"{said.word}: {Markup.escape(said.clause)}"
    by_key = {panel.key: panel for panel in panels(view)}
    bits |= {key: _render("panel", panel=panel) for key, panel in by_key.items()}
    if not view.regression:
        shares, left_out = shares_over_time(view)
        bits["history"] = _render(
            "shares", shares=shares, left_out=left_out, state=by_key["mix"].state,
            incomplete=view.incomplete(names.PREDICTIONS, "answers"),
        )  # fmt: skip
        picture, told = confidence(view)
        bits["confidence"] = _render("confidence", picture=picture, told=told)
    rows, hidden, empty = errors_by_type(view)
    bits["types"] = _render(
        "errors", rows=rows, hidden=hidden, empty=empty, window=view.window, cancelled=view.detail("cancelled"),
        cancelled_words=words.plural(view.detail("cancelled"), "request was", "requests were"),
        incomplete=view.incomplete(names.ERRORS, "errors"),
    )  # fmt: skip
    bits["monitor"] = _render("monitor", facts=_monitor(status, view), **_well(status, base, model))
    return bits


def _frame(
    status: Mapping[str, Any], chosen: Mapping[str, Any] | None, base: str, model: str | None, page: str
) -> dict[str, str]:
    """Return the changing parts of the head, which all pages share."""
    menu = ""
    if chosen is not None:
        choices = _choices(status, chosen, base)
        menu = _render("menu", choices=choices, fleet=_fleet(choices), one=len(choices) == 1)
    states = {HEALTH: View(status, chosen).state if chosen else "unk", MONITOR: itself(status).verdict.state}
    tabs = [
        Tab(name, f"{base}{path}{_query(model)}", states[name], VERDICTS[states[name]], name == page)
        for name, path in PATHS.items()
    ]
    return {
        "fresh": _render("fresh", now=words.clock(status.get("now"), seconds=True), **_age(status)),
        "strip": _render("strip", **_strip(status) | ({} if page == HEALTH else {"window": ""})),
        "tabs": _render("tabs", tabs=tabs),
        "menu": menu,
    }


def problem_page(title: str, message: str, *, base: str = "", links: Sequence[tuple[str, str]] = ()) -> str:
    """Return a plain page that says what cannot be shown, why, and where to go.

    Parameters
    ----------
    title, message : str
        One short sentence, and what is known about the cause.
    links : sequence of (text, href)
        Where the reader can go instead.
    """
    return (
        _templates()
        .get_template("problem.html")
        .render(title=title, message=clean(message, 400), base=base, links=links, tab=tab_icon("unk"))
    )


def model_link(name: str, base: str = "") -> str:
    """Return the address of a model's health page."""
    return f"{base}/?model={quote(name, safe='', errors='replace')}"


def tab_icon(state: str) -> str:
    """Return the icon of the browser's tab for a state, as a data address."""
    pen = 'fill="none" stroke="#fff" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round"'
    shape = _ICON_SHAPES[state].format(_ICON_COLOURS[state], pen)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">{shape}</svg>'
    return f"data:image/svg+xml,{quote(svg, safe='')}"


def _render(part: str, **values: Any) -> str:
    return _templates().get_template(f"{part}.html").render(**values)


def _choose(status: Mapping[str, Any], name: str | None) -> Mapping[str, Any] | None:
    """Return the model of that name, or the first; None only when there are no models and none was asked for."""
    models: Sequence[Mapping[str, Any]] = status.get("models") or ()
    if name is None:
        return models[0] if models else None
    for model in models:
        if str(model.get("name", "")) == name:
            return model
    raise KeyError(name)


def _title(model: Mapping[str, Any] | None, state: str) -> str:
    return f"{VERDICTS[state]} · {clean(model.get('name', ''), 60)} · modelwatch" if model else "modelwatch"


def _monitor_title(state: str) -> str:
    return f"{VERDICTS[state]} · Monitor · modelwatch"


def _age(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the age of the newest data: as words, for the script that counts on, and whether it is late."""
    seconds = finite(status.get("data_age_s"))
    return {
        "age": "no data yet" if seconds is None else words.age(seconds),
        "age_s": "" if seconds is None else f"{max(0.0, seconds):.1f}",
        "late": seconds is None or seconds > 30,
    }


def _strip(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in the line under the header: whose service, which windows, and the notes."""
    scale = finite(status.get("time_scale"))
    notes = [clean(note, 200) for note in status.get("notes") or ()]
    if scale is not None and scale not in {0.0, 1.0}:
        notes.insert(0, f"time runs {scale:g} times faster: every window is that much shorter")
    owner = status.get("owner")
    return {
        "service": clean(status.get("service", "")),
        "owner": clean(owner) if owner else "",
        "window": words.span(finite(status.get("window_s"))),
        "notes": notes,
    }


def _choices(status: Mapping[str, Any], chosen: Mapping[str, Any], base: str) -> list[Choice]:
    """Return every model for the menu, worst first."""
    found = []
    for model in status.get("models") or ():
        view = View(status, model)
        rates = view.series(view.history.get("request_rate"))
        found.append(
            Choice(
                view.name or "(no name)",
                view.version,
                view.state,
                VERDICTS[view.state],
                model_link(str(model.get("name", "")), base),
                model is chosen,
                Markup(charts.spark(rates)),
            )
        )
    order = ("warn", "unk", "ok")
    return sorted(found, key=lambda c: (order.index(c.state), c.name))


def _fleet(choices: Sequence[Choice]) -> list[tuple[str, str]]:
    """Return how many models are in each state, worst first."""
    nouns = {"warn": "degraded", "unk": "cannot tell", "ok": "healthy"}
    counts = {state: sum(c.state == state for c in choices) for state in nouns}
    return [(state, f"{n} {nouns[state]}") for state, n in counts.items() if n]


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
        "href": f"{base}{PATHS[MONITOR]}{_query(model)}",
    }
