"""What a label costs: with many stored samples beside a bare durable insert, and with four processes writing at once."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import numpy as np

from bench.harness import ROOT, Effort, Gate, Row
from modelwatch.errors import MissingExtra
from modelwatch.groundtruth.store import Sample, Store, TrueLabel
from modelwatch.groundtruth.writer import Writer
from modelwatch.testing.postgres import running_postgres

SOON = Gate("at most", 5e-3)  # on a disk and a processor that others leave alone
LEVEL = Gate("times the peer", 2.0)
FEW = 2000  # stored samples, beside those that are labelled, that the many are compared with
LABELS = 1500  # timed in one run
FIRST = 600  # before them, not timed: they open, compile, and make the logs as long as they will be
WRITERS, CALLERS = 4, 4  # processes, and threads in each
BARE = "bare durable insert among as many rows"
LONGEST = 128  # characters of what a reviewer would be shown
DIGITS = 25
APART = 16**DIGITS  # between two ids: they go up, so that a store is filled fast; labels come in random order
NAMES = (  # so many ids, as `request_id` makes them, and whatever their last digit
    "WITH numbers(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM numbers WHERE i < ?),"
    f" names(name) AS (SELECT printf('%07x%0{DIGITS}d', i, {{last}}) FROM numbers)"
)

Times = tuple[list[float], list[float]]  # of ours and of bare inserts


def measure(effort: Effort) -> list[Row]:
    """Return the rows of feedback."""
    labels = max(200, LABELS * effort.rounds // 40)
    few, _ = one_caller(FEW + 3 * (labels + FIRST), labels)["label"]
    ways = one_caller(effort.stored, labels)
    many, bare = ways["label"]
    stored = f"{effort.stored:,} stored samples".replace(",", " ")
    rows = [
        Row(f"label() until durable, p99, {stored}", p99(many), f"{BARE}, p99", p99(bare), LEVEL),
        Row(f"label() until durable, p99, {stored}", p99(many), gate=SOON),
        Row(f"label() until durable, p50, {stored}", p50(many), f"{BARE}, p50", p50(bare)),
        Row(f"label() until durable, p50, {stored}", p50(many), f"with {FEW} more than are labelled", p50(few), LEVEL),
    ]
    for way, what in (("store", "without the writer's thread"), ("statements", "its statements by the driver alone")):
        ours, insert = ways[way]
        rows += [Row(f"… of it, {what}, {at.__name__}", at(ours), f"{BARE}", at(insert)) for at in (p99, p50)]
    with TemporaryDirectory(prefix="modelwatch-bench-") as folder:
        rows += four_writers("SQLite", f"sqlite:///{Path(folder, 'truth.db')}", effort.paced_s)
    try:
        with running_postgres(settings={}) as server:
            rows += four_writers("PostgreSQL", server.new_database(), effort.paced_s)
    except MissingExtra as missing:
        rows.append(Row("4 processes, PostgreSQL", None, "PostgreSQL", note=str(missing)))
    return rows


def request_id(i: int) -> str:
    """Return the i-th id, below 2**28."""
    return f"{i * APART:032x}"


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return float(np.percentile(seconds, 99))


def p50(seconds: list[float]) -> float:
    """Return the median."""
    return float(np.median(seconds))


# -- one caller, many stored samples -----------------------------------------------------------------------------------


def fill(path: Path, rows: int) -> None:
    """Put samples into a SQLite store, faster than a service would: they need not survive a crash."""
    when = time.time() - 60
    template = Sample(request_id(0), "sentiment_classifier", "1.0", "/predict", when, "positive", 0.93, "books")
    store = Store(f"sqlite:///{path}")
    store.add_samples([template])
    store.close()
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{min(800_000, rows // 10 + 2000)}"):
        db.execute(f"PRAGMA {pragma}")
    db.execute("CREATE TEMP TABLE one AS SELECT * FROM samples")
    made = {"request_id": "name", "input": f"substr('{'x' * LONGEST}', 1, 1 + abs(random() % {LONGEST}))"}
    copied = ", ".join(made.get(row[1], row[1]) for row in db.execute("PRAGMA table_info(samples)"))
    db.execute("DELETE FROM samples")
    db.execute(f"INSERT INTO samples {NAMES.format(last=0)} SELECT {copied} FROM one, names", (rows - 1,))
    db.close()
    at_rest(path)


def at_rest(path: Path) -> None:
    """Wait until a file is on the disk, which has nothing to do when the timing begins."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def bare_insert(path: Path, rows: int) -> Iterator[Callable[[str], object]]:
    """Make a function that keeps a label durably, as simply as SQLite can: what no store can do without.

    One INSERT of the same values, committed by itself, into one table with an index of the ids; so many rows are there
    already. The same disk, file format, log and sync as the store's.
    """
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE labels (request_id TEXT PRIMARY KEY, reviewer TEXT, label TEXT, at REAL)")
    insert = "INSERT INTO labels VALUES (?, 'ann', '\"negative\"', ?)"
    for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{min(800_000, rows // 10 + 2000)}"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(
        f"INSERT INTO labels {NAMES.format(last=1)} SELECT name, 'ann', '\"negative\"', 0.0 FROM names", (rows - 1,)
    )
    db.close()
    at_rest(path)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    try:
        yield lambda name: db.execute(insert, (name, time.time()))
    finally:
        db.close()


@contextmanager
def same_statements(path: Path) -> Iterator[Callable[[str], object]]:
    """Make a function that does what the store does for a label, by the driver alone: statements and pages, no Python."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous=FULL")

    def label(name: str) -> None:
        at = time.time()
        db.execute("BEGIN IMMEDIATE")
        db.execute("SELECT * FROM samples WHERE request_id = ?", (name,)).fetchone()
        db.execute("INSERT INTO labels VALUES (?, 'ann', '\"negative\"', ?, NULL, NULL)", (name, at))
        db.execute(
            "UPDATE samples SET label = '\"negative\"', labelled_at = ?, counted = 1 WHERE request_id = ?", (at, name)
        )
        db.execute("COMMIT")

    try:
        yield label
    finally:
        db.close()


def one_caller(rows: int, labels: int) -> dict[str, Times]:
    """Return, for each way to keep a label, the seconds of each label and of each bare insert, in turns."""
    found: dict[str, Times] = {}
    turns = FIRST + labels
    ids = iter(np.random.default_rng(7).permutation(rows)[: 3 * turns].tolist())
    with TemporaryDirectory(prefix="modelwatch-bench-") as name:
        path = Path(name, "truth.db")
        fill(path, rows)
        writer = Writer(Store(f"sqlite:///{path}"))
        with bare_insert(Path(name, "bare.db"), rows) as insert:
            found["label"] = in_turns(
                lambda name: writer.label(TrueLabel(name, "negative", "ann"), 60), insert, islice(ids, turns)
            )
            writer.close()
            store = Store(f"sqlite:///{path}")
            found["store"] = in_turns(
                lambda name: store.label_many([TrueLabel(name, "negative", "ann")]), insert, islice(ids, turns)
            )
            if store.counts().labelled != 2 * turns:
                raise AssertionError(store.counts())
            store.close()
            with same_statements(path) as statements:
                found["statements"] = in_turns(statements, insert, islice(ids, turns))
    return found


def in_turns(label: Callable[[str], object], insert: Callable[[str], object], ids: Iterable[int]) -> Times:
    """Return the seconds of each label, one after the other, and of each bare insert."""
    found: Times = ([], [])
    for turn, i in enumerate(ids):
        name = request_id(i)
        for which in (0, 1) if turn % 2 else (1, 0):  # the second of two syncs of one disk is the cheaper one
            begin = time.perf_counter()
            if which == 0:
                label(name)
            else:
                insert(name)
            if turn >= FIRST:
                found[which].append(time.perf_counter() - begin)
    return found


# -- four processes ----------------------------------------------------------------------------------------------------


def four_writers(engine: str, url: str, seconds: float) -> list[Row]:
    """Return the rows of four processes with four callers each, all labelling as fast as they are answered."""
    Store.open(url).close()
    command = [sys.executable, "-m", "bench.feedback", url, str(seconds)]
    workers = [
        subprocess.Popen([*command, str(turn)], cwd=ROOT, stdout=subprocess.PIPE, text=True) for turn in range(WRITERS)
    ]
    answers = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    times = [one for answer in answers for one in answer]
    what = f"{WRITERS} processes × {CALLERS} callers on {engine}"
    return [
        Row(f"{what}: p99 of label() until durable", p99(times)),
        Row(f"{what}: time for one label of all ({len(times) / seconds:.0f} a second)", seconds / len(times)),
    ]


def worker(url: str, seconds: float, turn: int) -> None:
    """Label new ids in this process for so long; print the seconds of each as JSON."""
    writer = Writer(Store(url, busy_s=1.0))
    writer.label(TrueLabel(request_id(2**27 + turn), "positive", sampled=True), 60)
    times: list[float] = []

    def caller(number: int) -> None:
        i, end = 0, time.perf_counter() + seconds
        while (begin := time.perf_counter()) < end:
            name = request_id((turn * CALLERS + number) * 10**6 + i)
            writer.label(TrueLabel(name, "positive", "ann", sampled=True), 60)
            times.append(time.perf_counter() - begin)
            i += 1

    threads = [Thread(target=caller, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    print(json.dumps(times))


if __name__ == "__main__":
    worker(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))
