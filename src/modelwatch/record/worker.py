"""One process's part of a host: the thread that folds the buffers of its models and commits them to `live.db`."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwatch import names
from modelwatch.clock import SteadyClock
from modelwatch.errors import DamagedData, ModelwatchError
from modelwatch.record import lifetime
from modelwatch.record.faults import Faults
from modelwatch.record.recorder import LOCK_S, Recorder
from modelwatch.record.resources import Resources
from modelwatch.record.scrape import Scrape
from modelwatch.store.live import EVERYDAY, FileId, Key, NotMadeYet, Spans, is_damaged, is_locked
from modelwatch.store.reader import HostState, LiveReader, Totals
from modelwatch.store.writer import LiveWriter
from modelwatch.tally import Tally

if TYPE_CHECKING:
    from modelwatch.record.review import Review
    from modelwatch.reference import Reference

logger = logging.getLogger("modelwatch")

FOLD_EVERY_S = 0.25
COMMIT_EVERY_S = 1.0
LOCK_WAIT_S = 0.5  # for the file lock of SQLite, in the folding thread
AGAIN_S = 0.05  # between two tries at a locked file while somebody waits
EXIT_WAIT_S = 2.5  # a server needs two seconds more for itself, and what stops services waits for five
GOODBYE_WAIT_S = 0.5  # at the end, when every event is stored
RATE_EVERY_S = 0.5  # between two samples of the number of requests
RATE_WINDOW_S = 60.0

_workers: dict[Path, Worker] = {}
_inherited: list[object] = []  # SQLite connections of a parent: never closed in a child


class Worker:
    """Folds and commits for all models of this process that share one `live.db`."""

    def __init__(self, path: Path, clock: SteadyClock | None = None) -> None:
        self.path = path
        self.clock = clock or SteadyClock()
        self.faults = Faults()
        self.recorders: dict[Key, Recorder] = {}
        self.references: dict[Key, Reference] = {}  # of the models that have one: what their counts are compared with
        self.reviews: dict[Key, Review] = {}  # of the models whose predictions are kept for review
        self.users = 0  # monitors that are not closed
        self._forked = False
        self.kept: bool | None = None  # whether the last commit reached the file; None before the first
        self.why_not = ""
        self._committed: dict[Key, int] = {}
        self._stored: dict[Key, int] = {}  # events in the file
        self.said = 0  # events that were said to be missing in it
        self._told_drops: dict[Key, int] = {}  # events given up, as committed
        self._rates: dict[Key, deque[tuple[float, int]]] = {}
        self._schemas: dict[Key, str] = {}
        self.spans = EVERYDAY  # as the configuration of its models scales time
        self._renew()
        lifetime.look_after(self)

    def _renew(self) -> None:
        self.io = threading.Lock()  # held while SQLite is at work, so that a fork does not happen then
        self.reading = threading.Lock()  # held while the totals change, and while a page is made of them
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._ticket = threading.Condition()
        self._asked = self._done = 0
        self._last_ok = True
        self._patience = float("-inf")  # until then a locked file is tried again at once: somebody waits
        self._locked = False
        self._kept_at = self.clock.monotonic()
        self._damaged: FileId | None = None  # the file that a reader found damaged
        self.writer = LiveWriter(self.path, self.clock, LOCK_WAIT_S, spans=self.spans)
        self.reader = LiveReader(self.path, self.clock.monotonic)
        self.totals = Totals(self.clock.monotonic)
        self.host = HostState()
        self.scrape = Scrape(self)
        self.resources = Resources(self.clock.monotonic())

    @classmethod
    def of(cls, path: Path) -> Worker:
        """Return this process's worker for a `live.db`, made when there is none."""
        path = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow links, and fail on a loop
        with lifetime.guard:
            worker = _workers.get(path)
            if worker is None:
                worker = _workers[path] = cls(path)
            return worker

    def add(self, key: Key, recorder: Recorder) -> None:
        """Take a model in."""
        self.recorders[key] = recorder
        self._schemas[key] = recorder.kernel.schema.to_json()
        self.start()

    def scale(self, time_scale: float) -> None:
        """Make the rows that are written from now on as long as a configuration scales time."""
        self.spans = self.writer.spans = Spans.of(time_scale)

    def start(self) -> bool:
        """Start the folding thread, unless it runs. Return False when the interpreter is ending."""
        with lifetime.guard:
            if self._thread is not None and self._thread.is_alive():
                return True
            self._stopping.clear()
            thread = threading.Thread(target=self._run, name="modelwatch", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
            return True

    def lag(self) -> float:
        """Return how many seconds ago the counts were last known to be in the file."""
        return max(0.0, self.clock.monotonic() - self._kept_at)

    # -- the folding thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if not self._forked:  # a fork may be about to become another program, and is nobody yet
            self._commit()  # at once: a worker that dies young has lived, too
        self._adopt_known_labels()
        next_commit, wait = self.clock.monotonic() + self._commit_every_s(), FOLD_EVERY_S
        stopping = False
        while not stopping:
            self._wake.wait(wait)
            self._wake.clear()
            stopping, asked = self._stopping.is_set(), self._asked
            busiest = max((r.backlog() / r.limit for r in list(self.recorders.values())), default=0.0)
            for recorder in list(self.recorders.values()):
                recorder.fold_waiting(time.monotonic() + LOCK_S, polite=not stopping and asked == self._done)
            if stopping or asked > self._done or self.clock.monotonic() >= next_commit:
                ok = self._commit()
                while not ok and self._locked and time.monotonic() < self._patience:
                    time.sleep(AGAIN_S)
                    ok = self._commit()
                self._answer(asked, ok=ok)
                next_commit = self.clock.monotonic() + self._commit_every_s()
                if ok and not stopping:
                    self._compact()
            wait = FOLD_EVERY_S if busiest < 0.25 else FOLD_EVERY_S * 0.25 / busiest
        self._leave()
        self._thread = None
        self._answer(self._asked, ok=False)  # those who asked too late

    def _commit_every_s(self) -> float:
        """Return the time between two commits: a row of a few seconds, where time is scaled, is not to come late."""
        return min(COMMIT_EVERY_S, max(self.spans.minute / 4, FOLD_EVERY_S))

    def _adopt_known_labels(self) -> None:
        """Read what is counted already, so that the caps of labels hold over workers and restarts."""
        if not self.path.exists():
            return
        try:
            with self.reading:
                totals = self.poll()
                for key, recorder in list(self.recorders.items()):
                    with recorder.held() as held:
                        if held and key in totals:
                            recorder.kernel.adopt(totals[key])
        except Exception as error:  # noqa: BLE001 - the thread must go on
            self.faults.add("adopt", error)

    def _commit(self) -> bool:
        """Write the counts of all recorders that have changed. Return whether everything is in the file."""
        self._locked = False
        try:
            for where, n in self.faults.drain().items():
                any(recorder.count_fault(where, n) for recorder in list(self.recorders.values()))  # the first that can
            changed = {key: r for key, r in list(self.recorders.items()) if self._committed.get(key) != r.folds}
            marks = {key: r.folds for key, r in changed.items()}
            copies = {key: r.snapshot() for key, r in changed.items()}
            tallies = {key: tally for key, tally in copies.items() if tally is not None}
            with self.io:
                if self._damaged is not None:
                    self.writer.set_aside(self._damaged)
                    self._damaged = None
                self._write(tallies)
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            self.kept, self.why_not, self._locked = False, str(error) or repr(error), is_locked(error)
            self.faults.add("live", error, ours=False)
            return False
        except BaseException as error:  # noqa: BLE001 - the thread must go on
            self.kept, self.why_not = False, repr(error)
            self.faults.add("commit", error)
            return False
        self.kept, self.why_not = True, ""
        self._kept_at = self.clock.monotonic()
        self._committed |= {key: marks[key] for key in tallies}
        self._stored |= {key: tally.tables[names.EVENTS.name].total() for key, tally in tallies.items()}
        return len(tallies) == len(changed)

    def _write(self, tallies: Mapping[Key, Tally]) -> None:
        """Write these counts, and what was given up by now, also where the counting is blocked; `io` is held."""
        dropped = {key: recorder.abandoned for key, recorder in list(self.recorders.items())}
        news = dict(tallies)
        for key, n in dropped.items():
            if key not in news and n == self._told_drops.get(key, 0):
                continue
            if key not in news:
                news[key] = self.recorders[key].kernel.schema.empty()
                news[key].add(self.writer.counted(key))
            news[key].tables[names.ABANDONED.name].counts[0, 0] = n
        usage = self.resources.read(self.clock.monotonic())
        self.writer.commit(news, self._gauges(), self._schemas, usage)
        self._told_drops = dropped

    def tell_drops(self) -> None:
        """Commit what was given up since the last commit: a scrape may, while the folding thread is blocked."""
        if all(r.abandoned == self._told_drops.get(key, 0) for key, r in list(self.recorders.items())):
            return
        if self.io.acquire(timeout=LOCK_WAIT_S):
            try:
                self._write({})
            except (sqlite3.Error, OSError, ModelwatchError) as error:
                self.faults.add("live", error, ours=False)
            except Exception as error:  # noqa: BLE001 - a scrape must be answered
                self.faults.add("drops", error)
            finally:
                self.io.release()

    def _compact(self) -> None:
        try:
            with self.io:
                self.writer.compact()
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            self.faults.add("compact", error, ours=False)
        except BaseException as error:  # noqa: BLE001 - the thread must go on
            self.faults.add("compact", error)

    def _gauges(self) -> dict[str, dict[str, float]]:
        """Return what this process does now, by model: requests in progress, and finished in the last 60 seconds."""
        now = self.clock.monotonic()
        gauges: dict[str, dict[str, float]] = {}
        for key, recorder in list(self.recorders.items()):
            seen = self._rates.setdefault(key, deque([(float("-inf"), 0)]))
            requests = recorder.requests()
            if now - seen[-1][0] >= RATE_EVERY_S:
                seen.append((now, requests))
            while len(seen) > 1 and seen[1][0] <= now - RATE_WINDOW_S:
                seen.popleft()
            mine = gauges.setdefault(key.model, {"in_progress": 0, "last_minute": 0})
            mine["in_progress"] += len(recorder.busy)
            finished = recorder.last_minute() if recorder.last_minute else requests - seen[0][1]
            mine["last_minute"] += finished
        return gauges

    def _leave(self) -> None:
        try:
            with self.io:
                self.writer.leave()
        except (sqlite3.Error, OSError) as error:
            self.faults.add("live", error, ours=False)
        if self.reading.acquire(timeout=LOCK_S):
            self.reader.close()
            self.reading.release()

    def _answer(self, asked: int, *, ok: bool) -> None:
        with self._ticket:
            if asked > self._done:
                self._done, self._last_ok = asked, ok
                self._ticket.notify_all()

    # -- for callers ---------------------------------------------------------------------------------------------------

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until what was recorded so far is folded and in the file.

        Returns False when `timeout` seconds were not enough, or the file cannot be written.
        """
        deadline = time.monotonic() + timeout
        if not self.start():
            return False
        with self._ticket:
            self._asked += 1
            mine = self._asked
            self._patience = max(self._patience, deadline)
            self._wake.set()
            done = self._ticket.wait_for(lambda: self._done >= mine, max(0.0, deadline - time.monotonic()))
            return done and self._last_ok

    def close(self, timeout: float = EXIT_WAIT_S) -> bool:
        """Fold and commit what is left, and stop the thread. Return whether that was done within `timeout` seconds."""
        if not self.is_running():
            if not any(r.backlog() or self._committed.get(key) != r.folds for key, r in list(self.recorders.items())):
                return True
            if not self.start():
                return False
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return False
        self.ask_to_stop(timeout)
        thread.join(timeout)
        if not thread.is_alive() and self.kept:
            return True
        left = self.unstored()
        if left != self.said:
            self.said = left
            logger.error(
                "modelwatch: closed with %d events that are not in live.db", left, extra={"path": str(self.path)}
            )
        return False

    def unstored(self) -> int:
        """Return how many events of this process are not in the file."""
        recorders = list(self.recorders.items())
        return sum(
            r.backlog() + r.kernel.tally.tables[names.EVENTS.name].total() - self._stored.get(key, 0)
            for key, r in recorders
        )

    def is_running(self) -> bool:
        """Tell whether the folding thread runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def ask_to_stop(self, patience: float) -> None:
        """Let the folding thread commit once more and end; a locked file is tried again for `patience` seconds."""
        self._patience = time.monotonic() + patience
        self._stopping.set()
        self._wake.set()

    def read(self) -> Mapping[Key, Tally]:
        """Return copies of the committed totals of this host. Never raises."""
        with self.reading:
            return {key: tally.copy() for key, tally in self.poll().items()}

    def poll(self) -> Mapping[Key, Tally]:
        """Return the committed totals of this host; this process's own counts when there is no file to read.

        Also renews `host`. Never raises. The caller holds `reading`, also while it uses the answer.
        """
        try:
            changes, self.host = self.reader.poll()
            mine = {key: recorder.kernel.schema for key, recorder in list(self.recorders.items())}
            self.totals.apply(changes, {**self.host.schemas, **mine})
            return self.totals.tallies
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            if self.kept is None and (isinstance(error, NotMadeYet) or not self.path.exists()):
                return {}  # nothing was ever written: the first commit is yet to come
            if isinstance(error, DamagedData) or is_damaged(error):
                self._damaged = self.reader.file
            self.faults.add("read", error, ours=False)
        except Exception as error:  # noqa: BLE001 - a scrape must be answered
            self.faults.add("read", error)
        self.host = self.reader.remembered()
        self.reader.close()  # begins again at the next call
        if self.totals.tallies:
            return self.totals.tallies
        own = {key: recorder.snapshot() for key, recorder in list(self.recorders.items())}
        return {key: tally for key, tally in own.items() if tally is not None}

    # -- fork ----------------------------------------------------------------------------------------------------------

    def locks(self) -> list[Any]:
        """Return the locks that a fork waits for, in the order in which they are taken."""
        return [self.io, self.reading, *(recorder.lock for recorder in list(self.recorders.values()))]

    def after_fork(self) -> None:
        """Begin anew in the child: the parent counts what was pending, and its threads are gone."""
        running = self._thread is not None
        _inherited.append((self.writer, self.reader))
        self.faults = Faults()
        for recorder in self.recorders.values():
            recorder.reset()
            recorder.faults = self.faults
        self._forked = True
        self.kept = None
        self._committed.clear()
        self._stored.clear()
        self.said = 0
        self._told_drops.clear()
        self._rates.clear()
        self._renew()
        if running:
            self.start()


# -- the end of the process, and its children --------------------------------------------------------------------------


@lifetime.at_end
def _close_all() -> None:
    """Close every worker within one time-out; one that was closed in vain, and counted nothing since, had its own."""
    left = {worker: worker.unstored() for worker in lifetime.every(Worker)}
    workers = [worker for worker, n in left.items() if not (n and n == worker.said)]
    patience = EXIT_WAIT_S if any(left[worker] for worker in workers) else GOODBYE_WAIT_S
    deadline = time.monotonic() + patience
    for worker in workers:
        worker.ask_to_stop(patience)
    for worker in workers:
        worker.close(max(0.0, deadline - time.monotonic()))
