"""A report as Markdown: the verdict, what was found, and tables of the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from modelwatch.server import words
from modelwatch.server.words import clean, finite, number, percent, plural

Plain = Mapping[str, Any]

SHOWN = 100  # rows of a table
_WORDS = {"ok": "OK", "info": "Slight", "warning": "Warning", "critical": "Critical", "cannot_tell": "Cannot tell"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$-])")


def markdown(state: Plain) -> str:
    """Return the report; text that comes from the data is escaped."""
    told = state["verdict"]
    lines = [
        f"# {_text(state['log']['name'], 160)}", "",
        f"**{_WORDS[told['state']]}: {_text(told['words'], 160)}.** {_text(told['evidence'], 400)}", "",
        *_facts(state),
        *_findings(state["findings"]),
        *_drift("Drift of each feature", state["features"]),
        *_drift("Drift of the answers", state["answers"]),
        *_quality(state["quality"]),
        *_values(state),
        *_objectives(state["slos"]),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def _text(value: Any, longest: int = 80) -> str:
    return _SPECIAL.sub(r"\\\1", clean(value, longest))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'|'.join(['---'] + ['---:'] * (len(head) - 1))}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _facts(state: Plain) -> Iterator[str]:
    log, asked, reference = state["log"], state["requests"], state["reference"]
    facts = [plural(log["rows"], "row", "rows")]
    if log["from"] is not None:
        facts.append(f"{words.day_and_clock(log['from'])} to {words.day_and_clock(log['until'])}")
    if asked["per_second"] is not None:
        facts.append(words.rate(asked["per_second"]))
    if asked["error_ratio"] is not None:
        facts.append(f"{percent(asked['error_ratio'], 2)} errors")
    if asked["latency"]:
        facts.append(f"P95 {words.latency(asked['latency']['p95_s'])}")
    if reference is not None:
        facts.append(f"reference of {plural(reference['rows'], 'row', 'rows')}")
    yield f"{', '.join(facts)}."
    yield ""


def _findings(found: Sequence[Plain]) -> Iterator[str]:
    if found:
        yield "## What was found"
        yield ""
        for one in found[:SHOWN]:
            word = "Note" if one["what"] in ("unlike", "refused") else _WORDS[one["severity"]]
            yield f"- **{word}**: {_text(one['words'], 400)}"
        yield from _rest(len(found))


def _rest(n: int) -> Iterator[str]:
    if n > SHOWN:
        yield f"- {n - SHOWN} more are in the JSON."
    yield ""


def _drift(title: str, entries: Mapping[str, Plain]) -> Iterator[str]:
    shown = {name: one for name, one in entries.items() if one["statistic"]}
    if not shown:
        return
    yield f"## {title}"
    yield ""
    head = ("Of", "State", "Score", "KS", "p-value", "PSI", "Values")
    yield from _table(head, (_compared(name, one) for name, one in list(shown.items())[:SHOWN]))


def _compared(name: str, one: Plain) -> list[str]:
    state = {"firing": _WORDS["critical" if one["level"] == "severe" else one["level"] or "info"], "ok": "No drift"}
    ks = one["ks"] or {}
    p = finite(ks.get("p_value"))
    return [
        _text(name), state.get(one["outcome"], "Cannot tell"), f"{number(finite(one['score']), 3)} {one['statistic']}",
        number(finite(ks.get("statistic")), 4), "–" if p is None else f"{p:.3g}", number(finite(one["psi"]), 3),
        number(one["n"]),
    ]  # fmt: skip


def _quality(quality: Plain) -> Iterator[str]:
    view = quality["view"]
    if view.get("state") != "decided":
        return
    yield "## Quality"
    yield ""
    right, error = view.get("accuracy"), view.get("regression")
    if right:
        told = f"Accuracy {percent(right['value'])}, {percent(right['low'])} to {percent(right['high'])}"
        before = quality["reference"]
        trained = f"; in the reference {percent(before['value'])}" if before else ""
        yield f"{told}, from {plural(right['n'], 'label', 'labels')}{trained}."
    if error:
        r2 = "not defined" if error["r2"] is None else number(error["r2"], 3)
        told = f"MAE {error['mae']:.4g} ({error['mae_low']:.4g} to {error['mae_high']:.4g}), RMSE {error['rmse']:.4g}"
        yield f"{told}, bias {error['bias']:.4g}, R² {r2}, from {plural(error['n'], 'label', 'labels')}."
    yield ""
    classes = ((view.get("confusion") or {}).get("quality") or {}).get("classes") or ()
    if classes:
        rows = (
            [_text(c["name"]), number(c["support"]), percent(c["precision"]), percent(c["recall"]), number(c["f1"], 3)]
            for c in classes[:SHOWN]
        )
        yield from _table(("Class", "Labels", "Precision", "Recall", "F1"), rows)
    segments = [one for one in view.get("segments") or () if one["accuracy"]]
    if segments:
        ranked = sorted(segments, key=lambda one: one["shrunk"] if one["shrunk"] is not None else 1.0)
        rows = (
            [_text(s["name"]), number(s["n"]), *(percent(s["accuracy"][key]) for key in ("value", "low", "high"))]
            for s in ranked[:SHOWN]
        )
        yield from _table(("Segment", "Labels", "Accuracy", "From", "To"), rows)
    held = view.get("calibration")
    if held:
        error = held["error"]
        yield f"Calibration error {number(error['ece'], 3)}, by chance alone {number(error['noise'], 3)}."
        yield ""


def _values(state: Plain) -> Iterator[str]:
    rows = [
        (name, one["values"]) for name, one in state["features"].items()
        if one["values"]["invalid_share"] or one["values"]["unseen"] or one["values"]["outside"]
    ]  # fmt: skip
    refused = state["data_quality"]["refused"]
    if not rows and not refused:
        return
    yield "## Data quality"
    yield ""
    if rows:
        cells = (
            [_text(name), number(v["missing"]), number(v["type"]), number(v["nan"] + v["inf"]),
             percent(v["unseen"], 2), percent(v["outside"], 2)]
            for name, v in rows[:SHOWN]
        )  # fmt: skip
        yield from _table(("Feature", "Missing", "Wrong type", "Not finite", "Unseen", "Out of range"), cells)
    for one in refused[:SHOWN]:
        yield f"- {plural(one['count'], 'value', 'values')} of {_text(one['where'])} left out: {_text(one['kind'])}"
    yield ""


def _objectives(slos: Sequence[Plain]) -> Iterator[str]:
    if not slos:
        return
    yield "## Objectives"
    yield ""
    rows = (
        [one["slo"], {"meeting": "Meeting", "broken": "Violated"}.get(one["state"], "Cannot tell"),
         f"{one['objective']:g}", number(finite(one["compliance"]), 4), percent(finite(one["remaining"]), 0)]
        for one in slos
    )  # fmt: skip
    yield from _table(("Objective", "State", "Promised", "Kept", "Budget left"), rows)
