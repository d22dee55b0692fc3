"""The life of an alert: inactive, pending, firing, inactive again. Pure: what was, what is true now, and the time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

Phase = Literal["inactive", "pending", "firing"]
Change = Literal["", "fired", "resolved", "forgotten"]

HOLD_S = 3600.0  # an alert that cannot be told any more stays so long: losing the data is no recovery


@dataclass(frozen=True)
class AlertState:
    """Where an alert is in its life.

    since : when the phase began.
    quiet_since : when its condition was first seen not to hold any more, of one that fires; None while it holds.
    lost_since : when it could first not be told any more; None while it can.
    """

    phase: Phase = "inactive"
    since: float = 0.0
    quiet_since: float | None = None
    lost_since: float | None = None


INACTIVE = AlertState()


class Step(NamedTuple):
    """The next state, and what happened on the way."""

    state: AlertState
    change: Change


def step(
    state: AlertState,
    holds: bool | None,  # noqa: FBT001 - the one thing that is asked
    now: float,
    *,
    for_s: float = 0.0,
    keep_s: float = 0.0,
    hold_s: float = HOLD_S,
) -> Step:
    """Return the next state of an alert.

    Parameters
    ----------
    holds : its condition; None where it cannot be told.
    now : Unix time. Looks may be late, or come twice; one that is earlier than the last changes nothing.
    for_s : how long the condition must hold before it fires.
    keep_s : how long it must not hold before it resolves.
    hold_s : how long it stays when it cannot be told any more.

    Examples
    --------
    >>> state, change = step(INACTIVE, True, 100.0, for_s=60)
    >>> state.phase, step(state, True, 160.0, for_s=60).change
    ('pending', 'fired')
    """
    if now < state.since:
        return Step(state, "")
    if state.phase == "firing":
        return _firing(state, holds, now, keep_s, hold_s)
    if not holds:
        return Step(INACTIVE, "forgotten" if state.phase == "pending" else "")
    began = state.since if state.phase == "pending" else now
    if now - began >= for_s:
        return Step(AlertState("firing", now), "fired")
    return Step(AlertState("pending", began), "")


def _firing(
    state: AlertState,
    holds: bool | None,  # noqa: FBT001
    now: float,
    keep_s: float,
    hold_s: float,
) -> Step:
    if holds:
        return Step(replace(state, quiet_since=None, lost_since=None), "")
    if holds is None:
        lost = state.lost_since if state.lost_since is not None else now
        if now - lost < hold_s:
            return Step(replace(state, lost_since=lost), "")
        return Step(INACTIVE, "resolved")
    quiet = state.quiet_since if state.quiet_since is not None else now
    if now - quiet < keep_s:
        return Step(replace(state, quiet_since=quiet, lost_since=None), "")
    return Step(INACTIVE, "resolved")


def dumped(states: Mapping[str, AlertState]) -> dict[str, list[object]]:
    """Return states as plain values, for a store."""
    return {key: [s.phase, s.since, s.quiet_since, s.lost_since] for key, s in states.items()}


def loaded(values: Mapping[str, list[object]]) -> dict[str, AlertState]:
    """Read `dumped` back."""
    return {key: AlertState(*fields) for key, fields in values.items()}  # type: ignore[arg-type]  # as they were dumped
