"""Samples and labels as columns and counts, for the views of quality that others compute."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, and_, func, select

from modelwatch.groundtruth.tables import audit, labels, samples

Objects = npt.NDArray[np.object_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Rows:
    """Predictions of one model, all arrays of one length, in the order of the time asked for.

    request_ids, versions, endpoints : text.   predictions, labels : text or float; a label may be None.
    confidence : NaN where there was none.     segments : text or None.
    inclusion : probability of having been chosen.
    predicted_at, labelled_at : Unix seconds; `labelled_at` is when the present label was first given, NaN without one.
    """

    request_ids: Objects
    versions: Objects
    endpoints: Objects
    predictions: Objects
    labels: Objects
    confidence: Floats
    segments: Objects
    inclusion: Floats
    predicted_at: Floats
    labelled_at: Floats

    def __len__(self) -> int:
        return len(self.request_ids)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many samples there are.

    waiting, labelled : samples without and with a label.   claimed : of the waiting, those that a reviewer holds.
    early : labelled requests whose sample has not come.
    oldest_waiting_at : when the oldest waiting sample was predicted, Unix seconds; None: none waits.
    """

    waiting: int
    labelled: int
    claimed: int
    early: int
    oldest_waiting_at: float | None


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows there are of what people did.

    said, withdrawn : labels that reviewers gave, and those of them that they took back.   audited : audit rows.
    """

    said: int
    withdrawn: int
    audited: int


_COLUMNS = (
    "request_id", "version", "endpoint", "prediction", "label", "confidence", "segment", "inclusion", "predicted_at",
    "labelled_at",
)  # fmt: skip


def models(connection: Connection) -> list[str]:
    """Return the models that have samples; takes as long as there are models, not samples."""
    found: list[str] = []
    query = select(func.min(samples.c.model))
    name = connection.execute(query).scalar()
    while name is not None:
        found.append(name)
        name = connection.execute(query.where(samples.c.model > name)).scalar()
    return found


def rows(
    connection: Connection,
    model: str,
    version: str | None,
    since: float | None,
    until: float | None,
    last: int | None,
    by: Literal["predicted", "labelled"],
    *,
    unlabelled: bool,
) -> Rows:
    """Return the labelled predictions of a model.

    Parameters
    ----------
    version : of one version only.
    since, until : Unix seconds; since <= time < until.
    last : the latest so many only.
    by : which time is meant, and ordered by: of the prediction, or of the label.
    unlabelled : also those without a label.
    """
    time = samples.c.predicted_at if by == "predicted" else samples.c.labelled_at
    wanted = [samples.c.model == model]
    if not unlabelled:
        wanted.append(samples.c.label.is_not(None))
    if version is not None:
        wanted.append(samples.c.version == version)
    if since is not None:
        wanted.append(time >= since)
    if until is not None:
        wanted.append(time < until)
    query = select(*(samples.c[name] for name in _COLUMNS)).where(and_(*wanted))
    query = query.order_by(time.desc(), samples.c.request_id.desc()).limit(last)
    found = list(zip(*connection.execute(query).fetchall(), strict=True)) or [()] * len(_COLUMNS)
    columns = dict(zip(_COLUMNS, (column[::-1] for column in found), strict=True))
    decoded: dict[str | None, object] = {None: None}
    for text in {*columns["prediction"], *columns["label"]} - {None}:
        decoded[text] = json.loads(text)
    return Rows(
        request_ids=_objects(columns["request_id"]),
        versions=_objects(columns["version"]),
        endpoints=_objects(columns["endpoint"]),
        predictions=_objects([decoded[text] for text in columns["prediction"]]),
        labels=_objects([decoded[text] for text in columns["label"]]),
        confidence=np.array(columns["confidence"], np.float64),
        segments=_objects(columns["segment"]),
        inclusion=np.array(columns["inclusion"], np.float64),
        predicted_at=np.array(columns["predicted_at"], np.float64),
        labelled_at=np.array(columns["labelled_at"], np.float64),
    )


def _objects(values: tuple[object, ...] | list[object]) -> Objects:
    column = np.empty(len(values), np.object_)
    column[:] = values
    return column


def of_model(model: str) -> ColumnElement[bool]:
    """Return the condition for a model where its index would be the wrong one: it has most of all rows."""
    return func.coalesce(samples.c.model, "") == model


def counts(connection: Connection, model: str | None, now: float) -> Counts:
    """Return how many there are, of one model or of all; those whose model is not known yet are in every answer."""
    waits, held = samples.c.label.is_(None), samples.c.claimed_until > now
    number = select(func.count()).select_from(samples)
    waiting = labelled = 0
    oldest: list[float] = []
    for name in models(connection) if model is None else [model]:  # one by one, each by its index
        mine = samples.c.model == name
        waiting += connection.execute(number.where(mine, waits)).scalar_one()
        labelled += connection.execute(number.where(mine, ~waits)).scalar_one()
        query = select(func.min(samples.c.predicted_at)).where(mine, waits)
        oldest += [at for at in connection.execute(query).scalars() if at is not None]
    claimed = number.where(held, waits)
    if model is not None:
        claimed = claimed.where(of_model(model))
    return Counts(
        waiting=waiting,
        labelled=labelled,
        claimed=connection.execute(claimed).scalar_one(),
        early=connection.execute(number.where(samples.c.kept_until.is_not(None), ~waits)).scalar_one(),
        oldest_waiting_at=min(oldest, default=None),
    )


def written(connection: Connection) -> Written:
    """Return how many labels were given and taken back, and how many audit rows there are."""
    given = select(func.count()).select_from(labels)
    return Written(
        said=connection.execute(given).scalar_one(),
        withdrawn=connection.execute(given.where(labels.c.withdrawn_at.is_not(None))).scalar_one(),
        audited=connection.execute(select(func.count()).select_from(audit)).scalar_one(),
    )
