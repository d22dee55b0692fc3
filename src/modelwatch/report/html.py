"""A report as one HTML document with the look of the pages: no script, no request, whatever the names in the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.report.cards import (
    SEVERITY,
    Found,
    accuracy_cards,
    answer_facts,
    findings_card,
    history_cards,
    log_facts,
    objectives_card,
    values_card,
)
from modelwatch.server import charts, density, words
from modelwatch.server.driftpage import categories, cells_of, is_numeric, most_moved, small_picture
from modelwatch.server.frame import render, tab_icon
from modelwatch.server.health import Verdict
from modelwatch.server.moved import Row, moved, summary_of
from modelwatch.server.words import MISSING, NBSP, clean, finite, number, plural

Plain = Mapping[str, Any]

STYLES = ("modelwatch.css", "watch.css", "report.css")
SHOWN = 40  # features in the table
DETAILED = 6  # features with a card of their own
#: The boxes in their order: the class of each, its anchor, and the parts that are stacked in it.
LAYOUT = (
    ("c12", "findings", ("findings",)),
    ("c5", "log", ("log",)), ("c7", "", ("history",)),
    ("c7", "drift", ("drift",)), ("c5 stack", "", ("answers", "mix")),
    ("c12 details", "", ("details",)), ("c12", "", ("moves",)),
    ("c5 stack", "quality", ("accuracy", "classes")), ("c7", "", ("segments",)),
    ("c7", "", ("confusion",)), ("c5", "", ("calibration",)),
    ("c12", "data", ("values",)), ("c12", "slos", ("budgets",)),
)  # fmt: skip
_EXPLAIN = (
    "KS: largest gap between both cumulative distributions, for numbers. TV: share of values in other categories. "
    "A state also needs that chance alone would not show it."
)


class Listed(NamedTuple):
    """A row of drift with its small picture and the anchor of its card."""

    row: Row
    href: str
    psi: str
    picture: Markup


def html(state: Plain) -> str:
    """Return the document."""
    found = verdict(state)
    parts = {name: Markup(part) for name, part in _parts(state, found).items()}
    boxes = [(classes, anchor, [parts[name] for name in names if parts[name]]) for classes, anchor, names in LAYOUT]
    there = {anchor for _, anchor, held in boxes if held}
    titles = {
        "findings": "Findings", "log": "Log", "drift": "Drift", "quality": "Quality", "data": "Data", "slos": "SLOs",
    }  # fmt: skip
    log, reference = state["log"], state["reference"] or {}
    name = clean(log["name"], 160)
    css = "".join(files("modelwatch.server").joinpath("static").joinpath(style).read_text("utf-8") for style in STYLES)
    rows = plural(log["rows"], "row", "rows")
    trained = f"{clean(reference.get('name') or 'a profile', 160)}, sha256 {str(reference.get('sha256'))[:12]}"
    return render(
        "report", title=f"{found.word} · {name} · modelwatch", tab=tab_icon(found.state), css=Markup(css),
        hatch=Markup(charts.HATCH), log=name, period=_period(log), verdict=parts["verdict"],
        boxes=[box for box in boxes if box[2]],
        sections=[(anchor, title) for anchor, title in titles.items() if anchor in there],
        version=state["modelwatch"], rows=rows, profile=trained if reference else "",
        notes=[clean(note, 300).rstrip(".") for note in state["notes"][:20]],
    )  # fmt: skip


def verdict(state: Plain) -> Verdict:
    """Return the verdict as the band of the pages shows it."""
    told = state["verdict"]
    shown, word = SEVERITY[told["state"]]
    return Verdict(shown, word, clean(told["words"], 160), clean(told["evidence"], 400))


def _period(log: Plain) -> str:
    if log["from"] is None:
        return "no times"
    return f"{words.day_and_clock(log['from']).removesuffix(f'{NBSP}UTC')} to {words.day_and_clock(log['until'])}"


def _parts(state: Plain, found: Verdict) -> dict[str, str]:
    rows = _rows(state)
    detailed = [row for row in rows if row.state in {"warn", "crit", "info"}][:DETAILED]
    anchors = {(row.answer, row.key): f"of-{i}" for i, row in enumerate(detailed)}
    regression = state["model"]["task"] == "regression"
    parts = {name: "" for _, _, names in LAYOUT for name in names}
    parts["verdict"] = render("verdict", verdict=found, title="", tab="", act=None)
    parts["findings"] = findings_card(state, anchors)
    parts["log"] = log_facts(state)
    parts["mix"] = answer_facts(state)
    parts |= history_cards(state)
    parts |= _drift(rows, anchors, state)
    parts["details"] = "".join(f'<div id="{anchors[row.answer, row.key]}">{_detail(row)}</div>' for row in detailed)
    parts |= accuracy_cards(state, regression=regression)
    parts["values"] = values_card(state)
    parts["budgets"] = objectives_card(state)
    return parts


# -- drift -------------------------------------------------------------------------------------------------------------


def _rows(state: Plain) -> list[Row]:
    held = [*_held(state["features"], answer=False), *_held(state["answers"], answer=True)]
    return list(moved({"drift": {"rows": held}}, None).rows)


def _held(entries: Mapping[str, Plain], *, answer: bool) -> Iterator[Found]:
    for name, entry in entries.items():
        if entry["statistic"]:
            yield {"name": name, "answer": answer, **entry}


def _drift(rows: Sequence[Row], anchors: Mapping[tuple[bool, str], str], state: Plain) -> dict[str, str]:
    def listed(some: Sequence[Row]) -> list[Listed]:
        return [
            Listed(row, anchors.get((row.answer, row.key), ""), number(finite(row.held["psi"]), 2), small_picture(row))
            for row in some[:SHOWN]
        ]

    features, answers = ([row for row in rows if row.answer == which] for which in (False, True))
    parts = {}
    about = f"{plural(len(features), 'feature', 'features')} against the reference · worst first"
    if features:
        parts["drift"] = render(
            "reportdrift", title="Drift of each feature", about=about, rows=listed(features), explain=_EXPLAIN,
            hidden=max(0, len(features) - SHOWN), psi=True,
        )  # fmt: skip
    elif state["reference"] is None:
        parts["drift"] = render(
            "reportfacts", title="Drift", about="nothing is compared", rows=(), hidden=0, heading="",
            facts=[("Reference", "none was given: --reference takes training data or a profile of it")],
        )  # fmt: skip
    if answers:
        parts["answers"] = render(
            "reportdrift", title="Drift of the answers", about="they may move because the world did",
            rows=listed(answers), explain="PSI: how far their distribution is from that of the reference.", hidden=0,
            psi=False,
        )  # fmt: skip
    return parts


def _detail(row: Row) -> str:
    cells = cells_of(row)
    bins = density.bins_of(cells) if is_numeric(cells) else []
    held: Plain = row.held.get("explanation") or {}
    picture = Markup(density.overlay(bins, label=f"Distribution of {row.name} in the log, against the reference."))
    return render(
        "driftdetail", row=row, summary=summary_of(row), picture=picture, since="",
        details=[clean(one, 300) for one in (held.get("details") or ())[:4]],
        actions=[clean(one, 200) for one in (held.get("actions") or ())[:4]],
        cells=most_moved(bins) if bins else categories(cells), numeric=bool(bins), windows=[], views=_distances(row),
        hidden=0,
    )  # fmt: skip


def _distances(row: Row) -> list[tuple[str, str]]:
    """Return the other measures of a row, in words."""
    held = row.held
    named = {
        "psi": "PSI", "jensen_shannon": "Jensen-Shannon", "hellinger": "Hellinger",
        "total_variation": "total variation", "wasserstein": "Wasserstein (in sd of the reference)",
    }  # fmt: skip
    found = [
        f"{name} {number(value, 3)}" for key, name in named.items() if (value := finite(held.get(key))) is not None
    ]
    told = [("Distances", f"{', '.join(found)}.")] if found else []
    ks: Plain = held.get("ks") or {}
    if ks and not row.answer:
        how = "of the raw values" if ks["exact"] else f"to {number(finite(ks['high']), 3)}, from all kept bins"
        told.insert(0, ("KS", f"{number(finite(ks['statistic']), 4)} {how}, p-value {_p(ks['p_value'])}."))
    return told


def _p(value: Any) -> str:
    known = finite(value)
    return MISSING if known is None else "below 0.0001" if known < 1e-4 else number(known, 4)
