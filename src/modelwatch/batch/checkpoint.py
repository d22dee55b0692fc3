"""What a long count has done already, part by part, in a SQLite file: one that was broken off goes on from there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from modelwatch.batch.counting import Plan
from modelwatch.batch.engine import Counted
from modelwatch.errors import ConfigError

LAYOUT = 1
TABLES = """
CREATE TABLE IF NOT EXISTS plan (settings TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS parts (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS counts (part INTEGER NOT NULL, start INTEGER NOT NULL, tally BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS counts_part ON counts (part);
"""


def settings_of(plan: Plan) -> str:
    """Return a hash of all that decides what is counted: with another one, nothing of before can be used."""
    text = f"{LAYOUT} {plan.schema.to_json()} {plan.roles!r} {plan.span} {plan.endpoint}"
    return sha256(text.encode()).hexdigest()


class Checkpoint:
    """The parts that are counted. A part is known by its file's path, size and time of change, and its row groups."""

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path = path
        with self._readable():
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.executescript(TABLES)
            found = self._db.execute("SELECT settings FROM plan").fetchone()
            settings = settings_of(plan)
            if found is None or found[0] != settings:
                self._db.executescript("BEGIN; DELETE FROM plan; DELETE FROM parts; DELETE FROM counts; COMMIT;")
                self._db.execute("INSERT INTO plan VALUES (?)", (settings,))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ConfigError(
                f"checkpoint: {str(self.path)!r} cannot be used ({error}); expected that of an earlier count, or none."
                " Remove it, or name another."
            ) from None

    def found(self, key: str) -> Counted | None:
        """Return what a part counted, None where that is not known."""
        with self._readable():
            part = self._db.execute("SELECT number, rows FROM parts WHERE key = ?", (key,)).fetchone()
            if part is None:
                return None
            rows = self._db.execute("SELECT start, tally FROM counts WHERE part = ?", (part[0],)).fetchall()
        return Counted(dict(rows), part[1])

    def keep(self, key: str, counted: Counted) -> None:
        """Keep what a part counted; it is on the disk when this returns."""
        with self._readable():
            self._db.execute("BEGIN IMMEDIATE")
            number = self._db.execute("INSERT INTO parts (key, rows) VALUES (?, ?)", (key, counted.rows)).lastrowid
            self._db.executemany(
                "INSERT INTO counts VALUES (?, ?, ?)",
                [(number, start, blob) for start, blob in counted.packed.items()],
            )
            self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()
