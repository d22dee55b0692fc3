"""`report`: from files, queries or frames to a report; finds columns, kinds and a length of buckets by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelwatch.batch.analyzing import analyze, open_engine
from modelwatch.batch.arrow import NO_TIME, times_of
from modelwatch.batch.engine import Engine
from modelwatch.batch.inference import LOOKED_AT, inferred_model
from modelwatch.batch.local import LocalLog
from modelwatch.batch.mapping import Roles, roles_of
from modelwatch.batch.profile import profile
from modelwatch.batch.progress import Progress
from modelwatch.batch.reading import CSV, PARQUET, Source
from modelwatch.config import ModelConfig
from modelwatch.reference import Reference
from modelwatch.report.raw import Raw, raw_of
from modelwatch.report.state import Report, report_of

DAY_S = 86_400
#: The length of buckets of a log that lasts no longer than this, in seconds; a longer one is counted by the day.
LENGTHS = ((6 * 3600, "minute"), (14 * DAY_S, "hour"))
PROFILED = ("prediction", "confidence", "label")


def report(
    logs: Any,
    reference: Any = None,
    *,
    labels: Any = None,
    model: ModelConfig | None = None,
    columns: Mapping[str, str] | None = None,
    ignore: tuple[str, ...] = (),
    span: str | int | None = None,
    engine: str | None = None,
    threads: int | None = None,
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
    now: float | None = None,
) -> Report:
    """Return the report on a log of predictions.

    Parameters
    ----------
    logs, reference, labels, model, engine, threads, checkpoint, progress, now : as `modelwatch.batch.analyze` takes
        them.
    columns : names of the columns by role (timestamp, prediction, confidence, label, latency, error, segment,
        request_id, endpoint), where no `model` is given.
    ignore : columns that are no features, where no `model` is given.
    span : of a bucket; None: by the length of the log, so that there are a few hundred at most.

    Raises
    ------
    ConfigError, NotEnoughData, MissingExtra   as `modelwatch.batch.analyze`.

    Examples
    --------
    >>> found = report({"x": [1.0, 2.0, 3.0] * 50}, {"x": [1.0, 2.0, 3.0] * 50})
    >>> found.state["features"]["x"]["ks"]["statistic"], found.fails_on("warning")
    (0.0, False)
    """
    now = time.time() if now is None else now
    log = open_engine(logs, engine)
    given = reference if reference is not None else model and model.reference
    known, notes = _profiled(given, dict(columns or {}), ignore, model)
    configured = model is not None
    if model is None:
        model = inferred_model(log, known, columns, ignore, labelled=labels is not None)
    roles = roles_of(model, log.columns, log.name, labelled=(labels or model.logs.labels) is not None)
    found = analyze(
        logs, known, labels=labels, model=model, span=span or _span(log, roles, now), engine=engine, threads=threads,
        checkpoint=checkpoint, progress=progress, now=now,
    )  # fmt: skip
    raw = Raw()
    if known is not None and isinstance(log, LocalLog) and not hasattr(logs, "read_next_batch"):
        raw = raw_of(log, found.roles, known, _rows_of(given))
    return report_of(found, log=log.name, reference=_name(given), configured=configured, raw=raw, notes=notes)


def _is_profile(given: Any) -> bool:
    return isinstance(given, Reference) or (isinstance(given, (str, Path)) and str(given).endswith(".json"))


def _profiled(
    given: Any, columns: Mapping[str, str], ignore: tuple[str, ...], model: ModelConfig | None
) -> tuple[Reference | None, list[str]]:
    """Return the reference profile and notes on it; of raw rows it is made with the columns that the log has."""
    if given is None or isinstance(given, Reference):
        return given, []
    if _is_profile(given):
        return Reference.load(given), []
    there = _rows_of(given)
    names = set(there.columns) if there is not None else set()
    told = dict(columns) if model is None else {role: name for role in PROFILED if (name := getattr(model.logs, role))}
    prediction, confidence, label = (told[role] if told.get(role) in names else None for role in PROFILED)
    left = [name for role, name in told.items() if role not in (*PROFILED, "segment") and name in names]
    kinds: dict[str, list[str]] = {"numeric": [], "categorical": []}
    for name, kind in model.features.items() if model else ():
        if name in names:
            kinds[kind].append(name)
    data = given
    if isinstance(given, (str, Path)) and Path(given).is_file() and str(given).lower().endswith((*PARQUET, *CSV)):
        data = str(given)
    elif there is not None and isinstance(given, (str, Path, list, tuple)):
        data = _source(there)
    found = profile(
        data, ignore=[*left, *(name for name in ignore if name in names)], prediction=prediction,
        confidence=confidence, label=label, numeric=kinds["numeric"], categorical=kinds["categorical"],
    )  # fmt: skip
    return found.reference, [f"reference: {note}" for note in found.notes]


def _source(rows: Engine) -> Source:
    """Return rows of any form, such as several files, as a profile is made of; what a file lacks is missing."""

    def parts() -> Iterator[Mapping[str, Any]]:
        for batch in rows.first_rows(list(rows.columns), 2**62):
            n = len(next(iter(batch.values())))
            yield {name: batch[name] if name in batch else [None] * n for name in rows.columns}

    return Source(rows.name, rows.columns, parts, rows.rows)


def _rows_of(given: Any) -> Engine | None:
    """Return the raw rows of a reference; None where only a profile is there."""
    if _is_profile(given) or hasattr(given, "read_next_batch"):
        return None
    return open_engine(str(given) if isinstance(given, Path) else given)


def _name(given: Any) -> str:
    if isinstance(given, (list, tuple)) and given:
        return f"{given[0]} and {len(given) - 1} more" if len(given) > 1 else str(given[0])
    return str(given) if isinstance(given, (str, Path)) else "" if isinstance(given, Reference) else "a frame"


def _span(log: Engine, roles: Roles, now: float) -> str:
    """Return the length of buckets that suits the time from the first rows to the last, as the first rows tell it."""
    if roles.timestamp is None:
        return "day"
    low, high, rows = float("inf"), 0.0, 0
    for batch in log.first_rows([roles.timestamp], LOOKED_AT):
        column = batch.get(roles.timestamp)
        if column is None:
            continue
        starts, _ = times_of(column, roles.time_zone, now)
        rows += len(starts)
        starts = starts[starts != NO_TIME]
        if len(starts):
            low, high = min(low, float(starts.min())), max(high, float(starts.max()))
    lasts = max(high - low, 0.0) * max((log.rows or rows) / max(rows, 1), 1.0)
    return next((name for most, name in LENGTHS if lasts <= most), "day")
