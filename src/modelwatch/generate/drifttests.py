"""Unit tests of the drift rules for promtool: small histories, and what our own statistics say of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from modelwatch.alerts import objectives_for
from modelwatch.generate.context import Context
from modelwatch.generate.drift import CATEGORIES, NUMBERS, PATH, Spans, Window, groups, spans_of, thresholds_of
from modelwatch.generate.drifthistories import (
    FEATURES,
    REFERENCE,
    SCENES,
    STEP_S,
    Scene,
    counted,
    counters,
    named_cells,
    profile,
    summed,
    total_of,
    values_of,
)
from modelwatch.generate.text import duration, matcher, yaml_text
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
STEPS_BASE = 5  # of increments; the rules are evaluated so often here
ROUNDED = 1e-05
OFFSET = ROUNDED / math.pi  # so that no expected value lies in the middle between two rounded ones
_LEVEL = {"info": 1, "warning": 2, "severe": 3}


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


def measured(of: str, current: Cells, chance: Chance) -> dict[str, float]:
    """Return what is recorded of one comparison, from our own statistics; what is undefined is not there."""
    reference = REFERENCE[of]
    if not total_of(current):
        return {"samples": 0.0}
    if isinstance(current, Mapping):
        seen = named_cells(reference)
        unseen = sum(n for name, n in current.items() if name not in seen)
        current = {name: current.get(name, 0) for name in seen} | ({UNSEEN: unseen} if unseen else {})
    m, n, cells = total_of(reference), total_of(current), len(values_of(current))
    by_chance, v = noise(reference, current, chance.deff), variance(m, n, chance.deff)
    found: dict[str, float | None] = {
        "samples": n, "psi": psi(reference, current), "tv": total_variation(reference, current),
        "chi_square": effective_chi_square(reference, current, chance.deff),
    }  # fmt: skip
    if by_chance is not None:
        found |= {"psi_noise": by_chance.psi, "tv_noise": by_chance.total_variation}
    if not isinstance(reference, Mapping) and not isinstance(current, Mapping):
        found["ks"] = ks_counts(reference, current)
    found |= _judged(of, found, cells, v, chance) if of == NUMBERS or n >= smallest_sample(cells, chance.deff) else {}
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
            "input_series": [*counters(scene, self.model), *profile(scene, self.model)],
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
                if not total_of(cells):
                    found[version, of] = -1.0
                    continue
                levels = {name: limit for name, limit in thresholds_of(self._config, of).items() if name != "told"}
                slight, severe = by_window(levels)
                decision = combined(self._decided(of, cells, slight), self._decided(of, short[version][of], severe))
                found[version, of] = float(_value(decision))
        return found

    def _decided(self, of: str, current: Cells, levels: Mapping[str, float | None]) -> Decision:
        decide = {NUMBERS: decide_ks, CATEGORIES: decide_categories}.get(of, decide_psi)
        chance = self._chance
        made: Decision = decide(REFERENCE[of], current, levels, chance=chance, deff=chance.deff)  # type: ignore[operator]
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
