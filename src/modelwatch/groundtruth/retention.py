"""What is too old, or too much, leaves the store: a few rows a transaction, those without a label first."""

from __future__ import annotations

from sqlalchemy import Connection, delete, func, or_, select, text

from modelwatch.groundtruth.database import Database
from modelwatch.groundtruth.labelling import chunks
from modelwatch.groundtruth.store import Retention
from modelwatch.groundtruth.tables import audit, labels, samples, skips
from modelwatch.groundtruth.views import models

STEP = 500  # requests in one transaction
FULL_RATIO = 0.95  # of the limit: what is removed at a time makes room for a while
PAGES = 2000  # of a SQLite file, given back to the disk in one transaction
OF_A_ROW = 500  # bytes, about, of a request's labels and index entries
SEEN = 1000  # rows whose size is taken for that of all


def size_of(database: Database) -> int:
    """Return the bytes that the store holds: of the file that are in use, or an estimate for PostgreSQL.

    PostgreSQL's files do not shrink when rows are deleted; what counts there is rows x their mean size.
    """
    if database.engine_name == "sqlite":
        return database.read(_size_of_sqlite)
    return database.read(_size_of_postgres)


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _size_of_sqlite(connection: Connection) -> int:
    used = _pragma(connection, "page_count") - _pragma(connection, "freelist_count")
    return used * _pragma(connection, "page_size")


def _size_of_postgres(connection: Connection) -> int:
    rows = connection.execute(select(func.count()).select_from(samples)).scalar_one()
    mean = "SELECT avg(pg_column_size(s.*)) FROM (SELECT * FROM samples LIMIT :seen) s"
    one = connection.execute(text(mean), {"seen": SEEN}).scalar()
    return int(rows * (float(one or 0) + OF_A_ROW))


def purge_some(database: Database, now: float, retention: Retention, max_bytes: int | None) -> int:
    """Remove up to 500 requests: what is older than its model's retention, else, over `max_bytes`, the oldest of all.

    Returns how many were removed; call again until it is 0.

    Raises
    ------
    StoreUnavailable, NewerFormat   nothing is removed.
    """
    removed = database.write(lambda connection: _remove(connection, _too_old(connection, now, retention)))
    if removed == 0:
        removed = database.write(lambda connection: _forget_strays(connection, now - retention.of(None)))
    if removed == 0 and max_bytes is not None and size_of(database) > max_bytes * FULL_RATIO:
        removed = database.write(lambda connection: _remove(connection, _too_much(connection)))
    if database.engine_name == "sqlite" and removed:
        database.write(_give_back)
    return removed


def _give_back(connection: Connection) -> None:
    """Give free pages back to the disk: one at every step of the statement, and only a script takes all its steps."""
    driver = connection.connection.driver_connection
    if driver is not None:
        driver.executescript(f"PRAGMA incremental_vacuum({PAGES})")  # ends our transaction, which has done nothing


def _too_old(connection: Connection, now: float, retention: Retention) -> list[str]:
    found: list[str] = []
    for model in models(connection):
        before = now - retention.of(model)
        query = select(samples.c.request_id).where(samples.c.model == model, samples.c.predicted_at < before)
        found += connection.execute(query.limit(STEP - len(found))).scalars()
    stubs = select(samples.c.request_id).where(samples.c.kept_until < now).limit(STEP - len(found))
    return found + list(connection.execute(stubs).scalars())


def _too_much(connection: Connection) -> list[str]:
    """Return the oldest without a label; the oldest with one where all have."""
    names = models(connection)
    for is_chosen in (samples.c.label.is_(None), samples.c.label.is_not(None)):
        oldest: list[tuple[float, str]] = []
        for model in names:  # one by one, each by its index
            query = select(samples.c.predicted_at, samples.c.request_id).where(samples.c.model == model, is_chosen)
            rows = connection.execute(query.order_by(samples.c.predicted_at).limit(STEP))
            oldest += [(row.predicted_at, row.request_id) for row in rows]
        if oldest:
            return [request_id for _, request_id in sorted(oldest)[:STEP]]
    return []


def _remove(connection: Connection, ids: list[str]) -> int:
    for chunk in chunks(ids):
        for table in (labels, skips, audit, samples):
            connection.execute(delete(table).where(table.c.request_id.in_(chunk)))
    return len(ids)


def _forget_strays(connection: Connection, before: float) -> int:
    """Remove audit rows of nothing in particular, or of requests that are not in the store, when they are too old."""
    gone = ~select(samples.c.request_id).where(samples.c.request_id == audit.c.request_id).exists()
    query = select(audit.c.id).where(audit.c.at < before, or_(audit.c.request_id.is_(None), gone)).limit(STEP)
    found = list(connection.execute(query).scalars())
    connection.execute(delete(audit).where(audit.c.id.in_(found)))
    return len(found)
