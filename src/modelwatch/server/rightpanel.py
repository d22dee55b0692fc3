"""The big panel of accuracy: what the labels say and what is expected without them, on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from modelwatch.server import dots, words
from modelwatch.server.accuracy import Accuracy, accuracy, amount, below, main_view, scale_of
from modelwatch.server.health import View
from modelwatch.server.panels import Panel, Share
from modelwatch.server.words import MISSING, clean, finite, percent

_SHOWN = 4
Plain = Mapping[str, Any]


def right_panel(view: View, model: Plain, href: str) -> Panel:
    """Return the panel of how right a model is.

    Parameters
    ----------
    model : of the status, with what is known from labels.
    href : address of the page Quality.
    """
    found = accuracy(model, view.standing)
    quality: Plain = model.get("quality") or {}
    rows = [] if view.regression else _rows(model, quality, found.state)
    title = "Error of the answers" if view.regression else "Model accuracy"
    facts = [
        ("In training", percent(finite((model.get("estimate") or {}).get("training")))),
        ("Worst segment", _worst(quality, regression=view.regression)),
        ("Wait for labels", words.number(finite(quality.get("waiting")))),
    ]
    return Panel(
        "right", title, found.state, found.number, found.unit, found.of.removeprefix("the "), _compared(found, href),
        Markup(), facts, rows, href, found.word,
    )  # fmt: skip


def _compared(found: Accuracy, href: str) -> list[str | Markup]:
    if not found.interval:
        clause = f"{found.clause[:1].upper()}{found.clause[1:]}."
        return [clause, Markup('<a href="{}">What is missing</a>').format(href)]
    return [Markup("95\N{NO-BREAK SPACE}% interval <b>{}</b>.").format(found.interval), found.judged]


def _rows(model: Plain, quality: Plain, state: str) -> list[Share]:
    """Return the accuracy of the last labels, the day, and what confidences let expect: a dot and an interval each."""
    objective = finite(quality.get("objective"))
    held: Plain = quality.get("views") or {}
    views = [(_last(view), view.get("accuracy") or {}) for view in reversed(held.get("last") or ())]
    views += [
        (clean(view.get("name", ""), 20).replace(" days", f"{words.NBSP}d"), view.get("accuracy") or {})
        for view in held.get("windows") or ()
    ]
    estimate: Plain | None = model.get("estimate")
    known = [(name, one) for name, one in views if finite(one.get("value")) is not None][: _SHOWN - bool(estimate)]
    if estimate:
        known.append(("estimate", estimate))
    ends = scale_of([finite(one.get("low")) for _, one in known], objective)
    rows = []
    for name, one in known:
        value, low, high = (finite(one.get(key)) for key in ("value", "low", "high"))
        tone = "s" if below(high, objective) and name != "estimate" else ""
        picture = dots.row(
            dots.Mark(value, low, high),
            ends,
            limit=objective,
            tone=tone,
            young=name == "estimate",
            height=dots.ROW // 5 * 3,
        )
        rows.append(Share(name, state if tone else "none", percent(value), "", Markup(picture)))
    return rows


def _last(view: Plain) -> str:
    return f"last {words.number(finite(view.get('n')))}"


def _worst(quality: Plain, *, regression: bool) -> str:
    """Return the segment with the worst number, of those that have one."""
    held: Sequence[Plain] = (main_view(quality) or {}).get("segments") or ()
    if regression:
        errors = [(finite((s.get("regression") or {}).get("mae")), s) for s in held]
        found = max(((n, s) for n, s in errors if n is not None), key=lambda p: p[0], default=None)
        return MISSING if found is None else f"{clean(found[1].get('name') or '(empty)', 20)} {amount(found[0])}"
    shares = [(finite((s.get("accuracy") or {}).get("value")), s) for s in held]
    least = min(((n, s) for n, s in shares if n is not None), key=lambda p: p[0], default=None)
    return MISSING if least is None else f"{clean(least[1].get('name') or '(empty)', 20)} {percent(least[0])}"
