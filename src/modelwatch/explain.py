"""What moved, in words: one account of a feature's drift for alerts, pages and reports, with what to do about it.

Everything is read from counts on the reference's bins, so that the same account is possible live, from Prometheus and
from logs; raw values are not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from modelwatch.reference import CategoricalProfile, NumericProfile, Profile, invalid_before
from modelwatch.statistics.changepoint import began
from modelwatch.statistics.counts import Cells, Counts, Floats
from modelwatch.statistics.decision import Decision
from modelwatch.statistics.distances import contributions, invalid_share, ks_bracket, ks_counts, unseen_share

Cause: TypeAlias = Literal["none", "unit", "zero", "constant", "range", "missing", "unseen", "shift", "mix"]

FACTORS = (10.0, 100.0, 1000.0, 0.1, 0.01, 0.001)
NEAR = 0.15  # a mean that is so near, relatively, to that of a hypothesis
REST = 0.3  # of the distance that an explanation may leave
APART = 0.02  # by so much the best of several must be better than the next
STUCK = 0.9  # share of one bin from which a feature is taken for constant
MISSING = 0.05  # points of invalid values above the reference from which they are worth a word
TENTH = 0.1 + 1e-9  # of training that is an end
MORE = 1.25  # times an end must have won, or lost, to speak of spread
MOST = 3  # bins or categories named

_CHECKS = "Review recent inputs.", "Check the data source for changes.", "Compare the distributions."
_RETRAIN = "Consider retraining if the accuracy falls, too."
_ACTIONS: dict[Cause, tuple[str, ...]] = {
    "none": (),
    "unit": ("Check the unit in which the caller or the feed sends it.", "Convert it back before the model sees it."),
    "zero": ("Check whether an offset or another scale is now in use at the source.", "Convert it back."),
    "constant": ("Check the feed: a default may stand in for values that are lost.", "Compare with the raw source."),
    "range": (
        "Look at some of its values.",
        "Check unit, scale and defaults at the source.",
        "Retrain if they are real.",
    ),
    "missing": ("Check the upstream feed and its joins.", "Check what the model does without the value."),
    "unseen": ("Look at the new categories: new business, or another spelling?", "Map them, or retrain with them."),
    "shift": (*_CHECKS, _RETRAIN),
    "mix": (*_CHECKS, _RETRAIN),
}


class History(NamedTuple):
    """Counts of a feature piece by piece, from which is read since when it drifts.

    starts : Unix times of the pieces, in their order; every_s : their length.
    counts : on the bins of the profile, the kept or the exported ones, or by category.
    """

    starts: Sequence[float]
    every_s: float
    counts: Sequence[Cells]


@dataclass(frozen=True)
class Explanation:
    """An account of one feature.

    cause : what explains it best.
    summary : one sentence.
    details : further sentences: which bins or categories carry it, how sure it is, on how many values.
    actions : what to do, in order.
    since : Unix time at which it began, as fine as the history is; None where that is not known, or nothing drifts.
    since_words : the same as a sentence, which says how fine it is, or that it began before the history does; or empty.
    """

    cause: Cause
    summary: str
    details: tuple[str, ...]
    actions: tuple[str, ...]
    since: float | None = None
    since_words: str = ""

    def text(self) -> str:
        """Return it as lines for a message."""
        steps = [f"{i}. {action}" for i, action in enumerate(self.actions, 1)]
        return "\n".join([self.summary, *filter(None, [self.since_words]), *self.details, *steps])


def explain(
    feature: str,
    reference: Profile,
    current: Counts | Mapping[str, float],
    decision: Decision,
    *,
    mean: float | None = None,
    invalid: float = 0,
    history: History | None = None,
) -> Explanation:
    """Say what moved in a feature, how far, where, since when, on how many values, and what may be behind it.

    Parameters
    ----------
    reference : the feature's profile.
    current : counts of the window on its bins, the kept or the exported ones; or per category.
    decision : what the rule says of the same window.
    mean : of the window's values, where it is known; tells units apart.
    invalid : values of the window that are in no bin.
    history : its counts over time, which may reach further back than the window.

    Raises
    ------
    SchemaMismatch   the counts are on other bins.

    Examples
    --------
    >>> from modelwatch.reference import profile_numeric
    >>> from modelwatch.statistics import decide_ks
    >>> metres = profile_numeric(range(1000))
    >>> moved = [0] * 99 + [5000]  # all above what was seen
    >>> explain("length", metres, moved, decide_ks(metres.counts, moved), mean=499_500.0).summary
    'length is about 1000 times what it was in training: another unit?'
    """
    valid = _total(current)
    if isinstance(reference, NumericProfile) and not isinstance(current, Mapping):
        cause, summary, where = _numeric(feature, reference, current, decision, mean)
    elif isinstance(reference, CategoricalProfile) and isinstance(current, Mapping):
        cause, summary, where = _categorical(feature, reference, current, decision)
    else:
        raise TypeError(f"explain: {feature}: counts and profile are of different kinds; expected the same.")
    details = list(where)
    share, usual = invalid_share(invalid, valid) or 0.0, invalid_before(reference)
    if share > usual + MISSING:
        words = f"{share:.0%} of its values are missing or no values ({usual:.0%} in training)"
        if cause == "none" or not valid:
            cause, summary = "missing", f"{feature}: {words}."
        else:
            details.append(f"Besides, {words}: what is left may be a selection.")
    details.append(f"{_sure(decision)} {decision.n} values against {decision.m} of training.")
    is_drift = decision.outcome == "firing" and history is not None
    since, since_words = _since(reference, history) if is_drift and history is not None else (None, "")
    return Explanation(cause, summary, tuple(details), _ACTIONS[cause], since, since_words)


def _total(current: Counts | Mapping[str, float]) -> float:
    return float(sum(current.values() if isinstance(current, Mapping) else current))


def _since(reference: Profile, history: History) -> tuple[float | None, str]:
    """Return when a drift began, and the sentence that says it."""
    counts = history.counts
    if isinstance(reference, NumericProfile):
        before: Cells = _bins(reference, len(counts[0]))[1] if counts else ()
    else:
        before = reference.counts
    at = began(before, counts)
    if at is None:
        return None, ""
    used = [i for i, one in enumerate(counts) if sum(one.values() if isinstance(one, Mapping) else one)]
    when = datetime.fromtimestamp(history.starts[at], timezone.utc)
    if at == used[0]:
        return (
            None,
            f"Since {when:%Y-%m-%d %H:%M} UTC or earlier: older counts are not kept so finely, or there are none.",
        )
    within = f"{history.every_s / 60:.3g} min" if history.every_s >= 60 else f"{history.every_s:.3g} s"
    return history.starts[at], f"Since about {when:%Y-%m-%d %H:%M} UTC, to within {within}."


def _sure(decision: Decision) -> str:
    if decision.outcome == "firing":
        return f"Certain: {decision.reason};"
    if decision.outcome == "cannot_tell":
        return f"Cannot tell: {decision.reason};"
    return f"No alert: {decision.reason};"


# -- numbers -----------------------------------------------------------------------------------------------------------


def _numeric(
    feature: str, profile: NumericProfile, current: Counts, decision: Decision, mean: float | None
) -> tuple[Cause, str, list[str]]:
    edges, before = _bins(profile, len(current))
    now = np.asarray(current, np.float64)
    distance = ks_counts(before, now)
    if distance is None:
        return "none", f"{feature}: no values to compare.", []
    if decision.outcome != "firing":
        return "none", f"{feature} is distributed as in training (KS {distance:.2f}).", []
    if not distance:
        return "shift", f"{feature} has moved inside its bins (KS {decision.score or 0:.2f} of the raw values).", []
    where = [_most_moved(edges, before, now)]
    cause, guess = _cause(profile, edges, before, now, mean, distance)
    if guess:
        return cause, f"{feature} {guess}", [*where, _moved(feature, before, now)]
    details = [*where, *_direction(edges, before, now, profile, mean), *_spread(before, now)]
    return "shift", _moved(feature, before, now), details


def _bins(profile: NumericProfile, bins: int) -> tuple[tuple[float, ...], tuple[int, ...]]:
    if bins == len(profile.counts):
        return profile.edges, profile.counts
    return profile.exported, profile.shown_counts  # of another number of bins: SchemaMismatch


def _moved(feature: str, before: Sequence[float], now: Floats) -> str:
    low, high = ks_bracket(before, now) or (0.0, 1.0)
    return (
        f"The distribution of {feature} has moved: {low:.0%} of its mass is on other values than in training "
        f"(KS {low:.2f}; at least {low:.2f}, at most {high:.2f} before binning)."
    )


def _most_moved(edges: Sequence[float], before: Sequence[float], now: Floats) -> str:
    cells = sorted(contributions(before, now) or [], key=lambda cell: -abs(cell.moved))[:MOST]
    bounds = [-math.inf, *edges, math.inf]
    ranges = list(pairwise(bounds))
    words = [f"{_range(*ranges[int(str(c.key))])} {c.reference:.0%} → {c.current:.0%}" for c in cells if c.moved]
    return f"Most of it: {', '.join(words)}."


def _range(low: float, high: float) -> str:
    if low == -math.inf:
        return f"up to {high:.6g}" if high < math.inf else "all"
    return f"above {low:.6g}" if high == math.inf else f"{low:.6g} to {high:.6g}"


def _direction(
    edges: Sequence[float], before: Sequence[float], now: Floats, profile: NumericProfile, mean: float | None
) -> list[str]:
    if mean is not None and profile.mean is not None and profile.deviation:
        by = (mean - profile.mean) / profile.deviation
        return [f"Its mean went from {profile.mean:.6g} to {mean:.6g} ({by:+.1f} standard deviations)."]
    gap = np.cumsum(np.asarray(before) / sum(before)) - np.cumsum(now / now.sum())
    at = int(np.argmax(np.abs(gap)))
    return [f"{'More' if gap[at] > 0 else 'Less'} of it is above {edges[at]:.6g}."]


def _spread(before: Sequence[float], now: Floats) -> list[str]:
    """Return whether both ends have won, or both have lost: a tenth of training on either side."""
    q, s = np.asarray(before) / sum(before), now / now.sum()
    upto = np.cumsum(q)
    ends = [upto <= TENTH, upto - q >= 1 - TENTH]
    was, now_there = [float(q[end].sum()) for end in ends], [float(s[end].sum()) for end in ends]
    words = f"{sum(now_there):.0%} of it is at the ends that had {sum(was):.0%}"
    if all(now_is > MORE * had for had, now_is in zip(was, now_there, strict=True) if had) and any(was):
        return [f"It is more spread out: {words}."]
    if all(MORE * now_is < had for had, now_is in zip(was, now_there, strict=True)):
        return [f"It is less spread out: {words}."]
    return []


def _cause(
    profile: NumericProfile,
    edges: Sequence[float],
    before: Sequence[float],
    now: Floats,
    mean: float | None,
    distance: float,
) -> tuple[Cause, str]:
    """Return what explains the move better than a move: a constant, another unit, another zero; else ("shift", "")."""
    factor = _factor(profile, edges, before, now, mean, distance)
    if factor is not None:
        times = f"{factor:g} times" if factor > 1 else f"a {1 / factor:g}th of"
        return "unit", f"is about {times} what it was in training: another unit?"
    shares, top = now / now.sum(), int(np.argmax(now))
    if shares[top] >= STUCK and before[top] / sum(before) < STUCK / 2:
        low, high = [-math.inf, *edges, math.inf][top : top + 2]
        if math.isfinite(low + high):
            words = f"{shares[top]:.0%} of its values are {_range(low, high)}"
            return "constant", f"hardly varies any more: {words}."
        words = f"{shares[top]:.0%} of its values are {_range(low, high)}"
        beyond = f"; their mean is {mean:.6g}" if mean is not None else ""
        return "range", f"is beyond what training had: {words}{beyond}. Another zero, another unit, or a default?"
    if mean is not None and profile.mean is not None and profile.deviation:
        by = mean - profile.mean
        if abs(by) > profile.deviation / 2 and _left(profile, edges, before, now, 1.0, by) <= REST * distance:
            return "zero", f"is about {abs(by):.4g} {'more' if by > 0 else 'less'} throughout: another zero?"
    return "shift", ""


def _factor(
    profile: NumericProfile,
    edges: Sequence[float],
    before: Sequence[float],
    now: Floats,
    mean: float | None,
    distance: float,
) -> float | None:
    """Return the factor of a unit that explains the move; None when there is none, or more than one would.

    The mean must be as many times the reference's, and the reference's own bins, scaled, must leave little of the move.
    """
    near = [
        factor
        for factor in FACTORS
        if mean is not None and profile.mean and abs(mean / (factor * profile.mean) - 1) <= NEAR
    ]
    if mean is None:
        near = list(FACTORS)
    left = sorted((_left(profile, edges, before, now, factor, 0.0), factor) for factor in near)
    if not left or left[0][0] > REST * distance:
        return None
    is_alone = len(left) == 1 or left[0][0] + APART < left[1][0]
    return left[0][1] if is_alone else None


def _left(
    profile: NumericProfile, edges: Sequence[float], before: Sequence[float], now: Floats, factor: float, by: float
) -> float:
    """Return the KS distance of the window from the reference as it would be after x -> factor x + by.

    The reference within a bin is taken as even, and ends at its least and greatest value.
    """
    low = profile.low if profile.low is not None else edges[0]
    high = profile.high if profile.high is not None else edges[-1]
    at = np.array([min(low, edges[0]), *edges, max(high, edges[-1])])
    upto = np.concatenate(([0.0], np.cumsum(before))) / sum(before)
    expected = np.interp((np.array(edges) - by) / factor, at, upto)
    return float(np.abs(expected - np.cumsum(now)[:-1] / now.sum()).max())


# -- categories --------------------------------------------------------------------------------------------------------


def _categorical(
    feature: str, profile: CategoricalProfile, current: Mapping[str, float], decision: Decision
) -> tuple[Cause, str, list[str]]:
    cells = contributions(profile.counts, current)
    if cells is None:
        return "none", f"{feature}: no values to compare.", []
    moved = sum(abs(cell.moved) for cell in cells) / 2
    if decision.outcome != "firing":
        return "none", f"{feature} is distributed as in training (total variation {moved:.2f}).", []
    first = sorted(cells, key=lambda cell: -abs(cell.moved))[:MOST]
    words = [f"{cell.key} {cell.reference:.0%} → {cell.current:.0%}" for cell in first if cell.moved]
    details = [f"Most of it: {', '.join(words)}."]
    new = unseen_share(profile.counts, current) or 0.0
    if new >= moved / 2:
        names = [cell.key for cell in sorted(cells, key=lambda cell: -cell.current) if not cell.reference][:MOST]
        summary = f"{feature} has categories that training did not have: {new:.0%} of its values"
        return "unseen", f"{summary} ({', '.join(map(str, names))}).", details
    top = max(cells, key=lambda cell: cell.current)
    if top.current >= STUCK and top.reference < STUCK / 2:
        return "constant", f"{feature} hardly varies any more: {top.current:.0%} of its values are {top.key}.", details
    summary = f"The mix of {feature} has moved: {moved:.0%} of its values are in other categories than in training"
    return "mix", f"{summary} (total variation {moved:.2f}).", details
