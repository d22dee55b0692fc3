"""Labels in a table of their own, joined to the predictions of a log by request id.

The earliest label of an id counts, as live; those after it are duplicates or conflicts, and those of ids that the log
does not have unknown. Where the log has an id twice, its earliest row has the label. Equal times are ordered by what
was said, so that every engine chooses the same. A label counts at its own time, and without one at its prediction's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from modelwatch.batch.arrow import NO_TIME, Ints, labels_of, listed, times_of
from modelwatch.batch.counting import Buckets, Plan
from modelwatch.batch.engine import Batch
from modelwatch.batch.logs import Logs
from modelwatch.batch.mapping import Roles
from modelwatch.errors import ConfigError
from modelwatch.events import LabelCount
from modelwatch.labels import is_missing, label_text


class Said(NamedTuple):
    """One label of the table, or one row of the log that is labelled: when, and what."""

    time: int
    text: str
    value: Any


def label_roles(plan: Plan, columns: tuple[str, ...], where: str) -> Roles:
    """Return the columns of a table of labels; they are named as those of the log.

    Raises
    ------
    ConfigError   it has no ids, or no labels; or the log has no ids.
    """
    roles = plan.roles
    names: dict[str, Any] = {
        "request_id": roles.request_id or "request_id",
        "label": plan.label or roles.label or next((one for one in ("label", "true_label") if one in columns), "label"),
    }
    missing = [name for name in names.values() if name not in columns]
    if missing:
        raise ConfigError(
            f"{where}: columns {', '.join(missing)} are not there; expected them among {', '.join(columns[:20])}. "
            "Name request_id and label under logs: in the configuration."
        )
    if roles.request_id is None:
        raise ConfigError(
            f"{where}: labels cannot be joined, since the log has no column request_id; expected one. Name it under "
            "logs: in the configuration."
        )
    return Roles(**names, timestamp=roles.timestamp if roles.timestamp in columns else None, time_zone=roles.time_zone)


def joined_columns(roles: Roles) -> list[str]:
    """Return the columns of a log that labels are joined to."""
    found = (roles.request_id, roles.timestamp, roles.prediction, roles.segment, roles.confidence)
    return list(dict.fromkeys(name for name in found if name))


def ids_of(column: Any) -> list[str | None]:
    """Return request ids as texts, None where there is none."""
    return [None if is_missing(value) or (found := label_text(value))[1] else found[0]
            for value in listed(labels_of(column))]  # fmt: skip


def _times(batch: Batch, name: str | None, plan: Plan, rows: int) -> Ints:
    if name is None:
        return np.full(rows, NO_TIME, np.int64)
    return times_of(batch[name], plan.roles.time_zone, plan.now)[0]


class Labels:
    """All labels of a table, the earliest of each id first. In memory: a few hundred bytes each."""

    def __init__(self, table: Logs, plan: Plan) -> None:
        self.roles = label_roles(plan, table.columns, table.name)
        self.by_id: dict[str, list[Said]] = {}
        self.nameless = 0
        for part in table.parts:
            for batch in part.read(self.roles.columns()):
                self._add(batch, plan)
        for said in self.by_id.values():
            said.sort(key=lambda one: one[:2])

    def _add(self, batch: Batch, plan: Plan) -> None:
        assert self.roles.request_id is not None  # for the type checker: label_roles found both
        assert self.roles.label is not None
        ids, values = ids_of(batch[self.roles.request_id]), listed(labels_of(batch[self.roles.label]))
        times = _times(batch, self.roles.timestamp, plan, len(ids))
        for number, value, time in zip(ids, values, times.tolist(), strict=True):
            if number is None or is_missing(value):
                self.nameless += 1
            else:
                self.by_id.setdefault(number, []).append(Said(time, label_text(value)[0], value))


class _Row(NamedTuple):
    """A row of the log that has a label."""

    time: int
    prediction: Any
    segment: Any
    confidence: Any

    @property
    def order(self) -> tuple[int, str, str]:
        return self.time, label_text(self.prediction)[0], label_text(self.segment)[0]


def _found(log: Logs, labels: Labels, plan: Plan) -> tuple[dict[str, _Row], int]:
    """Return (the earliest row of each labelled id, how many rows came after those)."""
    roles = plan.roles
    rows: dict[str, _Row] = {}
    twice = 0
    for part in log.parts:
        for batch in part.read(joined_columns(roles)):
            if roles.request_id is None or roles.request_id not in batch:
                continue
            ids = ids_of(batch[roles.request_id])
            chosen = [i for i, number in enumerate(ids) if number in labels.by_id]
            if not chosen:
                continue
            times = _times(batch, roles.timestamp if roles.timestamp in batch else None, plan, len(ids))
            columns = [
                listed(labels_of(batch[name])) if name and name in batch else [None] * len(ids)
                for name in (roles.prediction, roles.segment, roles.confidence)
            ]
            for i in chosen:
                row = _Row(int(times[i]), *(column[i] for column in columns))
                before = rows.get(ids[i] or "")
                twice += before is not None
                if before is None or row.order < before.order:
                    rows[ids[i] or ""] = row
    return rows, twice


def count_joined(log: Logs, table: Logs, plan: Plan) -> Buckets:
    """Return the buckets of the labels of a table; one that says what the service counted of each needs no ids."""
    if {"timestamp", *LabelCount._fields} <= set(table.columns):
        buckets = Buckets(plan)
        for part in table.parts:
            for batch in part.read(["timestamp", *LabelCount._fields]):
                buckets.add_counted({name: listed(labels_of(column)) for name, column in batch.items()})
        return buckets
    labels = Labels(table, plan)
    rows, twice = _found(log, labels, plan)
    buckets = Buckets(plan)
    buckets.refuse("request_id", "duplicate", twice)
    buckets.refuse("label", "missing", labels.nameless)
    buckets.add_joined(_batch(labels, rows))
    return buckets


def _batch(labels: Labels, rows: dict[str, _Row]) -> dict[str, list[Any]]:
    """Return a row a label, as `Buckets.add_joined` takes them."""
    columns: dict[str, list[Any]] = {name: [] for name in JOINED}
    for number, said in labels.by_id.items():
        row = rows.get(number)
        for i, one in enumerate(said):
            if row is None:
                state = "unknown_id"
            elif i:
                state = "duplicate" if one.text == said[0].text else "conflict"
            else:
                state = "matched"
            time = one.time if one.time != NO_TIME or row is None else row.time
            found = row or _Row(NO_TIME, None, None, None)
            for name, value in zip(JOINED, (state, time, one.value, *found[1:]), strict=True):
                columns[name].append(value)
    return columns


#: The columns of joined labels: what became of each, its Unix seconds, and what it is about.
JOINED = ("state", "at", "label", "prediction", "segment", "confidence")
