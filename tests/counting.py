"""What the tests of the request path and of live.db share: workers without threads, and pages as numbers."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

import modelwatch
from modelwatch.clock import SteadyClock
from modelwatch.kernel import Kernel
from modelwatch.record import lifetime
from modelwatch.record.recorder import Recorder
from modelwatch.record.worker import Worker
from modelwatch.schema import ModelSchema
from modelwatch.store.live import Key
from modelwatch.store.reader import Changes, HostState, LiveReader

KEY = Key("m", "1")
EVENT = ("/p", 0.01, None, "books", "a", 0.9, None)
SOURCE = Path(modelwatch.__file__).parents[1]


_made: list[Worker] = []  # so that what a test lets go of can be closed


def worker_at(
    path: Path, clock: SteadyClock | None = None, key: Key = KEY, schema: ModelSchema | None = None
) -> Worker:
    """Return a worker as another process would have it; its thread is not started: the test folds and commits."""
    worker = Worker(path, clock)
    _made.append(worker)
    add_model(worker, key, schema)
    return worker


def add_model(worker: Worker, key: Key, schema: ModelSchema | None = None) -> None:
    """Let a worker count a model."""
    recorder = Recorder(Kernel(schema or ModelSchema()), worker.faults)
    worker.recorders[key] = recorder
    worker._schemas[key] = recorder.kernel.schema.to_json()


def record(worker: Worker, n: int = 1, key: Key = KEY, event: tuple = EVENT) -> None:
    """Record n events."""
    for _ in range(n):
        worker.recorders[key].put(event)


def commit(worker: Worker) -> bool:
    """Fold and commit, as the thread does."""
    for recorder in worker.recorders.values():
        recorder.fold_waiting()
    return worker._commit()


def query(path: Path, sql: str, *values: object) -> list[tuple]:
    """Return what a statement finds in a file, or change it."""
    db = sqlite3.connect(path, isolation_level=None)
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.close()


def page_values(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return {(sample name, sorted labels): value} of an exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def total(page: bytes, name: str, **labels: str) -> float:
    """Return the sum over the samples of a name that have these labels; None is no sample."""
    found = [v for (n, have), v in page_values(page).items() if n == name and labels.items() <= dict(have).items()]
    return sum(found) if found else float("nan")


def scraped(worker: Worker, name: str = "ml_requests_total", **labels: str) -> float:
    """Return what a scrape of this worker shows."""
    return total(worker.scrape.render(), name, **labels)


def run_python(code: str, *args: object, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter that is not under pytest."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code), *map(str, args)],
        env=plain_environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def plain_environment() -> dict[str, str]:
    """Return the environment of a child that finds the package."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return environment | {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(Path(__file__).parent)])}


_readers: list[LiveReader] = []


def reader_at(path: Path, clock: SteadyClock | None = None) -> LiveReader:
    """Return a reader, which is closed after the test."""
    reader = LiveReader(path, clock.monotonic) if clock else LiveReader(path)
    _readers.append(reader)
    return reader


def read_rows(path: Path, clock: SteadyClock | None = None) -> tuple[Changes, HostState]:
    """Return what a new reader finds."""
    reader = reader_at(path, clock)
    try:
        return reader.poll()
    finally:
        reader.close()


def close_everything() -> None:
    """Close the connections of the workers of a test: a garbage collector may be slow, and Python 3.13 warns."""
    for worker in lifetime.every(Worker):
        if not worker.is_running():
            worker.writer._forget_connection()
            worker.reader.close()
    _made.clear()
    while _readers:
        _readers.pop().close()
