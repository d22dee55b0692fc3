"""The state of a host's models: signals of the last five minutes and their recent history, from `live.db`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwatch import names, signals
from modelwatch.clock import SteadyClock
from modelwatch.errors import ModelwatchError
from modelwatch.explain import History
from modelwatch.schema import CONFIDENCE_EDGES, ModelSchema
from modelwatch.signals import Counts, Objectives
from modelwatch.sources.drift import Compared, Watched, read_drift, watched_of
from modelwatch.sources.driftsince import Pieces
from modelwatch.sources.estimate import estimated
from modelwatch.sources.itself import itself
from modelwatch.sources.quality import QualitySource
from modelwatch.sources.traffic import TrafficSource, with_traffic
from modelwatch.store.live import HOUR, MINUTE, Key
from modelwatch.store.reader import Changes, HostState, LiveReader
from modelwatch.store.windows import WINDOWS_S, Windows, first_start
from modelwatch.tally import Tally

if TYPE_CHECKING:
    from modelwatch.config import Config

WINDOW_S = 5 * MINUTE  # this and what follows is divided by `time_scale`
HISTORY = 60  # minutes
MOST_ERROR_TYPES = 5
MOST_CLASSES = 12  # whose share is told
SHOWN_S = DAY_S = 86_400


class StatusSource:
    """Reads `live.db` again and again; each look costs what has changed.

    Parameters
    ----------
    live : path of the `live.db`.
    service, owner : names for people.
    objectives : {model: what is promised of it}.
    time_scale : divides every window; for demonstrations.
    quality : of the labels; None where there is no store.
    watched : {model: what its inputs and answers are compared with}.
    """

    def __init__(
        self,
        live: Path,
        *,
        service: str = "",
        owner: str | None = None,
        objectives: Mapping[str, Objectives] | None = None,
        time_scale: float = 1.0,
        clock: SteadyClock | None = None,
        notes: Callable[[], Iterable[str]] = tuple,
        quality: QualitySource | None = None,
        watched: Mapping[str, Watched] | None = None,
    ) -> None:
        self.live, self.service, self.owner = live, service, owner
        self.objectives, self.time_scale = dict(objectives or {}), time_scale
        self.clock = clock or SteadyClock()
        self.notes, self.quality = notes, quality
        self._watched = dict(watched or {})
        self._pieces: dict[Key, Pieces] = {}
        self._reader = LiveReader(live, self.clock.monotonic)
        drift = {seconds for one in self._watched.values() for _, seconds in one.windows}
        self._windows, self._host = Windows(tuple(sorted({*map(self._scaled, WINDOWS_S), *drift}))), HostState()
        self._lock = threading.Lock()
        self._traffic = TrafficSource(live, time_scale, self.clock)

    def _scaled(self, seconds: float) -> int:
        return max(round(seconds / self.time_scale), 1)

    @classmethod
    def from_config(cls, config: Config, live: Path | None = None, clock: SteadyClock | None = None) -> StatusSource:
        """Make the source of a configuration."""
        watched = watched_of(config)
        objectives = {name: Objectives.of(one.model, reference=one.reference) for name, one in watched.items()}
        return cls(
            live or config.live,
            service=config.service.name,
            owner=config.service.owner,
            objectives=objectives,
            watched=watched,
            time_scale=config.time_scale,
            clock=clock,
            quality=QualitySource.from_config(config),
        )

    def read(self) -> dict[str, Any]:
        """Return the state as plain values, ready for JSON.

        `models` has a mapping for each version that counted something in the last day: `readings` of every signal over
        the last five minutes (value, unit, samples, outcome, reason, limit), `details` (counts, quantiles in seconds,
        what happens now), `history` (the last hour by the minute; None where nobody counted), `quality` (see
        `QualitySource.read`; None where there is no store), `drift` (see `drift_state`; None for a model that is not in
        the configuration), `estimate` (see `estimated`, of the last day), `traffic` (see `TrafficSource.read`; left out
        where nobody knows). Beside it `workers`, `data_age_s`, `live`,
        which says whether the file could be read, and `monitor`, the state of modelwatch itself (see `itself`). Never
        raises for a file that cannot be read: then `live.kept` is False and `live.reason` says why.
        """
        with self._lock:
            now = self.clock.now()
            reason = None
            try:
                changes, self._host = self._reader.poll()
                self._windows.apply(changes, now, self._host.schemas, self._host.spans)
            except (sqlite3.Error, OSError, ModelwatchError) as error:
                reason, self._host = str(error), self._reader.remembered()
                host = self._host
                self._windows.apply(Changes(again=False, rows=()), now, host.schemas, host.spans)  # time goes on
            host = self._host
            keys = [key for key in sorted(self._windows.keys()) if self._is_recent(key, now)]
            status = {
                "service": self.service or (keys[0].model if keys else ""),
                "owner": self.owner,
                "now": now,
                "time_scale": self.time_scale,
                "window_s": float(self._scaled(WINDOW_S)),
                "workers": {"alive": host.workers, "died": host.deaths},
                "data_age_s": host.oldest_beat_age_s,
                "live": {"path": str(self.live), "kept": reason is None, "reason": reason},
                "notes": list(self.notes()),
                "models": [self._model(key, now) for key in keys],
                "monitor": itself(host, self._windows, self.live, readable=reason is None, scaled=self._scaled),
            }
            return with_traffic(status, None if reason else self._traffic)

    def _is_recent(self, key: Key, now: float) -> bool:
        return key in self._host.schemas and bool(self._windows.minutes(key, now - self._scaled(SHOWN_S)))

    def _counts(self, key: Key, tally: Tally, window_s: float, now: float) -> Counts:
        minute = self._host.spans.minute
        since = max(first_start(now, int(window_s), minute), self._host.began or 0)
        objectives = self.objectives.get(key.model, Objectives())
        watched = self._watched.get(key.model)
        reference = watched.reference if watched is not None and key.version == watched.model.version else None
        return Counts(tally, self._host.schemas[key], max(now - since, 1.0), objectives, key.version, reference)

    def _model(self, key: Key, now: float) -> dict[str, Any]:
        schema = self._host.schemas[key]
        window_s, day_s = self._scaled(WINDOW_S), self._scaled(DAY_S)
        counts = self._counts(key, self._windows.sum(key, window_s), window_s, now)
        drift = read_drift(
            self._watched.get(key.model), key.version,
            lambda seconds: self._counts(key, self._windows.sum(key, seconds), seconds, now),
            lambda: self._histories(key, now),
        )  # fmt: skip
        readings = [asdict(reading) for signal in signals.SIGNALS.values() for reading in signal.read(counts)]
        return {
            "name": key.model,
            "version": key.version,
            "task": "regression" if schema.classes is None else "classification",
            "readings": readings,
            "details": details_of(counts, self._host.gauges.get(key.model, {}) if self._host.heard else None),
            "history": self._history(key, now),
            "quality": None if self.quality is None else self.quality.read(key.model),
            "drift": drift,
            "estimate": estimated(self._counts(key, self._windows.sum(key, day_s), day_s, now)),
        }

    def _histories(self, key: Key, now: float) -> dict[Compared, History]:
        """Return what drift compares, piece by piece."""
        pieces = self._pieces.setdefault(key, Pieces(self._watched[key.model].long_s))
        return pieces.read(
            now, lambda since: self._windows.minutes(key, since), lambda tally: self._counts(key, tally, 1.0, now)
        )

    def _history(self, key: Key, now: float) -> dict[str, Any]:
        """Minute by minute, the open one left out: it would read as a fall."""
        minute = self._host.spans.minute
        last = int(now // minute) * minute
        starts = range(last - HISTORY * minute, last, minute)
        schema = self._host.schemas[key]
        return history_of(
            self._windows.minutes(key, starts[0]), starts, minute, schema,
            self.objectives.get(key.model, Objectives()), self._host.began or 0.0,
            classes_seen([self._windows.sum(key, self._scaled(HOUR))], schema),
        )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._reader.close()
            if self.quality is not None:
                self.quality.close()


def history_of(
    steps: Mapping[int, Tally],
    starts: range,
    step_s: int,
    schema: ModelSchema,
    objectives: Objectives,
    began: float,
    classes: Iterable[str],
) -> dict[str, Any]:
    """Return the series of a model version: None where nobody counted, or where nothing can be told.

    Parameters
    ----------
    steps : counts by the start of their step.
    starts : of the steps to show, Unix seconds.
    began : Unix time of the first count of all: before it nobody counted, which is not 0.
    classes : those whose share is told.
    """
    series: dict[str, list[float | None]] = {
        name: [] for name in ("request_rate", "error_ratio", "slow_ratio", "p95_s")
    }
    share: dict[str, list[float | None]] = {name: [] for name in classes}
    for start in starts:
        covered = min(step_s, start + step_s - began)
        counts = Counts(steps.get(start, Tally()), schema, max(covered, 1.0), objectives)
        rate = signals.REQUEST_RATE.measure(counts)[()][0]
        series["request_rate"].append(rate if covered > min(1, step_s / 2) else None)
        series["error_ratio"].append(signals.ERROR_RATIO.measure(counts)[()][0])
        series["slow_ratio"].append(signals.SLOW_RATIO.measure(counts)[()][0])
        p95 = signals.latency_quantile(counts, 0.95)
        series["p95_s"].append(p95.value if p95 else None)
        mix = signals.PREDICTION_SHARE.measure(counts)
        for name, shares in share.items():
            shares.append(mix.get((name,), (0.0 if mix else None, 0))[0])
    return {"step_s": step_s, "start": list(starts), **series, "share": share}


def details_of(counts: Counts, gauges: Mapping[str, float] | None) -> dict[str, Any]:
    """Return counts and quantiles of a window.

    gauges : what happens now, `in_progress` and `last_minute` (requests); None where nothing is heard.
    """
    quantiles = {q: signals.latency_quantile(counts, q) for q in (0.5, 0.95, 0.99)}
    p50, p95, p99 = quantiles.values()
    slow = signals.SLOW_RATIO.measure(counts)[()]
    confident = counts.total(names.CONFIDENCE)
    return {
        "requests": counts.total(names.REQUESTS),
        "failed": counts.total(names.FAILED),
        "cancelled": counts.total(names.CANCELLED),
        "slow": None if slow[0] is None else round(slow[0] * slow[1]),
        "latency_threshold_s": counts.objectives.latency_threshold_s,
        "latency_objective": counts.objectives.latency_objective,
        "p50_s": p50.value if p50 else None,
        "p95_s": p95.value if p95 else None,
        "p99_s": p99.value if p99 else None,
        "p95_bracket_s": [p95.low, p95.high] if p95 else None,
        "in_progress": int(gauges.get("in_progress", 0)) if gauges is not None else None,
        "throughput": gauges.get("last_minute", 0) / 60 if gauges is not None else None,
        "errors_by_type": _errors_by_type(counts.tally),
        "low_confidence_ratio": counts.total(names.LOW_CONFIDENCE) / confident if confident else None,
        "confidence": _confidence(counts.tally, counts.schema),
        "refused": counts.total(names.REFUSED),
        "internal_errors": counts.total(names.INTERNAL_ERRORS),
        "label_overflow": counts.total(names.OVERFLOW),
        "incomplete": _incomplete(counts.tally),
    }


def _errors_by_type(tally: Tally) -> list[list[Any]]:
    """Return the most frequent error types, [[type, count], …]."""
    table = tally.tables.get(names.ERRORS.name)
    found: dict[str, int] = {}
    for (_, kind), row in table.rows.items() if table else ():
        found[kind] = found.get(kind, 0) + int(table.counts[row, 0]) if table else 0
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [[kind, n] for kind, n in ranked[:MOST_ERROR_TYPES] if n]


def _incomplete(tally: Tally) -> dict[str, int]:
    """Return {metric: events under `__other__`, because one of its labels is at its cap}."""
    table = tally.tables.get(names.OVERFLOW.name)
    found: dict[str, int] = {}
    for (metric, _), row in table.rows.items() if table else ():
        n = int(table.counts[row, 0]) if table else 0
        if n:
            found[metric] = found.get(metric, 0) + n
    return found


def _confidence(tally: Tally, schema: ModelSchema) -> dict[str, Any]:
    """Return the confidence histogram on the exported edges."""
    table = tally.tables.get(names.CONFIDENCE.name)
    kept, edges = schema.confidence, list(CONFIDENCE_EDGES)
    if table is None or not table.rows:
        return {"edges": edges, "counts": [0] * (len(edges) + 1)}
    upto = table.counts[0].cumsum()
    at = [int(upto[kept.index(edge)]) for edge in edges] + [int(upto[-1])]
    return {"edges": edges, "counts": [at[0], *(b - a for a, b in pairwise(at))]}


def classes_seen(tallies: Iterable[Tally], schema: ModelSchema) -> list[str]:
    """Return the classes to draw: the declared ones, then those that were answered."""
    seen: dict[str, None] = dict.fromkeys(schema.classes or ())
    for tally in tallies:
        table = tally.tables.get(names.PREDICTIONS.name)
        seen |= {labels[0]: None for labels in table.rows} if table else {}
    return list(seen)[:MOST_CLASSES]
