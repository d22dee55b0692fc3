"""How the objectives stand: compliance, what is left of the error budget, how fast it goes and how long it lasts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from modelwatch.signals import FAILURES, SLOW, Counts, Look
from modelwatch.slo.burn import DAY_S, HOUR_S
from modelwatch.slo.objectives import MOST_UNKNOWN, Slo
from modelwatch.slo.period import Period
from modelwatch.statistics import Z95, wilson

State = Literal["meeting", "broken", "cannot_tell"]
FEWEST = 20  # requests of a minute that says something of the load


class Forecast(NamedTuple):
    """When the budget will be spent, in seconds from now; None: not at this rate.

    soonest, latest : the range that the bad events of the last day leave open.
    """

    expected_s: float | None
    soonest_s: float | None = None
    latest_s: float | None = None
    words: str = "not at this rate"


@dataclass(frozen=True)
class SloStatus:
    """How one objective stands.

    compliance : share of good events, 0 to 1; of a cost, what is allowed over what was spent. None: cannot be told.
    remaining : part of the budget that is left; below 0 when more than all is spent.
    burn_day, burn_hour : how many times too fast it was spent.
    by_day : part of the budget spent on each day, the oldest first; None where nothing was counted.
    held : the highest rate, in requests per second, at which a minute held the objectives; of a throughput only.
    period : that it is about, in words.
    """

    slo: str
    good: str
    objective: float
    state: State
    reason: str
    compliance: float | None
    remaining: float | None
    bad: float | None
    valid: float
    unknown: int
    burn_day: float | None
    burn_hour: float | None
    forecast: Forecast
    by_day: tuple[float | None, ...]
    held: float | None = None
    period: str = ""


def forecast(
    remaining: float, burn: float | None, period_s: float, bad: float = 0, valid: float = 0, budget: float = 0.0
) -> Forecast:
    """Return when the budget will be spent at the speed of the last day.

    Old bad events that leave a rolling period are ignored: it is pessimistic by less than the period over the speed.

    Parameters
    ----------
    remaining : part of the budget that is left.  burn : times too fast, over the last day.
    bad, valid : events of that day, for the range; 0 for none.  budget : share that may be bad.

    Examples
    --------
    >>> forecast(0.6, 3.0, 30 * 86400).expected_s / 86400
    6.0
    """
    if remaining <= 0:
        return Forecast(0.0, 0.0, 0.0, "spent")
    if burn is None or burn <= 1:
        return Forecast(None)
    expected = remaining * period_s / burn
    share = wilson(min(bad, valid), valid, Z95) if valid > 0 and budget else None
    if share is None:
        return Forecast(expected, expected, expected, f"in {_span(expected)}")
    soonest = remaining * period_s / (share.high / budget)
    slow = share.low / budget
    latest = remaining * period_s / slow if slow > 1 else None
    words = f"in {_span(soonest)} or later" if latest is None else f"in {_span(soonest)} to {_span(latest)}"
    return Forecast(expected, soonest, latest, words)


def _span(seconds: float) -> str:
    for unit, size in (("days", DAY_S), ("hours", HOUR_S)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds / 60, 1):.0f} minutes"


def slo_status(slo: Slo, look: Look, period: Period | None = None) -> SloStatus:
    """Return how an objective stands.

    Bad and valid events are summed over the whole period first, and then divided: a quiet night counts for little.
    """
    period = period or Period()
    since_s, length_s = period.window(look.now)
    counts = look.counts(since_s)
    day, hour = look.counts(min(DAY_S, since_s)), look.counts(min(HOUR_S, since_s))
    spent = None if counts is None else slo.spent(counts)
    burn_day, burn_hour = (None if one is None else slo.burn(one) for one in (day, hour))
    ratio = None if spent is None else spent.ratio
    unknown, valid = (spent.unknown, spent.valid) if spent else (0, 0.0)
    looked = valid + unknown
    if ratio is None or spent is None:
        reason = f"no {_what(slo)} in this period"
        return _untold(slo, period, reason, valid, unknown)
    if unknown > MOST_UNKNOWN * looked:
        return _untold(slo, period, f"nobody looked in {unknown} of {looked:.0f} minutes", valid, unknown)
    used = ratio if slo.budget is None else ratio / slo.budget
    used *= since_s / length_s if slo.budget is not None else 1.0  # of a calendar period only a part is over
    remaining = 1 - used
    of_day = None if day is None else slo.spent(day)
    bad, n = (of_day.bad or 0.0, of_day.valid) if of_day else (0.0, 0.0)
    broken = remaining < 0 if slo.budget is None else ratio > slo.budget
    return SloStatus(
        slo.kind, slo.good, slo.objective, "broken" if broken else "meeting", "",
        min(1.0, 1 / ratio) if slo.budget is None and ratio > 0 else 1 - (ratio if slo.budget is not None else 0.0),
        remaining, spent.bad, spent.valid, unknown, burn_day, burn_hour,
        forecast(remaining, burn_day, length_s, bad, n, slo.budget or 0.0),
        _by_day(slo, look, since_s, length_s, spent.valid), _held(slo, look), str(period),
    )  # fmt: skip


def slo_statuses(slos: Iterable[Slo], look: Look, period: Period | None = None) -> list[SloStatus]:
    """Return how all objectives of a model stand."""
    return [slo_status(slo, look, period) for slo in slos]


def _untold(slo: Slo, period: Period, reason: str, valid: float, unknown: int) -> SloStatus:
    nothing = Forecast(None, words="cannot tell")
    return SloStatus(
        slo.kind,
        slo.good,
        slo.objective,
        "cannot_tell",
        reason,
        None,
        None,
        None,
        valid,
        unknown,
        None,
        None,
        nothing,
        (),
        period=str(period),
    )


def _what(slo: Slo) -> str:
    return {
        "latency": "requests", "error_rate": "requests", "accuracy": "labels", "cost": "costs of requests"
    }.get(slo.kind, "minutes that were looked at")  # fmt: skip


def _by_day(slo: Slo, look: Look, since_s: float, length_s: float, valid: float) -> tuple[float | None, ...]:
    days: list[float | None] = []
    for day in range(min(int(since_s // DAY_S), 400) - 1, -1, -1):
        counts = look.counts(DAY_S, day * DAY_S)
        spent = None if counts is None else slo.spent(counts)
        if spent is None or spent.bad is None or spent.valid <= 0:
            days.append(None)
        elif slo.budget is None:
            days.append(spent.bad / valid)
        else:
            days.append(spent.bad / valid / slo.budget * since_s / length_s)
    return tuple(days)


def held_up_to(minutes: Iterable[Counts]) -> float | None:
    """Return the highest rate, in requests per second, of a minute that held latency and errors.

    minutes : counts of single minutes.
    """
    best = None
    for counts in minutes:
        rate = _held_rate(counts)
        if rate is not None and (best is None or rate > best):
            best = rate
    return best


def _held_rate(counts: Counts) -> float | None:
    objectives = counts.objectives
    pairs = ((SLOW, objectives.latency_objective), (FAILURES, objectives.error_objective))
    for events, objective in pairs:
        bad, n = events.count(counts)
        if n < FEWEST:
            return None
        if objective is not None and (bad is None or bad / n > round(1 - objective, 12)):
            return None
    return n / counts.covered_s


def _held(slo: Slo, look: Look) -> float | None:
    if slo.kind != "throughput":
        return None
    minutes = (look.counts(60, 60 * minute) for minute in range(60))
    return held_up_to(counts for counts in minutes if counts is not None)


# -- for people --------------------------------------------------------------------------------------------------------


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.5g} %"


def slo_lines(statuses: Sequence[SloStatus]) -> list[str]:
    """Return the table of objectives, a line each."""
    head = f"  {'objective':<14}{'promised':<12}{'kept':<12}{'budget left':<14}{'1 h':<8}{'1 d':<8}{'lasts':<22}"
    lines = [head.rstrip()]
    for one in statuses:
        objective = f"{one.objective:g}" if one.slo in {"throughput", "cost"} else _share(one.objective)
        if one.state == "cannot_tell":
            lines.append(f"  {one.slo:<14}{objective:<12}CANNOT TELL: {one.reason}")
            continue
        burns = ("–" if burn is None else f"{burn:.1f}x" for burn in (one.burn_hour, one.burn_day))
        numbers = "".join(f"{burn:<8}" for burn in burns)
        left = "–" if one.remaining is None else f"{100 * one.remaining:.0f} %"
        mark = "BROKEN" if one.state == "broken" else ""
        kept, lasts = _share(one.compliance), one.forecast.words
        held = "" if one.held is None else f"held up to {one.held:.0f} req/s"
        lines.append(f"  {one.slo:<14}{objective:<12}{kept:<12}{left:<14}{numbers}{lasts:<22}{mark}{held}".rstrip())
    return lines
