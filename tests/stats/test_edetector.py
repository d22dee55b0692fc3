"""The e-detector: goldens, its guarantee, and that it is fast where the error rate has risen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.statistics import ErrorDetector, error_null, wilson


def test_goldens_of_single_errors() -> None:
    """Only errors, one a block: the evidence of the statistics page; the alarm is at the eighth."""
    detector = ErrorDetector(0.15)
    expected_grid = (0.180723, 0.209302, 0.260870, 0.346154, 0.468750, 0.613636, 0.779221)
    assert detector.alternatives.tolist() == pytest.approx(expected_grid, abs=5e-7)
    seen = {}
    for block in range(1, 9):
        assert not detector.alarm()
        detector.block(1, 1)
        seen[block] = detector.evidence()
    assert [seen[b] for b in (1, 2, 5, 8)] == pytest.approx([2.722529, 12.041925, 972.66323, 110805.80], rel=2e-7)
    assert detector.alarm()


def test_goldens_of_blocks() -> None:
    """Three blocks of ten labels."""
    detector = ErrorDetector(0.15)
    evidence = []
    for errors in (2, 5, 8):
        detector.block(errors, 10)
        evidence.append(detector.evidence())
    assert evidence == pytest.approx([0.58185433, 17.033788, 103775.86], rel=1e-7)
    assert ErrorDetector(0.15).blocks([(2, 10), (5, 10), (8, 10), (9, 10)]) == 2
    assert ErrorDetector(0.15).blocks([(1, 10), (0, 10)]) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_empty_blocks_change_nothing(counts: list[tuple[int, int]]) -> None:
    """Silence is no evidence: blocks without labels may be left out; the logarithms equal the plain recursion."""
    detector, without = ErrorDetector(0.2), ErrorDetector(0.2)
    plain = np.zeros(7)
    for errors, right in counts:
        n = errors + right
        detector.block(errors, n)
        if n:
            without.block(errors, n)
            ratio = (detector.alternatives / 0.2) ** errors * ((1 - detector.alternatives) / 0.8) ** right
            plain = np.minimum((plain + 1) * ratio, 1e60)
    assert detector.state == without.state
    assert detector.evidence() == pytest.approx(float(plain.mean()), rel=1e-9)


def test_false_alarms_keep_to_the_guarantee() -> None:
    """At the null itself, limit 1 000: over 40 000 labels no more than the guaranteed alarms; quick after a rise."""
    rng = np.random.default_rng(11)
    detector = ErrorDetector(0.15, limit=1000)
    start, alarms = detector.state, 0
    for error in (rng.random(40_000) < 0.15).tolist():
        detector.block(int(error), 1)
        if detector.alarm():
            alarms += 1
            detector.state = start
    assert 10 <= alarms <= 40 + 3 * math.sqrt(40)  # the bound is one on the mean
    delays = []
    for _ in range(30):
        fresh = ErrorDetector(0.15)
        at = fresh.blocks((int(error), 1) for error in rng.random(3000) < 0.40)
        assert at is not None
        delays.append(at)
    assert 30 < float(np.median(delays)) < 70  # 48 to 51 on the statistics page


def test_state_never_overflows() -> None:
    """Ten thousand errors, and a long silence of errors after them, stay finite."""
    detector = ErrorDetector(0.01)
    detector.block(10_000, 10_000)
    assert detector.evidence() == pytest.approx(1e60)
    detector.block(0, 10_000_000)
    assert math.isfinite(detector.evidence())
    assert not detector.alarm()


def test_null_of_a_baseline() -> None:
    """The upper bound at 99 %, with the margin; too few labels, or all wrong, give no null."""
    bound = wilson(150, 1000, 2.576)
    assert bound is not None
    assert error_null(150, 1000) == bound.high
    assert error_null(150, 1000, margin=0.02) == pytest.approx(bound.high + 0.02)
    assert error_null(150, 999) is None
    assert error_null(1000, 1000) is None


@pytest.mark.parametrize("p0", [0.0, 1.0, -0.1, math.nan])
def test_what_is_no_rate_is_refused(p0: float) -> None:
    """A null of 0 or 1 has no alternative."""
    with pytest.raises(ValueError, match=r"p0 is .*; expected a rate above 0 and below 1"):
        ErrorDetector(p0)


def test_impossible_blocks_are_refused() -> None:
    """More errors than labels is a fault of the caller, and changes nothing."""
    detector = ErrorDetector(0.15)
    with pytest.raises(ValueError, match="block is"):
        detector.block(2, 1)
    assert detector.evidence() == 0
