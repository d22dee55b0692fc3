"""Counts batches of a log by time bucket, with the kernel that folds the live buffer.

Every bucket is a tally, as a row of `live.db` is: what is closed is kept as bytes, so that memory stays flat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelwatch import names
from modelwatch.batch import outcomes
from modelwatch.batch.arrow import NO_TIME, Ints, labels_of, listed, numbers_of, objects, seconds_of, there, times_of
from modelwatch.batch.mapping import Roles
from modelwatch.batch.outcomes import Labelled, taken
from modelwatch.events import LabelCount
from modelwatch.kernel import Column, Kernel
from modelwatch.labels import Coded
from modelwatch.schema import ModelSchema
from modelwatch.store.live import DAY, HOUR, MINUTE
from modelwatch.tally import Tally

SPANS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
CHUNK = 32_768  # rows folded at a time: their columns fit the cache of the processor
OPEN_BYTES = 16 * 2**20  # of tallies that are not packed
MOST_OPEN = 512
UNDATED = -1  # the bucket of rows without a time
ENDPOINT = "batch"


@dataclass(frozen=True)
class Plan:
    """How batches are counted.

    span : seconds of a bucket.
    now : Unix time; what is later is refused.
    label : configured column of the labels, which may be in a table of their own.
    endpoint : of rows that name none.
    """

    schema: ModelSchema
    roles: Roles
    span: int
    now: float
    label: str | None = None
    endpoint: str = ENDPOINT


class Buckets:
    """The tallies of a log by the start of their bucket; for one thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.kernel = Kernel(plan.schema)
        outcomes.prepared(self.kernel.tally)
        self._open: dict[int, Tally] = {}
        self._packed: dict[int, bytes] = {}
        size = sum(table.counts.nbytes + table.sums.nbytes for table in self.kernel.tally.tables.values())
        self._most = max(2, min(MOST_OPEN, OPEN_BYTES // max(size, 1)))

    def add(self, batch: Mapping[str, Any]) -> int:
        """Count the rows of a batch, {column: values}; return how many there are."""
        roles = self.plan.roles.of(batch)
        n = len(next(iter(batch.values()))) if batch else 0
        if not n:
            return 0
        columns, features, labels = self._columns(batch, roles, n)
        every = {**columns, **{f"f:{name}": column for name, column in features.items()}}
        if labels is not None:
            every["label"] = labels
        if roles.timestamp is None:
            self._fold(UNDATED, every, n)
            return n
        starts = self._starts(batch[roles.timestamp], roles.time_zone)
        for start, rows in _groups(starts, every, self.plan.span):
            self._fold(start, rows, len(next(iter(rows.values()))))
        return n

    def _starts(self, times: Any, zone: str) -> Ints:
        starts, refused = times_of(times, zone, self.plan.now)
        for kind, count in refused.items():
            self.kernel.refuse("timestamp", kind, count)
        if refused:
            self.merge(UNDATED)
        return starts

    def _columns(
        self, batch: Mapping[str, Any], roles: Roles, n: int
    ) -> tuple[dict[str, Column], dict[str, Column], Column | None]:
        schema = self.plan.schema
        columns: dict[str, Column] = {"endpoint": Coded(np.zeros(n, np.intp), (self.plan.endpoint,))}
        for role, name in (("endpoint", roles.endpoint), ("error", roles.error), ("segment", roles.segment)):
            if name is not None:
                columns[role] = labels_of(batch[name])
        if roles.prediction is not None:
            given = batch[roles.prediction]
            columns["prediction"] = (
                numbers_of(given) if schema.classes is None else labels_of(given, known=schema.classes)
            )
        if roles.confidence is not None:
            columns["confidence"] = numbers_of(batch[roles.confidence])
        if roles.latency is not None:
            columns["duration"] = seconds_of(batch[roles.latency], roles.latency_unit)
        features: dict[str, Column] = {}
        for name in (*schema.numeric, *schema.categorical) if self.plan.roles.features else ():
            column = roles.features.get(name)
            if column is None:
                features[name] = Coded.gap(n)
            else:
                given = batch[column]
                features[name] = (
                    labels_of(given, gaps=False, known=schema.categorical[name])
                    if name in schema.categorical
                    else numbers_of(given)
                )
        labels = None
        if roles.label is not None:
            labels = numbers_of(batch[roles.label]) if schema.classes is None else labels_of(batch[roles.label])
        return columns, features, labels

    def _fold(self, start: int, rows: Mapping[str, Column], n: int) -> None:
        kernel = self.kernel
        for begin in range(0, n, CHUNK):
            part = slice(begin, begin + CHUNK)
            some = {name: column[part] for name, column in rows.items()}
            labels = some.pop("label", None)
            features = {name[2:]: some.pop(name) for name in list(some) if name.startswith("f:")}
            size = min(CHUNK, n - begin)
            columns = dict(some.items())
            kernel.fold_columns(columns, _asked(columns, features), size)
            if labels is not None:
                gap = Coded.gap(size)
                get = columns.get
                outcomes.count_labels(
                    kernel, Labelled(get("prediction", gap), labels, get("segment", gap), get("confidence", gap))
                )
        self.merge(start)

    def add_counted(self, batch: Mapping[str, Any]) -> None:
        """Count labels of a log that says what the service counted of each: the columns are those of `LabelCount`."""
        starts, _ = times_of(batch["timestamp"], self.plan.roles.time_zone, self.plan.now)
        found = [LabelCount(*row) for row in zip(*(batch[name] for name in LabelCount._fields), strict=True)]
        for start, rows in _groups(starts, {"": objects(found)}, self.plan.span):
            self.kernel.fold_labels(listed(rows[""]))
            self.merge(start)

    def refuse(self, where: str, kind: str, n: int) -> None:
        """Count values that were left out of the log as a whole."""
        if n:
            self.kernel.refuse(where, kind, n)
            self.merge(UNDATED)

    def add_joined(self, batch: Mapping[str, Any]) -> None:
        """Count labels of a table that were joined to their predictions; the columns are `joined.JOINED`."""
        classes = self.plan.schema.classes is not None
        columns: dict[str, Column] = {"state": labels_of(batch["state"]), "segment": labels_of(batch["segment"])}
        for name in ("label", "prediction"):
            columns[name] = labels_of(batch[name]) if classes else numbers_of(batch[name])
        columns["confidence"] = numbers_of(batch["confidence"])
        starts = np.array(listed(numbers_of(batch["at"])), np.int64)
        if not len(starts):
            return
        for start, rows in _groups(starts, columns, self.plan.span):
            states = np.array(listed(rows["state"]), object)
            matched = np.flatnonzero(states == "matched")
            for state, n in Counter(states[states != "matched"].tolist()).items():
                self.kernel.tally.tables[names.LABEL_STATES.name].count((state,), n)
            some = [taken(rows[name], matched) for name in ("prediction", "label", "segment", "confidence")]
            if len(matched):
                outcomes.count_labels(self.kernel, Labelled(*some))
            self.merge(start)

    def merge(self, start: int) -> None:
        """Move what the kernel has counted to its bucket."""
        mine = self._open.pop(start, None)
        if mine is None:
            mine = Tally()
            if len(self._open) >= self._most:
                self._pack(next(iter(self._open)))
        mine.add(self.kernel.tally)
        self.kernel.tally.clear()
        self._open[start] = mine  # the last: the first is the one that was used longest ago

    def _pack(self, start: int) -> None:
        tally = self._open.pop(start)
        before = self._packed.get(start)
        if before is not None:
            tally.add(Tally.load(before))
        self._packed[start] = tally.dump()

    def packed(self) -> dict[int, bytes]:
        """Return {start of the bucket: its tally, dumped}, and begin again."""
        while self._open:
            self._pack(next(iter(self._open)))
        packed, self._packed = self._packed, {}
        return packed


def _asked(columns: Mapping[str, Column], features: dict[str, Column]) -> dict[str, Column]:
    """Return the features of the rows that have any, or an answer: a request that failed was asked nothing."""
    answers = columns.get("prediction")
    if answers is None or not features:
        return features
    kept = there(answers)
    for column in features.values():
        if kept.all():
            return features
        kept |= there(column)
    rows = np.flatnonzero(kept)
    return {name: taken(column, rows) for name, column in features.items()} if len(rows) else {}


def _groups(starts: Ints, columns: Mapping[str, Column], span: int) -> Iterator[tuple[int, Mapping[str, Column]]]:
    """Yield (start of the bucket, the columns of its rows), in the order of time."""
    buckets = np.where(starts == NO_TIME, UNDATED, starts // span * span)
    first = int(buckets[0])
    if (buckets == first).all():
        yield first, columns
        return
    if (buckets[1:] < buckets[:-1]).any():
        order = np.argsort(buckets, kind="stable")
        buckets = buckets[order]
        columns = {name: taken(column, order) for name, column in columns.items()}
    ends = [*np.flatnonzero(buckets[1:] != buckets[:-1]) + 1, len(buckets)]
    begin = 0
    for end in ends:
        part = slice(begin, int(end))
        yield int(buckets[begin]), {name: column[part] for name, column in columns.items()}
        begin = int(end)
