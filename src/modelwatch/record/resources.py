"""What this process uses of its machine, by psutil, and what the GPUs of the host do, by NVML; where they can tell."""

from __future__ import annotations

import importlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from modelwatch.store.writer import Gpu, Usage

START_S = 1.0  # after the start of the thread: a service that forks does so first, and not in the middle of an import
EVERY_S = 1.0
FILES_EVERY_S = 5.0  # listing open files costs the more, the more there are
CPU_WINDOW_S = 60.0
GPU_EVERY_S = 10.0
GPU_FRESH_S = 30.0  # an older reading is of a driver that hangs

#: counters since the process began, as whole numbers: they are added up over workers, and must not fall
_COUNTERS: Mapping[str, Callable[[Any], int]] = {
    "cpu_us": lambda process: round(1e6 * sum(process.cpu_times()[:2])),  # user and system, without children
    "disk_read_bytes": lambda process: int(process.io_counters().read_bytes),
    "disk_written_bytes": lambda process: int(process.io_counters().write_bytes),
}
_GAUGES: Mapping[str, Callable[[Any], float]] = {
    "resident_bytes": lambda process: float(process.memory_info().rss),
    "threads": lambda process: float(process.num_threads()),
}
_GPU: Mapping[str, Callable[[Any, Any], float]] = {
    "utilization": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100,
    "memory_used_bytes": lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).used),
    "memory_total_bytes": lambda nvml, gpu: float(nvml.nvmlDeviceGetMemoryInfo(gpu).total),
    "temperature_celsius": lambda nvml, gpu: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
    "power_watts": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
}
_loading: set[str] = set()  # in a child, what its parent was loading at the fork: its import would never return


def optional_module(name: str) -> Any | None:
    """Return a module of an optional package; None when it cannot be had, or another thread is loading it."""
    if name in _loading:
        return None
    _loading.add(name)
    try:
        return importlib.import_module(name)
    except Exception:  # noqa: BLE001 - a broken package is as good as none
        return None
    finally:
        _loading.discard(name)


class Resources:
    """Reads what this process uses; for the folding thread. Never raises: what cannot be told is absent.

    Parameters
    ----------
    began : when the folding thread was made, in the seconds of `read`.
    gpus : where the GPUs are read.
    psutil : the module; None: the installed one, if there is one.
    """

    def __init__(self, began: float, gpus: Gpus | None = None, psutil: Any | None = None) -> None:
        self._began = began
        self.gpus = gpus or Gpus()
        self._psutil = psutil
        self._process: Any | None = None
        self._given_up = False
        self._read_at = self._files_at = float("-inf")
        self._files: float | None = None
        self._cpu: deque[tuple[float, int]] = deque()  # (when, CPU microseconds so far) of the last minute
        self._usage = Usage()

    def read(self, now: float) -> Usage:
        """Return the usage, read at most once a second; `now` is monotonic, in seconds."""
        if now - self._began >= START_S and now - self._read_at >= EVERY_S:
            self._read_at = now
            try:
                counters = self._values(_COUNTERS)
                self._usage = Usage(self._gauges(now, counters.get("cpu_us")), counters, self.gpus.read(now))
            except Exception:  # noqa: BLE001 - nothing here is worth a commit
                self._usage = Usage()
        return self._usage

    def _values(self, readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
        process = self._this_process()
        if process is None:
            return {}
        found = {}
        with process.oneshot():
            for name, read in readers.items():
                try:
                    found[name] = read(process)
                except Exception:  # noqa: BLE001, S112 - the platform does not tell, or may not
                    continue
        return found

    def _this_process(self) -> Any | None:
        if self._process is None and not self._given_up:
            psutil = self._psutil or optional_module("psutil")
            try:
                self._process = psutil.Process() if psutil else None
            except Exception:  # noqa: BLE001 - there is no /proc here
                self._process = None
            self._given_up = self._process is None and "psutil" not in _loading
        return self._process

    def _gauges(self, now: float, cpu_us: int | None) -> dict[str, float]:
        gauges: dict[str, float] = self._values(_GAUGES)
        if now - self._files_at >= FILES_EVERY_S:
            self._files_at = now
            self._files = self._values({"open_files": lambda process: float(process.num_fds())}).get("open_files")
        if self._files is not None:
            gauges["open_files"] = self._files
        if cpu_us is not None:
            self._cpu.append((now, cpu_us))
            while self._cpu[0][0] < now - CPU_WINDOW_S:
                self._cpu.popleft()
            (begin, before), (end, after) = self._cpu[0], self._cpu[-1]
            if end > begin:
                gauges["cpu_cores"] = (after - before) / 1e6 / (end - begin)
        return gauges


class Gpus:
    """Reads the GPUs of this host in a thread of its own: a driver that hangs must not stop the counting.

    Parameters
    ----------
    nvml : the module pynvml, or what has its functions; None: that of the package nvidia-ml-py, if there is one.
    """

    def __init__(self, nvml: Any | None = None) -> None:
        self._nvml = nvml
        self._ready = self._given_up = False
        self._asked_at = self._found_at = float("-inf")
        self._found: tuple[Gpu, ...] = ()
        self._thread: threading.Thread | None = None

    def read(self, now: float) -> tuple[Gpu, ...]:
        """Return the last reading, and begin another when it is due; nothing where none is fresh."""
        if self._nvml is None and not self._given_up:
            self._nvml = optional_module("pynvml")
            self._given_up = self._nvml is None and "pynvml" not in _loading
        due = self._nvml is not None and not self._given_up and now - self._asked_at >= GPU_EVERY_S
        if due and not self._is_reading():
            self._asked_at = now
            self._start(now)
        return self._found if now - self._found_at <= GPU_FRESH_S else ()

    def _is_reading(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self, now: float) -> None:
        self._thread = threading.Thread(target=self._look, args=(now,), name="modelwatch-gpu", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter ends, or there are no more threads
            self._thread = None

    def _look(self, now: float) -> None:
        nvml = self._nvml
        assert nvml is not None  # for the type checker: read starts no thread otherwise
        try:
            if not self._ready:
                nvml.nvmlInit()
                self._ready = True
            found = tuple(_gpu(nvml, index) for index in range(nvml.nvmlDeviceGetCount()))
        except Exception:  # noqa: BLE001 - no driver, or one that has lost its devices
            self._given_up = not self._ready
            return
        self._found, self._found_at = found, now


def _gpu(nvml: Any, index: int) -> Gpu:
    """Return what one GPU tells; a partitioned one, for example, has no utilization."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    values: dict[str, float] = {}
    for what, read in _GPU.items():
        try:
            values[what] = float(read(nvml, handle))
        except Exception:  # noqa: BLE001, S112 - this GPU does not tell
            continue
    return Gpu(str(index), name.decode(errors="replace") if isinstance(name, bytes) else str(name), values)
