"""Faults to inject: clocks that step, a store that is stuck, files that are torn."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from types import TracebackType

from modelwatch.clock import SteadyClock


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
