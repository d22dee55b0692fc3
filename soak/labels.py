"""Labels that were acknowledged: killed workers by the hundred, a disk that is full for a while."""

from __future__ import annotations

import random
import resource
import tempfile
import threading
import time
from pathlib import Path

from sqlalchemy import text

from modelwatch.errors import StoreUnavailable
from modelwatch.groundtruth.store import Sample, Store, TrueLabel
from modelwatch.groundtruth.writer import Writer
from modelwatch.testing import KillAt, acknowledge
from soak.ledger import Report, wait_until

CALLERS = 4
APART = 1_000_000  # ids of one trial
TRIALS = 1000  # three minutes
SOAKED = 0.3  # of the scale: `make soak` makes all trials, too


def label_for_ever(url: str, trial: int) -> None:
    """Label new ids from four threads, and tell of each that is acknowledged."""
    writer = Writer(Store(url, busy_s=1.0))

    def caller(turn: int) -> None:
        for i in range(turn, APART, CALLERS):
            name = f"{trial * APART + i:032x}"
            writer.label(TrueLabel(name, "positive", "ann", sampled=True), 60)
            acknowledge(name)

    for turn in range(1, CALLERS):
        threading.Thread(target=caller, args=(turn,)).start()
    caller(0)


def kept(store: Store) -> set[str]:
    """Return the ids whose label is in both tables that say so."""
    query = text(
        "SELECT s.request_id FROM samples s JOIN labels l ON l.request_id = s.request_id AND l.label = s.label"
    )
    return set(store.database.read(lambda connection: connection.execute(query).scalars().all()))


def is_whole(store: Store) -> bool:
    """Tell whether SQLite finds its file in order."""
    words = store.database.read(lambda connection: connection.exec_driver_sql("PRAGMA integrity_check").scalar())
    return bool(words == "ok")


def kills(report: Report, scale: float) -> None:
    """Statement 47: workers killed at random moments while four threads of each label."""
    trials, chance = TRIALS if scale >= SOAKED else max(20, int(TRIALS * scale)), random.Random(47)
    acknowledged: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder, 'truth.db')}"
        store = Store.open(url)
        for trial in range(trials):
            death = KillAt(after_s=chance.uniform(0.01, 0.25), start_method="forkserver").run(
                label_for_ever, url, trial
            )
            acknowledged.update(death.acknowledged)
        lost, whole = len(acknowledged - kept(store)), is_whole(store)
        store.close()
    report.check(
        47, f"labels acknowledged by {trials} killed workers", "0 lost, the file in order",
        f"{lost} lost of {len(acknowledged):,}, file {'in order' if whole else 'damaged'}",
        holds=lost == 0 and whole and len(acknowledged) > trials,
    )  # fmt: skip


def full_disk(report: Report, scale: float) -> None:
    """Statements 7 and 48 for labels: a file that may not grow, then may again."""
    number = max(200, int(1000 * scale))
    acknowledged, refused = set(), 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "truth.db")
        writer = Writer(Store(f"sqlite:///{path}", busy_s=1.0))
        writer.label(TrueLabel("f" * 32, "positive", sampled=True))
        log = path.with_name("truth.db-wal")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 400_000, hard))
        try:
            for i in range(number):
                name = f"{i:032x}"
                try:
                    writer.label(TrueLabel(name, "positive", "ann", sampled=True, note="x" * 1500), 5)
                    acknowledged.add(name)
                except StoreUnavailable:
                    refused += 1
            kept_back = writer.put(Sample("e" * 32, "disk", "1", "/predict", time.time(), "positive"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        begin = time.monotonic()
        back = wait_until(lambda: writer.kept is True and writer.stored == 1, 10)
        took_s = time.monotonic() - begin
        lost = len(acknowledged - kept(writer.store))
        writer.close()
    report.check(
        48, "labels while the disk is full", "each is kept, or its caller is told; back within 10 s without a restart",
        f"{len(acknowledged)} acknowledged, {lost} of them lost; {refused} told; back in {took_s:.1f} s",
        holds=lost == 0 and refused > 0 and bool(acknowledged) and kept_back and back,
    )  # fmt: skip
