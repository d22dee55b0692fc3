"""Runbooks as HTML: the small part of Markdown that they are written in, everything else is text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from modelwatch.alerts.pages import runbook
from modelwatch.catalogue import ALERTS
from modelwatch.server.frame import (
    PATHS,
    RUNBOOKS,
    band,
    choose,
    document,
    frame,
    page_title,
    query,
    render,
    tab_icon,
)
from modelwatch.server.health import Verdict
from modelwatch.server.panels import CHIPS
from modelwatch.server.standing import Standing, standing_of, title_of
from modelwatch.server.words import listed, plural

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_ITEM = re.compile(r"(?:([-*])|(\d+)\.) +(.+)")


class Line(NamedTuple):
    """A runbook: its alert, what that one says, and its state while it fires."""

    name: str
    about: str
    state: str
    word: str
    href: str


def runbooks_page(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> str:
    """Return the list of all runbooks as a full HTML document.

    Parameters and errors are those of `pages.health_page`.
    """
    parts = runbooks_fragments(status, base=base, model=model)
    chosen = choose(status, model)
    said = _which(_lines(standing_of(status, chosen), base, model))
    title = page_title(said.word, RUNBOOKS, chosen)
    return document("runbooks", parts, base, f"{base}/fragments/runbooks{query(model)}", title, said.state)


def runbooks_fragments(status: Mapping[str, Any], *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the list of runbooks, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    lines = _lines(standing_of(status, chosen), base, model)
    bits = frame(status, chosen, base, model, RUNBOOKS) | band(_which(lines), RUNBOOKS, chosen)
    return bits | {"books": render("runbooklist", lines=lines)}


def _lines(standing: Standing | None, base: str, model: str | None) -> list[Line]:
    """Return all runbooks, those of alerts that fire first."""
    lines = []
    for name in ALERTS:
        state = standing.state_of(name) if standing is not None else ""
        href = f"{base}/runbooks/{name}{query(model)}"
        about = title_of(name, {}).removesuffix(": something")
        lines.append(
            Line(name, f"{about[:1].upper()}{about[1:]}.", state or "none", CHIPS[state] if state else "", href)
        )
    order = ("crit", "warn", "unk", "info", "none")
    return sorted(lines, key=lambda line: (order.index(line.state), line.name))


def _which(lines: list[Line]) -> Verdict:
    """Return which runbooks are needed now."""
    told = f"{plural(len(lines), 'runbook', 'runbooks')}: what an alert means, how to find its cause, what to do."
    firing = [line for line in lines if line.state != "none"]
    if not firing:
        return Verdict("none", "Runbooks", "none is needed now", told)
    clause = f"look at {listed([line.name for line in firing[:3]])}"
    return Verdict(firing[0].state, "Runbooks", clause, told)


def runbook_page(name: str, *, base: str = "", model: str | None = None) -> str:
    """Return the runbook of an alert as a full HTML document.

    Raises
    ------
    KeyError   there is no alert of this name.
    """
    if name not in ALERTS:
        raise KeyError(name)
    back = f"{base}{PATHS[RUNBOOKS]}{query(model)}"
    title, _, text = runbook(name).partition("\n")
    return render(
        "runbook", name=title.lstrip("# "), about=title_of(name, {}), body=markdown(text), base=base, back=back,
        title=f"{name} · Runbook · modelwatch", tab=tab_icon("none"),
    )  # fmt: skip


def steps(name: str) -> Markup:
    """Return the steps of diagnosis of an alert, for the page of alerts; empty for an alert without a runbook."""
    if name not in ALERTS:
        return Markup()
    _, _, rest = runbook(name).partition("## Diagnosis\n")
    listed = [line for line in rest.partition("\n## ")[0].splitlines() if _ITEM.fullmatch(line)]
    return markdown("\n".join(listed))


def markdown(text: str) -> Markup:
    """Return headings, paragraphs, lists, code and emphasis as HTML; whatever else stands there is escaped text.

    Examples
    --------
    >>> markdown("1. Look at `top`.")
    Markup('<ol class="plain"><li>Look at <code>top</code>.</li></ol>')
    """
    return Markup("\n").join(_blocks(text.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line, at = lines[at], at + 1
        item = _ITEM.fullmatch(line)
        if line.startswith("```"):
            end = next((i for i in range(at, len(lines)) if lines[i].startswith("```")), len(lines))
            yield Markup("<pre>{}</pre>").format("\n".join(lines[at:end]))
            at = end + 1
        elif line.startswith("#"):
            level = min(len(line) - len(line.lstrip("#")), 3)
            yield Markup(f"<h{level}>{{}}</h{level}>").format(_inline(line.lstrip("# ")))
        elif item:
            held, tag = [_inline(item[3])], "ul" if item[1] else "ol"
            while at < len(lines) and (more := _ITEM.fullmatch(lines[at])) and bool(more[1]) == bool(item[1]):
                held.append(_inline(more[3]))
                at += 1
            yield Markup(f'<{tag} class="plain">{{}}</{tag}>').format(
                Markup().join(Markup("<li>{}</li>").format(each) for each in held)
            )
        elif line.strip():
            yield Markup("<p>{}</p>").format(_inline(line))


def _inline(text: str) -> Markup:
    parts, at = [], 0
    for found in _INLINE.finditer(text):
        tag, held = ("code", found[1]) if found[1] else ("b", found[2])
        parts += [escape(text[at : found.start()]), Markup(f"<{tag}>{{}}</{tag}>").format(held)]
        at = found.end()
    return Markup().join([*parts, escape(text[at:])])
