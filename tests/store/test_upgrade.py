"""A live.db of an earlier version, which knew rows of minutes only, goes on under this one: no count is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from counting import KEY, commit, query, reader_at, record, scraped, worker_at
from modelwatch import names
from modelwatch.store.live import MINUTE, Spans
from modelwatch.store.windows import Windows
from modelwatch.testing import FakeClock

NOON = 1_700_006_400.0
#: As files were made before time could be scaled: the rows are the same since, and an index and a state came later.
FIRST = """
CREATE TABLE counts (
  model TEXT NOT NULL, version TEXT NOT NULL, start INTEGER NOT NULL, span INTEGER NOT NULL, worker TEXT NOT NULL,
  host TEXT NOT NULL, seq INTEGER NOT NULL, tally BLOB NOT NULL,
  PRIMARY KEY (model, version, start, span, worker));
CREATE INDEX counts_seq ON counts (seq);
CREATE TABLE models (
  model TEXT NOT NULL, version TEXT NOT NULL, schema TEXT NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY (model, version));
CREATE TABLE workers (
  worker TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, seen REAL NOT NULL, gauges TEXT NOT NULL);
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
PRAGMA user_version=1;
"""
STATES = ("seq", "horizon", "deaths", "began", "damaged_rows", "file")


def of_the_first_version(source: Path, path: Path) -> None:
    """Copy the rows of a file into one that the first version made."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.executescript(FIRST)
        for table in ("counts", "models", "workers", "state"):
            columns = [row[0] for row in db.execute(f"SELECT name FROM pragma_table_info('{table}')")]
            rows = query(source, f"SELECT {', '.join(columns)} FROM {table}")
            kept = [row for row in rows if table != "state" or row[0] in STATES]
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", kept)
    db.close()


def test_a_file_of_the_first_version_goes_on(tmp_path: Path) -> None:
    """Totals and windows hold over the change of the version, and over a change of the scale after it."""
    clock = FakeClock(wall=NOON)
    worker = worker_at(tmp_path / "source.db", clock)
    for _ in range(5):
        record(worker, 4)
        assert commit(worker)
        clock.advance(60)
    worker._leave()
    path = tmp_path / "live.db"
    of_the_first_version(tmp_path / "source.db", path)
    assert query(path, "SELECT DISTINCT span FROM counts") == [(MINUTE,)]

    later = worker_at(path, clock)
    record(later, 3)
    assert commit(later)
    assert scraped(later) == 23
    windows, reader = Windows((60, 300)), reader_at(path)
    changes, host = reader.poll()
    assert host.spans == Spans(MINUTE)
    windows.apply(changes, clock.now(), host.schemas, host.spans)
    assert windows.sum(KEY, 300).tables[names.REQUESTS.name].total() == 23
    later.scale(60)
    record(later, 2)
    assert commit(later)
    changes, host = reader.poll()
    assert host.spans == Spans(1)
    assert scraped(worker_at(path, clock)) == 25
    reader.close()
