"""Accuracy, precision, recall and F1 of a classifier, from its confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.errors import fault
from modelwatch.statistics.accuracy import Floats


class ClassQuality(NamedTuple):
    """How one class is predicted. What is undefined is None.

    precision : right ones among those predicted as the class; None when nothing was.
    recall : found ones among those that are of the class; None when none is.
    f1 : 2 TP/(2 TP + FP + FN); None when the class is in neither; 0, not None, where only one of them is undefined.
    predicted, support : (weighted) labels predicted as the class, and of the class.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    predicted: float
    support: float


class Macro(NamedTuple):
    """Plain mean over the classes for which a number is defined, and which they are."""

    value: float | None
    over: tuple[str, ...]


@dataclass(frozen=True)
class Classification:
    """The quality of a classifier over some labels. `accuracy` is None without labels."""

    accuracy: float | None
    classes: tuple[ClassQuality, ...]

    def _macro(self, which: str) -> Macro:
        defined = {each.name: getattr(each, which) for each in self.classes if getattr(each, which) is not None}
        return Macro(sum(defined.values()) / len(defined) if defined else None, tuple(defined))

    @property
    def precision(self) -> Macro:
        """Macro precision."""
        return self._macro("precision")

    @property
    def recall(self) -> Macro:
        """Macro recall, also called balanced accuracy."""
        return self._macro("recall")

    @property
    def f1(self) -> Macro:
        """Macro F1."""
        return self._macro("f1")


def confusion(
    truth: Sequence[str] | npt.NDArray[np.str_],
    predicted: Sequence[str] | npt.NDArray[np.str_],
    classes: Sequence[str] = (),
    weights: npt.ArrayLike | None = None,
) -> tuple[tuple[str, ...], Floats]:
    """Count labels by true (row) and predicted (column) class.

    Mergeable where the classes are the same: matrices add up.

    Parameters
    ----------
    truth, predicted : class names, shape (n,).
    classes : come first, in this order, also where they have no labels; others follow in the order of their names.
    weights : 1/π of each; None: ones.

    Returns
    -------
    (class names, matrix of shape (classes, classes))

    Examples
    --------
    >>> confusion(["a", "a", "b"], ["a", "b", "b"])
    (('a', 'b'), array([[1., 1.],
           [0., 1.]]))
    """
    if len(truth) != len(predicted):
        raise ValueError(
            fault(
                "confusion", "length of truth", len(truth), str(len(predicted)), "Give one prediction for each label."
            )
        )
    others = set(np.unique(truth).tolist()) | set(np.unique(predicted).tolist()) if len(truth) else set()
    names = (*dict.fromkeys(classes), *sorted(others - set(classes)))
    code = {name: i for i, name in enumerate(names)}
    size = len(names)
    cells = [code[t] * size + code[p] for t, p in zip(truth, predicted, strict=True)]
    w = None if weights is None else np.asarray(weights, np.float64)
    counts = np.bincount(np.array(cells, np.int64), w, size * size)
    return names, counts.astype(np.float64).reshape(size, size)


def classification(names: Sequence[str], matrix: npt.ArrayLike) -> Classification:
    """Accuracy, and precision, recall and F1 of each class, from a confusion matrix of counts or weights.

    Parameters
    ----------
    names : of the classes, length k.
    matrix : shape (k, k): rows are true classes, columns are predicted ones.

    Returns
    -------
    Classification. Equal to scikit-learn's where those are defined; its `zero_division=nan` is our None.

    Raises
    ------
    ValueError   the matrix has another shape, or a negative cell.

    Examples
    --------
    >>> found = classification(["no", "yes"], [[63, 4], [17, 16]])
    >>> found.accuracy, found.classes[1].precision, round(found.classes[1].recall, 6)
    (0.79, 0.8, 0.484848)
    """
    cells = np.asarray(matrix, np.float64)
    if cells.shape != (len(names), len(names)) or not bool(np.all(cells >= 0)):
        raise ValueError(
            fault("classification", "matrix", cells.shape, f"{len(names)} x {len(names)} counts", "Use `confusion`.")
        )
    hits, predicted, support = (each.tolist() for each in (np.diag(cells), cells.sum(axis=0), cells.sum(axis=1)))
    classes = tuple(
        ClassQuality(name, _ratio(hit, p), _ratio(hit, s), _ratio(2 * hit, p + s), p, s)
        for name, hit, p, s in zip(names, hits, predicted, support, strict=True)
    )
    return Classification(_ratio(float(np.trace(cells)), float(cells.sum())), classes)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
