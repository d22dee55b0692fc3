"""Unit tests of the drift rules for promtool: small histories, and what our own statistics say of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from modelwatch import names
from modelwatch.alerts import objectives_for
from modelwatch.generate.context import Context
from modelwatch.generate.drift import (
    ANSWERS,
    CATEGORIES,
    NUMBERS,
    PATH,
    Spans,
    Window,
    groups,
    spans_of,
    thresholds_of,
)
from modelwatch.generate.text import duration, matcher, yaml_text
from modelwatch.names import Metric, number
from modelwatch.signals.core import MODEL, VERSION
from modelwatch.statistics import (
    Chance,
    effective_chi_square,
    ks_counts,
    noise,
    psi,
    total_variation,
)
from modelwatch.statistics.chance import variance
from modelwatch.statistics.counts import Cells
from modelwatch.statistics.decision import (
    UNSEEN,
    Decision,
    by_window,
    combined,
    decide_categories,
    decide_ks,
    decide_psi,
    smallest_sample,
)

TEST_PATH = "tests/drift.yml"
STEP_S = 60.0
STEPS_BASE = 5  # of increments; the rules are evaluated so often here
ROUNDED = 1e-05
OFFSET = ROUNDED / math.pi  # so that no expected value lies in the middle between two rounded ones
EDGES = (1.0, 2.0, 3.0)
SURE_EDGES = (0.5, 0.7, 0.9)
VALUE_EDGES = (-10.0, 0.0, 2500000.0)
FEATURES = {NUMBERS: "number", CATEGORIES: "word"}
_LEVEL = {"info": 1, "warning": 2, "severe": 3}

Rates = Mapping[str, Cells]  # of each comparison, what comes in a minute, by bin or by name

REFERENCE: dict[str, Cells] = {
    NUMBERS: [2500, 2500, 2500, 2500],
    CATEGORIES: {"a": 5000, "b": 3000, "c": 2000},
    "classes": {"no": 6000, "yes": 4000},
    "confidence": [1000, 2000, 3000, 4000],
    "value": [4000, 3000, 2000, 1000],
}
AS_TRAINED: Rates = {
    NUMBERS: [10, 10, 10, 10],
    CATEGORIES: {"a": 20, "b": 12, "c": 8},
    "classes": {"no": 24, "yes": 16},
    "confidence": [4, 8, 12, 16],
    "value": [16, 12, 8, 4],
}
MOVED: Rates = {
    NUMBERS: [2, 6, 12, 20],
    CATEGORIES: {"a": 4, "b": 12, "c": 24},
    "classes": {"no": 8, "yes": 32},
    "confidence": [14, 14, 8, 4],
    "value": [4, 8, 14, 14],
}
SOMEWHAT: Rates = {
    NUMBERS: [6, 7, 12, 15],
    CATEGORIES: {"a": 13, "b": 12, "c": 15},
    "classes": {"no": 16, "yes": 24},
    "confidence": [8, 11, 11, 10],
    "value": [13, 12, 9, 6],
}
AT_THE_END: Rates = {**AS_TRAINED, NUMBERS: [0, 0, 0, 40], "confidence": [40, 0, 0, 0]}
NEW_WORDS: Rates = {**AS_TRAINED, CATEGORIES: {"a": 15, "b": 10, "c": 5, "new": 10}, "classes": {"no": 20, "maybe": 20}}
#: Numbers and classes that seem to have moved, and too few of them to be sure.
FEW: Rates = {
    NUMBERS: [1, 1, 1, 3],
    CATEGORIES: {"a": 1, "b": 1, "c": 1},
    "classes": {"no": 3, "yes": 4},
    "confidence": [1, 1, 1, 1],
    "value": [1, 1, 1, 1],
}
NOTHING: Rates = {name: (dict.fromkeys(r, 0) if isinstance(r, Mapping) else [0] * len(r)) for name, r in FEW.items()}


@dataclass(frozen=True)
class Phase:
    """So many minutes of the same traffic; `anew` : the counters of the replica begin again at 0."""

    minutes: int
    rates: Rates
    anew: bool = False


@dataclass(frozen=True)
class Scene:
    """A history: what each replica counted, by (instance, version), and when it is looked at, in minutes.

    edge : replaces the second edge of the counted numbers, so that they are on other bins than the profile.
    """

    name: str
    replicas: Mapping[tuple[str, str], Sequence[Phase]]
    at: Sequence[int] = (120,)
    reference: bool = True
    edge: float | None = None


SCENES = (
    Scene("two replicas, one of which sees other inputs", {
        ("a", "1"): [Phase(120, MOVED)], ("b", "1"): [Phase(120, SOMEWHAT)],
    }),
    Scene("as in training", {("a", "1"): [Phase(120, AS_TRAINED)], ("b", "1"): [Phase(120, AS_TRAINED)]}),
    Scene("too little traffic to tell", {("a", "1"): [Phase(110, NOTHING), Phase(10, FEW)]}),
    Scene("a replica begins again at 0", {
        ("a", "1"): [Phase(97, MOVED), Phase(23, MOVED, anew=True)], ("b", "1"): [Phase(120, AS_TRAINED)],
    }),
    Scene("empty bins are floored", {("a", "1"): [Phase(120, AT_THE_END)]}),
    Scene("words and classes that training did not have", {
        ("a", "1"): [Phase(90, AS_TRAINED), Phase(30, NEW_WORDS)], ("b", "1"): [Phase(120, AS_TRAINED)],
    }, (90, 120)),
    Scene("two versions do not mix", {("a", "1"): [Phase(120, AS_TRAINED)], ("b", "2"): [Phase(120, MOVED)]}),
    Scene("a day that drifts somewhat, an hour severely", {
        ("a", "1"): [Phase(1500, SOMEWHAT), Phase(60, MOVED), Phase(120, AS_TRAINED)],
    }, (720, 1560, 1680)),
    Scene("no profile", {("a", "1"): [Phase(120, MOVED)]}, reference=False),
    Scene("counted on other bins than the profile", {("a", "1"): [Phase(120, MOVED)]}, edge=2.5),
)  # fmt: skip


def files(context: Context) -> dict[str, str]:
    """Return the tests; none where the windows are so short, or so long, that the histories do not fit them."""
    name = next(iter(context.config.models))
    spans = spans_of(context)[name]
    if context.config.time_scale != 1 or spans.short_s % 300 or not 600 <= spans.short_s < spans.long_s:
        return {}
    expecting = Expecting(context, name, spans)
    whole = {
        "rule_files": [f"../{PATH}"],
        "evaluation_interval": duration(STEP_S * STEPS_BASE),
        "group_eval_order": [group["name"] for group in groups(context)],
        "tests": [expecting.test(scene) for scene in SCENES],
    }
    return {TEST_PATH: context.header + yaml_text(whole)}


# -- series ------------------------------------------------------------------------------------------------------------


def _series(metric: str, labels: Mapping[str, str], values: str) -> dict[str, str]:
    inside = ",".join(matcher(label, value) for label, value in labels.items())
    return {"series": f"{metric}{{{inside}}}", "values": values}


def _course(phases: Sequence[Phase], of: str, cells: Sequence[int | str]) -> str:
    """Return the values of the counter of some cells, a sample a minute; before it counts anything it is not there."""
    parts, total, minutes = [], 0.0, 0
    known = any(sum(_rate(p.rates, of, c) for c in cells) for p in phases[:1]) or isinstance(cells[0], int)
    for phase in phases:
        step = sum(_rate(phase.rates, of, cell) for cell in cells)
        if phase.anew:
            total = 0.0
        first = 0 if minutes == 0 else 1
        if not known and not step:
            parts.append(f"_x{phase.minutes + 1 - first}")
            minutes += phase.minutes
            continue
        known = True
        start = total if first == 0 else total + step
        parts.append(f"{start:g}+{step:g}x{phase.minutes - first}")
        total, minutes = start + step * (phase.minutes - first), minutes + phase.minutes
    return " ".join(parts)


def _rate(rates: Rates, of: str, cell: int | str) -> float:
    counted = rates[of]
    return float(counted.get(str(cell), 0) if isinstance(counted, Mapping) else counted[int(cell)])


def _bins(metric: Metric, of: str, edges: Sequence[float], phases: Sequence[Phase], labels: Mapping[str, str]) -> Any:
    for i, edge in enumerate((*edges, math.inf)):
        values = _course(phases, of, list(range(i + 1)))
        yield _series(f"{metric.name}_bucket", {**labels, "le": number(edge)}, values)


def _counters(scene: Scene, model: str) -> Iterator[dict[str, str]]:
    numbers = EDGES if scene.edge is None else (EDGES[0], scene.edge, EDGES[2])
    for (instance, version), phases in scene.replicas.items():
        of = {MODEL: model, VERSION: version, "instance": instance, "job": "service"}
        minutes = sum(phase.minutes for phase in phases)
        yield _series(names.EVENTS.name, of, f"0+40x{minutes}")
        yield from _bins(names.FEATURE_VALUE, NUMBERS, numbers, phases, {**of, "feature_name": FEATURES[NUMBERS]})
        yield from _bins(names.CONFIDENCE, "confidence", SURE_EDGES, phases, of)
        yield from _bins(names.PREDICTION_VALUE, "value", VALUE_EDGES, phases, of)
        for metric, part, label, more in (
            (names.FEATURE_CATEGORY, CATEGORIES, "category", {"feature_name": FEATURES[CATEGORIES]}),
            (names.PREDICTIONS, "classes", "predicted_class", {}),
        ):
            for cell in dict.fromkeys(str(cell) for phase in phases for cell in phase.rates[part]):
                yield _series(metric.name, {**of, **more, label: cell}, _course(phases, part, [cell]))


def _profile(scene: Scene, model: str) -> Iterator[dict[str, str]]:
    """Yield the profile as every replica shows it."""
    if not scene.reference:
        return
    for (instance, version), phases in scene.replicas.items():
        times = f"x{sum(phase.minutes for phase in phases)}"
        of = {MODEL: model, VERSION: version, "instance": instance, "job": "service"}
        for metric, part, edges, more in (
            (names.FEATURE_REFERENCE_CDF, NUMBERS, EDGES, {"feature_name": FEATURES[NUMBERS]}),
            (names.CONFIDENCE_REFERENCE_CDF, "confidence", SURE_EDGES, {}),
            (names.VALUE_REFERENCE_CDF, "value", VALUE_EDGES, {}),
        ):
            m = _total(REFERENCE[part])
            shares = accumulate(_values(REFERENCE[part]))
            for (lower, upper), upto in zip(pairwise((-math.inf, *edges, math.inf)), shares, strict=True):
                labels = {**of, **more, "upper": number(upper), "lower": number(lower)}
                yield _series(metric.name, labels, f"{upto / m!r}{times}")
        for metric, part, label, more in (
            (names.CATEGORY_REFERENCE_SHARE, CATEGORIES, "category", {"feature_name": FEATURES[CATEGORIES]}),
            (names.PREDICTION_REFERENCE_SHARE, "classes", "predicted_class", {}),
        ):
            for cell, n in _named(REFERENCE[part]).items():
                share = n / _total(REFERENCE[part])
                yield _series(metric.name, {**of, **more, label: cell}, f"{share!r}{times}")
        for part, feature in FEATURES.items():
            labels = {**of, "feature_name": feature}
            yield _series(names.FEATURE_REFERENCE_SAMPLES.name, labels, f"{_total(REFERENCE[part]):g}{times}")
        for part in ANSWERS:
            labels = {**of, "of": part}
            yield _series(names.PREDICTION_REFERENCE_SAMPLES.name, labels, f"{_total(REFERENCE[part]):g}{times}")


def _values(cells: Cells) -> list[float]:
    return list(cells.values() if isinstance(cells, Mapping) else cells)


def _total(cells: Cells) -> float:
    return float(sum(_values(cells)))


def _named(cells: Cells) -> dict[str, float]:
    return dict(cells) if isinstance(cells, Mapping) else {}


# -- what is expected --------------------------------------------------------------------------------------------------


def counted(phases: Sequence[Phase], at: int, minutes: float) -> dict[str, Cells]:
    """Return what a replica counts in the minutes before `at`, by comparison."""
    found: dict[str, Counter[int | str]] = {}
    begin = 0
    for phase in phases:
        inside = max(0.0, min(at, begin + phase.minutes) - max(at - minutes, begin))
        for of, cells in phase.rates.items():
            items = cells.items() if isinstance(cells, Mapping) else enumerate(cells)
            found.setdefault(of, Counter()).update({key: n * inside for key, n in items})
        begin += phase.minutes
    return {
        of: {str(k): n for k, n in cells.items() if n}
        if of in (CATEGORIES, "classes")
        else [cells[i] for i in range(4)]
        for of, cells in found.items()
    }


def summed(parts: Sequence[Mapping[str, Cells]]) -> dict[str, Cells]:
    """Return the counts of several replicas together."""
    whole: dict[str, Cells] = {}
    for of in parts[0]:
        if of in (CATEGORIES, "classes"):
            total: Counter[str] = Counter()
            for part in parts:
                total.update(_named(part[of]))
            whole[of] = dict(total)
        else:
            whole[of] = [math.fsum(each) for each in zip(*(_values(part[of]) for part in parts), strict=True)]
    return whole


def measured(of: str, current: Cells, chance: Chance) -> dict[str, float]:
    """Return what is recorded of one comparison, from our own statistics; what is undefined is not there."""
    reference = REFERENCE[of]
    if not _total(current):
        return {"samples": 0.0}
    if isinstance(current, Mapping):
        seen = _named(reference)
        unseen = sum(n for name, n in current.items() if name not in seen)
        current = {name: current.get(name, 0) for name in seen} | ({UNSEEN: unseen} if unseen else {})
    m, n, cells = _total(reference), _total(current), len(_values(current))
    by_chance, v = noise(reference, current), variance(m, n)
    found: dict[str, float | None] = {
        "samples": n, "psi": psi(reference, current), "tv": total_variation(reference, current),
        "chi_square": effective_chi_square(reference, current),
    }  # fmt: skip
    if by_chance is not None:
        found |= {"psi_noise": by_chance.psi, "tv_noise": by_chance.total_variation}
    if not isinstance(reference, Mapping) and not isinstance(current, Mapping):
        found["ks"] = ks_counts(reference, current)
    found |= _judged(of, found, cells, v, chance) if of == NUMBERS or n >= smallest_sample(cells) else {}
    return {name: value for name, value in found.items() if value is not None}


def _judged(of: str, found: Mapping[str, float | None], cells: int, v: float, chance: Chance) -> dict[str, float]:
    """Return the score beyond chance, the smallest that can be told, and how surely it is not chance."""
    limit = chance.chi_square_limit(cells)
    known = {name: value or 0.0 for name, value in found.items()}
    if of == NUMBERS:
        bound = chance.z * math.sqrt(v)
        return {"score": known["ks"], "smallest": bound, "certainty": known["ks"] / bound}
    sure = {"certainty": known["chi_square"] / limit}
    if of == CATEGORIES:
        excess = max(known["tv"] - known["tv_noise"], 0.0)
        return sure | {"score": excess, "smallest": math.sqrt(limit * v) / 2}
    return sure | {"score": max(known["psi"] - known["psi_noise"], 0.0), "smallest": limit * v}


RECORDED = (
    "samples", "ks", "psi", "psi_noise", "tv", "tv_noise", "chi_square", "score", "smallest", "certainty",
)  # fmt: skip


class Expecting:
    """Makes the tests of one model's constants."""

    def __init__(self, context: Context, model: str, spans: Spans) -> None:
        self.model, self.spans = model, spans
        self._config = context.config.models[model]
        self._chance = objectives_for(context.config, model, context.references.get(model)).chance

    def test(self, scene: Scene) -> dict[str, Any]:
        """Return a history as a test of promtool."""
        return {
            "interval": duration(STEP_S),
            "name": scene.name,
            "input_series": [*_counters(scene, self.model), *_profile(scene, self.model)],
            "promql_expr_test": [check for at in scene.at for check in self._checks(scene, at)],
        }

    def _checks(self, scene: Scene, at: int) -> Iterator[dict[str, Any]]:
        for seconds in (self.spans.short_s, self.spans.long_s):
            found = {
                (version, of): measured(of, cells, self._chance)
                for version, whole in self._windows(scene, at, seconds).items()
                for of, cells in whole.items()
            }
            for what in RECORDED:
                values = {key: each[what] for key, each in found.items() if what in each}
                yield self._check(Window(seconds, None).of(what), at, values)
        yield self._check("model_feature:drift_decision:level", at, self._decisions(scene, at))

    def _windows(self, scene: Scene, at: int, seconds: float) -> dict[str, dict[str, Cells]]:
        """Return the counts of every version that can be compared."""
        if not scene.reference:
            return {}
        by_version: dict[str, list[Mapping[str, Cells]]] = {}
        for (_, version), phases in scene.replicas.items():
            by_version.setdefault(version, []).append(counted(phases, at, seconds / STEP_S))
        whole = {version: summed(parts) for version, parts in by_version.items()}
        if scene.edge is not None:
            for cells in whole.values():
                del cells[NUMBERS]
        return whole

    def _decisions(self, scene: Scene, at: int) -> dict[tuple[str, str], float]:
        long, short = (self._windows(scene, at, s) for s in (self.spans.long_s, self.spans.short_s))
        found = {}
        for version, whole in long.items():
            for of, cells in whole.items():
                if not _total(cells):
                    found[version, of] = -1.0
                    continue
                levels = {name: limit for name, limit in thresholds_of(self._config, of).items() if name != "told"}
                slight, severe = by_window(levels)
                decision = combined(self._decided(of, cells, slight), self._decided(of, short[version][of], severe))
                found[version, of] = float(_value(decision))
        return found

    def _decided(self, of: str, current: Cells, levels: Mapping[str, float | None]) -> Decision:
        decide = {NUMBERS: decide_ks, CATEGORIES: decide_categories}.get(of, decide_psi)
        made: Decision = decide(REFERENCE[of], current, levels, chance=self._chance)  # type: ignore[operator]
        return made

    def _check(self, name: str, at: int, values: Mapping[tuple[str, str], float]) -> dict[str, Any]:
        check: dict[str, Any] = {"expr": f"round({name} + {OFFSET!r}, {ROUNDED!r})", "eval_time": f"{at}m"}
        if values:
            check["exp_samples"] = [
                {"labels": f"{{{self._labels(*key)}}}", "value": _rounded(value)} for key, value in values.items()
            ]
        return check

    def _labels(self, version: str, of: str) -> str:
        labels = {MODEL: self.model, VERSION: version, "of": of}
        if of in FEATURES:
            labels["feature_name"] = FEATURES[of]
        return ", ".join(matcher(label, value) for label, value in labels.items())


def _rounded(value: float) -> float:
    """Return what PromQL's round() makes of a value and the offset."""
    inverse = 1.0 / ROUNDED
    return math.floor((value + OFFSET) * inverse + 0.5) / inverse


def _value(decision: Decision) -> int:
    if decision.outcome == "firing":
        return _LEVEL[decision.level or "info"]
    return -1 if decision.outcome == "cannot_tell" else 0
