"""A log in PostgreSQL, counted there: the same counts, and no row leaves the database."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batch.logged import DAY, NOW, REFERENCE, model_of
from batch.test_engines import awkward, same, table_of
from batch.test_engines import expected as expected
from modelwatch.batch import analyze
from modelwatch.errors import ConfigError
from modelwatch.testing.postgres import Postgres, running_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server of this machine."""
    if importlib.util.find_spec("ibis") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("ibis is not installed; run: pip install 'modelwatch[warehouse]'")
        pytest.skip("ibis is not installed; run: pip install 'modelwatch[warehouse]'")
    if not (shutil.which("postgres") or Path("/usr/lib/postgresql").exists()) and os.environ.get("CI") != "true":
        pytest.skip("PostgreSQL is not installed; run: apt-get install postgresql")
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def tables(postgres: Postgres) -> Iterator[Any]:
    """A connection of Ibis to an empty database of the server."""
    import ibis

    url = postgres.new_database().replace("postgresql+psycopg://", "postgres://")
    connection = ibis.connect(url)
    yield connection
    connection.disconnect()


def test_postgres_counts_the_same(tables: Any, expected: Any) -> None:
    """NaN, infinities, gaps, values on edges, unseen categories, several hours: to the last count."""
    tables.create_table("log", table_of(awkward()))
    same(tables.table("log"), expected)


def test_times_of_a_wall_clock_and_numbers(tables: Any, expected: Any) -> None:
    """Times that do not say their zone are those of the configuration; whole numbers are told by their size."""
    from pyarrow import compute

    table = table_of(awkward())
    wall = compute.local_timestamp(table.column("timestamp").cast(pa.timestamp("us", tz="Europe/Berlin")))
    tables.create_table("wall", table.set_column(0, "timestamp", wall))
    same(tables.table("wall"), expected)
    seconds = [None if t is None else t * 1000 for t in awkward()["timestamp"]]
    tables.create_table("numbered", table.set_column(0, "timestamp", pa.array(seconds, pa.int64())))
    same(tables.table("numbered"), expected)


def test_an_empty_table_counts_nothing(tables: Any) -> None:
    """No rows, no counts, no fault."""
    tables.create_table("empty", table_of(awkward()).slice(0, 0))
    found = analyze(tables.table("empty"), REFERENCE, model=model_of("    logs: {latency: seconds}\n"), now=NOW)
    assert (found.rows, found.requests) == (0, 0)


LABELLED = {
    "prediction": ["a", "b", "a", None, "b", "b"], "label": ["a", "a", None, "a", "unheard of", "b"],
    "segment": ["books", None, "books", "books", "books", "books"], "confidence": [0.9, 0.6, 0.7, 0.5, 0.8, float("nan")],
    "timestamp": [DAY + 40 * i for i in range(6)], "kind": [True, False, None, True, True, False], "floor": [1, 2, 1, None, 3, 1],
}  # fmt: skip


def test_labels_and_other_kinds_of_columns(tables: Any) -> None:
    """Right and wrong by segment, the confusion and the calibration; booleans and numbers as categories; nothing configured."""
    table = pa.table(LABELLED)
    tables.create_table("labelled", table)
    model = model_of().model_copy(update={"features": {"kind": "categorical", "floor": "categorical"}})
    got = analyze(tables.table("labelled"), model=model, now=NOW)
    want = analyze(table, model=model, now=NOW)
    assert got.packed.keys() == want.packed.keys()
    assert {s: t.as_dict() for s, t in got.tallies()} == {s: t.as_dict() for s, t in want.tallies()}
    inferred, known = analyze(tables.table("labelled"), now=NOW), analyze(table, now=NOW)
    assert inferred.model == known.model
    assert inferred.total.as_dict() == known.total.as_dict()


def test_what_the_warehouse_refuses(tables: Any) -> None:
    """Times that are texts, labels of another table: one line that says what to do."""
    tables.create_table("texts", pa.table({"timestamp": ["2026-01-01"], "prediction": ["a"]}))
    with pytest.raises(
        ConfigError, match=r"column 'timestamp' is of type string; expected times\. Cast it there"
    ) as found:
        analyze(tables.table("texts"), now=NOW)
    assert "\n" not in str(found.value)
    tables.create_table("alone", pa.table({"timestamp": pa.array([int(NOW)], pa.timestamp("s")), "prediction": ["a"]}))
    with pytest.raises(ConfigError, match="Join them there"):
        analyze(tables.table("alone"), labels=LABELLED, model=model_of().model_copy(update={"features": {}}), now=NOW)
