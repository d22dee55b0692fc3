"""The tally: mergeable counts of one model version over some span of time. Adding tallies is the only aggregation.

A tally has a table per metric; a table has a row per label set and a column per bucket. Cells are int64, and so are
sums of durations (nanoseconds): adding is exact in any order. Only sums of features, values and confidences are
float64.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from operator import eq
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from modelwatch.errors import DamagedData, NewerFormat, SchemaMismatch

Labels = tuple[str, ...]
Sums = Literal["none", "ns", "float"]

LAYOUT = 1  # version of the stored bytes
MOST_BYTES = 64 * 2**20  # of one stored tally when inflated; more is refused as damaged
SHORT_HEAD = 8192  # bytes; longer heads have labels that come and go, and are not remembered
NARROW = ("<u2", "<u4", "<i8")


@dataclass(frozen=True)
class TableSchema:
    """What a table counts: two tables may be added only when their schemas are equal.

    Parameters
    ----------
    name : metric name.
    labels : label names; a row is one tuple of their values.
    width : number of columns.
    sums : "none"; "ns" (integer nanoseconds); "float".
    edges : per histogram the finite upper bounds, in the value's unit. One tuple shared by all rows, or one for
        each of `rows`.
    rows : the label sets that `edges` belong to, where each has its own.
    """

    name: str
    labels: tuple[str, ...] = ()
    width: int = 1
    sums: Sums = "none"
    edges: tuple[tuple[float, ...], ...] = ()
    rows: tuple[Labels, ...] = ()
    fingerprint: str = field(init=False, compare=False, default="")

    def __post_init__(self) -> None:
        edges = [[float(edge) + 0.0 for edge in given] for given in self.edges]  # 1 and 1.0, -0.0 and 0.0 are the same
        text = json.dumps([self.name, self.labels, self.width, self.sums, edges, self.rows])
        object.__setattr__(self, "fingerprint", blake2b(text.encode(), digest_size=6).hexdigest())


class Table:
    """Counts, and sums, of one metric. Rows are only ever added."""

    __slots__ = ("counts", "fingerprint", "rows", "sums", "sums_kind")

    def __init__(self, fingerprint: str, width: int, sums: Sums = "none", size: int = 4) -> None:
        self.fingerprint = fingerprint
        self.sums_kind: Sums = sums
        self.rows: dict[Labels, int] = {}
        self.counts: npt.NDArray[np.int64] = np.zeros((size, width), np.int64)
        self.sums: npt.NDArray[Any] = np.zeros(size, np.float64 if sums == "float" else np.int64)

    def row(self, labels: Labels) -> int:
        """Return the row number of a label set, made when it is new."""
        number = self.rows.get(labels)
        if number is None:
            number = len(self.rows)
            if number == len(self.counts):
                self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)])
                self.sums = np.concatenate([self.sums, np.zeros_like(self.sums)])
            self.rows[labels] = number
        return number

    def count(self, labels: Labels, n: int = 1) -> None:
        """Add `n` to the first column of a row."""
        row = self.row(labels)  # first: it may replace the array
        self.counts[row, 0] += n

    def value(self, labels: Labels) -> int:
        """Return the count of a row over all its columns; 0 when there is no such row."""
        row = self.rows.get(labels)
        return 0 if row is None else int(self.counts[row].sum())

    def total(self) -> int:
        """Return the count over all rows and columns."""
        return int(self.counts[: len(self.rows)].sum())

    def add(self, other: Table, sign: int = 1) -> None:
        """Add (or, with sign -1, take away) another table of the same schema; rows are matched by their labels."""
        if other.fingerprint != self.fingerprint:
            raise SchemaMismatch(
                f"table: schema is {other.fingerprint}; expected {self.fingerprint}. Counts on other edges do not add."
            )
        used = len(other.rows)
        where: slice | list[int]
        if used <= len(self.rows) and all(map(eq, other.rows, self.rows)):  # same order: one vector addition
            where = slice(0, used)
        else:
            where = [self.row(labels) for labels in other.rows]
        if isinstance(where, slice):
            combine = np.add if sign == 1 else np.subtract
            combine(self.counts[where], other.counts[:used], out=self.counts[where])
            combine(self.sums[where], other.sums[:used], out=self.sums[where])
        else:
            self.counts[where] += sign * other.counts[:used]
            self.sums[where] += sign * other.sums[:used]

    def copy(self) -> Table:
        """Return an independent copy."""
        new = Table.__new__(Table)
        new.fingerprint, new.sums_kind, new.rows = self.fingerprint, self.sums_kind, dict(self.rows)
        new.counts, new.sums = self.counts.copy(), self.sums.copy()
        return new

    def restore(self, earlier: Table) -> None:
        """Set the counts to those of an earlier copy of this table; rows that came since stay, at 0."""
        used = len(earlier.counts)
        self.counts[:used], self.counts[used:] = earlier.counts, 0
        self.sums[:used], self.sums[used:] = earlier.sums, 0

    def clear(self) -> None:
        """Set every count to 0; the rows stay."""
        self.counts[:] = 0
        self.sums[:] = 0

    def as_dict(self) -> dict[Labels, tuple[list[int], float]]:
        """Return rows with a count as {labels: (counts, sum)}; for tests and for people."""
        return {
            labels: (self.counts[row].tolist(), self.sums[row].item())
            for labels, row in self.rows.items()
            if self.counts[row].any() or self.sums[row] != 0
        }


class Tally:
    """All tables of one model version over one span of time.

    Examples
    --------
    >>> schema = TableSchema("ml_requests_total", ("endpoint",))
    >>> one, two = Tally([schema]), Tally([schema])
    >>> one.tables["ml_requests_total"].count(("/predict",), 3)
    >>> two.add(one)
    >>> two.add(one)
    >>> two.tables["ml_requests_total"].value(("/predict",))
    6
    """

    __slots__ = ("tables",)

    def __init__(self, schemas: Iterable[TableSchema] = ()) -> None:
        self.tables: dict[str, Table] = {s.name: Table(s.fingerprint, s.width, s.sums) for s in schemas}

    def add(self, other: Tally, sign: int = 1) -> None:
        """Add (or take away) another tally.

        Raises
        ------
        SchemaMismatch   a table of the same name has other edges or labels. Nothing is added then.
        """
        for name, table in other.tables.items():
            mine = self.tables.get(name)
            if mine is not None and mine.fingerprint != table.fingerprint:
                message = f"{name}: schema is {table.fingerprint}; expected {mine.fingerprint}. Other edges do not add."
                raise SchemaMismatch(message)
        for name, table in other.tables.items():
            mine = self.tables.get(name)
            if mine is None:
                width = table.counts.shape[1]
                mine = self.tables[name] = Table(table.fingerprint, width, table.sums_kind, max(4, len(table.rows)))
            mine.add(table, sign)

    def add_matching(self, other: Tally, sign: int = 1) -> list[str]:
        """Add the tables that have the same schema, or that this tally lacks; return the names of those left out."""
        left_out = [name for name, t in other.tables.items() if self.tables.get(name, t).fingerprint != t.fingerprint]
        if left_out:
            other = other.matching(self.fingerprints())
        self.add(other, sign)
        return left_out

    def minus(self, earlier: Tally) -> Tally:
        """Return the counts since `earlier`, which this tally must contain."""
        delta = self.copy()
        delta.add(earlier, -1)
        return delta

    def matching(self, schemas: Mapping[str, str]) -> Tally:
        """Return the tables that have the fingerprint of `schemas`, {name: fingerprint}, and those it does not name."""
        new = Tally()
        new.tables = {name: t for name, t in self.tables.items() if schemas.get(name, t.fingerprint) == t.fingerprint}
        return new

    def fingerprints(self) -> dict[str, str]:
        """Return {table name: schema fingerprint}."""
        return {name: table.fingerprint for name, table in self.tables.items()}

    def copy(self) -> Tally:
        """Return an independent copy."""
        new = Tally()
        new.tables = {name: table.copy() for name, table in self.tables.items()}
        return new

    def clear(self) -> None:
        """Set every count to 0; the rows stay."""
        for table in self.tables.values():
            table.clear()

    def is_empty(self) -> bool:
        """Tell whether nothing was counted."""
        return not any(table.counts.any() or table.sums.any() for table in self.tables.values())

    def as_dict(self) -> dict[str, dict[Labels, tuple[list[int], float]]]:
        """Return {table: {labels: (counts, sum)}} of everything that has a count."""
        return {name: rows for name, table in self.tables.items() if (rows := table.as_dict())}

    def dump(self) -> bytes:
        """Return compact bytes; rows without a count are left out.

        A JSON head, then each table's counts in the narrowest integer that holds them, deflated.
        """
        head, body = [], []
        for name, table in self.tables.items():
            used = len(table.rows)
            counts, sums, labels = table.counts[:used], table.sums[:used], list(table.rows)
            keep = np.flatnonzero(counts.any(axis=1) | (sums != 0))
            if not len(keep):
                continue
            counts = counts[keep]
            biggest = int(counts.max())
            kind = 2 if counts.min() < 0 or biggest >= 2**32 else 1 if biggest >= 2**16 else 0
            head.append([name, table.fingerprint, kind, counts.shape[1], table.sums_kind, [labels[i] for i in keep]])
            body.append(counts.astype(NARROW[kind]).tobytes())
            if table.sums_kind != "none":
                body.append(sums[keep].astype("<f8" if table.sums_kind == "float" else "<i8").tobytes())
        top = json.dumps([LAYOUT, head], separators=(",", ":")).encode()
        return zlib.compress(len(top).to_bytes(4, "little") + top + b"".join(body), 1)

    @classmethod
    def load(cls, data: bytes) -> Tally:
        """Read `dump` back.

        Raises
        ------
        DamagedData   torn, foreign or changed bytes.
        NewerFormat   written by a newer version.
        """
        try:
            inflate = zlib.decompressobj()
            raw = inflate.decompress(data, MOST_BYTES)
            if not inflate.eof or inflate.unused_data:
                raise ValueError("the bytes do not end where the tally does")
            at = 4 + int.from_bytes(raw[:4], "little")
            layout, heads = (_known_heads if at <= SHORT_HEAD else _heads)(raw[4:at])
            if layout > LAYOUT:
                raise NewerFormat(
                    f"tally: layout is {layout}; expected at most {LAYOUT}. Upgrade modelwatch to read it."
                )
            tally = cls()
            for head in heads:
                tally.tables[head.name], at = _load_table(raw, at, head)
            if at != len(raw):
                raise ValueError("numbers are left over")
        except NewerFormat:
            raise
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it: it is damaged
            raise DamagedData(
                f"tally: {len(data)} bytes cannot be read ({error}). They are left out of the counts."
            ) from None
        return tally


class _Head(NamedTuple):
    """What the stored bytes say of one table before its numbers."""

    name: str
    fingerprint: str
    kind: str
    width: int
    sums: Sums
    rows: Mapping[Labels, int]


def _heads(top: bytes) -> tuple[int, tuple[_Head, ...]]:
    """Read the head and check its types."""
    layout, heads = json.loads(top)
    found = []
    if layout > LAYOUT:
        return layout, ()
    for name, fingerprint, kind, width, sums, labels in heads:
        rows = {tuple(values): i for i, values in enumerate(labels)}
        if len(rows) != len(labels):
            raise ValueError("a row stands twice")
        if sums not in get_args(Sums) or {type(name), type(fingerprint), *map(type, chain(*rows))} != {str}:
            raise TypeError("a head of other types")
        found.append(_Head(name, fingerprint, NARROW[kind], width, sums, rows))
    return layout, tuple(found)


_known_heads = lru_cache(maxsize=128)(_heads)  # the row of a minute is written again and again with the same head


def _load_table(raw: bytes, at: int, head: _Head) -> tuple[Table, int]:
    n = len(head.rows)
    table = Table(head.fingerprint, head.width, head.sums, 0)
    table.rows = dict(head.rows)
    table.counts = np.frombuffer(raw, head.kind, n * head.width, at).astype(np.int64).reshape(n, head.width)
    at += table.counts.size * np.dtype(head.kind).itemsize
    if head.sums == "none":
        table.sums = np.zeros(n, np.int64)
    else:
        table.sums = np.frombuffer(raw, "<f8" if head.sums == "float" else "<i8", n, at).copy()
        at += 8 * n
    return table, at
