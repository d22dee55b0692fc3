"""Spark carries a log: every partition is counted by the kernel where it lies, and the tallies are added up.

`mapInArrow` hands the batches of a partition to the same code that counts files; what comes back is one row a bucket.
A task that is run again, because its executor was lost, counts again from nothing: no row counts twice.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwatch.batch.counting import Buckets, Plan
from modelwatch.batch.engine import Batch, Counted, How, added
from modelwatch.batch.joined import count_joined, joined_columns, label_roles
from modelwatch.batch.logs import files_of, open_logs
from modelwatch.batch.reading import CSV, PARQUET
from modelwatch.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

COUNTED = "start long, row_count long, tally binary"


def is_spark(log: Any) -> bool:
    """Tell a Spark DataFrame, without importing Spark."""
    return type(log).__module__.startswith("pyspark.sql")


@dataclass(frozen=True)
class SparkLog:
    """A log that is a DataFrame of Spark: whatever the cluster can read. modelwatch must be installed on it."""

    frame: DataFrame

    @property
    def name(self) -> str:
        """The log, for messages."""
        return "the DataFrame"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it has."""
        return tuple(self.frame.columns)

    @property
    def rows(self) -> None:
        """Nobody knows before they are read."""

    def first_rows(self, columns: list[str], rows: int) -> Iterator[Batch]:
        """Yield the first rows."""
        table = self.frame.select(*map(_quoted, columns)).limit(rows).toArrow()
        yield dict(zip(table.column_names, table.columns, strict=True))

    def count(self, plan: Plan, how: How) -> Iterator[Counted]:  # noqa: ARG002 - Spark has its own threads
        """Yield the counts of every bucket."""
        columns = plan.roles.columns() or list(self.columns[:1])
        yield from _summed(self.frame.select(*map(_quoted, columns)), _fold_rows(plan))

    def count_labels(self, plan: Plan, labels: Any) -> Iterator[Counted]:
        """Yield the counts of labels: a DataFrame, or the path of files."""
        if isinstance(labels, (str, Path)):
            labels = open_spark(labels).frame
        if not is_spark(labels):
            raise ConfigError(
                f"labels: type is {type(labels).__name__!r}; expected a Spark DataFrame, as the log is."
                " Read it with Spark."
            )
        yield from _summed(_joined(self.frame, labels, plan), _fold_joined(plan))


def open_spark(files: Any) -> SparkLog:
    """Return a log of files that Spark reads, with the session that there is, or a new one.

    Raises
    ------
    ConfigError   there is no Java, or the files are of another kind.
    MissingExtra   pyspark is not installed.
    """
    if importlib.util.find_spec("pyspark") is None:
        raise MissingExtra("spark: pyspark is not installed. Run `pip install 'modelwatch[spark]'`.")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        raise ConfigError(
            "spark: there is no Java on this machine; expected java on the PATH, or JAVA_HOME. Install Java 17,"
            " or leave engine out: pyarrow reads files of any size."
        )
    paths = [str(path) for one in ([files] if isinstance(files, (str, Path)) else files) for path in files_of(str(one))]
    from pyspark.sql import SparkSession

    read, ending = SparkSession.builder.getOrCreate().read, paths[0].lower()
    if ending.endswith(PARQUET):
        return SparkLog(read.option("mergeSchema", "true").parquet(*paths))
    if ending.endswith(CSV):
        return SparkLog(read.option("header", "true").option("inferSchema", "true").csv(paths))
    return SparkLog(read.json(paths))


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _batches(batches: Iterable[Any]) -> Iterator[Batch]:
    for batch in batches:
        yield dict(zip(batch.schema.names, batch.columns, strict=True))


def _packed(buckets: Buckets, rows: int) -> Iterator[Any]:
    from pyarrow import RecordBatch, array, binary, int64

    for i, (start, blob) in enumerate(buckets.packed().items()):
        rows_here = rows if i == 0 else 0
        yield RecordBatch.from_arrays(
            [array([start], int64()), array([rows_here], int64()), array([blob], binary())],
            names=["start", "row_count", "tally"],
        )


def _fold_rows(plan: Plan) -> Callable[[Iterable[Any]], Iterator[Any]]:
    def fold(batches: Iterable[Any]) -> Iterator[Any]:
        buckets, rows = Buckets(plan), 0
        for batch in _batches(batches):
            rows += buckets.add(batch)
        yield from _packed(buckets, rows)

    return fold


def _add(rows: Any) -> Any:
    """Add the tallies of one bucket."""
    from pyarrow import Table, array, binary, int64

    start = rows.column("start")[0].as_py()
    total = added(rows.column("tally").to_pylist())
    seen = sum(rows.column("row_count").to_pylist())
    return Table.from_arrays(
        [array([start], int64()), array([seen], int64()), array([total], binary())],
        names=["start", "row_count", "tally"],
    )


def _summed(frame: DataFrame, fold: Callable[[Iterable[Any]], Iterator[Any]]) -> Iterator[Counted]:
    sums = frame.mapInArrow(fold, COUNTED).groupBy("start").applyInArrow(_add, COUNTED)
    try:
        for row in sums.toLocalIterator():
            yield Counted({int(row["start"]): bytes(row["tally"])}, int(row["row_count"]))
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("pyspark", "py4j"):
            raise
        raise ConfigError(
            f"spark: the job failed ({_cause(error)}); expected rows of a log. Mend what it reads."
        ) from None


def _cause(error: Exception) -> str:
    """Return the line that says why a job failed: the last of the Python or Java exceptions within."""
    lines = [line.strip() for line in str(error).splitlines()]
    named = [line for line in lines if re.match(r"(Caused by: )?[\w.]+(Error|Exception)\b.*: ", line)]
    return (named[-1] if named else lines[0] if lines else type(error).__name__).removeprefix("Caused by: ")[:300]


def _joined(frame: DataFrame, labels: DataFrame, plan: Plan) -> DataFrame:
    """Return labels, and the rows that they are about, with those of one id in one partition."""
    from pyspark.sql import functions

    said_roles = label_roles(plan, tuple(labels.columns), "labels")
    here, there = functions.col(_quoted(str(plan.roles.request_id))), functions.col(_quoted(str(said_roles.request_id)))
    said = labels.select(there.cast("string").alias("id"), _struct(said_roles.columns()).alias("said"))
    rows = frame.select(here.cast("string").alias("id"), _struct(joined_columns(plan.roles)).alias("row"))
    rows = rows.join(said.select("id").distinct(), "id", "left_semi")
    return rows.unionByName(said, allowMissingColumns=True).repartition("id").select("row", "said")


def _struct(columns: list[str]) -> Any:
    from pyspark.sql import functions

    return functions.struct(*map(_quoted, columns))


def _fold_joined(plan: Plan) -> Callable[[Iterable[Any]], Iterator[Any]]:
    def fold(batches: Iterable[Any]) -> Iterator[Any]:
        from pyarrow import Table

        found = list(batches)
        if found:
            table = Table.from_batches(found)
            log, labels = (open_logs(_structures(table.column(name))) for name in ("row", "said"))
            yield from _packed(count_joined(log, labels, plan), 0)

    return fold


def _structures(column: Any) -> Any:
    """Return the structures of a column that are there, as a table."""
    from pyarrow import RecordBatch, Table

    array = column.combine_chunks()
    return Table.from_batches([RecordBatch.from_struct_array(array.filter(array.is_valid()))])
