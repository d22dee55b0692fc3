"""One worker's end of `live.db`: it overwrites its own row of the open minute, and says that it is alive.

No read-modify-write: a write can be repeated and nothing is added twice; a failed one moves nothing. Used by one thread.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from modelwatch.clock import SteadyClock
from modelwatch.store import compaction
from modelwatch.store.live import BASE, MINUTE, FileId, Key, connect, file_id, is_damaged, set_aside
from modelwatch.tally import Tally

STALE_S = 300  # a row of a minute that ended longer ago is never written again: it may be compacted
DEAD_S = 10.0  # a worker that has not been seen for so long is dead
IDLE_BEAT_S = 2.0
COMPACT_EVERY_S = 60.0

Gauges = Mapping[str, Mapping[str, float]]  # model -> gauge -> value of this worker


class _Open:
    """The open minute of one model version: where its row is, and what this worker had counted before it."""

    __slots__ = ("base", "sent", "start")

    def __init__(self, start: int, base: Tally | None) -> None:
        self.start, self.base = start, base
        self.sent: bytes | None = None

    def counted(self) -> Tally:
        """Return everything of this process that is committed."""
        counted = Tally() if self.base is None else self.base.copy()
        if self.sent is not None:
            counted.add(Tally.load(self.sent))
        return counted


class LiveWriter:
    """Writes the cumulative tallies of one process into `live.db`.

    Raises whatever SQLite raises; the caller counts it and calls `commit` again a second later.
    """

    def __init__(self, path: Path, clock: SteadyClock, timeout_s: float = 5.0) -> None:
        self.path, self.clock, self.timeout_s = path, clock, timeout_s
        self.host = platform.node()[:128]
        self._db: sqlite3.Connection | None = None
        self._file: FileId | None = None
        self.files_set_aside = 0
        self._new_identity()
        self._open: dict[Key, _Open] = {}
        self._carry: dict[Key, Tally] = {}  # counts of before this file, to be written as base rows
        self._told: dict[Key, str] = {}
        self._beat = float("-inf")
        self._compacted = float("-inf")

    def _new_identity(self) -> None:
        self.worker = secrets.token_hex(8)

    def connection(self) -> sqlite3.Connection:
        """Return the connection, opened or opened again when the file at the path is another one."""
        current = file_id(self.path)
        if self._db is not None and current != self._file:
            self._db.close()
            self._db = None
        if self._db is None:
            db = connect(self.path, self.timeout_s)
            opened = file_id(self.path)
            if opened != self._file:  # not the file that our rows are in: what was counted so far goes with us
                for key, mine in self._open.items():
                    self._carry[key] = mine.counted()
                    self._open[key] = _Open(mine.start, self._carry[key])
                self._file = opened
                self._told.clear()
                self._beat = float("-inf")
            self._db = db
        return self._db

    def commit(self, tallies: Mapping[Key, Tally], gauges: Gauges, schemas: Mapping[Key, str]) -> bool:
        """Write what is new of this worker's cumulative tallies, in one transaction. Return whether anything was.

        `tallies` holds those that have changed since the last call; they are not changed afterwards. `schemas` tells readers
        the edges of all models of this process, as JSON.

        Raises
        ------
        sqlite3.Error, OSError, NewerFormat   nothing was written; the next call writes the same counts and the new ones.
        """
        try:
            return self._commit(tallies, gauges, schemas)
        except sqlite3.DatabaseError as error:
            if self._db is not None:
                self._rollback()
            if is_damaged(error):
                self._forget_connection()
                damaged = self._file or file_id(self.path)
                if set_aside(self.path, damaged) is not None:
                    self.files_set_aside += 1
            raise

    def _commit(self, tallies: Mapping[Key, Tally], gauges: Gauges, schemas: Mapping[Key, str]) -> bool:
        db = self.connection()
        beat = self.clock.monotonic()
        if not tallies and not self._carry and beat - self._beat < IDLE_BEAT_S:
            return False
        db.execute("BEGIN IMMEDIATE")
        now = self.clock.now()  # inside the transaction: a process suspended before it must not write a stale row after it
        minute = int(now // MINUTE) * MINUTE
        self._roll(minute)
        writes = [(key, 0, BASE, tally.dump()) for key, tally in self._carry.items() if not tally.is_empty()]
        sent: dict[Key, bytes] = {}
        for key, tally in tallies.items():
            mine = self._open.setdefault(key, _Open(minute, None))
            blob = (tally if mine.base is None else tally.minus(mine.base)).dump()
            if blob != mine.sent:
                writes.append((key, mine.start, MINUTE, blob))
                sent[key] = blob
        if writes:
            (seq,) = db.execute("UPDATE state SET value = value + 1 WHERE name = 'seq' RETURNING value").fetchone()
            db.executemany(
                "INSERT INTO counts (model, version, start, span, worker, host, seq, tally) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET seq = excluded.seq, tally = excluded.tally",
                [(*key, start, span, self.worker, self.host, seq, blob) for key, start, span, blob in writes],
            )
        told = self._tell_schemas(db, schemas)
        self._heartbeat(db, beat, gauges)
        db.execute("COMMIT")
        self._told |= told
        self._beat = beat
        self._carry.clear()
        for key, blob in sent.items():
            self._open[key].sent = blob
        for key, mine in self._open.items():
            if mine.start < minute:  # the row just written was the last of its minute
                self._open[key] = _Open(minute, tallies[key] if key in tallies else mine.counted())
        return bool(writes)

    def _roll(self, minute: int) -> None:
        """Leave the rows behind that must not be written any more: those of long ago, and all of them when time went back."""
        back = any(mine.start > minute for mine in self._open.values())
        if back:
            self._new_identity()  # rows of ours may exist at this minute: they must not be overwritten
        for key, mine in self._open.items():
            if back or minute - mine.start > STALE_S:
                self._open[key] = _Open(minute, mine.counted())

    def _tell_schemas(self, db: sqlite3.Connection, schemas: Mapping[Key, str]) -> dict[Key, str]:
        new = {key: text for key, text in schemas.items() if self._told.get(key) != text}
        for key, text in new.items():
            db.execute(
                "INSERT INTO models VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET schema = excluded.schema, revision = revision + 1"
                " WHERE schema <> excluded.schema",
                (*key, text),
            )
        return new

    def _heartbeat(self, db: sqlite3.Connection, beat: float, gauges: Gauges) -> None:
        """Say that this worker lives, and bury those that do not. The monotonic clock is one for all processes of a host."""
        db.execute(
            "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?)",
            (self.worker, self.host, os.getpid(), beat, json.dumps(gauges)),
        )
        dead = db.execute("DELETE FROM workers WHERE seen < ? OR seen > ?", (beat - DEAD_S, beat + DEAD_S)).rowcount
        if dead:
            db.execute("UPDATE state SET value = value + ? WHERE name = 'deaths'", (dead,))

    def compact(self) -> int:
        """Sum rows that are old into coarser ones, at most once a minute. Return how many rows were summed."""
        now = self.clock.monotonic()
        if self._db is None or now - self._compacted < COMPACT_EVERY_S:
            return 0
        self._compacted = now
        return compaction.compact(self._db, self.clock.now())

    def leave(self) -> None:
        """Say goodbye: a worker that leaves has not died."""
        if self._db is not None:
            self._db.execute("DELETE FROM workers WHERE worker = ?", (self.worker,))
            self._forget_connection()

    def _rollback(self) -> None:
        try:
            if self._db is not None and self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            self._forget_connection()

    def _forget_connection(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            db.close()
