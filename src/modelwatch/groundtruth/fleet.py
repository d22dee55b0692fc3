"""What every host of a fleet has counted: closed minutes of each `live.db`, copied into the store that they share."""

from __future__ import annotations

import contextlib
import platform
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, delete, select, text

from modelwatch.errors import DamagedData
from modelwatch.groundtruth.database import Database
from modelwatch.groundtruth.labelling import insert, keep_value, value_of
from modelwatch.groundtruth.tables import counts, models, state
from modelwatch.schema import ModelSchema
from modelwatch.store.live import DAY, HOUR, MINUTE, SPAN, Key, NotMadeYet, Spans, connect
from modelwatch.store.writer import STALE_S
from modelwatch.tally import Tally

CLOSED_S = STALE_S + MINUTE  # after its end no worker writes a row of a minute any more, unless time is scaled
MINUTES_A_COPY = 20
MARK = "copied:"  # of a host and file, in the values of the store: up to when its minutes are copied
MOST_ROWS = 1000  # summed up in one transaction
TIERS = ((HOUR, DAY), (DAY, 35 * DAY))  # shorter rows become rows of a span, so long after their end
KEPT_S = 400 * DAY
LOCK = 0x666C656574  # of PostgreSQL, while rows are summed up: "fleet"

Unit = tuple[str, int, str, str, int]  # host, file, model, version, start


@dataclass(frozen=True)
class _Copy:
    """Minutes of one `live.db`, each the sum over its workers: all there are from `since` to `until`."""

    span: int  # seconds of a minute, as the file scales them
    since: int
    until: int
    tallies: Mapping[tuple[Key, int], Tally]
    schemas: Mapping[Key, str]


def copy_closed(database: Database, live: Path, now: float, host: str | None = None) -> int:
    """Copy minutes that are closed and not in the store yet, at most 20; return how many rows are new.

    Every worker of a host may do so at once: a minute is there once.

    Parameters
    ----------
    live : the host's own file; one that is not there yet has nothing to copy.
    now : Unix seconds.
    host : its name; by default that of this machine.

    Raises
    ------
    StoreUnavailable, NewerFormat         the store cannot be used now.
    sqlite3.Error, OSError, DamagedData   the file cannot be read now.
    """
    name = (host or platform.node())[:128]
    if not live.exists():
        return 0
    try:
        db = connect(live, create=False)
    except NotMadeYet:
        return 0
    with contextlib.closing(db):
        file = _file_of(db, live)
        mark = f"{MARK}{name}:{file}"
        since = int(database.read(lambda connection: value_of(connection, mark)) or 0)
        found = _read(db, since, now)
    if not found.tallies:
        return 0
    return database.write(lambda connection: _write(connection, name, file, mark, found))


def _file_of(db: sqlite3.Connection, live: Path) -> int:
    row = db.execute("SELECT value FROM state WHERE name = 'file'").fetchone()
    if row is None or type(row[0]) is not int:
        raise DamagedData(f"live: state of {str(live)!r} is lost. Another file will be made.")
    return int(row[0])


def _read(db: sqlite3.Connection, since: int, now: float) -> _Copy:
    """Return the next closed minutes, whole ones only."""
    db.execute("BEGIN")
    spans = Spans.kept(dict(db.execute("SELECT name, value FROM state WHERE name = ?", (SPAN,))))
    before = int(now) - spans.seconds(CLOSED_S + MINUTE)
    due = "SELECT DISTINCT start FROM counts WHERE span = ? AND start >= ? AND start <= ? ORDER BY start LIMIT ?"
    starts = [row[0] for row in db.execute(due, (spans.minute, since, before, MINUTES_A_COPY))]
    if not starts:
        return _Copy(spans.minute, since, since, {}, {})
    rows = db.execute(
        "SELECT model, version, start, tally FROM counts"
        " WHERE span = ? AND start >= ? AND start <= ? ORDER BY seq DESC",
        (spans.minute, starts[0], starts[-1]),
    )
    parts: dict[tuple[Key, int], list[bytes]] = defaultdict(list)
    for model, version, start, blob in rows:
        parts[Key(model, version), start].append(blob)
    schemas = {
        Key(model, version): schema
        for model, version, schema in db.execute("SELECT model, version, schema FROM models")
    }
    tallies = {key: _sum(blobs) for key, blobs in parts.items()}
    return _Copy(spans.minute, since, starts[-1] + spans.minute, tallies, schemas)


def _sum(blobs: Iterable[bytes]) -> Tally:
    """Return the sum of tallies, the newest first: its edges are the ones in use. A damaged one is in no sum."""
    total = Tally()
    for blob in blobs:
        with contextlib.suppress(DamagedData):
            total.add_matching(Tally.load(blob))
    return total


def _write(connection: Connection, host: str, file: int, mark: str, found: _Copy) -> int:
    """Put minutes into the store, unless another worker has done so since they were read: the mark tells."""
    keep_value(connection, mark, "0")
    query = select(state.c.value).where(state.c.name == mark).with_for_update()
    if int(connection.execute(query).scalar_one()) != found.since:
        return 0
    connection.execute(state.update().where(state.c.name == mark), {"value": str(found.until)})
    rows = [
        {"host": host, "file": file, **key._asdict(), "start": start, "span": found.span, "tally": tally.dump()}
        for (key, start), tally in sorted(found.tallies.items())
    ]
    connection.execute(counts.insert(), rows)
    told = insert(connection, models)
    told = told.on_conflict_do_update(index_elements=["model", "version"], set_={"schema": told.excluded.schema})
    if found.schemas:
        connection.execute(told, [{**key._asdict(), "schema": text} for key, text in sorted(found.schemas.items())])
    return len(rows)


# -- later -------------------------------------------------------------------------------------------------------------


def compact(database: Database, now: float) -> int:
    """Sum minutes of yesterday up to hours, hours of long ago to days, of all hosts; return how many rows went.

    What is older than 400 days is removed. Hosts come and go, so none can be left to do this for itself.

    Raises
    ------
    StoreUnavailable, NewerFormat   the rest is left for the next time.
    """
    went = 0
    for to, after in TIERS:
        went += database.write(partial(_sum_up, now=now, to=to, after=after))
    return went + database.write(partial(_forget, before=now - KEPT_S))


def _sum_up(connection: Connection, now: float, to: int, after: int) -> int:
    if connection.dialect.name == "postgresql":
        taken = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": LOCK}).scalar()
        if not taken:  # another worker is at it
            return 0
    before = int((now - after) // to) * to  # whole units only
    due = select(counts).where(counts.c.span < to, counts.c.start < before)
    rows = connection.execute(due.order_by(counts.c.start).limit(MOST_ROWS)).all()
    units: dict[Unit, list[Any]] = defaultdict(list)
    for row in rows:
        units[row.host, row.file, row.model, row.version, row.start // to * to].append(row)
    for (host, file, model, version, start), parts in units.items():
        key = {"host": host, "file": file, "model": model, "version": version}
        mine = and_(*(counts.c[name] == value for name, value in key.items()))
        unit = and_(mine, counts.c.start == start, counts.c.span == to)
        have = connection.execute(select(counts.c.tally).where(unit)).scalars().all()
        newest = sorted(parts, key=lambda part: -int(part.start))
        total = _sum([*(part.tally for part in newest), *have])
        gone = [part.start for part in parts]
        connection.execute(delete(counts).where(mine, counts.c.span < to, counts.c.start.in_(gone)))
        connection.execute(delete(counts).where(unit))
        connection.execute(counts.insert(), {**key, "start": start, "span": to, "tally": total.dump()})
    return len(rows)


def _forget(connection: Connection, before: float) -> int:
    marks = select(state.c.name, state.c.value).where(state.c.name.startswith(MARK, autoescape=True))
    old = [row.name for row in connection.execute(marks).all() if int(row.value) < before]
    connection.execute(delete(state).where(state.c.name.in_(old)))
    return connection.execute(delete(counts).where(counts.c.start < before - DAY)).rowcount


# -- for readers -------------------------------------------------------------------------------------------------------


def by_host(database: Database, since: float, until: float, model: str | None = None) -> dict[str, dict[Key, Tally]]:
    """Return what each host counted within a span of time: {host: {model version: tally}}.

    Only rows that lie within it are in the sum: minutes of the last day, hours and days of before.

    Parameters
    ----------
    since, until : Unix seconds.

    Raises
    ------
    StoreUnavailable, NewerFormat   it cannot be read now.
    """
    within = and_(counts.c.start >= since, counts.c.start + counts.c.span <= until)
    query = select(counts).where(within).order_by(counts.c.start.desc())
    if model is not None:
        query = query.where(counts.c.model == model)
    parts: dict[tuple[str, Key], list[bytes]] = defaultdict(list)
    for row in database.read(lambda connection: connection.execute(query).all()):
        parts[row.host, Key(row.model, row.version)].append(row.tally)
    found: dict[str, dict[Key, Tally]] = defaultdict(dict)
    for (host, key), blobs in parts.items():
        found[host][key] = _sum(blobs)
    return dict(found)


def schemas(database: Database) -> dict[Key, ModelSchema]:
    """Return what is counted of each model version, as its hosts told last; those of a newer version are left out.

    Raises
    ------
    StoreUnavailable, NewerFormat   it cannot be read now.
    """
    found: dict[Key, ModelSchema] = {}
    for row in database.read(lambda connection: connection.execute(select(models)).all()):
        with contextlib.suppress(DamagedData):
            found[Key(row.model, row.version)] = ModelSchema.from_json(row.schema)
    return found
