"""Counts of every minute of a log, added up once: any window at any time is one difference."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.store.live import MINUTE
from modelwatch.store.windows import first_start
from modelwatch.tally import Labels, Sums, Table, Tally

Numbers = npt.NDArray[np.int64]


class _Column:
    """The parts of one table while it is read: its rows in the order in which they were seen first."""

    def __init__(self, like: Table) -> None:
        self.fingerprint, self.sums_kind, self.width = like.fingerprint, like.sums_kind, like.counts.shape[1]
        self.rows: dict[Labels, int] = {}
        self.seen: list[int] = []
        self.parts: list[tuple[int, list[int], Numbers, npt.NDArray[Any]]] = []
        self.most = 0  # no cell can have more in all

    def take(self, at: int, table: Table) -> None:
        numbers = []
        for labels in table.rows:
            if labels not in self.rows:
                self.rows[labels] = len(self.rows)
                self.seen.append(at)
            numbers.append(self.rows[labels])
        used = len(numbers)
        self.most += int(table.counts.max(initial=0))
        self.parts.append((at, numbers, table.counts[:used], table.sums[:used]))


class _Layout(NamedTuple):
    """Where a table lies in the long rows."""

    fingerprint: str
    sums_kind: Sums
    labels: Sequence[Labels]
    seen: Sequence[int]
    counts: slice
    sums: slice
    shape: tuple[int, int]
    prefixes: dict[int, dict[Labels, int]]


class Cumulated:
    """The counts of a model version by the minute, as rows that only grow.

    A window has the rows that `store.windows.Windows` would hold: those seen up to its time, at 0 where it has none.

    Parameters
    ----------
    tallies : (start of the minute, Unix seconds, its counts), in the order of time; minutes without counts may lack.
    span : seconds of a minute, which may be scaled.
    """

    def __init__(self, tallies: Iterable[tuple[int, Tally]], span: int = MINUTE) -> None:
        self.span = span
        starts: list[int] = []
        columns: dict[str, _Column] = {}
        for start, tally in tallies:
            for name, table in tally.tables.items():
                if table.rows:
                    columns.setdefault(name, _Column(table)).take(len(starts), table)
            starts.append(start)
        self.starts = np.array(starts, np.int64)
        self._tables, counts, sums = {}, 0, 0
        for name, column in columns.items():
            shape = (len(column.rows), column.width)
            ends = counts + shape[0] * shape[1], sums + (shape[0] if column.sums_kind != "none" else 0)
            self._tables[name] = _Layout(
                column.fingerprint, column.sums_kind, list(column.rows), column.seen, slice(counts, ends[0]),
                slice(sums, ends[1]), shape, {},
            )  # fmt: skip
            counts, sums = ends
        narrow = all(column.most <= np.iinfo(np.int32).max for column in columns.values())
        self._upto: npt.NDArray[Any] = np.zeros((len(starts) + 1, counts), np.int32 if narrow else np.int64)
        self._sums = np.zeros((len(starts) + 1, sums), np.float64)
        for name, column in columns.items():
            self._fill(self._tables[name], column)
        np.cumsum(self._upto, axis=0, out=self._upto)
        np.cumsum(self._sums, axis=0, out=self._sums)

    def _fill(self, layout: _Layout, column: _Column) -> None:
        for at, numbers, cells, sums in column.parts:
            self._upto[at + 1, layout.counts].reshape(layout.shape)[numbers] = cells
            if column.sums_kind != "none":
                self._sums[at + 1, layout.sums][numbers] = sums
        column.parts.clear()

    @property
    def began(self) -> int:
        """Start of the first minute."""
        return int(self.starts[0])

    @property
    def ended(self) -> int:
        """End of the last minute."""
        return int(self.starts[-1]) + self.span

    def window(self, now: float, began_s: float, ended_s: float = 0.0) -> Tally:
        """Return the counts from `began_s` to `ended_s` seconds before now; what comes later is not known yet."""
        first, last, seen = (self._index(now, seconds) for seconds in (began_s, ended_s, 0.0))
        return self._tally(first, min(last, seen), seen)

    def minutes(self, now: float, since: float) -> dict[int, Tally]:
        """Return {start of the minute: counts} of the minutes that began at `since` or later."""
        first, seen = int(np.searchsorted(self.starts, since)), self._index(now, 0.0)
        return {int(self.starts[at]): self._tally(at, at + 1, seen) for at in range(first, seen)}

    def _index(self, now: float, seconds: float) -> int:
        before = first_start(now, int(seconds), self.span) if seconds else now
        return int(np.searchsorted(self.starts, before))

    def _tally(self, first: int, last: int, seen: int) -> Tally:
        counts = np.subtract(self._upto[last], self._upto[first], dtype=np.int64)
        sums = self._sums[last] - self._sums[first]
        found = Tally()
        for name, layout in self._tables.items():
            known = bisect_right(layout.seen, seen - 1)
            if not known:
                continue
            rows = layout.prefixes.get(known)
            if rows is None:
                rows = layout.prefixes[known] = {labels: i for i, labels in enumerate(layout.labels[:known])}
            table = Table.__new__(Table)
            table.fingerprint, table.sums_kind, table.rows = layout.fingerprint, layout.sums_kind, rows
            table.counts = counts[layout.counts].reshape(layout.shape)
            table.sums = np.zeros(layout.shape[0], np.int64)
            if layout.sums_kind != "none":
                table.sums = sums[layout.sums].astype(np.float64 if layout.sums_kind == "float" else np.int64)
            found.tables[name] = table
        return found
