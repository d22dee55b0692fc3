"""Prometheus text and OpenMetrics from tallies, by series templates that are made once and only filled in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch import names
from modelwatch.names import Metric, number
from modelwatch.schema import CONFIDENCE_EDGES, ModelSchema, can_fall
from modelwatch.tally import Labels, Table, Tally

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
LARGEST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Source:
    """The counts of one model version, as they are shown: `name` and `version` become labels."""

    name: str
    version: str
    schema: ModelSchema
    tally: Tally


@dataclass(frozen=True)
class GaugeValue:
    """One value of a gauge, or of a counter that is not in a tally."""

    metric: Metric
    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


def escape(value: str) -> str:
    """Return a label value as it stands between the quotes."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def label_set(labels: Mapping[str, str]) -> str:
    """Return `a="1",b="2"`."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())


class _Block:
    """The series of one metric of one model version: their lines as a template, and the values that go in."""

    def __init__(self, metric: Metric, source: Source) -> None:
        self.metric = metric
        self.constant = {"model_name": source.name, "model_version": source.version}
        self.table: Table | None = None
        self.made = 0
        self.parts: list[tuple[str, str]] = []  # per row: its lines, and the lines that OpenMetrics leaves out
        edges = _edges(metric, source.schema)
        self.shown = {row: (shown, [kept.index(edge) for edge in shown]) for row, (kept, shown) in edges.items()}
        self.columns: list[list[int]] = []  # per row of a histogram: where the counts of its edges are
        # A sum that can fall is no counter, and OpenMetrics forbids it; without a sum it forbids the count, too.
        self.summed = all(not can_fall(kept) for kept, _ in edges.values())

    def grow(self, table: Table) -> bool:
        """Make the lines of rows that are new; return whether the lines are other ones than before."""
        anew = table is not self.table
        if anew:  # summed up anew: the rows may have another order
            self.table, self.made, self.parts, self.columns = table, 0, [], []
        new = list(table.rows)[self.made :]
        for labels in new:
            self.parts.append(self._lines(labels))
        self.made += len(new)
        return anew or bool(new)

    def _lines(self, labels: Labels) -> tuple[str, str]:
        inside = label_set(self.constant | dict(zip(self.metric.labels, labels, strict=True))).replace("%", "%%")
        name = self.metric.name
        if self.metric.kind != "histogram":
            return f"{name}{{{inside}}} %d\n", ""
        edges, columns = self.shown[labels if self.metric is names.FEATURE_VALUE else ()]
        self.columns.append(columns)
        text = "".join(f'{name}_bucket{{{inside},le="{number(edge)}"}} %d\n' for edge in (*edges, np.inf))
        count = f"{name}_count{{{inside}}} %d\n"
        return (f"{text}{count}{name}_sum{{{inside}}} %a\n", "") if self.summed else (text, count)

    def template(self, *, openmetrics: bool) -> str:
        return "".join([a if openmetrics else a + b for a, b in self.parts])

    def values(self, *, openmetrics: bool) -> list[Any]:
        table = self.table
        if table is None or not self.made:
            return []
        counts = table.counts[: self.made]
        if self.metric.kind != "histogram":
            return counts[:, 0].tolist()  # type: ignore[no-any-return]  # ints
        upto = counts.cumsum(axis=1)
        with_count = self.summed or not openmetrics
        if len(set(map(len, self.columns))) == 1:
            rows = _pick(upto, np.array(self.columns, np.intp), with_count=with_count).tolist()
        else:
            one = [
                _pick(upto[i : i + 1], np.array([c], np.intp), with_count=with_count)
                for i, c in enumerate(self.columns)
            ]
            rows = [row.tolist()[0] for row in one]
        if self.summed:
            sums = table.sums[: self.made]
            if table.sums_kind == "ns":
                sums = (sums & LARGEST) / 1e9  # after 292 years it begins again at 0, as a counter may
            for row, total in zip(rows, sums.tolist(), strict=True):
                row.append(total)
        return list(chain.from_iterable(rows))


def _pick(upto: npt.NDArray[np.int64], columns: npt.NDArray[np.intp], *, with_count: bool) -> npt.NDArray[np.int64]:
    """Return the cumulative counts at the shown edges, at +Inf, and the count."""
    shown = np.take_along_axis(upto, columns, axis=1)
    total = upto[:, -1:]
    return np.concatenate([shown, total, total] if with_count else [shown, total], axis=1)


def _edges(metric: Metric, schema: ModelSchema) -> dict[Labels, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Return (edges kept, edges shown) for each feature's row; of other histograms one under `()` for all rows."""
    pairs: dict[Labels, tuple[tuple[float, ...], tuple[float, ...]]] = {}
    if metric is names.FEATURE_VALUE:
        pairs = {(name,): edges for name, edges in schema.numeric.items()}
    elif metric is names.CONFIDENCE:
        pairs[()] = schema.confidence, tuple(sorted({*CONFIDENCE_EDGES, schema.threshold}))
    elif metric is names.DURATION:
        pairs[()] = schema.latency, schema.latency
    elif metric is names.PREDICTION_VALUE:
        pairs[()] = schema.value_edges, schema.value_edges
    return pairs


COUNTED = (
    names.REQUESTS, names.FAILED, names.ERRORS, names.CANCELLED, names.DURATION, names.PREDICTIONS,
    names.PREDICTION_VALUE,
    names.CONFIDENCE, names.LOW_CONFIDENCE, names.SEGMENTS, names.LABELS, names.LABELS_BY_INCLUSION,
    names.FEATURE_VALUE, names.FEATURE_CATEGORY,
    names.FEATURE_INVALID,
    names.LABEL_STATES, names.SAMPLES, names.SAMPLES_DROPPED,
    names.EVENTS, names.REFUSED, names.OVERFLOW, names.INTERNAL_ERRORS, names.ABANDONED, names.CALLER_FOLDS,
    names.SLICES, names.REPLICA_SECONDS,
)  # fmt: skip


class _Family:
    """One metric over all models. Rendering costs a cumulative sum and one `%` for all its series."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.blocks: dict[tuple[str, str], tuple[ModelSchema, _Block]] = {}
        self.order: list[tuple[str, str]] = []
        self.templates: dict[bool, bytes] = {}

    def render(self, sources: Sequence[Source], *, openmetrics: bool) -> bytes:
        shown = [s for s in sources if self.metric.name in s.tally.tables]
        order = [(s.name, s.version) for s in shown]
        stale, self.order = order != self.order, order
        blocks = []
        for source in shown:
            key = (source.name, source.version)
            schema, block = self.blocks.get(key, (None, None))
            if block is None or schema is not source.schema:
                block = _Block(self.metric, source)
                self.blocks[key] = source.schema, block
                stale = True
            stale |= block.grow(source.tally.tables[self.metric.name])
            blocks.append(block)
        if stale or openmetrics not in self.templates:
            if stale:
                self.templates.clear()
                self.blocks = {key: self.blocks[key] for key in order}  # versions that are gone are forgotten
            body = "".join([block.template(openmetrics=openmetrics) for block in blocks])
            head = head_lines(self.metric, openmetrics=openmetrics).replace("%", "%%")
            # bytes % values takes half the time of str % values, and needs no encoding afterwards
            self.templates[openmetrics] = (head + body).encode(errors="replace") if body else b""
        values = chain.from_iterable([block.values(openmetrics=openmetrics) for block in blocks])
        return self.templates[openmetrics] % tuple(values)


def head_lines(metric: Metric, *, openmetrics: bool) -> str:
    """Return the HELP and TYPE lines of a metric."""
    name = metric.name.removesuffix("_total") if openmetrics and metric.kind == "counter" else metric.name
    text = metric.help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {metric.kind}\n"


class Page:
    """Renders `/metrics`. Keeps the templates of its series; not thread-safe."""

    def __init__(self) -> None:
        self._families = [_Family(metric) for metric in COUNTED]

    def render(
        self,
        sources: Sequence[Source],
        gauges: Sequence[GaugeValue] = (),
        *,
        openmetrics: bool = False,
        foreign: bytes = b"",
        on_error: Callable[[str, Exception], None] = lambda _name, _error: None,
    ) -> bytes:
        """Return the exposition.

        Parameters
        ----------
        sources : the model versions to show.
        gauges : values that are not in a tally, in the order of their metrics.
        openmetrics : OpenMetrics 1.0 instead of Prometheus text 0.0.4.
        foreign : families of others, in the same format and without `# EOF`.
        on_error : called with (family, error) when a family cannot be rendered; it costs only itself.
        """
        parts = []
        for family in self._families:
            try:
                parts.append(family.render(sources, openmetrics=openmetrics))
            except Exception as error:  # noqa: BLE001
                family.blocks.clear()
                family.templates.clear()
                on_error(family.metric.name, error)
        for metric, values in groupby(gauges, attrgetter("metric")):
            try:
                parts.append(gauge_lines(metric, values, openmetrics=openmetrics))
            except Exception as error:  # noqa: BLE001
                on_error(metric.name, error)
        parts.append(foreign)
        if openmetrics:
            parts.append(b"# EOF\n")
        return b"".join(parts)


def gauge_lines(metric: Metric, gauges: Iterable[GaugeValue], *, openmetrics: bool) -> bytes:
    """Return the family of a metric that has these values."""
    lines = [head_lines(metric, openmetrics=openmetrics)]
    for gauge in gauges:
        inside = label_set(gauge.labels)
        series = f"{metric.name}{{{inside}}}" if inside else metric.name
        lines.append(f"{series} {number(gauge.value)}\n")
    return "".join(lines).encode(errors="replace")
