"""What samples and labels do to the store, inside one transaction. Any order of the same ones gives the same rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from modelwatch.groundtruth.kinds import Added, Labelled, Retention, Sample, State, TrueLabel, as_json, from_json
from modelwatch.groundtruth.prepared import Prepared
from modelwatch.groundtruth.store import YOUNG_S
from modelwatch.groundtruth.tables import audit, labels, samples, state

TICK_S = 1e-6
CHUNK = 500  # ids in one statement
LONGEST = 256  # characters of a name, a segment, a reviewer
LONGEST_NOTE = 2000
LONGEST_LEASE_S = 3600.0
LONGEST_INPUT = 16384  # as DESIGN: what a reviewer is shown

Row = dict[str, Any]
Said = tuple[TrueLabel, float]  # and when
_INSERT: dict[str, Callable[[Table], Any]] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}

_STATE = [column for column in samples.c if column.name not in {"input", "features", "endpoint", "claimed_by"}]
_NAMES = [column.name for column in _STATE]
_SETTLED = ("label", "labelled_at", "revisions", "counted", "kept_until", "claimed_until")
_LOCK = select(*_STATE).with_for_update()


def _say(engine_name: str) -> Any:
    """Return the statement that keeps what somebody says, in the place of the same said before."""
    statement = _INSERT[engine_name](labels)
    said = {name: statement.excluded[name] for name in ("at", "withdrawn_at", "note")}
    return statement.on_conflict_do_update(index_elements=["request_id", "reviewer", "label"], set_=said)


def _settle(_: str) -> Any:
    """Return the statement that writes what a label has changed in a sample."""
    statement = samples.update().where(samples.c.request_id == bindparam("row_id"))
    return statement.values({name: bindparam(name) for name in _SETTLED})


# What every label needs.
_LOCK_ONE = Prepared(lambda _: _LOCK.where(samples.c.request_id == bindparam("one")))
_SAY, _SETTLE = Prepared(_say), Prepared(_settle)


def insert(connection: Connection, table: Table) -> Any:
    """Return an INSERT that may say what to do on a conflict."""
    return _INSERT[connection.dialect.name](table)


def chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """Yield sorted ids a few at a time: two transactions that lock the same ones do so in the same order."""
    ordered = sorted(set(values))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def safe(text: str | None, longest: int = LONGEST) -> str | None:
    """Return text that both engines take: no NUL, no lone surrogates, not too long."""
    if text is None:
        return None
    return text[:longest].encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def locked(connection: Connection, ids: Iterable[str]) -> dict[str, Row]:
    """Return the rows of request ids; nobody else changes them before the end of the transaction."""
    found: dict[str, Row] = {}
    for chunk in chunks(ids):
        if len(chunk) == 1:
            rows = _LOCK_ONE.run(connection, [{"one": chunk[0]}])
        else:
            query = _LOCK.where(samples.c.request_id.in_(chunk)).order_by(samples.c.request_id)
            rows = list(connection.execute(query))
        found |= {row[0]: dict(zip(_NAMES, row, strict=True)) for row in rows}
    return found


def keep_value(connection: Connection, name: str, value: str) -> str:
    """Keep a value of the store unless it has one of that name; return the one it has."""
    connection.execute(insert(connection, state).on_conflict_do_nothing(), {"name": name, "value": value})
    return str(value_of(connection, name))


def value_of(connection: Connection, name: str) -> str | None:
    """Return a value of the store; None when there is none of that name."""
    return connection.execute(select(state.c.value).where(state.c.name == name)).scalar()


def values_of(connection: Connection, prefix: str) -> dict[str, str]:
    """Return the values of the store whose names begin so."""
    query = select(state.c.name, state.c.value).where(state.c.name.startswith(prefix, autoescape=True))
    return {row.name: row.value for row in connection.execute(query)}


def set_value(connection: Connection, name: str, value: str) -> None:
    """Keep a value of the store, in the place of the one it has."""
    statement = insert(connection, state)
    statement = statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value})
    connection.execute(statement, {"name": name, "value": value})


def take_lease(connection: Connection, name: str, who: str, now: float, seconds: float) -> bool:
    """Let one have something until a time; return whether it is, or was, who asks."""
    keep_value(connection, f"lease:{name}", json.dumps(["", 0.0]))
    query = select(state.c.value).where(state.c.name == f"lease:{name}").with_for_update()
    row = str(connection.execute(query).scalar_one())
    holder, until = json.loads(row)
    if holder not in ("", who) and now < until <= now + LONGEST_LEASE_S:  # later: of a clock that was set back since
        return False
    set_value(connection, f"lease:{name}", json.dumps([who, now + seconds] if seconds else ["", 0.0]))
    return True


def is_leased(connection: Connection, name: str, now: float) -> bool:
    """Tell whether somebody has it now."""
    holder, until = json.loads(value_of(connection, f"lease:{name}") or '["", 0.0]')
    return bool(holder != "" and now < until <= now + LONGEST_LEASE_S)


# -- samples -----------------------------------------------------------------------------------------------------------


def add(connection: Connection, given: Sequence[Sample], now: float, retention: Retention) -> Added:
    """Keep samples; return the labels that were waiting for them."""
    by_id = {sample.request_id: sample for sample in reversed(given)}  # the first of each id
    statement = insert(connection, samples)
    filled = {
        name: statement.excluded[name]
        for name in _as_row(given[0])
        if name not in {"request_id", "revisions", "counted"}
    }
    statement = statement.on_conflict_do_update(
        index_elements=["request_id"], set_=filled | {"kept_until": None}, where=samples.c.model.is_(None)
    ).returning(samples.c.request_id, samples.c.label, samples.c.labelled_at, samples.c.counted)
    new, matched = 0, []
    for chunk in chunks(by_id):
        for row in connection.execute(statement, [_as_row(by_id[name]) for name in chunk]):
            new += 1
            sample = by_id[row.request_id]
            if (
                row.label is not None
                and not row.counted
                and sample.predicted_at >= now - retention.of(sample.model_name)
            ):
                matched.append(_answer(_as_row(sample), "matched", row.label, first=True))
    if matched:
        counted = samples.update().where(samples.c.request_id == bindparam("counted_id")).values(counted=True)
        connection.execute(counted, [{"counted_id": one.request_id} for one in matched])
    return Added(new, tuple(matched))


def _as_row(sample: Sample) -> Row:
    confidence = None if sample.confidence is None else float(sample.confidence)
    return {
        "request_id": sample.request_id,
        "model": safe(sample.model_name),
        "version": safe(sample.model_version),
        "endpoint": safe(sample.endpoint),
        "predicted_at": float(sample.predicted_at),
        "prediction": as_json(sample.prediction),
        "confidence": confidence if confidence == confidence else None,
        "segment": safe(sample.segment),
        "inclusion": float(sample.inclusion),
        "input": safe(sample.input, LONGEST_INPUT),
        "features": None if sample.features is None else json.dumps(dict(sample.features), default=repr),
        "revisions": 0,
        "counted": False,
    }


# -- labels ------------------------------------------------------------------------------------------------------------


class _Changes:
    """What a transaction is going to write, each row once."""

    def __init__(self) -> None:
        self.samples: dict[str, Row] = {}
        self.labels: dict[tuple[str, str, str], Row] = {}
        self.audit: list[Row] = []

    def write(self, connection: Connection) -> None:
        if self.labels:
            rows = [self.labels[name] for name in sorted(self.labels)]
            _SAY.run(connection, rows)
        if self.samples:
            settled = [
                {"row_id": name, **{key: row[key] for key in _SETTLED}} for name, row in sorted(self.samples.items())
            ]
            _SETTLE.run(connection, settled)
        if self.audit:
            connection.execute(audit.insert(), self.audit)


def take(connection: Connection, said: Sequence[Said], now: float, retention: Retention) -> list[Labelled]:
    """Take labels, in their order; return what became of each."""
    rows = locked(connection, {label.request_id for label, _ in said})
    stubs = _to_wait(said, rows, now, retention.of(None))
    blank = [
        {"request_id": name, "revisions": 0, "counted": False, "kept_until": until}
        for name, until in sorted(stubs.items())
        if name not in rows
    ]
    if blank:
        connection.execute(insert(connection, samples).on_conflict_do_nothing(), blank)
        rows |= locked(connection, [str(row["request_id"]) for row in blank])  # the sample may have come just now
    for name, until in stubs.items():
        if rows[name]["kept_until"] is not None:
            rows[name]["kept_until"] = max(until, rows[name]["kept_until"])
    history = history_of(
        connection, [name for name, row in rows.items() if row["label"] is not None or row["revisions"]]
    )
    changes = _Changes()
    answers = []
    for label, at in said:
        row = rows.get(label.request_id)
        if row is None:
            old = label.issued_at is not None and label.issued_at < now - retention.of(None)
            answers.append(Labelled(label.request_id, "late" if old else "not_sampled", label.value))
        else:
            known = history.setdefault(label.request_id, {})
            answers.append(_take_one(label, at, row, known, changes, now, retention))
    changes.write(connection)
    return answers


def _to_wait(said: Sequence[Said], rows: Mapping[str, Row], now: float, retention_s: float) -> dict[str, float]:
    """Return the ids whose sample may still come, and until when their labels are kept."""
    stubs: dict[str, float] = {}
    for label, _ in said:
        row = rows.get(label.request_id)
        if label.sampled is False or (row is not None and row["model"] is not None):
            continue
        until = (now if label.issued_at is None else label.issued_at) + (retention_s if label.sampled else YOUNG_S)
        if until > now:
            stubs[label.request_id] = max(until, stubs.get(label.request_id, until))
    return stubs


def history_of(connection: Connection, ids: Iterable[str]) -> dict[str, dict[tuple[str, str], Row]]:
    """Return what was said of request ids: (reviewer, label) -> row of `labels`."""
    found: dict[str, dict[tuple[str, str], Row]] = {}
    for chunk in chunks(ids):
        for row in connection.execute(select(labels).where(labels.c.request_id.in_(chunk))):
            found.setdefault(row.request_id, {})[row.reviewer, row.label] = dict(row._mapping)  # noqa: SLF001
    return found


def is_valid(row: Row) -> bool:
    """Tell whether what was said is not taken back."""
    return row["withdrawn_at"] is None


def current(known: Mapping[tuple[str, str], Row]) -> Row | None:
    """Return the latest that is not taken back; of one moment, always the same."""
    return max(
        filter(is_valid, known.values()), key=lambda row: (row["at"], row["label"], row["reviewer"]), default=None
    )


def _take_one(
    given: TrueLabel,
    at: float,
    row: Row,
    known: dict[tuple[str, str], Row],
    changes: _Changes,
    now: float,
    retention: Retention,
) -> Labelled:
    text, reviewer = as_json(given.value), safe(given.reviewer) or ""
    is_known = row["model"] is not None
    if is_known and row["predicted_at"] < now - retention.of(row["model"]):
        return _answer(row, "late", text)
    before, mine = current(known), known.get((reviewer, text))
    same = before is not None and before["label"] == text
    if given.at is None:  # said now, and after all that was said before, by whatever clock
        at = max([at, *(max(one["at"], one["withdrawn_at"] or 0.0) + TICK_S for one in known.values())])
    if mine is not None and (at <= mine["at"] or (same and given.at is None and mine["withdrawn_at"] is None)):
        return _answer(row, "duplicate", text)
    note = safe(given.note, LONGEST_NOTE) or (mine["note"] if mine else None)
    entry = {"request_id": given.request_id, "reviewer": reviewer, "label": text, "at": at, "withdrawn_at": None}
    known[reviewer, text] = changes.labels[given.request_id, reviewer, text] = entry | {"note": note}
    revised = settle(row, known)
    changes.samples[given.request_id] = row
    answered: State = "matched" if before is None else "duplicate" if same else "conflict"
    if answered == "conflict" or revised:
        changes.audit.append(
            entry_of(at, reviewer, "label", given.request_id, said=text, before=before, after=current(known))
        )
    first = answered == "matched" and is_known and not row["counted"]
    row["counted"] |= first
    if answered == "matched" and not is_known and given.sampled is not True:
        answered = "not_sampled"
    return _answer(row, answered, text, first=first)


def settle(row: Row, known: Mapping[tuple[str, str], Row]) -> bool:
    """Make the latest of what was said the label of a sample. Return whether another label was there before."""
    before, now = row["label"], current(known)
    row["label"], row["labelled_at"] = None, None
    if now is not None:
        row["label"] = now["label"]
        row["labelled_at"] = min(one["at"] for one in known.values() if is_valid(one) and one["label"] == now["label"])
    row["claimed_until"] = None
    changed = before is not None and before != row["label"]
    row["revisions"] += changed
    return changed


def entry_of(
    at: float, actor: str, action: str, request_id: str, *, said: str, before: Row | None, after: Row | None
) -> Row:
    """Return an audit row: what was said, and the label before and after it."""
    detail: dict[str, Any] = {"said": json.loads(said)}
    for name, row in (("before", before), ("after", after)):
        detail[name] = (
            None if row is None else {"label": json.loads(row["label"]), "reviewer": row["reviewer"], "at": row["at"]}
        )
    return {"at": at, "actor": actor, "action": action, "request_id": request_id, "detail": json.dumps(detail)}


def _answer(row: Row, answered: State, text: str, *, first: bool = False) -> Labelled:
    label = from_json(text)
    if row["model"] is None:
        return Labelled(row["request_id"], answered, label, early=True)
    prediction = from_json(row["prediction"])
    return Labelled(
        request_id=row["request_id"],
        state=answered,
        label=label,
        first=first,
        right=prediction == label if isinstance(prediction, str) else None,
        model_name=row["model"],
        model_version=row["version"],
        segment=row["segment"],
        inclusion=row["inclusion"],
        prediction=prediction,
        confidence=row["confidence"],
        predicted_at=row["predicted_at"],
    )
