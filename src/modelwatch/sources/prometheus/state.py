"""The state of the models as a Prometheus has it, in the form of the state of a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from modelwatch import names, signals
from modelwatch.alerts import objectives_for
from modelwatch.config import Config
from modelwatch.signals import Counts, Look
from modelwatch.signals.core import MODEL, matcher
from modelwatch.sources.drift import Watched, read_drift, watched_of
from modelwatch.sources.itself import COUNTED, of_tallies
from modelwatch.sources.prometheus.client import Client
from modelwatch.sources.prometheus.looks import PrometheusCounts
from modelwatch.sources.status import HISTORY, WINDOW_S, classes_seen, details_of, history_of
from modelwatch.tally import Tally

HOUR_S, DAY_S = 3600.0, 86_400.0


def prometheus_state(config: Config, client: Client) -> dict[str, Any]:
    """Return what `StatusSource.read` returns, over all replicas that a Prometheus scrapes.

    `live.path` is its address. What only a host or the store knows is None: views of labels, the estimate without
    labels, the file of the counts.

    Raises
    ------
    PrometheusUnavailable   it is down, slow, answers something else, or has no series of a model.
    """
    counts = PrometheusCounts(config, client)
    models, hours, days = [], list[Tally](), list[Tally]()
    watched = watched_of(config)
    for name in config.models:
        look = _look(counts, name, watched[name])
        for version in look.schemas:
            models.append(_model(counts, look, version, watched[name]))
            hours.append(_tally(look, HOUR_S / config.time_scale, version))
            days.append(_tally(look, DAY_S / config.time_scale, version))
    return {
        "service": config.service.name,
        "owner": config.service.owner,
        "now": counts.now,
        "time_scale": config.time_scale,
        "window_s": max(WINDOW_S / config.time_scale, 1.0),
        "workers": _workers(counts),
        "data_age_s": _age_s(counts),
        "live": {"path": client.url, "kept": True, "reason": None},
        "notes": [],
        "models": models,
        "monitor": {
            "since": None, "counts": {name: of_tallies(metric, hours, days) for name, metric in COUNTED.items()},
            "damaged_rows": None, "file": {"bytes": None, "free_bytes": None, "set_aside": None}, "process": {},
            "used": {}, "gpus": [],
        },
    }  # fmt: skip


def _look(counts: PrometheusCounts, name: str, watched: Watched) -> Look:
    references = {} if watched.reference is None else {watched.model.version: watched.reference}
    objectives = objectives_for(counts.config, name, watched.reference)
    (look,) = counts.looks(name, set(), objectives, references, counts.now, drift_s=watched.long_s)
    return look


def _tally(look: Look, window_s: float, version: str) -> Tally:
    found = look.counts(window_s, 0.0, version)
    return Tally() if found is None else found.tally


def _model(counts: PrometheusCounts, look: Look, version: str, watched: Watched) -> dict[str, Any]:
    scale, schema = counts.config.time_scale, look.schemas[version]

    def of(seconds: float) -> Counts:
        found = look.counts(seconds, 0.0, version)
        assert found is not None, "a Prometheus has an answer for any window"
        return found

    now = of(max(WINDOW_S / scale, 1.0))
    starts = _minutes(counts)
    minutes = counts.minutes(look.model, version, starts)
    return {
        "name": look.model,
        "version": version,
        "task": "regression" if schema.classes is None else "classification",
        "readings": [asdict(reading) for signal in signals.SIGNALS.values() for reading in signal.read(now)],
        "details": details_of(now, _gauges(counts, look.model)),
        "history": history_of(
            minutes, starts, starts.step, schema, look.objectives, 0.0, classes_seen(minutes.values(), schema)
        ),
        "quality": None,
        "drift": read_drift(watched, version, of),
        "estimate": None,
    }


def _minutes(counts: PrometheusCounts) -> range:
    """Return when the minutes of the last hour began; the open one is left out: it would read as a fall."""
    step = max(round(counts.minute_s), 1)
    last = int(counts.now // step) * step
    return range(last - HISTORY * step, last, step)


def _gauges(counts: PrometheusCounts, model: str) -> Mapping[str, float] | None:
    """Return what happens now, over all replicas; None where nothing is heard of them."""
    selector, found = matcher(MODEL, model), {}
    for name, metric, times in (("in_progress", names.IN_PROGRESS, 1.0), ("last_minute", names.THROUGHPUT, 60.0)):
        value = counts.value(f"sum({metric.name}{{{selector}}})")
        if value is None:
            return None
        found[name] = value * times
    return found


def _workers(counts: PrometheusCounts) -> dict[str, int]:
    job = matcher("job", counts.config.service.name)
    alive, died = (counts.value(f"sum({metric.name}{{{job}}})") for metric in (names.WORKERS, names.WORKER_DEATHS))
    return {"alive": round(alive or 0), "died": round(died or 0)}


def _age_s(counts: PrometheusCounts) -> float | None:
    """Return how old the newest scrape of the models is; None where the last ones were in vain."""
    found = [
        value
        for name in counts.config.models
        if (value := counts.value(f"max(timestamp({names.MODEL_INFO.name}{{{matcher(MODEL, name)}}}))")) is not None
    ]
    return counts.now - max(found) if found else None
