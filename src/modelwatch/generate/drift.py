"""Recording rules of drift over all replicas: one set for any number of models and features.

Every comparison is named by the labels model_name, model_version, `of` (numbers, categories, classes, confidence,
value) and, of the first two, feature_name. What depends on the configuration is in the first group, as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from modelwatch import names
from modelwatch.alerts import objectives_for
from modelwatch.alerts.rule import level_of
from modelwatch.config import ModelConfig
from modelwatch.generate.context import EVALUATE_S, Context
from modelwatch.generate.text import duration, yaml_text
from modelwatch.names import Metric, number
from modelwatch.signals.core import MODEL, VERSION
from modelwatch.statistics.decision import PER_BIN, UNSEEN
from modelwatch.statistics.distances import FLOOR

IDS = f"{MODEL}, {VERSION}"
KEY = f"{IDS}, of, feature_name"
PATH = "rules/drift.yml"
BASE_S = 300.0  # long windows are sums of what came in so many seconds
LONG_S = 7200.0  # windows longer than this are such sums
CELLS = range(2, 22)  # comparisons of so many cells always have a limit, beside those of the profiles
NUMBERS, CATEGORIES = "numbers", "categories"
ANSWERS = ("classes", "confidence", "value")
#: Values of the decision. A comparison that has no counts has none.
CANNOT_TELL, OK, INFO, WARNING, SEVERE = -1, 0, 1, 2, 3

_BINNED = {
    NUMBERS: (names.FEATURE_VALUE, names.FEATURE_REFERENCE_CDF, f"{IDS}, feature_name"),
    "confidence": (names.CONFIDENCE, names.CONFIDENCE_REFERENCE_CDF, IDS),
    "value": (names.PREDICTION_VALUE, names.VALUE_REFERENCE_CDF, IDS),
}
_COUNTED = {
    CATEGORIES: (names.FEATURE_CATEGORY, names.CATEGORY_REFERENCE_SHARE, f"{IDS}, feature_name", "category"),
    "classes": (names.PREDICTIONS, names.PREDICTION_REFERENCE_SHARE, IDS, "predicted_class"),
}
_KS_OF, _PSI_OF = (NUMBERS, CATEGORIES), ANSWERS

Rule = dict[str, str | Mapping[str, str]]


class Spans(NamedTuple):
    """The windows of a model in seconds: slight and moderate drift are judged by the long one, severe by the short."""

    long_s: float
    short_s: float

    @property
    def words(self) -> str:
        """Both, as a label value."""
        return f"{duration(self.long_s)}/{duration(self.short_s)}"


def files(context: Context) -> dict[str, str]:
    """Return the rules."""
    return {PATH: context.header + yaml_text({"groups": groups(context)})}


def spans_of(context: Context) -> dict[str, Spans]:
    """Return the windows of every model, as time_scale makes them."""
    return {
        name: Spans(context.scaled(model.drift.window_s), context.scaled(model.drift.severe_window_s))
        for name, model in context.config.models.items()
    }


def groups(context: Context) -> list[dict[str, object]]:
    """Return the groups of rules: constants, the profiles, the base of long windows, each window, the decision."""
    spans = spans_of(context)
    pairs = sorted(set(spans.values()))
    windows = sorted({span for pair in pairs for span in pair})
    base_s = context.scaled(BASE_S)
    long = [window for window in windows if window > LONG_S]
    every = duration(context.scaled(EVALUATE_S))
    made: list[tuple[str, str, Iterable[Rule]]] = [
        ("drift constants", every, constants(context)),
        ("drift reference", every, reference()),
    ]
    if long:
        made.append(("drift base", duration(base_s), increments(duration(base_s))))
    for window in windows:
        of = Window(window, base_s if window in long else None)
        made.append((f"drift {of.name}", every, of.rules()))
    made.append(("drift decision", every, [decision(pairs)]))
    return [{"name": name, "interval": pace, "rules": list(rules)} for name, pace, rules in made]


# -- what the configuration says ---------------------------------------------------------------------------------------


def constants(context: Context) -> Iterator[Rule]:
    """Yield the numbers of every model: what chance stays below, and the thresholds.

    The name of a model is the value of a label, and never stands in an expression.
    """
    spans = spans_of(context)
    for name, model in context.config.models.items():
        objectives = objectives_for(context.config, name, context.references.get(name))
        chance, of = objectives.chance, {MODEL: name}
        cells = sorted({*CELLS, *(n for n in objectives.cells if n > 1)})
        limits = [({"cells": str(n)}, chance.chi_square_limit(n)) for n in cells]
        thresholds = [
            ({"level": level, "of": part}, limit)
            for part in (*_KS_OF, *_PSI_OF)
            for level, limit in thresholds_of(model, part).items()
        ]
        yield _record("model:drift_chance:z", f"vector({chance.z!r})", of)
        yield _record("model:drift_chance:deff", f"vector({number(chance.deff)})", of)
        yield _record("model_cells:drift_chi_square:limit", _vectors(limits), of)
        yield _record("model_of_level:drift_score:threshold", _vectors(thresholds), of)
        yield _record("model:drift_windows:known", "vector(1)", {**of, "windows": spans[name].words})


def thresholds_of(model: ModelConfig, of: str) -> dict[str, float]:
    """Return the thresholds of a comparison, and as `told` the score that the long window must be able to show."""
    alert = "DataDriftDetected" if of in _KS_OF else "ConceptDriftDetected"
    levels = {level: level_of(model, alert, level) for level in ("info", "warning", "critical")}
    found = {level: limit for level, limit in levels.items() if limit is not None}
    return {**found, "told": found.get("warning", found.get("info", math.inf))}


def _vectors(values: Iterable[tuple[Mapping[str, str], float]]) -> str:
    """Return one vector of numbers with their labels."""
    each = []
    for labels, value in values:
        expression = f"vector({number(value)})"
        for label, text in labels.items():
            expression = _labelled(expression, label, text)
        each.append(expression)
    return _or(each)


def _record(name: str, expression: str, labels: Mapping[str, str] | None = None) -> Rule:
    return {"record": name, "expr": expression} | ({"labels": labels} if labels else {})


def _labelled(expression: str, label: str, value: str) -> str:
    return f'label_replace({expression}, "{label}", "{value}", "", "")'


def _renamed(expression: str, new: str, old: str) -> str:
    return f'label_replace({expression}, "{new}", "$1", "{old}", "(.*)")'


def _or(parts: Iterable[str]) -> str:
    return " or ".join(parts)


# -- the profiles ------------------------------------------------------------------------------------------------------

CDF, SHARE, SIZE = (
    "model_feature_bin:drift_reference:cdf",
    "model_feature_cell:drift_reference:share",
    "model_feature:drift_reference:samples",
)


def reference() -> Iterator[Rule]:
    """Yield the profiles, once for all replicas: cumulative shares at the edges, shares of cells, sizes."""
    bins = (
        _labelled(f"max by ({by}, upper, lower) ({metric.name})", "of", of) for of, (_, metric, by) in _BINNED.items()
    )
    yield _record(CDF, _or(bins))
    before = _renamed(f"sum without (lower) ({CDF})", "lower", "upper")
    below = f"sum by ({KEY}, lower) ({before})"
    share = f'({CDF} - on ({KEY}, lower) group_left () {below}) or {CDF}{{lower="-Inf"}}'
    cells = [f"sum by ({KEY}, cell) ({_renamed(f'({share})', 'cell', 'upper')})"]
    for of, (_, metric, by, label) in _COUNTED.items():
        known = _renamed(f"max by ({by}, {label}) ({metric.name} > 0)", "cell", label)
        cells.append(_labelled(f"sum by ({by}, cell) ({known})", "of", of))
    yield _record(SHARE, _or(cells))
    features = f"max by ({IDS}, feature_name) ({names.FEATURE_REFERENCE_SAMPLES.name})"
    sizes = [
        _labelled(f"{features} and on ({IDS}, feature_name) {metric.name}", "of", of)
        for of, metric in ((NUMBERS, names.FEATURE_REFERENCE_CDF), (CATEGORIES, names.CATEGORY_REFERENCE_SHARE))
    ]
    sizes.append(f"max by ({IDS}, of) ({names.PREDICTION_REFERENCE_SAMPLES.name})")
    yield _record(SIZE, f"({_or(sizes)}) > 0")


# -- counts of windows -------------------------------------------------------------------------------------------------


def _upto(window: str) -> str:
    """Return the counts up to each edge, over all replicas."""
    each = []
    for of, (metric, _, by) in _BINNED.items():
        counted = f"sum by ({by}, le) (increase({metric.name}_bucket[{window}]))"
        each.append(_labelled(f"sum by ({by}, upper) ({_renamed(counted, 'upper', 'le')})", "of", of))
    return _or(each)


def _counted(window: str) -> str:
    each = []
    for of, (metric, _, by, label) in _COUNTED.items():
        cells = _renamed(f"sum by ({by}, {label}) ({_grown(metric, window)})", "cell", label)
        each.append(_labelled(f"sum by ({by}, cell) ({cells})", "of", of))
    return _or(each)


def _grown(metric: Metric, window: str) -> str:
    """Return the increase of series that may begin with their first count, where the replica is older than that."""
    known = f"{names.EVENTS.name} offset {window}"
    born = f"last_over_time({metric.name}[{window}]) unless {metric.name} offset {window}"
    return f"({born} and on (instance, job, {IDS}) {known}) + 0 or increase({metric.name}[{window}])"  # + 0 : no name


def increments(every: str) -> Iterator[Rule]:
    """Yield what came in since the last evaluation, of which long windows are sums."""
    yield _record(f"model_feature_bin:drift_upto:increase{every}", _upto(every))
    yield _record(f"model_feature_cell:drift_counted:increase{every}", _counted(every))


# -- scores of a window ------------------------------------------------------------------------------------------------


class Window:
    """The rules of one window.

    Parameters
    ----------
    seconds : its length.
    base_s : the pace of the increments that it is the sum of; None: its counts are increases of the counters.
    """

    def __init__(self, seconds: float, base_s: float | None) -> None:
        self.name = duration(seconds)
        self._seconds, self._base_s = seconds, base_s

    def of(self, what: str, level: str = "model_feature") -> str:
        """Return the name of a recorded series of this window."""
        return f"{level}:drift_{what}:{self.name}"

    def rules(self) -> Iterator[Rule]:
        """Yield them: counts, shares, distances with their noise, the score and how surely it is not chance."""
        yield from self._counts()
        yield from self._distances()
        yield from self._judged()

    def _counts(self) -> Iterator[Rule]:
        upto, counted = self.of("upto", "model_feature_bin"), self.of("counted", "model_feature_cell")
        if self._base_s is None:
            yield _record(upto, _upto(self.name))
            yield _record(counted, _counted(self.name))
        else:  # a range that holds as many evaluations as fit into the window, whether its ends are open or not
            base, inside = duration(self._base_s), duration(self._seconds - self._base_s / 2)
            for name, level in (("upto", "model_feature_bin"), ("counted", "model_feature_cell")):
                series = f"{level}:drift_{name}:increase{base}"
                yield _record(self.of(name, level), f"sum_over_time({series}[{inside}])")
        n = f'sum by ({KEY}) ({upto}{{upper="+Inf"}}) or sum by ({KEY}) ({counted})'
        other_bins = f"{CDF} unless on ({KEY}, upper) {upto}"  # then nothing can be said
        yield _record(self.of("samples"), f"(({n}) and on ({KEY}) {SIZE}) unless on ({KEY}) ({other_bins})")
        n = self.of("samples")
        here = f"({CDF} * 0 + on ({KEY}, upper) group_left () {upto})"
        below = f"({CDF} * 0 + on ({KEY}, lower) group_left () {_renamed(upto, 'lower', 'upper')})"
        first = f'{CDF}{{lower="-Inf"}} * 0'
        bins = _renamed(f"({here} - ({below} or {first}))", "cell", "upper")
        known = f'{SHARE}{{of=~"{CATEGORIES}|classes"}} * 0'
        cells = f"({known} + on ({KEY}, cell) {counted}) or {known}"
        yield _record(self.of("cells", "model_feature_cell"), f"sum by ({KEY}, cell) ({bins}) or ({cells})")
        cells = self.of("cells", "model_feature_cell")
        rest = f'round({n}{{of=~"{CATEGORIES}|classes"}} - on ({KEY}) sum by ({KEY}) ({cells})) > 0'
        every = f"({cells} or {_labelled(rest, 'cell', UNSEEN)})"
        yield _record(self.of("share", "model_feature_cell"), f"{every} / on ({KEY}) group_left () ({n} > 0)")

    def _distances(self) -> Iterator[Rule]:
        n, v, s = self.of("effective"), self.of("variance"), self.of("share", "model_feature_cell")
        samples = self.of("samples")
        yield _record(n, f"{samples} / on ({MODEL}) group_left () model:drift_chance:deff")
        upto, cells = self.of("upto", "model_feature_bin"), self.of("bins")
        q = self.of("expected", "model_feature_cell")
        yield _record(q, f"({SHARE} and on ({KEY}) ({n} > 0)) or {s} * 0")  # what training did not have has share 0
        yield _record(v, f"1 / ({n} > 0) + on ({KEY}) 1 / {SIZE}")
        yield _record(cells, f"count by ({KEY}) ({s})")
        gap = f"abs({upto} / on ({KEY}) group_left () ({samples} > 0) - on ({KEY}, upper) {CDF})"
        yield _record(self.of("ks"), f"max by ({KEY}) ({gap})")
        low, high = (f"clamp_min({side}, {FLOOR!r})" for side in (s, q))
        psi = f"sum by ({KEY}) (({low} - {high}) * ln({low} / {high}))"
        yield _record(self.of("psi"), psi)
        yield _record(self.of("psi_noise"), f"({cells} - 1) * on ({KEY}) {v}")
        yield _record(self.of("tv"), f"sum by ({KEY}) (abs({s} - {q})) / 2")
        pooled = self.of("pooled", "model_feature_cell")
        sn, qm = f"{s} * on ({KEY}) group_left () {n}", f"{q} * on ({KEY}) group_left () {SIZE}"
        yield _record(pooled, f"({sn} + {qm}) / on ({KEY}) group_left () ({n} + on ({KEY}) {SIZE})")
        each = f"sqrt(2 * {pooled} * clamp_min(1 - {pooled}, 0) * on ({KEY}) group_left () {v} / {math.pi!r})"
        yield _record(self.of("tv_noise"), f"sum by ({KEY}) ({each}) / 2")
        statistic = f"sum by ({KEY}) (({s} - {q}) ^ 2 / ({pooled} > 0))"
        yield _record(self.of("chi_square"), f"{statistic} / on ({KEY}) {v}")

    def _judged(self) -> Iterator[Rule]:
        n, v, cells = self.of("effective"), self.of("variance"), self.of("bins")
        enough = f"{n} >= on ({KEY}) {PER_BIN} * ({cells} > 1)"
        tv = f'clamp_min({self.of("tv")}{{of="{CATEGORIES}"}} - on ({KEY}) {self.of("tv_noise")}, 0)'
        psi = f'clamp_min({self.of("psi")}{{of=~"{"|".join(ANSWERS)}"}} - on ({KEY}) {self.of("psi_noise")}, 0)'
        ks = f'{self.of("ks")}{{of="{NUMBERS}"}}'
        yield _record(
            self.of("score"), f"sum by ({KEY}) ({ks}) or (sum by ({KEY}) ({tv} or {psi}) and on ({KEY}) ({enough}))"
        )
        counted = f'count_values by ({KEY}) ("cells", {cells})'
        limit = self.of("chi_square_limit")
        limits = f"{counted} * on ({MODEL}, cells) group_left () model_cells:drift_chi_square:limit"
        yield _record(limit, f"sum by ({KEY}) ({limits})")
        bound = f'sqrt({v}{{of="{NUMBERS}"}}) * on ({MODEL}) group_left () model:drift_chance:z'
        far = f'sqrt({limit}{{of="{CATEGORIES}"}} * on ({KEY}) {v}) / 2'
        psi = f'{limit}{{of=~"{"|".join(ANSWERS)}"}} * on ({KEY}) {v}'
        smallest = self.of("smallest")
        yield _record(smallest, f"({bound}) or ((({far}) or ({psi})) and on ({KEY}) ({enough}))")
        numbers = f"{ks} / on ({KEY}) {smallest}"
        others = f'{self.of("chi_square")}{{of!="{NUMBERS}"}} / on ({KEY}) {limit}'
        yield _record(self.of("certainty"), f"({numbers}) or (({others}) and on ({KEY}) ({enough}))")


def decision(pairs: Sequence[Spans]) -> Rule:
    """Return the rule of the decision: severe by the short window, else what the long one says."""
    each = []
    for pair in pairs:
        long, short = Window(pair.long_s, None), Window(pair.short_s, None)
        told = f"{long.of('smallest')} <= on ({MODEL}, of) group_left () {_threshold('told')}"
        outcome = _or(
            (
                *(
                    f"({_passed(window, level)} * 0 + {value})"
                    for window, level, value in (
                        (short, "critical", SEVERE), (long, "warning", WARNING), (long, "info", INFO)
                    )
                ),
                f"({long.of('certainty')} * 0 and on ({KEY}) ({told}))",
                f"(({long.of('bins')} == 1) * 0)",  # of one and the same value, then and now
                f"({long.of('samples')} * 0 - 1)",
            )
        )  # fmt: skip
        each.append(f'(({outcome}) and on ({MODEL}) model:drift_windows:known{{windows="{pair.words}"}})')
    return _record("model_feature:drift_decision:level", _or(each))


def _passed(window: Window, level: str) -> str:
    score = f"{window.of('score')} >= on ({MODEL}, of) group_left () {_threshold(level)}"
    return f"(({score}) and on ({KEY}) ({window.of('certainty')} >= 1))"


def _threshold(level: str) -> str:
    return f'model_of_level:drift_score:threshold{{level="{level}"}}'
