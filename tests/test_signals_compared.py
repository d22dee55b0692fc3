"""Signals of drift and of the service where one side is missing or does not fit; and what each asks of a Prometheus."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from alerts.life import MODEL, REFERENCE, SCHEMA, START, requests
from alerts.test_catalogue import OBJECTIVES
from modelwatch import names
from modelwatch.kernel import Kernel
from modelwatch.reference import CategoricalProfile, Reference, profile_numeric
from modelwatch.schema import ModelSchema
from modelwatch.signals import ALERTING, SIGNALS, SLOW, SLOW_RISE, Counts, Facts, Look, Measure, Objectives, Signal
from modelwatch.signals import drift as drifts
from modelwatch.signals.core import cells_of
from modelwatch.signals.drift import ANSWER_CERTAINTY, ANSWER_PSI, CATEGORY_DRIFT, FEATURE_KS, sides
from modelwatch.signals.service import AVAILABILITY, REPLICAS_SILENT, SEASONED
from modelwatch.statistics import psi
from modelwatch.tally import Tally

SELECTOR = 'model_name="m"'
EXPORTED = {metric.name for metric in vars(names).values() if isinstance(metric, names.Metric)}
SUFFIXES = ("_bucket", "_count", "_sum", "_total", "")


def counted(
    schema: ModelSchema = SCHEMA, reference: Reference | None = REFERENCE, facts: Facts | None = None
) -> Counts:
    """Return the counts of 500 requests of version 1 in a day."""
    kernel = Kernel(schema)
    kernel.fold(requests(500))
    return Counts(kernel.tally, schema, 86_400.0, OBJECTIVES, "1", reference, facts or Facts())


@pytest.mark.parametrize("signal", {**SIGNALS, **ALERTING}.values(), ids=lambda signal: signal.name)
def test_what_is_asked_of_a_prometheus_has_series_that_exist(signal: Signal) -> None:
    """Both expressions are balanced, name only series that are exported, and none is asked without its selector."""
    asked = [signal.promql(SELECTOR, "7m", OBJECTIVES), signal.samples_promql(SELECTOR, "7m")]
    for text in asked:
        assert text
        assert text.count("(") == text.count(")")
        assert text.count("{") == text.count("}")
        for used in re.findall(r"\b(?:ml|modelwatch)_[a-z_0-9]+", re.sub(r'"[^"]*"', "", text)):
            assert any(used == f"{name}{end}" for name in EXPORTED for end in SUFFIXES), used
    assert asked[0] is not None
    assert 'model_name="m"' in asked[0] or "up{" in asked[0]


def test_drift_has_both_sides_on_the_bins_of_its_score() -> None:
    """Numbers, categories and answers; each side counts what was recorded, and what was trained on."""
    found = sides(counted())
    assert set(found) == {
        (FEATURE_KS.name, "length"), (FEATURE_KS.name, "stars"), (CATEGORY_DRIFT.name, "language"),
        (ANSWER_PSI.name, "classes"), (ANSWER_PSI.name, "confidence"),
    }  # fmt: skip
    current = found[FEATURE_KS.name, "stars"].current, found[CATEGORY_DRIFT.name, "language"].current
    assert [sum(side.values() if isinstance(side, Mapping) else side) for side in current] == [500, 500]


def test_without_a_profile_or_a_feature_nothing_is_compared() -> None:
    """No training data; a model without features: no sides, and no reading of drift."""
    assert sides(counted(reference=None)) == {}
    bare = counted(ModelSchema(latency=SCHEMA.latency))
    assert {signal for signal, _ in sides(bare)} <= {ANSWER_PSI.name}
    for signal in (FEATURE_KS, CATEGORY_DRIFT):
        assert signal.measure(counted(reference=None)) == {}
        assert signal.measure(bare) == {}


def test_a_feature_on_other_bins_is_not_compared() -> None:
    """Counted on edges that the profile has not got: left out, and told by the signal of other bins."""
    other = replace(SCHEMA, numeric={"length": ((1.0, 2.0), (1.0, 2.0))})
    found = counted(other)
    assert FEATURE_KS.measure(found) == {}
    assert ALERTING[drifts.OTHER_BINS.name].measure(found)


def test_confidences_on_other_edges_are_not_compared() -> None:
    """A profile whose edges are not exported by this version has no comparison of confidence."""
    odd = profile_numeric([0.501 + i / 10_007 for i in range(4000)])
    other = replace(REFERENCE, confidence=odd)
    assert (ANSWER_PSI.name, "confidence") not in sides(counted(reference=other))


def test_values_are_compared_where_the_model_predicts_numbers() -> None:
    """A regression has no classes: its values on the edges of the profile are the answers."""
    values = profile_numeric([float(i % 100) for i in range(5000)])
    schema = ModelSchema(latency=SCHEMA.latency, classes=None, value_edges=values.exported)
    kernel = Kernel(schema)
    kernel.fold([("/p", 0.1, None, None, float(i % 100), None, None) for i in range(500)])
    reference = Reference({}, {}, 5000, values)
    found = Counts(kernel.tally, schema, 86_400.0, OBJECTIVES, "1", reference, Facts())
    assert set(sides(found)) == {(ANSWER_PSI.name, "value")}
    other = ModelSchema(latency=SCHEMA.latency, classes=None, value_edges=(1.0, 2.0))
    assert sides(Counts(Kernel(other).tally, other, 86_400.0, OBJECTIVES, "1", reference, Facts())) == {}


def test_a_comparison_of_one_category_has_no_value() -> None:
    """All rows of one category, then and now: nothing can differ, so nothing is told."""
    alone = replace(REFERENCE, categorical={"language": CategoricalProfile({"en": 5000})})
    kernel = Kernel(SCHEMA)
    kernel.fold([("/p", 0.1, None, None, "positive", 0.9, {"length": 1.0, "stars": 1.0, "language": "en"})] * 500)
    found = Counts(kernel.tally, SCHEMA, 86_400.0, OBJECTIVES, "1", alone, Facts())
    (measured,) = CATEGORY_DRIFT.measure(found).values()
    assert measured[0] is None


def test_a_category_that_training_did_not_have_is_drift() -> None:
    """What is in no cell of the profile is a cell of its own, whose share is the score."""
    kernel = Kernel(SCHEMA)
    kernel.fold([(*event[:6], {**event[6], "language": "it"}) for event in requests(500)])
    found = Counts(kernel.tally, SCHEMA, 86_400.0, OBJECTIVES, "1", REFERENCE, Facts())
    (measured,) = CATEGORY_DRIFT.measure(found).values()
    assert measured[0] is not None
    assert measured[0] > 0.9


def test_a_side_that_is_empty_has_no_score() -> None:
    """Enough is counted, but nothing to compare it with: no value, and how many there were."""
    found = drifts._compared({}, {"en": 500}, 3, OBJECTIVES.chance, psi, "psi")
    assert (found.score, found.certainty, found.samples) == (None, None, 500)


def test_many_profiles_keep_their_plans_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pairs of schema and profile than are kept: each gives what it gave alone."""
    monkeypatch.setattr(drifts, "MOST_PLANS", 2)
    monkeypatch.setattr(drifts, "_plans", {})
    alone = FEATURE_KS.measure(counted())
    references = [replace(REFERENCE, rows=5000 + i) for i in range(5)]
    found = [FEATURE_KS.measure(counted(reference=one)) for one in references]
    assert found == [alone] * 5


def test_cells_of_every_kind_of_answer() -> None:
    """Classes count with one more for what was not seen; numbers by their bins; no profile has none."""
    values = profile_numeric([float(i % 7) for i in range(700)])
    assert cells_of(None) == ()
    assert cells_of(Reference({}, {}, 1, values)) == (len(values.exported) + 1,)
    assert cells_of(Reference({}, {}, 1, CategoricalProfile({"a": 1, "b": 2, "c": 0}))) == (2, 3)
    assert cells_of(Reference({}, {}, 1)) == ()


def test_replicas_are_silent_only_beside_one_that_answers() -> None:
    """All silent is the service that is down; a version that is new is judged later, and says when."""
    some = counted(facts=Facts({"a": True, "b": False}, True, {"1": 60.0}))
    assert REPLICAS_SILENT.measure(some) == {(): (1.0, 2)}
    assert REPLICAS_SILENT.measure(counted(facts=Facts({"a": False}, True, {}))) == {(): (None, 1)}
    (young,) = SEASONED.measure(some).values()
    assert "version 1 is new: judged in" in str(young)
    assert SEASONED.measure(counted()) == {("1",): Measure(1.0, 1)}


def test_minutes_of_what_nobody_counted_are_none() -> None:
    """A tally without minutes of objectives has no good and no bad ones."""
    empty = Counts(Tally(), SCHEMA, 60.0, OBJECTIVES)
    assert AVAILABILITY.count(empty) == (0, 0)


def test_a_look_measures_versions_that_counted_something() -> None:
    """Of two versions the one of which nothing is known has no reading; histories are read once a version."""
    asked: list[str] = []

    def histories(version: str) -> dict[tuple[str, str], object]:
        asked.append(version)
        return {}

    tally = counted().tally
    look = Look(
        MODEL, START, lambda version, *_: tally if version == "1" else None, {"1": SCHEMA, "2": SCHEMA}, OBJECTIVES,
        references={"1": REFERENCE}, histories=histories,  # type: ignore[arg-type]
    )  # fmt: skip
    assert set(look.measure(FEATURE_KS, 86_400)) == {("1", "length"), ("1", "stars")}
    assert look.history(FEATURE_KS, "length", "1") is None
    assert look.history(FEATURE_KS, "stars", "1") is None
    assert asked == ["1"]


def test_what_has_no_objective_has_no_expression() -> None:
    """Slow requests need a threshold; how certain drift is needs a profile. All requests can be counted without."""
    nothing = Objectives()
    for signal in (SLOW.bad_count(), SLOW_RISE, ANSWER_CERTAINTY):
        assert signal.promql(SELECTOR, "7m", nothing) is None
        assert signal.promql(SELECTOR, "7m", OBJECTIVES) is not None
    assert SLOW.bad_count().samples_promql(SELECTOR, "7m") == SLOW.all_promql(SELECTOR, "7m", nothing)
