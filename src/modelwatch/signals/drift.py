"""Signals of drift: how far inputs and answers are from the reference, and how surely it is not chance.

The scores are those of `statistics.decision` on the exported bins. Beside each stands its certainty: the score, or its
chi-square statistic, as a multiple of what chance alone stays below; from 1 on it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.names import Metric
from modelwatch.reference import CategoricalProfile, NumericProfile, Profile, Reference, invalid_before
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


class Sides(NamedTuple):
    """A profile and the counts of a window on its exported bins, or by category."""

    profile: Profile
    current: Sequence[int] | Mapping[str, int]


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
    chance = counts.objectives.chance
    bounds = chance.z * np.sqrt(chance.deff / some + 1 / plan.sizes)
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
    needed = smallest_sample(cells, chance.deff)
    if n < needed or cells < 2:
        return Compared(None, None, n, needed)
    value, by_chance = score(reference, current), noise(reference, current, chance.deff)
    statistic = effective_chi_square(reference, current, chance.deff)
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


def _category_sides(counts: Counts) -> dict[str, Sides]:
    table = counts.table(names.FEATURE_CATEGORY)
    if counts.reference is None or table is None:
        return {}
    values = table.counts[: len(table.rows), 0].tolist()
    current: dict[str, dict[str, int]] = {}
    for (feature, category), n in zip(table.rows, values, strict=True):
        current.setdefault(feature, {})[category] = n
    return {
        feature: Sides(profile, current[feature])
        for feature, profile in counts.reference.categorical.items()
        if feature in current and profile.size
    }


def _categories(counts: Counts) -> Found:
    found = counts.once(_category_sides).items()
    chance = counts.objectives.chance
    return {
        feature: _of_categories(profile, current, chance)
        for feature, (profile, current) in found
        if isinstance(profile, CategoricalProfile) and isinstance(current, Mapping)
    }


def _class_sides(counts: Counts) -> Sides | None:
    table = counts.table(names.PREDICTIONS)
    profile = None if counts.reference is None else counts.reference.prediction
    if table is None or not isinstance(profile, CategoricalProfile) or not profile.size:
        return None
    return Sides(profile, {labels[0]: int(table.counts[row, 0]) for labels, row in table.rows.items()})


def _binned(counts: Counts, metric: Metric, kept: tuple[float, ...], profile: Profile | None) -> Sides | None:
    table = counts.table(metric)
    if table is None or not isinstance(profile, NumericProfile) or not profile.size:
        return None
    if not set(profile.exported) <= set(kept):
        return None
    upto = table.counts[: len(table.rows)].sum(axis=0).cumsum()
    ends = [0, *(int(upto[kept.index(edge)]) for edge in profile.exported), int(upto[-1])]
    return Sides(profile, np.diff(ends).tolist())


def _confidence_sides(counts: Counts) -> Sides | None:
    profile = None if counts.reference is None else counts.reference.confidence
    shown = {*CONFIDENCE_EDGES, counts.schema.threshold}
    if profile is not None and not set(profile.exported) <= shown:
        return None
    return _binned(counts, names.CONFIDENCE, counts.schema.confidence, profile)


def _value_sides(counts: Counts) -> Sides | None:
    profile = None if counts.reference is None else counts.reference.prediction
    return _binned(counts, names.PREDICTION_VALUE, counts.schema.value_edges, profile)


def _answer_sides(counts: Counts) -> dict[str, Sides]:
    each = {
        "classes": _class_sides(counts),
        "confidence": _confidence_sides(counts),
        "value": _value_sides(counts),
    }
    return {of: sides for of, sides in each.items() if sides is not None}


def _answers(counts: Counts) -> Found:
    chance, found = counts.objectives.chance, {}
    for of, (profile, current) in counts.once(_answer_sides).items():
        if isinstance(profile, CategoricalProfile) and isinstance(current, Mapping):
            found[of] = _of_categories(profile, current, chance, by_psi=True)
        elif isinstance(profile, NumericProfile):
            found[of] = _compared(profile.shown_counts, current, len(profile.exported) + 1, chance, psi, "psi")
    return found


def _number_sides(counts: Counts) -> dict[str, Sides]:
    table = counts.table(names.FEATURE_VALUE)
    if counts.reference is None or table is None:
        return {}
    found = {}
    for name, at in zip(*_plan(counts.schema, counts.reference)[:2], strict=True):
        row = table.rows.get((name,))
        profile = counts.reference.numeric[name]
        upto = np.zeros(len(table.counts[0]), np.int64) if row is None else table.counts[row].cumsum()
        ends = [0, *upto[at[: len(profile.exported)]].tolist(), int(upto[-1])]
        found[name] = Sides(profile, np.diff(ends).tolist())
    return found


def sides(counts: Counts) -> dict[tuple[str, str], Sides]:
    """Return both sides of every comparison of a window, on the bins that the scores are made on.

    By (signal of its score, feature or part of the answers); what cannot be compared is left out.
    """
    each = {
        FEATURE_KS: _number_sides(counts),
        CATEGORY_DRIFT: counts.once(_category_sides),
        ANSWER_PSI: counts.once(_answer_sides),
    }
    return {(signal.name, name): one for signal, found in each.items() for name, one in found.items()}


# -- what has no value -------------------------------------------------------------------------------------------------


def invalid_counts(counts: Counts) -> dict[str, tuple[int, int]]:
    """Return (invalid, valid) values of every feature."""
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
    return {feature: (n, valid.get(feature, 0)) for feature, n in wrong.items()}


def _invalid(counts: Counts) -> Measured:
    found: dict[tuple[str, ...], Measure] = {}
    for feature, (invalid, valid) in invalid_counts(counts).items():
        share = wilson(invalid, invalid + valid, Z999)
        before = invalid_before(_profile(counts.reference, feature))
        found[counts.version, feature] = Measure(None if share is None else share.low - before, invalid + valid)
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
