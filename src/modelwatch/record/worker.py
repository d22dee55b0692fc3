"""One process's part of a host: the thread that folds the buffers of its models and writes their counts into `live.db`."""

from __future__ import annotations

import atexit
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from modelwatch.clock import SteadyClock
from modelwatch.errors import ModelwatchError
from modelwatch.record.faults import Faults
from modelwatch.record.recorder import Recorder
from modelwatch.record.scrape import Scrape
from modelwatch.store.live import Key
from modelwatch.store.reader import HostState, LiveReader, Totals
from modelwatch.store.writer import LiveWriter
from modelwatch.tally import Tally

FOLD_EVERY_S = 0.25
COMMIT_EVERY_S = 1.0
LOCK_WAIT_S = 0.5  # for the file lock of SQLite, in the folding thread
FORK_WAIT_S = 0.1
EXIT_WAIT_S = 3.0

_workers: dict[Path, Worker] = {}
_every_worker: weakref.WeakSet[Worker] = weakref.WeakSet()
_inherited: list[object] = []  # SQLite connections of a parent: never closed in a child
_guard = threading.Lock()


class Worker:
    """Folds and commits for all models of this process that share one `live.db`."""

    def __init__(self, path: Path, clock: SteadyClock | None = None) -> None:
        self.path = path
        self.clock = clock or SteadyClock()
        self.faults = Faults()
        self.recorders: dict[Key, Recorder] = {}
        self.kept: bool | None = None  # whether the last commit reached the file; None before the first
        self.why_not = ""
        self._committed: dict[Key, int] = {}
        self._rates: dict[Key, deque[tuple[float, int]]] = {}
        self._schemas: dict[Key, str] = {}
        self._renew()
        _every_worker.add(self)

    def _renew(self) -> None:
        self.io = threading.Lock()  # held while SQLite is at work, so that a fork does not happen then
        self.reading = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._ticket = threading.Condition()
        self._asked = self._done = 0
        self._last_ok = True
        self.writer = LiveWriter(self.path, self.clock, LOCK_WAIT_S)
        self.reader = LiveReader(self.path, self.clock.monotonic)
        self.totals = Totals()
        self.host = HostState()
        self.scrape = Scrape(self)

    @classmethod
    def of(cls, path: Path) -> Worker:
        """Return this process's worker for a `live.db`, made when there is none."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, and fail on a loop
        with _guard:
            worker = _workers.get(path)
            if worker is None:
                worker = _workers[path] = cls(path)
            return worker

    def add(self, key: Key, recorder: Recorder) -> None:
        """Take a model in."""
        self.recorders[key] = recorder
        self._schemas[key] = recorder.kernel.schema.to_json()
        self.start()

    def start(self) -> None:
        """Start the folding thread, unless it runs."""
        with _guard:
            if self._thread is not None and self._thread.is_alive():
                return
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="modelwatch", daemon=True)
            self._thread.start()

    # -- the folding thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._adopt_known_labels()
        next_commit, wait = self.clock.monotonic() + COMMIT_EVERY_S, FOLD_EVERY_S
        while True:
            self._wake.wait(wait)
            self._wake.clear()
            stopping, asked = self._stopping.is_set(), self._asked
            busiest = max((r.backlog() / r.limit for r in list(self.recorders.values())), default=0.0)
            for recorder in list(self.recorders.values()):
                recorder.fold_waiting(polite=not stopping)
            if stopping or asked > self._done or self.clock.monotonic() >= next_commit:
                self._answer(asked, self._commit())
                next_commit = self.clock.monotonic() + COMMIT_EVERY_S
            if stopping:
                self._leave()
                return
            wait = FOLD_EVERY_S if busiest < 0.25 else FOLD_EVERY_S * 0.25 / busiest

    def _adopt_known_labels(self) -> None:
        """Read what is counted already, so that the caps of labels hold over workers and restarts; warms the first scrape, too."""
        if not self.path.exists():
            return
        totals = self.read()
        for key, recorder in list(self.recorders.items()):
            if key in totals:
                with recorder.lock:
                    recorder.kernel.adopt(totals[key])

    def _commit(self) -> bool:
        """Write the counts of all recorders that have changed. Return whether everything is in the file."""
        for where in self.faults.drain():
            for recorder in list(self.recorders.values())[:1]:
                recorder.count_fault(where)
        changed = {key: r for key, r in list(self.recorders.items()) if self._committed.get(key) != r.folds}
        marks = {key: r.folds for key, r in changed.items()}
        tallies = {key: r.snapshot() for key, r in changed.items()}
        gauges = self._gauges()
        try:
            with self.io:
                self.writer.commit(tallies, gauges, self._schemas)
                self.writer.compact()
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            self.kept, self.why_not = False, str(error)
            self.faults.add("live", error, ours=False)
            return False
        except BaseException as error:  # noqa: BLE001 - the thread must go on
            self.kept, self.why_not = False, repr(error)
            self.faults.add("commit", error)
            return False
        self.kept, self.why_not = True, ""
        self._committed |= marks
        return True

    def _gauges(self) -> dict[str, dict[str, float]]:
        """What this process does now, by model: requests in progress, and finished in the last 60 seconds."""
        now = self.clock.monotonic()
        gauges: dict[str, dict[str, float]] = {}
        for key, recorder in list(self.recorders.items()):
            seen = self._rates.setdefault(key, deque(maxlen=240))
            seen.append((now, recorder.requests()))
            while len(seen) > 1 and seen[1][0] <= now - 60:
                seen.popleft()
            finished = seen[-1][1] - (seen[0][1] if seen[0][0] <= now - 60 else 0)
            mine = gauges.setdefault(key.model, {"in_progress": 0, "last_minute": 0})
            mine["in_progress"] += len(recorder.busy)
            mine["last_minute"] += finished
        return gauges

    def _leave(self) -> None:
        try:
            with self.io:
                self.writer.leave()
        except (sqlite3.Error, OSError) as error:
            self.faults.add("live", error, ours=False)

    def _answer(self, asked: int, ok: bool) -> None:
        with self._ticket:
            self._done, self._last_ok = max(self._done, asked), ok
            self._ticket.notify_all()

    # -- for callers ---------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 5.0) -> bool:
        """Fold here what was recorded so far, and wait until it is in the file.

        Returns False when `timeout` seconds were not enough, or the file cannot be written.
        """
        deadline = time.monotonic() + timeout
        for recorder in list(self.recorders.values()):
            if not recorder.fold_waiting(deadline):
                return False
        self.start()
        with self._ticket:
            self._asked += 1
            mine = self._asked
            self._wake.set()
            done = self._ticket.wait_for(lambda: self._done >= mine, max(0.0, deadline - time.monotonic()))
            return done and self._last_ok

    def close(self, timeout: float = EXIT_WAIT_S) -> bool:
        """Fold and commit what is left, and stop the thread. Return whether that was done within `timeout` seconds."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return True
        self._stopping.set()
        self._wake.set()
        thread.join(timeout)
        return not thread.is_alive() and bool(self.kept)

    def read(self) -> Mapping[Key, Tally]:
        """Return the committed totals of this host; this process's own counts when there is no file to read.

        Also renews `host`. Never raises.
        """
        with self.reading:
            try:
                changes, self.host = self.reader.poll()
                mine = {key: recorder.kernel.schema for key, recorder in list(self.recorders.items())}
                self.totals.apply(changes, {**self.host.schemas, **mine})
            except (sqlite3.Error, OSError, ModelwatchError) as error:
                if self.kept is None and not self.path.exists():
                    return {}  # nothing was ever written: the first commit is yet to come
                self.faults.add("read", error, ours=False)
                if not self.totals.tallies:
                    return {key: recorder.snapshot() for key, recorder in list(self.recorders.items())}
            return self.totals.tallies

    # -- fork ----------------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In the child: the parent counts what was pending, locks of threads that are gone are new, so is the file."""
        running = self._thread is not None
        _inherited.append((self.writer, self.reader))
        for recorder in self.recorders.values():
            recorder.reset()
        self.kept = None
        self._committed.clear()
        self._rates.clear()
        self.faults = Faults()
        for recorder in self.recorders.values():
            recorder.faults = self.faults
        self._renew()
        if running:
            self.start()


@atexit.register
def _close_all() -> None:
    for worker in list(_every_worker):
        worker.close()


_held: list[threading.Lock] = []


def _before_fork() -> None:
    """Wait, shortly, until no thread of ours is inside SQLite: its own locks would never be released in the child."""
    _held.clear()
    for worker in list(_every_worker):
        for lock in (worker.io, worker.reading):
            if lock.acquire(timeout=FORK_WAIT_S):
                _held.append(lock)


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop().release()


def _after_fork_in_child() -> None:
    global _guard  # noqa: PLW0603 - the lock may be held by a thread that is gone
    _held.clear()
    _guard = threading.Lock()
    for worker in list(_every_worker):
        worker.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
