"""What a process writes to the store, one at a time: samples without waiting, labels with a commit for many."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from modelwatch.errors import ModelwatchError, StoreUnavailable
from modelwatch.groundtruth.asked import Asked, Queue
from modelwatch.groundtruth.store import Labelled, Sample, Store, TrueLabel
from modelwatch.record import lifetime

logger = logging.getLogger("modelwatch")

MOST_SAMPLES = 10_000
MOST_LABELS = 20_000  # that wait to be written
MOST_BYTES = 10 * 2**30  # of a SQLite store
BATCH = 1000  # samples, or labels, in one transaction
SAMPLES_EVERY_S = 0.25
LABEL_WAIT_S = 5.0
BUSY_S = 1.0  # how long the thread waits for the transactions of others
AGAIN_S = 0.05  # after a store that was busy
REST_S = 1.0  # after a store that was not there
PURGE_EVERY_S = 60.0
EXIT_WAIT_S = 3.0
QUIET_S = 60.0  # between two log lines

_writers: dict[str, Writer] = {}


class Writer:
    """Writes to a store for all threads of this process, in a thread of its own, one transaction at a time.

    A label of which the thread would do nothing else than write it, to a file that took the last one, is written by the
    caller, who waits for it anyway: two changes of thread cost as much as its rows.

    Parameters
    ----------
    store : opened when it is first needed, by the thread.
    max_bytes : the store is kept below this. By default a SQLite file below 10 GiB; PostgreSQL has no limit, and one
        costs it a count of all rows a minute.
    most_samples : that wait at most; newer ones are dropped and counted.
    """

    def __init__(self, store: Store, max_bytes: int | None = None, most_samples: int = MOST_SAMPLES) -> None:
        if max_bytes is None and store.database.engine_name == "sqlite":
            max_bytes = MOST_BYTES
        self.store, self.max_bytes, self.most_samples = store, max_bytes, most_samples
        # called by the thread: for a label that nobody counts, early, or its caller gone; once a minute, and first
        self.on_matched: list[Callable[[Labelled], object]] = []
        self.on_minute: list[Callable[[], object]] = []
        self.on_fault: list[Callable[[str, BaseException], object]] = []
        self.users = 0  # monitors that are not closed
        self.stored = 0  # samples
        self.kept: bool | None = None  # whether the last transaction was committed; None before the first
        self.why_not = ""
        self._dropped: Counter[str] = Counter()
        self._followed: set[Path] = set()
        self._renew()
        lifetime.look_after(self)

    def _renew(self) -> None:
        self._samples: deque[Sample] = deque()
        self._asked = Queue()
        self._drops: deque[str] = deque()  # not counted yet: append is atomic, whoever interrupts whom
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._counting, self._ticket = threading.Lock(), threading.Condition()
        self._flushes = self._flushed = 0
        self._thread: threading.Thread | None = None
        self.io = threading.Lock()  # held while the store is at work, so that a fork does not happen then
        self._rest_until = self._said_at = self._told_at = float("-inf")
        self._purge_at = time.monotonic() + PURGE_EVERY_S

    @classmethod
    def of(cls, url: str, max_bytes: int | None = None) -> Writer:
        """Return this process's writer for a store, made when there is none.

        Raises
        ------
        ConfigError, MissingExtra   the URL cannot be used.
        """
        with lifetime.guard:
            if url not in _writers:
                _writers[url] = cls(Store(url, busy_s=BUSY_S), max_bytes)
            return _writers[url]

    def follow(self, live: Path) -> None:
        """Copy the closed minutes of a `live.db` into the store from now on, where hosts share it: on PostgreSQL."""
        if self.store.database.engine_name == "postgresql":
            self._followed.add(live)

    # -- for callers ---------------------------------------------------------------------------------------------------

    def put(self, sample: Sample) -> bool:
        """Leave a sample to be written; return False when it is dropped. Waits for nothing."""
        if len(self._samples) >= self.most_samples or not self._start():
            self._drops.append("full" if self.kept is not False else "store")
            return False
        self._samples.append(sample)
        return True

    def dropped(self) -> dict[str, int]:
        """Return how many samples were dropped, by reason: full, store, refused, closed."""
        with self._counting:
            while self._drops:
                self._dropped[self._drops.popleft()] += 1
            return dict(self._dropped)

    def waiting(self) -> int:
        """Return how many samples wait to be written."""
        return len(self._samples)

    def label(self, label: TrueLabel, timeout_s: float = LABEL_WAIT_S) -> Labelled:
        """Take a label; it is durable when this returns.

        Raises
        ------
        StoreUnavailable, NewerFormat   it may not be durable; sending it again does no harm.
        """
        return self.label_many([label], timeout_s)[0]

    def label_many(self, labels: Sequence[TrueLabel], timeout_s: float = LABEL_WAIT_S) -> list[Labelled]:
        """Take labels, all or none; they are durable when this returns. Other callers share the commit.

        Raises
        ------
        StoreUnavailable, NewerFormat   they may not be durable; sending them again does no harm.
        """
        if not labels:
            return []
        if self._asked.labels() >= MOST_LABELS or not self._start():
            raise StoreUnavailable(f"store: more labels wait than {self.store.database.where!r} takes. Send it again.")
        asked, until = Asked(labels), time.monotonic() + timeout_s
        busy = self._label_here(asked, timeout_s)
        if asked.done.is_set():
            return asked.answers
        self._asked.add(asked)
        if busy is not None:
            self._failed(busy)
        self._wake.set()
        if not asked.done.wait(until - time.monotonic()) and (known := asked.leave()) != "answered":
            raise StoreUnavailable(
                f"store: no answer of {self.store.database.where!r} within {timeout_s:g} s; the label is {known}."
                " Send it again."
            )
        if asked.error is not None:
            raise asked.error
        return asked.answers

    def _label_here(self, asked: Asked, timeout_s: float) -> StoreUnavailable | None:
        """Write labels in the thread of their caller, unless they are for the other: nobody is to wait long here.

        So neither while the store is at work or others wait for it, nor when it failed last, nor for a server, which
        may keep silent. Returns what is told of a file that other processes keep busy: the thread goes on with it.
        """
        database = self.store.database
        soon = self.kept and not self._asked and database.path is not None and timeout_s > database.busy_s
        if not (soon and self.io.acquire(blocking=False)):
            return None
        try:
            try:
                if not self._stopping.is_set():
                    asked.answer(self.store.label_many(asked.labels))
            finally:
                self.io.release()
        except Exception as error:
            if isinstance(error, StoreUnavailable) and error.busy:
                return error
            self._failed(error)
            raise
        return None

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until what was put so far is in the store; return False when it is not within `timeout_s` seconds."""
        if not self._start():
            return False
        with self._ticket:
            self._flushes += 1
            mine = self._flushes
            self._wake.set()
            return self._ticket.wait_for(lambda: self._flushed >= mine, timeout_s)

    def close(self, timeout_s: float = EXIT_WAIT_S) -> bool:
        """Write what waits, and end the thread. Return whether all was written within `timeout_s` seconds."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return not self._samples
        done = self.flush(timeout_s)
        self._stopping.set()
        self._wake.set()
        thread.join(timeout_s)
        while self._samples:
            try:
                self._samples.pop()
            except IndexError:
                break
            self._drops.append("closed")
        return done and not thread.is_alive()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start the thread, unless it runs. Return False when the interpreter is ending."""
        if self._thread is not None and self._thread.is_alive():
            return True
        with lifetime.guard:
            if self._thread is not None and self._thread.is_alive():
                return True
            self._stopping.clear()
            thread = threading.Thread(target=self._run, name="modelwatch-store", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
            return True

    def _run(self) -> None:
        wait = 0.0
        while not self._stopping.is_set():
            self._wake.wait(wait)
            self._wake.clear()
            wait = SAMPLES_EVERY_S
            try:
                flushes = self._flushes
                self._tell_minute()
                busy = self._write_labels()
                done = self._write_samples(flushing=flushes > self._flushed)
                if done and not busy:
                    self._answer_flush(flushes)
                if busy or not self._purge():
                    wait = AGAIN_S
                if self._asked and not busy:
                    wait = 0.0
            except BaseException as error:  # noqa: BLE001 - the thread must go on
                self._fault("store", error)
                wait = REST_S
        while self._asked.take(BATCH):  # they came too late
            self._asked.refuse(StoreUnavailable("store: it is closed. Send the label again."))
        with self.io:
            self.store.close()

    def _answer_flush(self, flushes: int) -> None:
        with self._ticket:
            if flushes > self._flushed:
                self._flushed = flushes
                self._ticket.notify_all()

    def _write_labels(self) -> bool:
        """Write the labels of those who wait, in one transaction. Return whether they must be tried again."""
        if not self._asked:
            return False
        try:
            self._take()
        except BaseException as error:  # whatever it is: nobody waits in vain
            if busy := isinstance(error, StoreUnavailable) and error.busy:
                self._asked.put_back()
            else:
                self._asked.refuse(error)
            if not isinstance(error, ModelwatchError):
                raise
            self._failed(error)
            return busy
        return False

    def _take(self) -> None:
        with self.io:
            batch = self._asked.take(BATCH)  # who came while another transaction was at work shares this one
            answers = self.store.label_many([label for asked in batch for label in asked.labels])
        if batch:
            self._succeeded()
        one = iter(answers)
        for asked in batch:
            mine = list(islice(one, len(asked.labels)))
            if not asked.answer(mine):  # its caller counts nothing any more
                self._tell_matched([labelled for labelled in mine if labelled.first])
        self._asked.taken = []

    def _write_samples(self, *, flushing: bool) -> bool:
        """Write the samples that wait, some at a time. Return whether none is left of those that waited."""
        left = len(self._samples)
        if left and time.monotonic() < self._rest_until and not flushing:
            return False
        while left > 0:
            batch = [self._samples.popleft() for _ in range(min(BATCH, left))]
            left -= len(batch)
            try:
                self._add(batch)
            except ModelwatchError as error:
                self._samples.extendleft(reversed(batch))
                self._rest_until = time.monotonic() + REST_S
                self._failed(error)
                return False
            except BaseException:
                self._drops.extend(["refused"] * len(batch))
                raise
            if self._asked:  # labels have somebody who waits
                return left == 0
        return True

    def _add(self, batch: Sequence[Sample]) -> None:
        try:
            with self.io:
                added = self.store.add_samples(batch)
        except StoreUnavailable as error:
            if not error.refused:
                raise
            if len(batch) == 1:
                self._drops.append("refused")
                return
            for sample in batch:  # one that is never taken must not hold up the others
                self._add([sample])
            return
        self._succeeded()
        self.stored += len(batch)
        self._tell_matched(added.matched)

    def _tell_matched(self, found: Iterable[Labelled]) -> None:
        for labelled in found:
            for tell in list(self.on_matched):
                try:
                    tell(labelled)
                except Exception as error:  # noqa: BLE001 - a listener's own
                    self._fault("matched", error)

    def _tell_minute(self) -> None:
        if time.monotonic() < self._told_at + PURGE_EVERY_S:
            return
        self._told_at = time.monotonic()
        copies: list[Callable[[], object]] = [partial(self._copy, live) for live in self._followed]
        for tell in [*self.on_minute, *copies]:
            try:
                with self.io:
                    tell()
            except Exception as error:  # noqa: BLE001 - a listener's own
                self._fault("minute", error)

    def _copy(self, live: Path) -> None:
        from modelwatch.groundtruth import fleet

        fleet.copy_closed(self.store.database, live, self.store.clock())
        fleet.compact(self.store.database, self.store.clock())

    def _purge(self) -> bool:
        """Remove some of what is too old, or too much, once a minute. Return whether no more is to be removed now."""
        if time.monotonic() < self._purge_at or self.kept is None:
            return True
        try:
            with self.io:
                removed = self.store.purge_some(self.max_bytes)
        except ModelwatchError as error:
            self._purge_at = time.monotonic() + PURGE_EVERY_S
            self._failed(error)
            return True
        if not removed:
            self._purge_at = time.monotonic() + PURGE_EVERY_S
        return not removed

    def _succeeded(self) -> None:
        self.kept, self.why_not = True, ""

    def _failed(self, error: BaseException) -> None:
        self.kept, self.why_not = False, str(error)
        self._fault("store", error)

    def _fault(self, where: str, error: BaseException) -> None:
        for tell in list(self.on_fault):
            try:
                tell(where, error)
            except Exception:  # noqa: BLE001 - a listener's own, told of nothing else
                logger.debug("modelwatch: a listener of faults failed")
        if time.monotonic() - self._said_at >= QUIET_S:
            self._said_at = time.monotonic()
            told = str(error) if isinstance(error, ModelwatchError) else type(error).__name__
            words = {"where": where, "fault": told}
            logger.warning("modelwatch: the store of ground truth failed; the service goes on", extra=words)

    # -- fork ----------------------------------------------------------------------------------------------------------

    def locks(self) -> list[threading.Lock]:
        """Return the locks that a fork waits for."""
        return [self.io]

    def after_fork(self) -> None:
        """Begin anew in the child: what waited is the parent's to write, and its thread is not here."""
        self.stored, self.kept, self._dropped = 0, None, Counter()
        self._renew()


@lifetime.at_end
def _close_all() -> None:
    deadline = time.monotonic() + EXIT_WAIT_S
    for writer in lifetime.every(Writer):
        writer.close(max(0.1, deadline - time.monotonic()))
