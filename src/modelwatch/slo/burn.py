"""Burn rates: which speed of spending the error budget wakes somebody, over which windows, and which never can."""

from __future__ import annotations

from typing import Literal, NamedTuple

from modelwatch.errors import ConfigError, fault

HOUR_S, DAY_S = 3600.0, 86_400.0
PERIOD_S = 30 * DAY_S
SHORT = 12  # the short window is this part of the long one
LEAST_BAD = 5  # bad events below which nothing is burning: one failed request at night is no incident
LEAST_FACTOR = 0.9  # a slower burn does not spend the budget before the period ends
MOST_RATIO = 0.9  # a share of bad events above it is hardly ever reached
REACHED = 0.5  # the share that an unreachable pair is set to instead


class Share(NamedTuple):
    """A part of the budget that may be spent within a window."""

    severity: Literal["critical", "warning"]
    share: float
    long_s: float


#: Of the Google SRE Workbook, chapter 5.
SHARES = (
    Share("critical", 0.02, HOUR_S),
    Share("critical", 0.05, 6 * HOUR_S),
    Share("warning", 0.10, DAY_S),
    Share("warning", 0.10, 3 * DAY_S),
)
INSTEAD = Share("warning", 0.20, DAY_S)  # where the period is too short for both warnings


class BurnRule(NamedTuple):
    """A speed of spending the budget that is alerted on.

    factor : times the speed that spends exactly the budget in the period.
    long_s, short_s : both windows must burn faster.
    note : what was changed, and why; empty where nothing was.
    """

    severity: Literal["critical", "warning"]
    factor: float
    long_s: float
    short_s: float
    note: str = ""


def burn_rules(budget: float, period_s: float = PERIOD_S, where: str = "slo") -> list[BurnRule]:
    """Return the speeds at which spending an error budget is alerted on.

    Parameters
    ----------
    budget : share of events that may be bad, 1 - objective.
    period_s : in which it may be spent.
    where : path of the objective, for the error.

    Raises
    ------
    ConfigError   a page could never happen, whatever its window: the objective is too low for one.

    Examples
    --------
    >>> [round(rule.factor, 2) for rule in burn_rules(0.01)]
    [14.4, 6.0, 3.0, 1.0]
    >>> rule = burn_rules(0.15)[0]
    >>> round(rule.factor, 4), round(rule.long_s / 3600, 2)
    (3.3333, 4.32)

    References
    ----------
    Google, "The Site Reliability Workbook" (2018), chapter 5.
    """
    rules = [rule for share in SHARES if (rule := _rule(share, budget, period_s, where)) is not None]
    if not any(rule.severity == "warning" for rule in rules):
        instead = _rule(INSTEAD, budget, period_s, where)
        if instead is not None:
            rules.append(instead)
    return rules


def _rule(share: Share, budget: float, period_s: float, where: str) -> BurnRule | None:
    severity, part, long_s = share
    factor = part * period_s / long_s
    if factor < LEAST_FACTOR:
        return None
    note = ""
    if factor < 1:
        factor, note = 1.0, f"the factor {factor:.2f} is taken as 1"
    if factor * budget > MOST_RATIO + 1e-12:
        wanted, factor = factor, REACHED / budget
        long_s = part * period_s / factor
        note = (
            f"burning {wanted:.3g} times too fast would take {wanted * budget:.0%} of bad events; "
            f"alerted above {REACHED:.0%} over {long_s / HOUR_S:.3g} h instead"
        )
        if factor < LEAST_FACTOR or long_s > period_s / 2:
            expected = "an objective whose budget can be burnt so fast that somebody must act"
            remedy = f"At most {1 - REACHED / LEAST_FACTOR:.2f} good is no objective to alert on; raise it."
            raise ConfigError(fault(where, "objective", round(1 - budget, 12), expected, remedy))
    return BurnRule(severity, factor, long_s, long_s / SHORT, note)
