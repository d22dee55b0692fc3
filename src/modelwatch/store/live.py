"""The file `live.db`: its layout, how it is opened, and what is done with one that cannot be used."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from modelwatch.errors import DamagedData, NewerFormat

logger = logging.getLogger(__name__)

LAYOUT = 1
MINUTE, HOUR, DAY = 60, 3600, 86400
BASE = 0  # the span of a row that belongs to no window any more
SPAN = "minute"  # the state that says what a minute is in this file; a file without it has minutes of 60 seconds


class Spans(NamedTuple):
    """How long rows are and how long they are kept: all of it follows from the seconds of the shortest row.

    minute : whole seconds of one row of a worker; 60, unless time is scaled.

    Examples
    --------
    >>> Spans.of(60), Spans.of(60).seconds(HOUR), Spans.of(1).seconds(HOUR), Spans.of(86_400)
    (Spans(minute=1), 60, 3600, Spans(minute=1))
    """

    minute: int = MINUTE

    @classmethod
    def of(cls, time_scale: float) -> Spans:
        """Return what a configuration's `time_scale` makes of a minute: at least a second, at most 60."""
        return cls(min(max(math.ceil(MINUTE / time_scale), 1), MINUTE))

    @classmethod
    def kept(cls, state: Mapping[str, int]) -> Spans:
        """Return those that a file says of itself."""
        minute = state.get(SPAN, MINUTE)
        return cls(minute) if 1 <= minute <= MINUTE else cls()

    def seconds(self, unscaled: int) -> int:
        """Return a span of whole minutes as this scale makes it; `BASE` stays what it is."""
        return unscaled // MINUTE * self.minute


EVERYDAY = Spans()

TABLES = """
CREATE TABLE IF NOT EXISTS counts (
  model TEXT NOT NULL, version TEXT NOT NULL, start INTEGER NOT NULL, span INTEGER NOT NULL, worker TEXT NOT NULL,
  host TEXT NOT NULL, seq INTEGER NOT NULL, tally BLOB NOT NULL,
  PRIMARY KEY (model, version, start, span, worker));
CREATE INDEX IF NOT EXISTS counts_seq ON counts (seq);
CREATE INDEX IF NOT EXISTS counts_due ON counts (span, start, worker);
CREATE TABLE IF NOT EXISTS models (
  model TEXT NOT NULL, version TEXT NOT NULL, schema TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (model, version));
CREATE TABLE IF NOT EXISTS workers (
  worker TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, seen REAL NOT NULL, gauges TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO state VALUES
  ('seq', 0), ('horizon', 0), ('deaths', 0), ('damaged_rows', 0),
  ('began', CAST(strftime('%s', 'now') AS INTEGER)), ('file', random());
"""
MOST_SET_ASIDE = 5  # damaged files that are kept; a disk that damages one after the other must not fill up


class Key(NamedTuple):
    """One model version: what a tally belongs to."""

    model: str
    version: str


class Row(NamedTuple):
    """Counts of one worker, or of all after compaction, over one span of seconds that begins at `start` (Unix time)."""

    key: Key
    start: int
    span: int
    worker: str
    tally: bytes


class FileId(NamedTuple):
    """Tells whether a path still is the file that was opened."""

    device: int
    inode: int


def file_id(path: Path) -> FileId | None:
    """Return the identity of the file at `path`; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return FileId(status.st_dev, status.st_ino)


def log_of(path: Path) -> Path:
    """Return where the write-ahead log of a file is."""
    return path.with_name(path.name + "-wal")


def log_is_gone(path: Path, log: FileId | None) -> bool:
    """Tell whether the log that was opened is not the one of the file any more: who writes into it is not heard."""
    return log is not None and file_id(log_of(path)) != log


def drop_log(path: Path, log: FileId | None) -> None:
    """Remove the log of the file that lay here before: SQLite would take it for that of the present one.

    log : the log of the earlier file; another one is left alone.
    """
    if log is not None and file_id(log_of(path)) == log:
        for stale in (log_of(path), path.with_name(path.name + "-shm")):
            stale.unlink(missing_ok=True)


class NotMadeYet(sqlite3.OperationalError):
    """Another worker is about to make the tables: nothing was ever counted."""


def connect(path: Path, timeout_s: float = 5.0, *, create: bool = True) -> sqlite3.Connection:
    """Open `live.db`, made when `create` and there is none.

    Raises
    ------
    NewerFormat   the file was written by a newer version; it is left untouched.
    sqlite3.Error, OSError, DamagedData   it cannot be opened.
    """
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    db = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise NewerFormat(
                f"live: layout of {str(path)!r} is {layout}; expected at most {LAYOUT}."
                " Upgrade modelwatch, or name another file."
            )
        if create:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA journal_size_limit=8388608")
            if layout < LAYOUT:
                db.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={LAYOUT}; COMMIT;")
        elif layout < LAYOUT:
            raise NotMadeYet("the tables are not made yet")
    except BaseException as error:
        db.close()
        if isinstance(error, UnicodeDecodeError):
            raise unreadable(path, error) from None
        raise
    return db


def unreadable(path: Path, error: Exception) -> DamagedData:
    """Return what is raised when a file holds other values than were ever written, as SQLite's own messages may."""
    return DamagedData(f"live: contents of {str(path)!r} are damaged ({error!r}). Another file will be made.")


def is_damaged(error: BaseException) -> bool:
    """Tell a file that is no usable database from one that is busy, full or read-only."""
    if isinstance(error, (DamagedData, UnicodeDecodeError)):
        return True
    if type(error) is sqlite3.DatabaseError and not str(error):  # Python 3.10, where SQLite's message cannot be decoded
        return True
    words = (
        "malformed",
        "not a database",
        "no such table",
        "no such column",
        "unsupported file format",
        "Could not decode",
        "constraint",
    )
    return isinstance(error, sqlite3.Error) and any(word in str(error) for word in words)


def is_locked(error: BaseException) -> bool:
    """Tell a file that somebody else is writing at the moment."""
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def set_aside(path: Path, opened: FileId | None) -> Path | None:
    """Rename a damaged file, if it still is the one that was opened, to make room for a new one; return its name."""
    if opened is None or file_id(path) != opened:
        return None  # another worker was first
    new = path.with_name(f"{path.name}.damaged-{int(time.time())}-{os.getpid()}")
    # the log first: once the file itself is gone another worker makes a new one, with a log of its own
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).rename(new.with_name(new.name + suffix))
    try:
        path.rename(new)
    except OSError:
        return None
    logger.error("live.db was damaged and is set aside; counting goes on in a new one", extra={"kept_as": str(new)})
    _forget_oldest(path)
    return new


def _forget_oldest(path: Path) -> None:
    kept = [found for found in path.parent.glob(f"{path.name}.damaged-*") if not found.name.endswith(("-wal", "-shm"))]
    for old in sorted(kept, key=lambda found: found.stat().st_mtime)[:-MOST_SET_ASIDE]:
        for suffix in ("", "-wal", "-shm"):
            old.with_name(old.name + suffix).unlink(missing_ok=True)
