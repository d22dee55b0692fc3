"""For tests of a watched service: clocks that step, a store that is stuck, files that are torn, a real Prometheus."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import socket
import sqlite3
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from modelwatch.clock import SteadyClock
from modelwatch.errors import MissingExtra, ModelwatchError

Series = dict[tuple[tuple[str, str], ...], dict[float, float]]  # labels -> {Unix time: value}


class FakeClock(SteadyClock):
    """A wall clock and a monotonic clock that go on only when they are told to.

    Parameters
    ----------
    wall, seconds : what they show at first.

    Examples
    --------
    >>> clock = FakeClock(wall=1_700_000_000)
    >>> clock.advance(30)
    >>> clock.now(), clock.monotonic()
    (1700000030.0, 1030.0)
    """

    def __init__(self, wall: float = 1_700_000_000.0, seconds: float = 1000.0) -> None:
        self.wall, self.seconds = float(wall), float(seconds)
        super().__init__(lambda: self.wall, lambda: self.seconds)

    def advance(self, seconds: float) -> None:
        """Let both clocks go on."""
        self.wall += seconds
        self.seconds += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward (or back, when negative); no time passes."""
        self.wall += seconds


class ClockJump:
    """Sets a wall clock wrong within a `with` block, and right again after it.

    Parameters
    ----------
    clock : of which only the wall clock is moved.
    seconds : how far; negative: back.

    Examples
    --------
    >>> clock = FakeClock(wall=1_700_000_000)
    >>> with ClockJump(clock, -3600):
    ...     clock.wall
    1699996400.0
    >>> clock.wall
    1700000000.0
    """

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    def __enter__(self) -> FakeClock:
        self._clock.step(self._seconds)
        return self._clock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock.step(-self._seconds)


class StuckStore:
    """Holds the write lock of a `live.db` (or any SQLite file) until the `with` block ends: nobody else can commit.

    Parameters
    ----------
    path : of the file, which must exist.

    Examples
    --------
    >>> import tempfile, modelwatch
    >>> path = Path(tempfile.mkdtemp(), "live.db")
    >>> monitor = modelwatch.Monitor("sentiment", live=path)
    >>> monitor.flush(5)
    True
    >>> with StuckStore(path):
    ...     monitor.record("/predict", duration=0.1)
    ...     monitor.flush(0.2)
    False
    >>> monitor.close()
    True
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)
        self._db: sqlite3.Connection | None = None

    def __enter__(self) -> StuckStore:  # noqa: PYI034 - Self is of Python 3.11
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        self._db = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.execute("BEGIN IMMEDIATE")
        return self

    def release(self) -> None:
        """Let the others go on."""
        db, self._db = self._db, None
        if db is not None:
            db.execute("ROLLBACK")
            db.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class TornFile:
    """Damages a file as a crash, a full disk or a bad disk does. Every method returns the file's new bytes.

    Parameters
    ----------
    path : of the file.
    seed : of the choice of bits.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "file")
    >>> _ = path.write_bytes(b"0123456789")
    >>> TornFile(path).truncate(4)
    b'0123'
    """

    def __init__(self, path: Path, seed: int = 0) -> None:
        self._path, self._chance = Path(path), random.Random(seed)

    def _write(self, data: bytes) -> bytes:
        with self._path.open("r+b") as file:  # in place: whoever has it open sees it
            file.write(data)
            file.truncate()
        return data

    def truncate(self, length: int) -> bytes:
        """Keep only the first `length` bytes; negative: all but the last."""
        return self._write(self._path.read_bytes()[:length])

    def zero(self, start: int, length: int) -> bytes:
        """Put zeros in the place of a part."""
        data = bytearray(self._path.read_bytes())
        data[start : start + length] = bytes(len(data[start : start + length]))
        return self._write(bytes(data))

    def flip(self, bits: int = 1) -> bytes:
        """Turn some bits over, anywhere."""
        data = bytearray(self._path.read_bytes())
        for _ in range(bits if data else 0):
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
        return self._write(bytes(data))

    def garbage(self, length: int = 8192) -> bytes:
        """Put bytes in its place that never were such a file."""
        return self._write(self._chance.randbytes(length))


class Prometheus:
    """A running Prometheus server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _get(self, path: str, **arguments: Any) -> Any:
        address = f"{self.url}{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - a server of our own
            return json.load(answer)["data"]

    def query(self, expression: str, at: float | None = None) -> dict[tuple[tuple[str, str], ...], float]:
        """Return {labels: value} of an instant query; `at`: Unix time, by default now."""
        result = self._get("/api/v1/query", query=expression, **({} if at is None else {"time": at}))["result"]
        return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in result}

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> Series:
        """Return {labels: {Unix time: value}} of a range query."""
        result = self._get("/api/v1/query_range", query=expression, start=start, end=end, step=step_s)["result"]
        return {
            tuple(sorted(series["metric"].items())): {float(at): float(value) for at, value in series["values"]}
            for series in result
        }


@contextlib.contextmanager
def running_prometheus(
    folder: Path,
    targets: Sequence[str] = (),
    *,
    scrape_interval_s: float = 1.0,
    config: Mapping[str, Any] | None = None,
    binary: str = "prometheus",
) -> Iterator[Prometheus]:
    """Run a real Prometheus on a free port of 127.0.0.1 until the block ends.

    Parameters
    ----------
    folder : its configuration and data (`folder/data`, which may hold blocks already).
    targets : "host:port" to scrape at /metrics, as the job "service".
    scrape_interval_s : seconds between two scrapes.
    config : more of its configuration, JSON values; replaces sections of the same name.
    binary : the program.

    Raises
    ------
    MissingExtra   the program is not installed.
    ModelwatchError   it ended, or was not ready within 30 seconds.
    """
    if shutil.which(binary) is None:
        raise MissingExtra(f"{binary}: the program is not installed. Run `apt-get install prometheus`.")
    every = f"{round(scrape_interval_s * 1000)}ms"
    jobs = [{"job_name": "service", "static_configs": [{"targets": list(targets)}]}] if targets else []
    whole = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs, **(config or {})}
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        binary, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=50y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    server = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(server, f"{url}/-/ready")
        yield Prometheus(url)
    finally:
        server.terminate()
        server.wait(10)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 - a server of our own
            return
        time.sleep(0.1)
    raise ModelwatchError(f"prometheus: state is {server.poll()!r}; expected it to be ready. Its log is above.")
