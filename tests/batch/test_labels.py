"""Labels in a table of their own: joined by id, each prediction once, at the time when the label came."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from batch.logged import DAY, NOW, counted, model_of
from modelwatch import names
from modelwatch.batch import analyze, outcomes
from modelwatch.errors import ConfigError

LOG: dict[str, Any] = {
    "timestamp": [DAY, DAY + 1, DAY + 2, DAY + 3, DAY + 4, DAY + 5],
    "request_id": ["r0", "r1", "r2", "r2", None, "r5"],
    "prediction": ["a", "b", "a", "b", "a", None],
    "segment": ["books", None, "books", "films", "books", "books"],
    "confidence": [0.9, 0.6, 0.8, 0.7, 0.5, None],
}
LABELS: dict[str, Any] = {
    "request_id": ["r1", "r0", "r0", "r0", "r2", "nobody", "r5", None, "r1"],
    "label": ["b", "b", "a", "b", "a", "a", "a", "a", "unheard of"],
    "timestamp": [DAY + 7200, DAY + 90, DAY + 60, DAY + 200, DAY + 300, DAY + 60, DAY + 60, DAY + 60, DAY + 9000],
}
TABLES = (names.LABELS.name, names.LABEL_STATES.name, names.LABELS_BY_INCLUSION.name)


def labelled(log: Any, labels: Any, **how: Any) -> dict[Any, Any]:
    """Return what labels counted, by minute."""
    model = model_of().model_copy(update={"features": {}})
    found = analyze(log, labels=labels, model=model, now=NOW, **how)
    kept = {
        start: {name: tables[name] for name in TABLES if name in tables} for start, tables in counted(found).items()
    }
    refused = {labels: n for labels, n in found.refused.items() if labels[0] in ("label", "request_id")}
    confusion = found.total.tables[outcomes.CONFUSION.name].as_dict()
    return {**{start: tables for start, tables in kept.items() if tables}, "refused": refused, "confusion": confusion}


def test_each_prediction_has_its_earliest_label() -> None:
    """What comes later is a duplicate or a conflict; of nobody is unknown; a prediction that is none is refused."""
    state, right = names.LABEL_STATES.name, names.LABELS.name
    by_inclusion = names.LABELS_BY_INCLUSION.name
    assert labelled(LOG, LABELS) == {
        DAY + 60: {right: {("books", "correct"): ([1], 0)}, by_inclusion: {("1", "correct"): ([1], 0)},
                   state: {("matched",): ([1], 0), ("unknown_id",): ([1], 0), ("conflict",): ([1], 0)}},
        DAY + 180: {state: {("conflict",): ([1], 0)}},
        DAY + 300: {right: {("books", "correct"): ([1], 0)}, by_inclusion: {("1", "correct"): ([1], 0)},
                    state: {("matched",): ([1], 0)}},
        DAY + 7200: {right: {("__none__", "correct"): ([1], 0)}, by_inclusion: {("1", "correct"): ([1], 0)},
                     state: {("matched",): ([1], 0)}},
        DAY + 9000: {state: {("conflict",): ([1], 0)}},
        "refused": {("label", "missing"): 1, ("label", "no_prediction"): 1, ("request_id", "duplicate"): 1},
        "confusion": {("a", "a"): ([2], 0), ("b", "b"): ([1], 0)},
    }  # fmt: skip


def test_any_order_and_any_form_count_the_same(tmp_path: Any) -> None:
    """Rows of the log and of the labels in reverse, in files, through DuckDB: the same counts."""
    expected = labelled(LOG, LABELS)
    backwards = [{name: column[::-1] for name, column in table.items()} for table in (LOG, LABELS)]
    assert labelled(*backwards) == expected
    for name, table in (("log", LOG), ("labels", LABELS)):
        parquet.write_table(pa.table(table), tmp_path / f"{name}.parquet", row_group_size=2)
    files = [tmp_path / "log.parquet", tmp_path / "labels.parquet"]
    assert labelled(*files) == expected
    assert labelled(*files, engine="duckdb") == expected


def test_labels_without_a_time_count_at_their_predictions() -> None:
    """The minute of the prediction has the label."""
    found = labelled(LOG, {name: LABELS[name] for name in ("request_id", "label")})
    assert set(found) - {"refused", "confusion"} == {DAY, -1}  # unknown ones have no time at all
    assert found[-1][names.LABEL_STATES.name] == {("unknown_id",): ([1], 0)}


def test_the_logs_own_labels_are_left_alone() -> None:
    """Where labels come in a table, a column of the log counts none."""
    log = {**LOG, "label": ["a"] * 6}
    assert labelled(log, LABELS) == labelled(LOG, LABELS)


@pytest.mark.parametrize(
    ("log", "labels", "message"),
    [
        (LOG, {"id": ["r0"], "truth": ["a"]}, "logs: columns request_id, label are not there; expected them among id, truth"),
        ({"prediction": ["a"]}, LABELS, "labels cannot be joined, since the log has no column request_id"),
    ],
)  # fmt: skip
def test_tables_that_cannot_be_joined(log: Any, labels: Any, message: str) -> None:
    """One line says which column is missing."""
    with pytest.raises(ConfigError, match=message) as caught:
        labelled(log, labels)
    assert "\n" not in str(caught.value)
