"""Whose predictions request ids are: several models may share a store, and a label may come by the way of another."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, select

from modelwatch.groundtruth.labelling import chunks
from modelwatch.groundtruth.store import Store
from modelwatch.groundtruth.tables import samples


def models_of(store: Store, ids: Iterable[str]) -> dict[str, str]:
    """Return {request id: model} of the predictions that are kept.

    Raises
    ------
    StoreUnavailable, NewerFormat   it cannot be read now.
    """
    parts = list(chunks(ids))

    def look(connection: Connection) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in parts:
            known = samples.c.request_id.in_(part), samples.c.model.is_not(None)
            for row in connection.execute(select(samples.c.request_id, samples.c.model).where(*known)):
                found[row.request_id] = row.model
        return found

    return store.database.read(look) if parts else {}
