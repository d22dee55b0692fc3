"""Labels of many parts held to the caps of one: parts that saw different values add up to more than a label may have.

The values that are most frequent in all keep their names, the rest are one. Nothing is lost, and what was renamed is
counted as the kernel counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from modelwatch import names
from modelwatch.batch.outcomes import CONFUSION
from modelwatch.schema import ModelSchema
from modelwatch.tally import Table, TableSchema, Tally

_OVERFLOW = TableSchema(names.OVERFLOW.name, names.OVERFLOW.labels)
_EXEMPT = frozenset({names.OTHER, names.INVALID, names.UNSEGMENTED})


class _Label(NamedTuple):
    """A label that is capped: the table that counts its values, and those that use the same names.

    at : its position among the labels.
    """

    name: str
    table: str
    at: int
    others: tuple[tuple[str, int], ...] = ()


_BY_ENDPOINT = (names.FAILED, names.CANCELLED, names.DURATION, names.ERRORS)
_LABELS = (
    _Label("endpoint", names.REQUESTS.name, 0, tuple((metric.name, 0) for metric in _BY_ENDPOINT)),
    _Label("error_type", names.ERRORS.name, 1),
    _Label("predicted_class", names.PREDICTIONS.name, 0, ((CONFUSION.name, 1),)),
    _Label("segment", names.SEGMENTS.name, 0, ((names.LABELS.name, 0),)),
)  # fmt: skip

#: (table, position of the label, feature or "" where it is no category) -> the values that keep their names.
Kept = Mapping[tuple[str, int, str], frozenset[str]]


def kept_of(total: Tally, schema: ModelSchema) -> Kept:
    """Return the labels that have more values than they may, and which of these keep their names; empty for most."""
    kept: dict[tuple[str, int, str], frozenset[str]] = {}
    for label in _LABELS:
        known = frozenset(schema.classes or ()) if label.name == "predicted_class" else frozenset()
        chosen = _chosen(_frequencies(total.tables.get(label.table), label.at), known, schema.cap)
        if chosen is not None:
            for table, at in ((label.table, label.at), *label.others):
                kept[table, at, ""] = chosen
    fair = max(10, schema.cap // max(1, len(schema.categorical)))
    for feature, categories in schema.categorical.items():
        found = _frequencies(total.tables.get(names.FEATURE_CATEGORY.name), 1, feature)
        chosen = _chosen(found, frozenset(categories), fair)
        if chosen is not None:
            kept[names.FEATURE_CATEGORY.name, 1, feature] = chosen
    return kept


def _frequencies(table: Table | None, at: int, feature: str = "") -> Counter[str]:
    found: Counter[str] = Counter()
    for labels, row in table.rows.items() if table else ():
        if table is not None and (not feature or labels[0] == feature):
            found[labels[at]] += int(table.counts[row].sum())
    return found


def _chosen(found: Counter[str], known: frozenset[str], cap: int) -> frozenset[str] | None:
    spare = [(-n, value) for value, n in found.items() if value not in known and value not in _EXEMPT]
    if len(spare) <= cap:
        return None
    return known | _EXEMPT | {value for _, value in sorted(spare)[:cap]}


def capped(tally: Tally, kept: Kept) -> Tally:
    """Return a tally whose surplus labels are `__other__`."""
    new = tally.copy()
    for (name, at, feature), values in kept.items():
        table = new.tables.get(name)
        if table is None:
            continue
        renamed = Table(table.fingerprint, table.counts.shape[1], table.sums_kind, max(4, len(table.rows)))
        moved = 0
        for labels, row in table.rows.items():
            surplus = labels[at] not in values and (not feature or labels[0] == feature)
            to = renamed.row((*labels[:at], names.OTHER, *labels[at + 1 :]) if surplus else labels)
            renamed.counts[to] += table.counts[row]
            renamed.sums[to] += table.sums[row]
            moved += int(table.counts[row].sum()) if surplus else 0
        new.tables[name] = renamed
        counted = [label for label in _LABELS if label.table == name and label.at == at]
        if moved and (counted or feature):
            overflows = new.tables.setdefault(_OVERFLOW.name, Table(_OVERFLOW.fingerprint, _OVERFLOW.width))
            overflows.count((name, "category" if feature else counted[0].name), moved)
    return new
