"""The folding thread: flush and close keep their time-outs, a stuck store stays outside, the end of a process loses nothing."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from counting import EVENT, KEY, commit, page_values, plain_environment, record, run_python, scraped, total, worker_at
from modelwatch import Monitor
from modelwatch.record import worker as worker_module
from modelwatch.record.worker import Worker
from modelwatch.store.live import Key, connect
from modelwatch.testing import FakeClock, StuckStore


@pytest.fixture
def monitor(tmp_path):
    """A monitor with a live.db of its own."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    yield monitor
    monitor.close()


class Hung:
    """A writer whose commit never returns, as a disk that hangs."""

    def __init__(self):
        self.release, self.entered = threading.Event(), threading.Event()

    def commit(self, *_):
        """Hang."""
        self.entered.set()
        self.release.wait()

    def compact(self):
        """Find nothing to do."""
        return 0

    def leave(self):
        """Say nothing."""
        pass


@pytest.fixture
def hung(monitor):
    """The monitor's writer, hung inside a commit."""
    assert monitor.flush(30)
    writer, monitor.worker.writer = monitor.worker.writer, Hung()
    monitor.record("/p")
    assert monitor.worker.writer.entered.wait(60)
    hung = monitor.worker.writer
    yield hung
    hung.release.set()
    monitor.worker.writer = writer


def in_file(path, name="ml_requests_total"):
    """Return the count of all rows of a file."""
    from modelwatch.tally import Tally

    db = sqlite3.connect(path)
    try:
        tallies = [Tally.load(blob) for (blob,) in db.execute("SELECT tally FROM counts")]
    finally:
        db.close()
    return sum(t.tables[name].total() for t in tallies if name in t.tables)


# -- flush and close ---------------------------------------------------------------------------------------------------


def test_flush_means_in_the_file(monitor):
    """What was recorded before `flush` is in the file when it returns True, however much that is."""
    for i in range(30_000):
        monitor.record("/p", duration=0.01, prediction="a")
        if i % 10_000 == 0:
            assert monitor.flush(30)
            assert in_file(monitor.worker.path) == i + 1
    assert monitor.flush(30)
    assert in_file(monitor.worker.path) == 30_000


def test_flush_from_many_threads(monitor):
    """Each caller's own records are in the file when its own flush returns."""
    wrong = []

    def call(name):
        for i in range(5):
            monitor.record(f"/{name}")
            if not monitor.flush(20) or total(monitor.metrics(), "ml_requests_total", endpoint=f"/{name}") < i + 1:
                wrong.append((name, i))

    threads = [threading.Thread(target=call, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert in_file(monitor.worker.path) == 30


@pytest.mark.parametrize("timeout", [0.2, 1.0])
def test_flush_keeps_its_timeout_when_the_disk_hangs(monitor, hung, timeout):
    """`flush` waits as long as it was told, then gives up, while the disk hangs on (RELIABILITY 27; `make soak` measures it)."""
    begin = time.perf_counter()
    assert monitor.flush(timeout) is False
    assert time.perf_counter() - begin >= timeout
    assert monitor.worker.io.locked()


def test_flush_keeps_its_timeout_when_the_counting_is_blocked(monitor):
    """A lock that is never released does not hold up `flush`, a scrape or the other models."""
    other = Monitor("other", "1", live=monitor.worker.path)
    assert monitor.flush(30)
    with monitor.recorder.lock:
        monitor.record("/p")
        assert monitor.flush(0.3) is False
        assert b"modelwatch_live_up 1" in monitor.metrics()
        other.record("/q")
        deadline = time.monotonic() + 60
        while not total(monitor.metrics(), "ml_requests_total", endpoint="/q") >= 1:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert monitor.flush(30)
    assert total(monitor.metrics(), "ml_requests_total", endpoint="/p") == 1
    other.close()


def test_flush_waits_for_a_lock_of_somebody_else(monitor):
    """A file that is locked for longer than one try is tried again until the time-out."""
    assert monitor.flush(30)
    monitor.record("/p")
    stuck = StuckStore(monitor.worker.path)
    with stuck:
        threading.Timer(1.0, stuck.release).start()
        assert monitor.flush(20) is True
    assert in_file(monitor.worker.path) == 1


def test_a_locked_store_costs_nothing_but_staleness(monitor):
    """While another process holds the file, scrapes show what is committed; afterwards everything is there, and the fault is counted."""
    monitor.record("/p")
    assert monitor.flush(30)
    with StuckStore(monitor.worker.path):
        for _ in range(5):
            monitor.record("/p")
        assert monitor.flush(0.2) is False
        assert total(monitor.metrics(), "ml_requests_total") == 1
        deadline = time.monotonic() + 60
        while total(monitor.metrics(), "modelwatch_live_up") == 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert monitor.flush(30)
    text = monitor.metrics()
    assert total(text, "ml_requests_total") == 6
    assert total(text, "modelwatch_live_up") == 1
    assert monitor.flush(30)  # a commit later the fault is among the counts
    assert total(monitor.metrics(), "modelwatch_internal_errors_total", where="live") >= 1


def test_a_stuck_store_bounds_the_memory(monitor, hung):
    """Into a store that never returns: the buffer stays within its limit, and nothing is lost (RELIABILITY 3)."""
    for _ in range(200_000):
        monitor.record("/p", duration=0.01, prediction="a", confidence=0.5)
    recorder = monitor.recorder
    assert recorder.backlog() <= recorder.limit + 1
    recorder.fold_waiting()
    assert recorder.requests() == 200_001
    assert recorder.abandoned == 0


def test_a_hung_store_reads_as_down(tmp_path):
    """When commits stop coming back, the page says so within ten seconds: silence is not health."""
    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    record(worker)
    assert commit(worker)
    assert scraped(worker, "modelwatch_live_up") == 1
    clock.advance(11)
    assert scraped(worker, "modelwatch_live_up") == 0
    assert scraped(worker, "modelwatch_flush_lag_seconds") == 11


def test_close_keeps_its_timeout(monitor, hung):
    """`close` with a hung store waits as long as it was told, gives up, and knows how many events it leaves behind."""
    monitor.record("/p")
    begin = time.perf_counter()
    assert monitor.close(0.5) is False
    assert time.perf_counter() - begin >= 0.5
    assert monitor.worker.io.locked()
    assert monitor.worker.unstored() == 2


def test_close_stores_what_is_left_and_says_goodbye(monitor):
    """After `close` everything is in the file, the thread has ended, and nobody is taken for dead later."""
    monitor.record("/p")
    assert monitor.close(30)
    assert not monitor.worker.is_running()
    assert in_file(monitor.worker.path) == 1
    db = connect(monitor.worker.path, create=False)
    assert db.execute("SELECT count(*) FROM workers").fetchone() == (0,)
    assert db.execute("SELECT value FROM state WHERE name = 'deaths'").fetchone() == (0,)
    db.close()


def test_close_waits_for_a_lock_of_somebody_else(monitor):
    """The last commit is tried again until the time-out."""
    assert monitor.flush(30)
    monitor.record("/p")
    stuck = StuckStore(monitor.worker.path)
    with stuck:
        threading.Timer(0.8, stuck.release).start()
        assert monitor.close(10) is True
    assert in_file(monitor.worker.path) == 1


def test_a_monitor_that_is_closed_leaves_the_others_alone(tmp_path):
    """Two models share the thread: it ends with the last of them, and records after a close are not lost."""
    first, second = (Monitor(name, "1", live=tmp_path / "live.db") for name in ("first", "second"))
    first.record("/p")
    assert first.close(30)
    assert second.worker.is_running()
    second.record("/p")
    assert second.flush(30)
    assert in_file(tmp_path / "live.db") == 2
    first.record("/p")
    assert second.close(30)
    assert in_file(tmp_path / "live.db") == 3
    assert not second.worker.is_running()
    second.record("/p")
    assert second.close(30)
    assert in_file(tmp_path / "live.db") == 4


def test_flush_after_close_starts_again(monitor):
    """A monitor that is used after its close goes on counting."""
    monitor.record("/p")
    assert monitor.close(30)
    monitor.record("/p")
    assert monitor.flush(30)
    assert total(monitor.metrics(), "ml_requests_total") == 2


def test_the_thread_goes_on_after_a_fault(tmp_path, monkeypatch):
    """A mistake in the commit costs a second of staleness, never the thread."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    assert monitor.flush(30)
    writer = monitor.worker.writer
    monkeypatch.setattr(writer, "commit", lambda *_: 1 / 0)
    monitor.record("/p")
    assert monitor.flush(2) is False
    monkeypatch.undo()
    monkeypatch.delenv("PYTEST_CURRENT_TEST", raising=False)
    assert monitor.flush(30) is True
    assert monitor.flush(30) is True
    text = monitor.metrics()
    assert total(text, "ml_requests_total") == 1
    assert total(text, "modelwatch_internal_errors_total", where="commit") == 1
    monitor.close()


def test_a_slow_log_handler_is_not_on_the_request_path(monitor):
    """A fault in a request is logged by the folding thread."""
    where = []

    class Slow(logging.Handler):
        def emit(self, record):
            where.append(threading.current_thread().name)

    logger, handler = logging.getLogger("modelwatch"), Slow()
    logger.addHandler(handler)
    try:
        monitor.endpoint("/p", extract=lambda _: 1 / 0)(lambda: 1)()
        assert not where
        assert monitor.flush(30)
    finally:
        logger.removeHandler(handler)
    assert where == ["modelwatch"]


def test_throughput_counts_a_minute_however_often_it_is_flushed(tmp_path):
    """Requests of the last 60 seconds, not more when commits come faster; a dead feed reads as dead."""
    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    for _ in range(100):
        record(worker)
        assert commit(worker)
        clock.advance(1)
    assert scraped(worker, "ml_throughput_requests_per_second") == pytest.approx(1, abs=0.05)
    for _ in range(1000):
        clock.advance(0.01)
        assert commit(worker)
    assert len(worker._rates[KEY]) < 125
    assert scraped(worker, "ml_throughput_requests_per_second") == pytest.approx(50 / 60, abs=0.05)
    for _ in range(60):
        clock.advance(1)
        commit(worker)
    assert scraped(worker, "ml_throughput_requests_per_second") == 0


def test_a_clock_that_steps_changes_no_throughput(tmp_path):
    """The rate is of the monotonic clock (defect d6)."""
    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    for second in range(120):
        if second == 60:
            clock.step(-3600)
        record(worker)
        commit(worker)
        clock.advance(1)
    assert scraped(worker, "ml_throughput_requests_per_second") == pytest.approx(1, abs=0.05)


# -- the end of the process --------------------------------------------------------------------------------------------

TELLING = "import logging\nlogging.basicConfig(format='%(message)s', level='ERROR')\n"
SERVICE = """
import os, sys, time, sqlite3, threading
from modelwatch import Monitor
monitor = Monitor("m", "1", live=sys.argv[1])
assert monitor.flush(30)
"""


def test_a_normal_exit_loses_nothing(tmp_path):
    """The counts of the last second are in the file after the interpreter has ended."""
    path = tmp_path / "live.db"
    done = run_python(SERVICE + "for _ in range(1000): monitor.record('/p')", path)
    assert done.returncode == 0, done.stderr
    assert in_file(path) == 1000
    assert done.stderr == ""


@pytest.mark.parametrize("ending", ["sys.exit(3)", "raise KeyError", "sys.exit('no')"])
def test_an_exit_by_exception_loses_nothing(tmp_path, ending):
    """However the main thread ends."""
    path = tmp_path / "live.db"
    run_python(SERVICE + f"for _ in range(10): monitor.record('/p')\n{ending}", path)
    assert in_file(path) == 10


@pytest.mark.parametrize("ending", ["", "monitor.close(0.2)"])
def test_exit_with_a_hung_store(tmp_path, ending):
    """The interpreter ends although nobody can ever write, and says once how many events it takes along (RELIABILITY 27)."""
    path = tmp_path / "live.db"
    hang = """
class Hung:
    def commit(self, *_): time.sleep(600)
    def leave(self): pass
monitor.record("/p")
assert monitor.flush(30)
monitor.worker.writer = Hung()
for _ in range(20_000): monitor.record("/p")
"""
    done = run_python(TELLING + SERVICE + hang + ending, path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["modelwatch: closed with 20000 events that are not in live.db"]


def test_exit_with_a_store_locked_by_another_process(tmp_path):
    """The same with the real lock of SQLite, which another process holds; and several stores share the one time-out."""
    paths = [tmp_path / f"live{i}.db" for i in range(3)]
    locks = []
    for path in paths:
        connect(path).close()
        locks.append(StuckStore(path))
        locks[-1].__enter__()
    code = "from modelwatch import Monitor; import sys\nfor p in sys.argv[1:]: Monitor('m', live=p).record('/p')"
    done = run_python(TELLING + code, *paths)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("closed with 1 events that are not in live.db") == 3
    for lock in locks:
        lock.release()


def test_os_exit_after_a_flush_loses_nothing(tmp_path):
    """`os._exit`, and a signal that nobody handles, run no exit handlers: what was flushed before is there (RELIABILITY 27)."""
    path = tmp_path / "live.db"
    code = "for _ in range(500): monitor.record('/p')\nos._exit(0 if monitor.flush(20) else 1)"
    assert run_python(SERVICE + code, path).returncode == 0
    assert in_file(path) == 500


def test_sigterm_with_a_handler_that_exits(tmp_path):
    """A service that ends by SystemExit in its SIGTERM handler, under load, loses nothing it has said."""
    path = tmp_path / "live.db"
    code = """
import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
n = 0
try:
    while True:
        monitor.record("/p"); n += 1
        if n == 20000: print("going", flush=True)
finally:
    print(n, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE + code, str(path)], env=plain_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "going\n"
    process.terminate()
    said = int(process.communicate(timeout=10)[0])
    assert process.returncode == 0
    assert 0 <= in_file(path) - said <= 1  # the signal may come between the record and the count of the test


def test_sigkill_loses_at_most_the_last_flush(tmp_path):
    """Kill -9: what was flushed is there; a restart goes on from it; the death is counted by the next worker."""
    path = tmp_path / "live.db"
    code = "for _ in range(500): monitor.record('/p')\nmonitor.flush(30)\nfor _ in range(7): monitor.record('/p')\nos.kill(os.getpid(), 9)"
    done = run_python(SERVICE + code, path)
    assert done.returncode == -9
    assert 500 <= in_file(path) <= 507
    kept = in_file(path)
    clock = FakeClock(wall=time.time(), seconds=time.monotonic() + 11)
    worker = worker_at(path, clock)
    record(worker, 3)
    assert commit(worker)
    assert scraped(worker) == kept + 3
    assert scraped(worker, "modelwatch_worker_deaths_total") == 1
    assert scraped(worker, "modelwatch_workers") == 1


# -- first scrape, several workers -------------------------------------------------------------------------------------


def test_the_first_scrape_has_the_known_series_at_zero(tmp_path):
    """Before the first request and before the first commit, the series that are known exist at 0 (defect A14)."""
    from modelwatch.schema import ModelSchema

    schema = ModelSchema(classes=("good", "bad"), numeric={"x": ((1.0,), (1.0,))}, categorical={"c": ("red",)})
    monitor = Monitor("m", "1", schema, live=tmp_path / "none" / "live.db")
    monitor.endpoint("/p")(lambda: 1)
    for text in (monitor.metrics(), monitor.flush(30) and monitor.metrics()):
        values = page_values(text)
        model = (("model_name", "m"), ("model_version", "1"))

        def at(name, *labels):
            return values[name, tuple(sorted((*model, *labels)))]

        assert at("ml_requests_total", ("endpoint", "/p")) == 0
        assert at("ml_requests_failed_total", ("endpoint", "/p")) == 0
        assert at("ml_requests_cancelled_total", ("endpoint", "/p")) == 0
        assert at("ml_request_duration_seconds_bucket", ("endpoint", "/p"), ("le", "+Inf")) == 0
        assert at("ml_predictions_by_class_total", ("predicted_class", "bad")) == 0
        assert at("ml_low_confidence_predictions_total", ("threshold", "0.7")) == 0
        assert at("ml_feature_value_bucket", ("feature_name", "x"), ("le", "1.0")) == 0
        assert at("ml_feature_category_total", ("feature_name", "c"), ("category", "red")) == 0
        assert at("ml_feature_invalid_total", ("feature_name", "x"), ("reason", "nan")) == 0
        assert at("modelwatch_events_total") == 0
        assert at("modelwatch_events_abandoned_total") == 0
    monitor.close()


def test_a_scrape_before_any_endpoint_is_known_has_no_fault(monitor):
    """A service that has not said its endpoints yet has a page without errors."""
    assert b"modelwatch_collector_errors_total" not in monitor.metrics()
    assert monitor.flush(30)
    assert b"modelwatch_collector_errors_total" not in monitor.metrics()


def test_the_page_of_every_worker_shows_the_sum(tmp_path):
    """Whoever answers a scrape, the counts are those of the host; after a commit of each the pages agree to the last value."""
    path, clock = tmp_path / "live.db", FakeClock()
    workers = [worker_at(path, clock) for _ in range(4)]
    for n, worker in enumerate(workers):
        record(worker, 10 * (n + 1), event=(f"/{n}", 0.01 * n, None, f"s{n}", "a", 0.1 * n, None))
        assert commit(worker)
    pages = [page_values(worker.scrape.render()) for worker in workers]
    assert scraped(workers[0]) == 100
    assert scraped(workers[0], "modelwatch_workers") == 4
    known = set.intersection(*map(set, pages))
    assert all(page[sample] == pages[0][sample] for page in pages for sample in known)
    assert {name for name, _ in known} == {name for name, _ in set().union(*pages)}


def test_no_counter_falls_over_scrapes_of_random_workers(tmp_path):
    """Threads commit, scrape and die at random: no sequence of scrapes, by whichever worker, shows a counter that falls."""
    import random

    path, clock, chance = tmp_path / "live.db", FakeClock(), random.Random(5)
    workers = [worker_at(path, clock) for _ in range(3)]
    last, acknowledged = 0.0, 0
    for _ in range(400):
        worker = chance.choice(workers)
        what = chance.random()
        if what < 0.3:
            record(worker, chance.randrange(5))
        elif what < 0.6:
            counted = worker.recorders[KEY].requests() + worker.recorders[KEY].backlog()
            assert commit(worker)
            acknowledged += counted - getattr(worker, "told", 0)
            worker.told = counted
        elif what < 0.64:  # kill -9: its uncommitted counts are gone, a new one comes
            workers.remove(worker)
            workers.append(worker_at(path, clock))
        elif what < 0.7:
            clock.advance(chance.choice([1, 20, 61, 1000]))
        else:
            now = scraped(worker)
            if now == now:
                assert now >= last
                assert now == acknowledged
                last = now
    assert last > 50


def test_a_scrape_sees_no_half_of_a_change(tmp_path):
    """While another thread reads new rows, a page never shows the moment between taking away an old row and adding the new one."""
    path = tmp_path / "live.db"
    reader, writer = worker_at(path), worker_at(path)
    record(writer)
    assert commit(writer)
    stop, seen = threading.Event(), []

    def read():
        while not stop.is_set():
            reader.read()

    def scrape():
        while not stop.is_set():
            seen.append(scraped(reader))

    threads = [threading.Thread(target=read), threading.Thread(target=scrape)]
    for thread in threads:
        thread.start()
    for _ in range(60):
        record(writer, 10)
        assert commit(writer)
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == sorted(seen)


def test_gauges_of_the_dead_are_gone(tmp_path):
    """A worker that died in the middle of requests shows none in progress after ten seconds; its death is counted once."""
    path, clock = tmp_path / "live.db", FakeClock()
    alive, dying = worker_at(path, clock), worker_at(path, clock)
    dying.recorders[KEY].busy.extend([None] * 7)
    record(dying, 5)
    commit(dying)
    commit(alive)
    assert scraped(alive, "ml_requests_in_progress") == 7
    clock.advance(11)
    assert scraped(alive, "ml_requests_in_progress") != 7
    commit(alive)
    assert scraped(alive, "ml_requests_in_progress") == 0
    assert scraped(alive, "modelwatch_workers") == 1
    assert scraped(alive, "modelwatch_worker_deaths_total") == 1
    assert scraped(alive) == 5
    clock.advance(11)
    commit(alive)
    assert scraped(alive, "modelwatch_worker_deaths_total") == 1


def test_other_versions_are_shown_for_a_day(tmp_path):
    """During a deploy both versions are on every page, each on its own edges; the old one goes a day after its last count."""
    from modelwatch.schema import ModelSchema

    path, clock = tmp_path / "live.db", FakeClock()
    old = worker_at(path, clock, Key("m", "1"), ModelSchema(latency=(0.1, 1.0)))
    new = worker_at(path, clock, Key("m", "2"), ModelSchema(latency=(0.2, 2.0)))
    stranger = worker_at(path, clock, Key("other", "1"))
    record(old, 3, Key("m", "1"))
    record(new, 2, Key("m", "2"))
    record(stranger, 1, Key("other", "1"))
    for worker in (old, new, stranger):
        assert commit(worker)
    for worker in (old, new):
        text = worker.scrape.render()
        assert total(text, "ml_requests_total", model_version="1") == 3
        assert total(text, "ml_requests_total", model_version="2") == 2
        assert total(text, "ml_request_duration_seconds_bucket", model_version="1", le="1.0") == 3
        assert total(text, "ml_request_duration_seconds_bucket", model_version="2", le="2.0") == 2
        assert b'model_name="other"' not in text
    clock.advance(86_400 + 120)
    record(new, 1, Key("m", "2"))
    assert commit(new)
    assert b'model_version="1"' not in new.scrape.render()
    assert scraped(new, model_version="2") == 3


def test_caps_hold_over_restarts(tmp_path):
    """A worker that starts learns the label values that are counted already, and takes no more than the cap in all."""
    from modelwatch.schema import ModelSchema

    path, schema = tmp_path / "live.db", ModelSchema(cap=10)
    for generation in range(3):
        worker = worker_at(path, schema=schema)
        worker._adopt_known_labels()
        for i in range(20):
            record(worker, event=(f"/{generation}-{i}", 0.1, None, None, None, None, None))
        assert commit(worker)
    text = worker.scrape.render()
    assert total(text, "ml_requests_total") == 60
    endpoints = {dict(labels)["endpoint"] for name, labels in page_values(text) if name == "ml_requests_total"}
    assert len(endpoints) <= 3 * 10 + 1
    assert total(text, "modelwatch_label_overflow_total") >= 30


def test_workers_are_one_per_file(tmp_path):
    """Models of one process that share a file share the worker, by whatever path they name it."""
    a, b = Worker.of(tmp_path / "live.db"), Worker.of(tmp_path / "x" / ".." / "live.db")
    assert a is b
    assert worker_module._workers[tmp_path / "live.db"] is a


def test_hostile_events_cost_only_themselves(monitor):
    """A value whose own code exits, or raises what it likes, is refused; the folding thread goes on."""

    class Hostile:
        def __float__(self):
            raise SystemExit

        def __hash__(self):
            raise MemoryError

    for _ in range(50):
        monitor.record(Hostile(), Hostile(), Hostile(), Hostile(), Hostile(), {"x": Hostile()}, Hostile())
        monitor.record(*EVENT)
    assert monitor.flush(30)
    assert monitor.worker.is_running()
    assert total(monitor.metrics(), "modelwatch_events_total") == 100


def test_environment_is_not_under_pytest_in_children():
    """The programs of these tests behave as in a service."""
    assert "PYTEST_CURRENT_TEST" not in plain_environment()
    assert "PYTEST_CURRENT_TEST" in os.environ
