"""Is the traffic normal? The last full hour against the same hour of the weeks before, on a scale of all hours.

A view: it is shown, and never paged on, since Prometheus cannot compute it in one expression.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

WEEK_H, DAY_H = 168, 24
WEEKS = 4
LEAST_SCALE = 0.05
POISSON = 1.35  # variance of ln(x + 1/2) about the median of a few others, times the count
FULL, EARLY = 4.0, 5.0  # scales from which an hour is unusual; with two or three weeks
FIRST_WEEK_FACTOR = 3.0
MISSING_REASON = "nothing was counted in the last hour"

State = Literal["normal", "unusual", "learning", "cannot_tell"]


@dataclass(frozen=True)
class Normal:
    """What the traffic of an hour is against its normal.

    requests : of the hour; None where the monitor did not run.
    normal : expected; None while there is no verdict.
    low, high : the band outside of which it is unusual.
    scales : how far from normal, in scales, below 0 for less.
    side : "low" or "high" where it is unusual.
    """

    state: State
    requests: int | None
    normal: float | None = None
    low: float | None = None
    high: float | None = None
    scales: float | None = None
    side: Literal["", "low", "high"] = ""
    words: str = ""


def traffic_normal(hours: Mapping[int, int], hour: int, holidays: Collection[int] = ()) -> Normal:
    """Judge the requests of an hour by those of the same hour in the weeks before.

    Parameters
    ----------
    hours : {hour number: requests}, hours of local time counted from any zero; an hour in which the monitor did not
        run is missing, and is not 0.
    hour : the last full one.
    holidays : day numbers (hour // 24) that are neither judged nor learned from.

    Examples
    --------
    >>> weeks = {168 * 5: 30} | {168 * (5 - j): n for j, n in enumerate((99, 109, 89, 99), 1)}
    >>> traffic_normal(weeks, 168 * 5).words
    '30 requests this hour; normal is about 99'

    References
    ----------
    Hyndman & Athanasopoulos (2021), "Forecasting"; Rousseeuw & Croux (1993).
    """
    learned = {at: n for at, n in hours.items() if at // DAY_H not in holidays}
    x = hours.get(hour)
    if x is None:
        return Normal("cannot_tell", None, words=MISSING_REASON)
    if hour // DAY_H in holidays:
        return Normal("cannot_tell", x, words="a holiday is not judged")
    days = (hour - min(learned, default=hour)) / DAY_H
    if days < 7:
        return Normal("learning", x, words=f"learning what is normal: {int(days)} of 7 days")
    same = [learned[at] for week in range(1, WEEKS + 1) if (at := hour - WEEK_H * week) in learned]
    if days < 14:
        return _first_week(x, [*same, *([learned[hour - DAY_H]] if hour - DAY_H in learned else [])])
    if not same:
        return Normal("learning", x, words="this hour of the week was not counted before")
    return judged(x, same, pooled_scale(learned, hour), FULL if len(same) == WEEKS else EARLY)


def judged(x: int, same: Collection[int], pooled: float, limit: float = FULL) -> Normal:
    """Judge a count by those of the same hour before, and by the scale of all hours.

    Examples
    --------
    >>> found = judged(30, [99, 109, 89, 99], 0.15)
    >>> found.state, round(found.scales, 4), round(found.low), round(found.high)
    ('unusual', -7.8829, 54, 181)
    """
    middle = median(math.log(n + 0.5) for n in same)
    normal = math.exp(middle) - 0.5
    scale = max(pooled, math.sqrt(POISSON / max(normal, 0.5)), LEAST_SCALE)
    scales = (math.log(x + 0.5) - middle) / scale
    low, high = (max(math.exp(middle + sign * limit * scale) - 0.5, 0.0) for sign in (-1, 1))
    unusual = abs(scales) > limit
    return _told(x, normal, low, high, scales, unusual=unusual)


def pooled_scale(hours: Mapping[int, int], hour: int) -> float:
    """Return how far hours of the last four weeks are from the others of their hour of the week, as one scale.

    Four values of one hour know no scale; 168 hours of four weeks do.
    """
    residuals = []
    for at in range(hour - WEEKS * WEEK_H, hour):
        n = hours.get(at)
        phase = [at + WEEK_H * week for week in range(-WEEKS, WEEKS + 1) if week]
        others = [hours[o] for o in phase if hour - WEEKS * WEEK_H <= o < hour and o in hours]
        if n is not None and others:
            residuals.append(abs(math.log(n + 0.5) - median(math.log(o + 0.5) for o in others)))
    return 1.4826 * median(residuals) if residuals else 0.0


def _first_week(x: int, same: Collection[int]) -> Normal:
    if not same:
        return Normal("learning", x, words="this hour was not counted before")
    normal = math.exp(median(math.log(n + 0.5) for n in same)) - 0.5
    low, high = normal / FIRST_WEEK_FACTOR, normal * FIRST_WEEK_FACTOR
    return _told(x, normal, low, high, None, unusual=not low <= x <= high)


def _told(x: int, normal: float, low: float, high: float, scales: float | None, *, unusual: bool) -> Normal:
    words = f"{x:,} requests this hour; normal is about {normal:,.0f}"
    state: State = "unusual" if unusual else "normal"
    return Normal(state, x, normal, low, high, scales, ("low" if x < normal else "high") if unusual else "", words)
