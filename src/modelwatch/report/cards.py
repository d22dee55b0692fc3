"""The cards of a report beside drift: findings, facts, history, accuracy, data quality and objectives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from markupsafe import Markup

from modelwatch.server import charts, words
from modelwatch.server.accuracy import accuracy, amount
from modelwatch.server.budgets import budgets
from modelwatch.server.frame import render
from modelwatch.server.labelled import calibration, confusion
from modelwatch.server.moved import ANSWERS
from modelwatch.server.quality import errors, segments
from modelwatch.server.words import MISSING, clean, finite, number, percent, plural

Plain: TypeAlias = Mapping[str, Any]
Found: TypeAlias = dict[str, Any]

SEVERITY = {
    "ok": ("ok", "OK"), "info": ("info", "Slight"), "warning": ("warn", "Warning"), "critical": ("crit", "Critical"),
    "cannot_tell": ("unk", "Cannot tell"),
}  # fmt: skip
WHAT = {
    "drift": "drift of a feature", "answers": "drift of the answers", "missing": "missing values",
    "accuracy": "quality", "segment": "segment", "slo": "objective", "refused": "left out", "unlike": "new values",
}  # fmt: skip
SHOWN_FINDINGS, SHOWN_VALUES, SHOWN_CLASSES, SHOWN_ANSWERS = 20, 60, 12, 8
_HEIGHT = 112


class Line(NamedTuple):
    """A finding."""

    name: str
    what: str
    state: str
    word: str
    words: str
    href: str


class Bar(NamedTuple):
    """A name with its share of the whole."""

    name: str
    picture: Markup
    value: str
    share: str


class Picture(NamedTuple):
    """A line over time with its name and the number of the whole log."""

    name: str
    value: str
    picture: Markup


class Values(NamedTuple):
    """The values of a feature, as cells."""

    name: str
    state: str
    word: str
    cells: Sequence[str]


def findings_card(state: Plain, anchors: Mapping[tuple[bool, str], str]) -> str:
    """Return what was found; empty where nothing was."""
    found = state["findings"]
    if not found:
        return ""
    lines = []
    for one in found[:SHOWN_FINDINGS]:
        shown, word = SEVERITY[one["severity"]]
        word = "Note" if one["what"] in ("unlike", "refused") else word
        name = clean(one["name"] or "accuracy", 80)
        if one["what"] == "answers":
            name = ANSWERS.get(name, name)
        href = anchors.get((one["what"] == "answers", one["name"]), "") if one["what"] in ("drift", "answers") else ""
        lines.append(Line(name, WHAT[one["what"]], shown, word, clean(one["words"], 400), href))
    return render("reportfindings", rows=lines, hidden=max(0, len(found) - SHOWN_FINDINGS))


# -- facts -------------------------------------------------------------------------------------------------------------


def log_facts(state: Plain) -> str:
    """Return what was read, and how it was answered."""
    log, model, reference, asked = state["log"], state["model"], state["reference"], state["requests"]
    facts = [("Rows", number(log["rows"]))]
    if log["from"] is not None:
        facts.append(("Time", f"{words.span(log['until'] - log['from'])}, by {words.span(log['span_s'])}"))
    if log["undated"]:
        facts.append(("Without a time", plural(log["undated"], "row", "rows")))
    kind = f"{model['task']}, {'configured' if model['configured'] else 'inferred from the columns'}"
    facts.append(("Model", f"{clean(model['name'], 60)} {clean(model['version'], 40)}: {kind}"))
    if reference is not None:
        name = clean(reference["name"], 120) or "a profile"
        facts.append(("Reference", f"{name}, {plural(reference['rows'], 'row', 'rows')}"))
    if asked["per_second"] is not None:
        facts.append(("Rate", words.rate(asked["per_second"])))
    if asked["error_ratio"] is not None:
        facts.append(("Errors", f"{percent(asked['error_ratio'], 2)}, {number(asked['failed'])} requests"))
    if asked["latency"]:
        held = asked["latency"]
        facts.append(("Latency", f"P50 {words.latency(held['p50_s'])}, P95 {words.latency(held['p95_s'])}"))
        if held["slow_share"] is not None:
            limit = words.limit_latency(held["threshold_s"])
            facts.append(("Slower", f"{percent(held['slow_share'], 2)} than {limit}"))
    rows, hidden = _bars(asked["errors"])
    return render(
        "reportfacts", title="Log", about="what was read", facts=facts, rows=rows, hidden=hidden,
        heading="Errors by type",
    )  # fmt: skip


def answer_facts(state: Plain) -> str:
    """Return how often each class was answered, where no card of drift shows it."""
    held = state["requests"]["answers"]
    if len(held) < 2:
        return ""
    rows, hidden = _bars(held)
    return render(
        "reportfacts", title="Answers", about="how often each class was predicted", facts=(), rows=rows, hidden=hidden,
        heading="",
    )  # fmt: skip


def _bars(counts: Mapping[str, int]) -> tuple[list[Bar], int]:
    total = sum(counts.values())
    shown = list(counts.items())[:SHOWN_ANSWERS]
    bars = [
        Bar(clean(name, 60) or "(empty)", Markup(charts.bar(n / total)), number(n), percent(n / total))
        for name, n in shown
    ]
    return bars, len(counts) - len(shown)


# -- over time ---------------------------------------------------------------------------------------------------------


def history_cards(state: Plain) -> dict[str, str]:
    """Return what the log was like over time, and how what has moved did so."""
    held = state["history"]
    if not held:
        return {}
    asked, view = state["requests"], state["quality"]["view"]
    piece = words.span(held["piece_s"])

    def pictured(values: Sequence[Any], name: str, value: str, show: Callable[[float], str], **more: Any) -> Picture:
        series = charts.Series(held["start"], values, held["piece_s"], held["start"][-1] + held["piece_s"], live=False)
        return Picture(name, value, Markup(charts.line(series, label=name, show=show, height=_HEIGHT, **more)))

    lines = [pictured(held["requests"], f"Rows in {piece}", "", lambda v: number(v, 0 if v >= 10 or v == 0 else 1))]
    if asked["error_ratio"] is not None:
        lines.append(pictured(held["error_ratio"], "Errors", percent(asked["error_ratio"], 2), words.limit_percent))
    if asked["latency"]:
        p95 = words.latency(asked["latency"]["p95_s"])
        lines.append(pictured(held["p95_s"], "Latency P95, ms", p95, words.latency, tick=_milliseconds))
    right = view.get("accuracy")
    if right:
        objective = state["quality"]["objective"]
        limit = None if objective is None else charts.Limit(objective, f"objective {words.limit_percent(objective)}")
        lines.append(
            pictured(held["accuracy"], "Accuracy", percent(right["value"]), words.limit_percent, limit=limit, top=1.05)
        )
    if view.get("regression"):
        lines.append(pictured(held["mae"], "Mean absolute error", amount(view["regression"]["mae"]), amount))
    moving = [
        name for name, entry in {**state["features"], **state["answers"]}.items()
        if entry["outcome"] == "firing" and any(v is not None for v in held["drift"].get(name) or ())
    ]  # fmt: skip
    moves = [
        pictured(held["drift"][name], ANSWERS.get(name, clean(name, 60)), "", lambda v: number(v, 2), least_top=0.3)
        for name in moving[:6]
    ]
    parts = {
        "history": render("reporthistory", title="Over time", about=f"one point: {piece}", pictures=lines, across=2)
    }
    if moves:
        about = f"score of what has moved, one point: {piece}"
        parts["moves"] = render("reporthistory", title="Drift over time", about=about, pictures=moves, across=3)
    return parts


def _milliseconds(seconds: float) -> str:
    return number(1000 * seconds, 0 if seconds >= 0.01 or not seconds else 1)


# -- quality -----------------------------------------------------------------------------------------------------------


def accuracy_cards(state: Plain, *, regression: bool) -> dict[str, str]:
    """Return how right the answers are; one card that says so where there are no labels."""
    quality = state["quality"]
    view = quality["view"]
    if view.get("state") != "decided":
        lacks = (view.get("missing") or {}).get("words") or "no labels"
        told = [("Labels", f"{lacks}: give a column of labels, or --labels with a table of them")]
        card = render("reportfacts", title="Quality", about="needs labels", facts=told, rows=(), hidden=0, heading="")
        return {"accuracy": card}
    held = quality | {"state": "ok", "window": quality["labels"] + 1, "views": {"last": [view]}}
    found = accuracy({"task": state["model"]["task"], "quality": held})
    split = segments(held, view, regression=regression)
    parts = {
        "accuracy": render(
            "accuracy", found=found, rows=[], windows=[], axis="", regression=regression,
            facts=errors(view) or _beside(quality), review="", expected=None,
        )
    }  # fmt: skip
    if split.rows:
        by = clean(quality["segment"] or "segment", 40)
        parts["segments"] = render("segments", found=split, missing="", by=by, of=found.of, regression=regression)
    if not regression:
        parts["confusion"] = render("confusion", matrix=confusion(view), missing="", of=found.of, review="")
        picture, said = calibration(view)
        parts["calibration"] = render("calibration", picture=picture, told=said, missing="") if picture else ""
        parts["classes"] = _classes(view, found.of)
    return parts


def _beside(quality: Plain) -> list[tuple[str, str]]:
    """Return the accuracy in training, and how many labels there are."""
    facts = [("Labels", number(quality["labels"]))]
    before = quality["reference"]
    if before is not None:
        facts.append(("In the reference", percent(before["value"])))
    return facts


def _classes(view: Plain, of: str) -> str:
    held = (view.get("confusion") or {}).get("quality") or {}
    rows = sorted(held.get("classes") or (), key=lambda one: -one["support"])
    if not rows:
        return ""
    shown = [
        {
            "name": clean(one["name"], 60) or "(empty)",
            "labels": number(one["support"]),
            **{key: percent(one[key]) for key in ("precision", "recall")},
            "f1": number(one["f1"], 3),
        }
        for one in rows[:SHOWN_CLASSES]
    ]
    return render("reportclasses", rows=shown, of=of, hidden=max(0, len(rows) - SHOWN_CLASSES))


# -- data and objectives -----------------------------------------------------------------------------------------------


def values_card(state: Plain) -> str:
    """Return what the values of the features are, those with most that are none first."""
    refused = [
        f"{plural(one['count'], 'value', 'values')} of {clean(one['where'], 60)}: {clean(one['kind'], 40)}"
        for one in state["data_quality"]["refused"][:SHOWN_FINDINGS]
        if one["where"] != "feature"  # those are in the table
    ]
    ranked = sorted(state["features"].items(), key=lambda one: -(one[1]["values"]["invalid_share"] or 0.0))
    rows = [_values(name, entry["values"]) for name, entry in ranked[:SHOWN_VALUES]]
    if not rows and not refused:
        return ""
    return render("reportvalues", rows=rows, refused=refused, hidden=max(0, len(ranked) - SHOWN_VALUES))


def _values(name: str, held: Plain) -> Values:
    known = {"ok": ("ok", "OK"), "firing": ("warn", "Missing")}
    state, word = known.get(held["outcome"], ("unk", "No values"))
    all_values = held["valid"] + held["missing"] + held["nan"] + held["type"]

    def share(n: float) -> str:
        return "0" if not n else f"{number(n)} ({percent(n / all_values)})"

    def part(ratio: float | None) -> str:
        return MISSING if ratio is None else "0" if not ratio else percent(ratio, 2)

    cells = (
        number(held["valid"]), share(held["missing"]), share(held["type"]), share(held["nan"] + held["inf"]),
        part(finite(held["unseen"])), part(finite(held["outside"])),
    )  # fmt: skip
    return Values(clean(name, 80) or "(no name)", state, word, cells)


def objectives_card(state: Plain) -> str:
    """Return how the objectives stood over the log."""
    name = state["model"]["name"]
    found = budgets({"slos": {"models": {name: state["slos"]}}}, {"name": name}, None)
    if not found.rows:
        return ""
    return render("budgets", rows=found.rows, over="the time of the log", period="the time of the log", past=True)
