"""What is wrong with a log is one line that says what to do, or a count of what was refused; never a wrong number."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from batch.logged import DAY, NOW, REFERENCE, counted, model_of
from modelwatch import names
from modelwatch.batch import analyze
from modelwatch.config import parse_config
from modelwatch.errors import ConfigError, ModelwatchError

GOOD: dict[str, list[Any]] = {
    "timestamp": [DAY, DAY + 1],
    "prediction": ["a", "b"],
    "x": [0.5, 1.0],
    "y": [1, 2],
    "c": ["red", "blue"],
}


def bare(**features: str) -> Any:
    """Return the model of the tests with other features."""
    return model_of().model_copy(update={"features": features})


def written(path: Path, content: bytes) -> Path:
    """Write a file, and return it."""
    path.write_bytes(content)
    return path


def truncated(folder: Path) -> Path:
    """Return a parquet file without its end."""
    parquet.write_table(pa.table({name: column * 5000 for name, column in GOOD.items()}), folder / "whole.parquet")
    return written(folder / "cut.parquet", (folder / "whole.parquet").read_bytes()[:-2000])


def damaged(folder: Path) -> Path:
    """Return a parquet file with its end, and with other bytes in its middle."""
    parquet.write_table(
        pa.table({name: column * 5000 for name, column in GOOD.items()}), folder / "whole.parquet", compression="zstd"
    )
    content = bytearray((folder / "whole.parquet").read_bytes())
    content[4:400] = bytes(396)
    return written(folder / "damaged.parquet", bytes(content))


BAD: dict[str, tuple[Any, str]] = {
    "truncated": (
        truncated,
        r"cut\.parquet: cannot be read \(.*\); expected parquet, CSV with a header, or JSON lines\. Mend it or leave it out\.",
    ),
    "damaged": (damaged, r"damaged\.parquet: cannot be read"),
    "no parquet": (lambda f: written(f / "a.parquet", b"not at all"), r"a\.parquet: cannot be read"),
    "empty file": (lambda f: written(f / "a.csv", b""), r"a\.csv: cannot be read"),
    "ragged": (lambda f: written(f / "a.csv", b"x,y\n1,2\n1,2,3\n"), r"a\.csv: cannot be read \(.*columns"),
    "no JSON": (
        lambda f: written(f / "a.jsonl", b'{"x": 1}\n{"x": \n'),
        r"a\.jsonl:2: the line is no JSON \(.*\); expected an object a line",
    ),
    "a list": (lambda f: written(f / "a.jsonl", b"[1]\n"), r"a\.jsonl:1: the line is of type list; expected an object"),
    "not text": (lambda f: written(f / "a.jsonl", b"\xff\xfe\x00"), r"a\.jsonl: cannot be read"),
    "no gzip": (lambda f: written(f / "a.jsonl.gz", b"plain"), r"a\.jsonl\.gz: cannot be read"),
    "other kind": (lambda f: written(f / "a.xlsx", b""), r"a\.xlsx: its name ends in '\.xlsx'; expected \.parquet"),
    "no such file": (lambda f: f / "none.parquet", r"none\.parquet: no file is there; expected a log\."),
    "no such glob": (lambda f: f"{f}/*.parquet", r"\*\.parquet: no file is there"),
    "empty folder": (lambda f: f, r"no file is there"),
    "lengths": (lambda _: {"x": [1], "y": [1, 2]}, r"logs: lengths of the columns are \[1, 2\]; expected one"),
    "a number": (lambda _: 7, r"logs: type of the batch is 'int'; expected a DataFrame"),
    "a query": (lambda _: "SELECT nonsense FROM nowhere", r"the query: DuckDB cannot read it \(.*nowhere"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_says_so_in_one_line(name: str, tmp_path: Path) -> None:
    """Which file or line, what is wrong with it, and what to do."""
    make, message = BAD[name]
    with pytest.raises(ModelwatchError, match=message) as caught:
        analyze(make(tmp_path), now=NOW)
    assert "\n" not in str(caught.value)


def test_every_missing_column_is_named_at_once() -> None:
    """Configured columns, and features, in one line with what is there."""
    model = model_of("    logs: {timestamp: at, latency: took}\n")
    with pytest.raises(ConfigError) as caught:
        analyze({"prediction": ["a"], "x": [0.5]}, REFERENCE, model=model, now=NOW)
    assert str(caught.value) == (
        "logs: columns at, took, y, c are not there; expected them among prediction, x. Name the columns under logs: in the"
        " configuration, or remove what the log does not have."
    )


def test_an_unknown_engine_or_span() -> None:
    """What there is is named."""
    with pytest.raises(ConfigError, match=r"engine: engine is 'hive'; expected one of arrow, duckdb, spark\."):
        analyze(GOOD, engine="hive")
    for span in ("week", 61, 0, True):
        with pytest.raises(ConfigError, match=r"span: span is .*; expected minute, hour, day"):
            analyze(GOOD, span=span)


def test_configured_names_are_checked() -> None:
    """A time zone that is none is a problem of the configuration."""
    with pytest.raises(ConfigError, match=r"logs\.time_zone: time_zone is 'Berlin'; expected the name of a time zone"):
        model_of("    logs: {time_zone: Berlin}\n")


def test_files_of_other_schemas(tmp_path: Path) -> None:
    """Columns that a file lacks are gaps; a column that is another type there is judged value by value."""
    parquet.write_table(pa.table(GOOD), tmp_path / "1.parquet")
    parquet.write_table(
        pa.table({**GOOD, "x": ["0.5", "wrong"], "y": [1.0, math.nan], "c": [3, 4]}), tmp_path / "2.parquet"
    )
    parquet.write_table(
        pa.table({"prediction": ["a"], "c": ["red"], "timestamp": ["2026-01-01T00:00:00Z"]}), tmp_path / "3.parquet"
    )
    parquet.write_table(
        pa.table({"x": pa.array([1], pa.decimal128(5, 2)), "prediction": pa.array([None], pa.null())}),
        tmp_path / "4.parquet",
    )
    found = analyze(tmp_path, REFERENCE, model=model_of(), now=NOW)
    invalid = {
        labels: counts[0] for labels, (counts, _) in found.total.tables[names.FEATURE_INVALID.name].as_dict().items()
    }
    assert invalid == {("x", "type"): 2, ("x", "missing"): 1, ("y", "nan"): 1, ("y", "missing"): 2, ("c", "missing"): 1}
    assert found.total.tables[names.FEATURE_CATEGORY.name].value(("c", "3")) == 1
    assert (found.rows, found.requests) == (6, 6)
    assert found.total.tables[names.FEATURE_VALUE.name].value(("x",)) == 3


def test_empty_logs_and_one_row(tmp_path: Path) -> None:
    """No rows count nothing; one row counts one."""
    table = pa.table(GOOD)
    parquet.write_table(table.slice(0, 0), tmp_path / "a.parquet")
    written(tmp_path / "b.csv", b"timestamp,prediction,x,y,c\n")
    written(tmp_path / "c.jsonl", b"")
    for log in (table.slice(0, 0), tmp_path / "a.parquet", tmp_path / "b.csv", pd.DataFrame(GOOD).iloc[:0]):
        for model in (model_of(), None):
            found = analyze(log, REFERENCE, model=model, now=NOW)
            assert (found.rows, found.requests, found.packed, found.began) == (0, 0, {}, None)
    assert analyze(tmp_path / "c.jsonl", now=NOW).rows == 0
    one = analyze(table.slice(0, 1), REFERENCE, model=model_of(), now=NOW)
    assert (one.rows, one.requests, one.began) == (1, 1, DAY)


def test_columns_of_gaps_only() -> None:
    """Every value is missing, whatever type an empty column has."""
    for empty in (pa.nulls(3), pa.array([None] * 3, pa.float64()), pa.array([None] * 3, pa.string()), [None] * 3):
        frame = {"prediction": ["a", "b", "a"], "x": empty, "y": empty, "c": empty, "timestamp": empty}
        found = analyze(frame, REFERENCE, model=model_of(), now=NOW)
        assert found.refused == {("timestamp", "missing"): 3}
        assert found.total.tables[names.FEATURE_INVALID.name].as_dict() == {
            (name, "missing"): ([3], 0) for name in ("x", "y", "c")
        }


def test_five_thousand_columns(tmp_path: Path) -> None:
    """As many features as there are columns, in some seconds and in memory that is theirs."""
    rng = np.random.default_rng(1)
    table = pa.table(
        {f"x{i}": rng.normal(size=50) for i in range(5000)} | {"prediction": ["a"] * 50, "timestamp": [DAY] * 50}
    )
    parquet.write_table(table, tmp_path / "wide.parquet")
    found = analyze(tmp_path / "wide.parquet", table, now=NOW)
    values = found.total.tables[names.FEATURE_VALUE.name]
    assert len(values.rows) == 5000
    assert values.total() == 250_000


def test_categories_without_end_are_counted_under_other() -> None:
    """Beyond the cap they are one, and their number is told; nothing is lost."""
    n = 20_000
    frame = {
        "prediction": ["a"] * n,
        "c": [f"user {i % 10_000}" for i in range(n)],
        "segment": [f"s{i % 10_000}" for i in range(n)],
    }
    found = analyze(frame, model=bare(c="categorical"), now=NOW).total.tables
    categories, segments = found[names.FEATURE_CATEGORY.name], found[names.SEGMENTS.name]
    assert len(categories.rows) <= 1002
    assert categories.total() == segments.total() == n
    assert found[names.OVERFLOW.name].value((names.FEATURE_CATEGORY.name, "category")) == n - 2000
    assert segments.value((names.OTHER,)) == n - 2000


def test_categories_without_end_in_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that saw other categories add up to no more than the cap."""
    monkeypatch.setattr("modelwatch.batch.logs.PART_ROWS", 1000)
    n = 5000
    table = pa.table(
        {"prediction": ["a"] * n, "c": [f"user {i}" for i in range(n)], "segment": [f"s{i}" for i in range(n)]}
    )
    parquet.write_table(table, tmp_path / "log.parquet", row_group_size=1000)
    found = analyze(tmp_path, model=bare(c="categorical"), now=NOW, threads=2).total.tables
    for metric in (names.FEATURE_CATEGORY, names.SEGMENTS):
        assert found[metric.name].total() == n
        assert len(found[metric.name].rows) <= 1001
    assert found[names.OVERFLOW.name].value((names.FEATURE_CATEGORY.name, "category")) == n - 1000


def test_without_java_spark_says_so(tmp_path: Path) -> None:
    """One line, before anything of Spark starts."""
    parquet.write_table(pa.table(GOOD), tmp_path / "log.parquet")
    code = "import sys; from modelwatch.batch import analyze; analyze(sys.argv[1], engine='spark')"
    environment = {name: value for name, value in os.environ.items() if name not in ("JAVA_HOME", "PATH")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log.parquet")],
        env={**environment, "PATH": ""}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert (
        "spark: there is no Java on this machine; expected java on the PATH, or JAVA_HOME. Install Java 17" in last
        or ("pyspark is not installed" in last and "CI" not in os.environ)
    )


def test_regressions_and_their_errors() -> None:
    """Values that are no numbers are refused; errors of those that are are summed."""
    config = parse_config('{service: {name: api}, models: {m: {version: "1", task: regression}}}', environ={}).model()
    frame = {"prediction": [1.0, 2.0, None, math.nan, "3"], "label": [1.5, "x", 1.0, 2.0, 3.0]}
    found = analyze(frame, model=config, now=NOW)
    assert found.refused == {("prediction", "nan"): 1, ("prediction", "type"): 1, ("label", "type"): 1}
    assert found.total.tables["batch_errors"].as_dict() == {
        ("absolute",): ([1], 0.5), ("squared",): ([1], 0.25), ("signed",): ([1], -0.5), ("truth",): ([1], 1.5),
        ("truth_squared",): ([1], 2.25),
    }  # fmt: skip


def test_json_lines_in_gzip_and_objects_within(tmp_path: Path) -> None:
    """Keys of objects within are joined by a point; the configuration names them."""
    with gzip.open(tmp_path / "log.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"at": DAY, "out": {"label": "a"}, "in": {"x": 0.5}}) + "\n" for _ in range(3))
    model = model_of("    logs: {timestamp: at, prediction: out.label, features: {x: in.x}}\n")
    model = model.model_copy(update={"features": {"x": "numeric"}})
    found = analyze(tmp_path / "log.jsonl.gz", REFERENCE, model=model, now=NOW)
    tables = counted(found)[DAY]
    assert tables[names.PREDICTIONS.name] == {("a",): ([3], 0)}
    assert sum(tables[names.FEATURE_VALUE.name]["x",][0]) == 3
