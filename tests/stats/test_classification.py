"""Precision, recall and F1 from a confusion matrix: equal to scikit-learn, undefined where it warns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwatch.statistics import classification, confusion

ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.floats(0.1, 10)), min_size=1, max_size=60
)


@settings(max_examples=30)
@given(ROWS)
def test_equals_scikit_learn(rows: list[tuple[str, str, float]]) -> None:
    """Each number, weighted, is scikit-learn's with zero_division=nan to 1e-12; None where that is nan."""
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted, weights = (list(column) for column in zip(*rows, strict=True))
    names, matrix = confusion(truth, predicted, list("abcd"), weights)
    assert names == tuple("abcd")
    theirs = metrics.confusion_matrix(truth, predicted, labels=list("abcd"), sample_weight=weights)
    assert matrix == pytest.approx(theirs, abs=1e-12)
    found = classification(names, matrix)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted, sample_weight=weights), abs=1e-12)
    per_class = metrics.precision_recall_fscore_support(
        truth, predicted, labels=list("abcd"), sample_weight=weights, zero_division=np.nan
    )
    for i, each in enumerate(found.classes):
        for mine, their in zip((each.precision, each.recall, each.f1), (part[i] for part in per_class), strict=False):
            assert (mine is None) == math.isnan(their)
            assert mine is None or mine == pytest.approx(their, abs=1e-12)
    macro = metrics.precision_recall_fscore_support(
        truth, predicted, labels=list("abcd"), sample_weight=weights, zero_division=np.nan, average="macro"
    )
    for mine_macro, their in zip((found.precision, found.recall, found.f1), macro[:3], strict=True):
        assert mine_macro.value == pytest.approx(their, abs=1e-12)


def test_undefined_is_none_and_macro_says_over_which() -> None:
    """A class never predicted has no precision; one never true has no recall; macro leaves both out, by name."""
    names, matrix = confusion(["a", "a", "b"], ["a", "c", "a"], ["a", "b", "c", "d"])
    a, b, c, d = classification(names, matrix).classes
    assert (a.precision, a.recall, a.f1) == (0.5, 0.5, 0.5)
    assert (b.precision, b.recall, b.f1) == (None, 0.0, 0.0)
    assert (c.precision, c.recall, c.f1) == (0.0, None, 0.0)
    assert (d.precision, d.recall, d.f1) == (None, None, None)
    found = classification(names, matrix)
    assert found.precision == (0.25, ("a", "c"))
    assert found.recall == (0.25, ("a", "b"))
    assert found.f1 == (0.5 / 3, ("a", "b", "c"))
    assert (a.predicted, a.support, c.predicted, c.support) == (2, 2, 1, 0)


def test_no_labels() -> None:
    """Without labels nothing is a number; configured classes are there all the same."""
    names, matrix = confusion([], [], ["no", "yes"])
    found = classification(names, matrix)
    assert (found.accuracy, found.f1) == (None, (None, ()))
    assert [each.f1 for each in found.classes] == [None, None]
    assert classification(*confusion([], [])).accuracy is None


def test_classes_come_in_the_order_given_then_by_name() -> None:
    """The order of the configuration first, once each; what nobody configured follows."""
    names, matrix = confusion(["z", "y"], ["y", "x"], ["y", "a", "y"])
    assert names == ("y", "a", "x", "z")
    assert matrix.sum() == 2
    assert matrix[names.index("z"), names.index("y")] == 1


@given(ROWS, st.integers(0, 60))
def test_confusions_merge(rows: list[tuple[str, str, float]], cut: int) -> None:
    """Matrices on the same classes add up to that of the whole."""
    parts = [confusion([r[0] for r in p], [r[1] for r in p], list("abcd"))[1] for p in (rows, rows[:cut], rows[cut:])]
    assert (parts[0] == parts[1] + parts[2]).all()


def test_what_is_no_confusion_is_refused() -> None:
    """Another shape, negative or missing cells, columns of different length."""
    matrices: list[list[list[float]]] = [[[1, 2]], [[1, -1], [0, 0]], [[1, math.nan], [0, 0]]]
    for matrix in matrices:
        with pytest.raises(ValueError, match="classification: matrix is"):
            classification(["a", "b"], matrix)
    with pytest.raises(ValueError, match="length of truth is 1; expected 2"):
        confusion(["a"], ["a", "b"])
