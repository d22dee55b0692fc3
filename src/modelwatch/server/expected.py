"""The accuracy to be expected without labels, beside the one that was measured: a view, and said to be one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import dots
from modelwatch.server.accuracy import interval
from modelwatch.server.words import clean, finite, percent, plural

Plain = Mapping[str, Any]


class Expected(NamedTuple):
    """What the confidences of the last day let expect."""

    value: str
    interval: str
    of: str
    note: str
    picture: Markup
    more: Sequence[tuple[str, str, str, str]] = ()  # title, of what, value, interval: of a classifier of two classes


def expected(model: Plain | None, ends: dots.Scale) -> Expected | None:
    """Return the estimate of a model of a status on the scale of its measured accuracy; None where there is none."""
    held: Plain | None = (model or {}).get("estimate")
    value = finite((held or {}).get("value"))
    if held is None or value is None:
        return None
    low, high = finite(held.get("low")), finite(held.get("high"))
    training = finite(held.get("training"))
    before = "" if training is None else f"In training it was {percent(training)}. "
    words = clean(held.get("words") or "", 200)
    return Expected(
        percent(value),
        interval(low, high),
        f"{plural(finite(held.get('n')), 'answer', 'answers')}, last day",
        f"{before}Estimated from how sure the model is: {words}.",
        Markup(dots.row(dots.Mark(value, low, high), ends, young=True)),
        _more(((model or {}).get("quality") or {}).get("binary")),
    )


def _plain(held: Any) -> Plain:
    return held if isinstance(held, Mapping) else {}


def _more(binary: Any) -> list[tuple[str, str, str, str]]:
    """Return F1 and ROC AUC to be expected of a classifier of two classes, beside what labels show."""
    rows = []
    for name, title in (("f1", "F1"), ("roc_auc", "ROC AUC")):
        one = _plain(_plain(binary).get(name))
        value, low, high = (finite(one.get(each)) for each in ("value", "low", "high"))
        if value is not None and low is not None and high is not None:
            shown = finite(_plain(_plain(binary.get("measured")).get(name)).get("value"))
            labels = "no labels yet" if shown is None else f"labels show {shown:.3f}"
            of = f"{plural(finite(binary.get('n')), 'sample', 'samples')}, last day; {labels}"
            rows.append((title, of, f"{value:.3f}", f"{low:.3f}–{high:.3f}"))
    return rows
