"""Drift as the pages show it: of every feature and answer its state, its score and its words; and the one verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from modelwatch.server import words
from modelwatch.server.health import Verdict, sentence, worst
from modelwatch.server.standing import Alert, Standing
from modelwatch.server.words import clean, finite, number, plural

LEVELS = {"severe": "Severe", "warning": "Moderate", "info": "Slight"}
STATES = {"severe": "warn", "warning": "warn", "info": "info"}
ANSWERS = {"classes": "Mix of classes", "confidence": "Confidence", "value": "Predicted value"}
ALERT = {True: ("ConceptDriftDetected", "of"), False: ("DataDriftDetected", "feature_name")}
Plain = Mapping[str, Any]


class Row(NamedTuple):
    """A feature, or a part of the answers.

    key : its name as it is, for links. note : what its alert does, where that is not what the score says.
    """

    key: str
    name: str
    kind: str
    answer: bool
    state: str
    word: str
    statistic: str
    score: str
    n: str
    since: float | None
    note: str
    reason: str
    held: Plain


class Missing(NamedTuple):
    """The values of a feature that are in no bin."""

    name: str
    state: str
    word: str
    said: str


class Moved(NamedTuple):
    """All of a model. `why` : nothing is compared; empty where it is. `over` : the windows, in words."""

    rows: Sequence[Row]
    missing: Sequence[Missing]
    why: str
    nobody: bool
    over: str


def moved(model: Plain | None, standing: Standing | None) -> Moved:
    """Return the drift of a model, the worst first."""
    held = (model or {}).get("drift")
    if not isinstance(held, Mapping):
        told = "drift is not watched here: the model is not in the configuration, or it is not read"
        return Moved((), (), told, nobody=True, over="")
    judged = standing if standing is not None and not standing.reason else None
    missing = [_missing(one, judged) for one in held.get("missing") or () if isinstance(one, Mapping)]
    rows = [_row(one, judged) for one in held.get("rows") or () if isinstance(one, Mapping)]
    why = clean(held.get("reason") or "", 200)
    windows: Plain = held.get("windows") or {}
    over = clean((windows.get("long") or {}).get("words") or "", 160)
    return Moved(rows, missing, why, nobody=bool(why) and not held.get("has_reference", True), over=over)


def _row(one: Plain, standing: Standing | None) -> Row:
    key, answer = str(one.get("name", "")), bool(one.get("answer"))
    outcome, level = str(one.get("outcome")), str(one.get("level") or "")
    state, word = {"ok": ("ok", "No drift"), "firing": (STATES.get(level, "info"), LEVELS.get(level, "Slight"))}.get(
        outcome, ("unk", "Cannot tell")
    )
    alert = _alert(standing, *ALERT[answer], key)
    note, since = "", alert.since if alert is not None else None
    if standing is not None and state != "unk":
        state, word, note = _as_told(state, word, alert, standing, answer=answer, key=key)
    name = clean(key, 80) or "(no name)"
    kinds = {"KS": "number", "TV": "category", "PSI": "answers"}
    statistic = clean(one.get("statistic") or "", 8)
    return Row(
        key, ANSWERS.get(key, name) if answer else name, kinds.get(statistic, ""), answer, state, word, statistic,
        number(finite(one.get("score")), 2), number(finite(one.get("n"))), since, note,
        clean(one.get("reason") or "", 240).rstrip("."), one,
    )  # fmt: skip


def _as_told(
    state: str, word: str, alert: Alert | None, standing: Standing, *, answer: bool, key: str
) -> tuple[str, str, str]:
    """Return the state of the alert, with the word of the score, and what tells the two apart."""
    moves = state != "ok"
    if alert is not None and alert.phase == "firing":
        if moves:
            return alert.state, word, ""
        return alert.state, "No drift now", f"The alert goes on for a while: {alert.why}."
    if not moves:
        return state, word, ""
    if alert is not None:
        return "info", word, f"The alert waits: it has held {alert.why}."
    name, label = ALERT[answer]
    why = next((a.why for a in standing.silent if a.name == name and a.labels.get(label) == clean(key, 80)), "")
    return "info", word, f"No alert yet: {why}." if why else "Its alert does not fire."


def _alert(standing: Standing | None, name: str, label: str, value: str) -> Alert | None:
    """Return the worst alert on it that fires or waits."""
    if standing is None:
        return None
    held = (*standing.firing, *standing.said, *standing.pending)
    return next((a for a in held if a.name == name and a.labels.get(label) == clean(value, 80)), None)


def _missing(one: Plain, standing: Standing | None) -> Missing:
    key, outcome = str(one.get("name", "")), str(one.get("outcome"))
    state, word = {"ok": ("ok", "OK"), "firing": ("warn", "Missing")}.get(outcome, ("unk", "Cannot tell"))
    if standing is not None and state != "unk":
        fires = standing.state_of("MissingValues", feature_name=clean(key, 80))
        state = fires or ("info" if state == "warn" else state)
    reason = sentence(clean(one.get("reason") or "", 240).rstrip("."))
    return Missing(clean(key, 80) or "(no name)", state, word, reason)


def drift_verdict(found: Moved) -> Verdict:
    """Return the one state of the inputs and answers of a model."""
    if found.nobody:
        return Verdict("none", "Not watched", "nothing is compared", sentence(found.why))
    if found.why:
        told = f"{sentence(found.why)} Until that is mended nobody can tell whether the world has moved."
        return Verdict("unk", "Cannot tell", "nothing is compared", told)
    if not found.rows:
        told = "No feature is named in the configuration, and there are no answers yet."
        return Verdict("none", "Not watched", "nothing is compared", told)
    state = worst([row.state for row in found.rows] + [one.state for one in found.missing])
    bad = [row for row in found.rows if row.word in LEVELS.values()]
    lost = [one for one in found.missing if one.word == "Missing"]
    silent = [row for row in found.rows if row.state == "unk"]
    unsaid = f" {plural(len(silent), 'row has', 'rows have')} no answer." if silent else ""
    if bad:
        first = bad[0]
        others = "" if len(bad) == 1 else f" and {len(bad) - 1} more"
        clause = f"{_called(first)}{others} {'has' if len(bad) == 1 else 'have'} moved"
        note = f" {first.note}" if first.note else ""
        return Verdict(state, f"{first.word} drift", clause, f"{summary_of(first)}{note}{unsaid}")
    if lost:
        clause = f"values of {words.listed([one.name for one in lost[:3]])} are missing"
        return Verdict(state, "No drift", clause, f"{lost[0].said}{unsaid}")
    if silent:
        clause = f"{len(silent)} of {len(found.rows)} comparisons have no answer"
        if len(silent) == len(found.rows) and len({row.reason for row in silent}) == 1:
            clause = silent[0].reason or clause
        rest = " What was compared has not moved." if len(silent) < len(found.rows) else ""
        return Verdict(state, "Cannot tell", clause, f"{_reasons(silent)}{rest}")
    told = f"{plural(len(found.rows), 'comparison', 'comparisons')} with the training data over {found.over}."
    return Verdict(state, "No drift", "nothing has moved", told)


def _reasons(rows: Iterable[Row]) -> str:
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(row.reason or "no answer", []).append(_called(row))
    return " ".join(f"{_few(names)}: {reason}." for reason, names in list(told.items())[:3])


def _few(names: Sequence[str]) -> str:
    return words.listed(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _called(row: Row) -> str:
    return row.name.lower() if row.answer and row.key in ANSWERS else row.name


def summary_of(row: Row) -> str:
    """Return the sentence of a row."""
    told = (row.held.get("explanation") or {}) if isinstance(row.held.get("explanation"), Mapping) else {}
    return clean(told.get("summary") or sentence(row.reason), 400)
