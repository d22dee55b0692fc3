"""Every feature and the answers of a log against the reference: the decision of the alerts, and other distances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwatch import names
from modelwatch.batch.analysis import Analysis
from modelwatch.errors import MissingExtra
from modelwatch.reference import CategoricalProfile, NumericProfile, Profile, invalid_before
from modelwatch.report.raw import Raw
from modelwatch.signals import Counts
from modelwatch.signals.drift import Sides, sides
from modelwatch.sources.drift import Watched, drift_state
from modelwatch.statistics import chi_square, psi, unseen_share
from modelwatch.statistics.distances import KS, ChiSquare

THE_LOG = "the log"
MOST_DETAILED = 200  # features whose bins and explanation are told; the worst are first
NONE = "no reference was given: nothing to compare with"
_VIEWS = ("total_variation", "jensen_shannon", "hellinger", "wasserstein")


def compared(found: Analysis, counts: Counts, raw: Raw) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (features, answers) by name, the worst first, as plain values; docs/report.md has the schema."""
    seconds = max(round(counts.covered_s), 1)
    watched = Watched(found.model, found.reference, seconds, seconds)
    state = drift_state(watched, found.model.version, {"long": counts, "short": counts}, over=THE_LOG)
    both = {} if found.reference is None else sides(counts)
    by_name = {(name, signal.startswith("answer")): one for (signal, name), one in both.items()}
    quality = values_of(counts)
    features: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    for i, row in enumerate(state["rows"]):
        name, answer = row["name"], row["answer"]
        entry = _entry(row, by_name.get((name, answer)), None if answer else raw.ks.get(name), whole=i < MOST_DETAILED)
        if answer:
            answers[name] = entry
        else:
            features[name] = {"kind": found.model.features[name], **entry}
    for name, kind in found.model.features.items():
        features.setdefault(name, {"kind": kind, **_nothing()})
    missing = {one["name"]: one for one in state["missing"]}
    for name, entry in features.items():
        profile = _profile(found, name)
        entry["values"] = quality.get(name, {}) | _usual(profile, missing.get(name))
        entry["values"]["outside"] = raw.outside.get(name)
        entry["values"]["unseen"] = _unseen(by_name.get((name, False)))
    return features, answers


def _profile(found: Analysis, name: str) -> Profile | None:
    if found.reference is None:
        return None
    return found.reference.numeric.get(name) or found.reference.categorical.get(name)


def _nothing() -> dict[str, Any]:
    empty = dict.fromkeys(("level", "score", "excess", "smallest", "ks", "psi", "chi_square", "explanation", *_VIEWS))
    return {"outcome": "cannot_tell", "statistic": "", "n": 0, "m": 0, "reason": NONE, "cells": [], **empty}


def _entry(row: Mapping[str, Any], one: Sides | None, exact: KS | None, *, whole: bool) -> dict[str, Any]:
    views = row["views"] or {}
    kept = ("outcome", "level", "statistic", "score", "excess", "smallest", "n", "m", "reason")
    return {
        **{name: row[name] for name in kept},
        "ks": _ks(views.get("ks"), exact, row["m"], row["n"]),
        "psi": None if one is None else psi(*_cells(one)),
        **{name: views.get(name) for name in _VIEWS},
        "chi_square": None if one is None else _tested(chi_square(*_cells(one))),
        "cells": row["cells"] if whole else [],
        "explanation": row["explanation"] if whole else None,
    }


def _cells(one: Sides) -> tuple[Any, Any]:
    """Return both sides on the bins on which they are scored, or by category."""
    profile, current = one
    return (profile.shown_counts if isinstance(profile, NumericProfile) else profile.counts), current


def _ks(bracket: Any, exact: KS | None, m: int, n: int) -> dict[str, Any] | None:
    """Return the exact statistic of the raw values, or the bracket that all kept bins leave of it."""
    if exact is not None:
        value = exact.statistic
        return {"statistic": value, "p_value": _p(exact), "low": value, "high": value, "exact": True}
    if bracket is None:
        return None
    low, high = bracket
    return {"statistic": low, "p_value": _p(KS(low, m, n)), "low": low, "high": high, "exact": False}


def _tested(found: ChiSquare | None) -> dict[str, float | None] | None:
    return None if found is None else {"statistic": found.statistic, "p_value": _p(found)}


def _p(test: KS | ChiSquare) -> float | None:
    try:
        return test.p_value
    except MissingExtra:  # SciPy, of the extra [server]
        return None


# -- what the values are -----------------------------------------------------------------------------------------------


def values_of(counts: Counts) -> dict[str, dict[str, Any]]:
    """Return how many values of each feature are valid, missing, NaN, of a wrong type, or infinite."""
    found: dict[str, dict[str, Any]] = {
        name: {"valid": 0, "missing": 0, "nan": 0, "type": 0, "inf": 0}
        for name in (*counts.schema.numeric, *counts.schema.categorical)
    }
    for metric in (names.FEATURE_VALUE, names.FEATURE_CATEGORY):
        table = counts.table(metric)
        for labels, row in table.rows.items() if table else ():
            if table and labels[0] in found:
                found[labels[0]]["valid"] += int(table.counts[row].sum())
    table = counts.table(names.FEATURE_INVALID)
    for (name, reason), row in table.rows.items() if table else ():
        if table and name in found:
            found[name][reason] = found[name].get(reason, 0) + int(table.counts[row, 0])
    for one in found.values():
        invalid = sum(n for reason, n in one.items() if reason not in ("valid", "inf"))
        one["invalid_share"] = invalid / (invalid + one["valid"]) if invalid + one["valid"] else None
    return found


def _usual(profile: Profile | None, decision: Mapping[str, Any] | None) -> dict[str, Any]:
    told = decision or {"outcome": "cannot_tell", "reason": ""}
    return {
        "usual_share": None if profile is None else invalid_before(profile),
        "outcome": told["outcome"],
        "reason": told["reason"],
    }


def _unseen(one: Sides | None) -> float | None:
    if one is None or not isinstance(one.profile, CategoricalProfile) or not isinstance(one.current, Mapping):
        return None
    return unseen_share(one.profile.counts, one.current)
