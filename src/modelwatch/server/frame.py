"""What all pages share: the templates, the head with its tabs and its menu of models, and the page of a problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from modelwatch.server import charts, words
from modelwatch.server.accuracy import WORDS, accuracy
from modelwatch.server.alertsverdict import alerts_tab
from modelwatch.server.budgets import budgets, slos_verdict
from modelwatch.server.health import VERDICTS, Verdict, View
from modelwatch.server.itself import itself
from modelwatch.server.moved import drift_verdict, moved
from modelwatch.server.standing import standing_of
from modelwatch.server.words import clean, finite

HEALTH, QUALITY, MONITOR, REVIEW = "Health", "Quality", "Monitor", "Review"
DRIFT, RESOURCES, ALERTS_PAGE, SLOS, RUNBOOKS = "Drift", "Resources", "Alerts", "SLOs", "Runbooks"
SETTINGS = "Settings"
PATHS = {
    HEALTH: "/", QUALITY: "/quality", DRIFT: "/drift", RESOURCES: "/resources", ALERTS_PAGE: "/alerts", SLOS: "/slos",
    REVIEW: "/review", RUNBOOKS: "/runbooks", MONITOR: "/monitor", SETTINGS: "/settings",
}  # fmt: skip
WITH_HISTORY = {HEALTH, QUALITY, RESOURCES}  # pages with pictures over time
FEW = 8  # models that the menu shows without a field to search them
_WORST_FIRST = ("crit", "warn", "unk", "ok")
_ICON_COLOURS = {
    "ok": "#00695a",
    "crit": "#b0102a",
    "warn": "#c96a00",
    "unk": "#6b48b8",
    "info": "#00699e",
    "none": "#6d788c",
}
_ICON_SHAPES = {
    "ok": '<circle cx="8" cy="8" r="7.5" fill="{0}"/><path d="M4.5 8.3l2.4 2.4 4.6-5" {1}/>',
    "warn": '<path d="M8 .8 15.6 15H.4Z" fill="{0}"/><path d="M8 6v4M8 12.2v.3" {1}/>',
    "crit": '<path d="M5 .5h6L15.5 5v6L11 15.5H5L.5 11V5Z" fill="{0}"/>'
    '<path d="M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4" {1}/>',
    "unk": '<circle cx="8" cy="8" r="7.5" fill="{0}"/>'
    '<path d="M5.8 6.2a2.2 2.2 0 1 1 3.1 2c-.6.3-.9.7-.9 1.4M8 12v.3" {1}/>',
    "info": '<rect x=".5" y=".5" width="15" height="15" rx="4" fill="{0}"/><path d="M8 4.4v.3M8 7.5v4.2" {1}/>',
    "none": '<circle cx="8" cy="8" r="7.5" fill="{0}"/><path d="M5 8h6" {1}/>',
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


class Range(NamedTuple):
    """How far back the pictures reach: as words, and the address of the page that shows it."""

    words: str
    href: str
    current: bool


class Act(NamedTuple):
    """What to do about a verdict: words of a link, where it leads, and since when it is needed."""

    words: str
    href: str
    since: str = ""
    age: str = ""


class Tab(NamedTuple):
    """A page in the navigation, with the state of what it tells, or how much waits there."""

    name: str
    href: str
    state: str
    word: str
    current: bool
    waits: str = ""

    @property
    def judged(self) -> bool:
        """Whether what the page tells has a state."""
        return bool(self.word) or bool(self.waits)


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


def render(part: str, **values: Any) -> str:
    """Return the HTML of a template of this name."""
    return _templates().get_template(f"{part}.html").render(**values)


def document(
    template: str, parts: Mapping[str, str], base: str, refresh: str, title: str, state: str, **more: Any
) -> str:
    """Return a whole page: its parts in their boxes, and where they are read again.

    Parameters
    ----------
    template : name of the page's template.
    parts : HTML by the name of its box.
    refresh : address that gives the changing parts as JSON.
    state : of the icon in the browser's tab.
    """
    held = {name: Markup(html) for name, html in parts.items()}
    return render(
        template, parts=held, base=base, refresh=refresh, title=title, tab=tab_icon(state), hatch=Markup(charts.HATCH),
        **more,
    )  # fmt: skip


def model_names(status: Mapping[str, Any]) -> list[str]:
    """Return the names of the models of a status, as they are."""
    return [str(m.get("name", "")) for m in status.get("models") or ()]


def choose(status: Mapping[str, Any], name: str | None) -> Mapping[str, Any] | None:
    """Return the model of that name, or the first; None only when there are no models and none was asked for.

    Raises
    ------
    KeyError   there is no model of that name.
    """
    models: Sequence[Mapping[str, Any]] = status.get("models") or ()
    if name is None:
        return models[0] if models else None
    for model in models:
        if str(model.get("name", "")) == name:
            return model
    raise KeyError(name)


#: What the address of the page that is being made says of its time range: every link carries it on.
picked_time: ContextVar[str] = ContextVar("picked_time", default="")


def query(model: str | None) -> str:
    """Return the end of an address that chooses a model, and the time range of the page that links there."""
    picked = [f"model={quote(model, safe='', errors='replace')}"] if model is not None else []
    picked += [picked_time.get()] if picked_time.get() else []
    return f"?{'&'.join(picked)}" if picked else ""


def states_of_models(status: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return name, version and state of every model, the worst first, as the menu has them."""
    found = [(View(status, model).state, model) for model in status.get("models") or ()]
    ranked = sorted(found, key=lambda one: (_WORST_FIRST.index(one[0]), str(one[1].get("name", ""))))
    return [
        {"name": str(m.get("name", "")), "version": str(m.get("version", "")), "state": state, "word": VERDICTS[state]}
        for state, m in ranked
    ]


def model_link(name: str, base: str = "") -> str:
    """Return the address of a model's health page."""
    return f"{base}/{query(name)}"


def frame(
    status: Mapping[str, Any], chosen: Mapping[str, Any] | None, base: str, model: str | None, page: str
) -> dict[str, str]:
    """Return the changing parts of the head, which all pages share."""
    choices = [] if chosen is None else _choices(status, chosen, base, page)
    owner = status.get("owner")
    menu = render(
        "menu", choices=choices, fleet=_fleet(choices), one=len(choices) == 1, many=len(choices) > FEW,
        service=clean(status.get("service", "")), owner=clean(owner) if owner else "",
    )  # fmt: skip
    return {
        "fresh": render("fresh", now=words.clock(status.get("now"), seconds=True), **_age(status)),
        "strip": render(
            "strip",
            **_strip(status, page),
            ranges=_ranges(status, base, model, page),
        ),
        "tabs": render("tabs", tabs=_tabs(status, chosen, base, model, page)),
        "menu": menu,
    }


def _tabs(
    status: Mapping[str, Any], chosen: Mapping[str, Any] | None, base: str, model: str | None, page: str
) -> list[Tab]:
    standing = standing_of(status, chosen)
    right = accuracy(chosen, standing).state
    alerts, alerts_said, firing = alerts_tab(standing)
    drift, slos = drift_verdict(moved(chosen, standing)), slos_verdict(budgets(status, chosen, standing))
    states = {
        HEALTH: View(status, chosen).state if chosen else "unk",
        QUALITY: right,
        DRIFT: drift.state,
        ALERTS_PAGE: alerts,
        SLOS: slos.state,
        MONITOR: itself(status).verdict.state,
        SETTINGS: "ok",
        RESOURCES: "ok",
        REVIEW: "ok",
        RUNBOOKS: "ok",
    }
    waiting = finite(((chosen or {}).get("quality") or {}).get("waiting"))
    count = words.number(waiting) if waiting else ""
    said = {name: VERDICTS.get(state, "") for name, state in states.items()} | {QUALITY: WORDS[right]}
    said |= {RESOURCES: "", RUNBOOKS: ""}
    said |= {SETTINGS: "", DRIFT: drift.word, ALERTS_PAGE: alerts_said, SLOS: slos.word}
    said[REVIEW] = f"{words.plural(waiting, 'sample waits', 'samples wait')} for a label" if waiting else ""
    waits = {REVIEW: count, ALERTS_PAGE: firing}
    return [
        Tab(name, f"{base}{path}{query(model)}", states[name], said[name], name == page, waits.get(name, ""))
        for name, path in PATHS.items()
    ]


def problem_page(title: str, message: str, *, base: str = "", links: Sequence[tuple[str, str]] = ()) -> str:
    """Return a plain page that says what cannot be shown, why, and where to go.

    Parameters
    ----------
    title, message : str
        One short sentence, and what is known about the cause.
    links : sequence of (text, href)
        Where the reader can go instead.
    """
    return render("problem", title=title, message=clean(message, 400), base=base, links=links, tab=tab_icon("unk"))


def tab_icon(state: str) -> str:
    """Return the icon of the browser's tab for a state, as a data address."""
    pen = 'fill="none" stroke="#fff" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round"'
    shape = _ICON_SHAPES[state].format(_ICON_COLOURS[state], pen)
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">{shape}</svg>'
    return f"data:image/svg+xml,{quote(svg, safe='')}"


def band(
    verdict: Verdict, page: str = "", model: Mapping[str, Any] | None = None, act: Act | None = None
) -> dict[str, str]:
    """Return the parts that say the state of a page, to those who see it and to those who hear it.

    act : what to do, at the side.
    """
    title = page_title(verdict.word, page, model)
    return {
        "verdict": render("verdict", verdict=verdict, title=title, tab=tab_icon(verdict.state), act=act),
        "said": f"{verdict.word}: {Markup.escape(verdict.clause)}",
    }


def page_title(word: str, page: str = "", model: Mapping[str, Any] | None = None) -> str:
    """Return the title of a page: its state first, so that it can be read on a narrow tab."""
    return " · ".join(part for part in (word, page, clean((model or {}).get("name", ""), 60), "modelwatch") if part)


def _age(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return the age of the newest data: as words, for the script that counts on, and whether it is late."""
    seconds = finite(status.get("data_age_s"))
    return {
        "age": "no data yet" if seconds is None else words.age(seconds),
        "age_s": "" if seconds is None else f"{max(0.0, seconds):.1f}",
        "late": seconds is None or seconds > 30,
    }


def _strip(status: Mapping[str, Any], page: str) -> dict[str, Any]:
    """Return what stands beside the tabs: which windows, and the notes."""
    scale = finite(status.get("time_scale"))
    notes = [clean(note, 200) for note in status.get("notes") or ()]
    if scale is not None and scale not in {0.0, 1.0}:
        notes.insert(0, f"time runs {scale:g} times faster: every window is that much shorter")
    reason = (status.get("range") or {}).get("reason")
    notes += [f"the longer history cannot be read: {clean(reason, 120)}"] if reason else []
    return {"window": words.span(finite(status.get("window_s"))) if page == HEALTH else "", "notes": notes}


def _ranges(status: Mapping[str, Any], base: str, model: str | None, page: str) -> list[Range]:
    """Return how far back the pictures of a page may reach; nothing on a page without any."""
    held: Sequence[str] = status.get("ranges") or ()
    if page not in WITH_HISTORY:
        return []
    picked = str((status.get("range") or {}).get("range") or (held[0] if held else ""))
    named = f"&model={quote(model, safe='', errors='replace')}" if model is not None else ""
    return [
        Range(f"{one[:-1]}{words.NBSP}{one[-1]}", f"{base}{PATHS[page]}?range={one}{named}", one == picked)
        for one in held
    ]


def _choices(status: Mapping[str, Any], chosen: Mapping[str, Any], base: str, page: str) -> list[Choice]:
    """Return every model for the menu, worst first; each leads to the same page of that model."""
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
                f"{base}{PATHS[HEALTH if page in {MONITOR, SETTINGS} else page]}{query(str(model.get('name', '')))}",
                model is chosen,
                Markup(charts.spark(rates)),
            )
        )
    return sorted(found, key=lambda c: (_WORST_FIRST.index(c.state), c.name))


def _fleet(choices: Sequence[Choice]) -> list[tuple[str, str]]:
    """Return how many models are in each state, worst first."""
    nouns = {"crit": "failing", "warn": "degraded", "unk": "cannot tell", "ok": "healthy"}
    counts = {state: sum(c.state == state for c in choices) for state in nouns}
    return [(state, f"{n} {nouns[state]}") for state, n in counts.items() if n]
