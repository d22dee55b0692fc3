"""What carries a log through the kernel: files and frames here, and whatever else holds rows, each an `Engine`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from modelwatch.batch.counting import Plan
from modelwatch.tally import Tally

Batch: TypeAlias = Mapping[str, Any]
Packed: TypeAlias = dict[int, bytes]


class Counted(NamedTuple):
    """What some rows of a log counted: {start of the bucket: its tally, dumped}, and how many rows they were."""

    packed: Packed
    rows: int


class How(NamedTuple):
    """threads: None is one a processor. checkpoint: the file of what is done, None without one."""

    threads: int | None = None
    checkpoint: Path | None = None


class Engine(Protocol):
    """Rows of a log that can be counted where they are.

    name : for messages.
    columns : that the rows have.
    rows : how many, where that is known before they are read.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def rows(self) -> int | None: ...  # noqa: D102

    def first_rows(self, columns: list[str], rows: int) -> Iterator[Batch]:
        """Yield batches of the first rows, for looking at the kinds of columns."""

    def count(self, plan: Plan, how: How) -> Iterator[Counted]:
        """Yield counts that add up to those of all rows."""

    def count_labels(self, plan: Plan, labels: Any) -> Iterator[Counted]:
        """Yield the counts of labels that are in a table of their own, of no rows."""


def add_packed(sums: Packed, more: Mapping[int, bytes]) -> None:
    """Add buckets to those of the same start."""
    for start, blob in more.items():
        before = sums.get(start)
        sums[start] = blob if before is None else added([before, blob])


def added(blobs: list[bytes]) -> bytes:
    """Return the sum of dumped tallies, dumped."""
    total = Tally()
    for blob in blobs:
        total.add(Tally.load(blob))
    return total.dump()
