"""The accuracy to be expected without labels, from the counts that a service keeps."""

from __future__ import annotations

import random

import pytest

from modelwatch.kernel import Kernel
from modelwatch.reference import Calibration, Reference
from modelwatch.schema import ModelSchema
from modelwatch.signals import Counts
from modelwatch.sources.estimate import estimated

SCHEMA = ModelSchema(classes=("a", "b"))


def is_right(chance: random.Random, confidence: float) -> bool:
    """Tell whether a model that is 10 points too sure of itself is right."""
    return chance.random() < max(0.0, confidence - 0.1)


def profile(rows: int = 50_000) -> Reference:
    """Return what training knew of such a model."""
    chance, counts, right, sums = random.Random(1), [0] * 50, [0] * 50, [0.0] * 50
    for _ in range(rows):
        confidence = chance.uniform(0.5, 1.0)
        at = min(49, int(confidence * 50))
        counts[at] += 1
        right[at] += is_right(chance, confidence)
        sums[at] += confidence
    return Reference(
        rows=rows, labelled=rows, right=sum(right), calibration=Calibration(tuple(counts), tuple(right), tuple(sums))
    )


def counted(confidences: list[float | None], reference: Reference | None, schema: ModelSchema = SCHEMA) -> Counts:
    """Return the counts of predictions of these confidences."""
    kernel = Kernel(schema)
    for start in range(0, len(confidences), 500):
        kernel.fold([("/p", 0.1, None, None, "a", c, None) for c in confidences[start : start + 500]])
    return Counts(kernel.tally, schema, 3600.0, reference=reference)


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.0), (0.5, 0.7), (0.9, 1.0)])
def test_the_estimate_holds_the_truth(low: float, high: float) -> None:
    """Whatever the mix of confidences, the accuracy that labels would show is within twice the interval."""
    chance = random.Random(2)
    sure = [chance.uniform(low, high) for _ in range(20_000)]
    truth = sum(is_right(chance, confidence) for confidence in sure) / len(sure)
    found = estimated(counted(list(sure), profile()))
    assert found is not None
    half = (found["high"] - found["low"]) / 2
    assert abs(found["value"] - truth) < 2 * half + 0.003  # a bin is 0.02 wide
    assert half < 0.02
    assert found["n"] == 20_000
    assert abs(found["training"] - 0.65) < 0.01


def test_odd_confidences_are_in_the_outer_bins() -> None:
    """What is outside 0 to 1 counts as sure, or as unsure, as can be; none is lost."""
    found = estimated(counted([-1.0, 0.0, 2.0, *[0.99] * 200], profile()))
    assert found is not None
    assert found["n"] == 203


@pytest.mark.parametrize(
    "counts",
    [
        None,
        counted([0.9] * 99, profile(1000)),
        counted([None] * 200, profile(1000)),
        counted([0.9] * 200, None),
        counted([0.9] * 200, Reference()),
        counted([0.9] * 200, profile(1000), ModelSchema(classes=None)),
    ],
)
def test_no_estimate_without_what_it_needs(counts: Counts | None) -> None:
    """Too few predictions, no confidence, no profile, no labels in it, a regression: no number."""
    assert estimated(counts) is None
