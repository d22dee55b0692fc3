"""What the processes of a host use of it: true to /proc, summed over workers, never falling, absent where nobody can tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from counting import (
    add_model,
    commit,
    page_values,
    plain_environment,
    read_rows,
    record,
    run_python,
    scraped,
    worker_at,
)
from modelwatch import Monitor
from modelwatch.record import resources
from modelwatch.record.resources import GPU_EVERY_S, GPU_FRESH_S, START_S, Gpus, Resources
from modelwatch.store.live import Key
from modelwatch.testing import FakeClock

psutil = pytest.importorskip("psutil", reason="psutil is not installed; pip install 'modelwatch[server]'")

CPU = "modelwatch_process_cpu_seconds_total"
TICKS = os.sysconf("SC_CLK_TCK")


def proc_cpu_s(pid: int) -> float:
    """Return the user and system seconds that the kernel tells of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def burn(seconds: float) -> None:
    """Use that much CPU time."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def told(page: bytes, prefix: str) -> set[str]:
    """Return the names of a page that begin so."""
    return {name for name, _ in page_values(page) if name.startswith(prefix)}


def readings(gpus: Gpus, now: float) -> tuple:
    """Ask for a reading, wait for the thread, and return what is known afterwards."""
    gpus.read(now)
    thread = gpus._thread
    if thread is not None:
        thread.join(5)
        assert not thread.is_alive()
    return gpus.read(now)


# -- processes ---------------------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_kernel(tmp_path):
    """CPU burnt here raises the counter by that much; memory, threads and files are those of /proc."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    assert monitor.flush(5)
    time.sleep(START_S + 0.1)
    monitor.record("/p")
    assert monitor.flush(5)
    before = scraped(monitor.worker, CPU)
    burn(0.6)
    time.sleep(1.1)
    monitor.record("/p")
    assert monitor.flush(5)
    page = {name: value for (name, _), value in page_values(monitor.metrics()).items()}
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert 0.6 - 2 / TICKS <= page[CPU] - before < 1.2
    assert page[CPU] == pytest.approx(proc_cpu_s(os.getpid()), abs=0.5)
    resident = 1024 * int(status["VmRSS"].split()[0])
    assert page["modelwatch_process_resident_memory_bytes"] == pytest.approx(resident, rel=0.1)
    assert page["modelwatch_process_threads"] == pytest.approx(int(status["Threads"]), abs=2)
    assert page["modelwatch_process_open_files"] == pytest.approx(len(os.listdir("/proc/self/fd")), abs=8)
    assert page["modelwatch_process_disk_written_bytes_total"] >= 0
    monitor.close()


def test_several_models_are_one_process(tmp_path):
    """Two models in one process: its memory and its CPU seconds count once."""
    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    other = worker_at(tmp_path / "other.db", clock)
    add_model(other, Key("second", "1"))
    for each in (worker, other):
        commit(each)
    clock.advance(START_S + 1)
    for each in (worker, other):
        record(each)
        commit(each)
    for name in (CPU, "modelwatch_process_resident_memory_bytes"):
        assert scraped(other, name) == pytest.approx(scraped(worker, name), rel=0.05)


CHILD = """
import sys, time
from modelwatch import Monitor
monitor = Monitor("m", "1", live=sys.argv[1])
end = time.process_time() + 0.5
while time.process_time() < end: pass
time.sleep(1.2)
monitor.record("/p")
assert monitor.flush(10)
print("ready", flush=True)
while True:
    time.sleep(0.3)
    monitor.record("/p")
"""


def test_workers_are_summed_and_killed_ones_stay_counted(tmp_path):
    """Two processes: gauges and counters are sums; after kill -9 gauges fall, counters do not, nor after a restart."""
    path = tmp_path / "live.db"

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], env=plain_environment(), stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    processes = [start(), start()]
    try:
        time.sleep(1.2)
        host = read_rows(path)[1]
        used = sum(proc_cpu_s(process.pid) for process in processes)
        assert used >= 1
        assert host.used["cpu_us"] / 1e6 == pytest.approx(used, abs=0.3)
        resident = sum(psutil.Process(process.pid).memory_info().rss for process in processes)
        assert host.process["resident_bytes"] == pytest.approx(resident, rel=0.1)
        processes[0].send_signal(signal.SIGKILL)
        processes[0].communicate(timeout=10)
        seen = [host.used["cpu_us"]]
        deadline = time.monotonic() + 20
        while read_rows(path)[1].deaths < 1:
            seen.append(read_rows(path)[1].used["cpu_us"])
            assert time.monotonic() < deadline
            time.sleep(0.2)
        after = read_rows(path)[1]
        assert after.process["resident_bytes"] == pytest.approx(resident / 2, rel=0.2)
        processes[0] = start()
        seen += [after.used["cpu_us"], read_rows(path)[1].used["cpu_us"]]
        assert seen == sorted(seen)
        assert seen[-1] - seen[-2] >= 500_000
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


FORKS = """
import os, sys, time
from modelwatch import Monitor
monitor = Monitor("m", "1", live=sys.argv[1])
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
def tell():
    time.sleep(1.3)
    monitor.record("/p")
    assert monitor.flush(10)
burn(0.6)
tell()
child = os.fork()
if not child:
    burn(0.4)
    tell()
    print(time.process_time(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
tell()
print(time.process_time(), flush=True)
"""


def test_a_forked_worker_counts_its_own_seconds_only(tmp_path):
    """What the parent used before the fork is not counted again by the child."""
    done = run_python(FORKS, tmp_path / "live.db")
    assert done.returncode == 0, done.stderr
    used = sum(map(float, done.stdout.split()))
    assert read_rows(tmp_path / "live.db")[1].used["cpu_us"] / 1e6 == pytest.approx(used, abs=0.25)


def test_a_new_file_gets_all_that_was_used(tmp_path):
    """The file is gone: the seconds of this process go with its counts into the next one, once."""
    path, clock = tmp_path / "live.db", FakeClock()
    worker = worker_at(path, clock)
    commit(worker)
    clock.advance(START_S + 1)
    commit(worker)
    before = scraped(worker, CPU)
    for file in tmp_path.iterdir():
        file.unlink()
    clock.advance(3)
    record(worker)
    commit(worker)
    assert before <= scraped(worker, CPU) < before + 1


def test_a_failed_commit_adds_nothing_twice(tmp_path):
    """What a commit that failed would have added comes with the next one."""
    path, clock = tmp_path / "live.db", FakeClock()
    worker = worker_at(path, clock)
    commit(worker)
    clock.advance(START_S + 1)
    worker.writer.connection().execute(
        "CREATE TRIGGER no BEFORE INSERT ON workers BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    for _ in range(5):
        clock.advance(2)
        assert not commit(worker)
    worker.writer.connection().execute("DROP TRIGGER no")
    clock.advance(2)
    assert commit(worker)
    assert scraped(worker, CPU) == pytest.approx(proc_cpu_s(os.getpid()), abs=0.3)


class Silent:
    """A platform that tells nothing: every question fails, in the ways of psutil."""

    class Process:
        """A process that nobody may ask."""

        def oneshot(self):
            """Return a context."""
            return open(os.devnull)

        def __getattr__(self, name):
            """Refuse."""
            # what psutil raises of a process that may not be asked, and where a platform does not count disk bytes
            refused = {"cpu_times": PermissionError, "io_counters": NotImplementedError}
            raise refused.get(name, AttributeError)(name)


class Absent:
    """A machine without /proc."""

    def Process(self):  # noqa: N802 - the name of psutil
        """Fail."""
        raise OSError


class Broken:
    """A platform whose process cannot even be looked at."""

    class Process:
        """A process that is gone, as psutil sees it."""

        def oneshot(self):
            """Fail."""
            raise RuntimeError("no such process")


@pytest.mark.parametrize("platform", [Silent(), Absent(), Broken()])
def test_what_the_platform_does_not_tell_is_absent(tmp_path, platform):
    """No series at 0, and no internal error."""
    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    worker.resources = Resources(clock.monotonic(), psutil=platform)
    commit(worker)
    clock.advance(START_S + 1)
    record(worker)
    assert commit(worker)
    page = worker.scrape.render()
    assert told(page, "modelwatch_process_") == set()
    assert scraped(worker, "modelwatch_live_up") == 1
    assert not worker.faults.pending


def test_missing_packages_are_no_fault(tmp_path, monkeypatch):
    """Without psutil and nvidia-ml-py the page has neither series nor errors."""
    for name in ("psutil", "pynvml"):
        monkeypatch.setitem(sys.modules, name, None)
    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    for _ in range(3):
        record(worker)
        assert commit(worker)
        clock.advance(2)
    page = worker.scrape.render()
    assert told(page, "modelwatch_process_") | told(page, "modelwatch_gpu_") == set()
    assert not worker.faults.pending


def test_a_module_that_the_parent_was_loading_is_left_alone(monkeypatch):
    """In a child that was forked in the middle of the parent's import, the same import would wait for ever."""
    monkeypatch.setattr(resources, "_loading", {"psutil", "pynvml"})
    assert resources.optional_module("psutil") is None
    usage = Resources(0.0).read(START_S)
    assert (usage.counters, usage.gauges, usage.gpus) == ({}, {}, ())
    resources._loading.clear()
    assert resources.optional_module("psutil") is psutil


def test_files_are_listed_seldom():
    """Of ten readings a second apart two look at the open files."""
    resources_read = Resources(0.0)
    asked = []
    assert resources_read._this_process() is not None
    process = resources_read._process

    class Watched:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(process, name)

    resources_read._process = Watched()
    for second in range(12):
        resources_read.read(float(second))
        resources_read.read(second + 0.5)
    assert asked.count("num_fds") == 3
    assert asked.count("cpu_times") == 11


def test_cores_in_use_are_of_the_last_minute():
    """The share of a core is what was used within the last 60 seconds, not since the start."""
    used = iter([0.0, *[10.0 + second for second in range(200)]])

    class Process:
        def oneshot(self):
            """Return a context."""
            return open(os.devnull)

        def cpu_times(self):
            """Return user and system seconds."""
            return next(used), 0.5, 0, 0

    class Platform:
        def Process(self):  # noqa: N802 - the name of psutil
            """Return the process."""
            return Process()

    read = Resources(0.0, psutil=Platform())
    cores = [read.read(float(second)).gauges.get("cpu_cores") for second in range(100)]
    assert cores[:2] == [None, None]
    assert cores[2] == 10
    assert cores[-1] == 1


# -- GPUs --------------------------------------------------------------------------------------------------------------


class Nvml:
    """A machine with two GPUs in the functions of pynvml; the second is partitioned and tells less."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self):
        self.inits, self.fails = 0, False

    def nvmlInit(self):  # noqa: N802 - the names of pynvml
        """Begin."""
        self.inits += 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        """Return how many there are."""
        if self.fails:
            raise RuntimeError("GPU is lost")
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        """Return a handle."""
        return index

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        """Return the name; older packages give bytes."""
        return b"H100" if handle == 0 else 'A100 "MIG"'

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        """Return the load in per cent, of the whole GPU only."""
        if handle == 1:
            raise RuntimeError("Not Supported")
        return type("Rates", (), {"gpu": 37})

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: ARG002, N802
        """Return bytes."""
        return type("Memory", (), {"used": 3 << 30, "total": 80 << 30})

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: ARG002, N802
        """Return degrees."""
        return 41

    def nvmlDeviceGetPowerUsage(self, handle):  # noqa: ARG002, N802
        """Return milliwatts."""
        return 70_500


def test_gpus_are_of_the_host_not_of_its_workers(tmp_path):
    """Two workers on a host with two GPUs: each GPU once, in its units; what one does not tell is absent."""
    clock = FakeClock()
    workers = [worker_at(tmp_path / "live.db", clock) for _ in range(2)]
    for worker in workers:
        worker.resources = Resources(clock.monotonic(), Gpus(Nvml()))
        commit(worker)
    clock.advance(START_S + 1)
    for worker in workers:
        commit(worker)
        worker.resources.gpus._thread.join(5)
    clock.advance(2)
    for worker in workers:
        record(worker)
        commit(worker)
    assert scraped(workers[0], "modelwatch_gpu_utilization_ratio") == 0.37
    for gpu, name in (("0", "H100"), ("1", 'A100 "MIG"')):
        labels = (("gpu", gpu), ("name", name))
        shown = {
            metric: value for (metric, have), value in page_values(workers[1].scrape.render()).items() if have == labels
        }
        assert shown == ({"modelwatch_gpu_utilization_ratio": 0.37} if gpu == "0" else {}) | {
            "modelwatch_gpu_memory_used_bytes": 3 << 30,
            "modelwatch_gpu_memory_total_bytes": 80 << 30,
            "modelwatch_gpu_temperature_celsius": 41,
            "modelwatch_gpu_power_watts": 70.5,
        }
    page = workers[1].scrape.render(openmetrics=True).decode()
    assert page.count("\nmodelwatch_gpu_utilization_ratio{") == 1


def test_without_a_gpu_there_is_no_series(tmp_path):
    """The package without a driver: asked once, then never again; no series, no internal error."""

    class NoDriver(Nvml):
        def nvmlInit(self):  # noqa: N802
            """Fail."""
            self.inits += 1
            raise RuntimeError("NVML Shared Library Not Found")

    nvml, clock = NoDriver(), FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    worker.resources = Resources(clock.monotonic(), Gpus(nvml))
    for _ in range(5):
        commit(worker)
        clock.advance(GPU_EVERY_S)
        if worker.resources.gpus._thread:
            worker.resources.gpus._thread.join(5)
    assert nvml.inits == 1
    assert told(worker.scrape.render(), "modelwatch_gpu_") == set()
    assert not worker.faults.pending


def test_a_gpu_that_is_lost_is_absent_and_comes_back():
    """A driver that fails: the last reading is shown while it is fresh, then nothing; later it is asked again."""
    nvml = Nvml()
    gpus = Gpus(nvml)
    assert len(readings(gpus, 0.0)) == 2
    nvml.fails = True
    assert len(readings(gpus, GPU_EVERY_S)) == 2
    assert readings(gpus, GPU_FRESH_S + 1) == ()
    nvml.fails = False
    assert len(readings(gpus, GPU_FRESH_S + 1 + GPU_EVERY_S)) == 2
    assert nvml.inits == 1


def test_a_driver_that_hangs_stops_nothing(tmp_path):
    """While NVML does not return, commits go on, one thread waits, and no old figure is shown as new."""
    import threading

    release = threading.Event()

    class Hung(Nvml):
        def nvmlDeviceGetCount(self):  # noqa: N802
            """Hang."""
            release.wait(20)
            return 0

    clock = FakeClock()
    worker = worker_at(tmp_path / "live.db", clock)
    worker.resources = Resources(clock.monotonic(), Gpus(Hung()))
    try:
        for _ in range(5):
            record(worker)
            assert commit(worker)
            clock.advance(GPU_EVERY_S)
        assert scraped(worker) == 5
        assert [t.name for t in threading.enumerate()].count("modelwatch-gpu") == 1
        assert told(worker.scrape.render(), "modelwatch_gpu_") == set()
    finally:
        release.set()
        worker.resources.gpus._thread.join(5)
