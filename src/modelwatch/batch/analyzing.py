"""`analyze`: a log of any size to tallies by time bucket, over several threads, in flat memory, resumable."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from modelwatch.batch.analysis import Analysis, total_of
from modelwatch.batch.capping import capped, kept_of
from modelwatch.batch.counting import SPANS, Plan
from modelwatch.batch.duck import is_query, open_duckdb
from modelwatch.batch.engine import Counted, Engine, How, Packed, add_packed
from modelwatch.batch.inference import inferred_model
from modelwatch.batch.local import LocalLog
from modelwatch.batch.logs import open_logs
from modelwatch.batch.mapping import roles_of
from modelwatch.batch.profile import profile
from modelwatch.batch.progress import Progress
from modelwatch.batch.spark import SparkLog, is_spark, open_spark
from modelwatch.batch.warehouse import WarehouseLog, is_ibis
from modelwatch.config import ModelConfig
from modelwatch.errors import ConfigError, fault
from modelwatch.record.monitor import schema_of
from modelwatch.reference import Reference
from modelwatch.tally import Tally

ENGINES = ("arrow", "duckdb", "spark")


def analyze(
    logs: Any,
    reference: Any = None,
    *,
    labels: Any = None,
    model: ModelConfig | None = None,
    span: str | int = "minute",
    engine: str | None = None,
    threads: int | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    now: float | None = None,
) -> Analysis:
    """Count a log of predictions, as the service would have counted them live.

    Parameters
    ----------
    logs : path, glob or folder of parquet, CSV or JSON-lines files, or a list of these; an SQL query, which DuckDB
        runs; a pandas DataFrame, Arrow table, record batch or reader, or dict of arrays; a Spark DataFrame; or a table
        of Ibis.
    reference : the training data in any of these forms, a `Reference`, or the path of a reference.json; None takes that
        of the model.
    labels : a table of labels in any of these forms, joined by request id; None takes that of the model. The log's own
        labels are left alone then.
    model : its configuration, `logs` (names of columns) included; None infers one: every column that has no usual name
        is a feature.
    span : of a bucket: minute, hour, day, or seconds: whole minutes, or less than one where time is scaled.
    engine : arrow, duckdb or spark, for files; None: what the log is of, and arrow for files.
    checkpoint : file that keeps what is done, so that a count that was broken off goes on from there.
    threads : None: one a processor.
    progress : called about after each batch of rows.
    now : Unix time; rows that are later are refused. The time of the call by default.

    Raises
    ------
    ConfigError   a file that is not there or cannot be read; columns that are not there.
    NotEnoughData   training data without rows.
    MissingExtra   files need pyarrow.

    Examples
    --------
    >>> found = analyze({"timestamp": [0, 61], "prediction": ["a", "b"], "length": [3.0, 4.0]})
    >>> found.requests, [start for start, _ in found.tallies()]
    (2, [0, 60])
    """
    log = open_engine(logs, engine)
    known = _reference(reference if reference is not None else model and model.reference)
    if model is None:
        model = inferred_model(log, known)
    if labels is None:
        labels = model.logs.labels
    roles = roles_of(model, log.columns, log.name, labelled=labels is not None)
    schema = schema_of(model, reference=known or Reference())
    plan = Plan(schema, roles, seconds_of_span(span), time.time() if now is None else now, model.logs.label)
    how = How(threads, None if checkpoint is None else Path(checkpoint))
    packed, rows = _count(log, plan, how, labels, progress)
    total = total_of(packed, schema)
    kept = kept_of(total, schema)
    if kept:
        packed = {start: capped(Tally.load(blob), kept).dump() for start, blob in packed.items()}
        total = total_of(packed, schema)
    return Analysis(model, schema, known, roles, packed, total, plan.span, rows)


def open_engine(logs: Any, engine: str | None = None) -> Engine:
    """Return what carries a log.

    Parameters
    ----------
    logs : as `analyze` takes them.
    engine : arrow, duckdb or spark, for files; None: what the log is of, and arrow for files.

    Raises
    ------
    ConfigError   no such engine, or a log that is not for it.
    """
    if engine not in (None, *ENGINES):
        expected = "one of " + ", ".join(ENGINES)
        raise ConfigError(fault("engine", "engine", engine, expected, "Leave it out: it is found by the log."))
    if is_spark(logs):
        return SparkLog(logs)
    if is_ibis(logs):
        return WarehouseLog(logs)
    if engine == "spark":
        return open_spark(logs)
    if engine == "duckdb" or is_query(logs):
        return LocalLog(open_duckdb(logs))
    return LocalLog(open_logs(logs))


def seconds_of_span(span: str | int) -> int:
    """Return the seconds of a bucket.

    Raises
    ------
    ConfigError   neither minute, hour, day, seconds of less than a minute, nor of whole minutes.
    """
    seconds = SPANS.get(span, 0) if isinstance(span, str) else span
    if type(seconds) is not int or seconds < 1 or (seconds > SPANS["minute"] and seconds % SPANS["minute"]):
        expected = "minute, hour, day, or in seconds less than a minute or whole minutes"
        raise ConfigError(fault("span", "span", span, expected, "Write minute."))
    return seconds


def _reference(given: Any) -> Reference | None:
    if given is None or isinstance(given, Reference):
        return given
    if isinstance(given, (str, Path)) and str(given).endswith(".json"):
        return Reference.load(given)
    return profile(given).reference


def _count(log: Engine, plan: Plan, how: How, labels: Any, progress: Progress | None) -> Counted:
    """Count everything, and add up."""
    sums: Packed = {}
    rows = 0
    for counted in log.count(plan, how):
        rows += counted.rows
        add_packed(sums, counted.packed)
        if progress is not None:
            progress(rows, log.rows)
    if labels is not None:
        for counted in log.count_labels(plan, labels):
            add_packed(sums, counted.packed)
    return Counted(dict(sorted(sums.items())), rows)
