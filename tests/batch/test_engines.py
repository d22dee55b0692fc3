"""One log, every engine that can carry it: the same counts, to the last one."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from batch.logged import DAY, NOW, REFERENCE, by_events, counted, model_of, rounded
from modelwatch.batch import analyze

FEATURES = ("x", "y", "c")
EXTRA = "    segment: category\n    logs: {time_zone: Europe/Berlin, latency: seconds}\n"
N = 4000


def awkward(n: int = N) -> dict[str, list[Any]]:
    """Return rows with NaN, infinities, gaps, values on edges, unseen categories and classes, over many hours.

    Some have neither an answer nor a feature, as failed requests have.
    """
    rows = _rows(n)
    for i in range(0, n, 40):
        for name in ("prediction", *FEATURES):
            rows[name][i] = None
    return rows


def _rows(n: int) -> dict[str, list[Any]]:
    edges = [k / 8 for k in range(-8, 9)]
    odd = [math.nan, math.inf, -math.inf, None, 0.0, -0.0, 1e6, -1e6, 5e-324, *edges]
    return {
        "timestamp": [None if i % 97 == 0 else DAY + 37 * i for i in range(n)],
        "endpoint": ["/p" if i % 3 else "/q" for i in range(n)],
        "duration": [(None, 0.5, 0.01, math.nan, math.inf, -1.0, 1e9, 0.123456789, 2.0)[i % 9] for i in range(n)],
        "error": [("ValueError" if i % 50 == 0 else "CancelledError" if i % 77 == 0 else None) for i in range(n)],
        "segment": [("books", "é\u2028", "", None, "x" * 200)[i % 5] for i in range(n)],
        "prediction": [("a", "b", "new", None)[i % 4] for i in range(n)],
        "confidence": [
            (0.7, 0.69, math.nan, None, 1.0, 0.0, 1.5, -0.1, math.inf, 0.02, 0.04)[i % 11] for i in range(n)
        ],
        "x": [odd[i % len(odd)] for i in range(n)],
        "y": [(0, 1, 2, 3, None, -1)[i % 6] for i in range(n)],
        "c": [("red", "blue", "green", "a " + str(i % 30), None, "NA")[i % 6] for i in range(n)],
    }


def table_of(rows: dict[str, list[Any]]) -> pa.Table:
    """Return rows as a table of a log, with the names and types that logs have."""
    times = pa.array([None if t is None else dt.datetime.fromtimestamp(t, dt.timezone.utc) for t in rows["timestamp"]])
    columns = {**rows, "timestamp": times.cast(pa.timestamp("us", tz="UTC"))}
    columns["category"], columns["seconds"] = columns.pop("segment"), columns.pop("duration")
    columns["y"] = pa.array(rows["y"], pa.int32())
    return pa.table(columns)


@pytest.fixture(scope="module")
def expected() -> dict[int, dict[str, Any]]:
    """The counts of the live kernel, one event a row."""
    schema = analyze({"x": [0.0], "y": [1], "c": ["red"]}, REFERENCE, model=model_of()).schema
    return {start: {name: rounded(rows) for name, rows in tables.items()}
            for start, tables in by_events(awkward(), schema, FEATURES, 3600).items()}  # fmt: skip


def same(log: Any, expected: dict[int, dict[str, Any]], **how: Any) -> None:
    """Compare an engine's counts with those of the live kernel."""
    found = counted(analyze(log, REFERENCE, model=model_of(EXTRA), span="hour", now=NOW, **how))
    assert {
        start: {name: rounded(rows) for name, rows in tables.items()} for start, tables in found.items()
    } == expected


def test_arrow_and_pandas(expected: Any) -> None:
    """A table in memory, and its parts."""
    table = table_of(awkward())
    same(table, expected)
    same(pa.concat_tables([table.slice(0, 7), table.slice(7)]), expected)
    same(table.to_reader(100), expected)


@pytest.mark.parametrize("engine", ["arrow", "duckdb"])
def test_parquet_of_several_files(tmp_path: Path, expected: Any, engine: str) -> None:
    """Files of several zones and units, a folder within, an empty file; a glob, a folder and a list of them."""
    table = table_of(awkward())
    naive = table.slice(0, 900).set_column(0, "timestamp", _berlin(table.column("timestamp").slice(0, 900)))
    (tmp_path / "more").mkdir()
    parquet.write_table(naive if engine == "arrow" else table.slice(0, 900), tmp_path / "1.parquet")
    parquet.write_table(table.slice(900, 1100), tmp_path / "2.parquet", row_group_size=128)
    parquet.write_table(table.slice(2000), tmp_path / "more" / "3.parquet")
    parquet.write_table(table.slice(0, 0), tmp_path / "more" / "4.parquet")
    same(str(tmp_path / "**" / "*.parquet"), expected, engine=engine)
    same(tmp_path, expected, engine=engine)
    same(sorted(tmp_path.rglob("*.parquet")), expected, engine=engine)


def _berlin(times: Any) -> pa.Array:
    """Return times as the clocks of Berlin show them, without saying so."""
    from pyarrow import compute

    return compute.local_timestamp(times.cast(pa.timestamp("ms", tz="Europe/Berlin")))


def test_a_query_of_duckdb(tmp_path: Path, expected: Any) -> None:
    """The user's own SQL says what the log is."""
    parquet.write_table(table_of(awkward()), tmp_path / "log.parquet")
    same(f"SELECT * FROM '{tmp_path / 'log.parquet'}' WHERE x IS NOT NULL OR true", expected)


def test_json_lines(tmp_path: Path, expected: Any) -> None:
    """One object a line; NaN and infinities as Python writes them, a gap as null or no key at all."""
    import json

    rows = awkward()
    lines = []
    for i in range(N):
        row = {name: values[i] for name, values in rows.items() if values[i] is not None or i % 2}
        row["category"], row["seconds"] = row.pop("segment", None), row.pop("duration", None)
        lines.append(json.dumps(row))
    (tmp_path / "log.jsonl").write_text("\n".join(lines) + "\n\n", encoding="utf-8")
    same(tmp_path / "log.jsonl", expected)


@pytest.mark.parametrize("engine", ["arrow", "duckdb"])
def test_csv(tmp_path: Path, engine: str) -> None:
    """A CSV file counts as the table that was written to it; an empty cell, and NA, are gaps."""
    rows = awkward()
    rows["segment"] = [(None if value == "" else value) for value in rows["segment"]]
    rows["c"] = [(None if value == "NA" else value) for value in rows["c"]]
    schema = analyze({"x": [0.0], "y": [1], "c": ["red"]}, REFERENCE, model=model_of()).schema
    want = {start: {name: rounded(tables) for name, tables in found.items()}
            for start, found in by_events(rows, schema, FEATURES, 3600).items()}  # fmt: skip
    csv.write_csv(table_of(rows), tmp_path / "log.csv")
    same(tmp_path / "log.csv", want, engine=engine)
