"""A warehouse carries a log: Ibis pushes the counting down, and only counts come back, never rows.

Every number becomes the code of its bin, or of what is wrong with it, and the codes of all columns of a row are put one
below the other (long form): one scan groups them. NaN is tested before null: PostgreSQL sorts it above all numbers and
finds it equal to itself.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from modelwatch import names
from modelwatch.batch import outcomes
from modelwatch.batch.counting import Buckets, Plan
from modelwatch.batch.engine import Batch, Counted, How
from modelwatch.batch.outcomes import Labelled
from modelwatch.batch.pushdown import (
    BINS,
    INF,
    LEAST,
    MINUS_INF,
    MISSING,
    NAN,
    UNASKED,
    WRONG,
    When,
    bin_of,
    finite,
    is_text,
    long_form,
    number_of,
)  # fmt: skip
from modelwatch.errors import ConfigError
from modelwatch.events import CANCELLED
from modelwatch.kernel import HUGE, LONGEST_SECONDS
from modelwatch.labels import Coded
from modelwatch.names import CORRECT
from modelwatch.names import WRONG as WRONG_OUTCOME
from modelwatch.schema import FINE_CONFIDENCE_EDGES, can_fall

LOOKED_AT = 1000  # distinct values by which a column's kind is told
MOST_REPEATED = 1_000_000  # rows that the kernel is given at a time


def is_ibis(log: Any) -> bool:
    """Tell a table of Ibis, without importing it."""
    return type(log).__module__.startswith("ibis.")


class Number(NamedTuple):
    """A column of numbers: its name in the counts, its value, its edges, and the range that a sum takes."""

    name: str
    value: Any  # None: the column is of another kind
    given: Any
    edges: Sequence[float]
    low: float
    high: float = HUGE


@dataclass(frozen=True)
class WarehouseLog:
    """A log that is a table of Ibis, in any database that it speaks to."""

    table: Any

    @property
    def name(self) -> str:
        """The log, for messages."""
        return f"table {self.table.get_name()!r}" if hasattr(self.table.op(), "name") else "the table"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it has."""
        return tuple(self.table.columns)

    @property
    def rows(self) -> None:
        """Nobody knows before they are counted."""

    def first_rows(self, columns: list[str], rows: int) -> Iterator[Batch]:  # noqa: ARG002 - no row leaves the warehouse
        """Yield some distinct values of each column: by these its kind is told."""
        for name in columns:
            yield {name: self.table.select(name).distinct().limit(LOOKED_AT).to_pyarrow().column(name)}

    def count(self, plan: Plan, how: How) -> Iterator[Counted]:  # noqa: ARG002 - the warehouse has its own
        """Yield the counts of all rows."""
        buckets = Buckets(plan)
        rows = _Pushed(self.table, plan, buckets, self.name).count()
        yield Counted(buckets.packed(), rows)

    def count_labels(self, plan: Plan, labels: Any) -> Iterator[Counted]:  # noqa: ARG002
        """Refuse: the database joins better."""
        raise ConfigError(
            f"{self.name}: labels are in a table of their own; expected a column of the log, since no row leaves the"
            " warehouse. Join them there: table.left_join(labels, 'request_id')."
        )
        yield


class _Pushed:
    """One count of a table: each method is one query, whose groups are put into the buckets."""

    def __init__(self, table: Any, plan: Plan, buckets: Buckets, name: str) -> None:
        self.plan, self.buckets, self.kernel = plan, buckets, buckets.kernel
        self.roles = plan.roles.of(table.columns)
        self.when = When.of(table, plan, name)
        self.table = table.mutate(__bucket=self.when.bucket)

    def count(self) -> int:
        """Run every query; return the number of rows."""
        rows = self._requests()
        self._cells()
        self._sums()
        self._labels()
        if self.roles.label is not None:
            self._outcomes()
        return rows

    def _each(self, query: Any, take: Callable[[Mapping[str, list[Any]]], None]) -> None:
        """Give the groups of a query to `take`, bucket by bucket."""
        found = query.order_by("__bucket").to_pyarrow()
        columns = {name: found.column(name).to_pylist() for name in found.column_names}
        starts = [self.when.start(code) for code in columns.pop("__bucket")]
        begin = 0
        for end in range(1, len(starts) + 1):
            if end == len(starts) or starts[end] != starts[begin]:
                take({name: values[begin:end] for name, values in columns.items()})
                self.buckets.merge(starts[begin])
                begin = end

    # -- requests ------------------------------------------------------------------------------------------------------

    def _requests(self) -> int:
        import ibis

        table, roles = self.table, self.roles
        duration = self._numbers_of("duration", roles.latency)
        seconds = duration.value if duration is not None else None
        code, ns = ibis.literal(MISSING, "int64"), ibis.literal(0, "int64")
        if duration is not None:
            edges = [*self.plan.schema.latency]
            code = bin_of(duration.given, seconds, edges)
            if seconds is not None:
                good = finite(seconds) & (seconds >= 0) & (seconds <= LONGEST_SECONDS)
                code = ibis.ifelse(finite(seconds) & ~good, RANGE, code)
                ns = ibis.ifelse(good, (seconds * 1e9).round().cast("int64"), 0)
        keys = {
            "endpoint": ibis.literal(self.plan.endpoint) if roles.endpoint is None else table[roles.endpoint],
            "error": ibis.null("string") if roles.error is None else table[roles.error],
        }
        grouped = table.select("__bucket", **keys, code=code, ns=ns).group_by("__bucket", "endpoint", "error", "code")
        total = 0

        def take(groups: Mapping[str, list[Any]]) -> None:
            nonlocal total
            total += sum(groups["n"])
            self._take_requests(groups)

        self._each(grouped.agg(n=lambda t: t.count(), ns=lambda t: t.ns.sum()), take)
        for kind, n in self.when.refused().items():
            self.buckets.refuse("timestamp", kind, n)
        return total

    def _take_requests(self, groups: Mapping[str, list[Any]]) -> None:
        kernel, durations = self.kernel, self.kernel.tally.tables[names.DURATION.name]
        for rows in _repeated(groups["n"]):
            kernel.fold_columns(
                {"endpoint": Coded(rows, groups["endpoint"]), "error": Coded(rows, groups["error"])}, {}, len(rows)
            )
        for endpoint, error, code, n, ns in zip(
            *(groups[k] for k in ("endpoint", "error", "code", "n", "ns")), strict=True
        ):
            if code == WRONG:
                kernel.refuse("duration", "type", n)
            if code in (MISSING, WRONG) or error == CANCELLED:
                continue
            if code == NAN:
                kernel.refuse("duration", "nan", n)
            elif code < 0:
                kernel.refuse("duration", "range", n)
            else:
                name = kernel.endpoints.names[
                    kernel.endpoints.encode_one(names.INVALID if endpoint is None else endpoint)
                ]
                row = durations.row((name,))
                durations.counts[row, code] += n
                durations.sums[row] += int(ns)

    # -- numbers -------------------------------------------------------------------------------------------------------

    def _numbers_of(self, name: str, column: str | None, edges: Sequence[float] = (), low: float = -HUGE,
                    high: float = HUGE) -> Number | None:  # fmt: skip
        if column is None:
            return None
        given = self.table[column]
        value = number_of(given)
        if name == "duration" and value is not None and self.roles.latency_unit != "s":
            value = value * {"ms": 1e-3, "us": 1e-6, "ns": 1e-9}[self.roles.latency_unit]
        return Number(name, value, given, edges, low, high)

    @cached_property
    def _unasked(self) -> Any:
        """Whether a row has neither an answer nor any feature."""
        import ibis

        if self.roles.prediction is None:
            return ibis.literal(False)
        columns = [self.roles.prediction, *self.roles.features.values()]
        return functools.reduce(operator.and_, [self.table[name].isnull() for name in columns])

    @cached_property
    def _numbers(self) -> list[Number]:
        schema, roles = self.plan.schema, self.roles
        found = [self._numbers_of("confidence", roles.confidence, schema.confidence, 0.0, 1.0)]
        if schema.classes is None:
            low = -HUGE if can_fall(schema.value_edges) else 0.0
            found.append(self._numbers_of("prediction", roles.prediction, schema.value_edges, low))
        for name, (edges, _) in schema.numeric.items():
            low = -HUGE if can_fall(edges) else 0.0
            found.append(self._numbers_of(f"f:{name}", roles.features.get(name), edges, low))
        return [one for one in found if one is not None]

    def _cells(self) -> None:
        """Count the bins of all numbers: one scan in long form."""
        if not self._numbers:
            return
        import ibis

        codes = []
        for one in self._numbers:
            code = bin_of(one.given, one.value, one.edges)
            codes.append(ibis.ifelse(self._unasked, UNASKED, code) if one.name.startswith("f:") else code)
        cells = long_form(self.table, codes)
        self._each(cells.group_by("__bucket", "cell").agg(n=lambda t: t.count()), self._take_cells)

    def _take_cells(self, groups: Mapping[str, list[Any]]) -> None:
        for cell, n in zip(groups["cell"], groups["n"], strict=True):
            number, code = self._numbers[cell // BINS], cell % BINS + LEAST
            if number.name.startswith("f:"):
                self._take_feature(number, code, n)
            else:
                self._take_answer(number, code, n)

    def _take_feature(self, number: Number, code: int, n: int) -> None:
        kernel, name = self.kernel, number.name[2:]
        reason = {MISSING: "missing", NAN: "nan", WRONG: "type", INF: "inf", MINUS_INF: "inf"}.get(code)
        if reason is not None:
            kernel.count_invalid(name, reason, n)
        if code in (MISSING, NAN, WRONG, UNASKED):
            return
        table = kernel.tally.tables[names.FEATURE_VALUE.name]
        at = len(number.edges) if code == INF else 0 if code == MINUS_INF else code
        table.counts[table.row((name,)), at] += n

    def _take_answer(self, number: Number, code: int, n: int) -> None:
        kernel = self.kernel
        reason = {NAN: "nan", WRONG: "type", INF: "inf", MINUS_INF: "inf"}.get(code)
        if reason is not None:
            kernel.refuse(number.name, reason, n)
        elif code != MISSING:
            table = kernel.tally.tables[_TABLES[number.name]]
            table.counts[table.row(()), code] += n

    def _sums(self) -> None:
        """Sum all numbers, and count low confidences."""
        import ibis

        sums: dict[str, Any] = {}
        for i, one in enumerate(self._numbers):
            if one.value is not None:
                clipped = one.value.clip(one.low, one.high)
                sums[f"s{i}"] = ibis.ifelse(finite(one.value), clipped, None).sum()
                if one.name == "confidence":
                    is_low = finite(one.value) & (one.value < self.plan.schema.threshold)
                    sums["low"] = ibis.ifelse(is_low, 1, 0).sum()
        if sums:
            self._each(self.table.group_by("__bucket").agg(**sums), self._take_sums)

    def _take_sums(self, groups: Mapping[str, list[Any]]) -> None:
        tables = self.kernel.tally.tables
        for i, one in enumerate(self._numbers):
            total = sum(value or 0.0 for value in groups.get(f"s{i}", ()))
            if one.name.startswith("f:"):
                table = tables[names.FEATURE_VALUE.name]
                table.sums[table.row((one.name[2:],))] += total
            else:
                table = tables[_TABLES[one.name]]
                table.sums[table.row(())] += total
        low = sum(value or 0 for value in groups.get("low", ()))
        tables[names.LOW_CONFIDENCE.name].count((f"{self.plan.schema.threshold:g}",), int(low))

    # -- labels --------------------------------------------------------------------------------------------------------

    def _labels(self) -> None:
        """Count the values of segments, classes and categories: texts in one scan, others in one each."""
        schema, roles = self.plan.schema, self.roles
        columns = {"segment": roles.segment, "prediction": roles.prediction if schema.classes is not None else None}
        columns |= {f"f:{name}": roles.features.get(name) for name in schema.categorical}
        there = {what: name for what, name in columns.items() if name is not None}
        texts = {what: name for what, name in there.items() if is_text(self.table[name])}
        if texts:
            self._texts(texts)
        for what, name in there.items():
            if what not in texts:
                asked = self.table.filter(~self._unasked) if what.startswith("f:") else self.table
                grouped = asked.group_by("__bucket", value=asked[name]).agg(n=lambda t: t.count())
                self._each(grouped, lambda groups, what=what: self._take_values(what, groups["value"], groups["n"]))  # type: ignore[misc]

    def _texts(self, columns: Mapping[str, str]) -> None:
        import ibis

        order = list(columns)
        marked = []
        for i, (what, name) in enumerate(columns.items()):
            cell = ibis.ifelse(self.table[name].isnull(), f"{i} ", ibis.literal(f"{i}=") + self.table[name])
            marked.append(ibis.ifelse(self._unasked, None, cell) if what.startswith("f:") else cell)
        cells = self.table.select("__bucket", cell=ibis.array(marked).unnest()).filter(lambda t: t.cell.notnull())

        def take(groups: Mapping[str, list[Any]]) -> None:
            values: dict[str, tuple[list[Any], list[int]]] = {}
            for cell, n in zip(groups["cell"], groups["n"], strict=True):
                head, equals, text = cell.partition("=")
                found = values.setdefault(order[int(head)], ([], []))
                found[0].append(text if equals else None)
                found[1].append(n)
            for what, (some, counts) in values.items():
                self._take_values(what, some, counts)

        self._each(cells.group_by("__bucket", "cell").agg(n=lambda t: t.count()), take)

    def _take_values(self, what: str, values: list[Any], counts: list[int]) -> None:
        if not what.startswith("f:"):  # NaN among labels: not given
            values = [None if isinstance(value, float) and value != value else value for value in values]
        for rows in _repeated(counts):
            self.kernel.fold_one(what.removeprefix("f:"), Coded(rows, values))

    def _outcomes(self) -> None:
        """Count labels by what they say of which prediction, with the confidences of right and wrong ones."""
        import ibis

        table, roles = self.table, self.roles
        if self.plan.schema.classes is None:
            raise ConfigError(
                f"{roles.label}: labels of a regression are in the log; expected none in a warehouse. Leave label out."
            )
        keys = {
            what: ibis.null("string") if name is None else table[name]
            for what, name in (("segment", roles.segment), ("label", roles.label), ("prediction", roles.prediction))
        }
        confidence = next((one.value for one in self._numbers if one.name == "confidence"), None)
        code, value = ibis.literal(MISSING, "int64"), ibis.literal(0.0)
        if confidence is not None:
            inside = finite(confidence) & (confidence >= 0) & (confidence <= 1)
            code = ibis.ifelse(inside, bin_of(confidence, confidence, FINE_CONFIDENCE_EDGES), MISSING)
            value = ibis.ifelse(inside, confidence, 0.0)
        rows = table.select("__bucket", **keys, code=code, value=value).filter(lambda t: t.label.notnull())
        grouped = rows.group_by("__bucket", "segment", "label", "prediction", "code")
        self._each(grouped.agg(n=lambda t: t.count(), value=lambda t: t.value.sum()), self._take_outcomes)

    def _take_outcomes(self, groups: Mapping[str, list[Any]]) -> None:
        for rows in _repeated(groups["n"]):
            of = [Coded(rows, groups[name]) for name in ("prediction", "label", "segment")]
            outcomes.count_labels(self.kernel, Labelled(of[0], of[1], of[2], Coded.gap(len(rows))))
        table = self.kernel.tally.tables[outcomes.CALIBRATION.name]
        for label, prediction, code, n, value in zip(
            *(groups[name] for name in ("label", "prediction", "code", "n", "value")), strict=True
        ):
            right = outcomes.is_right(self.plan.schema, label, prediction)
            if right is not None and code != MISSING:
                row = table.row((CORRECT if right else WRONG_OUTCOME,))
                table.counts[row, code] += n
                table.sums[row] += value


RANGE = -6  # the code of a duration that is none
_TABLES = {"confidence": names.CONFIDENCE.name, "prediction": names.PREDICTION_VALUE.name}


def _repeated(counts: Sequence[int]) -> Iterator[Any]:
    """Yield positions of groups, each as often as it has rows, a bounded number at a time."""
    left = np.array(counts, np.int64)
    while left.any():
        upto = np.minimum(left.cumsum(), MOST_REPEATED)
        now = np.diff(upto, prepend=0)
        yield np.repeat(np.arange(len(left)), now)
        left = left - now
