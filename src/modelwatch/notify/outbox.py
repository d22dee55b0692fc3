"""What is known of alerts and what is to be sent, in the store: committed before anything is sent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, text, update

from modelwatch.groundtruth.database import Database
from modelwatch.groundtruth.labelling import insert
from modelwatch.groundtruth.tables import alert_groups, alert_states, audit, notices, silences
from modelwatch.notify.alert import Alert, Group, Notice, clean, rank
from modelwatch.notify.grouping import (
    RECEIVER,
    UNHEALTHY,
    Known,
    Plan,
    Policy,
    Silence,
    Told,
    down_models,
    is_muted,
    passed,
    plan,
)
from modelwatch.notify.outcome import Delivered, Outcome, Refused, Retry

LOCK = 0x6E6F74696365  # of PostgreSQL, while alerts change: "notice"
CLAIM_S = 20.0  # four times as long as a try
LONGEST_WAIT_S = 3600.0  # a time that is due later is of a clock that was set back since
UNHEALTHY_AFTER_S = 120.0  # that a receiver takes nothing
KEPT_S = 30 * 86400.0
DOUBT_S = 3600.0  # after which a refusal says little of the receiver
FEW = 500  # alerts that are asked for one by one


class Claim(NamedTuple):
    """A notice that is being sent.

    tries : this one included.
    maybe_told : one of the tries before may have arrived.
    """

    notice: Notice
    tries: int
    maybe_told: bool


class Outbox:
    """Alerts, notices, silences and acknowledgements in a store. Several processes may share it.

    Parameters
    ----------
    database : the store.
    policy : who is told, and how often.
    claim_s : after which a notice of a dispatcher that is gone is sent by another one; longer than a try lasts.

    Every method raises StoreUnavailable where the store cannot be used now: what it was to do is not done.
    """

    def __init__(self, database: Database, policy: Policy, claim_s: float = CLAIM_S) -> None:
        self.database, self.policy, self.claim_s = database, policy, claim_s
        self.owner = uuid.uuid4().hex

    # -- what is known -------------------------------------------------------------------------------------------------

    def transition(self, alerts: Iterable[Alert], now: float, *, complete: bool = False) -> None:
        """Keep what has changed. On the disk when this returns; saying the same again changes nothing.

        Parameters
        ----------
        alerts : those that fire (no `ended_at`) or have ended. Of one fingerprint the worst that fires counts.
        now : Unix time.
        complete : these are all there are; others that fire have ended now. What the notifier says of its own
            receivers is left alone, and what depends on a service that is down: nobody can tell.
        """
        given: dict[str, Alert] = {}
        for alert in alerts:
            other = given.get(alert.fingerprint)
            if other is None or _order(alert) < _order(other):
                given[alert.fingerprint] = alert

        def work(connection: Connection) -> None:
            _alone(connection)
            if given or complete:
                _change(connection, given, now, self.policy.settle_s, complete=complete)

        self.database.write(work)

    def known(self) -> list[Known]:
        """Return all alerts that fire or have ended lately."""
        return self.database.read(_known)

    def acknowledge(self, name: str, model: str, by: str, now: float) -> int:
        """Acknowledge what fires of a name and model: it is not repeated, nor escalated. Return how many there are."""

        def work(connection: Connection) -> int:
            _alone(connection)
            of_group = and_(
                alert_states.c.name == clean(name),
                alert_states.c.model == clean(model),
                alert_states.c.ended_at.is_(None),
            )
            done = connection.execute(
                update(alert_states).where(of_group).values(acknowledged_by=clean(by, 100), acknowledged_at=now)
            )
            if done.rowcount:
                _audit(connection, now, by, "acknowledge", {"alertname": name, "model": model})
            return int(done.rowcount)

        return self.database.write(work)

    def silence(self, matches: Mapping[str, str], author: str, note: str, now: float, ends_at: float) -> Silence:
        """Tell nobody of alerts for a while.

        Parameters
        ----------
        matches : as of `Silence`.
        """
        values = {clean(name, 100): clean(value, 300) for name, value in matches.items()}
        made = Silence(uuid.uuid4().hex[:8], clean(author, 100), clean(note, 500), now, ends_at, values)

        def work(connection: Connection) -> None:
            connection.execute(silences.insert(), {**vars(made), "matches": json.dumps(values)})
            _audit(connection, now, author, "silence", {"id": made.id, "ends_at": ends_at, "matches": values})

        self.database.write(work)
        return made

    def end_silence(self, name: str, by: str, now: float) -> bool:
        """End a silence by its id; return whether there was one."""

        def work(connection: Connection) -> bool:
            holds = and_(silences.c.id == name, silences.c.ends_at > now)
            done = connection.execute(update(silences).where(holds).values(ends_at=now)).rowcount
            if done:
                _audit(connection, now, by, "end silence", {"id": name})
            return bool(done)

        return self.database.write(work)

    def silences(self, now: float) -> list[Silence]:
        """Return those that hold, or will."""
        return self.database.read(lambda connection: _silences(connection, now))

    # -- what is to be sent --------------------------------------------------------------------------------------------

    def plan(self, now: float) -> int:
        """Decide what is due and keep it; return how many notices are new."""

        def look(connection: Connection) -> Plan:
            return plan(_known(connection), _told(connection), _silences(connection, now), self.policy, now)

        if not self.database.read(look).told:
            return 0

        def work(connection: Connection) -> int:
            _alone(connection)
            told = _told(connection)
            found = plan(_known(connection), told, _silences(connection, now), self.policy, now)
            for group, after in found.told.items():
                _keep_told(connection, group, after)
            return sum(_put(connection, notice, told.get(notice.group)) for notice in found.notices)

        return self.database.write(work)

    def claim(self, receiver: str, now: float) -> Claim | None:
        """Return what is to be sent next to a receiver, and keep that it is being sent; None for nothing.

        One is under way to a receiver at a time, whoever sends it.
        """
        if self.database.read(lambda connection: _next(connection, receiver, now)) is None:
            return None

        def work(connection: Connection) -> Claim | None:
            _alone(connection)
            row = _next(connection, receiver, now)
            if row is None:
                return None
            connection.execute(
                update(notices).where(notices.c.id == row.id).values(
                    claimed_by=self.owner, claimed_until=now + self.claim_s, tries=row.tries + 1, maybe_told=True
                )
            )  # fmt: skip
            return Claim(Notice.loaded(row.notice), row.tries + 1, row.maybe_told)

        return self.database.write(work)

    def mark(self, claim: Claim, outcome: Outcome, now: float) -> None:
        """Keep what became of a try. A receiver that takes nothing is told of through another one."""
        notice = claim.notice

        def work(connection: Connection) -> None:
            _alone(connection)
            row = connection.execute(select(notices).where(notices.c.id == notice.id)).one_or_none()
            ours = row is not None and row.state == "waiting"
            if row is None or not (ours or isinstance(outcome, Delivered)):
                return
            values = _outcome_values(outcome, claim, now)
            if isinstance(outcome, Retry) and _has_newer(connection, notice):
                values |= {"state": "replaced", "done_at": now}
            connection.execute(update(notices).where(notices.c.id == notice.id).values(values))
            settle_s = self.policy.settle_s
            receiver = notice.group.receiver
            if isinstance(outcome, Delivered):
                _change(connection, {}, now, settle_s, ended=[_unhealthy(receiver, "", notice, now).fingerprint])
            elif isinstance(outcome, Refused) or now - notice.made_at >= UNHEALTHY_AFTER_S:
                alert = _unhealthy(receiver, outcome.reason, notice, now)
                _change(connection, {alert.fingerprint: alert}, now, settle_s)

        self.database.write(work)

    def retry_refused(self, now: float) -> int:
        """Let what was refused be tried once more where it is the last word on its group: a key may be right by now.

        No receiver counts as broken any more, until it fails again.
        """
        last = exists().where(
            alert_groups.c.receiver == notices.c.receiver, alert_groups.c.name == notices.c.name,
            alert_groups.c.model == notices.c.model, alert_groups.c.sent_at == notices.c.made_at,
        )  # fmt: skip

        def work(connection: Connection) -> int:
            _alone(connection)
            _change(connection, {}, now, self.policy.settle_s, ended=_broken(connection).values())
            again = update(notices).where(notices.c.state == "refused", last)
            return int(connection.execute(again.values(state="waiting", due_at=now, done_at=None)).rowcount)

        return self.database.write(work)

    def waiting(self, receiver: str | None = None) -> int:
        """Return how many notices are not sent yet."""
        query = select(func.count()).select_from(notices).where(notices.c.state == "waiting")
        if receiver is not None:
            query = query.where(notices.c.receiver == receiver)
        return int(self.database.read(lambda connection: connection.execute(query).scalar_one()))

    def prune(self, now: float) -> None:
        """Remove what is older than 30 days, and alerts that are over and that nobody has to be told of.

        A receiver that has nothing to fail at any more does not count as broken for ever.
        """

        def work(connection: Connection) -> None:
            _alone(connection)
            fails = or_(
                notices.c.state == "waiting", and_(notices.c.state == "refused", notices.c.made_at > now - DOUBT_S)
            )
            failing = set(connection.execute(select(notices.c.receiver).where(fails)).scalars())
            idle = [fingerprint for receiver, fingerprint in _broken(connection).items() if receiver not in failing]
            _change(connection, {}, now, self.policy.settle_s, ended=idle)
            connection.execute(delete(notices).where(notices.c.made_at < now - KEPT_S))
            connection.execute(delete(silences).where(silences.c.ends_at < now - KEPT_S))
            connection.execute(
                delete(alert_states).where(
                    alert_states.c.ended_at < now - 2 * self.policy.settle_s,
                    ~exists().where(
                        alert_groups.c.name == alert_states.c.name, alert_groups.c.model == alert_states.c.model
                    ),
                )
            )

        self.database.write(work)


# -- inside a transaction ----------------------------------------------------------------------------------------------


def _alone(connection: Connection) -> None:
    """Let nobody else change alerts before the end of the transaction; SQLite does that by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def _order(alert: Alert) -> tuple[bool, int]:
    return alert.ended_at is not None, rank(alert.severity)


def _known(connection: Connection) -> list[Known]:
    return [_as_known(row) for row in connection.execute(select(alert_states))]


def _as_known(row: Any) -> Known:
    return Known(Alert(**json.loads(row.alert)), row.severity_at, row.acknowledged_by or "")


def _told(connection: Connection) -> dict[Group, Told]:
    return {
        Group(row.receiver, row.name, row.model): Told(row.began_at, row.sent_at, row.number, json.loads(row.told))
        for row in connection.execute(select(alert_groups))
    }


def _silences(connection: Connection, now: float) -> list[Silence]:
    rows = connection.execute(select(silences).where(silences.c.ends_at > now))
    return [Silence(row.id, row.author, row.note, row.starts_at, row.ends_at, json.loads(row.matches)) for row in rows]


def _audit(connection: Connection, now: float, actor: str, action: str, detail: Mapping[str, Any]) -> None:
    row = {"at": now, "actor": clean(actor, 100), "action": action, "detail": json.dumps(detail)}
    connection.execute(audit.insert(), row)


def _change(
    connection: Connection,
    given: Mapping[str, Alert],
    now: float,
    settle_s: float,
    *,
    complete: bool = False,
    ended: Iterable[str] = (),
) -> None:
    """Bring what is known up to date. `ended`: fingerprints of what is over."""
    over = set(ended)
    query = select(alert_states)
    if not complete and len(given) + len(over) <= FEW:
        query = query.where(alert_states.c.fingerprint.in_([*given, *over]))
    rows = {row.fingerprint: row for row in connection.execute(query)}
    changed = []
    down = down_models(given.values())
    for fingerprint, alert in given.items():
        row = rows.get(fingerprint)
        after = _after(alert, _as_known(row) if row else None, now, settle_s)
        if after is not None and (row is None or after != _as_known(row)):
            changed.append(after)
    for fingerprint, row in rows.items():
        if complete and fingerprint not in given and row.name != UNHEALTHY and not is_muted(row.name, row.model, down):
            over.add(fingerprint)
        if fingerprint in over and row.ended_at is None:
            known = _as_known(row)
            changed.append(replace(known, alert=known.alert.ended(now)))
    if changed:
        statement = insert(connection, alert_states)
        kept = {name: statement.excluded[name] for name in _row(changed[0]) if name != "fingerprint"}
        statement = statement.on_conflict_do_update(index_elements=["fingerprint"], set_=kept)
        connection.execute(statement, [_row(known) for known in changed])


def _after(alert: Alert, before: Known | None, now: float, settle_s: float) -> Known | None:
    """Return what is known after a change; None where there is nothing to know."""
    if before is None:
        return None if alert.ended_at is not None else Known(alert, now)
    if alert.ended_at is not None:  # as severe as it was: those who heard of it hear of its end
        return (
            before if before.alert.ended_at is not None else replace(before, alert=before.alert.ended(alert.ended_at))
        )
    if before.alert.ended_at is not None and passed(before.alert.ended_at, now, settle_s):
        return Known(alert, now)  # another time
    started = min(alert.started_at, before.alert.started_at)
    severity = alert.severity
    if severity == before.alert.severity:
        return replace(before, alert=replace(alert, started_at=started))
    by = "" if rank(severity) < rank(before.alert.severity) else before.acknowledged_by
    return Known(replace(alert, started_at=started), now, by)


def _broken(connection: Connection) -> dict[str, str]:
    """Return receivers that are said not to work, and the fingerprint of the alert that says it."""
    fires = and_(alert_states.c.name == UNHEALTHY, alert_states.c.ended_at.is_(None))
    found = [_as_known(row).alert for row in connection.execute(select(alert_states).where(fires))]
    return {alert.labels[RECEIVER]: alert.fingerprint for alert in found if RECEIVER in alert.labels}


def _row(known: Known) -> dict[str, Any]:
    alert = known.alert
    return {
        "fingerprint": alert.fingerprint, "name": alert.name, "model": alert.model, "severity": alert.severity,
        "severity_at": known.severity_at, "ended_at": alert.ended_at,
        "acknowledged_by": known.acknowledged_by or None, "alert": json.dumps(vars(alert)),
    }  # fmt: skip


def _keep_told(connection: Connection, group: Group, told: Told | None) -> None:
    key = {"receiver": group.receiver, "name": group.name, "model": group.model}
    connection.execute(delete(alert_groups).filter_by(**key))
    if told is not None:
        values = {"began_at": told.began_at, "sent_at": told.sent_at, "number": told.number}
        connection.execute(alert_groups.insert(), {**key, **values, "told": json.dumps(dict(told.alerts))})


def _of_group(group: Group) -> Any:
    return and_(notices.c.receiver == group.receiver, notices.c.name == group.name, notices.c.model == group.model)


def _put(connection: Connection, notice: Notice, told: Told | None) -> bool:
    """Put a notice into the outbox in the place of those of its group that wait; return whether it is needed."""
    of_group = _of_group(notice.group)
    if notice.kind != "acknowledged":
        free = or_(notices.c.claimed_until.is_(None), notices.c.claimed_until <= notice.made_at)
        waits = update(notices).where(of_group, notices.c.state == "waiting", free)
        connection.execute(waits.values(state="replaced", done_at=notice.made_at))
    if notice.kind == "resolved":
        since = told.began_at if told else 0.0
        heard = or_(notices.c.state == "delivered", notices.c.maybe_told)
        if not connection.execute(select(exists().where(of_group, notices.c.made_at >= since, heard))).scalar():
            return False  # the receiver was away for as long as it lasted
    row = {
        "id": notice.id, "receiver": notice.group.receiver, "name": notice.group.name, "model": notice.group.model,
        "state": "waiting", "made_at": notice.made_at, "due_at": notice.made_at, "tries": 0, "maybe_told": False,
        "notice": notice.dumped(),
    }  # fmt: skip
    connection.execute(insert(connection, notices).on_conflict_do_nothing(), row)
    return True


def _next(connection: Connection, receiver: str, now: float) -> Any:
    """Return the row that is to be sent next; None for nothing."""
    other = notices.alias()
    to_receiver = and_(other.c.receiver == receiver, other.c.state == "waiting")
    under_way = and_(other.c.claimed_until > now, other.c.claimed_until <= now + 2 * CLAIM_S)
    if connection.execute(select(exists().where(to_receiver, under_way))).scalar():
        return None
    before = exists().where(
        to_receiver, other.c.name == notices.c.name, other.c.model == notices.c.model,
        other.c.made_at < notices.c.made_at,
    )  # fmt: skip
    due = or_(notices.c.due_at <= now, notices.c.due_at > now + LONGEST_WAIT_S)
    query = select(notices).where(notices.c.receiver == receiver, notices.c.state == "waiting", due, ~before)
    return connection.execute(query.order_by(notices.c.due_at).limit(1)).one_or_none()


def _outcome_values(outcome: Outcome, claim: Claim, now: float) -> dict[str, Any]:
    free = {"claimed_by": None, "claimed_until": None}
    if isinstance(outcome, Delivered):
        return {**free, "state": "delivered", "done_at": now, "reason": None}
    reason = clean(outcome.reason, 300)
    if isinstance(outcome, Refused):
        return {**free, "state": "refused", "done_at": now, "reason": reason, "maybe_told": claim.maybe_told}
    maybe = claim.maybe_told or outcome.maybe_told
    return {**free, "due_at": now + outcome.after_s, "reason": reason, "maybe_told": maybe}


def _has_newer(connection: Connection, notice: Notice) -> bool:
    newer = and_(_of_group(notice.group), notices.c.made_at > notice.made_at, notices.c.state != "replaced")
    kinds = connection.execute(select(notices.c.notice).where(newer)).scalars()
    return any(Notice.loaded(kind).kind != "acknowledged" for kind in kinds)


def _unhealthy(receiver: str, reason: str, notice: Notice, now: float) -> Alert:
    """Return the alert that says that a receiver takes nothing."""
    what = f"{notice.group.name}{f' of {notice.group.model}' if notice.group.model else ''}"
    return Alert(
        UNHEALTHY, "warning", labels={RECEIVER: receiver},
        summary=f"The receiver {receiver} takes no notices",
        description=f"The notice of {what} did not reach {receiver}: {reason}.",
        started_at=now,
    )  # fmt: skip
