"""`analyze`: a log of any size to tallies by time bucket, over several threads, in flat memory, resumable."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from modelwatch.batch.analysis import Analysis
from modelwatch.batch.counting import SPANS, Buckets, Plan
from modelwatch.batch.inference import inferred_model
from modelwatch.batch.logs import Logs, Part, open_logs
from modelwatch.batch.mapping import roles_of
from modelwatch.batch.profile import profile
from modelwatch.config import ModelConfig
from modelwatch.errors import ConfigError, fault
from modelwatch.record.monitor import schema_of
from modelwatch.reference import Reference
from modelwatch.tally import Tally

#: Called with (rows so far, rows in all where that is known).
Progress = Callable[[int, "int | None"], None]
Packed = dict[int, bytes]


def analyze(
    logs: Any,
    reference: Any = None,
    *,
    model: ModelConfig | None = None,
    span: str | int = "minute",
    threads: int | None = None,
    progress: Progress | None = None,
    now: float | None = None,
) -> Analysis:
    """Count a log of predictions, as the service would have counted them live.

    Parameters
    ----------
    logs : path, glob or folder of parquet, CSV or JSON-lines files, or a list of these; or a pandas DataFrame, Arrow
        table, record batch or reader, or dict of arrays.
    reference : the training data in any of these forms, a `Reference`, or the path of a reference.json; None takes that
        of the model.
    model : its configuration, `logs` (names of columns) included; None infers one: every column that has no usual name
        is a feature.
    span : of a bucket: minute, hour, day, or seconds.
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
    source = open_logs(logs)
    known = _reference(reference if reference is not None else model and model.reference)
    if model is None:
        model = inferred_model(source, known)
    roles = roles_of(model, source.columns, source.name)
    schema = schema_of(model, reference=known or Reference())
    plan = Plan(schema, roles, seconds_of_span(span), time.time() if now is None else now)
    packed, rows = _count(source, plan, threads or os.cpu_count() or 1, progress)
    return Analysis(model, schema, known, roles, packed, plan.span, rows)


def seconds_of_span(span: str | int) -> int:
    """Return the seconds of a bucket.

    Raises
    ------
    ConfigError   neither minute, hour, day nor a whole number of minutes in seconds.
    """
    seconds = SPANS.get(span, 0) if isinstance(span, str) else span
    if type(seconds) is not int or seconds < SPANS["minute"] or seconds % SPANS["minute"]:
        expected = "minute, hour, day, or a whole number of minutes in seconds"
        raise ConfigError(fault("span", "span", span, expected, "Write minute."))
    return seconds


def _reference(given: Any) -> Reference | None:
    if given is None or isinstance(given, Reference):
        return given
    if isinstance(given, (str, Path)) and str(given).endswith(".json"):
        return Reference.load(given)
    return profile(given).reference


def _count(source: Logs, plan: Plan, threads: int, progress: Progress | None) -> tuple[Packed, int]:
    """Count every part, and add up."""
    sums: Packed = {}
    rows = 0
    for found, n in _counted(source, plan, threads):
        rows += n
        add_packed(sums, found)
        if progress is not None:
            progress(rows, source.rows)
    return dict(sorted(sums.items())), rows


def _counted(source: Logs, plan: Plan, threads: int) -> Iterator[tuple[Packed, int]]:
    """Yield what each part counted, in their order; few are under way at a time."""
    if threads == 1 or len(source.parts) == 1:
        for part in source.parts:
            yield count_part(part, plan)
        return
    waiting: list[Future[tuple[Packed, int]]] = []
    with ThreadPoolExecutor(threads, "modelwatch-batch") as pool:
        try:
            for part in source.parts:
                waiting.append(pool.submit(count_part, part, plan))
                if len(waiting) > threads:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def count_part(part: Part, plan: Plan) -> tuple[Packed, int]:
    """Return ({start of the bucket: its tally, dumped}, number of rows) of one part."""
    buckets, rows = Buckets(plan), 0
    for batch in part.read(plan.roles.columns()):
        rows += buckets.add(batch)
    return buckets.packed(), rows


def add_packed(sums: Packed, more: Mapping[int, bytes]) -> None:
    """Add buckets to those of the same start."""
    for start, blob in more.items():
        before = sums.get(start)
        if before is None:
            sums[start] = blob
        else:
            tally = Tally.load(before)
            tally.add(Tally.load(blob))
            sums[start] = tally.dump()
