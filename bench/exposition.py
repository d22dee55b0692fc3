"""What a scrape costs: 10 models x 50 features x 20 buckets, of one worker and of eight.

Run as a module it is one of the eight: `python -m bench.exposition ours|peer FOLDER`.
"""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.harness import ROOT, SEED, Contender, Effort, Gate, Row, best, feature_names, schema
from modelwatch import Monitor

MODELS, FEATURES, WORKERS = 10, 50, 8
ROWS = 200  # events a model counts between two scrapes
BUCKETS = tuple(np.linspace(-2, 2, 19).tolist())


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the exposition."""
    page, one = _ours_alone(effort)
    peer_page, peer_one = _peer_alone(effort)
    eight = _ours_of_eight(effort)
    peer_eight = _peer_of_eight(effort)
    packed = {f"gzip {level}": Contender(_packing(page, level), calls=1) for level in (1, 9)}
    zipped = best(packed, effort.few, 1)
    size = {level: len(gzip.compress(page, level)) // 1024 for level in (1, 9)}
    client, multi = "prometheus_client generate_latest", "prometheus_client multiprocess"
    what = f"page of {samples(page)} samples"
    return [
        Row(f"{what}, all models changed", one["changed"], f"{client} ({samples(peer_page)} samples)", peer_one, Gate("at most", 3e-3)),
        Row(f"{what}, nothing changed", one["unchanged"], client, peer_one),
        Row(f"page of {WORKERS} workers, all {WORKERS * MODELS} rows changed", eight, multi, peer_eight, Gate("at most", 10e-3)),
        Row(f"gzip at level 1: {len(page) // 1024} kB to {size[1]} kB", zipped["gzip 1"], f"gzip at level 9: to {size[9]} kB", zipped["gzip 9"]),
    ]  # fmt: skip


def _packing(page: bytes, level: int) -> Callable[[int], bytes]:
    return lambda n: gzip.compress(page, level)


def samples(page: bytes) -> int:
    """Return the number of samples of an exposition."""
    return sum(1 for line in page.splitlines() if not line.startswith(b"#"))


# -- ours --------------------------------------------------------------------------------------------------------------


@contextmanager
def models(folder: Path) -> Iterator[tuple[list[Monitor], Callable[[], None]]]:
    """Make the monitors of a process, and what has each of them count a few events and commit them."""
    kinds = schema(FEATURES)
    monitors = [Monitor(f"model_{i}", "1.0", kinds, live=folder / "live.db") for i in range(MODELS)]
    rng = np.random.default_rng(SEED + os.getpid())
    names = feature_names(FEATURES)

    def work() -> None:
        for monitor in monitors:
            columns = dict(zip(names, rng.normal(size=(FEATURES, ROWS)), strict=True))
            monitor.record_batch({**columns, "duration": np.full(ROWS, 0.012), "confidence": np.full(ROWS, 0.9)})
        if not monitors[0].flush(30):
            raise AssertionError("the counts could not be committed")

    try:
        yield monitors, work
    finally:
        for monitor in monitors:
            monitor.close()


def _ours_alone(effort: Effort) -> tuple[bytes, dict[str, float]]:
    with TemporaryDirectory(prefix="modelwatch-bench-") as folder, models(Path(folder)) as (monitors, work):
        work()
        scrape = monitors[0].metrics
        unchanged = best({"page": Contender(lambda n: scrape(), calls=1)}, effort.rounds, 1)["page"]
        changed = best({"page": Contender(lambda n: scrape(), work, 1)}, effort.rounds, 1)["page"]
        return scrape(), {"changed": changed, "unchanged": unchanged}


def _ours_of_eight(effort: Effort) -> float:
    """Return the cost of a scrape by a ninth process, after all of eight have changed all of their rows."""
    with (
        TemporaryDirectory(prefix="modelwatch-bench-") as folder,
        models(Path(folder)) as (monitors, _),
        workers("ours", Path(folder), WORKERS) as work,
    ):
        work()
        scrape = monitors[0].metrics
        return best({"page": Contender(lambda n: scrape(), work, 1)}, effort.rounds // 2, 1)["page"]


# -- prometheus_client -------------------------------------------------------------------------------------------------


def _fill(registry: Any) -> None:
    """Count something in every series of the same size as ours."""
    from prometheus_client import Histogram

    family = Histogram(
        "ml_feature_value",
        "Values",
        ["model_name", "model_version", "feature_name"],
        registry=registry,
        buckets=BUCKETS,
    )
    rng = np.random.default_rng(SEED)
    for model in range(MODELS):
        for name in feature_names(FEATURES):
            child = family.labels(f"model_{model}", "1.0", name)
            for value in rng.normal(size=4).tolist():
                child.observe(value)


def _peer_alone(effort: Effort) -> tuple[bytes, float]:
    from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest

    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    _fill(registry)
    found = best({"page": Contender(lambda n: generate_latest(registry), calls=1)}, effort.few, 1)["page"]
    return generate_latest(registry), found


def _peer_of_eight(effort: Effort) -> float:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    with TemporaryDirectory(prefix="modelwatch-bench-") as folder, workers("peer", Path(folder), WORKERS) as work:
        work()

        def scrape(_: int) -> None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
            page = generate_latest(registry)
            if samples(page) < MODELS * FEATURES * len(BUCKETS):
                raise AssertionError("the workers have written nothing")

        return best({"page": Contender(scrape, calls=1)}, effort.few, 1)["page"]


# -- the workers -------------------------------------------------------------------------------------------------------


@contextmanager
def workers(kind: str, folder: Path, n: int) -> Iterator[Callable[[], None]]:
    """Start so many processes; yields what has each of them count something and waits for all."""
    command = [sys.executable, "-m", "bench.exposition", kind, str(folder)]
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)} if kind == "peer" else None
    started = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(n)
    ]

    def work() -> None:
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != b"done\n":
                raise AssertionError("a worker has ended too early")

    try:
        yield work
    finally:
        for process in started:
            process.communicate()


def main(kind: str, folder: Path) -> None:
    """Be one of the eight: work once for every line that comes in."""
    if kind == "ours":
        with models(folder) as (_, work):
            for _line in sys.stdin:
                work()
                print("done", flush=True)
    else:
        from prometheus_client import CollectorRegistry

        for _line in sys.stdin:
            _fill(CollectorRegistry())
            print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
