"""What the benchmarks share: timing in interleaved rounds, rows with a gate and a verdict, and the data they measure on."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time_ns
from typing import Any, Literal

import numpy as np

from modelwatch import Monitor
from modelwatch.reference import profile_numeric
from modelwatch.schema import ModelSchema

Unit = Literal["s", "KB", "MB", "packages", "times", "%", "requests/s"]
ROOT = Path(__file__).resolve().parent.parent
CLASSES = ("negative", "neutral", "positive")
SEED = 7


@dataclass(frozen=True)
class Effort:
    """How long to measure: the number of interleaved rounds, the seconds of one paced run, how much is stored."""

    rounds: int = 40
    few: int = 8  # rounds of what takes long
    paced_s: float = 2.0
    stored: int = 10_000_000  # samples in the store of ground truth


QUICK = Effort(rounds=8, few=2, paced_s=0.7, stored=20_000)


@dataclass(frozen=True)
class Gate:
    """What a row must reach.

    kind : "at most" `limit` in the row's unit; at most `limit` "times the peer"; or `limit` times "under the peer".
    """

    kind: Literal["at most", "times the peer", "under the peer"]
    limit: float

    def holds(self, ours: float, peer: float | None) -> bool | None:
        """Tell whether the gate is reached; None when the peer was not run."""
        if self.kind == "at most":
            return ours <= self.limit
        if peer is None:
            return None
        return ours <= self.limit * peer if self.kind == "times the peer" else peer >= self.limit * ours


@dataclass(frozen=True)
class Row:
    """One line of the table. `ours` None: a figure of a peer only; `peer` None with a `note`: it was not run."""

    what: str
    ours: float | None
    peer_name: str = ""
    peer: float | None = None
    gate: Gate | None = None
    unit: Unit = "s"
    note: str = ""

    def holds(self) -> bool | None:
        """Tell whether the gate is reached; None where there is none, or nothing to compare with."""
        return None if self.gate is None or self.ours is None else self.gate.holds(self.ours, self.peer)

    def cells(self) -> list[str]:
        """Return the texts of the table's columns."""
        gate, ratio = self.gate, ""
        if self.ours is not None and self.peer and self.ours > 0:
            as_much = self.ours > self.peer or (gate is not None and gate.kind == "times the peer")
            times = self.ours / self.peer if as_much else self.peer / self.ours
            ratio = f"{times:.{0 if times >= 20 else 1}f} × {'it' if as_much else 'under'}"
        peer = self.peer_name
        if peer:
            peer += f": not run ({self.note})" if self.peer is None else f": {shown(self.peer, self.unit)}"
        wanted, verdict = "", ""
        if gate is not None:
            wanted = {
                "at most": f"≤ {shown(gate.limit, self.unit)}",
                "times the peer": f"≤ {gate.limit:g} × it",
                "under the peer": f"≥ {gate.limit:g} × under",
            }[gate.kind]
            verdict = {True: "holds", False: "FAILS", None: "not judged"}[self.holds()]
        return [self.what, "" if self.ours is None else shown(self.ours, self.unit), peer, ratio, wanted, verdict]


COLUMNS = ["what", "ours", "peer", "ratio", "gate", "verdict"]


def shown(value: float, unit: Unit) -> str:
    """Return a figure with its unit.

    >>> shown(2.3e-6, "s"), shown(0.25, "s"), shown(31, "MB")
    ('2.3 µs', '250 ms', '31 MB')
    """
    if unit == "times":
        return f"{value:.2f} ×"
    if unit == "%":
        return f"{value:.1f} %"
    if unit != "s":
        return f"{value:.0f} {unit}"
    for size, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value * 1e9:.0f} ns"


# -- timing ------------------------------------------------------------------------------------------------------------

Loop = Callable[[int], Any]


@dataclass(frozen=True)
class Contender:
    """Code to time.

    loop : runs the code so many times.
    settle : called after each round, outside of the timing.
    calls : how often a round runs the code; None: as the others.
    """

    loop: Loop
    settle: Callable[[], object] = lambda: None
    calls: int | None = None


def best(contenders: Mapping[str, Contender], rounds: int, calls: int) -> dict[str, float]:
    """Return the CPU seconds of the calling thread per call: the best of interleaved rounds."""
    found: dict[str, float] = {}
    order = list(contenders)
    for turn in range(rounds + 1):
        for name in order:
            contender = contenders[name]
            n = contender.calls or calls
            begin = thread_time_ns()
            contender.loop(n)
            spent = (thread_time_ns() - begin) / n * 1e-9
            contender.settle()
            if turn:  # the first round warms up
                found[name] = min(found.get(name, spent), spent)
        order.append(order.pop(0))  # nobody is always behind the same one
    return found


def added(found: Mapping[str, float], bare: str) -> dict[str, float]:
    """Return what each adds to the bare call."""
    return {name: seconds - found[bare] for name, seconds in found.items() if name != bare}


def awaited(event_loop: asyncio.AbstractEventLoop, run: Callable[[int], Coroutine[Any, Any, Any]]) -> Loop:
    """Return the loop of a coroutine function that runs the code so many times."""
    return lambda n: event_loop.run_until_complete(run(n))


def child(module: str, *arguments: object) -> Any:
    """Run a module of the benchmarks in a process of its own; return the JSON that it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


# -- peers and data ----------------------------------------------------------------------------------------------------


def missing(*modules: str) -> str:
    """Return why a peer cannot be run; empty when it can."""
    absent = [name for name in modules if not _found(name)]
    return f"{', '.join(absent)} is not installed; it is in the extra [bench]" if absent else ""


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what it is a part of
        return False


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def feature_names(n: int) -> list[str]:
    """Return the names of `n` features."""
    return [f"feature_{i}" for i in range(n)]


def feature_rows(features: int, rows: int = 1000) -> list[dict[str, float]]:
    """Return the features of so many requests."""
    names, rng = feature_names(features), np.random.default_rng(SEED)
    return [dict(zip(names, row, strict=True)) for row in rng.normal(size=(rows, features)).tolist()]


def reference_values(features: int, rows: int = 10_000) -> dict[str, Any]:
    """Return training data: as many values of each feature."""
    rng = np.random.default_rng(SEED + 1)
    return {name: rng.normal(size=rows) for name in feature_names(features)}


def schema(features: int) -> ModelSchema:
    """Return what is counted of a classifier with so many numeric features: 100 bins each, 20 exported."""
    profiles = {name: profile_numeric(values) for name, values in reference_values(features).items()}
    return ModelSchema(classes=CLASSES, numeric={name: (p.edges, p.exported) for name, p in profiles.items()})


@contextmanager
def monitored(features: int) -> Iterator[Monitor]:
    """Make a monitor on a `live.db` of its own, and close it."""
    with TemporaryDirectory(prefix="modelwatch-bench-") as folder:
        monitor = Monitor("sentiment_classifier", "1.0", schema(features), live=Path(folder, "live.db"))
        try:
            yield monitor
        finally:
            monitor.close()
