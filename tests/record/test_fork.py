"""Fork at the worst moment: the child records and ends, the parent loses nothing (RELIABILITY 23)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack

import pytest

from counting import plain_environment, run_python, total
from modelwatch import Monitor

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

FORK = """
import os, sys, threading, time, warnings
from modelwatch import Monitor
warnings.simplefilter("ignore")
monitor = Monitor("m", "1", live=sys.argv[1])
worker, recorder = monitor.worker, monitor.recorder
watched = monitor.endpoint("/watched")(lambda: None)
monitor.endpoint("/early")(lambda: None)
assert monitor.flush(5)
stop, sent = threading.Event(), [0]

def load():
    while not stop.is_set():
        for _ in range(20):
            monitor.record("/parent"); sent[0] += 1
        time.sleep(0.001)

def hold(lock, got, release):
    with lock:
        got.set(); release.wait(30)

threading.Thread(target=load).start()
locks = [recorder.lock, worker.io, worker.reading]
slowest, bad = 0.0, []
for i in range(60):
    got, release = threading.Event(), threading.Event()
    holder = None
    if i % 2:
        holder = threading.Thread(target=hold, args=(locks[i // 2 % 3], got, release))
        holder.start(); got.wait(5)
    begin = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        ok = False
        try:
            for _ in range(5):
                monitor.record("/child")
            watched()
            with monitor.request("/block"):
                pass
            ok = monitor.flush(5) and recorder.requests() == 7 and monitor.worker.is_running()
            ok = ok and b'endpoint="/child"' in monitor.metrics()
            if i % 3 == 0:
                os._exit(0 if ok else 1)
            monitor.record("/atexit")
        except BaseException as error:
            print("child", i, repr(error), flush=True)
            os._exit(2)
        sys.exit(0 if ok else 1)
    _, status = os.waitpid(pid, 0)
    slowest = max(slowest, time.perf_counter() - begin)
    if status:
        bad.append((i, status))
    if holder:
        release.set(); holder.join()
stop.set()
assert monitor.flush(10)
print(sent[0], round(slowest, 2), bad)
"""


def test_sixty_forks_under_load(tmp_path):
    """Half of the forks while a lock of ours is held by another thread: every child is exact and quick, and so is the parent."""
    path = tmp_path / "live.db"
    done = run_python(FORK, path, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    sent, slowest, bad = done.stdout.strip().splitlines()[-1].split(" ", 2)
    assert bad == "[]", done.stdout + done.stderr
    assert float(slowest) < 1.0
    monitor = Monitor("m", "1", live=path)
    text = monitor.metrics()
    assert total(text, "ml_requests_total", endpoint="/parent") == int(sent)
    assert total(text, "ml_requests_total", endpoint="/child") == 300
    assert total(text, "ml_requests_total", endpoint="/watched") == 60
    assert total(text, "ml_requests_total", endpoint="/block") == 60
    assert total(text, "ml_requests_total", endpoint="/atexit") == 40
    monitor.close()


def wait_for(pid):
    """Return the exit code of a child."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def fork_and(child):
    """Run a function in a fork that ends without clean-up; return its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        os.environ.pop("PYTEST_CURRENT_TEST", None)
        code = 99
        try:
            signal.alarm(20)
            code = int(child())
        finally:
            os._exit(code)
    return wait_for(pid)


@pytest.fixture
def monitor(tmp_path):
    """A monitor with a live.db of its own."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    monitor.endpoint("/known")(lambda: None)
    yield monitor
    monitor.close()


def test_the_child_begins_with_nothing_but_the_known_series(monitor):
    """What waited in the parent is the parent's; known endpoints and a new name are the child's; requests in progress are not."""
    for _ in range(100):
        monitor.record("/p")
    monitor.recorder.busy.append(None)
    writer, lock = monitor.worker.writer.worker, monitor.recorder.lock

    def child():
        recorder, worker = monitor.recorder, monitor.worker
        fresh = recorder.backlog() == recorder.requests() == len(recorder.busy) == 0
        known = ("/known",) in recorder.kernel.tally.tables["ml_requests_total"].rows
        return 0 if fresh and known and worker.writer.worker != writer and recorder.lock is not lock else 1

    assert fork_and(child) == 0
    monitor.recorder.busy.pop()
    assert monitor.flush(5)
    assert total(monitor.metrics(), "ml_requests_total", endpoint="/p") == 100


def test_fork_in_the_middle_of_calls(monitor):
    """A call that forks returns in both processes; in progress falls below zero in neither."""
    with ExitStack() as stack:
        stack.enter_context(monitor.request("/outer"))

        def child():
            stack.close()
            return len(monitor.recorder.busy)

        assert fork_and(child) == 0
    assert len(monitor.recorder.busy) == 0


def test_two_threads_that_fork_at_once(monitor):
    """Locks that are taken for a fork are released, whoever else forks at that moment."""
    codes = []
    threads = [threading.Thread(target=lambda: codes.extend(fork_and(lambda: 0) for _ in range(15))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 30
    assert all(lock.acquire(timeout=5) for lock in monitor.worker.locks())
    for lock in monitor.worker.locks():
        lock.release()
    monitor.record("/p")
    assert monitor.flush(5)


def test_a_fork_waits_shortly_for_a_hung_store(monitor):
    """With a disk that hangs a fork is held up for a tenth of a second, and the child counts by itself."""
    with monitor.worker.io:
        monitor.record("/p")
        begin = time.perf_counter()
        assert fork_and(lambda: 0 if monitor.flush(5) else 1) == 0
        assert time.perf_counter() - begin < 3
    assert monitor.flush(5)


CHILDREN = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from modelwatch import Monitor

def work(path):
    monitor = Monitor("m", "1", live=path)
    for _ in range(100):
        monitor.record("/child")

if __name__ == "__main__":
    path, method = sys.argv[1:]
    context = multiprocessing.get_context(method)
    monitor = Monitor("m", "1", live=path)
    monitor.record("/parent")
    children = [context.Process(target=work, args=(path,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(work, [path, path]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_lose_nothing(tmp_path, method):
    """They end by os._exit, without atexit: their last second is in the file all the same, and nobody is taken for dead."""
    script, path = tmp_path / "main.py", tmp_path / "live.db"
    script.write_text(CHILDREN)
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", script, path, method],
        env=plain_environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 0]\n"
    monitor = Monitor("m", "1", live=path)
    assert monitor.flush(5)
    text = monitor.metrics()
    assert total(text, "ml_requests_total", endpoint="/parent") == 1
    assert total(text, "ml_requests_total", endpoint="/child") == 400
    assert total(text, "modelwatch_workers") == 1
    monitor.close()


POPEN = """
import subprocess, sys, threading, time, warnings
from modelwatch import Monitor
warnings.simplefilter("ignore")
monitor, stop, sent = Monitor("m", "1", live=sys.argv[1]), threading.Event(), [0]

def load():
    while not stop.is_set():
        monitor.record("/p")
        sent[0] += 1
        time.sleep(0)

thread = threading.Thread(target=load)
thread.start()
codes = [subprocess.run(["true"], preexec_fn=(lambda: None) if i % 2 else None, timeout=10).returncode for i in range(10)]
stop.set()
thread.join()
assert monitor.flush(10)
print(codes == [0] * 10, monitor.metrics().count(b'endpoint="/p"} %d' % sent[0]) > 0, b"modelwatch_workers 1.0" in monitor.metrics())
"""


def test_subprocesses_under_load(tmp_path):
    """`subprocess` forks without our hooks, or with them when there is a preexec_fn: both end, the counts are exact."""
    done = run_python(POPEN, tmp_path / "live.db")
    assert done.stdout == "True True True\n", done.stderr
