"""A log on a real cluster of two executors, each in a process of its own: the same counts, and one of them may die."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
import pyarrow as pa
import pytest
from pyarrow import parquet

from batch.logged import NOW, model_of
from batch.test_engines import awkward, same, table_of
from batch.test_engines import expected as expected
from batch.test_labels import LABELS, LOG, labelled
from modelwatch.batch import analyze
from modelwatch.errors import ConfigError
from support import require

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]
EXECUTOR = "CoarseGrainedExecutorBackend"


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    """A session on two executors with a core each."""
    if importlib.util.find_spec("pyspark") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("pyspark is not installed; run: pip install 'modelwatch[spark]'")
        pytest.skip("pyspark is not installed; run: pip install 'modelwatch[spark]'")
    require("java")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local-cluster[2,1,2048]")
    for name, value in {
        "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1",
        "spark.sql.session.timeZone": "America/New_York", "spark.executor.memory": "1g", "spark.task.maxFailures": "4",
        "spark.sql.adaptive.enabled": "false",
    }.items():  # fmt: skip
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def log(spark: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The awkward rows as a DataFrame of files, of which one is empty."""
    folder = tmp_path_factory.mktemp("log")
    table = table_of(awkward())
    for i in range(4):
        parquet.write_table(table.slice(1000 * i, 1000), folder / f"{i}.parquet")
    parquet.write_table(table.slice(0, 0), folder / "none.parquet")
    return spark.read.parquet(str(folder)).repartition(4)


def test_a_cluster_counts_the_same(log: Any, expected: Any) -> None:
    """Every partition is counted where it lies; empty ones add nothing."""
    same(log, expected)


def test_labels_are_joined_on_the_cluster(spark: Any, tmp_path: Path) -> None:
    """Late, twice, in conflict, of nobody: as the table of labels is joined on one machine."""
    parquet.write_table(pa.table(LOG), tmp_path / "log.parquet")
    parquet.write_table(pa.table(LABELS), tmp_path / "labels.parquet")
    log, labels = (spark.read.parquet(str(tmp_path / f"{name}.parquet")) for name in ("log", "labels"))
    assert labelled(log, labels) == labelled(LOG, LABELS)
    assert labelled(log, str(tmp_path / "labels.parquet")) == labelled(LOG, LABELS)
    with pytest.raises(ConfigError, match="labels: type is 'dict'; expected a Spark DataFrame"):
        analyze(log, labels=LABELS, now=NOW)


def test_files_and_what_fails_on_the_cluster(spark: Any, tmp_path: Path) -> None:
    """Files are read by the session that there is; a job that fails is one line that says why."""
    parquet.write_table(pa.table(LOG), tmp_path / "log.parquet")
    model = model_of().model_copy(update={"features": {}})
    assert analyze(tmp_path / "log.parquet", model=model, engine="spark", now=NOW).requests == 6

    def failing(batches: Any) -> Any:
        raise ValueError("the disk is gone")
        yield from batches

    log = spark.read.parquet(str(tmp_path / "log.parquet"))
    with pytest.raises(ConfigError, match=r"spark: the job failed \(.*ValueError: the disk is gone\)") as caught:
        analyze(log.mapInArrow(failing, log.schema), model=model, now=NOW)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_nothing_is_configured(log: Any, tmp_path: Path) -> None:
    """The kinds of columns and the classes are found in the first rows, as in a table."""
    found, table = analyze(log, now=NOW), analyze(table_of(awkward()), now=NOW)
    assert (found.model.features, found.model.classes) == (table.model.features, table.model.classes)
    assert found.rows == table.rows


def executors() -> list[psutil.Process]:
    """Return the processes of the executors."""
    return [
        p for p in psutil.Process().children(recursive=True) if p.is_running() and EXECUTOR in " ".join(_command(p))
    ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.slow
def test_an_executor_killed_in_the_middle_changes_nothing(spark: Any, log: Any, expected: Any) -> None:
    """Its tasks are run again on the other: every row counts once."""

    def slowly(batches: Any) -> Any:
        for batch in batches:
            time.sleep(1)
            yield batch

    slowed = log.repartition(8).mapInArrow(slowly, log.schema)
    killed: list[int] = []

    def kill() -> None:
        time.sleep(3)
        victim = executors()[0]
        killed.append(victim.pid)
        os.kill(victim.pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    same(slowed, expected)
    thread.join()
    assert killed
    assert not psutil.pid_exists(killed[0]) or psutil.Process(killed[0]).status() == psutil.STATUS_ZOMBIE
