"""What one event costs in all: the caller's append and the folding thread's counting and committing.

A child process records at a fixed rate, as a service does, with the folding thread on. The CPU time of the whole process
less that of the same pacing with nothing to record is the cost.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import cycle, islice

from bench.harness import Contender, Effort, Gate, Row, best, child, feature_rows, monitored
from modelwatch import Monitor

RATES = (10_000, 50_000)  # events a second
GATES = {10: 2.0e-6, 50: 4.0e-6}
TICK_S = 0.002


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the fold."""
    rows = []
    for features, limit in GATES.items():
        found = child("bench.fold", features, effort.few, effort.paced_s)
        for rate in RATES:
            what = f"record() + fold + commit, {features} features, two threads, {rate // 1000} 000 events/s"
            rows.append(Row(what, found[str(rate)], gate=Gate("at most", limit)))
        rows.append(Row(f"record() + fold, {features} features, tight loop", found["tight"]))
    return rows


def paced(record: Callable[[dict[str, float]], object], rows: list[dict[str, float]], rate: int, seconds: float) -> int:
    """Record `rate` events a second, a few at every tick; return how many."""
    feed, done = cycle(rows), 0
    begin = time.perf_counter()
    while (now := time.perf_counter() - begin) < seconds:
        due = int(now * rate) - done
        for row in islice(feed, due):
            record(row)
        done += due
        time.sleep(TICK_S)
    return done


def two_threads(monitor: Monitor, rows: list[dict[str, float]], rate: int, seconds: float, rounds: int) -> float:
    """Return the CPU seconds of the process for one event: the best of rounds, less the best of the idle control."""

    def nothing(row: dict[str, float]) -> None:
        pass

    def record(row: dict[str, float], call: Callable[..., None] = monitor.record) -> None:
        call("/predict", duration=0.012, prediction="positive", confidence=0.93, features=row)

    def spent(what: Callable[[dict[str, float]], None]) -> float:
        begin = time.process_time()
        done = paced(what, rows, rate, seconds)
        monitor.flush(60)
        return (time.process_time() - begin) / done

    spent(record)
    pairs = [(spent(nothing), spent(record)) for _ in range(rounds)]
    return min(pair[1] for pair in pairs) - min(pair[0] for pair in pairs)


def tight_loop(monitor: Monitor, rows: list[dict[str, float]], rounds: int) -> float:
    """Return the CPU seconds of recording a chunk and folding it at once, in one thread."""
    record, fold = monitor.record, monitor.recorder.fold_waiting

    def loop(n: int) -> None:
        for row in islice(cycle(rows), n):
            record("/predict", duration=0.012, prediction="positive", confidence=0.93, features=row)
        fold()

    return best({"tight": Contender(loop)}, rounds * 10, monitor.recorder.chunk * 4)["tight"]


def main(features: int, rounds: int, seconds: float) -> None:
    """Measure in this process; print JSON."""
    rows = feature_rows(features)
    with monitored(features) as monitor:
        found = {"tight": tight_loop(monitor, rows, rounds)}
        for rate in RATES:
            found[str(rate)] = two_threads(monitor, rows, rate, seconds, rounds)
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
