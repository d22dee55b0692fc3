"""One worker's end of `live.db`: it overwrites its own row of the open minute, and says that it is alive.

No read-modify-write: a write can be repeated and nothing is added twice; a failed one moves nothing. For one thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from modelwatch.clock import SteadyClock
from modelwatch.errors import DamagedData
from modelwatch.store import compaction
from modelwatch.store.live import (
    BASE,
    EVERYDAY,
    MINUTE,
    SPAN,
    FileId,
    Key,
    Spans,
    connect,
    drop_log,
    file_id,
    is_damaged,
    is_locked,
    log_is_gone,
    log_of,
    set_aside,
    unreadable,
)
from modelwatch.tally import Tally

STALE_S = 300  # a row of a minute that ended longer ago, as time is scaled, is never written again: it may be compacted
DEAD_S = 10.0  # a worker that has not been seen for so long is dead
IDLE_BEAT_S = 2.0
COMPACT_EVERY_S = 60.0
COMPACT_SCALED_S = 5.0  # at least, however fast time is scaled
LEAP = 2**32  # added to the sequence when the file has lost some of it: beyond what any reader has seen

PROCESS = "process_"  # the states that count what the processes of the host used, living and dead

Gauges = Mapping[str, Mapping[str, float]]  # model -> gauge -> value of this worker


@dataclass(frozen=True)
class Gpu:
    """What one GPU of the host does now. What it does not tell is absent."""

    index: str
    name: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class Usage:
    """What a process uses of its machine. What the platform does not tell is absent.

    counters : since the process began, of whole units; they only grow.
    gpus : of the host, not of the process.
    """

    gauges: Mapping[str, float] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    gpus: Sequence[Gpu] = ()


NO_USAGE = Usage()


class _Open:
    """The open minute of one model version: where its row is, and what this worker had counted before it."""

    __slots__ = ("base", "sent", "span", "start")

    def __init__(self, start: int, span: int, base: Tally | None) -> None:
        self.start, self.span, self.base = start, span, base
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

    registers : False for one that is no worker of the service: its end is no death, and what it uses is not told.
    spans : of its rows; may be changed.
    """

    def __init__(
        self,
        path: Path,
        clock: SteadyClock,
        timeout_s: float = 5.0,
        *,
        registers: bool = True,
        spans: Spans = EVERYDAY,
    ) -> None:
        self.path, self.clock, self.timeout_s = path, clock, timeout_s
        self.registers, self.spans = registers, spans
        self._spans_told: Spans | None = None  # to the file
        self.host = platform.node()[:128]
        self._db: sqlite3.Connection | None = None
        self._file: FileId | None = None  # that our rows are in
        self._tried: FileId | None = None  # that was opened last
        self._log: FileId | None = None  # of the file that is open
        self._written: set[int] = (
            set()
        )  # the numbers of the files that our rows are in: a copy has the number of its original
        self.files_set_aside = 0
        self.worker = secrets.token_hex(8)
        self._former: list[str] = []  # earlier identities whose heartbeat is still in the file
        self._open: dict[Key, _Open] = {}
        self._carry: dict[Key, Tally] = {}  # counts of before this file, to be written as base rows
        self._seq: int | None = None  # of our last commit to this file
        self._rewrite = False  # the open rows may be missing in the file
        self._told: dict[Key, str] = {}
        self._used: dict[str, int] = {}  # counters of this process, as far as the file holds them
        self._beat = float("-inf")
        self._compacted = float("-inf")

    def counted(self, key: Key) -> Tally:
        """Return everything that this process has committed of a model version."""
        mine = self._open.get(key)
        return Tally() if mine is None else mine.counted()

    def connection(self) -> sqlite3.Connection:
        """Return the connection, opened or opened again when the file at the path, or its log, is another one."""
        at_path = file_id(self.path)
        if self._db is not None and (at_path != self._file or log_is_gone(self.path, self._log)):
            if at_path not in (None, self._file):
                drop_log(self.path, self._log)  # our connection is still open, so that its number is not in use again
            self._forget_connection()
        if self._db is None:
            self._tried = at_path
            db = connect(self.path, self.timeout_s)
            self._tried = at_path or file_id(self.path)
            try:
                self._arrive(db)
            except BaseException:
                db.close()
                raise
            self._db, self._log = db, file_id(log_of(self.path))
        return self._db

    def _arrive(self, db: sqlite3.Connection) -> None:
        """Go on in a file. What was counted goes with us, unless the file, or the one it is a copy of, holds it."""
        number = self._state(db, "file")
        if number not in self._written:
            for key, mine in self._open.items():
                self._carry[key] = mine.counted()
                self._open[key] = _Open(mine.start, mine.span, self._carry[key])
            self._used.clear()
        elif self._tried != self._file:
            self._carry.clear()
            self._rewrite = True
        if self._tried != self._file or number not in self._written:
            self._seq = self._spans_told = None
            self._told.clear()
            self._beat = float("-inf")
        self._written.add(number)
        self._file = self._tried

    def _state(self, db: sqlite3.Connection, name: str) -> int:
        found = db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        if found is None or type(found[0]) is not int:
            raise DamagedData(f"live: state of {str(self.path)!r} is lost. Another file will be made.")
        return found[0]

    def commit(
        self, tallies: Mapping[Key, Tally], gauges: Gauges, schemas: Mapping[Key, str], usage: Usage = NO_USAGE
    ) -> bool:
        """Write what is new of this worker's cumulative tallies, in one transaction. Return whether anything was.

        `tallies` holds those that have changed since the last call; they are not changed afterwards. `schemas` tells
        readers the edges of all models of this process, as JSON; `usage` is what this process uses of its machine.

        Raises
        ------
        sqlite3.Error, OSError, NewerFormat, DamagedData   nothing was written; the next call writes these counts, too.
        """
        with self._leaving_what_is_broken():
            return self._commit(tallies, gauges, schemas, usage)

    @contextlib.contextmanager
    def _leaving_what_is_broken(self) -> Iterator[None]:
        """After a fault: roll back, and open the file anew the next time; put a damaged one aside."""
        try:
            yield
        except (sqlite3.Error, DamagedData, UnicodeDecodeError) as error:
            self._rollback()
            if not is_locked(error):
                self._forget_connection()
            if is_damaged(error):
                self.set_aside(self._tried)
            if isinstance(error, UnicodeDecodeError):
                raise unreadable(self.path, error) from None
            raise
        except BaseException:  # a fault of ours must not hold the lock of the file until the next commit
            self._rollback()
            raise

    def set_aside(self, damaged: FileId | None) -> None:
        """Rename a damaged file, unless another one lies there already; the next commit makes a new one."""
        self._forget_connection()
        if set_aside(self.path, damaged) is not None:
            self.files_set_aside += 1

    def _commit(self, tallies: Mapping[Key, Tally], gauges: Gauges, schemas: Mapping[Key, str], usage: Usage) -> bool:
        db = self.connection()
        beat = self.clock.monotonic()
        if not tallies and not self._carry and not self._rewrite and beat - self._beat < IDLE_BEAT_S:
            return False
        db.execute("BEGIN IMMEDIATE")
        now = (
            self.clock.now()
        )  # inside the transaction: a process suspended before it must not write a stale row after it
        spans = self.spans
        minute = int(now // spans.minute) * spans.minute
        seq = self._sequence(db)
        self._roll(db, minute, spans)
        writes, sent = self._writes(tallies, minute, spans)
        if writes:
            seq += 1
            db.execute("UPDATE state SET value = ? WHERE name = 'seq'", (seq,))
            db.executemany(
                "INSERT INTO counts (model, version, start, span, worker, host, seq, tally)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET seq = excluded.seq, tally = excluded.tally",
                [(*key, start, span, self.worker, self.host, seq, blob) for key, start, span, blob in writes],
            )
        told = self._tell_schemas(db, schemas)
        self._tell_spans(db, spans)
        used = self._count_usage(db, usage if self.registers else NO_USAGE)
        if self.registers:
            self._heartbeat(db, beat, gauges, usage)
        db.execute("COMMIT")
        self._told |= told
        self._used |= used
        self._beat, self._seq, self._spans_told = beat, seq, spans
        self._rewrite = False
        self._carry.clear()
        self._former.clear()
        for key, blob in sent.items():
            self._open[key].sent = blob
        for key, mine in self._open.items():
            if mine.start < minute:  # the row just written was the last of its minute
                base = tallies[key] if key in tallies else mine.counted()
                self._open[key] = _Open(minute, spans.minute, base)
        return bool(writes)

    def _writes(
        self, tallies: Mapping[Key, Tally], minute: int, spans: Spans
    ) -> tuple[list[tuple[Key, int, int, bytes]], dict[Key, bytes]]:
        """Return the rows to write, as (key, start, span, tally), and the bytes of the open ones."""
        writes = [(key, 0, BASE, tally.dump()) for key, tally in self._carry.items() if not tally.is_empty()]
        sent: dict[Key, bytes] = {}
        for key, tally in tallies.items():
            mine = self._open.setdefault(key, _Open(minute, spans.minute, None))
            blob = (tally if mine.base is None else tally.minus(mine.base)).dump()
            if blob != mine.sent or self._rewrite:
                writes.append((key, mine.start, mine.span, blob))
                sent[key] = blob
        if self._rewrite:
            writes += [
                (k, o.start, o.span, o.sent) for k, o in self._open.items() if o.sent is not None and k not in tallies
            ]
        return writes, sent

    def _sequence(self, db: sqlite3.Connection) -> int:
        """Return the number of the last commit to the file.

        When the file has lost commits, our open rows are written again, and all readers begin again.
        """
        seq = self._state(db, "seq")
        if self._seq is not None and (seq < self._seq or seq // LEAP > self._seq // LEAP):
            self._rewrite = True
            if seq < self._seq:  # the first to see it
                seq = (self._seq // LEAP + 1) * LEAP
                db.execute("UPDATE state SET value = ? WHERE name IN ('seq', 'horizon')", (seq,))
        return seq

    def _roll(self, db: sqlite3.Connection, minute: int, spans: Spans) -> None:
        """Leave the rows behind that must not be written any more.

        Those of long ago; and all of them when time went back, or compaction has taken one. What they hold stays
        counted there. Another row of ours in its place would be taken for it, so this worker takes another name.
        """
        again = any(mine.start > minute for mine in self._open.values())
        again = again or (not self._rewrite and any(self._is_gone(db, key, mine) for key, mine in self._open.items()))
        if again:
            self._former.append(self.worker)
            self.worker = secrets.token_hex(8)
        for key, mine in self._open.items():
            if again or minute - mine.start > spans.seconds(STALE_S) or mine.span != spans.minute:
                self._open[key] = _Open(minute, spans.minute, mine.counted())

    def _is_gone(self, db: sqlite3.Connection, key: Key, mine: _Open) -> bool:
        """Tell whether compaction has taken our open row: another worker's clock went ahead, or this process slept."""
        sql = "SELECT 1 FROM counts WHERE model = ? AND version = ? AND start = ? AND span = ? AND worker = ?"
        return mine.sent is not None and db.execute(sql, (*key, mine.start, mine.span, self.worker)).fetchone() is None

    def _tell_schemas(self, db: sqlite3.Connection, schemas: Mapping[Key, str]) -> dict[Key, str]:
        new = {key: text for key, text in schemas.items() if self._told.get(key) != text}
        for key, text in new.items():
            db.execute(
                "INSERT INTO models VALUES (?, ?, ?, 1)"
                " ON CONFLICT DO UPDATE SET schema = excluded.schema, revision = revision + 1"
                " WHERE schema <> excluded.schema",
                (*key, text),
            )
        return new

    def _tell_spans(self, db: sqlite3.Connection, spans: Spans) -> None:
        """Say in the file what a minute is, so that readers need no configuration; one of 60 seconds goes without."""
        if spans == self._spans_told or spans == Spans.kept({SPAN: self._said_minute(db)}):
            return
        db.execute(
            "INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (SPAN, spans.minute)
        )

    def _said_minute(self, db: sqlite3.Connection) -> int:
        found = db.execute("SELECT value FROM state WHERE name = ?", (SPAN,)).fetchone()
        return MINUTE if found is None or type(found[0]) is not int else found[0]

    def _count_usage(self, db: sqlite3.Connection, usage: Usage) -> dict[str, int]:
        """Add what this process used since its last commit to what all did: the sum outlives the process."""
        grown = {name: n for name, n in usage.counters.items() if n > self._used.get(name, -1)}
        db.executemany(
            "INSERT INTO state VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
            [(PROCESS + name, n - self._used.get(name, 0)) for name, n in grown.items()],
        )
        return grown

    def _heartbeat(self, db: sqlite3.Connection, beat: float, gauges: Gauges, usage: Usage) -> None:
        """Say that this worker lives, and bury those that do not. The monotonic clock is one for all of a host."""
        self._sign_off(db, self._former)
        said = {"models": gauges, "process": usage.gauges, "gpus": [asdict(gpu) for gpu in usage.gpus]}
        db.execute(
            "INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?)",
            (self.worker, self.host, os.getpid(), beat, json.dumps(said)),
        )
        dead = db.execute("DELETE FROM workers WHERE seen < ? OR seen > ?", (beat - DEAD_S, beat + DEAD_S)).rowcount
        if dead:
            db.execute("UPDATE state SET value = value + ? WHERE name = 'deaths'", (dead,))

    def _sign_off(self, db: sqlite3.Connection, workers: Iterable[str]) -> None:
        db.executemany("DELETE FROM workers WHERE worker = ?", [(worker,) for worker in workers])

    def compact(self) -> int:
        """Sum rows that are old into coarser ones, at most once a (scaled) minute. Return how many rows were summed.

        Raises
        ------
        as `commit`.
        """
        now = self.clock.monotonic()
        every_s = min(max(self.spans.minute, COMPACT_SCALED_S), COMPACT_EVERY_S)
        if self._db is None or now - self._compacted < every_s:
            return 0
        self._compacted = now
        with self._leaving_what_is_broken():
            return compaction.compact(self._db, self.clock.now(), self.spans)

    def leave(self) -> None:
        """Say goodbye: a worker that leaves has not died."""
        if self._db is not None:
            try:
                self._sign_off(self._db, [self.worker, *self._former])
            finally:
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
            with contextlib.suppress(sqlite3.Error):
                db.close()
