"""What only raw values tell: the exact KS of small logs, and the share of values outside the range of training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch.batch.arrow import numbers_of
from modelwatch.batch.engine import Engine
from modelwatch.batch.mapping import Roles
from modelwatch.kernel import numbers
from modelwatch.reference import NumericProfile, Reference
from modelwatch.statistics.distances import KS, ks

MOST_ROWS = 1_000_000  # of a side whose values are sorted
MOST_CELLS = 8_000_000  # kept of a side at a time

Values = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Raw:
    """What was found in the raw values of features. ks : exact. outside : share beyond the range of training."""

    ks: Mapping[str, KS] = field(default_factory=dict)
    outside: Mapping[str, float] = field(default_factory=dict)


def raw_of(log: Engine, roles: Roles, reference: Reference, training: Engine | None) -> Raw:
    """Read the numeric features of a log once more.

    Parameters
    ----------
    training : the raw rows of the reference; None where only its profile is there, which gives no exact KS.
    """
    columns = {name: roles.features.get(name, "") for name in reference.numeric if roles.features.get(name)}
    exact: dict[str, KS] = {}
    if training is not None and _is_small(log) and _is_small(training):
        rows = max(log.rows or MOST_ROWS, training.rows or MOST_ROWS, 1)
        size = max(1, MOST_CELLS // rows)
        shared = [name for name in columns if name in training.columns]
        for begin in range(0, len(shared), size):
            some = shared[begin : begin + size]
            now = _values(log, {name: columns[name] for name in some})
            before = _values(training, {name: name for name in some})
            if now is None or before is None:  # more rows than its files had told
                exact = {}
                break
            found = {name: ks(before[name], now[name]) for name in some}
            exact |= {name: one for name, one in found.items() if one is not None}
    return Raw(exact, _outside(log, columns, reference.numeric))


def _is_small(log: Engine) -> bool:
    return log.rows is None or log.rows <= MOST_ROWS


def _batches(log: Engine, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    return log.first_rows(list(columns), 2**62)


def _values(log: Engine, columns: Mapping[str, str]) -> Values | None:
    """Return all values of some columns; None where there are more than are kept."""
    parts: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in columns}
    rows = 0
    for batch in _batches(log, list(columns.values())):
        rows += len(next(iter(batch.values())))
        if rows > MOST_ROWS:
            return None
        for name, column in columns.items():
            if column in batch:
                parts[name].append(numbers(numbers_of(batch[column]))[0])
    return {name: np.concatenate(some) if some else np.zeros(0) for name, some in parts.items()}


def _outside(log: Engine, columns: Mapping[str, str], profiles: Mapping[str, NumericProfile]) -> dict[str, float]:
    ends = {
        name: (one.low, one.high)
        for name in columns
        if (one := profiles[name]).low is not None and one.high is not None
    }
    if not ends:
        return {}
    beyond, seen = dict.fromkeys(ends, 0), dict.fromkeys(ends, 0)
    for batch in _batches(log, [columns[name] for name in ends]):
        for name, (low, high) in ends.items():
            if columns[name] in batch:
                values = numbers(numbers_of(batch[columns[name]]))[0]
                values = values[~np.isnan(values)]
                seen[name] += len(values)
                beyond[name] += int(((values < (low or 0.0)) | (values > (high or 0.0))).sum())
    return {name: beyond[name] / n for name, n in seen.items() if n and math.isfinite(n)}
