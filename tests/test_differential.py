"""Our evaluation and a real Prometheus agree on every signal, minute by minute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from differential import Replay, differences, prometheus_of
from modelwatch.schema import ModelSchema, latency_edges
from modelwatch.signals import SIGNALS, Objectives
from modelwatch.testing import Prometheus
from support import require

OBJECTIVES = Objectives(latency_threshold_s=0.2, latency_objective=0.95, error_objective=0.99)
LENGTH_S = 95 * 60


def _events(second: int, replica: int, chance: random.Random) -> list[tuple[Any, ...]]:
    """Traffic with a quiet time, a burst of errors, slow minutes, cancelled requests, and a replica that sees little of it."""
    if 30 * 60 < second <= 42 * 60:  # nobody comes: ratios are undefined
        return []
    failing = 0.2 if 12 * 60 < second < 20 * 60 else 0.002
    slow = 4.0 if 50 * 60 < second < 58 * 60 else 1.0
    events = []
    for _ in range(chance.randrange(3) if replica else chance.randrange(20, 60)):
        error = "TimeoutError" if chance.random() < failing else "CancelledError" if chance.random() < 0.02 else None
        answer = chance.choices(["negative", "neutral", "positive"], [4, 1, 5 if second < 70 * 60 else 1])[0]
        endpoint = "/predict" if chance.random() < 0.9 else "/batch"
        duration = min(chance.lognormvariate(-2.6, 0.5) * slow, 20)
        events.append((endpoint, duration, error, None, None if error else answer, chance.random(), None))
    return events


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replay, Prometheus]]:
    """Two replicas of one version, one of the next; two restarts."""
    schema = ModelSchema(latency=latency_edges([0.2]), classes=("negative", "neutral", "positive"))
    folder: Path = tmp_path_factory.mktemp("differential")
    replay = Replay(schema, _events, LENGTH_S, ("1", "1", "2"), {26 * 60 + 15: 0, 80 * 60: 1}, seed=7)
    require("prometheus")
    promtool = require("promtool")
    with prometheus_of(replay, folder, promtool) as server:
        yield replay, server


@pytest.mark.parametrize("window_s", [300, 3600])
@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_signal_agrees_with_prometheus(replayed: tuple[Replay, Prometheus], name: str, window_s: int) -> None:
    """Values, samples and firing minutes of a signal are those of its PromQL over every replica, version and restart."""
    replay, server = replayed
    assert not differences(replay, server, SIGNALS[name], window_s, OBJECTIVES)


def test_replay_has_something_to_find(replayed: tuple[Replay, Prometheus]) -> None:
    """The replay fires both limits, rests, and is undefined in the quiet time: agreement on nothing would prove nothing."""
    replay, _ = replayed
    for name in ("error_ratio", "slow_ratio"):
        outcomes = [
            reading.outcome
            for readings in replay.readings(SIGNALS[name], 300, OBJECTIVES).values()
            for reading in readings
        ]
        assert {"ok", "firing", "cannot_tell"} <= set(outcomes), name
