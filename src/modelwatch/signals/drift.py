"""Signals of drift: how far inputs and answers are from the reference, and how surely it is not chance.

The scores are those of `statistics.decision` on the exported bins. Beside each stands its certainty: the score, or its
chi-square statistic, as a multiple of what chance alone stays below; from 1 on it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.names import Metric
from modelwatch.reference import CategoricalProfile, NumericProfile, Profile, Reference
from modelwatch.schema import CONFIDENCE_EDGES, ModelSchema
from modelwatch.signals import driftpromql as promql
from modelwatch.signals.core import VERSION, Counts, Measure, Measured, Objectives, Signal
from modelwatch.statistics import (
    Z999,
    Chance,
    effective_chi_square,
    noise,
    psi,
    smallest_sample,
    total_variation,
    wilson,
)
from modelwatch.statistics.decision import UNSEEN

MOST_PLANS = 256
NOT_ON_THESE = "counted on other bins than the reference"


class Compared(NamedTuple):
    """A window against the reference: score beyond chance, certainty (None: too few values to tell), sizes."""

    score: float | None
    certainty: float | None
    samples: int
    needed: int


Found = Mapping[str, Compared]

# -- numeric features --------------------------------------------------------------------------------------------------


class _Plan(NamedTuple):
    """Where the exported edges of every numeric feature are among the kept ones, and the reference's shares there."""

    names: list[str]
    at: npt.NDArray[np.intp]
    shares: npt.NDArray[np.float64]
    sizes: npt.NDArray[np.float64]
    others: int  # features whose bins are not those of the reference


_plans: dict[tuple[int, int], tuple[ModelSchema, Reference, _Plan]] = {}


def _plan(schema: ModelSchema, reference: Reference) -> _Plan:
    """Return the plan of a schema and a profile; made once for each pair."""
    key = (id(schema), id(reference))
    kept = _plans.get(key)
    if kept is None or kept[0] is not schema or kept[1] is not reference:
        if len(_plans) >= MOST_PLANS:
            _plans.clear()
        kept = _plans[key] = schema, reference, _make_plan(schema, reference)
    return kept[2]


def _make_plan(schema: ModelSchema, reference: Reference) -> _Plan:
    profiles = {name: profile for name, profile in reference.numeric.items() if name in schema.numeric}
    fit = {
        name: profile
        for name, profile in profiles.items()
        if schema.numeric[name][1] == profile.exported and profile.size
    }
    width = max((len(profile.exported) for profile in fit.values()), default=0) + 1
    at = np.full((len(fit), width), schema.feature_bins - 1, np.intp)
    shares = np.ones((len(fit), width))
    for row, (name, profile) in enumerate(fit.items()):
        kept = schema.numeric[name][0]
        at[row, : len(profile.exported)] = [kept.index(edge) for edge in profile.exported]
        shares[row, : len(profile.exported)] = np.cumsum(profile.shown_counts[:-1]) / profile.size
    sizes = np.array([profile.size for profile in fit.values()], np.float64)
    return _Plan(list(fit), at, shares, sizes, len(profiles) - len(fit))


def _features(counts: Counts) -> Found:
    table = counts.table(names.FEATURE_VALUE)
    if counts.reference is None or table is None:
        return {}
    plan = _plan(counts.schema, counts.reference)
    if not plan.names:
        return {}
    rows = [table.rows.get((name,), -1) for name in plan.names]
    upto = table.counts[rows].cumsum(axis=1)
    n = upto[:, -1] * (np.array(rows) >= 0)
    some = np.maximum(n, 1)
    distances = np.abs(np.take_along_axis(upto, plan.at, axis=1) / some[:, None] - plan.shares).max(axis=1)
    bounds = counts.objectives.chance.z * np.sqrt(1 / some + 1 / plan.sizes)
    warning = counts.objectives.drift_warning
    found = {}
    for name, size, distance, bound in zip(plan.names, n.tolist(), distances.tolist(), bounds.tolist(), strict=True):
        told = distance >= bound or bound <= warning
        certainty = distance / bound if size and told else None
        found[name] = Compared(distance if size else None, certainty, size, 0)
    return found


# -- categories, classes, confidence, values ---------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _limit(chance: Chance, cells: int) -> float:
    return chance.chi_square_limit(cells)


def _compared(
    reference: Any, current: Any, cells: int, chance: Chance, score: Callable[[Any, Any], float | None], floor: str
) -> Compared:
    n = int(sum(current.values() if isinstance(current, Mapping) else current))
    needed = smallest_sample(cells)
    if n < needed or cells < 2:
        return Compared(None, None, n, needed)
    value, by_chance = score(reference, current), noise(reference, current)
    statistic = effective_chi_square(reference, current)
    if value is None or by_chance is None or statistic is None:
        return Compared(None, None, n, needed)
    excess = max(value - float(getattr(by_chance, floor)), 0.0)
    return Compared(excess, statistic / _limit(chance, cells), n, needed)


def _of_categories(
    profile: CategoricalProfile, current: Mapping[str, int], chance: Chance, *, by_psi: bool = False
) -> Compared:
    seen = {name: n for name, n in profile.counts.items() if n}
    known = {name: current.get(name, 0) for name in seen}
    unseen = sum(n for name, n in current.items() if name not in seen)
    if unseen:
        known[UNSEEN] = unseen
    if by_psi:
        return _compared(seen, known, len(known), chance, psi, "psi")
    return _compared(seen, known, len(known), chance, total_variation, "total_variation")


def _categories(counts: Counts) -> Found:
    table = counts.table(names.FEATURE_CATEGORY)
    if counts.reference is None or table is None:
        return {}
    values = table.counts[: len(table.rows), 0].tolist()
    current: dict[str, dict[str, int]] = {}
    for (feature, category), n in zip(table.rows, values, strict=True):
        current.setdefault(feature, {})[category] = n
    chance = counts.objectives.chance
    return {
        feature: _of_categories(profile, current[feature], chance)
        for feature, profile in counts.reference.categorical.items()
        if feature in current and profile.size
    }


def _classes(counts: Counts) -> Compared | None:
    table = counts.table(names.PREDICTIONS)
    profile = None if counts.reference is None else counts.reference.prediction
    if table is None or not isinstance(profile, CategoricalProfile) or not profile.size:
        return None
    current = {labels[0]: int(table.counts[row, 0]) for labels, row in table.rows.items()}
    return _of_categories(profile, current, counts.objectives.chance, by_psi=True)


def _binned(counts: Counts, metric: Metric, kept: tuple[float, ...], profile: Profile | None) -> Compared | None:
    table = counts.table(metric)
    if table is None or not isinstance(profile, NumericProfile) or not profile.size:
        return None
    if not set(profile.exported) <= set(kept):
        return None
    upto = table.counts[: len(table.rows)].sum(axis=0).cumsum()
    ends = [0, *(int(upto[kept.index(edge)]) for edge in profile.exported), int(upto[-1])]
    cells = len(profile.exported) + 1
    return _compared(profile.shown_counts, np.diff(ends).tolist(), cells, counts.objectives.chance, psi, "psi")


def _confidence(counts: Counts) -> Compared | None:
    profile = None if counts.reference is None else counts.reference.confidence
    shown = {*CONFIDENCE_EDGES, counts.schema.threshold}
    if profile is not None and not set(profile.exported) <= shown:
        return None
    return _binned(counts, names.CONFIDENCE, counts.schema.confidence, profile)


def _value(counts: Counts) -> Compared | None:
    profile = None if counts.reference is None else counts.reference.prediction
    return _binned(counts, names.PREDICTION_VALUE, counts.schema.value_edges, profile)


def _answers(counts: Counts) -> Found:
    each = {"classes": _classes(counts), "confidence": _confidence(counts), "value": _value(counts)}
    return {of: found for of, found in each.items() if found is not None}


# -- what has no value -------------------------------------------------------------------------------------------------


def invalid_before(profile: Profile | None) -> float:
    """Return the share of a profile's values that were missing or no values; 0 without a profile."""
    if profile is None:
        return 0.0
    invalid = sum(n for reason, n in profile.invalid.items() if reason != "inf")
    return invalid / (invalid + profile.size) if invalid else 0.0


def _invalid(counts: Counts) -> Measured:
    wrong = dict.fromkeys((*counts.schema.numeric, *counts.schema.categorical), 0)
    table = counts.table(names.FEATURE_INVALID)
    for (feature, reason), row in table.rows.items() if table else ():
        wrong[feature] = wrong.get(feature, 0) + (int(table.counts[row, 0]) if table and reason != "inf" else 0)
    valid: dict[str, int] = {}
    table = counts.table(names.FEATURE_VALUE)
    if table is not None:
        sizes = table.counts[: len(table.rows)].sum(axis=1).tolist()
        valid |= {labels[0]: n for labels, n in zip(table.rows, sizes, strict=True)}
    table = counts.table(names.FEATURE_CATEGORY)
    for (feature, _), row in table.rows.items() if table else ():
        valid[feature] = valid.get(feature, 0) + (int(table.counts[row, 0]) if table else 0)
    found: dict[tuple[str, ...], Measure] = {}
    for feature, invalid in wrong.items():
        n = invalid + valid.get(feature, 0)
        share = wilson(invalid, n, Z999)
        before = invalid_before(_profile(counts.reference, feature))
        found[counts.version, feature] = Measure(None if share is None else share.low - before, n)
    return found


def _profile(reference: Reference | None, feature: str) -> Profile | None:
    if reference is None:
        return None
    return reference.numeric.get(feature) or reference.categorical.get(feature)


def _other_bins(counts: Counts) -> Measured:
    if counts.reference is None or not counts.reference.numeric:
        return {}
    return {(counts.version,): Measure(float(_plan(counts.schema, counts.reference).others), 1)}


# -- the signals -------------------------------------------------------------------------------------------------------


def _part(found: Callable[[Counts], Found], part: str) -> Callable[[Counts], Measured]:
    def measure(counts: Counts) -> Measured:
        return {
            (counts.version, name): Measure(getattr(one, part), one.samples, one.needed)
            for name, one in counts.once(found).items()
        }

    return measure


def _signal(
    name: str, title: str, words: str, unit: str, found: Callable[[Counts], Found], part: str,
    expression: Callable[[str, str, Objectives], str | None], samples: Callable[[str, str], str], label: str,
) -> Signal:  # fmt: skip
    return Signal(
        name, title, words, unit, _part(found, part), expression, samples, labels=(VERSION, label),
        counted="predictions" if label == "of" else "values", by_version=True,
    )  # fmt: skip


_SURE = "as a multiple of what chance alone stays below"
FEATURE_KS = _signal(
    "feature_ks", "Drift", "Distance of a feature's distribution from training (KS)", "score", _features, "score",
    promql.ks, promql.feature_samples, "feature_name",
)  # fmt: skip
FEATURE_CERTAINTY = _signal(
    "feature_certainty", "Certainty of drift", f"KS of a feature {_SURE}", "times", _features, "certainty",
    promql.ks_certainty, promql.feature_samples, "feature_name",
)  # fmt: skip
CATEGORY_DRIFT = _signal(
    "category_drift", "Drift", "Distance of a feature's categories from training beyond chance (total variation)",
    "score", _categories, "score", promql.categories, promql.category_samples, "feature_name",
)  # fmt: skip
CATEGORY_CERTAINTY = _signal(
    "category_certainty", "Certainty of drift", f"Chi-square of a feature's categories {_SURE}", "times",
    _categories, "certainty", promql.category_certainty, promql.category_samples, "feature_name",
)  # fmt: skip
ANSWER_PSI = _signal(
    "answer_psi", "Drift of the answers",
    "Distance of the predictions, or of their confidence, from training beyond chance (PSI)", "score", _answers,
    "score", promql.answers, promql.answer_samples, "of",
)  # fmt: skip
ANSWER_CERTAINTY = _signal(
    "answer_certainty", "Certainty of drift of the answers", f"Chi-square of the answers {_SURE}", "times", _answers,
    "certainty", promql.answer_certainty, promql.answer_samples, "of",
)  # fmt: skip
INVALID_EXCESS = Signal(
    "invalid_excess", "Missing values",
    "Share of a feature's values that are missing or no values, surely above the share in training by this", "ratio",
    _invalid, promql.invalid, promql.invalid_samples, 30, labels=(VERSION, "feature_name"), counted="values",
    by_version=True,
)  # fmt: skip
OTHER_BINS = Signal(
    "other_bins", "Other bins", "Features that are counted on other bins than those of the reference", "features",
    _other_bins, promql.other_bins, promql.other_bins_samples, labels=(VERSION,), counted="profiles",
    by_version=True,
)  # fmt: skip
