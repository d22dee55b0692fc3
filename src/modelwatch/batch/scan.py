"""One column of the training data read in two passes, in flat memory: first its kind and edges, then its exact counts.

Counts, shares and moments are exact. The edges are exact quantiles of a column that has no more values than the sample
holds, and those of a uniform sample of it where there are more; which edge a bin has does not bend its count.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import numpy.typing as npt

from modelwatch.batch.columns import Kind, Part, as_categories, as_numbers, kind_of
from modelwatch.names import OTHER
from modelwatch.reference import CategoricalProfile, NumericProfile, NumericSums, quantile_edges

CATEGORIES = 1000  # as many as are counted live; the rest are one
TRACKED = 10_000  # distinct texts remembered of a column; above it is one of identifiers
IN_ALL, LEAST, MOST = 2_000_000, 10_000, 1_000_000  # values kept for the edges: of all columns, and of each
SEED = 1


class Sample:
    """A uniform sample of at most `size` values of a stream: all of them, where there are no more.

    Every value draws a number, and those with the smallest stay; the draws are seeded, so that equal data give equal
    samples.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._rng = np.random.default_rng(SEED)
        self._values: list[npt.NDArray[np.float64]] = []
        self._draws: list[npt.NDArray[np.float64]] = []
        self._kept, self._limit = 0, 1.0

    def add(self, values: npt.NDArray[np.float64]) -> None:
        """Let values take part in the draw."""
        draws = self._rng.random(len(values))
        if self._limit < 1:
            stay = draws < self._limit
            values, draws = values[stay], draws[stay]
        self._values.append(values)
        self._draws.append(draws)
        self._kept += len(values)
        if self._kept > 2 * self.size:
            self._settle()

    def _settle(self) -> None:
        values, draws = np.concatenate(self._values), np.concatenate(self._draws)
        if len(values) > self.size:
            stay = np.argpartition(draws, self.size)[: self.size]
            values, draws = values[stay], draws[stay]
            self._limit = float(draws.max())
        self._values, self._draws, self._kept = [values], [draws], len(values)

    def sorted(self) -> npt.NDArray[np.float64]:
        """Return the sample in order."""
        if not self._values:
            return np.empty(0)
        self._settle()
        return np.sort(self._values[0])


class Scan:
    """What is found out about one column.

    kind : given, or inferred from the first part that has values.
    size : values kept for the edges.
    """

    def __init__(self, name: str, size: int, kind: Kind | None = None) -> None:
        self.name = name
        self.chosen = kind is not None
        self.kind: Kind | None = kind
        self.type = ""
        self.invalid: Counter[str] = Counter()
        self.categories: Counter[str] = Counter()
        self.overflow = 0  # values of categories that are not remembered
        self._sample = Sample(size)
        self._sums: NumericSums | None = None
        self._exported: tuple[float, ...] = ()

    # -- the first pass ------------------------------------------------------------------------------------------------

    def add(self, part: Part) -> None:
        """Take in a part of the column."""
        if self.kind is None:
            kind, self.type = kind_of(part)
            if kind == "empty":
                self.invalid["missing"] += len(part)
                return
            self.kind = kind
        if self.kind == "numeric":
            values, invalid = as_numbers(part)
            self.invalid.update(invalid)
            self._sample.add(values[np.isfinite(values)])
        elif self.kind == "categorical":
            counts, refused = as_categories(part)
            self.invalid.update(refused)
            if len(self.categories) + len(counts) > TRACKED:
                spare = {name: n for name, n in counts.items() if name not in self.categories}
                self.overflow += sum(spare.values())
                counts = Counter({name: n for name, n in counts.items() if name in self.categories})
            self.categories.update(counts)

    @property
    def is_huge(self) -> bool:
        """Whether it has more categories than are counted live."""
        return len(self.categories) > CATEGORIES or self.overflow > 0

    @property
    def has_values(self) -> bool:
        """Whether there is anything to profile."""
        return bool(len(self._sample.sorted())) if self.kind == "numeric" else bool(self.categories or self.overflow)

    # -- the second pass -----------------------------------------------------------------------------------------------

    def fix_edges(self, edges: tuple[float, ...] = (), exported: tuple[float, ...] = ()) -> None:
        """Begin the second pass on the edges given, or on the quantiles of the first."""
        if not edges:
            edges, exported = quantile_edges(self._sample.sorted())
        self._sums, self._exported = NumericSums(np.array(edges)), exported
        self._sums.invalid = dict(self.invalid)

    def count(self, part: Part) -> None:
        """Count a part of a numeric column, again from the first."""
        if self._sums is not None:
            self._sums.add(as_numbers(part).values)

    def profile(self) -> NumericProfile | CategoricalProfile:
        """Return the profile, after both passes."""
        if self._sums is not None:
            return self._sums.profile(self._exported)
        counts = dict(sorted(self.categories.items(), key=lambda item: (-item[1], item[0])))
        if self.is_huge:
            kept = dict(list(counts.items())[: CATEGORIES - 1])
            rest = sum(counts.values()) - sum(kept.values()) + self.overflow
            counts = {**kept, OTHER: kept.pop(OTHER, 0) + rest}
        return CategoricalProfile(counts, dict(self.invalid))


def sample_size(columns: int) -> int:
    """Return how many values of each of so many columns are kept for the edges."""
    return min(max(IN_ALL // max(columns, 1), LEAST), MOST)
