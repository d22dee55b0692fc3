"""Features to counts: the dict of each request, or a column each, into the bins of the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from struct import Struct
from typing import Any

import numpy as np

from modelwatch import names
from modelwatch.binning import Edges
from modelwatch.columns import HUGE, Column, Floats, Numbers, bounded_sum, floor, numbers, of_rows
from modelwatch.labels import NONE_CODE, Coded, LabelCodes
from modelwatch.schema import ModelSchema
from modelwatch.tally import Tally


class FeatureKernel:
    """Counts features of one model version into `tally`, and whatever was refused."""

    def __init__(self, schema: ModelSchema) -> None:
        self.schema = schema
        # What a value's own code may raise, to be refused. In the main thread an exit is that of a signal handler.
        self.caught: type[BaseException] = BaseException
        self.tally: Tally = schema.empty()
        tables = self.tally.tables
        self._features, self._categories = tables.get(names.FEATURE_VALUE.name), tables[names.FEATURE_CATEGORY.name]
        self._invalid = tables[names.FEATURE_INVALID.name]
        self._refusals, self._overflows = tables[names.REFUSED.name], tables[names.OVERFLOW.name]
        fair = max(10, schema.cap // max(1, len(schema.categorical)))
        self.categories = {name: LabelCodes(fair, known) for name, known in schema.categorical.items()}
        self.numeric = list(self.schema.numeric)
        bins = self.schema.feature_bins
        self._feature_edges = [
            np.array([*kept, *[np.inf] * (bins - len(kept))]) for kept, _ in self.schema.numeric.values()
        ]  # a feature with fewer edges leaves its last columns empty
        self._edges = [Edges(edges) for edges in self._feature_edges]
        self._floors = np.array([floor(kept) for kept, _ in self.schema.numeric.values()])
        self._pick: Callable[[Any], tuple[Any, ...]] = (
            itemgetter(*self.numeric) if len(self.numeric) > 1 else self._pick_few
        )
        self._pack = Struct(f"{len(self.numeric)}d").pack  # C doubles, as array("d")
        self._known = {*self.numeric, *self.categories}

    def _pick_few(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple([row[name] for name in self.numeric])

    def refuse(self, where: str, kind: str, n: int) -> None:
        """Count values that were left out."""
        if n:
            self._refusals.count((where, kind), n)

    def _fold_feature_columns(self, features: Mapping[str, Column], absent: Coded) -> None:
        self.refuse("feature", "unknown", len(absent) * sum(name not in self._known for name in features))
        self._observe_features(numbers(features.get(name, absent), self.caught) for name in self.numeric)
        for name in self.categories:
            self._observe_categories(name, features.get(name, absent))

    def _fold_rows(self, rows: list[Any]) -> None:
        """Features by request. Fixed-width records, then one transposition: half the time of a column at a time."""
        good = [row for row in rows if type(row) is dict]
        self.refuse("feature", "type", len(rows) - len(good))
        if not good:
            return
        pick, pack = self._pick, self._pack
        given = len(good) * len(self.numeric)
        try:
            records = b"".join([pack(*pick(row)) for row in good])
            matrix = np.frombuffer(records).reshape(len(good), -1).T.copy()
        except self.caught:  # a feature is absent or no number: column by column
            columns, given = [], 0
            for name in self.numeric:
                values, there = of_rows(good, name, self.caught)
                given += there
                columns.append(numbers(values, self.caught))
            self._observe_features(columns)
        else:
            if not self._observe_matrix(matrix):
                self._observe_features([(column, None, 0, 0) for column in matrix])
        for name in self.categories:
            values, there = of_rows(good, name, self.caught)
            given += there
            self._observe_categories(name, values)
        self.refuse("feature", "unknown", sum(map(len, good)) - given)

    def _observe_matrix(self, matrix: Floats) -> bool:
        """Count a row of values a feature, all of them finite; return False when they are not. Sorts them in place."""
        table = self._features
        if table is None or not np.isfinite(matrix).all():
            return table is None
        with np.errstate(over="ignore"):
            sums = matrix.sum(axis=1)
        if not (np.abs(sums) < HUGE).all():
            return False
        matrix.sort(axis=1)
        for j in np.flatnonzero(matrix[:, 0] < self._floors).tolist():
            sums[j] = bounded_sum(matrix[j], self._floors[j])
        block = np.empty((len(matrix), self.schema.feature_bins), np.int64)
        for j, edges in enumerate(self._feature_edges):
            block[j] = matrix[j].searchsorted(edges, "right")
        block[:, 1:] -= block[:, :-1].copy()
        table.sums[: len(matrix)] += sums
        table.counts[: len(matrix)] += block
        return True

    def _observe_features(self, columns: Iterable[Numbers]) -> None:
        table = self._features
        if table is None:
            return
        used = len(self.numeric)
        block = np.empty((used, self.schema.feature_bins), np.int64)
        for j, (values, _, missing, wrong) in enumerate(columns):
            finite = values
            with np.errstate(over="ignore", invalid="ignore"):
                total = float(values.sum())
            if not np.isfinite(total) and not np.isfinite(values).all():  # a finite sum has finite values only
                finite = values[np.isfinite(values)]
                nan = int(np.isnan(values).sum())
                self.count_invalid(self.numeric[j], "nan", nan)
                self.count_invalid(self.numeric[j], "inf", len(values) - len(finite) - nan)
            if missing or wrong:
                self.count_invalid(self.numeric[j], "missing", missing)
                self.count_invalid(self.numeric[j], "type", wrong)
            plain = self._floors[j] < 0 and finite is values and abs(total) < HUGE
            table.sums[j] += total if plain else bounded_sum(finite, self._floors[j])
            block[j] = self._edges[j].upto(values)
        block[:, 1:] -= block[:, :-1].copy()
        table.counts[:used] += block

    def _observe_categories(self, name: str, values: Column) -> None:
        codes = self.categories[name]
        counts = codes.count(values, self.caught)
        overflow, refused = codes.drain()
        if overflow:
            self._overflows.count((names.FEATURE_CATEGORY.name, "category"), overflow)
        for reason, n in refused.items():
            self.count_invalid(name, reason, n)
        for code, n in counts:
            if code == NONE_CODE:
                self.count_invalid(name, "missing", n)
            elif codes.names[code] != names.INVALID:
                self._categories.count((name, codes.names[code]), n)
            else:  # a category of this very name
                self.count_invalid(name, "type", n - sum(refused.values()))

    def count_invalid(self, feature: str, reason: str, n: int) -> None:
        """Count values in no bin; those that had a value of the wrong kind are refused values, too."""
        if n:
            self._invalid.count((feature, reason), n)
            if reason in ("nan", "type"):
                self.refuse("feature", reason, n)
