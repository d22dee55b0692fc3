"""What a reviewer has before them and behind them: what waits, what they have done, what to take back first."""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, literal, or_, select, update

from modelwatch.groundtruth.labelling import locked, safe
from modelwatch.groundtruth.queue import LEASE_S
from modelwatch.groundtruth.store import Store
from modelwatch.groundtruth.tables import labels, samples
from modelwatch.groundtruth.views import of_model

MOST_COUNTED = 10_000  # that wait: a page of a million must not step over each


@dataclass(frozen=True, slots=True)
class Done:
    """How many labels a reviewer has given, and the last of them, which `undo` takes back; None where there is none."""

    labels: int
    request_id: str | None = None
    label: str | float | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Samples of a model without a label.

    samples : how many, `MOST_COUNTED` at most. more : there are more than that.
    claimed : of all that wait, those that a reviewer holds.
    oldest_at : Unix seconds of the oldest prediction; None: none waits.
    """

    samples: int
    claimed: int
    oldest_at: float | None
    more: bool = False


def waiting(store: Store, model: str) -> Waiting:
    """Return how much waits; takes as long as for `MOST_COUNTED` samples, however many wait.

    Raises
    ------
    StoreUnavailable, NewerFormat   it cannot be read now.
    """
    waits = and_(samples.c.label.is_(None), samples.c.model.is_not(None))
    mine = and_(samples.c.model == model, waits)
    some = select(literal(1)).select_from(samples).where(mine).limit(MOST_COUNTED + 1).subquery()
    held = select(func.count()).select_from(samples).where(of_model(model), waits)
    held = held.where(samples.c.claimed_until > store.clock())
    oldest = select(func.min(samples.c.predicted_at)).where(mine)

    def work(connection: Connection) -> Waiting:
        n = connection.execute(select(func.count()).select_from(some)).scalar_one()
        claimed, oldest_at = connection.execute(held).scalar_one(), connection.execute(oldest).scalar_one()
        return Waiting(min(n, MOST_COUNTED), claimed, oldest_at, more=n > MOST_COUNTED)

    return store.database.read(work)


def done(store: Store, reviewer: str, model: str, since: float) -> Done:
    """Return what a reviewer has said of samples of a model that got their present label since a moment.

    Only labels that count now: what was taken back, or said otherwise by somebody later, is not among them.

    Parameters
    ----------
    since : Unix seconds.

    Raises
    ------
    StoreUnavailable, NewerFormat   it cannot be read now.
    """
    name = safe(reviewer) or ""
    mine = and_(
        samples.c.model == model,
        samples.c.labelled_at >= since,
        labels.c.request_id == samples.c.request_id,
        labels.c.reviewer == name,
        labels.c.label == samples.c.label,
        labels.c.withdrawn_at.is_(None),
    )

    def work(connection: Connection) -> Done:
        n = connection.execute(select(func.count()).select_from(samples, labels).where(mine)).scalar_one()
        newest = select(labels.c.request_id, labels.c.label).select_from(samples, labels).where(mine)
        order = (samples.c.labelled_at.desc(), samples.c.request_id.desc())
        row = connection.execute(newest.order_by(*order).limit(1)).first()
        return Done(n) if row is None else Done(n, row.request_id, json.loads(row.label))

    return store.database.read(work)


def hold(store: Store, request_id: str, reviewer: str, lease_s: float = LEASE_S) -> bool:
    """Give a reviewer one certain sample, if it has no label and nobody else holds it; return whether it was given.

    What the reviewer holds besides is given back: `claim` then returns this one.

    Raises
    ------
    StoreUnavailable, NewerFormat   nothing is changed.
    """
    name = safe(reviewer) or ""

    def work(connection: Connection) -> bool:
        now = store.clock()
        locked(connection, [request_id])
        free = or_(samples.c.claimed_until.is_(None), samples.c.claimed_until <= now, samples.c.claimed_by == name)
        this = and_(samples.c.request_id == request_id, samples.c.label.is_(None), samples.c.model.is_not(None), free)
        lease = {"claimed_by": name, "claimed_until": now + lease_s}
        given = connection.execute(update(samples).where(this).values(lease)).rowcount == 1
        if given:
            others = and_(samples.c.claimed_by == name, samples.c.request_id != request_id)
            held = and_(others, samples.c.claimed_until.is_not(None))
            connection.execute(update(samples).where(held).values(claimed_until=None))
        return given

    return store.database.write(work)
