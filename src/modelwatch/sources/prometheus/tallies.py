"""From series of a Prometheus to tallies: the increase of every counter over a window, and on which edges it counts."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import numpy as np

from modelwatch import names
from modelwatch.errors import fault
from modelwatch.names import Metric
from modelwatch.schema import ModelSchema
from modelwatch.signals.core import MODEL, VERSION, increase, increase_from_birth
from modelwatch.signals.service import MINUTE_TABLES
from modelwatch.sources.prometheus.client import PrometheusUnavailable, Series
from modelwatch.tally import Labels, Table, TableSchema, Tally

MOST = 2.0**63  # a count that is no more than this is an int64
TABLE = "counted"  # the label that tells the tables of one answer apart
HISTOGRAMS = (names.DURATION, names.CONFIDENCE, names.PREDICTION_VALUE, names.FEATURE_VALUE)
#: Exist from the start, at 0; series of all others begin with their first count.
FROM_START = (
    names.REQUESTS, names.FAILED, names.CANCELLED, names.EVENTS, names.SAMPLES, names.LOW_CONFIDENCE,
    names.FEATURE_INVALID,
)  # fmt: skip
#: What objectives, and windows longer than those of drift, are made of.
OF_OBJECTIVES: tuple[Metric, ...] = (
    names.REQUESTS, names.FAILED, names.CANCELLED, names.DURATION, names.LABELS, names.LABELS_BY_INCLUSION,
    names.SAMPLES, names.SLICES, names.REPLICA_SECONDS,
)  # fmt: skip
COUNTED: tuple[Metric, ...] = (
    *OF_OBJECTIVES, names.EVENTS, names.ERRORS, names.PREDICTIONS, names.PREDICTION_VALUE, names.CONFIDENCE,
    names.LOW_CONFIDENCE, names.FEATURE_VALUE, names.FEATURE_CATEGORY, names.FEATURE_INVALID, names.REFUSED,
    names.OVERFLOW, names.INTERNAL_ERRORS, names.ABANDONED, names.CALLER_FOLDS, names.SAMPLES_DROPPED,
)  # fmt: skip


def series_name(metric: Metric) -> str:
    """Return the name of the series that hold the counts of a metric."""
    return f"{metric.name}_bucket" if metric in HISTOGRAMS else metric.name


def expression(metrics: Iterable[Metric], selector: str, window: str) -> str:
    """Return the expression of the increase of all metrics over a window, by version, summed over the replicas."""
    parts = []
    for metric in metrics:
        by = ", ".join((MODEL, VERSION, *metric.labels, *(("le",) if metric in HISTOGRAMS else ())))
        known = metric in FROM_START or metric in HISTOGRAMS
        made = (increase if known else increase_from_birth)(series_name(metric), selector, window, by)
        parts.append(f'label_replace({made}, "{TABLE}", "{metric.name}", "", "")')
    return " or ".join(parts)


def edges_expression(metrics: Iterable[Metric], selector: str, window: str) -> str:
    """Return the expression whose series tell on which edges the histograms count, by version."""
    return " or ".join(
        f"label_replace(group by ({', '.join((VERSION, *metric.labels, 'le'))}) "
        f'(last_over_time({series_name(metric)}{{{selector}}}[{window}])), "{TABLE}", "{metric.name}", "", "")'
        for metric in metrics
    )


def schemas_of(base: ModelSchema, found: Iterable[Series], versions: Iterable[str]) -> dict[str, ModelSchema]:
    """Return the schema of every version: as the configuration has it, on the edges that its series have.

    Only exported bins are known, so that those kept are those shown.
    """
    edges: dict[tuple[str, str, str], set[float]] = {}
    for labels in (one.labels for one in found):
        key = labels.get(VERSION, ""), labels.get(TABLE, ""), labels.get("feature_name", "")
        edges.setdefault(key, set()).add(_edge(labels))
    made = {}
    for version in versions:

        def on(metric: Metric, feature: str = "", version: str = version) -> tuple[float, ...]:
            known = edges.get((version, metric.name, feature), ())
            return tuple(sorted(edge for edge in known if math.isfinite(edge)))

        numeric = {feature: (on(names.FEATURE_VALUE, feature),) * 2 for feature in base.numeric}
        made[version] = replace(
            base, latency=on(names.DURATION) or base.latency, numeric=numeric,
            value_edges=on(names.PREDICTION_VALUE) or base.value_edges,
        )  # fmt: skip
    return made


def _edge(labels: Mapping[str, str]) -> float:
    try:
        return float(labels["le"])
    except (KeyError, ValueError):
        given, expected = labels.get("le"), "the upper bound of a bucket"
        raise PrometheusUnavailable(fault("prometheus", "le", given, expected, "Look at what relabels it.")) from None


class Answers:
    """The answers to one question over some times, as tallies of each version, made when they are asked for."""

    def __init__(self, found: Iterable[Series], schemas: Mapping[str, ModelSchema]) -> None:
        self._schemas = schemas
        self._at: dict[float, list[tuple[Mapping[str, str], float]]] = {}
        for one in found:
            for at, value in one.values.items():
                self._at.setdefault(round(at, 3), []).append((one.labels, value))

    def tally(self, version: str, at: float) -> Tally:
        """Return the counts of a version at a time; empty where nothing is known of it."""
        mine = [(labels, value) for labels, value in self._at.get(round(at, 3), ()) if labels.get(VERSION) == version]
        schema = self._schemas[version]
        tables = {table.name: table for table in (*schema.tables, *MINUTE_TABLES)}
        tally, upto = Tally(), dict[tuple[str, Labels], dict[float, float]]()
        for labels, value in mine:
            table = tables.get(labels.get(TABLE, ""))
            if table is None or not abs(value) < MOST:
                continue
            if table.name not in tally.tables:
                tally.tables[table.name] = Table(table.fingerprint, table.width, table.sums)
            row = tuple(labels.get(name, "") for name in table.labels)
            if table.edges:
                if row in table.rows or not table.rows:  # a feature that the configuration has no more has no edges
                    upto.setdefault((table.name, row), {})[_edge(labels)] = value
            else:
                tally.tables[table.name].count(row, round(value))
        for (name, row), cumulative in upto.items():
            _fill(tally.tables[name], tables[name], row, cumulative)
        return tally


def _fill(table: Table, schema: TableSchema, labels: Labels, upto: Mapping[float, float]) -> None:
    """Put the counts up to some edges into the columns of these edges."""
    edges = schema.edges[schema.rows.index(labels)] if schema.rows else schema.edges[0]
    number, counted = table.row(labels), 0
    for edge in sorted(upto):
        column = table.counts.shape[1] - 1 if math.isinf(edge) else edges.index(edge) if edge in edges else None
        now = max(round(upto[edge]), counted)  # replicas are not scraped at one moment
        if column is not None:
            table.counts[number, column], counted = now - counted, now
    if table.sums_kind == "float":
        table.sums[number] = np.nan  # not asked for; what has no sum has no mean


def found_metrics(found: Iterable[Series], wanted: Collection[Metric] = COUNTED) -> tuple[Metric, ...]:
    """Return the metrics that have series."""
    known = {one.labels.get("__name__", "") for one in found}
    return tuple(metric for metric in wanted if series_name(metric) in known)
