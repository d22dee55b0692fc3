"""The page "is it right?": what the labels say, over the last of them, by time and by segment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from modelwatch import names
from modelwatch.server import dots, words
from modelwatch.server.accuracy import (
    Accuracy,
    Plain,
    accuracy,
    amount,
    below,
    interval,
    judged_by,
    labels_of,
    main_view,
    scale_of,
)
from modelwatch.server.expected import expected
from modelwatch.server.frame import PATHS, QUALITY, REVIEW, band, choose, document, frame, page_title, query, render
from modelwatch.server.health import Verdict, View, worst
from modelwatch.server.labelled import calibration, confusion, delays, facts, whole
from modelwatch.server.panels import confidence, shares_over_time
from modelwatch.server.standing import Standing, standing_of
from modelwatch.server.words import DASH, clean, finite, number, percent, plural

SHOWN_SEGMENTS = 10
BELOW = {"crit", "warn", "info"}  # states of a segment whose whole interval is below its objective


class Row(NamedTuple):
    """A dot with its interval, its words on the left and its numbers on the right."""

    name: str
    about: str
    state: str
    picture: Markup
    value: str
    interval: str


class Segments(NamedTuple):
    """The segments, worst first, with the state of the worst."""

    state: str
    word: str
    rows: Sequence[Row]
    axis: Markup
    note: str


def quality_page(status: Plain, *, base: str = "", model: str | None = None) -> str:
    """Return the page on the quality of one model as a full HTML document.

    Parameters and errors are those of `pages.health_page`.
    """
    parts = quality_fragments(status, base=base, model=model)
    chosen = choose(status, model)
    found = accuracy(chosen, standing_of(status, chosen))
    title = page_title(found.word, QUALITY, chosen)
    return document("quality", parts, base, f"{base}/fragments/quality{query(model)}", title, found.state)


def quality_fragments(status: Plain, *, base: str = "", model: str | None = None) -> dict[str, str]:
    """Return the changing parts of the page on quality, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    standing = standing_of(status, chosen)
    found = accuracy(chosen, standing)
    quality: Plain = (chosen or {}).get("quality") or {}
    view = main_view(quality) or {}
    regression = (chosen or {}).get("task") == "regression"
    split = segments(quality, view, standing, regression=regression)
    bits = frame(status, chosen, base, model, QUALITY) | band(_verdict(found, split), QUALITY, chosen)
    review = f"{base}{PATHS[REVIEW]}{query(model)}"
    ends = _ends(quality, _views(quality, "last", "windows"), regression=regression)
    hero = render("accuracy", found=found, rows=lasts(quality, regression=regression),
                  windows=windows(quality, regression=regression), axis=_axis(quality, regression=regression),
                  regression=regression, facts=errors(view), review=review,
                  expected=expected(chosen, ends))  # fmt: skip
    bits |= {"todo": "", "accuracy": hero, "segments": "", "confusion": "", "calibration": "", "labels": ""}
    bits |= _answers(status, chosen)
    if quality.get("state") != "ok":
        return bits | {"accuracy": "", "todo": render("todo", has_store=bool(quality), has_model=chosen is not None)}
    by = clean(quality.get("segment") or "segment", 40)
    bits["segments"] = render(
        "segments", found=split, missing=_missing(view), by=by, of=found.of, regression=regression
    )
    bits["labels"] = render("labels", facts=facts(quality, review), picture=delays(quality))
    if not regression:
        bits["confusion"] = render(
            "confusion", matrix=confusion(view), missing=_missing(view), of=found.of, review=review
        )
        picture, told = calibration(view)
        bits["calibration"] = render("calibration", picture=picture, told=told, missing=_missing(view))
    return bits


def _answers(status: Plain, chosen: Plain | None) -> dict[str, str]:
    """Return what is known of the answers without labels: how sure the model is, and what it says how often."""
    if chosen is None or chosen.get("task") == "regression":
        return {"history": "", "confidence": ""}
    view = View(status, chosen)
    shares, left_out = shares_over_time(view)
    picture, told = confidence(view)
    return {
        "history": render(
            "shares", shares=shares, left_out=left_out, state=worst([share.state for share in shares]),
            incomplete=view.incomplete(names.PREDICTIONS, "answers"),
        ),
        "confidence": render("confidence", picture=picture, told=told),
    }  # fmt: skip


def _verdict(found: Accuracy, split: Segments) -> Verdict:
    """Return the state of the accuracy; segments below the objective are said, and judged on their own card."""
    told = found.evidence
    if split.state in BELOW:
        told = f"{told} {split.word}: {words.listed([row.name for row in split.rows if row.state in BELOW])}."
    return Verdict(found.state, found.word, found.clause, told)


def _missing(view: Plain) -> str:
    """Return what is missing before there is a number, empty where nothing is."""
    held = view.get("missing") or ({} if view else {"words": "no labels"})
    return clean(held.get("words") or "", 80)


# -- dots with intervals -----------------------------------------------------------------------------------------------


def _found(view: Plain, *, regression: bool) -> Plain:
    held: Plain = view.get("regression" if regression else "accuracy") or {}
    return held


def _mark(found: Plain, *, regression: bool) -> dots.Mark | None:
    if not found:
        return None
    keys = ("mae", "mae_low", "mae_high") if regression else ("value", "low", "high")
    return dots.Mark(*(finite(found.get(key)) for key in keys))


def _ends(quality: Plain, views: Sequence[Plain], *, regression: bool) -> dots.Scale:
    """Return one scale for all these views, so that their rows can be compared."""
    marks = [mark for view in views if (mark := _mark(_found(view, regression=regression), regression=regression))]
    if regression:
        return dots.amounts([mark.high for mark in marks if mark.high is not None])
    return scale_of([mark.low for mark in marks], finite(quality.get("objective")))


def _views(quality: Plain, *kinds: str) -> list[Plain]:
    held: Plain = quality.get("views") or {}
    return [view for kind in kinds for view in held.get(kind) or ()]


def _row(
    view: Plain, name: str, about: str, quality: Plain, ends: dots.Scale, *, regression: bool, limit: bool = True
) -> Row:
    """Return the row of a view or a segment: its numbers, or how many labels it has of how many it needs."""
    objective = finite(quality.get("objective")) if limit and not regression else None
    found = _found(view, regression=regression)
    mark = _mark(found, regression=regression)
    young = view.get("state") == "too_young"
    if mark is None:
        lacks = clean((view.get("missing") or {}).get("words") or "no labels", 80)
        picture = dots.row(None, ends, limit=objective)
        return Row(name, about, "unk", Markup(picture), "", lacks)
    if regression:
        value, spread = amount(mark.value), f"{amount(mark.low)}{DASH}{amount(mark.high)}"
    else:
        value, spread = percent(mark.value), interval(mark.low, mark.high)
    state = "warn" if below(mark.high, objective) and not young else "none"
    tone = "s" if state == "warn" else ""
    picture = dots.row(mark, ends, limit=objective, tone=tone, young=young)
    return Row(name, about, state, Markup(picture), value, spread)


def lasts(quality: Plain, *, regression: bool) -> list[Row]:
    """Return the views over the last labels, the most labels first."""
    ends = _ends(quality, _views(quality, "last", "windows"), regression=regression)
    shown: dict[str, Row] = {}
    sizes = (finite(quality.get("window")), 100.0)
    for view in sorted(_views(quality, "last"), key=lambda v: -(finite(v.get("n")) or 0.0)):
        name = labels_of(view, sizes[0] if not shown else sizes[1]).removeprefix("the ")
        row = _row(view, f"{name[0].upper()}{name[1:]}", "by their arrival", quality, ends, regression=regression)
        shown.setdefault(name, row)
    return list(shown.values())


def windows(quality: Plain, *, regression: bool) -> list[Row]:
    """Return the views by the time of the prediction, each with how many of its labels have come."""
    ends = _ends(quality, _views(quality, "last", "windows"), regression=regression)
    rows = []
    for view in _views(quality, "windows"):
        come = finite(view.get("maturity"))
        n = plural(finite(view.get("n")), "label", "labels")
        if view.get("state") == "too_young":
            about = f"{n}, too young" + ("" if come is None else f": {percent(come, 0)}")
        elif view.get("state") == "too_few":
            about = "" if come is None else f"{percent(come, 0)} of its labels have come"
        else:
            about = n if come is None else f"{n}, {percent(come, 0)} have come"
        name = clean(view.get("name", ""), 40)
        rows.append(_row(view, f"{name[:1].upper()}{name[1:]}", about, quality, ends, regression=regression))
    return rows


def _axis(quality: Plain, *, regression: bool) -> Markup:
    ends = _ends(quality, _views(quality, "last", "windows"), regression=regression)
    return Markup(dots.axis(ends, amount if regression else whole))


def segments(quality: Plain, view: Plain, standing: Standing | None = None, *, regression: bool) -> Segments:
    """Return the segments of a view: worst first, those with too few labels last, and no more than a screen holds.

    standing : the alerts, whose state a segment has where they are evaluated.
    """
    held: Sequence[Plain] = view.get("segments") or ()

    def rank(segment: Plain) -> tuple[bool, float, str]:
        found = _found(segment, regression=regression)
        badness = -(finite(found.get("mae")) or 0.0) if regression else finite(segment.get("shrunk"))
        if badness is None:
            badness = finite(found.get("value")) or 0.0
        return not found, badness, str(segment.get("name", ""))

    ranked = sorted(held, key=rank)
    ends = _ends(quality, ranked, regression=regression)
    rows = [
        _row(s, clean(s.get("name") or "(empty)", 60), _size(s), quality, ends, regression=regression) for s in ranked
    ]
    rows = [
        row._replace(state=judged_by(standing, row.state, "SegmentAccuracyLow", segment=row.name))
        if row.state == "warn" else row
        for row in rows
    ]  # fmt: skip
    rows = [row._replace(about=f"{row.about} · below, no alert") if row.state == "info" else row for row in rows]
    bad = [row for row in rows if row.state in BELOW]
    silent = [row for row in rows if row.state == "unk"]
    if bad:
        state, word = worst([row.state for row in bad]), f"{plural(len(bad), 'segment', 'segments')} below"
    elif not rows or len(silent) == len(rows):
        state, word = "unk", "Cannot tell"
    elif regression or finite(quality.get("objective")) is None:
        state, word = "none", "No objective"
    else:
        state, word = "ok", "None below"
    notes = []
    if not regression and finite(quality.get("objective")) is not None:
        limit = words.limit_percent(finite(quality.get("objective")))
        notes.append(f"Dashed: objective {limit}. A segment is marked only if its whole interval is below it.")
    if len(rows) > SHOWN_SEGMENTS:
        notes.append(f"{len(rows) - SHOWN_SEGMENTS} more segments are not shown.")
    axis = Markup(dots.axis(ends, amount if regression else whole))
    return Segments(state, word, rows[:SHOWN_SEGMENTS], axis, " ".join(notes))


def _size(segment: Plain) -> str:
    return "" if segment.get("missing") else plural(finite(segment.get("n")), "label", "labels")


def errors(view: Plain) -> list[tuple[str, str]]:
    """Return the other measures of a regression."""
    found = _found(view, regression=True)
    if not found:
        return []
    r2 = finite(found.get("r2"))
    bias = finite(found.get("bias"))
    side = "" if not bias else ", the answers are too low" if bias > 0 else ", the answers are too high"
    return [
        ("RMSE", amount(found.get("rmse"))),
        ("R²", "not defined" if r2 is None else number(r2, 3)),
        ("Bias", f"{amount(bias)}{side}"),
    ]
