"""One measurement of a log in a process of its own: CPU seconds, and the most memory it had. Prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import SEED
from modelwatch.batch import analyze
from modelwatch.batch.counting import Buckets, Plan
from modelwatch.batch.mapping import Roles
from modelwatch.batch.profile import profile
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema, numeric_edges

NUMERIC, CATEGORICAL = 20, 5
CATEGORIES = np.array(["red", "green", "blue", "black", "white", "grey", "pink", "cyan"])
GROUP = 131_072  # rows of a row group
DAY = 1_767_225_600


def table(rows: int, categorical: int, *, seed: int, timed: bool = False) -> Any:
    """Return a table of numbers and categories; the numbers of the second half are shifted, as in drift."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"x{i}": rng.normal(0.1 * (i >= NUMERIC // 2), 1, rows) for i in range(NUMERIC)}
    columns |= {f"c{i}": pa.array(CATEGORIES[rng.integers(0, len(CATEGORIES), rows)]) for i in range(categorical)}
    if timed:
        columns["timestamp"] = DAY + np.arange(rows) * (30 * 86_400) // max(rows, 1)
    return pa.table(columns)


def reference(categorical: int) -> Reference:
    """Return the profile of training data."""
    return profile(table(50_000, categorical, seed=SEED + 1)).reference


def write(path: Path, rows: int, categorical: int, timed: bool) -> None:  # noqa: FBT001 - from a command line
    """Write a log a row group at a time: it need not fit into memory."""
    from pyarrow import parquet

    writer = None
    for begin in range(0, rows, 1_000_000):
        part = table(min(1_000_000, rows - begin), categorical, seed=SEED + begin, timed=False)
        if timed:
            part = part.append_column("timestamp", [DAY + np.arange(begin, begin + len(part)) * (30 * 86_400) // rows])
        writer = writer or parquet.ParquetWriter(path, part.schema)
        writer.write_table(part, row_group_size=GROUP)
    if writer is not None:
        writer.close()


def schema_of(known: Reference) -> ModelSchema:
    """Return what is counted."""
    numeric = {name: numeric_edges(known, name) for name in known.numeric}
    return ModelSchema(
        classes=(), numeric=numeric, categorical={n: tuple(p.counts) for n, p in known.categorical.items()}
    )


def in_memory(rows: int, turns: int) -> float:
    """Return the CPU seconds of counting a table that is in memory."""
    known, current = reference(CATEGORICAL), table(rows, CATEGORICAL, seed=SEED)
    names = current.column_names
    plan = Plan(schema_of(known), Roles(features=dict(zip(names, names, strict=True))), 3600, 0.0)
    found = []
    for _ in range(turns):
        buckets = Buckets(plan)
        begin = time.process_time()
        buckets.add({name: current.column(name) for name in names})
        found.append(time.process_time() - begin)
        buckets.packed()
    return min(found)


def counted(path: Path, categorical: int, turns: int) -> float:
    """Return the CPU seconds of counting a file, by the hour where it has times."""
    known, seconds = reference(categorical), []
    for _ in range(turns):
        begin = time.process_time()
        found = analyze(path, known, span="hour", threads=2)
        seconds.append(time.process_time() - begin)
        if found.requests != found.rows or not found.rows:
            raise AssertionError("rows were lost")
    return min(seconds)


def read(path: Path, turns: int) -> float:
    """Return the CPU seconds of reading a file, and no more."""
    from pyarrow import parquet

    seconds = []
    for _ in range(turns):
        begin = time.process_time()
        rows = len(parquet.read_table(path, use_threads=False))
        seconds.append(time.process_time() - begin)
        if not rows:
            raise AssertionError("nothing was read")
    return min(seconds)


def main() -> None:
    """Do what the command line says."""
    what, *arguments = sys.argv[1:]
    if what == "write":
        write(Path(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3] == "timed")
        seconds = 0.0
    elif what == "memory":
        seconds = in_memory(int(arguments[0]), int(arguments[1]))
    elif what == "count":
        seconds = counted(Path(arguments[0]), int(arguments[1]), int(arguments[2]))
    else:
        seconds = read(Path(arguments[0]), int(arguments[1]))
    print(json.dumps({"cpu_s": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
