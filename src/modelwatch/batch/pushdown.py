"""Expressions of Ibis for what the kernel does to values: bins, buckets of time, the long form."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from modelwatch.batch.arrow import AHEAD_S, LAST_S
from modelwatch.batch.counting import UNDATED, Plan
from modelwatch.errors import ConfigError
from modelwatch.store.live import MINUTE

#: What is wrong with a number; the codes of bins begin at 0.
MISSING, NAN, WRONG, INF, MINUS_INF = -1, -2, -3, -4, -5
UNASKED = -7  # of a row without an answer and without any feature: not counted
LEAST = -8
BINS = 4096  # codes a column, in the long form
_NO_TIME, _RANGE, _FUTURE = -1, -2, -3


def number_of(column: Any) -> Any:
    """Return a column as doubles; None where it is of another kind."""
    import ibis

    kind = column.type()
    if kind.is_boolean():
        return ibis.cases((column, 1.0), (~column, 0.0)).cast("float64")
    if kind.is_integer() or kind.is_floating() or kind.is_decimal():
        return column.cast("float64")
    return None


def is_text(column: Any) -> bool:
    """Tell a column of texts."""
    return bool(column.type().is_string())


def finite(value: Any) -> Any:
    """Return whether a double is a finite number; false for null."""
    import ibis

    return ibis.ifelse(value.isnan(), False, (value.abs() < float("inf")).fill_null(False))


def bin_of(given: Any, value: Any, edges: Sequence[float]) -> Any:
    """Return the code of each value: its bin `(lower, upper]`, or what is wrong with it. NaN is tested before null."""
    import ibis

    if value is None:
        return ibis.ifelse(given.isnull(), MISSING, WRONG).cast("int64")
    infinity = float("inf")
    return ibis.cases(
        (value.isnan(), NAN),
        (value.isnull(), MISSING),
        (value == infinity, INF),
        (value == -infinity, MINUS_INF),
        else_=_tree(value, edges, 0),
    ).cast("int64")


def _tree(value: Any, edges: Sequence[float], first: int) -> Any:
    """Return how many edges are below a value, by halving: seven comparisons for a hundred edges."""
    import ibis

    if not edges:
        return ibis.literal(first, "int64")
    middle = len(edges) // 2
    edge = ibis.literal(float(edges[middle]), "float64")
    return ibis.ifelse(
        value <= edge, _tree(value, edges[:middle], first), _tree(value, edges[middle + 1 :], first + middle + 1)
    )


def long_form(table: Any, codes: Sequence[Any]) -> Any:
    """Return (bucket, cell) of every code of every row: `column * BINS + code`, codes counted from the least."""
    import ibis

    cells = [code + (BINS * i - LEAST) for i, code in enumerate(codes)]
    return table.select("__bucket", cell=ibis.array(cells).unnest())


@dataclass
class When:
    """The bucket of each row, as an expression, and its start in Unix seconds.

    local : times are those of a clock on a wall: they are grouped by its minutes and put on the line of time here.
    """

    bucket: Any
    plan: Plan
    local: bool = False
    table: Any = None
    _refused: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, table: Any, plan: Plan, name: str) -> When:
        """Return the buckets of a table.

        Raises
        ------
        ConfigError   the column of times is of texts.
        """
        import ibis

        column = plan.roles.timestamp
        if column is None:
            return cls(ibis.literal(_NO_TIME, "int64"), plan)
        given = table[column]
        kind = given.type()
        if not (kind.is_timestamp() or kind.is_date() or kind.is_numeric()):
            raise ConfigError(
                f"{name}: column {column!r} is of type {kind}; expected times. Cast it there: table.mutate("
                f"{column}=table.{column}.cast('timestamp'))."
            )
        local = not kind.is_numeric() and getattr(kind, "timezone", None) is None and plan.roles.time_zone != "UTC"
        seconds = _seconds(given, kind)
        grain = MINUTE if local else plan.span
        # the times of a wall are judged here, within a day
        margin = dt.timedelta(days=1).total_seconds() if local else 0.0
        bucket = ibis.cases(
            (seconds.isnull(), _NO_TIME),
            (seconds < -margin, _RANGE),
            (seconds >= LAST_S, _RANGE),
            (seconds > plan.now + AHEAD_S + margin, _FUTURE),
            else_=(seconds // grain).cast("int64") * grain,
        )
        return cls(bucket.cast("int64"), plan, local, table)

    def start(self, code: int) -> int:
        """Return the start of a bucket."""
        if code < 0:
            return UNDATED
        if not self.local:
            return code
        wall = dt.datetime.fromtimestamp(code, dt.timezone.utc).replace(tzinfo=ZoneInfo(self.plan.roles.time_zone))
        return int(wall.timestamp()) // self.plan.span * self.plan.span

    def refused(self) -> dict[str, int]:
        """Return how many rows have no time, by reason."""
        if self.table is None:
            return {}
        codes = self.table.select(code=self.bucket).filter(lambda t: t.code < 0)
        found = codes.group_by("code").agg(n=lambda t: t.count()).to_pyarrow()
        words = {_NO_TIME: "missing", _RANGE: "range", _FUTURE: "future"}
        return {words[code]: n for code, n in zip(*(found.column(i).to_pylist() for i in (0, 1)), strict=True)}


def _seconds(given: Any, kind: Any) -> Any:
    """Return Unix seconds, rounded down."""
    import ibis

    if kind.is_numeric():
        value = given.cast("float64")
        size = value.abs()
        scaled = ibis.cases(
            (size < 1e11, value), (size < 1e14, value / 1e3), (size < 1e17, value / 1e6), else_=value / 1e9
        )
        return ibis.ifelse(finite(value), scaled.floor(), None)
    if kind.is_date():
        given = given.cast("timestamp")
    return given.truncate("s").epoch_seconds().cast("int64")
