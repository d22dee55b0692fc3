"""What a report has found: each finding with its severity, and the one verdict over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelwatch.alerts.rule import level_of
from modelwatch.config import ModelConfig
from modelwatch.statistics import wilson

Plain = Mapping[str, Any]

SEVERITIES = ("info", "warning", "critical")
_OF_LEVEL = {"info": "info", "warning": "warning", "severe": "critical"}
_WORDS = {"classes": "The mix of classes", "confidence": "The confidence", "value": "The predicted value"}
ORDER = ("accuracy", "slo", "drift", "answers", "missing", "segment", "unlike", "refused")  # of one severity
_UNLIKE = (
    ("unseen", "are categories that the reference does not have"),
    ("outside", "are outside the range of the reference"),
)
MOST = 100  # findings that are told one by one
FEW = 5  # segments that are named
UNLIKE = 0.01  # share of values beyond the reference that is worth a word


def findings_of(state: Plain, model: ModelConfig) -> list[dict[str, Any]]:
    """Return all findings of a state, the worst first.

    `severity` : info, warning or critical. `what` : accuracy, slo, drift, answers, missing, segment, unlike or refused.
    `name` : of the feature, segment or objective. `words` : a sentence.
    """
    found = [
        *_accuracy(state, model), *_objectives(state), *_drift(state), *_missing(state), *_unlike(state),
        *_refused(state),
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-SEVERITIES.index(one["severity"]), ORDER.index(one["what"])))[:MOST]


def _one(severity: str, what: str, name: str, words: str) -> dict[str, Any]:
    return {"severity": severity, "what": what, "name": name, "words": words}


def _drift(state: Plain) -> list[dict[str, Any]]:
    found = []
    for what, rows in (("drift", state["features"]), ("answers", state["answers"])):
        for name, row in rows.items():
            if row["outcome"] != "firing":
                continue
            told = (row["explanation"] or {}).get("summary") or ""
            subject = _WORDS.get(name, name) if what == "answers" else name
            words = told or f"{subject}: {row['reason']}"
            found.append(_one(_OF_LEVEL.get(row["level"], "info"), what, name, words))
    return found


def _missing(state: Plain) -> list[dict[str, Any]]:
    return [
        _one("warning", "missing", name, f"{name}: {row['values']['reason']}")
        for name, row in state["features"].items()
        if row["values"].get("outcome") == "firing"
    ]


def _unlike(state: Plain) -> list[dict[str, Any]]:
    """Return features with values that the reference does not have."""
    found = []
    for name, row in state["features"].items():
        values, n = row["values"], row["values"].get("valid", 0)
        for key, where in _UNLIKE:
            share = values.get(key)
            surely = None if share is None else wilson(round(share * n), n)
            if surely is not None and surely.low > UNLIKE:
                found.append(_one("info", "unlike", name, f"{name}: {share:.1%} of its values {where}"))
    return found


def _accuracy(state: Plain, model: ModelConfig) -> list[dict[str, Any]]:
    quality = state["quality"]
    view = quality["view"]
    accuracy, objective = view.get("accuracy"), quality["objective"]
    found = []
    if accuracy is None:
        return []
    told = f"Accuracy is {accuracy['value']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%})"
    limit = level_of(model, "LowModelAccuracy", "critical") if objective is not None else None
    before = quality["reference"]
    if limit is not None and accuracy["high"] < limit:
        found.append(_one("critical", "accuracy", "", f"{told}: surely below {limit:.0%}"))
    elif objective is not None and accuracy["high"] < objective:
        found.append(_one("warning", "accuracy", "", f"{told}: surely below its objective of {objective:.0%}"))
    elif before is not None and accuracy["high"] < before["low"]:
        found.append(_one("warning", "accuracy", "", f"{told}: surely below that of training, {before['value']:.1%}"))
    low = [
        (own["value"], one["name"])
        for one in view.get("segments") or ()
        if (own := one.get("accuracy")) and objective is not None and own["high"] < objective
    ]
    if low and objective is not None:
        named = ", ".join(f"{name} {value:.1%}" for value, name in sorted(low)[:FEW])
        more = f" and {len(low) - FEW} more" if len(low) > FEW else ""
        words = f"Surely below the objective of {objective:.0%}: {named}{more}"
        found.append(_one("warning", "segment", min(low)[1], words))
    return found


def _objectives(state: Plain) -> list[dict[str, Any]]:
    found = []
    for one in state["slos"]:
        if one["state"] == "broken" and one["slo"] != "accuracy":  # of which is told with its interval
            kept = "" if one["compliance"] is None else f", kept {one['compliance']:.2%}"
            found.append(_one("warning", "slo", one["slo"], f"Objective {one['slo']} is broken: {one['good']}{kept}"))
    return found


def _refused(state: Plain) -> list[dict[str, Any]]:
    return [
        _one("info", "refused", one["where"], _left_out(one))
        for one in state["data_quality"]["refused"]
        if one["where"] != "feature"  # those are told by feature
    ]


def _left_out(one: Plain) -> str:
    values = "1 value was" if one["count"] == 1 else f"{one['count']} values were"
    return f"{one['where']}: {values} left out: {one['kind']}"


def verdict_of(state: Plain, findings: Sequence[Plain]) -> dict[str, Any]:
    """Return the one verdict: `state` (ok, info, warning, critical, cannot_tell), `words`, and `evidence`."""
    bad = [one for one in findings if one["what"] != "refused"]
    rows = [*state["features"].values(), *state["answers"].values()]
    decided = [row for row in rows if row["outcome"] != "cannot_tell"]
    kept = [one for one in state["slos"] if one["state"] != "cannot_tell"]
    judged = bool(decided) or bool(kept) or state["quality"]["view"].get("state") == "decided"
    if bad:
        worst = bad[0]["severity"]
        more = "" if len(bad) == 1 else f", and {len(bad) - 1} more"
        return {"state": worst, "words": _headline(bad[0]) + more, "evidence": _ended(bad[0]["words"])}
    if not state["log"]["rows"]:
        return {"state": "cannot_tell", "words": "the log is empty", "evidence": "It has no rows."}
    if not judged:
        reason = next((row["reason"] for row in rows if row["reason"]), "there is neither a reference nor a label")
        return {
            "state": "cannot_tell",
            "words": "nothing could be judged",
            "evidence": _ended(f"{reason[0].upper()}{reason[1:]}"),
        }
    if not decided:
        right = state["quality"]["view"].get("accuracy") or {}
        told = f"Accuracy is {right['value']:.1%}." if right else f"{len(kept)} objectives are kept."
        return {"state": "ok", "words": "nothing is wrong", "evidence": told}
    told = f"{len(decided)} of {len(rows)} comparisons with the reference show no drift."
    return {"state": "ok", "words": "nothing has moved", "evidence": told}


def _headline(one: Plain) -> str:
    named = {
        "drift": "{} has moved", "missing": "values of {} are missing", "slo": "objective {} is broken",
        "segment": "segment {} is below its objective", "accuracy": "accuracy is too low",
        "unlike": "{} has values unlike the reference",
    }  # fmt: skip
    if one["what"] == "answers":
        name: str = _WORDS.get(str(one["name"]), str(one["name"]))
        return f"{name[:1].lower()}{name[1:]} has moved"
    return named[one["what"]].format(one["name"])


def _ended(text: str) -> str:
    """Return words that end as a sentence does; a name in front stays as it is."""
    return text if text.endswith(("?", ".")) else f"{text}."


def fails_on(findings: Sequence[Plain], severity: str) -> bool:
    """Tell whether a finding is at least so severe."""
    least = SEVERITIES.index(severity)
    return any(SEVERITIES.index(one["severity"]) >= least for one in findings)
