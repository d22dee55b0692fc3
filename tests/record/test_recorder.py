"""The buffer: exact under threads, bounded when the counting is blocked, safe when it is entered again."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import sys
import threading
import time
import tracemalloc

import pytest

from modelwatch import names
from modelwatch.errors import ModelwatchError
from modelwatch.kernel import Kernel
from modelwatch.record.faults import Faults
from modelwatch.record.recorder import LONGEST, MOST, PATIENCE, WAIT_S, Recorder
from modelwatch.schema import ModelSchema

SCHEMA = ModelSchema(
    classes=("a", "b"), numeric={"x": ((0.0, 1.0, 2.0), (0.0, 1.0, 2.0))}, categorical={"c": ("red", "blue")}
)


@pytest.fixture
def recorder():
    """A recorder that no thread folds."""
    return Recorder(Kernel(SCHEMA), Faults())


@pytest.fixture
def eager_switches():
    """Threads that give way as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@contextlib.contextmanager
def held(lock):
    """Hold a lock in another thread, as a value whose conversion blocks would."""
    got, release = threading.Event(), threading.Event()

    def hold():
        with lock:
            got.set()
            release.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    got.wait(5)
    yield
    release.set()
    thread.join()


def folded(recorder):
    """Return how many events are in the counts."""
    return recorder.kernel.tally.tables[names.EVENTS.name].total()


def event(i):
    """Return the i-th event of a stream that touches every table."""
    failed = "ValueError" if i % 10 == 0 else None
    return (
        f"/{i % 3}",
        0.01 * (i % 7),
        failed,
        f"s{i % 5}",
        "ab"[i % 2],
        (i % 11) / 10,
        {"x": float(i % 4), "c": "red"},
    )


def expected(n):
    """Return the tally of events 0 to n - 1, counted one by one in one thread."""
    kernel = Kernel(SCHEMA)
    for start in range(0, n, 500):
        kernel.fold([event(i) for i in range(start, min(n, start + 500))])
    return kernel.tally


def plain(tally, without=(names.CALLER_FOLDS.name,)):
    """Return the counts of a tally; sums of floats rounded, since their order differs."""
    found = {}
    for name, rows in tally.as_dict().items():
        if name not in without:
            found[name] = {labels: (counts, round(total, 6)) for labels, (counts, total) in rows.items()}
    return found


def test_eight_threads_are_exact(recorder, eager_switches):
    """Full events and watched calls of 8 threads, while one thread folds: every table is exact (RELIABILITY 21)."""
    each, threads = 4000, 8
    recorder.limit = 1024
    seconds = recorder.timer("/watched")
    stop = threading.Event()

    def fold():
        while not stop.is_set():
            recorder.fold_waiting()

    def call(first):
        for i in range(first, each * threads, threads):
            recorder.put(event(i))
            recorder.busy.append(None)
            seconds.append(0.25)
            if len(seconds) > recorder.limit:
                recorder.relieve()
            recorder.busy.pop()

    folding = threading.Thread(target=fold)
    callers = [threading.Thread(target=call, args=(first,)) for first in range(threads)]
    for thread in (folding, *callers):
        thread.start()
    for thread in callers:
        thread.join()
    stop.set()
    folding.join()
    while recorder.backlog():
        recorder.fold_waiting()
    truth = expected(each * threads)
    kernel = Kernel(SCHEMA)
    kernel.know_endpoint("/watched")
    kernel.fold_durations("/watched", [0.25] * each * threads)
    truth.add(kernel.tally)
    assert plain(recorder.snapshot()) == plain(truth)
    assert recorder.abandoned == 0
    assert len(recorder.busy) == 0


def test_a_full_buffer_is_folded_by_its_caller(recorder):
    """Nobody folds, and yet no event is lost and the buffer stays within its limit."""
    recorder.limit = 1000
    for i in range(20_000):
        recorder.put(event(i))
        assert len(recorder.pending) <= 1001
    assert recorder.caller_folds > 0
    while recorder.backlog():
        recorder.fold_waiting()
    assert plain(recorder.snapshot()) == plain(expected(20_000))


def test_watched_calls_fold_when_nobody_does(recorder):
    """The deque of a watched function has the same limit."""
    recorder.limit = 1000
    seconds = recorder.timer("/p")
    for _ in range(10_000):
        seconds.append(0.1)
        if len(seconds) > recorder.limit:
            recorder.relieve()
    recorder.fold_waiting()
    assert folded(recorder) == 10_000


def test_a_lock_that_is_never_released(recorder):
    """Memory is bounded, a caller waits once, and what is given up is counted: in = folded + abandoned + pending."""
    recorder.limit = 1000
    patience_s = PATIENCE * WAIT_S
    with held(recorder.lock):
        slow, begin = [], time.perf_counter()
        for i in range(10_000):
            start = time.perf_counter()
            recorder.put(event(i))
            slow.append(time.perf_counter() - start)
        assert len(recorder.pending) <= MOST * recorder.limit + 1
        assert recorder.abandoned == 10_000 - len(recorder.pending)
        assert sum(took > patience_s / 2 for took in slow) == 1
        assert time.perf_counter() - begin < 20 * patience_s
        assert recorder.snapshot(0.01) is None
        assert recorder.fold_waiting(time.monotonic() + 0.01) is False
    while recorder.backlog():
        recorder.fold_waiting()
    assert folded(recorder) + recorder.abandoned == 10_000
    assert recorder.snapshot().tables[names.ABANDONED.name].total() == recorder.abandoned
    recorder.put(event(0))
    recorder.fold_waiting()
    assert folded(recorder) + recorder.abandoned == 10_001


def test_stuck_under_threads_keeps_the_ledger(recorder, eager_switches):
    """Eight threads against a blocked lock that comes and goes: nothing is lost without being counted."""
    recorder.limit = 500
    seconds = recorder.timer("/p")

    def call():
        for i in range(2000):
            recorder.put(event(i))
            seconds.append(0.1)
            if len(seconds) > recorder.limit:
                recorder.relieve()

    threads = [threading.Thread(target=call) for _ in range(8)]
    with held(recorder.lock):
        for thread in threads:
            thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    while recorder.backlog():
        recorder.fold_waiting()
    assert folded(recorder) + recorder.abandoned == 8 * 2000 * 2


def test_a_holder_that_is_only_slow_loses_nothing(recorder):
    """Callers of a buffer that is much too full wait for whoever folds, however slow: memory is bounded and exact."""
    recorder.limit, most = 100, []
    fold = recorder.kernel.fold

    def slowly(events):
        time.sleep(WAIT_S * 1.5)
        fold(events)

    recorder.kernel.fold = slowly

    def call():
        for i in range(300):
            recorder.put(event(i))
            most.append(len(recorder.pending))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while recorder.backlog():
        recorder.fold_waiting()
    assert (folded(recorder), recorder.abandoned) == (8 * 300, 0)
    assert max(most) <= MOST * recorder.limit + len(threads)


def test_a_blocked_batch_is_given_up_and_counted(recorder, monkeypatch):
    """A batch waits for its turn; when the counting is blocked its rows are abandoned, and counted as such."""
    monkeypatch.setattr("modelwatch.record.recorder.BATCH_WAIT_S", 0.05)
    columns = {"endpoint": ["/p"] * 10}
    with held(recorder.lock):
        assert recorder.fold_columns(columns, {}, 10) is False
    assert recorder.fold_columns(columns, {}, 10) is True
    assert (folded(recorder), recorder.abandoned) == (10, 10)


def test_a_fold_is_not_entered_again(recorder, monkeypatch):
    """Whatever records in the middle of a fold, by the same thread, waits for its turn; so do a flush and a batch."""
    recorder.limit = 5
    inside, fold = [], recorder.kernel.fold

    def folding(events):
        inside.append(len(inside))
        assert len(inside) == 1
        for i in range(50):
            recorder.put(event(i))
        assert recorder.fold_waiting() is False
        assert recorder.snapshot() is None
        assert recorder.fold_columns({"endpoint": ["/p"]}, {}, 1) is False
        fold(events)
        inside.clear()

    monkeypatch.setattr(recorder.kernel, "fold", folding)
    for i in range(6):
        recorder.put(event(i))
    assert len(recorder.pending) == 50
    assert folded(recorder) == 6
    assert recorder.abandoned == 1
    monkeypatch.undo()
    recorder.fold_waiting()
    assert folded(recorder) == 56


class Bomb:
    """An object that records when it is collected."""

    def __init__(self, recorder, made):
        self.recorder, self.made = recorder, made
        self.cycle = self

    def __del__(self):
        self.recorder.put(EXTRA)
        self.made.append(None)


EXTRA = ("/gc", 0.1, None, None, None, None, None)


def test_recording_from_the_collector_and_from_signals(recorder):
    """A __del__ and a signal handler that record, at every allocation of a record call: exact, and no hang (RELIABILITY 26)."""
    recorder.limit = 200
    made, signals = [], []

    def handler(*_):
        recorder.put(EXTRA)
        signals.append(None)

    before, thresholds = signal.signal(signal.SIGALRM, handler), gc.get_threshold()
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    gc.set_threshold(1)
    begin = time.perf_counter()
    try:
        for i in range(30_000):
            Bomb(recorder, made)
            recorder.put(event(i))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        gc.set_threshold(*thresholds)
        signal.signal(signal.SIGALRM, before)
    gc.collect()
    while recorder.backlog():
        recorder.fold_waiting()
    assert folded(recorder) == 30_000 + len(made) + len(signals) - recorder.abandoned
    assert recorder.abandoned == 0
    assert len(made) == 30_000
    assert signals
    assert time.perf_counter() - begin < 20


@pytest.mark.slow  # an exit between taking a lock and the `try` after it, here or in a tracer, blocks: rare, and no product case
def test_an_exit_of_the_host_is_not_swallowed(recorder):
    """A signal handler of the host's that raises while a request folds gets through, and the chunk is not lost."""
    before = signal.signal(signal.SIGALRM, lambda *_: sys.exit(7))
    sent, exits = 0, 100
    try:
        for _ in range(exits):
            with pytest.raises(SystemExit):
                signal.setitimer(signal.ITIMER_REAL, 0.003)
                while True:
                    recorder.pending.append(event(sent))
                    sent += 1
                    if len(recorder.pending) > 200:
                        recorder.fold_waiting()
            assert recorder.owner is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    while recorder.backlog():
        recorder.fold_waiting()
    # an exit may come between an append and the test's own count, and between a popleft and an append
    assert abs(sent - folded(recorder)) <= exits
    requests = recorder.kernel.tally.tables[names.REQUESTS.name].total()
    assert requests == folded(recorder)


class Recording(logging.Handler):
    """A log handler that records every line as an event."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def emit(self, record):
        """Record, and fail."""
        self.recorder.put(("/log", None, None, None, None, None, None))
        self.recorder.faults.add("log", ValueError("again"), ours=False)


def test_logging_from_inside_does_not_recurse(recorder):
    """Our own warning goes to a handler that records, and fails: it is said once a minute and place."""
    logger = logging.getLogger("modelwatch")
    handler = Recording(recorder)
    logger.addHandler(handler)
    try:
        for _ in range(1000):
            recorder.faults.add("place", ModelwatchError("fault"), ours=False)
        found = recorder.faults.drain()
        found += recorder.faults.drain()
    finally:
        logger.removeHandler(handler)
    assert found["place"] == 1000
    assert found["log"] <= 2
    assert len(recorder.pending) <= 2


def test_a_log_handler_that_raises_stays_outside(recorder):
    """A handler of the host's that raises is counted, no more."""

    class Bad(logging.Handler):
        def emit(self, record):
            """Record, and fail."""
            raise OSError

    logger, handler = logging.getLogger("modelwatch"), Bad()
    logger.addHandler(handler)
    try:
        recorder.faults.add("place", ModelwatchError("fault"), ours=False)
        assert recorder.faults.drain() == {"place": 1, "log": 1}
    finally:
        logger.removeHandler(handler)


def test_a_fault_of_ours_cannot_hide_under_pytest(recorder, monkeypatch):
    """A mistake in the fold is raised in tests, and only counted in a service."""
    monkeypatch.setattr(recorder.kernel, "fold", lambda events: 1 / 0)
    recorder.put(event(0))
    with pytest.raises(ZeroDivisionError):
        recorder.fold_waiting()
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    recorder.put(event(0))
    assert recorder.fold_waiting()
    assert recorder.faults.drain() == {"fold": 2}


def test_memory_is_flat_over_two_million_events(recorder):
    """Nothing grows with the number of events: neither the counts nor the buffer nor the books (RELIABILITY 9)."""
    events = [event(i) for i in range(LONGEST)]
    seconds = recorder.timer("/p")

    def run(n):
        for _ in range(n // (4 * LONGEST)):
            recorder.pending.extend(events)
            seconds.extend([0.1] * 3 * LONGEST)
            recorder.fold_waiting()

    tracemalloc.start()
    try:
        run(100_000)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(2_000_000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 50_000
    assert recorder.backlog() == 0
