"""Drift as it stands: every feature, the answers and missing values over the last day and the last hour, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from modelwatch import names
from modelwatch.alerts.rule import level_of
from modelwatch.alerts.words import ago
from modelwatch.config import Config, ModelConfig
from modelwatch.errors import ModelwatchError
from modelwatch.explain import History, explain
from modelwatch.reference import CategoricalProfile, NumericProfile, Reference, invalid_before
from modelwatch.signals import Counts
from modelwatch.signals.drift import (
    ANSWER_PSI,
    CATEGORY_DRIFT,
    FEATURE_KS,
    NOT_ON_THESE,
    Sides,
    invalid_counts,
    sides,
)
from modelwatch.sources.driftviews import views
from modelwatch.statistics import contributions
from modelwatch.statistics.decision import (
    Decision,
    Levels,
    by_window,
    combined,
    decide_categories,
    decide_ks_score,
    decide_missing,
    decide_psi,
)

STATISTIC = {FEATURE_KS.name: "KS", CATEGORY_DRIFT.name: "TV", ANSWER_PSI.name: "PSI"}
MOST_CELLS = 30  # bins or categories shown of one feature
_NO_PROFILE = "there is no profile of the training data: write one with `modelwatch profile`, and name it as reference"
_WORDS = {"classes": "the mix of classes", "confidence": "the confidence", "value": "the predicted value"}
_RANK = {"severe": 0, "warning": 1, "info": 2}
_SPANS = {86_400: "a day", 3600: "an hour"}


@dataclass(frozen=True)
class Watched:
    """What is compared of one model: its configuration, its profile, and the lengths of its windows in seconds.

    problem : why the profile cannot be read; empty where it can, and where none is named.
    """

    model: ModelConfig
    reference: Reference | None
    long_s: int
    short_s: int
    problem: str = ""

    @property
    def windows(self) -> tuple[tuple[str, int], ...]:
        """The long window, of slight and moderate drift, and the short one, of severe drift."""
        return ("long", self.long_s), ("short", self.short_s)


def watched_of(config: Config) -> dict[str, Watched]:
    """Return {model: what is compared of it}; `time_scale` divides the windows.

    A profile that cannot be read is the `problem` of its model alone.
    """
    found = {}
    for name, model in config.models.items():
        reference, problem = None, ""
        try:
            if model.reference:
                reference = Reference.load(model.reference)
        except ModelwatchError as error:
            problem = str(error)
        long_s, short_s = (
            max(round(s / config.time_scale), 1) for s in (model.drift.window_s, model.drift.severe_window_s)
        )
        found[name] = Watched(model, reference, long_s, short_s, problem)
    return found


Compared = tuple[str, str]  # the signal of the score, and the feature or the part of the answers
Histories = Callable[[], Mapping[Compared, History]]  # read where something drifts


def drift_state(
    watched: Watched, version: str, windows: Mapping[str, Counts], histories: Histories = dict, *, over: str = ""
) -> dict[str, Any]:
    """Return the drift of a model version as plain values.

    Parameters
    ----------
    windows : the counts of the "long" and of the "short" window, with the profile in them.
    histories : of what is compared, from which is read since when it drifts.
    over : what the windows are called in words, such as "the log"; empty: by their lengths.

    Returns
    -------
    `reason` : why nothing is compared; None where it is. `has_reference` : whether the model has a profile at all.
    `windows` : of each its `seconds`, those `covered_s` by counts, and `words`, which say so where it is less. `rows`
    : of each feature and each part of the answers, the worst first: `name`, `statistic` (KS, TV, PSI), `outcome`,
    `level`, `score`, `excess`, `smallest`, `n`, `m`, `reason`, the `window` that decided, the decision on each of the
    `windows`, `cells` (shares in training and now), `views` (other distances, see `driftviews.views`), and the
    `explanation`. `missing` : of each feature the decision on its values that are in no bin, over the short window.
    """
    lengths = dict(watched.windows)
    spans = {name: _span(lengths[name], counts) for name, counts in windows.items()}
    if over:
        spans = {name: span | {"name": over, "words": over} for name, span in spans.items()}
    state: dict[str, Any] = {
        "reason": _reason(watched, version),
        "has_reference": watched.model.reference is not None,
        "windows": spans,
        "rows": [],
    }
    invalid = {name: invalid_counts(counts) for name, counts in windows.items()}
    state["missing"] = list(_missing(watched, version, invalid["short"], spans["short"]["name"]))
    if state["reason"] is None:
        rows = [
            *_rows(watched, windows, {name: span["name"] for name, span in spans.items()}, invalid, cache(histories))
        ]
        state["rows"] = sorted(rows, key=_badness)
    return state


def _reason(watched: Watched, version: str) -> str | None:
    if watched.reference is None:
        return watched.problem or _NO_PROFILE
    if version != watched.model.version:
        return f"the profile is that of version {watched.model.version}"
    return None


def _span(seconds: int, counts: Counts) -> dict[str, Any]:
    covered = min(counts.covered_s, seconds)
    words = f"the last {ago(seconds)}"
    if covered < seconds - 1:
        words = f"the last {ago(covered)}: nothing was counted before, so that the window of {ago(seconds)} is not full"
    name = _SPANS.get(seconds, f"a window of {ago(seconds)}")
    return {"seconds": seconds, "covered_s": covered, "name": name, "words": words}


def _badness(row: Mapping[str, Any]) -> tuple[int, float, str]:
    outcome = {"firing": _RANK.get(row["level"] or "", 2), "cannot_tell": 3, "ok": 4}[row["outcome"]]
    return outcome, -(row["excess"] or 0.0), row["name"]


# -- features and answers ----------------------------------------------------------------------------------------------


def _rows(
    watched: Watched, windows: Mapping[str, Counts], spans: Mapping[str, str], invalid: Mapping[str, Any],
    histories: Histories,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    found = {name: sides(counts) for name, counts in windows.items()}
    scores = {name: FEATURE_KS.measure(counts) for name, counts in windows.items()}
    version = watched.model.version
    wanted: list[Compared] = [
        (FEATURE_KS.name if kind == "numeric" else CATEGORY_DRIFT.name, feature)
        for feature, kind in watched.model.features.items()
    ]
    wanted += [key for key in found["long"] if key[0] == ANSWER_PSI.name]
    for key in wanted:
        signal, name = key
        ks = signal == FEATURE_KS.name
        levels = (watched.model.drift.psi if signal == ANSWER_PSI.name else watched.model.drift.ks).model_dump()
        decisions = {}
        for (window, counts), allowed in zip(windows.items(), by_window(levels), strict=True):
            score = scores[window].get((version, name), (None, 0))[0] if ks else None
            one = found[window].get(key)
            decisions[window] = (
                _nothing(watched, key, counts, spans[window])
                if one is None
                else _decision(signal, one, score, allowed, counts, spans[window])
            )
        decision = combined(decisions["long"], decisions["short"])
        window = "short" if decision is decisions["short"] else "long"
        yield _row(
            key, decision, decisions, window, found[window].get(key), windows[window],
            invalid[window].get(name, (0, 0)), histories,
        )  # fmt: skip


def _decision(signal: str, one: Sides, score: float | None, levels: Levels, counts: Counts, span: str) -> Decision:
    """Return the decision on both sides: the rule of the alerts on the score of the signal."""
    chance, (profile, current) = counts.objectives.chance, one
    try:
        if signal == FEATURE_KS.name and score is not None and not isinstance(current, Mapping):
            return decide_ks_score(
                score, profile.size, sum(current), levels, chance=chance, deff=chance.deff, window=span
            )
        cells = profile.shown_counts if isinstance(profile, NumericProfile) else profile.counts
        if signal == CATEGORY_DRIFT.name:
            return decide_categories(cells, current, levels, chance=chance, deff=chance.deff, window=span)
        return decide_psi(cells, current, levels, chance=chance, deff=chance.deff, window=span)
    except ModelwatchError as error:  # no feature blinds another
        return Decision("cannot_tell", None, None, None, profile.size, 0, None, str(error))


def _nothing(watched: Watched, key: Compared, counts: Counts, span: str) -> Decision:
    """Return why a feature cannot be compared."""
    signal, name = key
    reference, reason = watched.reference, f"no values in {span}"
    numeric, categorical = ({}, {}) if reference is None else (reference.numeric, reference.categorical)
    profile = numeric.get(name) if signal == FEATURE_KS.name else categorical.get(name)
    if signal != ANSWER_PSI.name and profile is None:
        reason = "the profile of the training data does not have it"
    elif isinstance(profile, NumericProfile) and counts.schema.numeric.get(name, ((), ()))[1] != profile.exported:
        reason = NOT_ON_THESE
    return Decision("cannot_tell", None, None, None, 0 if profile is None else profile.size, 0, None, reason)


def _row(
    key: Compared, decision: Decision, decisions: Mapping[str, Decision], window: str, one: Sides | None,
    counts: Counts, invalid: tuple[int, int], histories: Histories,
) -> dict[str, Any]:  # fmt: skip
    signal, name = key
    told, cells, more = None, [], None
    if one is not None:
        profile, current = one
        mean = _mean(counts, name) if signal == FEATURE_KS.name else None
        history = histories().get(key) if decision.outcome == "firing" else None
        told = explain(_WORDS.get(name, name) if signal == ANSWER_PSI.name else name, profile, current, decision,
                       mean=mean, invalid=invalid[0], history=history)  # fmt: skip
        cells, more = _cells(one), views(one, counts, name if signal == FEATURE_KS.name else None)
    return {
        "name": name,
        "answer": signal == ANSWER_PSI.name,
        "statistic": STATISTIC[signal],
        **asdict(decision),
        "window": window,
        "windows": {of: asdict(each) for of, each in decisions.items()},
        "cells": cells,
        "views": more,
        "explanation": None if told is None else {**asdict(told), "text": told.text()},
    }


def _mean(counts: Counts, feature: str) -> float | None:
    table = counts.table(names.FEATURE_VALUE)
    row = None if table is None else table.rows.get((feature,))
    if table is None or row is None:
        return None
    n, total = int(table.counts[row].sum()), float(table.sums[row])
    return total / n if n and math.isfinite(total) else None


def _cells(one: Sides) -> list[dict[str, Any]]:
    """Return the shares in training and now, of bins in their order, of categories those that moved most."""
    profile, current = one
    numeric = isinstance(profile, NumericProfile)
    before = profile.shown_counts if isinstance(profile, NumericProfile) else profile.counts
    found = contributions(before, current) or []
    if not numeric:
        found = sorted(found, key=lambda cell: -abs(cell.moved))[:MOST_CELLS]
    edges = (*profile.exported, None) if isinstance(profile, NumericProfile) else ()
    return [
        {"cell": edges[i] if edges else str(cell.key), "reference": cell.reference, "current": cell.current}
        for i, cell in enumerate(found)
    ]


# -- missing values ----------------------------------------------------------------------------------------------------


def _missing(
    watched: Watched, version: str, invalid: Mapping[str, tuple[int, int]], span: str
) -> Iterator[dict[str, Any]]:
    threshold = level_of(watched.model, "MissingValues", "warning")
    if threshold is None:
        return
    reference = watched.reference if version == watched.model.version else None
    for feature, (bad, valid) in invalid.items():
        profile: NumericProfile | CategoricalProfile | None = None
        if reference is not None:
            profile = reference.numeric.get(feature) or reference.categorical.get(feature)
        decision = decide_missing(bad, valid, invalid_before(profile), threshold, window=span)
        yield {"name": feature, **asdict(decision)}


Read = Callable[[int], Counts]  # from the length of a window in seconds to its counts


def read_drift(
    watched: Watched | None, version: str, counts: Read, histories: Histories = dict
) -> dict[str, Any] | None:
    """Return `drift_state` of the windows of a model; None where the configuration does not have the model."""
    if watched is None:
        return None
    return drift_state(watched, version, {name: counts(seconds) for name, seconds in watched.windows}, histories)
