"""What is known of alerts and what is to be sent, in the store: committed before anything is sent."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, func, or_, select, update

from modelwatch.groundtruth.database import Database
from modelwatch.groundtruth.tables import alert_groups, alert_states, notices, silences
from modelwatch.notify.alert import Alert, Notice, clean
from modelwatch.notify.grouping import Known, Plan, Policy, Silence, plan
from modelwatch.notify.outboxrows import (
    CLAIM_S,
    Claim,
    Sent,
    alone,
    as_sent,
    broken,
    change,
    has_newer,
    history,
    keep_audit,
    keep_told,
    known_alerts,
    next_row,
    order,
    outcome_values,
    put,
    silences_at,
    told_groups,
    unhealthy,
)
from modelwatch.notify.outcome import Delivered, Outcome, Refused, Retry

KEPT_S = 30 * 86400.0
DOUBT_S = 3600.0  # after which a refusal says little of the receiver


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
            if other is None or order(alert) < order(other):
                given[alert.fingerprint] = alert

        def work(connection: Connection) -> None:
            alone(connection)
            if given or complete:
                change(connection, given, now, self.policy.settle_s, complete=complete)

        self.database.write(work)

    def known(self) -> list[Known]:
        """Return all alerts that fire or have ended lately."""
        return self.database.read(known_alerts)

    def acknowledge(self, name: str, model: str, by: str, now: float) -> int:
        """Acknowledge what fires of a name and model: it is not repeated, nor escalated. Return how many there are."""

        def work(connection: Connection) -> int:
            alone(connection)
            of_group = and_(
                alert_states.c.name == clean(name),
                alert_states.c.model == clean(model),
                alert_states.c.ended_at.is_(None),
            )
            done = connection.execute(
                update(alert_states).where(of_group).values(acknowledged_by=clean(by, 100), acknowledged_at=now)
            )
            if done.rowcount:
                keep_audit(connection, now, by, "acknowledge", {"alertname": name, "model": model})
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
            keep_audit(connection, now, author, "silence", {"id": made.id, "ends_at": ends_at, "matches": values})

        self.database.write(work)
        return made

    def end_silence(self, name: str, by: str, now: float) -> bool:
        """End a silence by its id; return whether there was one."""

        def work(connection: Connection) -> bool:
            holds = and_(silences.c.id == name, silences.c.ends_at > now)
            done = connection.execute(update(silences).where(holds).values(ends_at=now)).rowcount
            if done:
                keep_audit(connection, now, by, "end silence", {"id": name})
            return bool(done)

        return self.database.write(work)

    def silences(self, now: float) -> list[Silence]:
        """Return those that hold, or will."""
        return self.database.read(lambda connection: silences_at(connection, now))

    def history(self, since: float, most: int = 200) -> list[dict[str, Any]]:
        """Return what happened to alerts since a time, and what people did about them, the latest first."""
        return self.database.read(lambda connection: history(connection, since, most))

    # -- what is to be sent --------------------------------------------------------------------------------------------

    def plan(self, now: float) -> int:
        """Decide what is due and keep it; return how many notices are new."""

        def look(connection: Connection) -> Plan:
            return plan(
                known_alerts(connection), told_groups(connection), silences_at(connection, now), self.policy, now
            )

        if not self.database.read(look).told:
            return 0

        def work(connection: Connection) -> int:
            alone(connection)
            told = told_groups(connection)
            found = plan(known_alerts(connection), told, silences_at(connection, now), self.policy, now)
            for group, after in found.told.items():
                keep_told(connection, group, after)
            return sum(put(connection, notice, told.get(notice.group)) for notice in found.notices)

        return self.database.write(work)

    def claim(self, receiver: str, now: float) -> Claim | None:
        """Return what is to be sent next to a receiver, and keep that it is being sent; None for nothing.

        One is under way to a receiver at a time, whoever sends it.
        """
        if self.database.read(lambda connection: next_row(connection, receiver, now)) is None:
            return None

        def work(connection: Connection) -> Claim | None:
            alone(connection)
            row = next_row(connection, receiver, now)
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
            alone(connection)
            row = connection.execute(select(notices).where(notices.c.id == notice.id)).one_or_none()
            ours = row is not None and row.state == "waiting"
            if row is None or not (ours or isinstance(outcome, Delivered)):
                return
            values = outcome_values(outcome, claim, now)
            if isinstance(outcome, Retry) and has_newer(connection, notice):
                values |= {"state": "replaced", "done_at": now}
            connection.execute(update(notices).where(notices.c.id == notice.id).values(values))
            settle_s = self.policy.settle_s
            receiver = notice.group.receiver
            if isinstance(outcome, Delivered):
                change(connection, {}, now, settle_s, ended=[unhealthy(receiver, "", notice, now).fingerprint])
            elif isinstance(outcome, Refused) or now - notice.made_at >= self.policy.unhealthy_after_s:
                alert = unhealthy(receiver, outcome.reason, notice, now)
                change(connection, {alert.fingerprint: alert}, now, settle_s)

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
            alone(connection)
            change(connection, {}, now, self.policy.settle_s, ended=broken(connection).values())
            again = update(notices).where(notices.c.state == "refused", last)
            return int(connection.execute(again.values(state="waiting", due_at=now, done_at=None)).rowcount)

        return self.database.write(work)

    def waiting(self, receiver: str | None = None) -> int:
        """Return how many notices are not sent yet."""
        query = select(func.count()).select_from(notices).where(notices.c.state == "waiting")
        if receiver is not None:
            query = query.where(notices.c.receiver == receiver)
        return int(self.database.read(lambda connection: connection.execute(query).scalar_one()))

    def sent(self, since: float, most: int = 1000) -> list[Sent]:
        """Return what became of the notices since a time, the latest first."""
        query = select(notices).where(notices.c.made_at >= since).order_by(notices.c.made_at.desc()).limit(most)
        return self.database.read(lambda connection: [as_sent(row) for row in connection.execute(query)])

    def prune(self, now: float) -> None:
        """Remove what is older than 30 days, and alerts that are over and that nobody has to be told of.

        A receiver that has nothing to fail at any more does not count as broken for ever.
        """

        def work(connection: Connection) -> None:
            alone(connection)
            fails = or_(
                notices.c.state == "waiting", and_(notices.c.state == "refused", notices.c.made_at > now - DOUBT_S)
            )
            failing = set(connection.execute(select(notices.c.receiver).where(fails)).scalars())
            idle = [fingerprint for receiver, fingerprint in broken(connection).items() if receiver not in failing]
            change(connection, {}, now, self.policy.settle_s, ended=idle)
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
