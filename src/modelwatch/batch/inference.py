"""A model that nobody has configured, from the columns of its log: task, classes, and every column a feature."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from modelwatch.batch.arrow import labels_of, listed
from modelwatch.batch.columns import Kind, kind_of
from modelwatch.batch.engine import Engine
from modelwatch.batch.mapping import roles_of, spare_columns
from modelwatch.batch.profile import FEW_CLASSES, class_text
from modelwatch.config import ModelConfig
from modelwatch.labels import Coded, is_missing
from modelwatch.reference import CategoricalProfile, NumericProfile, Reference

NAME, VERSION = "model", "log"
LOOKED_AT = 200_000  # rows in which the kinds of columns, and the classes, are looked for
NO_CLASS = "unknown"  # of a log without predictions


def inferred_model(
    logs: Engine,
    reference: Reference | None = None,
    columns: Mapping[str, str] | None = None,
    ignore: Collection[str] = (),
    *,
    labelled: bool = False,
) -> ModelConfig:
    """Return a model whose features are the columns that have no other meaning.

    reference : decides the kinds of the features, and which columns are features, where it is given.
    columns : {role: column}, of those that have no usual name.
    ignore : columns that are no features.
    labelled : labels are in a table of their own.
    """
    named = dict(columns or {})
    bare = _model(named, "regression", {})
    roles = roles_of(bare, logs.columns, logs.name, labelled=labelled)
    spare = [name for name in spare_columns(logs.columns, roles) if name not in ignore]
    if "segment" in named and named["segment"] not in ignore:
        spare.append(named["segment"])  # by which is split; its mix may move, too
    if reference is None:
        kinds = _kinds(logs, spare)
    else:
        kinds = {name: "numeric" for name in spare if name in reference.numeric}
        kinds |= {name: "categorical" for name in spare if name in reference.categorical}
    features = {name: kind for name, kind in kinds.items() if kind in ("numeric", "categorical")}
    prediction = None if reference is None else reference.prediction
    if isinstance(prediction, NumericProfile):
        return _model(named, "regression", features)
    if isinstance(prediction, CategoricalProfile):
        return _model(named, "classification", features, list(prediction.counts))
    if roles.prediction is None:
        return _model(named, "classification", features, [NO_CLASS])
    values, classes = _answers(logs, roles.prediction)
    if values:
        return _model(named, "regression", features)
    return _model(named, "classification", features, classes or [NO_CLASS])


def _model(
    columns: dict[str, str], task: str, features: dict[str, Any], classes: list[str] | None = None
) -> ModelConfig:
    given: dict[str, Any] = {
        "__name__": NAME, "version": VERSION, "task": task, "features": features, "logs": columns,
    }  # fmt: skip
    if classes is not None:
        given |= {"classes": classes[:1000]}
    return ModelConfig.model_validate(given, by_alias=True, by_name=False)


def _kinds(logs: Engine, columns: list[str]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    for batch in logs.first_rows(columns, LOOKED_AT):
        for name, column in batch.items():
            if name not in kinds and name in columns:
                kind, _ = kind_of(column)
                if kind != "empty":
                    kinds[name] = kind
        if len(kinds) == len(columns):
            break
    return {name: kinds[name] for name in columns if name in kinds}


def _answers(logs: Engine, prediction: str) -> tuple[bool, list[str]]:
    """Return (whether the predictions are values, else their classes)."""
    classes: dict[str, None] = {}
    for batch in logs.first_rows([prediction], LOOKED_AT):
        if prediction not in batch:
            continue
        column = labels_of(batch[prediction])
        for value in column.values if isinstance(column, Coded) else listed(column):
            text = class_text(value)
            if not is_missing(value) and text is not None:
                classes[text] = None
    try:
        whole = all(float(text).is_integer() for text in classes)
    except ValueError:  # texts
        return False, sorted(classes)
    return bool(classes) and not (whole and len(classes) <= FEW_CLASSES), sorted(classes)
