"""What a configuration costs: series in Prometheus, rows on the disk, and the price of both, from counts of nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from modelwatch import names
from modelwatch.config import Config, ModelConfig
from modelwatch.exposition import GaugeValue, Page, Source
from modelwatch.reference import Reference
from modelwatch.referenceseries import comparable, reference_page
from modelwatch.schema import ModelSchema
from modelwatch.tally import Tally

SCRAPE_S, KEPT_DAYS = 15, 15  # Prometheus' defaults in the generated stack
SAMPLE_BYTES = 2  # Prometheus needs 1 to 2
ROWS = 24 * 60 + 35 * 24 + 400  # minutes of a day, hours of five weeks, days
GAUGES = (names.IN_PROGRESS, names.THROUGHPUT, names.MODEL_INFO)  # of every model
ENDPOINT, ERROR, SEGMENT = "/predict", "ValueError", "segment"
SEED = 1


@dataclass(frozen=True)
class Footprint:
    """What one model costs.

    series : of one replica with one endpoint, from its first scrape.
    an_endpoint, an_error, a_segment : further series with each more of these.
    live_bytes : of `live.db`, when minutes, hours and days are full.
    """

    model: str
    version: str
    series: int
    an_endpoint: int
    an_error: int
    a_segment: int
    live_bytes: int
    replicas: int

    @property
    def fleet(self) -> int:
        """Series of all replicas."""
        return self.series * self.replicas

    @property
    def prometheus_bytes(self) -> int:
        """What Prometheus keeps of them in 15 days at a scrape each 15 s, at most."""
        return self.fleet * SAMPLE_BYTES * KEPT_DAYS * 86_400 // SCRAPE_S

    def to_dict(self, price: float | None = None) -> dict[str, Any]:
        """Return it for JSON. price: of 1000 series a month."""
        found: dict[str, Any] = {
            "model": self.model, "version": self.version, "series": self.series, "replicas": self.replicas,
            "series_of_all_replicas": self.fleet, "series_an_endpoint": self.an_endpoint,
            "series_an_error_type": self.an_error, "series_a_segment": self.a_segment,
            "prometheus_bytes": self.prometheus_bytes, "live_db_bytes": self.live_bytes,
        }  # fmt: skip
        return found if price is None else {**found, "cost_a_month": round(price * self.fleet / 1000, 2)}

    def lines(self, price: float | None = None) -> list[str]:
        """Return it for a person."""
        more = f"+{self.an_endpoint} an endpoint, +{self.an_error} a type of error, +{self.a_segment} a segment"
        replicas = f", {self.fleet:,} in {self.replicas} replicas" if self.replicas > 1 else ""
        lines = [
            f"  series: {self.series:,} a replica with one endpoint{replicas}; {more}",
            f"  Prometheus: up to {_size(self.prometheus_bytes)} in {KEPT_DAYS} days, at a scrape each {SCRAPE_S} s",
            f"  live.db: about {_size(self.live_bytes)} a host",
        ]
        if price is not None:
            lines.append(f"  cost: {price * self.fleet / 1000:,.2f} a month at {price:g} per 1000 series")
        return lines


def footprint(config: Config, model: ModelConfig, schema: ModelSchema, reference: Reference | None) -> Footprint:
    """Work out what a model costs, by rendering its page and packing a tally in which everything has been counted."""
    known = schema.empty()
    _see(known, names.REQUESTS, names.FAILED, names.DURATION, names.CANCELLED)
    first = _series(model, schema, known)
    with_more = known.copy()
    _see(with_more, names.REQUESTS, names.FAILED, names.DURATION, names.CANCELLED, endpoint="/other")
    with_error = known.copy()
    with_error.tables[names.ERRORS.name].row((ENDPOINT, ERROR))
    with_segment = known.copy()
    with_segment.tables[names.SEGMENTS.name].row(tuple(SEGMENT for _ in names.SEGMENTS.labels))
    for metric in (names.LABELS, names.LABELS_BY_INCLUSION) if schema.reviewed else ():
        for outcome in ("correct", "wrong"):
            with_segment.tables[metric.name].row(_filled(metric, outcome))
    of_reference = 0
    if reference is not None:
        page = reference_page([((model.name, model.version), comparable(reference, schema))], openmetrics=False)
        of_reference = _lines(page)
    return Footprint(
        model.name, model.version, first + of_reference, _series(model, schema, with_more) - first,
        _series(model, schema, with_error) - first, _series(model, schema, with_segment) - first,
        ROWS * _row_bytes(with_segment), config.service.replicas,
    )  # fmt: skip


def _see(tally: Tally, *metrics: names.Metric, endpoint: str = ENDPOINT) -> None:
    for metric in metrics:
        tally.tables[metric.name].row((endpoint,))


def _filled(metric: names.Metric, outcome: str) -> tuple[str, ...]:
    values = {"segment": SEGMENT, "outcome": outcome}
    return tuple(values.get(label, "1") for label in metric.labels)


def _series(model: ModelConfig, schema: ModelSchema, tally: Tally) -> int:
    gauges = [GaugeValue(metric, 0.0, {"model_name": model.name}) for metric in GAUGES]
    return _lines(Page().render([Source(model.name, model.version, schema, tally)], gauges))


def _lines(page: bytes) -> int:
    return sum(not line.startswith(b"#") for line in page.splitlines())


def _row_bytes(tally: Tally) -> int:
    """Return the size of a row in which every bucket has counts of a busy minute."""
    rng, full = np.random.default_rng(SEED), tally.copy()
    for table in full.tables.values():
        table.counts[: len(table.rows)] = rng.integers(0, 1000, table.counts[: len(table.rows)].shape)
    return len(full.dump())


def _size(n: int) -> str:
    return f"{n / 1e9:.1f} GB" if n >= 1e9 else f"{max(n / 1e6, 0.1):.1f} MB"
