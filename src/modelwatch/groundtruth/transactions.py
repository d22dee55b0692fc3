"""Transactions of a SQLite file by its driver: through SQLAlchemy, one costs a label more than its rows."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from modelwatch.groundtruth import migrations
from modelwatch.groundtruth.prepared import as_sqlalchemy

LOG_PAGES = 2000  # of a file's log; the label that makes it longer writes them to their places, which takes a while
QUICK = "modelwatch.quick"  # whether commits of a connection wait for the disk no more


def prepare(db: Any, where: str) -> None:
    """Refuse a newer file before anything is written, then let every commit reach the disk.

    Raises
    ------
    NewerFormat   it was made by a newer version.
    """
    db.isolation_level = None  # transactions are begun by us
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'modelwatch_store'").fetchone():
        found = db.execute("SELECT value FROM modelwatch_store WHERE name = 'layout'").fetchone()
        migrations.check(int(found[0]) if found else 0, where)
    else:
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")  # works before the first table only
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute(f"PRAGMA journal_size_limit={LOG_PAGES * 4096}")
    db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")


def begin(connection: Connection, *, writes: bool, quick: bool = False) -> None:
    """Begin a transaction, which SQLAlchemy joins when it is asked for something.

    quick : its commit does not wait until it is on the disk. The connection remembers how it was last.

    Raises
    ------
    DBAPIError   as `Connection.begin` does.
    """
    pooled = connection.connection
    how = "BEGIN IMMEDIATE" if writes else "BEGIN"
    db: Any = pooled.dbapi_connection
    try:
        if pooled.info.get(QUICK, False) is not quick:
            db.execute(f"PRAGMA synchronous={'NORMAL' if quick else 'FULL'}")
            pooled.info[QUICK] = quick
        db.execute(how)
    except connection.dialect.loaded_dbapi.Error as error:
        raise as_sqlalchemy(connection, how, error) from error


def commit(connection: Connection) -> None:
    """Commit what `begin` has begun.

    Raises
    ------
    DBAPIError   as `Connection.commit` does.
    """
    try:
        connection.connection.commit()
    except connection.dialect.loaded_dbapi.Error as error:
        raise as_sqlalchemy(connection, "COMMIT", error) from error
    if connection.in_transaction():
        connection.commit()  # SQLAlchemy's part, of nothing


def join(connection: Connection) -> None:
    """Begin a transaction when SQLAlchemy does, unless `begin` has.

    Raises
    ------
    DBAPIError   as `Connection.begin` does.
    """
    db: Any = connection.connection.dbapi_connection
    if not db.in_transaction:
        begin(connection, writes=True)
