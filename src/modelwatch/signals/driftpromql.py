"""The PromQL of the drift signals: windows of the exported bins against the reference's own series."""

from __future__ import annotations

import math

from modelwatch import names
from modelwatch.names import Metric
from modelwatch.signals.core import MODEL, VERSION, Objectives, increase, increase_from_birth, joined
from modelwatch.statistics import Z999
from modelwatch.statistics.decision import PER_BIN
from modelwatch.statistics.distances import FLOOR

IDS = f"{MODEL}, {VERSION}"
FEATURE = f"{IDS}, feature_name"


def _plain(value: float) -> str:
    """Return a constant, whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(value)


def _relabelled(expression: str, new: str, old: str) -> str:
    return f'label_replace({expression}, "{new}", "$1", "{old}", "(.+)")'


def _max(metric: Metric, selector: str, by: str) -> str:
    return f"max by ({by}) ({metric.name}{{{selector}}})"


# -- numeric features --------------------------------------------------------------------------------------------------


def _buckets(metric: Metric, selector: str, window: str, by: str) -> str:
    """Return the counts up to every exported edge, the edge as `upper`."""
    upto = increase(f"{metric.name}_bucket", selector, window, f"{by}, le")
    return f"sum by ({by}, upper) ({_relabelled(upto, 'upper', 'le')})"


def _total(metric: Metric, selector: str, window: str, by: str) -> str:
    return increase(f"{metric.name}_bucket", joined(selector, 'le="+Inf"'), window, by)


def feature_samples(selector: str, window: str) -> str:
    """Return the numbers of values."""
    return _total(names.FEATURE_VALUE, selector, window, FEATURE)


def ks(selector: str, window: str, _objectives: Objectives) -> str:
    """Return the KS statistics of the features."""
    upto = _buckets(names.FEATURE_VALUE, selector, window, FEATURE)
    share = f"{upto} / on ({FEATURE}) group_left () ({feature_samples(selector, window)} > 0)"
    reference = _max(names.FEATURE_REFERENCE_CDF, selector, f"{FEATURE}, upper")
    return f"max by ({FEATURE}) (abs({share} - on ({FEATURE}, upper) {reference}))"


def ks_certainty(selector: str, window: str, objectives: Objectives) -> str:
    """Return KS as a multiple of what chance stays below; absent where no drift of a warning's size could be told."""
    n, m = feature_samples(selector, window), _max(names.FEATURE_REFERENCE_SAMPLES, selector, FEATURE)
    bound = f"{objectives.chance.z!r} * sqrt({_plain(objectives.chance.deff)} / ({n} > 0) + on ({FEATURE}) 1 / {m})"
    times = f"{ks(selector, window, objectives)} / on ({FEATURE}) ({bound})"
    return f"({times} >= 1) or ({times} and on ({FEATURE}) {bound} <= {objectives.drift_warning!r})"


# -- cells: bins or categories, with their counts and shares -----------------------------------------------------------


class Cells:
    """Expressions of a comparison: per cell c and q, by group the totals n and m; labels of a group and of a cell.

    deff : the design effect, by which n is divided where chance is meant.
    """

    def __init__(self, group: str, cell: str, c: str, q: str, n: str, m: str, deff: float = 1.0) -> None:
        self.group, self.cell = group, cell
        self.q, self.n, self.m = f"({q})", f"({n})", f"({m})"
        self.s = f"(({c}) / on ({group}) group_left () ({n} > 0))"
        self.cells = f"count by ({group}) ({self.q})"
        self.deff = deff
        self.n_effective = self.n if deff == 1 else f"({self.n} / {_plain(deff)})"
        #: v = deff/n + 1/m
        self.v = f"({_plain(deff)} / ({n} > 0) + on ({group}) 1 / {self.m})"

    def _pooled(self) -> str:
        n = self.n_effective
        sn = f"{self.s} * on ({self.group}) group_left () {n}"
        qm = f"{self.q} * on ({self.group}) group_left () {self.m}"
        return f"(({sn} + {qm}) / on ({self.group}) group_left () ({n} + on ({self.group}) {self.m}))"

    def psi(self) -> str:
        """Return PSI less its noise."""
        s, q = (f"clamp_min({side}, {FLOOR!r})" for side in (self.s, self.q))
        score = f"sum by ({self.group}) (({s} - {q}) * ln({s} / {q}))"
        noise = f"({self.cells} - 1) * on ({self.group}) {self.v}"
        return f"clamp_min({score} - on ({self.group}) ({noise}), 0)"

    def total_variation(self) -> str:
        """Return total variation less its noise."""
        t = self._pooled()
        each = f"sqrt(2 * {t} * clamp_min(1 - {t}, 0) * on ({self.group}) group_left () {self.v} / {math.pi!r})"
        score, noise = f"sum by ({self.group}) (abs({self.s} - {self.q}))", f"sum by ({self.group}) ({each})"
        return f"clamp_min(({score} - {noise}) / 2, 0)"

    def certainty(self, objectives: Objectives) -> str:
        """Return the chi-square statistic as a multiple of its limit."""
        each = f"({self.s} - {self.q}) ^ 2 / ({self._pooled()} > 0)"
        statistic = f"sum by ({self.group}) ({each}) / on ({self.group}) {self.v}"
        limits = " or ".join(
            f"({self.cells} == {n}) * 0 + {objectives.chance.chi_square_limit(n)!r}" for n in objectives.cells if n > 1
        )
        return f"{statistic} / on ({self.group}) ({limits})"

    def enough(self, expression: str) -> str:
        """Return the expression where every cell has the values that it needs on average."""
        needed = f"{self.n} >= on ({self.group}) {_plain(PER_BIN * self.deff)} * ({self.cells} > 1)"
        return f"({expression}) and on ({self.group}) ({needed})"


def _binned(current: Metric, reference: Metric, of: str, selector: str, window: str, deff: float) -> Cells:
    key = f"{IDS}, upper"
    upto = _buckets(current, selector, window, IDS)
    shares = _max(reference, selector, f"{IDS}, upper, lower")
    first = _max(reference, joined(selector, 'lower="-Inf"'), f"{IDS}, upper, lower")
    here = f"({shares} * 0 + on ({key}) group_left () {upto})"
    below = f"({shares} * 0 + on ({IDS}, lower) group_left () {_relabelled(upto, 'lower', 'upper')})"
    below = f"(sum by ({IDS}, upper, lower) ({below}) or {first} * 0)"
    before = _relabelled(_max(reference, selector, key), "lower", "upper")
    share_below = f"sum by ({IDS}, lower) ({before})"
    q = f"({shares} - on ({IDS}, lower) group_left () {share_below}) or {first}"
    m = _max(names.PREDICTION_REFERENCE_SAMPLES, joined(selector, f'of="{of}"'), IDS)
    return Cells(IDS, "upper", f"{here} - {below}", q, _total(current, selector, window, IDS), m, deff)


def _counted(current: str, shares: str, total: str, m: str, group: str, cell: str, deff: float) -> Cells:
    """Return the cells of categories: those of the reference, and one of all others where there are any."""
    shares = f"({shares} > 0)"
    key = f"{group}, {cell}"
    known = f"({shares} * 0 + on ({key}) {current} or {shares} * 0)"
    rest = f"round(({total} and on ({group}) {shares}) - on ({group}) sum by ({group}) ({known})) > 0"
    unseen = f'label_replace({rest}, "{cell}", "__unseen__", "", "")'
    q = f"{shares} or {unseen} * 0"
    return Cells(group, cell, f"{known} or {unseen}", q, f"({total} and on ({group}) {shares})", m, deff)


def _categories(selector: str, window: str, deff: float = 1.0) -> Cells:
    name, by = names.FEATURE_CATEGORY.name, f"{FEATURE}, category"
    return _counted(
        increase_from_birth(name, selector, window, by),
        _max(names.CATEGORY_REFERENCE_SHARE, selector, by),
        increase_from_birth(name, selector, window, FEATURE),
        _max(names.FEATURE_REFERENCE_SAMPLES, selector, FEATURE),
        FEATURE,
        "category",
        deff,
    )


def categories(selector: str, window: str, objectives: Objectives) -> str:
    """Return the total variation of the categorical features beyond chance."""
    cells = _categories(selector, window, objectives.chance.deff)
    return cells.enough(cells.total_variation())


def category_certainty(selector: str, window: str, objectives: Objectives) -> str | None:
    """Return their chi-square as a multiple of its limit; None without a reference, which has the sizes."""
    cells = _categories(selector, window, objectives.chance.deff)
    return cells.enough(cells.certainty(objectives)) if objectives.cells else None


def category_samples(selector: str, window: str) -> str:
    """Return the numbers of values."""
    return _categories(selector, window).n


# -- answers -----------------------------------------------------------------------------------------------------------


def _answers(selector: str, window: str, deff: float = 1.0) -> dict[str, Cells]:
    by = f"{IDS}, predicted_class"
    classes = _counted(
        increase_from_birth(names.PREDICTIONS.name, selector, window, by),
        _max(names.PREDICTION_REFERENCE_SHARE, selector, by),
        increase_from_birth(names.PREDICTIONS.name, selector, window, IDS),
        _max(names.PREDICTION_REFERENCE_SAMPLES, joined(selector, 'of="classes"'), IDS),
        IDS,
        "predicted_class",
        deff,
    )
    return {
        "classes": classes,
        "confidence": _binned(names.CONFIDENCE, names.CONFIDENCE_REFERENCE_CDF, "confidence", selector, window, deff),
        "value": _binned(names.PREDICTION_VALUE, names.VALUE_REFERENCE_CDF, "value", selector, window, deff),
    }


def _named(expressions: dict[str, str]) -> str:
    return " or ".join(f'label_replace({each}, "of", "{of}", "", "")' for of, each in expressions.items())


def answers(selector: str, window: str, objectives: Objectives) -> str:
    """Return the PSI of the classes, the confidence and the values beyond chance."""
    each = _answers(selector, window, objectives.chance.deff).items()
    return _named({of: cells.enough(cells.psi()) for of, cells in each})


def answer_certainty(selector: str, window: str, objectives: Objectives) -> str | None:
    """Return their chi-square as a multiple of its limit; None without a reference."""
    if not objectives.cells:
        return None
    each = _answers(selector, window, objectives.chance.deff).items()
    return _named({of: cells.enough(cells.certainty(objectives)) for of, cells in each})


def answer_samples(selector: str, window: str) -> str:
    """Return the numbers of predictions."""
    each = _answers(selector, window).items()
    return _named({of: f"{cells.n} and on ({IDS}) {cells.m}" for of, cells in each})


# -- what has no value -------------------------------------------------------------------------------------------------


def _invalid_count(selector: str, window: str) -> str:
    return increase(names.FEATURE_INVALID.name, joined(selector, 'reason!="inf"'), window, FEATURE)


def invalid_samples(selector: str, window: str) -> str:
    """Return the numbers of values, the invalid ones included."""
    numbers = feature_samples(selector, window)
    categorical = increase_from_birth(names.FEATURE_CATEGORY.name, selector, window, FEATURE)
    invalid = _invalid_count(selector, window)
    return f"{invalid} + on ({FEATURE}) ({numbers} or {categorical} or {invalid} * 0)"


def invalid(selector: str, window: str, _objectives: Objectives) -> str:
    """Return the lower Wilson bound of the invalid share less the reference's share."""
    bad, n = _invalid_count(selector, window), f"({invalid_samples(selector, window)} > 0)"
    share, z = f"({bad} / on ({FEATURE}) {n})", Z999
    centre = f"{share} + on ({FEATURE}) {z * z / 2!r} / {n}"
    spread = f"{share} * (1 - {share}) / on ({FEATURE}) {n} + on ({FEATURE}) {z * z / 4!r} / {n} ^ 2"
    low = f"clamp_min(({centre} - {z!r} * sqrt({spread})) / on ({FEATURE}) (1 + {z * z!r} / {n}), 0)"
    before = _max(names.FEATURE_REFERENCE_INVALID, selector, FEATURE)
    return f"{low} - on ({FEATURE}) ({before} or {bad} * 0)"


def other_bins(selector: str, _window: str, _objectives: Objectives) -> str:
    """Return the number of features that are counted on other bins than those of the reference."""
    reference = _max(names.FEATURE_REFERENCE_CDF, selector, f"{FEATURE}, upper")
    bucket = f"{names.FEATURE_VALUE.name}_bucket{{{selector}}}"
    edges = f"group by ({FEATURE}, upper) ({_relabelled(bucket, 'upper', 'le')})"
    key = f"on ({FEATURE}, upper)"
    other = f"(({reference} unless {key} {edges}) or ({edges} unless {key} {reference})) and on ({FEATURE}) {reference}"
    counted = f"group by ({FEATURE}) ({edges})"
    each = f"group by ({FEATURE}) (({other}) and on ({FEATURE}) {counted})"
    return f"count by ({IDS}) ({each}) or {other_bins_samples(selector, '')} * 0"


def other_bins_samples(selector: str, _window: str) -> str:
    """Return 1 where there is a profile."""
    return f"group by ({IDS}) ({names.FEATURE_REFERENCE_CDF.name}{{{selector}}})"
