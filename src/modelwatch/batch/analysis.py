"""What a log of predictions counts: tallies by time bucket, keyed and read as the rows of `live.db`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelwatch.batch.counting import UNDATED
from modelwatch.batch.mapping import Roles
from modelwatch.batch.outcomes import prepared
from modelwatch.config import ModelConfig
from modelwatch.names import REFUSED, REQUESTS
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema
from modelwatch.store.live import BASE, Key, Row
from modelwatch.store.reader import Changes
from modelwatch.store.windows import Windows
from modelwatch.tally import Tally

if TYPE_CHECKING:
    from modelwatch.report import Report

WORKER = "log"


@dataclass(frozen=True)
class Analysis:
    """The counts of a log.

    model : the configuration that it was counted by; made up where none was given.
    roles : which column said what.
    packed : {start of the bucket, Unix seconds: its tally, dumped}, in the order of time; `UNDATED` are the rows
        whose time is not known.
    total : the counts of all rows; must not be changed.
    span : seconds of a bucket.
    rows : of the log.
    """

    model: ModelConfig
    schema: ModelSchema
    reference: Reference | None
    roles: Roles
    packed: Mapping[int, bytes]
    total: Tally
    span: int
    rows: int

    @property
    def key(self) -> Key:
        """The model version, as the live store names it."""
        return Key(self.model.name, self.model.version)

    @property
    def schemas(self) -> dict[Key, ModelSchema]:
        """The schema by model version, as `Windows.apply` takes it."""
        return {self.key: self.schema}

    @property
    def began(self) -> int | None:
        """Start of the first bucket, Unix seconds; None where no row has a time."""
        return next((start for start in self.packed if start != UNDATED), None)

    @property
    def ended(self) -> int | None:
        """End of the last bucket, Unix seconds; None where no row has a time."""
        last = max(self.packed, default=UNDATED)
        return None if last == UNDATED else last + self.span

    def tallies(self) -> Iterator[tuple[int, Tally]]:
        """Yield (start of the bucket, its tally) in the order of time; rows without a time are left out."""
        for start, blob in self.packed.items():
            if start != UNDATED:
                yield start, Tally.load(blob)

    @property
    def undated(self) -> Tally:
        """The counts of rows whose time is not known: in the total, and in no window."""
        return Tally.load(self.packed[UNDATED]) if UNDATED in self.packed else Tally()

    def store_rows(self) -> Iterator[Row]:
        """Yield the buckets as rows of `live.db`; undated rows are a base row, which is in no window."""
        for start, blob in self.packed.items():
            if start == UNDATED:
                yield Row(self.key, 0, BASE, WORKER, blob)
            else:
                yield Row(self.key, start, self.span, WORKER, blob)

    def changes(self) -> Changes:
        """Return all rows as `Windows.apply` and `Totals.apply` take them."""
        return Changes(again=True, rows=tuple(self.store_rows()))

    def windows(self, now: float, windows_s: tuple[int, ...]) -> Windows:
        """Return the sums of the windows that end at `now`, Unix seconds."""
        windows = Windows(windows_s)
        windows.apply(self.changes(), now, self.schemas)
        return windows

    @property
    def requests(self) -> int:
        """How many requests were counted."""
        return self.total.tables[REQUESTS.name].total()

    @property
    def refused(self) -> dict[tuple[str, ...], int]:
        """{(what, why): how many values were left out}."""
        return {labels: int(counts[0]) for labels, (counts, _) in self.total.tables[REFUSED.name].as_dict().items()}

    # -- the report on it ----------------------------------------------------------------------------------------------

    def report(self) -> Report:
        """Return the report on these counts; `modelwatch.report.report` also looks at raw values."""
        from modelwatch.report import report_of

        return report_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the state of the report as plain values."""
        return self.report().to_dict()

    def to_html(self) -> str:
        """Return the report as one HTML document."""
        return self.report().to_html()

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        return self.report().to_markdown()


def total_of(packed: Mapping[int, bytes], schema: ModelSchema) -> Tally:
    """Return the sum of dumped tallies, with every table of a log."""
    total = prepared(schema.empty())
    for blob in packed.values():
        total.add(Tally.load(blob))
    return total
