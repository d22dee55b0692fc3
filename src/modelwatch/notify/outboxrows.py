"""The rows of alerts and notices: what is read and changed inside a transaction of the outbox."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, delete, exists, or_, select, text, update

from modelwatch.groundtruth.labelling import insert
from modelwatch.groundtruth.tables import alert_groups, alert_states, audit, notices, silences
from modelwatch.notify.alert import Alert, Group, Notice, clean, rank
from modelwatch.notify.grouping import RECEIVER, UNHEALTHY, Known, Silence, Told, down_models, is_muted, passed
from modelwatch.notify.outcome import Delivered, Outcome, Refused

LOCK = 0x6E6F74696365  # of PostgreSQL, while alerts change: "notice"
CLAIM_S = 20.0  # four times as long as a try
LONGEST_WAIT_S = 3600.0  # a time that is due later is of a clock that was set back since
FEW = 500  # alerts that are asked for one by one
BEGAN, ENDED, CHANGED = "began", "ended", "severity"  # what happened to an alert, in the audit
HISTORY = (BEGAN, ENDED, CHANGED, "acknowledge", "silence", "end silence")


class Claim(NamedTuple):
    """A notice that is being sent.

    tries : this one included.
    maybe_told : one of the tries before may have arrived.
    """

    notice: Notice
    tries: int
    maybe_told: bool


class Sent(NamedTuple):
    """What became of a notice.

    state : waiting, delivered, refused, or replaced by a later one.
    done_at : when; None while it waits.
    reason : of the last try that failed; empty for none.
    """

    notice: Notice
    state: str
    tries: int
    done_at: float | None
    reason: str


def as_sent(row: Any) -> Sent:
    """Return what became of the notice of a row."""
    return Sent(Notice.loaded(row.notice), row.state, row.tries, row.done_at, row.reason or "")


def alone(connection: Connection) -> None:
    """Let nobody else change alerts before the end of the transaction; SQLite does that by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})


def order(alert: Alert) -> tuple[bool, int]:
    """Return what sorts the alert that counts first, of several with one fingerprint."""
    return alert.ended_at is not None, rank(alert.severity)


def known_alerts(connection: Connection) -> list[Known]:
    """Return all alerts there are."""
    return [_as_known(row) for row in connection.execute(select(alert_states))]


def _as_known(row: Any) -> Known:
    return Known(Alert(**json.loads(row.alert)), row.severity_at, row.acknowledged_by or "")


def told_groups(connection: Connection) -> dict[Group, Told]:
    """Return what every receiver was told."""
    return {
        Group(row.receiver, row.name, row.model): Told(row.began_at, row.sent_at, row.number, json.loads(row.told))
        for row in connection.execute(select(alert_groups))
    }


def silences_at(connection: Connection, now: float) -> list[Silence]:
    """Return silences that hold, or will."""
    rows = connection.execute(select(silences).where(silences.c.ends_at > now))
    return [Silence(row.id, row.author, row.note, row.starts_at, row.ends_at, json.loads(row.matches)) for row in rows]


def keep_audit(connection: Connection, now: float, actor: str, action: str, detail: Mapping[str, Any]) -> None:
    """Keep who did what."""
    row = {"at": now, "actor": clean(actor, 100), "action": action, "detail": json.dumps(detail)}
    connection.execute(audit.insert(), row)


def change(
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
        _keep_history(connection, changed, rows, now)
        statement = insert(connection, alert_states)
        kept = {name: statement.excluded[name] for name in _row(changed[0]) if name != "fingerprint"}
        statement = statement.on_conflict_do_update(index_elements=["fingerprint"], set_=kept)
        connection.execute(statement, [_row(known) for known in changed])


def _keep_history(connection: Connection, changed: Iterable[Known], rows: Mapping[str, Any], now: float) -> None:
    """Keep that alerts have begun, ended, or become more or less severe."""
    kept = []
    for known in changed:
        alert, row = known.alert, rows.get(known.alert.fingerprint)
        action = _what_happened(alert, None if row is None else _as_known(row).alert)
        if action is None or alert.severity == "none":  # the one that always fires
            continue
        detail = {
            "alertname": alert.name, "model": alert.model, "severity": alert.severity, "labels": dict(alert.labels),
            "since": alert.started_at, "ended_at": alert.ended_at, "summary": alert.summary,
        }  # fmt: skip
        kept.append({"at": now, "actor": "modelwatch", "action": action, "detail": json.dumps(detail)})
    if kept:
        connection.execute(audit.insert(), kept)


def _what_happened(alert: Alert, before: Alert | None) -> str | None:
    if alert.ended_at is not None:
        return ENDED if before is not None and before.ended_at is None else None
    if before is None or before.ended_at is not None:
        return BEGAN
    return CHANGED if before.severity != alert.severity else None


def history(connection: Connection, since: float, most: int) -> list[dict[str, Any]]:
    """Return what happened to alerts since a time, and what people did about them, the latest first."""
    wanted = and_(audit.c.action.in_(HISTORY), audit.c.request_id.is_(None), audit.c.at >= since)
    rows = connection.execute(select(audit).where(wanted).order_by(audit.c.at.desc(), audit.c.id.desc()).limit(most))
    return [{"at": row.at, "actor": row.actor, "action": row.action, **json.loads(row.detail)} for row in rows]


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


def broken(connection: Connection) -> dict[str, str]:
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


def keep_told(connection: Connection, group: Group, told: Told | None) -> None:
    """Keep what a receiver was told of a group; None: nothing any more."""
    key = {"receiver": group.receiver, "name": group.name, "model": group.model}
    connection.execute(delete(alert_groups).filter_by(**key))
    if told is not None:
        values = {"began_at": told.began_at, "sent_at": told.sent_at, "number": told.number}
        connection.execute(alert_groups.insert(), {**key, **values, "told": json.dumps(dict(told.alerts))})


def _of_group(group: Group) -> Any:
    return and_(notices.c.receiver == group.receiver, notices.c.name == group.name, notices.c.model == group.model)


def put(connection: Connection, notice: Notice, told: Told | None) -> bool:
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


def next_row(connection: Connection, receiver: str, now: float) -> Any:
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


def outcome_values(outcome: Outcome, claim: Claim, now: float) -> dict[str, Any]:
    """Return what a try changes in the row of its notice."""
    free = {"claimed_by": None, "claimed_until": None}
    if isinstance(outcome, Delivered):
        return {**free, "state": "delivered", "done_at": now, "reason": None}
    reason = clean(outcome.reason, 300)
    if isinstance(outcome, Refused):
        return {**free, "state": "refused", "done_at": now, "reason": reason, "maybe_told": claim.maybe_told}
    maybe = claim.maybe_told or outcome.maybe_told
    return {**free, "due_at": now + outcome.after_s, "reason": reason, "maybe_told": maybe}


def has_newer(connection: Connection, notice: Notice) -> bool:
    """Tell whether a later notice of the group says all that this one does."""
    newer = and_(_of_group(notice.group), notices.c.made_at > notice.made_at, notices.c.state != "replaced")
    kinds = connection.execute(select(notices.c.notice).where(newer)).scalars()
    return any(Notice.loaded(kind).kind != "acknowledged" for kind in kinds)


def unhealthy(receiver: str, reason: str, notice: Notice, now: float) -> Alert:
    """Return the alert that says that a receiver takes nothing."""
    what = f"{notice.group.name}{f' of {notice.group.model}' if notice.group.model else ''}"
    return Alert(
        UNHEALTHY, "warning", labels={RECEIVER: receiver},
        summary=f"The receiver {receiver} takes no notices",
        description=f"The notice of {what} did not reach {receiver}: {reason}.",
        started_at=now,
    )  # fmt: skip
