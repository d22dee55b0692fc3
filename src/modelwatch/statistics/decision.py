"""Is it drift? The rule by which a score becomes ok, firing or "cannot tell", as Prometheus can compute it too.

A score fires at a level when it is above the level's threshold and above what chance alone would show in a month of
looks. The constants of chance depend on nothing but the configuration, so that generated rules carry them as numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from modelwatch.catalogue import KS as KS_LEVELS
from modelwatch.catalogue import PSI as PSI_LEVELS
from modelwatch.statistics.accuracy import wilson
from modelwatch.statistics.chance import Chance, effective_of, noise_of, variance
from modelwatch.statistics.counts import Cells, Counts, Pair, paired
from modelwatch.statistics.distances import ks_counts, psi, total_variation

Level: TypeAlias = Literal["info", "warning", "severe"]
Levels: TypeAlias = Mapping[str, "float | None"]
Outcome: TypeAlias = Literal["ok", "firing", "cannot_tell"]

PER_BIN = 25  # samples that PSI and chi-square need; below, their laws do not hold
MISSING = 0.05  # points of values in no bin above the reference
SURELY = 3.29  # standard errors of a bound that is looked at again and again
UNSEEN = "__unseen__"  # the one cell of all categories that the reference does not have
_NAMES: dict[str, Level] = {"info": "info", "warning": "warning", "critical": "severe"}  # of thresholds and of levels


@dataclass(frozen=True)
class Decision:
    """What a window says about one feature.

    outcome : ok, firing, or cannot_tell.
    level : the highest threshold passed; None unless it fires.
    score : KS, PSI or TV as measured; None without data.
    excess : the score less what chance alone would show; what PSI and TV are judged by. For KS the score itself.
    m, n : values of the reference and of the window.
    smallest : the smallest score that is told from chance (KS, TV: surely; PSI: about). Above 1 no KS or TV is.
    reason : in words.
    """

    outcome: Outcome
    level: Level | None
    score: float | None
    excess: float | None
    m: int
    n: int
    smallest: float | None
    reason: str


# -- the rule ----------------------------------------------------------------------------------------------------------


def decide_ks(
    reference: Counts,
    current: Counts,
    levels: Levels = KS_LEVELS,
    *,
    chance: Chance = Chance(),  # noqa: B008  # a constant
    deff: float = 1.0,
    exact: float | None = None,
    window: str = "a window",
) -> Decision:
    """Decide on a numeric feature by KS: above the threshold, and above `chance.z` sqrt(v).

    Parameters
    ----------
    levels : thresholds by name (info, warning, critical); None or absent switches one off. Slight and moderate drift
        are judged over 24 h and severe drift over 1 h, so pass the levels of the window in hand.
    exact : the KS statistic of the raw values, where they are at hand; else it is that of the bins.
    window : for the words: "an hour", "a day".
    """
    pair = paired("decide_ks", reference, current, ordered=True)
    if pair is None:
        return _nothing(reference, current, window)
    score = exact if exact is not None else (ks_counts(reference, current) or 0.0)
    return decide_ks_score(score, *pair.totals, levels, chance=chance, deff=deff, window=window)


def decide_ks_score(
    score: float,
    m: float,
    n: float,
    levels: Levels = KS_LEVELS,
    *,
    chance: Chance = Chance(),  # noqa: B008
    deff: float = 1.0,
    window: str = "a window",
) -> Decision:
    """Decide on a KS statistic of n current and m reference values, both at least 1; as `decide_ks`.

    Examples
    --------
    >>> decide_ks_score(0.18, m=10_000, n=3_600).level
    'warning'
    >>> decide_ks_score(0.18, m=10_000, n=212, window="an hour").reason
    'with 212 values an hour only drifts above 0.20 can be told from chance; 0.18 was seen'
    """
    bound = chance.z * math.sqrt(variance(m, n, deff))
    return _judged(score, score, m, n, bound, levels, significant=score >= bound, window=window)


def decide_psi(
    reference: Cells,
    current: Cells,
    levels: Levels = PSI_LEVELS,
    *,
    chance: Chance = Chance(),  # noqa: B008
    deff: float = 1.0,
    window: str = "a window",
) -> Decision:
    """Decide by PSI less its noise, above the threshold, with chi-square beyond its limit.

    Below 25 deff samples a bin it cannot tell. Categories that the reference does not have are one cell.
    """
    known, pooled = _known(reference, current)
    pair = paired("decide_psi", known, pooled)
    if pair is None:
        return _nothing(reference, current, window)
    v, free = variance(*pair.totals, deff), len(pair.keys) - 1

    def smallest(limit: float) -> float:
        return limit * v  # PSI / v is about the chi-square statistic

    return _by_chi_square(pair, psi(known, pooled) or 0.0, free * v, smallest, levels, chance, deff, window, math.inf)


def decide_categories(
    reference: Cells,
    current: Cells,
    levels: Levels = KS_LEVELS,
    *,
    chance: Chance = Chance(),  # noqa: B008
    deff: float = 1.0,
    window: str = "a window",
) -> Decision:
    """Decide on a categorical feature by total variation less its noise, with chi-square beyond its limit.

    Below 25 deff samples a category it cannot tell. Categories that the reference does not have are one cell: neither
    total variation nor chi-square change by that.
    """
    known, pooled = _known(reference, current)
    pair = paired("decide_categories", known, pooled)
    if pair is None:
        return _nothing(reference, current, window)
    v, score = variance(*pair.totals, deff), total_variation(known, pooled) or 0.0

    def smallest(limit: float) -> float:
        return math.sqrt(limit * v) / 2  # by Cauchy-Schwarz the statistic of a total variation x is at least 4 x^2 / v

    noise_floor = noise_of(pair, deff).total_variation
    return _by_chi_square(pair, score, noise_floor, smallest, levels, chance, deff, window)


def decide_missing(
    invalid: int, valid: int, usual: float = 0.0, threshold: float = MISSING, *, window: str = "a window"
) -> Decision:
    """Decide on the values of a feature that are in no bin: surely more of them than usual, by so many points.

    Parameters
    ----------
    usual : share of the reference's values that are in no bin.
    threshold : of the share above `usual`; Wilson's lower bound must be beyond it.

    Examples
    --------
    >>> decide_missing(300, 700).reason
    '30% of 1000 values are missing or no values; 0% are usual'
    >>> decide_missing(1, 9).outcome
    'ok'
    """
    n = invalid + valid
    share = wilson(invalid, n, SURELY)
    if share is None:
        return Decision("cannot_tell", None, None, None, 0, 0, None, f"no values in {window}")
    fires = share.low > usual + threshold
    reason = f"{share.value:.0%} of {n} values are missing or no values; {usual:.0%} are usual"
    excess = max(share.value - usual, 0.0)
    return Decision("firing" if fires else "ok", "warning" if fires else None, share.value, excess, 0, n, None, reason)


def by_window(levels: Levels) -> tuple[Levels, Levels]:
    """Return the thresholds of the long window (slight, moderate) and those of the short one (severe).

    Examples
    --------
    >>> by_window({"info": 0.1, "warning": 0.15, "critical": 0.25})
    ({'info': 0.1, 'warning': 0.15}, {'critical': 0.25})
    """
    long = {name: levels[name] for name in ("info", "warning") if name in levels}
    return long, {name: levels[name] for name in ("critical",) if name in levels}


def combined(long: Decision, short: Decision) -> Decision:
    """Return the decision on a feature from those of its two windows: the short one where it fires, else the long one.

    A quiet hour of little traffic makes nothing uncertain: the day holds it.
    """
    return short if short.outcome == "firing" else long


def _known(reference: Cells, current: Cells) -> tuple[Cells, Cells]:
    """Return both sides with all categories that the reference does not have in one cell; bins as they are."""
    if not (isinstance(reference, Mapping) and isinstance(current, Mapping)):
        return reference, current
    seen = {name: n for name, n in reference.items() if n}
    known = {name: n for name, n in current.items() if name in seen}
    unseen = math.fsum(n for name, n in current.items() if name not in seen)
    return seen, ({**known, UNSEEN: unseen} if unseen else known)


def smallest_sample(cells: int, deff: float = 1.0) -> int:
    """Return how many samples a window needs before PSI and chi-square are judged.

    Examples
    --------
    >>> smallest_sample(20)
    500
    """
    return math.ceil(PER_BIN * deff * cells)


def _by_chi_square(
    pair: Pair,
    score: float,
    by_chance: float,
    smallest: Callable[[float], float],
    levels: Levels,
    chance: Chance,
    deff: float,
    window: str,
    most: float = 1.0,
) -> Decision:
    """Judge a score less what chance shows; `smallest` is the least score that is beyond a chi-square limit."""
    m, n = pair.totals
    cells = len(pair.keys)
    excess = max(score - by_chance, 0.0)
    needed = smallest_sample(cells, deff)
    if n < needed:
        reason = f"{n:.0f} of {needed} values in {window}: {PER_BIN} for each of {cells} cells are needed"
        return Decision("cannot_tell", None, score, excess, int(m), int(n), None, reason)
    if cells < 2:  # the reference and the window are one and the same value
        return _judged(score, excess, m, n, 0.0, levels, significant=False, window=window)
    limit = chance.chi_square_limit(cells)
    significant = effective_of(pair, deff) > limit
    return _judged(score, excess, m, n, smallest(limit), levels, significant=significant, window=window, most=most)


def _judged(
    score: float,
    excess: float,
    m: float,
    n: float,
    bound: float,
    levels: Levels,
    *,
    significant: bool,
    window: str,
    most: float = 1.0,
) -> Decision:
    """Turn a score into an outcome, a level and words; `most` is the greatest score there can be."""
    passed = [
        (threshold, level)
        for name, level in _NAMES.items()
        if (threshold := levels.get(name)) is not None and excess >= threshold
    ]
    thresholds = [threshold for name in _NAMES if (threshold := levels.get(name)) is not None]
    outcome: Outcome = "ok"
    level = None
    if passed and significant:
        threshold, level = max(passed)
        outcome, reason = "firing", f"{score:.2f} is above {threshold:.2f}, and chance alone stays below {bound:.2f}"
    elif bound > _wanted(levels):
        outcome = "cannot_tell"
        which = f"only drifts above {bound:.2f}" if bound < most else "no drift"
        values = "value" if n == 1 else "values"
        reason = f"with {n:.0f} {values} {window} {which} can be told from chance; {score:.2f} was seen"
    else:
        reason = f"no drift larger than {max(bound, min(thresholds, default=bound)):.2f}"
    return Decision(outcome, level, score, excess, int(m), int(n), bound, reason)


def _wanted(levels: Levels) -> float:
    """Return the score that a window must be able to show: the warning threshold, else the least there is."""
    warning = levels.get("warning")
    return warning if warning is not None else min((t for t in levels.values() if t is not None), default=math.inf)


def _nothing(reference: Cells, current: Cells, window: str) -> Decision:
    m, n = (int(sum(side.values() if isinstance(side, Mapping) else side)) for side in (reference, current))
    reason = "the reference is empty" if not m else f"no values in {window}"
    return Decision("cannot_tell", None, None, None, m, n, None, reason)
