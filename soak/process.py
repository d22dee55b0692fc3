"""Scenarios inside one process: load into a stuck store, memory, threads, forks, clocks, damaged files, a full disk."""

from __future__ import annotations

import os
import random
import resource
import sqlite3
import sys
import tempfile
import threading
import time
from pathlib import Path

from modelwatch import names
from modelwatch.record.monitor import Monitor
from modelwatch.reference import profile_numeric
from modelwatch.schema import ModelSchema
from modelwatch.store.live import Key
from modelwatch.store.reader import LiveReader, Totals
from modelwatch.tally import Tally
from soak.ledger import Ledger, Report, percentile, rss_mib, wait_until

FEATURES = 20


def schema() -> ModelSchema:
    """Twenty numeric features on a hundred bins, three classes."""
    dice = random.Random(1)
    profile = profile_numeric([dice.gauss(0, 1) for _ in range(10_000)])
    edges = (profile.edges, profile.exported)
    return ModelSchema(classes=("a", "b", "c"), numeric={f"f{i}": edges for i in range(FEATURES)})


def totals(live: Path) -> dict[Key, Tally]:
    """Return what is committed."""
    reader, sums = LiveReader(live), Totals()
    changes, host = reader.poll()
    sums.apply(changes, host.schemas)
    reader.close()
    return sums.tallies


def counted(tally: Tally) -> int:
    """Return the events of a tally."""
    return tally.tables[names.EVENTS.name].total()


def load(monitor: Monitor, seconds: float, threads: int, rate: float) -> tuple[int, list[float]]:
    """Record at `rate` events a second over `threads` threads; return (events, seconds of every 16th call)."""
    features = {f"f{i}": i / 10 for i in range(FEATURES)}
    sent = [0] * threads
    took: list[list[float]] = [[] for _ in range(threads)]

    def caller(me: int) -> None:
        clock, mine, record = time.perf_counter, took[me], monitor.record
        burst = max(1, int(rate / threads / 200))
        end = clock() + seconds
        due = clock()
        while clock() < end:
            for i in range(burst):
                begin = clock()
                record("/predict", 0.012, "a", 0.9, features)
                if i % 16 == 0:
                    mine.append(clock() - begin)
            sent[me] += burst
            due += 1 / 200
            wait = due - clock()
            if wait > 0:
                time.sleep(wait)

    running = [threading.Thread(target=caller, args=(i,)) for i in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(sent), [value for mine in took for value in mine]


def stuck_store(report: Report, scale: float) -> None:
    """Statement 3: a store that never answers costs staleness, not the service."""
    seconds, rate = 60 * scale, 50_000
    with tempfile.TemporaryDirectory() as folder:
        control = Monitor("control", "1", schema(), live=Path(folder, "control.db"))
        control_sent, control_took = load(control, seconds, 4, rate)
        control.flush(30)
        control.close()
        live = Path(folder, "stuck.db")
        monitor = Monitor("stuck", "1", schema(), live=live)
        monitor.flush(10)
        blocker = sqlite3.connect(live, isolation_level=None)
        blocker.execute("BEGIN EXCLUSIVE")
        before = rss_mib()
        sent, took = load(monitor, seconds, 4, rate)
        grown = rss_mib() - before
        waiting = monitor.recorder.backlog()
        blocker.execute("ROLLBACK")
        blocker.close()
        monitor.flush(30)
        monitor.close()
        n, abandoned = counted(totals(live)[monitor.key]), monitor.recorder.abandoned
    report.ledger.add(Ledger(sent, n, abandoned))
    p99, p9999 = percentile(took, 0.99), percentile(took, 0.9999)
    c99, c9999 = percentile(control_took, 0.99), percentile(control_took, 0.9999)
    report.check(
        "3 memory",
        grown < 50,
        f"RSS +{grown:.1f} MB after {sent:,} events ({sent / seconds:,.0f}/s), {waiting:,} waited",
    )
    report.check(
        "3 call p99", p99 < c99 + 100e-6, f"{p99 * 1e6:.1f} us, control {c99 * 1e6:.1f} us ({control_sent:,} events)"
    )
    report.check("3 call p99.99", p9999 < c9999 + 1e-3, f"{p9999 * 1e6:.0f} us, control {c9999 * 1e6:.0f} us")
    report.check("3 conservation", sent == n + abandoned, f"in {sent:,}, stored {n:,}, abandoned {abandoned:,}")


def memory(report: Report, scale: float) -> None:
    """Statement 9: memory is bounded, and a call costs the same for ever."""
    events = int(20_000_000 * scale)
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor("memory", "1", schema(), live=Path(folder, "live.db"))
        features = {f"f{i}": i / 10 for i in range(FEATURES)}
        record, flush = monitor.record, monitor.flush
        marks, costs = [], []
        step = max(1, events // 10)
        for tenth in range(10):
            begin = time.process_time()
            for i in range(step):
                record("/predict", 0.012, "abc"[i % 3], 0.9, features)
            costs.append((time.process_time() - begin) / step)
            flush(30)
            marks.append(rss_mib())
            del tenth
        slope = (marks[-1] - marks[2]) / (7 * step / 10e6)
        live = Path(folder, "live.db")
        monitor.close()
        n = counted(totals(live)[monitor.key])
    report.ledger.add(Ledger(step * 10, n, monitor.recorder.abandoned))
    report.check(
        "9 memory",
        slope < 1,
        f"{slope:+.2f} MB per 10 M events after warm-up, {step * 10:,} events, RSS {marks[-1]:.0f} MB",
    )
    ratio = min(costs[5:]) / min(costs[:5])
    report.check("9 constant cost", ratio <= 1.2, f"second half / first half of the run: {ratio:.2f} x")


def scrape_at_cap(report: Report, scale: float) -> None:
    """Statement 10: a scrape at the cap of every label."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor("cap", "1", schema(), live=Path(folder, "live.db"))
        sent = 3000
        for i in range(sent):
            monitor.record(f"/route{i}", 0.01, f"class{i}", 0.5, segment=f"segment{i}", error=f"Error{i}")
        monitor.flush(30)
        monitor.metrics()
        took, page = [], b""
        for _ in range(20):
            begin = time.perf_counter()
            page = monitor.metrics()
            took.append(time.perf_counter() - begin)
        calls = _calls_during(monitor, lambda: [monitor.metrics() for _ in range(max(5, int(50 * scale)))])
        monitor.flush(30)
        monitor.close()
        n = counted(totals(Path(folder, "live.db"))[monitor.key])
    report.ledger.add(Ledger(sent + len(calls), n, monitor.recorder.abandoned))
    report.check("10 scrape time", min(took) < 0.25, f"{min(took) * 1000:.0f} ms, {page.count(b'{'):,} series")
    report.check("10 scrape size", len(page) < 5e6, f"{len(page) / 1e6:.2f} MB")
    report.check(
        "10 call p99.9 while scraped", percentile(calls, 0.999) < 5e-3, f"{percentile(calls, 0.999) * 1e6:.0f} us"
    )


def _calls_during(monitor: Monitor, work) -> list[float]:
    done = threading.Event()
    worker = threading.Thread(target=lambda: (work(), done.set()))
    worker.start()
    took = []
    while not done.is_set():
        begin = time.perf_counter()
        monitor.record("/route1", 0.01, "class1", 0.5)
        took.append(time.perf_counter() - begin)
        time.sleep(0.0005)
    worker.join()
    return took


def threads(report: Report, scale: float) -> None:
    """Statement 21: eight threads, the shortest switch interval, every table exact."""
    each = int(1_000_000 * scale)
    before = sys.getswitchinterval()
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor("threads", "1", ModelSchema(classes=("a", "b")), live=Path(folder, "live.db"))
        watched = monitor.endpoint("/watched")(lambda: None)

        def caller(me: int) -> None:
            record = monitor.record
            for i in range(each):
                if i % 2:
                    watched()
                else:
                    record("/predict", 0.01, "ab"[me % 2], 0.9, segment=f"s{me}", error="E" if i % 10 == 0 else None)

        sys.setswitchinterval(1e-6)
        try:
            running = [threading.Thread(target=caller, args=(i,)) for i in range(8)]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        monitor.flush(60)
        monitor.close()
        tally = totals(Path(folder, "live.db"))[monitor.key]
    half = each // 2
    failed = len([i for i in range(0, each, 2) if i % 10 == 0])
    tables = tally.tables
    exact = (
        counted(tally) == 8 * each
        and tables[names.REQUESTS.name].value(("/watched",)) == 8 * half
        and tables[names.PREDICTIONS.name].value(("a",)) == 4 * (each - half)
        and all(tables[names.SEGMENTS.name].value((f"s{i}",)) == each - half for i in range(8))
        and tables[names.ERRORS.name].total() == 8 * failed
        and tables[names.DURATION.name].total() == 8 * each
    )
    report.ledger.add(Ledger(8 * each, counted(tally), monitor.recorder.abandoned))
    report.check("21 exact over threads", exact, f"8 threads x {each:,} events, switch interval 1 us")


def forks(report: Report, scale: float) -> None:
    """Statement 23: forks at the worst moment."""
    n = max(20, int(200 * scale))
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        monitor = Monitor("forks", "1", ModelSchema(classes=("a", "b")), live=live)
        stop, sent = threading.Event(), [0]

        def caller() -> None:
            while not stop.is_set():
                for _ in range(50):
                    monitor.record("/parent", 0.01, "a", 0.9)
                sent[0] += 50
                time.sleep(0.001)

        thread = threading.Thread(target=caller)
        thread.start()
        hung, slowest = 0, 0.0
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
                os._exit(0 if monitor.flush(5) else 1)
            if not _exits(child, 5):
                hung += 1
            slowest = max(slowest, time.monotonic() - begin)
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
        "23 children end", hung == 0, f"{n} forks, {hung} hung, slowest {slowest:.2f} s (a lock held in three of four)"
    )
    report.check(
        "23 exact",
        (parents, children) == (sent[0], n),
        f"parent {parents:,} of {sent[0]:,}, children {children} of {n}",
    )


def _hold(lock: threading.Lock) -> None:
    if lock.acquire(timeout=1):
        time.sleep(0.02)
        lock.release()


def _exits(pid: int, seconds: float) -> bool:
    def is_done() -> bool:
        done, status = os.waitpid(pid, os.WNOHANG)
        return done == pid and status == 0

    ended = wait_until(is_done, seconds)
    if not ended:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return ended


def full_disk(report: Report, scale: float) -> None:
    """Statement 48 for counts: a file that may not grow, then may again."""
    del scale
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        monitor = Monitor("disk", "1", schema(), live=live)
        monitor.flush(10)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            sent, took = load(monitor, 5, 2, 5000)
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
        "48 full disk",
        back and n == sent,
        f"said {said}, back in {took_s:.1f} s, {n:,} of {sent:,}, p99 {percentile(took, 0.99) * 1e6:.0f} us",
    )


def damaged_files(report: Report, scale: float) -> None:
    """Statement 25: truncated and flipped files."""
    trials = max(20, int(1000 * scale))
    dice = random.Random(5)
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "whole.db")
        monitor = Monitor("damage", "1", ModelSchema(classes=("a", "b")), live=whole)
        for _ in range(1000):
            monitor.record("/predict", 0.01, "a", 0.9)
        monitor.flush(10)
        monitor.close()
        connection = sqlite3.connect(whole)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        content = whole.read_bytes()
        sent = seen = 0
        for trial in range(trials):
            live = Path(folder, f"{trial}.db")
            bad = bytearray(content)
            if trial % 2:
                del bad[dice.randrange(len(bad)) :]
            else:
                for _ in range(dice.randrange(1, 20)):
                    bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
            live.write_bytes(bad)
            after = Monitor(f"damage{trial}", "1", ModelSchema(classes=("a", "b")), live=live)
            for _ in range(10):
                after.record("/predict", 0.01, "b", 0.9)
            after.flush(5)
            if not after.flush(5) and not after.flush(5):
                broken += 1
            page = after.metrics()
            broken += b"ml_requests_total" not in page
            after.close()
            sent += 10
            seen += counted(totals(live).get(after.key, Tally([]))) if broken == 0 else 0
            for left in Path(folder).glob(f"{trial}.db*"):
                left.unlink(missing_ok=True)
    report.ledger.add(Ledger(sent, seen, 0))
    report.check(
        "25 damaged files",
        broken == 0 and seen == sent,
        f"{trials} files, {broken} without recovery, {seen:,} of {sent:,} counted",
    )
