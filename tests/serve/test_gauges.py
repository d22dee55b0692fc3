"""What `modelwatch serve` exports: each gauge, against the truth counted by hand."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections import Counter
from typing import Any

import pytest

from alerts.life import REFERENCE, labels, requests
from counting import page_values
from modelwatch import names
from modelwatch.events import LabelCount
from modelwatch.reference import CategoricalProfile, NumericProfile
from modelwatch.serve.gauges import ORDER, page
from modelwatch.serve.run import Parts
from modelwatch.serve.told import Slos
from modelwatch.statistics import noise, psi
from serve.conftest import URL, House

MODEL = {"model_name": "sentiment", "model_version": "1"}


def read(parts: Parts) -> dict[Any, float]:
    """Return {(name, labels): value} of the exposition."""
    slos = Slos(parts.config, parts.live, parts.clock).read()
    found = page_values(page(parts.evaluator, slos, parts.config.time_scale, openmetrics=False))
    assert page_values(page(parts.evaluator, slos, parts.config.time_scale, openmetrics=True)) == found
    return found


def of(found: dict[Any, float], name: str, **more: str) -> float:
    """Return a value by its labels."""
    return found[name, tuple(sorted(more.items()))]


def numeric_distance(profile: NumericProfile, values: list[float]) -> float:
    """Return the largest difference of the two shares below an exported edge."""
    upto, worst = 0, 0.0
    for edge, n in zip(profile.exported, profile.shown_counts[:-1], strict=True):
        upto += n
        worst = max(worst, abs(sum(value <= edge for value in values) / len(values) - upto / profile.size))
    return worst


def share_distance(profile: CategoricalProfile, seen: Counter[str]) -> float:
    """Return half the sum of the differences of shares, beyond chance."""
    total = sum(seen.values())
    known = {name: seen[name] for name in profile.counts}
    apart = sum(abs(known[name] / total - n / profile.size) for name, n in profile.counts.items()) / 2
    by_chance = noise(profile.counts, known)
    assert by_chance
    return max(apart - by_chance.total_variation, 0.0)


def beyond_chance(reference: Any, current: Any) -> float:
    """Return the PSI less what chance alone makes of it."""
    value, by_chance = psi(reference, current), noise(reference, current)
    assert value is not None
    assert by_chance
    return max(value - by_chance.psi, 0.0)


def test_every_gauge_is_the_truth(house: House) -> None:
    """One day of counts: accuracy by segment, drift, objectives, cost, alerts, age and replicas."""
    parts = house.serve()
    events = requests(1500, seed=3, shift=20.0, languages=(0.5, 0.4, 0.1), classes=(0.2, 0.1, 0.7), low=0.7)
    events += requests(500, seed=4, failed=20, shift=20.0, languages=(0.5, 0.4, 0.1), classes=(0.2, 0.1, 0.7), low=0.7)
    house.happen(*events, labels=(*labels(30, 10), *labels(15, 5, "toys"), LabelCount("matched", "few", 0.5, True)))
    for answered in (True, True, False, True):
        house.answers = answered
        house.rounds(parts, 4)
    house.clock.advance(-5)
    found = read(parts)

    told = "ml_accuracy_by_segment"
    assert of(found, told, **MODEL, segment="books") == 30 / 40
    assert {dict(ls)["segment"] for name, ls in found if name == told} == {"books", names.WHOLE_SAMPLE}  # toys: too few
    assert of(found, told, **MODEL, segment=names.WHOLE_SAMPLE) == pytest.approx((45 * 10 + 2) / (60 * 10 + 2))

    features = [event[6] for event in events]
    for name in ("length", "stars"):
        values = [f[name] for f in features]
        score = numeric_distance(REFERENCE.numeric[name], values)
        key = ("ml_data_drift_score", tuple(sorted({**MODEL, "feature_name": name}.items())))
        assert found.get(key, score) == pytest.approx(score)
    assert of(found, "ml_data_drift_score", **MODEL, feature_name="length") > 0.3
    language = share_distance(REFERENCE.categorical["language"], Counter(f["language"] for f in features))
    assert of(found, "ml_data_drift_score", **MODEL, feature_name="language") == pytest.approx(language)

    answers = Counter(event[4] for event in events if event[4])
    prediction, confidence = REFERENCE.prediction, REFERENCE.confidence
    assert isinstance(prediction, CategoricalProfile)
    assert confidence
    classes = {name: answers[name] for name in prediction.counts}
    assert of(found, "ml_prediction_class_psi", **MODEL) == pytest.approx(beyond_chance(prediction.counts, classes))
    bins = [0] * (len(confidence.exported) + 1)
    for event in events:
        bins[bisect_left(confidence.exported, event[5])] += 1
    psi_of_confidence = beyond_chance(confidence.shown_counts, bins)
    assert of(found, "ml_concept_drift_psi", **MODEL) == pytest.approx(psi_of_confidence)

    slo = "ml_slo_compliance_percentage", "ml_slo_error_budget_remaining_ratio"
    assert of(found, slo[0], model_name="sentiment", slo_type="error_rate") == pytest.approx(100 * (1 - 20 / 2000))
    assert of(found, slo[1], model_name="sentiment", slo_type="error_rate") == pytest.approx(0, abs=1e-9)
    assert of(found, slo[0], model_name="sentiment", slo_type="availability") == pytest.approx(100 * 2 / 3)
    assert of(found, slo[1], model_name="sentiment", slo_type="availability") == pytest.approx(1 - (1 / 3) / 0.5)
    answering_s = 10 * 15  # of 16 rounds 4 found nobody, the first has none before it, the last is not counted yet
    spent = answering_s * 2 / 3600 * 1.20
    assert of(found, "ml_cost_per_1000_requests", **MODEL) == pytest.approx(1000 * spent / 2000)

    severities = Counter(severity for _, severity in firing_each(parts))
    for severity in ("critical", "warning", "info"):
        assert of(found, "modelwatch_alerts_firing", severity=severity) == severities[severity]
    assert of(found, "modelwatch_evaluation_age_seconds") == 10
    assert of(found, "modelwatch_replica_up", replica=URL) == 1
    assert {name for name, _ in found} | {names.DRIFT_ALERTS.name} == {metric.name for metric in ORDER}
    house.answers = False
    house.rounds(parts, 1)
    assert of(read(parts), "modelwatch_replica_up", replica=URL) == 0


def firing_each(parts: Parts) -> list[tuple[str, str]]:
    """Return (name, severity) of every alert that fires."""
    found = parts.evaluator.found.values()
    return [(v.rule.name, v.rule.severity) for one in found for v in one.evaluation.firing]


def test_drift_alerts_are_counted_when_they_begin(house: House) -> None:
    """A feature that has drifted for a day: one transition of each severity, and it stays counted."""
    parts = house.serve()
    chance = random.Random(5)
    for hour in range(30):
        if hour < 26:
            house.happen(*requests(300, seed=chance.randrange(9999), shift=20.0))
        house.rounds(parts, 1)
        house.clock.advance(3585)
        commit_ok = house.rounds(parts, 1, lambda: True)
        assert commit_ok
    found = {dict(ls)["severity"]: n for (name, ls), n in read(parts).items() if name == "ml_data_drift_alerts_total"}
    assert found
    assert set(found.values()) == {1}
    truth = {key[3]: n for key, n in parts.evaluator.fired.items() if key[1] == "DataDriftDetected"}
    assert found == truth


def test_what_is_not_known_is_absent(house: House) -> None:
    """Before an evaluation, and long after the last: no number but what is known, never the last one."""
    parts = house.serve()
    assert read(parts) == {}
    house.happen(*requests(2000, shift=20.0), labels=tuple(labels(30, 10)))
    house.rounds(parts, 1)
    assert len(read(parts)) > 10
    house.clock.advance(120)
    left = {name for name, _ in read(parts)}
    assert not left & {names.ACCURACY.name, names.DRIFT_SCORE.name, names.CONCEPT_PSI.name, names.ALERTS_FIRING.name}
    assert names.EVALUATION_AGE.name in left
