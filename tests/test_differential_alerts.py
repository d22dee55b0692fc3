"""Every rule of the catalogue holds in the same minutes in our evaluation and in a real Prometheus."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from differential import MODEL, START, Replay, prometheus_of
from modelwatch.alerts import Rule, objectives_for, rules_of
from modelwatch.alerts.conditions import Key
from modelwatch.config import parse_config
from modelwatch.signals import ALERTING
from modelwatch.store.live import MINUTE
from modelwatch.testing import Prometheus
from support import require
from test_differential_model import A_DAY_BACK, LENGTH_S, NAMES, REFERENCE, SCHEMA, _events, _labels

CONFIG = parse_config(
    """
service: {name: service}
models:
  replayed:
    version: "2"
    task: classification
    classes: [negative, neutral, positive]
    features: {length: numeric, stars: numeric, language: categorical}
    slos: {latency: {threshold: 200ms}, availability: {}, error_rate: {}, accuracy: {}, throughput: {}, cost: {hourly: 90}}
    alerts: {HighLowConfidencePredictions: {info: 0.1}}
time_scale: 24
""",
    environ={},
)
RULES = rules_of(CONFIG, MODEL, REFERENCE)


def _whole(rule: Rule) -> Rule:
    """Return a rule with windows of whole minutes, of ten at least: ranges of scrapes and rows then cover the same time."""

    def fitted(condition: Any) -> Any:
        if hasattr(condition, "parts"):
            return replace(condition, parts=tuple(map(fitted, condition.parts)))
        window_s, offset_s = (round(s / 300) * 300.0 for s in (condition.window_s, condition.offset_s))
        return replace(
            condition,
            window_s=min(max(window_s, 600.0), 1200.0),
            offset_s=max(offset_s, 600.0) if condition.offset_s else 0.0,
        )

    return replace(rule, condition=fitted(rule.condition))


def _failing(second: int, replica: int, chance: random.Random) -> list[tuple[Any, ...]]:
    """The traffic of the signals' replay, with errors from minute 12 to 24 and slow answers from 60 to 90."""
    events = _events(second, replica, chance)
    failing, slow = 12 * 60 < second < 24 * 60, 60 * 60 < second < 90 * 60
    return [
        (
            event[0],
            0.5 if slow and chance.random() < 0.9 else event[1],
            "ValueError" if failing and chance.random() < 0.3 else None,
            *event[3:],
        )
        for event in events
    ]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replay, Prometheus]]:
    """Two replicas of one version, one of the next; a restart; one that is silent for ten minutes, then all."""
    folder: Path = tmp_path_factory.mktemp("alerts")
    silent = {1: (20 * 60, 30 * 60), 0: (26 * 60, 30 * 60), 2: (26 * 60, 30 * 60)}
    require("prometheus")
    promtool = require("promtool")
    replay = Replay(
        SCHEMA, _failing, LENGTH_S, ("1", "1", "2"), {82 * 60: 0}, 11,
        labels=_labels, reference=REFERENCE, silent=silent,
    )  # fmt: skip
    with prometheus_of(replay, folder, promtool) as server:
        yield replay, server


LOOKS_BACK = {signal.name for signal in A_DAY_BACK.values()}
QUIET = {"MetricsAbsent", "MonitorUnhealthy", "LabelStarvation", "CannotTell"}  # nothing here is so


@pytest.mark.parametrize("rule", [_whole(rule) for rule in RULES], ids=[rule.key for rule in RULES])
def test_rule_holds_in_the_same_minutes(replayed: tuple[Replay, Prometheus], rule: Rule) -> None:
    """By minute and by labels, over errors, drift, silence, missing labels, a restart, two versions."""
    if rule.condition.lead.signal.name in LOOKS_BACK:
        pytest.skip("it looks a day back; its signal has a replay of its own")
    replay, server = replayed
    objectives = objectives_for(CONFIG, MODEL, REFERENCE)
    spans = {int(s) for window, offset in rule.windows() for s in (window + offset, offset) if s}
    first = START + max(spans)
    ours: dict[int, set[Key]] = {}
    for end, look in replay.looks(tuple(sorted(spans)), objectives):
        if end >= first:
            ours[end] = {key for key, truth in rule.condition.evaluate(look).items() if truth.holds}
    expression = rule.condition.promql("", objectives)
    assert expression is not None
    names = rule.condition.lead.signal.labels
    theirs: dict[int, set[Key]] = {end: set() for end in ours}
    for labels, values in server.query_range(expression, first, START + replay.seconds, MINUTE).items():
        named = dict(labels)
        for at in values:
            theirs[int(at)].add(tuple((name, named[name]) for name in names))
    differing = {end - START: (ours[end], theirs[end]) for end in ours if ours[end] != theirs[end]}
    assert not differing, f"{len(differing)}: {dict(list(differing.items())[:4])}"
    if rule.name not in QUIET:
        assert any(ours.values()), "the replay never makes it hold"


def test_every_signal_of_an_alert_has_a_replay() -> None:
    """What rules compare is a signal that is replayed here, or is made like one that is; a new one fails this."""
    replayed = {*NAMES, *LOOKS_BACK}
    alike = {"requests_of_a_busy_hour": "requests"}  # the same numbers, of a larger smallest sample
    edges = re.compile(
        r"(rise_of_)?slower_than_[0-9._]+s(_bad)?|(errors|latency)_bad_ratio"
    )  # as slow_ratio and others
    found = {clause.signal.name for rule in rules_of(CONFIG, MODEL, REFERENCE) for clause in rule.condition.clauses()}
    for name in found - {"always"}:
        assert alike.get(name, name) in replayed or edges.fullmatch(name), name
    assert set(ALERTING) <= replayed
