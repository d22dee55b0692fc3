"""What the processes do that `KillAt` kills: in a module of its own, since they find it by its name."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from modelwatch.record.monitor import Monitor
from modelwatch.testing import acknowledge, reached


def write_and_acknowledge(path: str, n: int) -> None:
    """Append lines to a file, and tell of each after it is written."""
    with Path(path).open("a", encoding="utf-8") as file:
        for i in range(n):
            file.write(f"{i}\n")
            file.flush()
            reached("written")
            acknowledge(i)
            reached("acknowledged")


def work_in_threads() -> None:
    """Reach one point from four threads at once, for ever."""

    def work() -> None:
        while True:
            acknowledge(1)
            reached("here")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def watch(live: str) -> None:
    """Record on two threads and flush for ever; tell of what a flush has kept."""
    monitor = Monitor("killed", live=live)
    sent = [0, 0]

    def work(me: int) -> None:
        while True:
            monitor.record("/predict", duration=0.01)
            sent[me] += 1
            time.sleep(0.0005)

    for me in range(2):
        threading.Thread(target=work, args=(me,), daemon=True).start()
    while True:
        before = sum(sent)
        if monitor.flush(5):
            acknowledge(before)


def fail() -> None:
    """Raise."""
    raise SystemExit(3)
