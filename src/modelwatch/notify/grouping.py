"""Decides who is told of what and when. Pure: what is known, what each receiver was told, and the time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from modelwatch.config import Config
from modelwatch.notify.alert import Alert, Group, Kind, Notice, notice_of, rank

MUTES = ("ServiceDown",)  # while one of these fires, what depends on it is not told: it would say the same again
NEVER_MUTED = (*MUTES, "MonitorUnhealthy", "Watchdog")
UNHEALTHY = "MonitorUnhealthy"
RECEIVER = "receiver"  # the label of `UNHEALTHY` that says which receiver does not work
CLOCK_S = 60.0  # a time so far in the future is of a clock that was set back since


@dataclass(frozen=True)
class Policy:
    """Who is told, and how often.

    Parameters
    ----------
    receivers : all there are.
    routes : severity to receivers.
    group_wait_s : from the first alert of a group to its first notice.
    group_interval_s : between two notices of a group that has changed.
    repeat_interval_s : between two notices of one that has not.
    settle_s : how long an alert must be over before that is told.
    escalate_to, escalate_after_s : who is told of what is critical, fires so long, and is not acknowledged.
    acknowledges : receivers that are told of an acknowledgement.
    unhealthy_after_s : how long a receiver may take nothing before another one is told of it.
    """

    receivers: Sequence[str]
    routes: Mapping[str, Sequence[str]]
    group_wait_s: float = 30.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 4 * 3600.0
    settle_s: float = 60.0
    escalate_to: str | None = None
    escalate_after_s: float = 900.0
    acknowledges: frozenset[str] = frozenset()
    unhealthy_after_s: float = 120.0

    @classmethod
    def of(cls, config: Config) -> Policy:
        """Return what a configuration says; times are divided by its `time_scale`."""
        alerting, scale = config.alerting, config.time_scale
        wait, interval = alerting.group_wait_s / scale, alerting.group_interval_s / scale
        escalate = alerting.escalate
        return cls(
            tuple(alerting.receivers),
            alerting.routes.model_dump(),
            wait,
            interval,
            alerting.repeat_interval_s / scale,
            settle_s=max(2 * wait, interval / 5),
            escalate_to=escalate.to if escalate else None,
            escalate_after_s=escalate.after_s / scale if escalate else 0.0,
            unhealthy_after_s=cls.unhealthy_after_s / scale,
            acknowledges=frozenset(
                name for name, receiver in alerting.receivers.items() if receiver.kind == "pagerduty"
            ),
        )


@dataclass(frozen=True)
class Known:
    """An alert as the store knows it.

    severity_at : since when it is that severe.
    acknowledged_by : empty for nobody.
    """

    alert: Alert
    severity_at: float
    acknowledged_by: str = ""


@dataclass(frozen=True)
class Told:
    """What a receiver was told of a group.

    began_at : when the group began.
    sent_at : when its last notice was made; None before the first.
    number : of its notices.
    alerts : fingerprint to the severity that was told. `ESCALATED` and `ACKNOWLEDGED` behind a fingerprint are marks.
    """

    began_at: float
    sent_at: float | None = None
    number: int = 0
    alerts: Mapping[str, str] = field(default_factory=dict)


ESCALATED, ACKNOWLEDGED = ":escalated", ":acknowledged"


@dataclass(frozen=True)
class Silence:
    """Alerts that nobody is to be told of for a while.

    matches : "alertname", "model", "version", "severity" or a label, to the value that it must have. All must.

    Examples
    --------
    >>> silence = Silence("1", "ann", "a test", 0, 60, {"alertname": "ServiceDown"})
    >>> silence.covers(Alert("ServiceDown", "critical"), 30), silence.covers(Alert("ServiceDown", "critical"), 60)
    (True, False)
    """

    id: str
    author: str
    note: str
    starts_at: float
    ends_at: float
    matches: Mapping[str, str]

    def covers(self, alert: Alert, now: float) -> bool:
        """Tell whether it holds for an alert."""
        own = {"alertname": alert.name, "model": alert.model, "version": alert.version, "severity": alert.severity}
        values = {**alert.labels, **own}
        inside = self.starts_at <= now < self.ends_at
        return inside and all(values.get(name, "") == value for name, value in self.matches.items())


class Plan(NamedTuple):
    """What is decided.

    notices : to be sent; each replaces one of its group that still waits.
    told : groups that have changed; None for those that are over.
    """

    notices: list[Notice]
    told: dict[Group, Told | None]


def passed(since: float, now: float, wait_s: float) -> bool:
    """Tell whether a wait is over; a clock that was set back ends it, too.

    Examples
    --------
    >>> passed(100, 130, 30), passed(100, 129, 30), passed(5000, 100, 30)
    (True, False, True)
    """
    return now - since >= wait_s or since > now + CLOCK_S


class _Look(NamedTuple):
    """What one look at all groups goes by, and what it has found so far."""

    policy: Policy
    quiet: set[str]
    now: float
    found: Plan


def plan(
    known: Iterable[Known], told: Mapping[Group, Told], silences: Sequence[Silence], policy: Policy, now: float
) -> Plan:
    """Return the notices that are due. Deterministic; what it returns is to be kept before anything is sent."""
    alerts = list(known)
    look = _Look(policy, _quiet(alerts, silences, now), now, Plan([], {}))
    members: dict[Group, dict[str, Known]] = {group: {} for group in told}
    for one in alerts:
        fingerprint = one.alert.fingerprint
        for receiver in policy.receivers:
            group = Group(receiver, one.alert.name, one.alert.model)
            before = told.get(group)
            if (before and fingerprint in before.alerts) or _is_for(one, receiver, policy, now):
                members.setdefault(group, {})[fingerprint] = one
    for group, of_group in members.items():
        _plan_group(group, of_group, told.get(group), look)
    return look.found


def _quiet(alerts: Sequence[Known], silences: Sequence[Silence], now: float) -> set[str]:
    """Return the fingerprints of those that are not to be told."""
    down = down_models(one.alert for one in alerts)
    return {
        one.alert.fingerprint
        for one in alerts
        if is_muted(one.alert.name, one.alert.model, down) or any(s.covers(one.alert, now) for s in silences)
    }


def down_models(alerts: Iterable[Alert]) -> set[str]:
    """Return the models that are said to be down; empty text: the whole service."""
    return {alert.model for alert in alerts if alert.name in MUTES and alert.ended_at is None}


def is_muted(name: str, model: str, down: Collection[str]) -> bool:
    """Tell whether an alert depends on something that is down."""
    return name not in NEVER_MUTED and bool(down) and ("" in down or model in down)


def _is_for(one: Known, receiver: str, policy: Policy, now: float) -> bool:
    """Tell whether a receiver hears of an alert, fire it or not."""
    alert = one.alert
    routed = policy.routes.get(alert.severity, ())
    if alert.name == UNHEALTHY and RECEIVER in alert.labels:
        broken = alert.labels[RECEIVER]
        others = [name for name in routed if name != broken] or [name for name in policy.receivers if name != broken]
        return receiver in others
    return receiver in routed or (receiver == policy.escalate_to and _escalates(one, policy, now))


def _escalates(one: Known, policy: Policy, now: float) -> bool:
    if policy.escalate_to is None or one.alert.severity != "critical" or one.acknowledged_by or one.alert.ended_at:
        return False
    return now - one.severity_at >= policy.escalate_after_s


class _Members(NamedTuple):
    """The alerts of a group, as its receiver is to see them.

    over : those that it was told of and that have ended for it.
    unsettled : one has ended so lately that it may come back.
    """

    firing: dict[str, Known]
    over: list[Alert]
    unsettled: bool


def _members(group: Group, members: Mapping[str, Known], was: Mapping[str, str], look: _Look) -> _Members:
    firing: dict[str, Known] = {}
    over: list[Alert] = []
    unsettled = False
    for fingerprint, one in members.items():
        if _fires(one, group.receiver, was, look):
            if fingerprint in was or fingerprint not in look.quiet:
                firing[fingerprint] = one
            continue
        ended = one.alert.ended_at if one.alert.ended_at is not None else one.severity_at  # milder than it was
        if not passed(ended, look.now, look.policy.settle_s):
            unsettled = True
        elif fingerprint in was:
            over.append(one.alert.ended(ended).at_severity(was[fingerprint]))
    return _Members(firing, over, unsettled)


def _fires(one: Known, receiver: str, was: Mapping[str, str], look: _Look) -> bool:
    if one.alert.ended_at is not None:
        return False
    if _is_for(one, receiver, look.policy, look.now):
        return True
    # whoever was told by escalation stays told, also when somebody acknowledges it
    return one.alert.severity == "critical" and one.alert.fingerprint + ESCALATED in was


def _plan_group(group: Group, members: Mapping[str, Known], before: Told | None, look: _Look) -> None:
    """Add what is due of one group."""
    policy, now, found = look.policy, look.now, look.found
    has = _members(group, members, before.alerts if before else {}, look)
    if before is None:
        if not has.firing:
            return
        before = found.told[group] = Told(now)
    if before.sent_at is not None:
        _later(group, before, has, look)
    elif has.firing:
        if _escalated(group, has.firing, look) or passed(before.began_at, now, policy.group_wait_s):
            _tell(group, before, has, look)
    elif not has.unsettled:
        found.told[group] = None  # it was over before anybody was to be told


def _later(group: Group, before: Told, has: _Members, look: _Look) -> None:
    """Add what is due of a group that its receiver knows."""
    policy, now, found, was = look.policy, look.now, look.found, before.alerts
    sent_at = before.sent_at or 0.0
    changed = passed(sent_at, now, policy.group_interval_s)
    if not has.firing:
        if changed and not has.unsettled:
            if has.over:
                found.notices.append(notice_of(group, before.number + 1, "resolved", now, (), has.over))
            found.told[group] = None
        return
    loud = {fingerprint: one for fingerprint, one in has.firing.items() if fingerprint not in look.quiet}
    worse = any(name not in was or rank(one.alert.severity) < rank(was[name]) for name, one in loud.items())
    due = worse or bool(has.over) or bool(_escalated(group, loud, look) - was.keys())
    waits = any(not one.acknowledged_by for one in loud.values())
    repeat = waits and passed(sent_at, now, policy.repeat_interval_s)
    if loud and changed and (due or repeat):
        _tell(group, before, has, look)
    elif group.receiver in policy.acknowledges:
        _acknowledge(group, before, has, look)


def _escalated(group: Group, firing: Mapping[str, Known], look: _Look) -> set[str]:
    """Return the marks of those that this receiver is told of because nobody has acknowledged them."""
    if group.receiver != look.policy.escalate_to:
        return set()
    return {name + ESCALATED for name, one in firing.items() if _escalates(one, look.policy, look.now)}


def _tell(group: Group, before: Told, has: _Members, look: _Look) -> None:
    """Add a notice of what fires, and of what has ended beside it."""
    marks = {name: mark for name, mark in before.alerts.items() if ":" in name and name.partition(":")[0] in has.firing}
    fresh = {name: one.alert.severity for name, one in has.firing.items()}
    escalated = _escalated(group, has.firing, look)
    kind: Kind = "escalated" if escalated - before.alerts.keys() else "firing"
    firing = [one.alert for one in has.firing.values()]
    number = before.number + 1
    look.found.notices.append(notice_of(group, number, kind, look.now, firing, has.over))
    alerts = {**marks, **fresh, **dict.fromkeys(escalated, "")}
    look.found.told[group] = Told(before.began_at, look.now, number, alerts)


def _acknowledge(group: Group, before: Told, has: _Members, look: _Look) -> None:
    """Add a notice that somebody has acknowledged all that fires."""
    if not all(one.acknowledged_by for one in has.firing.values()):
        return
    marks = {name + ACKNOWLEDGED: "" for name in has.firing if name in before.alerts}
    if not marks.keys() - before.alerts.keys():
        return
    by = next(one.acknowledged_by for one in has.firing.values())
    number = before.number + 1
    alerts = [one.alert for one in has.firing.values()]
    look.found.notices.append(notice_of(group, number, "acknowledged", look.now, alerts, by=by))
    look.found.told[group] = Told(before.began_at, before.sent_at, number, {**before.alerts, **marks})
