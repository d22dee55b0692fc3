"""Our evaluation and a real Prometheus agree on labels, drift, replicas and cost, minute by minute."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from differential import Replay, differences, prometheus_of
from modelwatch.events import LabelCount
from modelwatch.reference import CategoricalProfile, NumericProfile, NumericSums, Reference, profile_numeric
from modelwatch.schema import CONFIDENCE_EDGES, FINE_CONFIDENCE_EDGES, ModelSchema, latency_edges
from modelwatch.signals import ALERTING, FAILED_RISE, SLOW_RISE, Objectives, slower_rise
from modelwatch.signals.core import cells_of
from modelwatch.statistics import Chance
from modelwatch.testing import Prometheus
from support import require

LENGTH_S = 95 * 60
SEGMENTS = ("books", "music", None)


def confidences(n: int, chance: random.Random) -> list[float]:
    """Return confidences as a model answers them."""
    return [min(0.4 + chance.betavariate(4, 2) * 0.6, 1.0) for _ in range(n)]


def reference_of(chance: random.Random) -> Reference:
    """Return what training looked like: a spread-out number, one of few values, two categories, three classes."""
    confidence = NumericSums(np.array(FINE_CONFIDENCE_EDGES))
    confidence.add(np.array(confidences(5000, chance)))
    size = profile_numeric([chance.gauss(100, 20) for _ in range(5000)])
    return Reference(
        {
            "length": NumericProfile(size.edges, size.exported, size.counts, invalid={"missing": 100}),
            "stars": profile_numeric([float(chance.randrange(1, 6)) for _ in range(4000)]),
        },
        {"language": CategoricalProfile({"en": 3000, "de": 900, "fr": 100, "xx": 0})},
        5000,
        CategoricalProfile({"negative": 2000, "neutral": 500, "positive": 2500}),
        confidence.profile(CONFIDENCE_EDGES),
    )


REFERENCE = reference_of(random.Random(3))
SCHEMA = ModelSchema(
    latency=latency_edges([0.2]),
    classes=("negative", "neutral", "positive"),
    numeric={name: (profile.edges, profile.exported) for name, profile in REFERENCE.numeric.items()},
    categorical={"language": ("en", "de", "fr", "xx")},
    reviewed=True,
)
OBJECTIVES = Objectives(
    latency_threshold_s=0.2,
    latency_objective=0.95,
    error_objective=0.99,
    cost=0.05,
    hourly=1.2,
    chance=Chance(5),
    cells=cells_of(REFERENCE),
    job="service",
)


def _events(second: int, replica: int, chance: random.Random) -> list[tuple[Any, ...]]:
    """Traffic that drifts: inputs from minute 45, unseen categories from 60, doubt from 70; nobody between 30 and 40."""
    if 30 * 60 < second <= 40 * 60:
        return []
    moved, doubtful = second > 45 * 60, second > 70 * 60
    events = []
    for confidence in confidences(5 if replica else 60, chance):
        language = chance.choices(["en", "de", "fr", "pl"], [6, 2, 0.2, 3 if second > 60 * 60 else 0.01])[0]
        features = {
            "length": chance.choices([chance.gauss(130 if moved else 100, 20), None, float("nan")], [9, 1, 1])[0],
            "stars": float(chance.randrange(1, 6)),
            "language": language if chance.random() < 0.95 else None,
        }
        answer = chance.choices(["negative", "neutral", "positive"], [4, 1, 1 if doubtful else 5])[0]
        events.append(("/predict", 0.05, None, None, answer, confidence * (0.6 if doubtful else 1), features))
    return events


def _labels(second: int, _replica: int, chance: random.Random) -> list[LabelCount]:
    """Reviewers: none in the first minutes and none between 50 and 62; the model is wrong from 65 on."""
    if second < 300 or 50 * 60 < second <= 62 * 60:
        return []
    found = [LabelCount(kept=2)]
    if second == 600:  # so that no series begins and is reset within one window
        found += [LabelCount("matched", segment, 0.1, right) for segment in SEGMENTS for right in (True, False)]
    for _ in range(chance.randrange(3)):
        right = chance.random() < (0.01 if second > 65 * 60 else 0.9)
        inclusion = chance.choice([0.1, 0.1, 0.25, 0.5])
        found.append(LabelCount("matched", chance.choice(SEGMENTS), inclusion, right))
    return found


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Replay, Prometheus]]:
    """Two replicas of one version, one of the next; a restart; one that is silent for ten minutes, then all."""
    folder: Path = tmp_path_factory.mktemp("differential")
    silent = {1: (20 * 60, 30 * 60), 0: (26 * 60, 30 * 60), 2: (26 * 60, 30 * 60)}
    require("prometheus")
    promtool = require("promtool")
    replay = Replay(
        SCHEMA, _events, LENGTH_S, ("1", "1", "2"), {80 * 60: 0}, 7,
        labels=_labels, reference=REFERENCE, silent=silent,
    )  # fmt: skip
    with prometheus_of(replay, folder, promtool) as server:
        yield replay, server


A_DAY_BACK = {"slow_rise": SLOW_RISE, "failed_rise": FAILED_RISE, "twice": slower_rise(0.4)}  # in a replay of two days
NAMES = sorted(set(ALERTING) - set(A_DAY_BACK))


@pytest.mark.parametrize("window_s", [600, 3600])
@pytest.mark.parametrize("name", NAMES)
def test_signal_agrees_with_prometheus(replayed: tuple[Replay, Prometheus], name: str, window_s: int) -> None:
    """Values, samples and firing minutes of every alerting signal are those of its PromQL."""
    replay, server = replayed
    found = differences(replay, server, ALERTING[name], window_s, OBJECTIVES)
    assert not found, f"{len(found)}: {found[:6]}"


DRIFT = sorted(name for name in NAMES if name.startswith(("feature_", "category_", "answer_")))


@pytest.mark.parametrize("name", DRIFT)
def test_design_effect_agrees_with_prometheus(replayed: tuple[Replay, Prometheus], name: str) -> None:
    """Drift of requests of which four say as much as one: the same numbers on both sides, and not those of deff 1."""
    replay, server = replayed
    objectives = replace(OBJECTIVES, chance=Chance(5, deff=4.0))
    assert not differences(replay, server, ALERTING[name], 3600, objectives)
    with_it, without = (replay.readings(ALERTING[name], 3600, each) for each in (objectives, OBJECTIVES))
    assert (with_it == without) == (name == "feature_ks")


def _of_two_days(second: int, _replica: int, chance: random.Random) -> list[tuple[Any, ...]]:
    """Traffic in the first half hour of a day and in that of the next, slower then; nobody in between."""
    since = second % 86_400
    if since > 1800:
        return []
    bad = 0.02 if second < 86_400 else 0.1 if since > 900 else 0.02
    return [
        (
            "/predict", 0.5 if chance.random() < bad else 0.05, "TimeoutError" if chance.random() < bad else None, None,
            "neutral", 0.9, None,
        )
        for _ in range(chance.randrange(20, 40))
    ]  # fmt: skip


@pytest.mark.slow
def test_rise_against_the_day_before_agrees(tmp_path: Path) -> None:
    """Slow and failed requests against those of a day before: a day and a half hour of scrapes."""
    require("prometheus")
    promtool = require("promtool")
    schema = ModelSchema(latency=latency_edges([0.2]), classes=("neutral",))
    replay = Replay(schema, _of_two_days, 86_400 + 1800, ("1",), {}, 5)
    with prometheus_of(replay, tmp_path, promtool) as server:
        for signal in A_DAY_BACK.values():
            found = differences(replay, server, signal, 600, OBJECTIVES, known_s=86_400 + 600)
            assert not found, f"{len(found)}: {found[:6]}"
            readings = replay.readings(signal, 600, OBJECTIVES).values()
            assert max(r.value for each in readings for r in each if r.value is not None) > 4
