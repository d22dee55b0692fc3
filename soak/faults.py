"""Faults around one process: forks while locks are held, workers that die by the thousand, damaged files, a full disk."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

from modelwatch import names
from modelwatch.kernel import Kernel
from modelwatch.record.monitor import Monitor
from modelwatch.record.recorder import Recorder
from modelwatch.record.worker import Worker
from modelwatch.schema import ModelSchema
from modelwatch.store.live import Key
from modelwatch.tally import Tally
from modelwatch.testing import FakeClock, TornFile
from soak.ledger import Ledger, Report, percentile, wait_until
from soak.process import counted, load, schema, totals

CLASSES = ModelSchema(classes=("a", "b"))


def forks(report: Report, scale: float) -> None:
    """Statement 23: forks at the worst moment."""
    n = max(20, int(200 * scale))
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        monitor = Monitor("forks", "1", CLASSES, live=live)
        stop, sent = threading.Event(), [0]

        def caller() -> None:
            while not stop.is_set():
                for _ in range(50):
                    monitor.record("/parent", 0.01, "a", 0.9)
                sent[0] += 50
                time.sleep(0.001)

        thread = threading.Thread(target=caller, daemon=True)
        thread.start()
        hung, took = 0, []
        locks = (monitor.recorder.lock, monitor.worker.io, monitor.worker.reading)
        for i in range(n):
            held = locks[i % 4] if i % 4 < 3 else None
            holder = threading.Thread(target=_hold, args=(held,)) if held is not None else None
            if holder is not None:
                holder.start()
            begin = time.monotonic()
            child = os.fork()
            if child == 0:
                monitor.record("/child", 0.01, "b", 0.9)
                os._exit(0 if monitor.flush(20) else 1)
            if not _exits(child, 25):
                hung += 1
            took.append(time.monotonic() - begin)
            if holder is not None:
                holder.join()
        stop.set()
        thread.join()
        monitor.flush(30)
        monitor.close()
        table = totals(live)[monitor.key].tables[names.REQUESTS.name]
    parents, children = table.value(("/parent",)), table.value(("/child",))
    report.ledger.add(Ledger(sent[0] + n, parents + children, 0))
    report.check(
        23, "children that hang", "0, of forks with a lock held in three of four", f"{hung} of {n}", holds=hung == 0
    )
    report.check(
        23, "a child records, flushes and exits", "1 s",
        f"p95 {percentile(took, 0.95):.2f} s, slowest {max(took):.2f} s", holds=percentile(took, 0.95) < 1,
    )  # fmt: skip
    report.check(
        23, "counts of parent and children", "exact",
        f"parent {parents:,} of {sent[0]:,}, children {children} of {n}", holds=(parents, children) == (sent[0], n),
    )  # fmt: skip


def _hold(lock: threading.Lock) -> None:
    if lock.acquire(timeout=1):
        time.sleep(0.02)
        lock.release()


def _exits(pid: int, seconds: float) -> bool:
    def is_done() -> bool:
        done, status = os.waitpid(pid, os.WNOHANG)
        return done == pid and status == 0

    ended = wait_until(is_done, seconds, every=0.01)
    if not ended:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return ended


def dead_workers(report: Report, scale: float) -> None:
    """Statement 24: what a scrape costs after a thousand workers have died without a goodbye."""
    n = max(50, int(1000 * scale))
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        reading = _worker(live, clock)
        _record(reading)
        first = _scrape_times(reading, clock)
        for _ in range(n):
            worker = _worker(live, clock)
            _record(worker)
            worker.writer._forget_connection()
            clock.advance(1)
            reading._commit()  # it lives
        clock.advance(30)
        last = _scrape_times(reading, clock)
        page = reading.scrape.render().decode()
        fresh = _worker(live, clock)
        begin = time.perf_counter()
        fresh.scrape.render()
        whole = time.perf_counter() - begin
        for worker in (reading, fresh):
            worker.writer.leave()
            worker.reader.close()
        n_counted = counted(totals(live)[Key("dead", "1")])
    deaths = f"{names.WORKER_DEATHS.name} {float(n)}" in page
    report.ledger.add(Ledger(n + 1, n_counted))
    report.check(
        24, "a scrape after the deaths", "1.5 x that before",
        f"{last / first:.2f} x ({first * 1e3:.2f} and {last * 1e3:.2f} ms; a worker's first: {whole * 1e3:.1f} ms)"
        f" after {n:,} deaths",
        holds=last <= 1.5 * first,
    )  # fmt: skip
    report.check(
        24, "deaths", "all counted, no gauge of the dead is left",
        f"counted {deaths}, workers {1 if f'{names.WORKERS.name} 1.0' in page else 'of the dead among them'}",
        holds=deaths and f"{names.WORKERS.name} 1.0" in page,
    )  # fmt: skip


def _worker(live: Path, clock: FakeClock) -> Worker:
    worker, key = Worker(live, clock), Key("dead", "1")
    worker.recorders[key] = Recorder(Kernel(CLASSES), worker.faults)
    worker._schemas[key] = CLASSES.to_json()
    return worker


def _record(worker: Worker) -> None:
    (recorder,) = worker.recorders.values()
    recorder.put(("/predict", 0.01, None, None, "a", 0.9, None))
    recorder.fold_waiting()
    worker._commit()


def _scrape_times(worker: Worker, clock: FakeClock) -> float:
    worker.scrape.render()
    took = []
    for _ in range(50):
        clock.advance(1)
        worker._commit()
        begin = time.perf_counter()
        worker.scrape.render()
        took.append(time.perf_counter() - begin)
    return percentile(took, 0.5)


def full_disk(report: Report, scale: float) -> None:
    """Statement 48 for counts: a file that may not grow, then may again."""
    seconds = max(5.0, 20 * scale)
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        monitor = Monitor("disk", "1", schema(), live=live)
        monitor.flush(10)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            sent, took = load(monitor, seconds, 2, 5000)
            said = b"modelwatch_live_up 0.0" in monitor.metrics()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        begin = time.monotonic()
        back = wait_until(lambda: monitor.flush(5), 10)
        took_s = time.monotonic() - begin
        monitor.close()
        n = counted(totals(live)[monitor.key])
    report.ledger.add(Ledger(sent, n, monitor.recorder.abandoned))
    report.check(
        48, "a disk that is full for a while", "said; back within 10 s without a restart, nothing lost",
        f"said {said}, back in {took_s:.1f} s, {n:,} of {sent:,}, p99 of a call {percentile(took, 0.99) * 1e6:.0f} µs",
        holds=said and back and n == sent,
    )  # fmt: skip


def damaged_files(report: Report, scale: float) -> None:
    """Statement 25: truncated and flipped files."""
    trials = max(20, int(1000 * scale))
    chance = random.Random(5)
    unrecovered = unanswered = sent = seen = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole.db")
        monitor = Monitor("damage", "1", CLASSES, live=whole)
        for _ in range(1000):
            monitor.record("/predict", 0.01, "a", 0.9)
        monitor.flush(10)
        monitor.close()
        connection = sqlite3.connect(whole)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        content = whole.read_bytes()
        for trial in range(trials):
            live = Path(folder, f"{trial}.db")
            live.write_bytes(content)
            torn = TornFile(live, seed=trial)
            if trial % 2:
                torn.truncate(chance.randrange(len(content)))
            else:
                torn.flip(chance.randrange(1, 20))
            after = Monitor(f"damage{trial}", "1", CLASSES, live=live)
            for _ in range(10):
                after.record("/predict", 0.01, "b", 0.9)
            recovered = any(after.flush(5) for _ in range(3))
            unrecovered += not recovered
            unanswered += b"ml_requests_total" not in after.metrics()
            after.close()
            sent += 10
            seen += counted(totals(live).get(after.key, Tally(CLASSES.tables))) if recovered else 0
            for left in Path(folder).glob(f"{trial}.db*"):
                left.unlink(missing_ok=True)
    report.ledger.add(Ledger(sent, seen))
    report.check(
        25, "torn files and flipped bits", "every scrape is answered, every file is recovered from, every new event counted",
        f"{trials:,} files: {unanswered} unanswered, {unrecovered} not recovered, {seen:,} of {sent:,} events",
        holds=unrecovered == unanswered == 0 and seen == sent,
    )  # fmt: skip
