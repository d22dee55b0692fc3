"""The review queue: who looks at which sample, what they pass over, and what they take back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, update

from modelwatch.groundtruth.labelling import (
    LONGEST_NOTE,
    current,
    entry_of,
    history_of,
    insert,
    is_valid,
    locked,
    safe,
    settle,
)
from modelwatch.groundtruth.store import Sample, Store
from modelwatch.groundtruth.tables import audit, labels, samples, skips
from modelwatch.groundtruth.views import models, of_model

LEASE_S = 600.0


def claim(store: Store, reviewer: str, model: str | None = None, lease_s: float = LEASE_S, n: int = 1) -> list[Sample]:
    """Return up to `n` samples without a label, which nobody else is given for `lease_s` seconds.

    What the reviewer holds already comes first, and is held anew: a page that is loaded again shows the same items.
    Then, of each model, the oldest. Nothing waits for the disk: a machine that loses its power forgets who holds what.

    Raises
    ------
    StoreUnavailable, NewerFormat   none is held.
    """
    name = safe(reviewer) or ""
    return store.database.write_quickly(lambda connection: _claim(connection, name, model, lease_s, n, store.clock()))


def _claim(
    connection: Connection, reviewer: str, model: str | None, lease_s: float, n: int, now: float
) -> list[Sample]:
    waits = and_(samples.c.label.is_(None), samples.c.model.is_not(None))
    held = samples.c.claimed_until > now
    skipped = exists().where(skips.c.request_id == samples.c.request_id, skips.c.reviewer == reviewer)
    order = (samples.c.predicted_at, samples.c.request_id)
    mine = select(samples).where(waits, held, samples.c.claimed_by == reviewer).order_by(*order).limit(n)
    if model is not None:
        mine = mine.where(of_model(model))
    found = list(connection.execute(mine.with_for_update(skip_locked=True)))
    for name in models(connection) if model is None else [model]:  # one by one, each by its index
        free = select(samples).where(samples.c.model == name, waits, or_(samples.c.claimed_until.is_(None), ~held))
        free = free.where(~skipped).order_by(*order).limit(n - len(found))
        if len(found) < n:
            found += connection.execute(free.with_for_update(skip_locked=True, of=samples))
    ids = [row.request_id for row in found]
    lease = {"claimed_by": reviewer, "claimed_until": now + lease_s}
    connection.execute(update(samples).where(samples.c.request_id.in_(ids)).values(lease))
    return [_sample(row) for row in found]


def waiting(store: Store, model: str, n: int | None = None) -> list[Sample]:
    """Return samples without a label, the oldest first, whoever holds them.

    Raises
    ------
    StoreUnavailable, NewerFormat   they cannot be read now.
    """
    query = select(samples).where(samples.c.model == model, samples.c.label.is_(None))
    query = query.order_by(samples.c.predicted_at, samples.c.request_id).limit(n)
    return store.database.read(lambda connection: [_sample(row) for row in connection.execute(query)])


def _sample(row: Any) -> Sample:
    return Sample(
        request_id=row.request_id,
        model_name=row.model,
        model_version=row.version,
        endpoint=row.endpoint,
        predicted_at=row.predicted_at,
        prediction=json.loads(row.prediction),
        confidence=row.confidence,
        segment=row.segment,
        inclusion=row.inclusion,
        input=row.input,
        features=None if row.features is None else json.loads(row.features),
    )


def release(store: Store, request_ids: Sequence[str], reviewer: str) -> int:
    """Give samples back that a reviewer holds; return how many were held.

    Raises
    ------
    StoreUnavailable, NewerFormat   nothing is changed.
    """
    mine = and_(samples.c.request_id.in_(sorted(request_ids)), samples.c.claimed_by == (safe(reviewer) or ""))
    statement = update(samples).where(mine, samples.c.claimed_until.is_not(None)).values(claimed_until=None)
    return store.database.write(lambda connection: connection.execute(statement).rowcount)


def skip(store: Store, request_id: str, reviewer: str, note: str | None = None) -> bool:
    """Pass over a sample: it goes to somebody else and is not offered to this reviewer again.

    Returns False where there is no such sample.

    Raises
    ------
    StoreUnavailable, NewerFormat   nothing is changed.
    """
    name, words = safe(reviewer) or "", safe(note, LONGEST_NOTE)

    def work(connection: Connection) -> bool:
        row = locked(connection, [request_id]).get(request_id)
        if row is None or row["model"] is None:
            return False
        statement = insert(connection, skips).on_conflict_do_nothing().returning(skips.c.request_id)
        new = connection.execute(statement, {"request_id": request_id, "reviewer": name}).first()
        mine = and_(samples.c.request_id == request_id, samples.c.claimed_by == name)
        connection.execute(update(samples).where(mine).values(claimed_until=None))
        if new is not None:
            _write_down(connection, store.tick(), name, "skip", request_id, {"note": words})
        return True

    return store.database.write(work)


def undo(store: Store, request_id: str, reviewer: str) -> bool:
    """Take the last label of a reviewer back; the one before it holds again, or the sample waits again.

    Returns False where the reviewer has none.

    Raises
    ------
    StoreUnavailable, NewerFormat   nothing is changed.
    """
    name = safe(reviewer) or ""

    def work(connection: Connection) -> bool:
        row = locked(connection, [request_id]).get(request_id)
        if row is None:
            return False
        known = history_of(connection, [request_id]).get(request_id, {})
        last = current({key: one for key, one in known.items() if key[0] == name and is_valid(one)})
        if last is None:
            return False
        before, now = current(known), store.tick()
        last["withdrawn_at"] = max(now, last["at"])
        key = and_(labels.c.request_id == request_id, labels.c.reviewer == name, labels.c.label == last["label"])
        connection.execute(update(labels).where(key).values(withdrawn_at=last["withdrawn_at"]))
        settle(row, known)
        changed = {column: row[column] for column in ("label", "labelled_at", "revisions", "claimed_until")}
        connection.execute(update(samples).where(samples.c.request_id == request_id).values(changed))
        entry = entry_of(now, name, "undo", request_id, said=last["label"], before=before, after=current(known))
        connection.execute(audit.insert(), entry)
        return True

    return store.database.write(work)


def note(store: Store, request_id: str, reviewer: str, words: str) -> None:
    """Write a remark on a request down; it is part of its history.

    Raises
    ------
    StoreUnavailable, NewerFormat   it is not written.
    """
    name, remark = safe(reviewer) or "", safe(words, LONGEST_NOTE)
    store.database.write(
        lambda connection: _write_down(connection, store.tick(), name, "note", request_id, {"note": remark})
    )


def _write_down(
    connection: Connection, at: float, actor: str, action: str, request_id: str | None, detail: dict[str, Any]
) -> None:
    row = {"at": at, "actor": actor, "action": action, "request_id": request_id, "detail": json.dumps(detail)}
    connection.execute(audit.insert(), row)


def history(store: Store, request_id: str) -> list[dict[str, Any]]:
    """Return all that was said and done about a request, the oldest first: what a page of it shows.

    Each has `at`, `actor`, `action` (said, label, skip, undo, note) and `detail`.

    Raises
    ------
    StoreUnavailable, NewerFormat   it cannot be read now.
    """

    def work(connection: Connection) -> list[dict[str, Any]]:
        found = [
            {
                "at": row.at,
                "actor": row.reviewer,
                "action": "said",
                "detail": {"label": json.loads(row.label), "note": row.note, "withdrawn_at": row.withdrawn_at},
            }
            for row in connection.execute(select(labels).where(labels.c.request_id == request_id))
        ]
        query = select(audit).where(audit.c.request_id == request_id).order_by(audit.c.id)
        for row in connection.execute(query):
            found.append({"at": row.at, "actor": row.actor, "action": row.action, "detail": json.loads(row.detail)})
        return sorted(found, key=lambda entry: entry["at"])

    return store.database.read(work)
