"""`backtest`: a log through the exact rules of a configuration, minute by minute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelwatch.alerts import objectives_for, rules_of
from modelwatch.backtest.cumulated import Cumulated
from modelwatch.backtest.incidents import GRACE_S, Incident, compare
from modelwatch.backtest.replay import LONGEST_S, Watch, Watched, replay, worst_first
from modelwatch.backtest.result import SHORTEST_S, Backtest, when
from modelwatch.backtest.tuning import Log, Variant, tune, variants
from modelwatch.batch import Analysis, analyze
from modelwatch.config import Config, parse_config
from modelwatch.configfields import FrozenMap
from modelwatch.errors import ConfigError, NotEnoughData, fault
from modelwatch.store.live import DAY, Spans

Progress = Callable[[int, "int | None"], None]
LIKE = (
    'service: {name: log}\nmodels: {model: {version: "1", task: regression}}'  # what a log without one is replayed by
)


def backtest(
    logs: Any,
    config: Config | None = None,
    *,
    model: str | None = None,
    reference: Any = None,
    labels: Any = None,
    incidents: Sequence[Incident] = (),
    budget: float | None = None,
    every_s: int | None = None,
    grace_s: float | None = None,
    engine: str | None = None,
    progress: Callable[[str], Progress] | None = None,
    now: float | None = None,
) -> Backtest:
    """Replay a log through the rules of a model, as `modelwatch serve` would have evaluated them.

    Parameters
    ----------
    logs, reference, labels, engine, now : as `modelwatch.batch.analyze` takes them.
    config : whose rules; None: the defaults, and every column that has no usual name is a feature.
    model : needed where the configuration has several.
    incidents : labelled ones, to compare with.
    budget : pages a month that thresholds are proposed for; None: none are proposed.
    every_s : seconds of the log from one look to the next; None: a minute, divided by `time_scale`.
    grace_s : what is told so long after an incident is still of it; None: half an hour, divided by `time_scale`.
    progress : called with what is done, for each part of the work; what it returns is called with how far it is.

    Raises
    ------
    ConfigError     the log cannot be read, has no times, or is longer than 400 days; no such model.
    NotEnoughData   the log is empty, or too short for a budget; no incident lies in it.

    Examples
    --------
    >>> found = backtest({"timestamp": [0, 61], "prediction": ["a", "b"], "length": [3.0, 4.0]})
    >>> found.counts(), found.pages_a_month
    ({'critical': 0, 'warning': 0, 'info': 0}, None)
    """
    told = progress or (lambda _what: lambda _done, _all: None)
    scale = config.time_scale if config else 1.0
    analysis = analyze(
        logs, reference, labels=labels, model=config.model(model) if config else None,
        span=Spans.of(scale).minute, engine=engine, progress=told("counting"), now=now,
    )  # fmt: skip
    if config is None:
        made = parse_config(LIKE, environ={})
        config = made.model_copy(update={"models": FrozenMap({analysis.model.name: analysis.model})})
    log = log_name(logs)
    _check(analysis, log, scale, budget)
    counts = Cumulated(analysis.tallies(), analysis.span)
    return _replayed(log, config, analysis, counts, incidents, budget, every_s, grace_s, told("replaying"))


def _replayed(
    log: str,
    config: Config,
    analysis: Analysis,
    counts: Cumulated,
    incidents: Sequence[Incident],
    budget: float | None,
    every_s: int | None,
    grace_s: float | None,
    progress: Progress,
) -> Backtest:
    name, scale, known = analysis.model.name, config.time_scale, analysis.reference
    span = float(counts.began), float(counts.ended)
    notes = [*_notes(analysis), *outside(log, incidents, span)]
    watch = Watch(rules_of(config, name, known))
    tried: list[Variant] = variants(config, name, known) if budget is not None else []
    step = _step(every_s, counts.span)
    looks = replay(counts, _groups(config, analysis, counts, watch, tried), step, progress=progress)
    told = worst_first(watch.told)
    grace_s = GRACE_S / scale if grace_s is None else grace_s
    found, false = compare(incidents, told, span, grace_s)
    seconds = (span[1] - span[0]) * scale
    tuned = None if budget is None else tune(budget, tried, told, Log(incidents, span, seconds, grace_s))
    return Backtest(
        log, name, analysis.model.version, analysis.rows, *span, scale, looks, step, told, watch.blind, found,
        false if incidents else (), notes, tuned,
    )  # fmt: skip


def watched_of(config: Config, analysis: Analysis, counts: Cumulated) -> Watched:
    """Return the model of a log as its counts are looked at: nobody asks its replicas, and its version is new."""
    name, scale = analysis.model.name, config.time_scale
    return Watched(
        name, analysis.model.version, analysis.schema, objectives_for(config, name, analysis.reference),
        analysis.reference, float(counts.began), scale, max(analysis.model.drift.window_s / scale, 1.0),
    )  # fmt: skip


def _groups(
    config: Config, analysis: Analysis, counts: Cumulated, watch: Watch, tried: Sequence[Variant]
) -> list[tuple[Watched, list[Watch]]]:
    """Return who shares a look: variants whose thresholds are constants of signals have looks of their own."""
    watched = watched_of(config, analysis, counts)
    found = [(watched, [watch])]
    for one in tried:
        objectives = objectives_for(one.config, watched.model, watched.reference)
        mine = next((watches for other, watches in found if other.objectives == objectives), None)
        if mine is None:
            found.append((replace(watched, objectives=objectives), [one.watch]))
        else:
            mine.append(one.watch)
    return found


def log_name(logs: Any) -> str:
    """Return what a log is called in messages.

    Examples
    --------
    >>> log_name(["a.csv", "b.csv"]), log_name({"prediction": []})
    ('a.csv, b.csv', 'log')
    """
    if isinstance(logs, (str, Path)):
        return str(logs)
    if isinstance(logs, (list, tuple)) and all(isinstance(one, (str, Path)) for one in logs):
        return ", ".join(map(str, logs))
    return "log"


def _step(every_s: int | None, span: int) -> int:
    if every_s is None:
        return span
    if every_s < span or every_s % span:
        remedy = f"Write {max(every_s // span, 1) * span}."
        raise ConfigError(fault("every", "seconds", every_s, f"a multiple of {span}, which is a minute", remedy))
    return every_s


def _check(analysis: Analysis, log: str, scale: float, budget: float | None) -> None:
    """Raise in one line what makes a back-test impossible."""
    if not analysis.rows:
        raise NotEnoughData(f"{log}: has no rows; expected predictions with their times. Name another log.")
    if analysis.roles.timestamp is None:
        remedy = "Name the column under logs: {timestamp: ...} in the configuration."
        raise ConfigError(f"{log}: has no column of times; expected timestamp, ts or time. {remedy}")
    began, ended = analysis.began, analysis.ended
    if began is None or ended is None:
        why = ", ".join(f"{kind} {n:,}" for kind, n in _refused_times(analysis).items())
        raise ConfigError(
            f"{log}: no row has a time that can be used ({why}); expected ISO 8601 or Unix times that are past. "
            "Mend the column, or its time zone under logs: in the configuration."
        )
    if (ended - began) * scale > LONGEST_S:
        raise ConfigError(
            f"{log}: goes from {when(began)} to {when(ended)}; expected at most {LONGEST_S // DAY} days. "
            "Leave rows out whose time is wrong, or replay a part of it."
        )
    if budget is not None and (ended - began) * scale < SHORTEST_S:
        hours = (ended - began) * scale / 3600
        raise NotEnoughData(f"{log}: is {hours:.3g} hours long; --tune needs a day at least. Give a longer log.")


def _refused_times(analysis: Analysis) -> dict[str, int]:
    return {kind: n for (what, kind), n in analysis.refused.items() if what == "timestamp"}


def _notes(analysis: Analysis) -> list[str]:
    words = {
        "future": "is in the future", "missing": "is missing", "type": "is no time", "range": "is absurd",
    }  # fmt: skip
    refused = _refused_times(analysis).items()
    return [f"{n:,} rows are left out of the replay: their time {words.get(kind, kind)}." for kind, n in refused]


def outside(log: str, incidents: Sequence[Incident], span: tuple[float, float]) -> list[str]:
    """Return a sentence for each incident that does not lie in the log.

    Raises
    ------
    NotEnoughData   none of them does.
    """
    found = [one for one in incidents if one.start >= span[1] or one.end < span[0]]
    within = f"the log, which goes from {when(span[0])} to {when(span[1])}"
    if incidents and len(found) == len(incidents):
        raise NotEnoughData(
            f"{log}: none of {len(found)} incidents lies in {within}; the first is from {when(found[0].start)} to "
            f"{when(found[0].end)}. Is the time zone of the incidents that of the log?"
        )
    return [f"Incident {one.name} ({when(one.start)} to {when(one.end)}) is outside {within}." for one in found]
