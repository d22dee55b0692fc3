"""Whether a model is right, as one state with its words: the same on the tab, on its page and on the health page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import dots, words
from modelwatch.server.standing import Standing
from modelwatch.server.words import DASH, NBSP, clean, finite, number, percent, plural

WORDS = {
    "ok": "OK", "crit": "Far below", "warn": "Below objective", "info": "Below, no alert", "unk": "Cannot tell",
    "none": "No objective",
}  # fmt: skip
ALERT = "LowModelAccuracy"
QUIET = "The alert, which counts labels as they come, does not fire."
GAUGE = 27  # pixels; three dashes
Plain = Mapping[str, Any]


class Accuracy(NamedTuple):
    """What is known of how right a model is.

    state : that of the alert LowModelAccuracy; where none are evaluated, warn only where the whole interval is below
    the objective. info where it is, but the alert does not fire; none where there is no objective.
    number, unit : the large number; words where there is none.
    interval : "75.7–80.8 %", empty where there is no number.
    of : the labels that it is from, in words. judged : the objective, and how it stands to it.
    """

    state: str
    clause: str
    evidence: str
    number: str
    unit: str = ""
    interval: str = ""
    of: str = ""
    judged: str = ""
    picture: Markup = Markup("")

    @property
    def word(self) -> str:
        """The word of the state."""
        return WORDS[self.state]


def accuracy(model: Plain | None, standing: Standing | None = None) -> Accuracy:
    """Return how right a model of a status is: the state of its alert, the numbers of its last labels."""
    found = _seen(model)
    state = judged_by(standing, found.state, ALERT)
    if state == found.state:
        return found
    if state == "info":
        return found._replace(state=state, evidence=f"{found.evidence} {QUIET}")
    told = standing.of(ALERT)[0].description if standing is not None else ""
    return found._replace(state=state, clause="accuracy is below its limit", evidence=f"{found.evidence} {told}")


def judged_by(standing: Standing | None, seen: str, name: str, **labels: str) -> str:
    """Return the state of what a view finds below its limit: that of the alert, where alerts are evaluated."""
    if standing is None or standing.reason:
        return seen
    return standing.state_of(name, **labels) or ("info" if seen == "warn" else seen)


def _seen(model: Plain | None) -> Accuracy:
    if model is None:
        return _unknown("no model has reported yet", "Start the service that serves your model.", "No model")
    quality: Plain | None = model.get("quality")
    if quality is None:
        return _unknown(
            "no labels are kept",
            "Nobody can tell whether the answers are right: this service has no store of samples and labels. Add "
            "store: sqlite:///modelwatch.db to modelwatch.yaml; a sample of the predictions is then kept for review.",
            "No store",
        )
    if quality.get("state") != "ok":
        reason = clean(quality.get("reason") or "no reason is known", 300).rstrip(".")
        told = f"{reason}. Predictions are served and counted as before; labels that were acknowledged are kept."
        return _unknown("the store of labels cannot be read", told, "No store")
    view = main_view(quality)
    if view is None or view.get("state") == "too_few":
        return _too_few(quality, view)
    return _regression(quality, view) if model.get("task") == "regression" else _judged(quality, view)


def main_view(quality: Plain) -> Plain | None:
    """Return the view over the most labels, which is the one that is judged."""
    last: Sequence[Plain] = (quality.get("views") or {}).get("last") or ()
    return max(last, key=lambda view: finite(view.get("n")) or 0.0, default=None)


def _unknown(clause: str, evidence: str, short: str) -> Accuracy:
    return Accuracy("unk", clause, evidence, short)


def _too_few(quality: Plain, view: Plain | None) -> Accuracy:
    missing: Plain = (view or {}).get("missing") or {}
    have, need = finite(missing.get("have")) or 0.0, finite(missing.get("need")) or 30.0
    waiting = finite(quality.get("waiting")) or 0.0
    queue = f"{plural(waiting, 'sample waits', 'samples wait')} for a label"
    todo = f"{queue}: review them, or send labels with POST /feedback."
    if not waiting:
        todo = "No sample waits: they are kept as predictions come, at the sampling_rate of the configuration."
    if not have:
        return _unknown("no labels yet", f"Accuracy is known from labels only. {todo}", "No labels")
    return _unknown(
        f"{number(have)} of {number(need)} labels",
        f"So few labels tell nothing: {plural(need - have, 'more is', 'more are')} needed. {todo}",
        "Too few labels",
    )


def labels_of(view: Plain, size: float | None) -> str:
    """Return the labels of a view over the last ones in words; `size` is how many it would take."""
    n = finite(view.get("n")) or 0.0
    return f"all {plural(n, 'label', 'labels')}" if size is not None and n < size else f"the last {number(n)} labels"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval of ratios with one unit: 75.7–80.8 %."""
    return f"{number(None if low is None else 100 * low, 1)}{DASH}{percent(high)}"


def scale_of(lows: Sequence[float | None], objective: float | None) -> dots.Scale:
    """Return the scale on which ratios and their objective are seen; the objective never stands at its end."""
    known = [low for low in lows if low is not None]
    return dots.scale([*known, *([] if objective is None else [objective - 0.05])])


def below(high: float | None, objective: float | None) -> bool:
    """Tell whether a whole interval lies below the objective."""
    return high is not None and objective is not None and high < objective


def _judged(quality: Plain, view: Plain) -> Accuracy:
    found: Plain = view.get("accuracy") or {}
    value, low, high = (finite(found.get(key)) for key in ("value", "low", "high"))
    objective = finite(quality.get("objective"))
    right, n = finite(found.get("right")), finite(found.get("n"))
    of = labels_of(view, finite(quality.get("window")))
    counted = f"{number(right)} of {number(n)} labelled answers were right: {percent(value)}"
    counted += f" (95{NBSP}% interval {interval(low, high)})."
    if found.get("method") == "hajek":
        counted += f" Not all were kept alike, so they are weighted; they tell as much as {number(found.get('n_eff'))}."
    state = "none" if objective is None else "warn" if below(high, objective) else "ok"
    if objective is None:
        clause, judged = f"accuracy is {percent(value)}", "No objective is set: slos.accuracy in modelwatch.yaml."
    elif state == "warn":
        limit = words.limit_percent(objective)
        clause, judged = "accuracy is below its objective", f"Objective {limit}: the whole interval is below it."
    else:
        surely = low is not None and low >= objective
        clause = "accuracy is at or above its objective" if surely else "no sign that accuracy is below its objective"
        judged = f"Objective {words.limit_percent(objective)}."
    ends = scale_of([low], objective)
    mark = dots.Mark(value, low, high)
    tone = "s" if state == "warn" else ""
    row = dots.row(mark, ends, limit=objective, tone=tone, height=GAUGE)
    picture = Markup(row + dots.axis(ends, words.limit_percent))
    digits = number(None if value is None else 100 * value, 1)
    return Accuracy(state, clause, f"{counted} {judged}", digits, "%", interval(low, high), of, judged, picture)


def _regression(quality: Plain, view: Plain) -> Accuracy:
    found: Plain = view.get("regression") or {}
    mae, low, high = (amount(found.get(key)) for key in ("mae", "mae_low", "mae_high"))
    of = labels_of(view, finite(quality.get("window")))
    judged = "No objective applies to the error of a regression."
    return Accuracy(
        "none",
        f"mean absolute error {mae}",
        f"The answers are off by {mae} on average (95{NBSP}% interval {low}{DASH}{high}), from {of}. " + judged,
        mae,
        "MAE",
        f"{low}{DASH}{high}",
        of,
        judged,
    )


def amount(value: Any) -> str:
    """Return a number in the unit of the target, with four digits that count.

    Examples
    --------
    >>> amount(1234567.0), amount(0.0125), amount(None)
    ('1,235,000', '0.0125', '–')
    """
    known = finite(value)
    if known is None:
        return words.MISSING
    if known and not 1e-4 <= abs(known) < 1e9:
        return f"{known:.3e}"
    rounded = float(f"{known:.4g}")
    text = f"{rounded:,.10f}".rstrip("0").rstrip(".")
    return text.replace("-", "\N{MINUS SIGN}")
