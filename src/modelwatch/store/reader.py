"""Reads `live.db`: committed totals of all workers, living and dead, and what their processes are doing now."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelwatch.errors import DamagedData, NewerFormat
from modelwatch.schema import ModelSchema
from modelwatch.store.live import FileId, Key, Row, connect, file_id
from modelwatch.store.writer import DEAD_S
from modelwatch.tally import Tally

SETTLED_S = 960  # rows that began so long before the newest are not rewritten any more


@dataclass(frozen=True)
class Changes:
    """Rows that are new or rewritten since the last look. `again`: forget everything seen before."""

    again: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class HostState:
    """What the processes of this host say of themselves."""

    workers: int = 0
    deaths: int = 0
    began: float | None = None  # Unix time of the first count in the file
    damaged_rows: int = 0
    gauges: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # model -> gauge -> sum over living workers
    oldest_beat_age_s: float | None = None
    schemas: Mapping[Key, ModelSchema] = field(default_factory=dict)


class LiveReader:
    """Follows the rows of `live.db`. Not thread-safe."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic, timeout_s: float = 2.0) -> None:
        self.path, self._monotonic, self._timeout_s = path, monotonic, timeout_s
        self._db: sqlite3.Connection | None = None
        self._file: FileId | None = None
        self._seen = 0
        self._schemas: dict[Key, tuple[int, ModelSchema]] = {}

    def poll(self) -> tuple[Changes, HostState]:
        """Return what changed since the last call, at the cost of what changed.

        Raises
        ------
        sqlite3.Error, OSError, NewerFormat   the file cannot be read now; the next call goes on where this one began.
        """
        again = self._reopen()
        db = self._db
        assert db is not None  # noqa: S101 - for the type checker: _reopen raises otherwise
        try:
            db.execute("BEGIN")
            state = dict(db.execute("SELECT name, value FROM state"))
            if state.get("horizon", 0) > self._seen:
                again = again or self._seen > 0
                self._seen = 0
            found = db.execute(
                "SELECT model, version, start, span, worker, tally FROM counts WHERE seq > ?", (self._seen,)
            ).fetchall()
            workers = db.execute("SELECT seen, gauges FROM workers").fetchall()
            self._read_schemas(db)
            db.execute("COMMIT")
        except sqlite3.Error:
            self.close()
            raise
        self._seen = state.get("seq", 0)
        rows = tuple(Row(Key(model, version), *rest) for model, version, *rest in found)
        return Changes(again, rows), self._host_state(state, workers)

    def _reopen(self) -> bool:
        """Open the file, again when another one lies at the path. Return whether what was seen is void."""
        if self._db is not None and file_id(self.path) == self._file:
            return False
        self.close()
        self._db = connect(self.path, self._timeout_s, create=False)
        self._file, self._seen = file_id(self.path), 0
        self._schemas.clear()
        return True

    def _read_schemas(self, db: sqlite3.Connection) -> None:
        for model, version, revision in db.execute("SELECT model, version, revision FROM models").fetchall():
            key = Key(model, version)
            if self._schemas.get(key, (0,))[0] == revision:
                continue
            (text,) = db.execute("SELECT schema FROM models WHERE model = ? AND version = ?", key).fetchone()
            try:
                self._schemas[key] = revision, ModelSchema.from_json(text)
            except DamagedData:
                continue

    def _host_state(self, state: Mapping[str, int], workers: list[tuple[float, str]]) -> HostState:
        now = self._monotonic()
        alive = [(seen, text) for seen, text in workers if abs(now - seen) <= DEAD_S]
        gauges: dict[str, dict[str, float]] = {}
        for _, text in alive:
            for model, values in json.loads(text).items():
                mine = gauges.setdefault(model, {})
                for name, value in values.items():
                    mine[name] = mine.get(name, 0) + value
        age = max((now - seen for seen, _ in alive), default=None)
        return HostState(
            len(alive), state.get("deaths", 0), state.get("began"), state.get("damaged_rows", 0), gauges,
            None if age is None else max(0.0, age), {key: schema for key, (_, schema) in self._schemas.items()},
        )  # fmt: skip

    def close(self) -> None:
        """Close the connection; the next poll opens it again."""
        db, self._db = self._db, None
        if db is not None:
            db.close()


class Totals:
    """The sum of all rows per model version."""

    def __init__(self) -> None:
        self.tallies: dict[Key, Tally] = {}
        self.newest: dict[Key, int] = {}  # start of the newest row
        self.damaged = 0  # rows that could not be read, or were counted on other edges
        self._rows: dict[tuple[Key, int, int, str], Tally] = {}  # those that may be rewritten, as last read

    def apply(self, changes: Changes, schemas: Mapping[Key, ModelSchema]) -> None:
        """Take the changes in. Tables that were counted on other edges than those of `schemas` are left out of the sum."""
        if changes.again:
            self.tallies, self.newest, self._rows, self.damaged = {}, {}, {}, 0
        for row in changes.rows:
            tally = self._read(row, schemas.get(row.key))
            total = self.tallies.setdefault(row.key, Tally())
            at = (row.key, row.start, row.span, row.worker)
            old = self._rows.pop(at, None)
            if old is not None:
                total.add_matching(old, -1)
            total.add_matching(tally)
            self._rows[at] = tally
            if row.span:
                self.newest[row.key] = max(self.newest.get(row.key, 0), row.start)
        if changes.rows:
            newest = max(self.newest.values(), default=0)
            self._rows = {at: tally for at, tally in self._rows.items() if at[1] >= newest - SETTLED_S}

    def _read(self, row: Row, schema: ModelSchema | None) -> Tally:
        try:
            tally = Tally.load(row.tally)
        except (DamagedData, NewerFormat):
            self.damaged += 1
            return Tally()
        return tally if schema is None else tally.matching(schema.fingerprints)
