"""Load inside one process: into a stuck store, for a day of fake time, at the cap of labels, from many threads."""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from modelwatch import names
from modelwatch.record import worker as worker_module
from modelwatch.record.monitor import Monitor
from modelwatch.record.worker import Worker
from modelwatch.reference import profile_numeric
from modelwatch.schema import ModelSchema
from modelwatch.sources.status import StatusSource
from modelwatch.store.live import Key
from modelwatch.store.reader import LiveReader, Totals
from modelwatch.tally import Tally
from modelwatch.testing import FakeClock, StuckStore
from soak.ledger import Ledger, Report, percentile, rss_mib

FEATURES = 20
THREADS = 4
ROUNDS = 5
RATE = 50_000  # events a second, over all threads
EVENTS = 100_000_000  # a day of them, scaled


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
    """Statement 3: a store that never answers costs staleness, not the service. Interleaved rounds, medians compared."""
    seconds = 60 * scale / ROUNDS
    sent = {False: 0, True: 0}
    tails: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    grown, waited = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        monitor = Monitor("stuck", "1", schema(), live=live)
        monitor.flush(10)
        load(monitor, 1, THREADS, RATE)  # the first pages of memory are not the store's fault
        monitor.flush(60)
        warm = counted(totals(live)[monitor.key])
        before = rss_mib()
        for stuck in (False, True) * ROUNDS:
            with StuckStore(live) if stuck else contextlib.nullcontext():
                n, took = load(monitor, seconds, THREADS, RATE)
                if stuck:
                    grown, waited = max(grown, rss_mib() - before), max(waited, monitor.recorder.backlog())
            monitor.flush(60)
            sent[stuck] += n
            tails[stuck].append((percentile(took, 0.99) * 1e6, percentile(took, 0.9999) * 1e6))
        monitor.close()
        stored, abandoned = counted(totals(live)[monitor.key]) - warm, monitor.recorder.abandoned
    everything = sum(sent.values())
    report.ledger.add(Ledger(everything, stored, abandoned))
    reached = f"{sent[True] / seconds / ROUNDS:,.0f}/s of {RATE:,}/s"
    report.check(
        3, "memory", "RSS grows by less than 50 MB",
        f"{grown:+.1f} MB; {sent[True]:,} events of {FEATURES} features, {reached}; {waited:,} waited",
        holds=grown < 50,
    )  # fmt: skip
    for column, (tail, bar, most) in enumerate((("p99", "100 µs", 100.0), ("p99.99", "1 ms", 1000.0))):
        with_lock, control = ([pair[column] for pair in tails[stuck]] for stuck in (True, False))
        told = " ".join(f"{value:.0f}" for value in sorted(with_lock))
        middle, base = statistics.median(with_lock), statistics.median(control)
        report.check(
            3, f"{tail} of a call", f"control + {bar}",
            f"median of {ROUNDS} rounds {middle:.1f} µs ({told}), control {base:.1f} µs"
            f" ({' '.join(f'{value:.0f}' for value in sorted(control))})",
            holds=middle < base + most,
        )  # fmt: skip
    report.check(
        3, "conservation", "in = stored + given up",
        f"in {everything:,}, stored {stored:,}, given up {abandoned:,}", holds=everything == stored + abandoned,
    )  # fmt: skip


def memory(report: Report, scale: float) -> None:
    """Statement 9: three days of minutes in fake time, a scrape and a look at the windows in each; the last day is judged.

    Two days fill what is kept by the minute.
    """
    day = 1440
    each = max(1, int(EVENTS * scale / (3 * day)))
    clock = FakeClock()
    with tempfile.TemporaryDirectory() as folder:
        live = Path(folder, "live.db")
        worker_module._workers[live] = Worker(live, clock)
        monitor = Monitor("memory", "1", schema(), live=live)
        status = StatusSource(live, clock=clock)
        features = {f"f{i}": i / 10 for i in range(FEATURES)}
        record, marks, costs = monitor.record, [], []
        for minute in range(3 * day):
            begin = time.thread_time()
            for i in range(each):
                record("/predict", 0.012, "abc"[i % 3], 0.9, features)
            costs.append((time.thread_time() - begin) / each)
            clock.advance(60)
            monitor.flush(60)
            monitor.metrics()
            if minute % 10 == 9:
                status.read()
            marks.append(rss_mib())
        status.close()
        monitor.close()
        n = counted(totals(live)[monitor.key])
    sent, quarter = 3 * day * each, day // 4
    before, after = statistics.median(marks[2 * day : 2 * day + quarter]), statistics.median(marks[-quarter:])
    judged = (day - quarter) * each
    slope = (after - before) / (judged / 10e6)
    report.ledger.add(Ledger(sent, n, monitor.recorder.abandoned))
    report.check(
        9, "memory", "RSS grows by less than 1 MB for 10 M events, after warm-up",
        f"{slope:+.2f} MB ({before:.1f} to {after:.1f} MB over {judged:,} events); {sent:,} events of {FEATURES} features"
        " over 72 h of fake time",
        holds=slope < 1,
    )  # fmt: skip
    first, last = min(costs[:quarter]), min(costs[-quarter:])
    report.check(
        9, "cost of a call at the end", "1.2 x that at the start",
        f"{last / first:.2f} x ({first * 1e6:.2f} and {last * 1e6:.2f} µs)", holds=last <= 1.2 * first,
    )  # fmt: skip


def scrape_at_cap(report: Report, scale: float) -> None:
    """Statement 10: a scrape at the cap of every label, with every route asked again since the last one."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor("cap", "1", schema(), live=Path(folder, "live.db"))
        sent = 0

        def everything() -> int:
            for i in range(3000):
                monitor.record(f"/route{i}", 0.01, f"class{i}", 0.5, segment=f"segment{i}", error=f"Error{i}")
            monitor.flush(30)
            return 3000

        sent += everything()
        monitor.metrics()
        took, page = [], b""
        for _ in range(10):
            sent += everything()
            begin = time.perf_counter()
            page = monitor.metrics()
            took.append(time.perf_counter() - begin)
        calls = _calls_while_scraped(monitor, max(5.0, 60 * scale))
        monitor.flush(30)
        monitor.close()
        n = counted(totals(Path(folder, "live.db"))[monitor.key])
    report.ledger.add(Ledger(sent + len(calls), n, monitor.recorder.abandoned))
    middle, tail = percentile(took, 0.5) * 1e3, percentile(calls, 0.999) * 1e6
    report.check(
        10, "time of a scrape", "250 ms",
        f"median {middle:.0f} ms, best {min(took) * 1e3:.0f} ms, {page.count(b'{'):,} series", holds=middle < 250,
    )  # fmt: skip
    report.check(10, "size of a scrape", "5 MB", f"{len(page) / 1e6:.2f} MB", holds=len(page) < 5e6)
    report.check(10, "p99.9 of a call while scraped", "1 ms", f"{tail:.0f} µs, {len(calls):,} calls", holds=tail < 1000)


def _calls_while_scraped(monitor: Monitor, seconds: float) -> list[float]:
    stopping = threading.Event()

    def scrape() -> None:
        while not stopping.is_set():
            monitor.metrics()

    scraping = threading.Thread(target=scrape, daemon=True)
    scraping.start()
    took, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        monitor.record("/route1", 0.01, "class1", 0.5)
        took.append(time.perf_counter() - begin)
        time.sleep(0.0005)
    stopping.set()
    scraping.join()
    return took


def threads(report: Report, scale: float) -> None:
    """Statement 21: eight threads, the shortest switch interval, every table exact."""
    each = int(1_000_000 * scale)
    before = sys.getswitchinterval()
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor("threads", "1", ModelSchema(classes=("a", "b")), live=Path(folder, "live.db"))

        @monitor.endpoint("/watched")
        def watched() -> None:
            pass

        def caller(me: int) -> None:
            record = monitor.record
            for i in range(each):
                if i % 2:
                    watched()
                else:
                    record("/p", 0.01, "ab"[me % 2], 0.9, segment=f"s{me}", error="E" if i % 10 == 0 else None)

        sys.setswitchinterval(1e-6)
        try:
            running = [threading.Thread(target=caller, args=(i,)) for i in range(8)]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
        finally:
            sys.setswitchinterval(before)
        monitor.flush(120)
        monitor.close()
        tally = totals(Path(folder, "live.db"))[monitor.key]
    half = each // 2
    failed = len([i for i in range(0, each, 2) if i % 10 == 0])
    tables = tally.tables
    n, given_up = counted(tally), monitor.recorder.abandoned
    exact = (
        n == 8 * each
        and tables[names.REQUESTS.name].value(("/watched",)) == 8 * half
        and tables[names.PREDICTIONS.name].value(("a",)) == 4 * (each - half)
        and all(tables[names.SEGMENTS.name].value((f"s{i}",)) == each - half for i in range(8))
        and tables[names.ERRORS.name].total() == 8 * failed
        and tables[names.DURATION.name].total() == 8 * each
    )
    report.ledger.add(Ledger(8 * each, n, given_up))
    report.check(
        21, "exact over threads", "0 lost, 0 doubled, in every table",
        f"8 threads x {each:,} events, switch interval 1 µs: {n - 8 * each:+,}, {given_up:,} given up", holds=exact,
    )  # fmt: skip
