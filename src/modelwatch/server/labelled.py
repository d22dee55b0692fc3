"""What labels show: which class is taken for which, how sure the model may be, and where the labels come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import dots, words
from modelwatch.server.accuracy import Plain
from modelwatch.server.words import MISSING, NBSP, clean, finite, number, percent, plural

SHOWN_CLASSES = 10
_LEAST_AGES = 5  # drawn, even if all labels come at once
HEATS = 5  # shades of a cell of the matrix


class Cell(NamedTuple):
    """Labels of one true class that were predicted as one class."""

    labels: str
    share: str
    heat: int
    right: bool


class Line(NamedTuple):
    """One true class of the matrix."""

    name: str
    cells: Sequence[Cell]
    labels: str
    recall: str


class Matrix(NamedTuple):
    """Predictions by their true class."""

    names: Sequence[str]
    lines: Sequence[Line]
    precision: Sequence[str]
    note: str


class Fact(NamedTuple):
    """A line of the facts about the labels; with a state only when it is not as it should be."""

    term: str
    value: str
    state: str = ""
    href: str = ""


# -- which mistakes ----------------------------------------------------------------------------------------------------


def confusion(view: Plain) -> Matrix | None:
    """Return the matrix of true and predicted classes, the most frequent ones where there are many."""
    held: Plain | None = view.get("confusion")
    if not held:
        return None
    names = [clean(name, 40) or "(empty)" for name in held.get("classes") or ()]
    counts = [[max(0.0, finite(n) or 0.0) for n in row] for row in held.get("counts") or ()]
    of: Sequence[Plain] = (held.get("quality") or {}).get("classes") or ()
    support = [sum(row) + sum(other[i] for other in counts) for i, row in enumerate(counts)]
    shown = sorted(sorted(range(len(names)), key=lambda i: -support[i])[:SHOWN_CLASSES])
    lines = [
        Line(
            names[i],
            [_cell(counts[i][j], sum(counts[i]), right=i == j) for j in shown],
            number(sum(counts[i])),
            percent(finite(of[i].get("recall"))),
        )
        for i in shown
    ]
    mistakes = [(counts[i][j], names[i], names[j]) for i in shown for j in shown if i != j]
    most = max(mistakes, default=(0, "", ""))
    notes = [f"Most frequent mistake: truly {most[1]}, said {most[2]} ({number(most[0])})."] if most[0] else []
    if len(shown) < len(names):
        notes.append(f"{len(names) - len(shown)} rarer classes are not shown.")
    if (view.get("accuracy") or {}).get("method") == "hajek":
        notes.append("Recall and precision are weighted, since not all predictions were kept alike.")
    precision = [percent(finite(of[j].get("precision"))) for j in shown]
    return Matrix([names[j] for j in shown], lines, precision, " ".join(notes))


def _cell(count: float, whole: float, *, right: bool) -> Cell:
    share = count / whole if whole else None
    heat = 0 if share is None else min(HEATS - 1, int(share * HEATS + 0.7))
    return Cell(number(count), percent(share, 0) if share is not None else MISSING, heat, right)


def calibration(view: Plain) -> tuple[Markup | None, list[str]]:
    """Return the curve of calibration (None where there is none) and what it says."""
    held: Plain | None = view.get("calibration")
    if not held:
        lacks = clean((view.get("calibration_missing") or {}).get("words") or "no labels", 80)
        return None, [f"{lacks[0].upper()}{lacks[1:]}. Pass confidence= with each prediction to see how sure it is."]
    points = [
        dots.Point(
            finite(p.get("confidence")) or 0.0,
            dots.Mark(*(finite((p.get("right") or {}).get(k)) for k in ("value", "low", "high"))),
            max(0, int(finite(p.get("n")) or 0)),
        )
        for p in held.get("curve") or ()
    ]
    error: Plain = held.get("error") or {}
    ece, noise = finite(error.get("ece")), finite(error.get("noise"))
    gap = sum(p.n * (p.confidence - (p.right.value or 0.0)) for p in points)
    if error.get("miscalibrated"):
        word = "Too sure of itself" if gap > 0 else "Less sure than it could be"
    elif ece is not None and noise is not None and ece <= noise:
        word = "As sure as it is right"
    else:
        word = "No clear difference"
    first = f"{word}: confidence and truth differ by {_points(ece)} on average (ECE), by chance alone {_points(noise)}."
    brier = (
        f"Brier score {number(finite(held.get('brier')), 3)}, from {plural(finite(held.get('n')), 'label', 'labels')}."
    )
    return Markup(dots.calibration(points, label=f"Calibration. {first}", show=whole)), [first, brier]


def whole(ratio: float) -> str:
    """Return a ratio as a percentage without digits, for an axis."""
    return percent(ratio, 0)


def _points(ratio: float | None) -> str:
    return MISSING if ratio is None else f"{number(100 * ratio, 1)} points"


# -- where the labels come from ----------------------------------------------------------------------------------------


def facts(quality: Plain, review: str) -> list[Fact]:
    """Return how predictions are chosen, how many have a label, how late labels come, and what waits."""
    labelled, waiting = finite(quality.get("labelled")) or 0.0, finite(quality.get("waiting")) or 0.0
    kept = labelled + waiting
    views: Plain = quality.get("views") or {}
    oldest = finite(quality.get("oldest_waiting_s"))
    queue = "none" if not waiting else f"{number(waiting)} in the review queue"
    found = [
        Fact("Sampling", sampling(quality.get("sampling") or {})),
        Fact("Kept", plural(kept, "sample", "samples")),
        Fact("Labelled", f"{number(labelled)} ({percent(labelled / kept)} coverage)" if kept else "none yet"),
        Fact("Waiting", queue, "", review if waiting else ""),
        Fact("Oldest waiting", MISSING if oldest is None else words.span(oldest)),
        Fact("Label delay", *_delay(views.get("delays") or {})),
    ]
    unusable = finite(views.get("unusable"))
    if unusable:
        told = f"{plural(unusable, 'label is', 'labels are')} left out: the value is no finite number"
        found.append(Fact("Not usable", told, "info"))
    return found


def sampling(held: Plain) -> str:
    """Return how predictions are chosen for review, in words."""
    rate = finite(held.get("rate"))
    if rate is None:
        return MISSING
    how = {
        "uniform": "all alike",
        "uncertainty": "unsure ones more often",
        "stratified": f"evenly by {clean(held.get('strata') or 'confidence', 40)}",
    }.get(str(held.get("strategy")), clean(held.get("strategy") or "", 40))
    budget = finite(held.get("weekly_budget"))
    return f"{words.limit_percent(rate)} of the predictions, {how}" + (
        f", at most {number(budget)} a week" if budget is not None else ""
    )


def delays(quality: Plain) -> Markup:
    """Return the picture of how late labels come, empty where there are too few to tell."""
    held: Plain = (quality.get("views") or {}).get("delays") or {}
    found = [
        (finite(age), finite(share))
        for age, share in zip(held.get("ages_s") or (), held.get("shares") or (), strict=False)
    ]
    known = [
        (words.span(age).replace(NBSP, "\N{NARROW NO-BREAK SPACE}"), share)
        for age, share in found
        if age is not None and share is not None
    ]
    come = next((i for i, (_, share) in enumerate(known) if share > 0.9995), len(known))
    shown = known[: max(come + 1, _LEAST_AGES)]
    if not shown:
        return Markup("")
    told = ", ".join(f"{percent(share, 0)} within {name}" for name, share in shown)
    return Markup(dots.columns(shown, label=f"Labels that have come: {told}.", show=whole))


def _delay(delays: Plain) -> tuple[str, str]:
    """Return how late labels come: the ages by which half and nine in ten have come, at the latest."""
    shares: Sequence[Any] | None = delays.get("shares")
    if not shares:
        n, least = finite(delays.get("n")) or 0.0, 30
        return f"{number(n)} of {least} labels that are old enough to tell", "unk"
    ages = list(zip(delays.get("ages_s") or (), shares, strict=False))

    def by(part: float) -> str:
        age = next((age for age, share in ages if (finite(share) or 0.0) >= part), None)
        return f"within {words.span(age)}" if age is not None else f"later than {words.span(ages[-1][0])}"

    half, most = by(0.5), by(0.9)
    return (f"half {half}, " if half != most else "") + f"90{NBSP}% {most}", ""
