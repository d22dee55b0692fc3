"""What is counted of one model: the tables and edges that its configuration and reference profile ask for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain

from modelwatch import names
from modelwatch.errors import DamagedData
from modelwatch.events import DROP_REASONS, LABEL_STATES
from modelwatch.reference import Reference
from modelwatch.tally import TableSchema, Tally

#: Seconds; the brief's buckets. Each latency objective T adds T/2, 0.7 T, T, 1.5 T and 2 T.
LATENCY_EDGES = (0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
MOST_LATENCY_EDGES = 20
#: Upper bounds of the confidence histogram that is exported; 50 equal bins are kept.
CONFIDENCE_EDGES = tuple(round(k / 10, 1) for k in range(11))
FINE_CONFIDENCE_EDGES = tuple(round(k / 50, 2) for k in range(51))
DECADES = (*(-(10.0**k) for k in range(6, -2, -1)), 0.0, *(10.0**k for k in range(-1, 7)))
#: Why a feature value is in no bin (`inf` is in the outer bins too).
INVALID_REASONS = ("missing", "nan", "type", "inf")


def latency_edges(thresholds: Sequence[float] = ()) -> tuple[float, ...]:
    """Return the bucket edges of request durations, in seconds.

    The edges that belong to a threshold are kept when there are more than 20.

    Examples
    --------
    >>> latency_edges([0.5])
    (0.01, 0.05, 0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
    """
    wanted = {float(f"{t * k:.12g}") for t in thresholds for k in (0.5, 0.7, 1.5, 2)} | {float(t) for t in thresholds}
    spare = [edge for edge in LATENCY_EDGES if edge not in wanted]
    while spare and len(wanted) + len(spare) > MOST_LATENCY_EDGES:
        spare.pop(0)
    return tuple(sorted(wanted.union(spare)))


def can_fall(edges: Sequence[float]) -> bool:
    """Tell whether values on these edges may be below 0, so that their sum is no counter.

    Where they may not, the few that are count as 0 in the sum.
    """
    return bool(len(edges)) and edges[0] < 0


@dataclass(frozen=True)
class ModelSchema:
    """What one model version counts. Equal schemas give tallies that add.

    Parameters
    ----------
    latency : finite upper bounds in seconds, increasing.
    threshold : a confidence below it is low.
    classes : known classes; None for a regression model, whose values are counted on `value_edges`.
    numeric : feature name -> (edges kept, edges exported); a feature without a profile has no edges.
    categorical : feature name -> known categories.
    segments, endpoints : values that exist from the start, at 0.
    cap : most values of a label.
    reviewed : predictions are kept for review and labels are taken.
    """

    latency: tuple[float, ...] = LATENCY_EDGES
    threshold: float = 0.7
    classes: tuple[str, ...] | None = ()
    value_edges: tuple[float, ...] = DECADES
    numeric: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)
    categorical: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cap: int = 1000
    reviewed: bool = False

    @cached_property
    def confidence(self) -> tuple[float, ...]:
        """Upper bounds of the confidence histogram that is kept."""
        return tuple(sorted({*FINE_CONFIDENCE_EDGES, self.threshold}))

    @cached_property
    def feature_bins(self) -> int:
        """Bins of the widest numeric feature; the others leave their last columns empty."""
        return 1 + max((len(kept) for kept, _ in self.numeric.values()), default=0)

    @cached_property
    def tables(self) -> tuple[TableSchema, ...]:
        """The schema of every table."""
        plain = [
            names.EVENTS, names.REQUESTS, names.FAILED, names.ERRORS, names.CANCELLED, names.LOW_CONFIDENCE,
            names.SEGMENTS, names.LABELS, names.LABELS_BY_INCLUSION, names.LABEL_STATES, names.SAMPLES,
            names.SAMPLES_DROPPED, names.FEATURE_CATEGORY, names.FEATURE_INVALID, names.REFUSED, names.OVERFLOW,
            names.INTERNAL_ERRORS,
            names.ABANDONED, names.CALLER_FOLDS,
        ]  # fmt: skip
        tables = [TableSchema(metric.name, metric.labels) for metric in plain]
        tables.append(_histogram(names.DURATION, self.latency, "ns"))
        tables.append(_histogram(names.CONFIDENCE, self.confidence, "float"))
        if self.classes is None:
            tables.append(_histogram(names.PREDICTION_VALUE, self.value_edges, "float"))
        else:
            tables.append(TableSchema(names.PREDICTIONS.name, names.PREDICTIONS.labels))
        if self.numeric:
            edges, rows = tuple(kept for kept, _ in self.numeric.values()), tuple((name,) for name in self.numeric)
            table = TableSchema(
                names.FEATURE_VALUE.name, names.FEATURE_VALUE.labels, self.feature_bins, "float", edges, rows
            )
            tables.append(table)
        return tuple(tables)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """{table name: schema fingerprint}."""
        return {table.name: table.fingerprint for table in self.tables}

    def to_json(self) -> str:
        """Return the schema as JSON, so that whoever reads the counts knows their edges."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelSchema:
        """Read `to_json` back.

        Raises
        ------
        DamagedData   not a schema.
        """
        try:
            given = json.loads(text)
            numeric = {name: (tuple(kept), tuple(shown)) for name, (kept, shown) in given.pop("numeric").items()}
            categorical = {name: tuple(known) for name, known in given.pop("categorical").items()}
            lists = {k: tuple(v) for k, v in given.items() if isinstance(v, list)}
            return _checked(cls(numeric=numeric, categorical=categorical, **{**given, **lists}))
        except Exception as error:  # noqa: BLE001  # whatever is wrong with it: it is damaged
            raise DamagedData(
                f"schema: {text[:40]!r} cannot be read ({error}). Its histograms are not shown."
            ) from None

    def empty(self) -> Tally:
        """Return a tally of nothing, with the rows that exist from the start."""
        tally = Tally(self.tables)
        tables = tally.tables
        tables[names.EVENTS.name].row(())
        tables[names.ABANDONED.name].row(())
        tables[names.CALLER_FOLDS.name].row(())
        tables[names.CONFIDENCE.name].row(())
        tables[names.LOW_CONFIDENCE.name].row((f"{self.threshold:g}",))
        for value in self.classes or ():
            tables[names.PREDICTIONS.name].row((value,))
        if self.reviewed:
            tables[names.SAMPLES.name].row(())
            for state in LABEL_STATES:
                tables[names.LABEL_STATES.name].row((state,))
            for reason in DROP_REASONS:
                tables[names.SAMPLES_DROPPED.name].row((reason,))
        if self.classes is None:
            tables[names.PREDICTION_VALUE.name].row(())
        for name in self.numeric:
            tables[names.FEATURE_VALUE.name].row((name,))
        for name, categories in self.categorical.items():
            for category in categories:
                tables[names.FEATURE_CATEGORY.name].row((name, category))
        for name in (*self.numeric, *self.categorical):
            for reason in INVALID_REASONS:
                tables[names.FEATURE_INVALID.name].row((name, reason))
        return tally


def _checked(schema: ModelSchema) -> ModelSchema:
    """Return a schema whose edges are numbers, and whose names are texts: its tables can be made."""
    pairs = schema.numeric.values()
    edges = chain(
        schema.latency, schema.value_edges, [schema.threshold], *(chain(kept, shown) for kept, shown in pairs)
    )
    texts = chain(schema.classes or (), schema.categorical, *schema.categorical.values())
    if not {int, float}.issuperset(map(type, edges)) or not {str}.issuperset(map(type, texts)):
        raise TypeError("edges that are no numbers, or names that are no texts")
    _ = schema.tables
    return schema


def _histogram(metric: names.Metric, edges: tuple[float, ...], sums: str) -> TableSchema:
    return TableSchema(metric.name, metric.labels, len(edges) + 1, "ns" if sums == "ns" else "float", (edges,))


def numeric_edges(reference: Reference | None, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return (edges kept, edges exported) of a feature; empty without a profile.

    Then only what is invalid is counted.
    """
    profile = reference.numeric.get(name) if reference else None
    return (profile.edges, profile.exported) if profile else ((), ())
