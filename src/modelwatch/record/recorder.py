"""The buffer between the requests of one model and its counts: a caller appends, one thread folds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from modelwatch import names
from modelwatch.events import LabelCount
from modelwatch.kernel import Column, Kernel
from modelwatch.record.faults import Faults
from modelwatch.tally import Tally

LIMIT = 8192  # events waiting to be folded; above it a caller folds a chunk, unless somebody else is at it
MOST = 2  # times the limit: above it a caller waits until others have folded
CELLS = 8192  # values folded at a time: 512 events of 10 features, 256 of 50; about 0.5 ms of the interpreter lock
SHORTEST, LONGEST = 256, 512
SECONDS_CHUNK = 4096  # durations of watched functions folded at a time
PAUSE_S = 0.001  # between two chunks; sleep(0) would not hand over the interpreter lock
WAIT_S = 0.05  # a caller waits so long, and looks whether others have made progress
PATIENCE = 20  # such waits without any progress: who holds the lock is blocked by a value's own code
LOCK_S = 1.0  # others wait so long: who holds the lock longer is blocked by a value's own code, and nobody else must be
BATCH_WAIT_S = 5.0


class Recorder:
    """Counts one model version in one process.

    The lock covers folding and copying: never I/O, statistics or a wait. `pending` holds tuples in the order of
    `events.Prediction`; each watched function has a deque of the seconds of its successful calls.
    """

    def __init__(self, kernel: Kernel, faults: Faults, limit: int = LIMIT) -> None:
        self.kernel, self.faults, self.limit = kernel, faults, limit
        self.pending: deque[tuple[Any, ...]] = deque()
        self.answers: deque[tuple[Any, Any, float | None]] = deque()  # of the model, without a request around them
        self.labels: deque[LabelCount] = deque()  # bounded by what the store takes
        self.timers: list[tuple[str, deque[float]]] = []
        self.last_minute: Callable[[], int] | None = None  # counts the requests of the last minute in our place
        self.busy: deque[None] = deque()  # one item per request in progress: both ends are atomic, len is the gauge
        self.chunk = min(LONGEST, max(SHORTEST, CELLS // (6 + len(kernel.numeric) + len(kernel.categories))))
        self.folds = 0  # chunks folded: tells whether the tally has changed
        self.abandoned = self.caller_folds = 0
        self.renew()

    def renew(self) -> None:
        """Begin with an own lock and no owner: at the start, and in the child after a fork."""
        # A __del__ or a signal handler of the thread that holds the lock gets it, too, and must leave when there is an
        # owner. Before the owner is set nothing has begun.
        self.lock = threading.RLock()
        self.owner: int | None = None  # the thread that is at work on the counts
        self.stuck_at: int | None = None  # number of folds at which a caller lost its patience

    def reset(self) -> None:
        """Forget what the parent counts; in the child after a fork."""
        self.renew()
        self.pending.clear()
        self.answers.clear()
        self.labels.clear()
        self.busy.clear()
        endpoints = list(self.kernel.tally.tables[names.REQUESTS.name].rows)
        self.kernel = Kernel(self.kernel.schema)  # the old one may have been in the middle of a fold
        for (endpoint,) in endpoints:
            self.kernel.know_endpoint(endpoint)
        for _, seconds in self.timers:
            seconds.clear()
        self.folds = self.abandoned = self.caller_folds = 0

    @contextmanager
    def held(self, timeout: float = LOCK_S) -> Iterator[bool]:
        """Hold the lock, unless it cannot be had in time; tells whether it is held."""
        me = threading.get_ident()
        if self.owner == me or not self.lock.acquire(timeout=timeout):
            yield False
            return
        try:
            self._own()
            yield True
        finally:
            self.owner = None
            self.lock.release()

    def _own(self) -> bool:
        """Say that this thread is at work. Return whether it is the main thread, which runs signal handlers."""
        self.owner = threading.get_ident()
        main = threading.current_thread() is threading.main_thread()
        self.kernel.caught = Exception if main else BaseException
        return main

    def timer(self, endpoint: str) -> deque[float]:
        """Return the deque of a watched endpoint, whose series exist from now on."""
        for path, seconds in self.timers:
            if path == endpoint:
                return seconds
        seconds = deque()
        self.timers.append((endpoint, seconds))
        self.know_endpoint(endpoint)
        return seconds

    def know_endpoint(self, endpoint: str) -> None:
        """Make the series of an endpoint exist, at 0."""
        with self.held() as held:
            if held:  # else it begins with its first request
                self.kernel.know_endpoint(endpoint)
                self.folds += 1

    def put(self, event: tuple[Any, ...]) -> None:
        """Append one event; the only thing a request does."""
        pending = self.pending
        pending.append(event)
        if len(pending) > self.limit:
            self.relieve()

    def answer(self, prediction: Any, confidence: Any, threshold: float | None) -> None:
        """Append one answer of the model; without a threshold the schema's decides what is a low confidence."""
        answers = self.answers
        answers.append((prediction, confidence, threshold))
        if len(answers) > self.limit:
            self.relieve()

    def relieve(self) -> None:
        """Fold one chunk in the caller, because the buffer is full.

        While somebody else folds, a caller goes on, up to `MOST` times the limit; then it waits, as long as others make
        progress. Only when nobody does is an event given up, and counted: a wait for ever would stop the service.
        """
        if self.owner == threading.get_ident():  # a __del__ or signal handler inside our own fold
            return
        seen, waits = self.folds, 0
        while not self.lock.acquire(timeout=WAIT_S if waits else 0):
            crowded = [each for each in self._waiting() if len(each) > MOST * self.limit]
            if not crowded:
                return
            if self.folds != seen:
                seen, waits = self.folds, 0
            elif waits >= PATIENCE or self.stuck_at == seen:
                self.stuck_at = seen  # the next caller need not wait
                for each in crowded:
                    self._abandon(each)
                return
            waits += 1
        try:
            self.caller_folds += 1
            self._fold_chunk()
        finally:
            self.lock.release()

    def _abandon(self, waiting: deque[Any]) -> None:
        try:  # the last resort, counted
            waiting.popleft()
            self.abandoned += 1
        except IndexError:
            pass

    def _fold_chunk(self) -> None:
        """Fold up to one chunk; the lock is held."""
        taken: list[tuple[deque[Any], list[Any]]] = []
        before = None
        try:
            if self._own():
                before = self.kernel.tally.copy()
            self.folds += 1
            for endpoint, seconds in self.timers:
                if seconds:
                    self.kernel.fold_durations(endpoint, _take(seconds, SECONDS_CHUNK, taken))
            events = _take(self.pending, self.chunk, taken)
            if events:
                self.kernel.fold(events)
            answers = _take(self.answers, self.chunk, taken)
            if answers:
                self.kernel.fold_answers(answers)
            labels = _take(self.labels, self.chunk, taken)
            if labels:
                self.kernel.fold_labels(labels)
        except Exception as error:  # noqa: BLE001 - rule 1: nothing reaches the host
            self.faults.add("fold", error)
        except BaseException as error:
            if threading.current_thread() is threading.main_thread():
                # the host's own: Ctrl-C, or an exit in a signal handler, which only the main thread runs
                if before is not None:
                    self._undo(before, taken)
                raise
            self.faults.add("fold", error, ours=False)
        finally:
            self.owner = None

    def _undo(self, before: Tally, taken: list[tuple[deque[Any], list[Any]]]) -> None:
        """Put a half-folded chunk back, undisturbed by another signal."""
        for _ in range(3):
            try:
                for name, table in self.kernel.tally.tables.items():
                    table.restore(before.tables[name])
                break
            except BaseException:  # noqa: BLE001, S112 - the first one goes on
                continue
        for waiting, found in taken:
            waiting.extendleft(reversed(found))

    def _waiting(self) -> list[deque[Any]]:
        return [self.pending, self.answers, self.labels, *(seconds for _, seconds in self.timers)]

    def backlog(self) -> int:
        """Return the number of events that wait."""
        return sum(map(len, self._waiting()))

    def _chunks_waiting(self) -> int:
        """Chunks until everything that waits now is folded."""
        longest = max((len(seconds) for _, seconds in self.timers), default=0)
        events = max(len(self.pending), len(self.answers), len(self.labels))
        return max(-(-events // self.chunk), -(-longest // SECONDS_CHUNK))

    def fold_waiting(self, deadline: float = float("inf"), *, polite: bool = False) -> bool:
        """Fold what waits now, chunk by chunk. Return False when `deadline` (monotonic) came first.

        polite : pause after each chunk, so that requests get the interpreter lock; unless half the limit waits.
        """
        for _ in range(self._chunks_waiting()):
            if self.owner == threading.get_ident():
                return False
            if not self.lock.acquire(timeout=max(0.0, min(deadline - time.monotonic(), 1e6))):
                return False
            try:
                self._fold_chunk()
            finally:
                self.lock.release()
            if not self.backlog():
                break
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE_S if polite and self.backlog() < self.limit // 2 else 0)
        return True

    def fold_columns(self, columns: Mapping[str, Column], features: Mapping[str, Column], n: int) -> bool:
        """Count `n` rows of a batch in the caller. Return False when the counting is blocked: they are given up."""
        with self.held(BATCH_WAIT_S) as held:
            if held:
                self.folds += 1
                self.kernel.caught = BaseException  # whatever a value's own code raises
                self.kernel.fold_columns(columns, features, n)
            else:
                self.abandoned += n
        return held

    def snapshot(self, timeout: float = LOCK_S) -> Tally | None:
        """Return a copy of everything counted so far; None when the counting is blocked."""
        with self.held(timeout) as held:
            if not held:
                return None
            tally = self.kernel.tally
            for metric, n in ((names.ABANDONED, self.abandoned), (names.CALLER_FOLDS, self.caller_folds)):
                tally.tables[metric.name].counts[0, 0] = n
            return tally.copy()

    def count_fault(self, where: str, n: int) -> bool:
        """Count internal faults; called by the folding thread. Return False when the counting is blocked."""
        with self.held() as held:
            if held:
                self.kernel.tally.tables[names.INTERNAL_ERRORS.name].count((where,), n)
                self.folds += 1
        return held

    def requests(self) -> int:
        """Return the number of requests counted so far."""
        return self.kernel.tally.tables[names.REQUESTS.name].total()


def _take(waiting: deque[Any], most: int, taken: list[tuple[deque[Any], list[Any]]]) -> list[Any]:
    """Remove up to `most` items from the left; only the holder of the lock, and `_abandon`, remove."""
    found: list[Any] = []
    taken.append((waiting, found))
    take = waiting.popleft
    try:
        for _ in range(min(len(waiting), most)):
            found.append(take())
    except IndexError:  # abandoned meanwhile
        pass
    return found
