"""The file `live.db`: its layout, how it is opened, and what is done with one that cannot be used."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import NamedTuple

from modelwatch.errors import NewerFormat

logger = logging.getLogger(__name__)

LAYOUT = 1
MINUTE, HOUR, DAY = 60, 3600, 86400
BASE = 0  # the span of a row that belongs to no window any more

TABLES = """
CREATE TABLE IF NOT EXISTS counts (
  model TEXT NOT NULL, version TEXT NOT NULL, start INTEGER NOT NULL, span INTEGER NOT NULL, worker TEXT NOT NULL,
  host TEXT NOT NULL, seq INTEGER NOT NULL, tally BLOB NOT NULL,
  PRIMARY KEY (model, version, start, span, worker));
CREATE INDEX IF NOT EXISTS counts_seq ON counts (seq);
CREATE TABLE IF NOT EXISTS models (
  model TEXT NOT NULL, version TEXT NOT NULL, schema TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (model, version));
CREATE TABLE IF NOT EXISTS workers (
  worker TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, seen REAL NOT NULL, gauges TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


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


def connect(path: Path, timeout_s: float = 5.0, *, create: bool = True) -> sqlite3.Connection:
    """Open `live.db`, made when `create` and there is none.

    Raises
    ------
    NewerFormat   the file was written by a newer version; it is left untouched.
    sqlite3.Error, OSError   it cannot be opened.
    """
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
    uri = f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    db = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    try:
        (layout,) = db.execute("PRAGMA user_version").fetchone()
        if layout > LAYOUT:
            raise NewerFormat(
                f"live: layout of {str(path)!r} is {layout}; expected at most {LAYOUT}. Upgrade modelwatch, or name another file."
            )
        if create:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA journal_size_limit=8388608")
            if layout < LAYOUT:
                db.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version={LAYOUT}; COMMIT;")
                began = int(time.time())
                db.executemany("INSERT OR IGNORE INTO state VALUES (?, ?)", [
                    ("seq", 0), ("horizon", 0), ("deaths", 0), ("began", began), ("damaged_rows", 0), ("compacted", 0),
                ])  # fmt: skip
    except BaseException:
        db.close()
        raise
    return db


def is_damaged(error: sqlite3.Error) -> bool:
    """Tell a file that is no usable database from one that is busy, full or read-only."""
    text = str(error)
    return any(words in text for words in ("malformed", "not a database", "no such table", "no such column", "unsupported file format"))


def set_aside(path: Path, opened: FileId | None) -> Path | None:
    """Rename a damaged file, if it still is the one that was opened, so that a new one can be made. Return its new name."""
    if opened is None or file_id(path) != opened:
        return None  # another worker was first
    new = path.with_name(f"{path.name}.damaged-{int(time.time())}-{os.getpid()}")
    try:
        path.rename(new)
    except OSError:
        return None
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(OSError):
            path.with_name(path.name + suffix).rename(new.with_name(new.name + suffix))
    logger.error("live.db was damaged and is set aside; counting goes on in a new one", extra={"kept_as": str(new)})
    return new
