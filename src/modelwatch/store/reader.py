"""Reads `live.db`: committed totals of all workers, living and dead, and what their processes are doing now."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelwatch.errors import DamagedData, NewerFormat
from modelwatch.schema import ModelSchema
from modelwatch.store.live import (
    EVERYDAY,
    MINUTE,
    FileId,
    Key,
    Row,
    Spans,
    connect,
    drop_log,
    file_id,
    log_is_gone,
    log_of,
    unreadable,
)
from modelwatch.store.writer import DEAD_S, PROCESS, Gpu
from modelwatch.tally import Tally

SETTLED_S = 960  # a row of a minute that was not rewritten for so long never is; a shorter one sooner


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
    process: Mapping[str, float] = field(default_factory=dict)  # what the living workers use, summed
    used: Mapping[str, int] = field(
        default_factory=dict
    )  # what all workers used since the file began, the dead included
    gpus: tuple[Gpu, ...] = ()  # as the worker saw them that reported last
    spans: Spans = EVERYDAY  # of the rows that are written now
    heard: bool = True  # False: the file could not be read for so long that nobody knows what the workers do
    youngest_beat_age_s: float | None = None


class LiveReader:
    """Follows the rows of `live.db`. Not thread-safe."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic, timeout_s: float = 2.0) -> None:
        self.path, self._monotonic, self._timeout_s = path, monotonic, timeout_s
        self._db: sqlite3.Connection | None = None
        self.file: FileId | None = None  # the one that was tried last
        self._log: FileId | None = None
        self._seen = 0
        self._schemas: dict[Key, tuple[int, ModelSchema]] = {}
        self._host, self._read_at = HostState(), float("-inf")

    def poll(self) -> tuple[Changes, HostState]:
        """Return what changed since the last call, at the cost of what changed.

        Raises
        ------
        sqlite3.Error, OSError, NewerFormat, DamagedData   the file cannot be read now; the next call begins again.
        """
        again = self._reopen()
        db = self._db
        assert db is not None  # for the type checker: _reopen raises otherwise
        try:
            db.execute("BEGIN")
            state = dict(db.execute("SELECT name, value FROM state"))
            if state["horizon"] > self._seen or state["seq"] < self._seen:
                again = again or self._seen > 0
                self._seen = 0
            found = db.execute(
                "SELECT model, version, start, span, worker, tally FROM counts WHERE seq > ?", (self._seen,)
            ).fetchall()
            workers = db.execute("SELECT seen, gauges FROM workers").fetchall()
            self._read_schemas(db)
            db.execute("COMMIT")
            rows = tuple(_row(*row) for row in found)
            host = self._host_state(state, workers)
        except sqlite3.Error:
            self.close()
            raise
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
            # other values than were written
            self.close()
            raise unreadable(self.path, error) from None
        self._seen = state["seq"]
        self._host, self._read_at = host, self._monotonic()
        return Changes(again, rows), host

    def remembered(self) -> HostState:
        """Return what was read last, for while the file cannot be read; what workers did is forgotten after 10 s."""
        host, passed = self._host, self._monotonic() - self._read_at
        age = None if host.oldest_beat_age_s is None else host.oldest_beat_age_s + passed
        if passed <= DEAD_S:
            return replace(host, oldest_beat_age_s=age)
        return replace(host, workers=0, gauges={}, process={}, gpus=(), oldest_beat_age_s=age, heard=False)

    def _reopen(self) -> bool:
        """Open the file, again when another one lies at the path. Return whether what was seen is void."""
        at_path = file_id(self.path)
        if self._db is not None:
            if at_path == self.file and not log_is_gone(self.path, self._log):
                return False
            if at_path not in (None, self.file):
                drop_log(self.path, self._log)  # our connection is still open, so that its number is not in use again
            self.close()
        self.file, self._seen = at_path, 0
        self._schemas.clear()
        self._db = connect(self.path, self._timeout_s, create=False)
        self._log = file_id(log_of(self.path))
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
        alive = sorted((seen, text) for seen, text in workers if abs(now - seen) <= DEAD_S)
        gauges: dict[str, dict[str, float]] = {}
        process: dict[str, float] = {}
        gpus: tuple[Gpu, ...] = ()
        for _, text in alive:
            said = json.loads(text)
            for model, values in said.get("models", {}).items():
                _add(gauges.setdefault(model, {}), values)
            _add(process, said.get("process", {}))
            seen_gpus = said.get("gpus", ())  # a newer worker may tell more of them
            gpus = tuple(Gpu(gpu["index"], gpu["name"], gpu["values"]) for gpu in seen_gpus) or gpus
        age = max((now - seen for seen, _ in alive), default=None)
        return HostState(
            len(alive), state.get("deaths", 0), state.get("began"), state.get("damaged_rows", 0), gauges,
            None if age is None else max(0.0, age), {key: schema for key, (_, schema) in self._schemas.items()},
            process, {name.removeprefix(PROCESS): int(n) for name, n in state.items() if name.startswith(PROCESS)},
            gpus, Spans.kept(state), youngest_beat_age_s=min((abs(now - seen) for seen, _ in alive), default=None),
        )  # fmt: skip

    def close(self) -> None:
        """Close the connection; the next poll opens it again."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.Error):
                db.close()


def _add(to: dict[str, float], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        to[name] = to.get(name, 0) + value


def _row(model: str, version: str, start: int, span: int, worker: str, tally: bytes) -> Row:
    if not (
        type(model) is type(version) is type(worker) is str
        and type(start) is type(span) is int
        and type(tally) is bytes
    ):
        raise TypeError("a row of other types")
    return Row(Key(model, version), start, span, worker, tally)


class Totals:
    """The sum of all rows per model version.

    monotonic : seconds that no step of the wall clock bends.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._applied = float("-inf")  # when changes were applied last: what comes now was read later than that
        self._clear()

    def _clear(self) -> None:
        self.tallies: dict[Key, Tally] = {}
        self.newest: dict[Key, int] = {}  # start of the newest row
        self.damaged = 0  # rows that could not be read
        # those that may be rewritten, as last read, and when; only a worker that lives rewrites its row of a minute
        self._rows: dict[tuple[Key, int, int, str], tuple[float, Tally]] = {}
        self._fingerprints: dict[Key, dict[str, str]] = {}

    def apply(self, changes: Changes, schemas: Mapping[Key, ModelSchema]) -> None:
        """Take the changes in. Tables on other edges than those of `schemas` are left out of the sum."""
        if changes.again:
            self._clear()
        self._follow(schemas)
        now = self._monotonic()
        for row in changes.rows:
            tally = self._read(row)
            total = self.tallies.setdefault(row.key, Tally())
            if row.span and row.worker:
                at = (row.key, row.start, row.span, row.worker)
                _, old = self._rows.pop(at, (now, None))
                if old is not None:
                    total.add(self._matching(row.key, old), -1)
                self._rows[at] = now, tally
            total.add_matching(tally)
            if row.span:
                self.newest[row.key] = max(self.newest.get(row.key, 0), row.start)
        while self._rows:  # the one that was rewritten longest ago is the first
            at, (when, _) = next(iter(self._rows.items()))
            if self._applied - when <= SETTLED_S * at[2] / MINUTE:
                break
            del self._rows[at]
        self._applied = now

    def _follow(self, schemas: Mapping[Key, ModelSchema]) -> None:
        """Begin the tables of a version again whose edges have changed."""
        for key, schema in schemas.items():
            if self._fingerprints.get(key) != schema.fingerprints:
                self._fingerprints[key] = schema.fingerprints
                if key in self.tallies:
                    self.tallies[key] = self._matching(key, self.tallies[key])

    def _matching(self, key: Key, tally: Tally) -> Tally:
        return tally.matching(self._fingerprints.get(key, {}))

    def _read(self, row: Row) -> Tally:
        try:
            return self._matching(row.key, Tally.load(row.tally))
        except (DamagedData, NewerFormat):
            self.damaged += 1
            return Tally()
