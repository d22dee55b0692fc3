"""Small histories of two replicas for the tests of the drift rules: as series for promtool, and as counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from modelwatch import names
from modelwatch.generate.drift import ANSWERS, CATEGORIES, NUMBERS
from modelwatch.generate.text import matcher
from modelwatch.names import Metric, number
from modelwatch.signals.core import MODEL, VERSION
from modelwatch.statistics.counts import Cells

STEP_S = 60.0
EDGES = (1.0, 2.0, 3.0)
SURE_EDGES = (0.5, 0.7, 0.9)
VALUE_EDGES = (-10.0, 0.0, 2500000.0)
FEATURES = {NUMBERS: "number", CATEGORIES: "word"}

Rates = Mapping[str, Cells]  # of each comparison, what comes in a minute, by bin or by name

#: A word may be empty: Prometheus takes a label of no text for no label.
REFERENCE: dict[str, Cells] = {
    NUMBERS: [2500, 2500, 2500, 2500],
    CATEGORIES: {"a": 5000, "b": 3000, "": 2000},
    "classes": {"no": 6000, "yes": 4000},
    "confidence": [1000, 2000, 3000, 4000],
    "value": [4000, 3000, 2000, 1000],
}
AS_TRAINED: Rates = {
    NUMBERS: [10, 10, 10, 10],
    CATEGORIES: {"a": 20, "b": 12, "": 8},
    "classes": {"no": 24, "yes": 16},
    "confidence": [4, 8, 12, 16],
    "value": [16, 12, 8, 4],
}
MOVED: Rates = {
    NUMBERS: [2, 6, 12, 20],
    CATEGORIES: {"a": 4, "b": 12, "": 24},
    "classes": {"no": 8, "yes": 32},
    "confidence": [14, 14, 8, 4],
    "value": [4, 8, 14, 14],
}
SOMEWHAT: Rates = {
    NUMBERS: [6, 7, 12, 15],
    CATEGORIES: {"a": 13, "b": 12, "": 15},
    "classes": {"no": 16, "yes": 24},
    "confidence": [8, 11, 11, 10],
    "value": [13, 12, 9, 6],
}
AT_THE_END: Rates = {**AS_TRAINED, NUMBERS: [0, 0, 0, 40], "confidence": [40, 0, 0, 0]}
NEW_WORDS: Rates = {**AS_TRAINED, CATEGORIES: {"a": 15, "b": 10, "": 5, "new": 10}, "classes": {"no": 20, "maybe": 20}}
#: Numbers and classes that seem to have moved, and too few of them to be sure.
FEW: Rates = {
    NUMBERS: [1, 1, 1, 3],
    CATEGORIES: {"a": 1, "b": 1, "": 1},
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


def counters(scene: Scene, model: str) -> Iterator[dict[str, str]]:
    """Yield the counters of every replica as series of a test."""
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


def profile(scene: Scene, model: str) -> Iterator[dict[str, str]]:
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
            m = total_of(REFERENCE[part])
            shares = accumulate(values_of(REFERENCE[part]))
            for (lower, upper), upto in zip(pairwise((-math.inf, *edges, math.inf)), shares, strict=True):
                labels = {**of, **more, "upper": number(upper), "lower": number(lower)}
                yield _series(metric.name, labels, f"{upto / m!r}{times}")
        for metric, part, label, more in (
            (names.CATEGORY_REFERENCE_SHARE, CATEGORIES, "category", {"feature_name": FEATURES[CATEGORIES]}),
            (names.PREDICTION_REFERENCE_SHARE, "classes", "predicted_class", {}),
        ):
            for cell, n in named_cells(REFERENCE[part]).items():
                share = n / total_of(REFERENCE[part])
                yield _series(metric.name, {**of, **more, label: cell}, f"{share!r}{times}")
        for part, feature in FEATURES.items():
            labels = {**of, "feature_name": feature}
            yield _series(names.FEATURE_REFERENCE_SAMPLES.name, labels, f"{total_of(REFERENCE[part]):g}{times}")
        for part in ANSWERS:
            labels = {**of, "of": part}
            yield _series(names.PREDICTION_REFERENCE_SAMPLES.name, labels, f"{total_of(REFERENCE[part]):g}{times}")


def values_of(cells: Cells) -> list[float]:
    """Return the counts of cells, in their order."""
    return list(cells.values() if isinstance(cells, Mapping) else cells)


def total_of(cells: Cells) -> float:
    """Return the count of all cells together."""
    return float(sum(values_of(cells)))


def named_cells(cells: Cells) -> dict[str, float]:
    """Return the counts of categories; of bins nothing."""
    return dict(cells) if isinstance(cells, Mapping) else {}


# -- counts -----------------------------------------------------------------------------------------------------------


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
                total.update(named_cells(part[of]))
            whole[of] = dict(total)
        else:
            whole[of] = [math.fsum(each) for each in zip(*(values_of(part[of]) for part in parts), strict=True)]
    return whole
