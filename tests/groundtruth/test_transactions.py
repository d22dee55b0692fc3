"""Transactions of the driver, which SQLAlchemy joins: all of one or nothing, whoever ran its statements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from modelwatch.groundtruth.kinds import as_json, from_json
from modelwatch.groundtruth.prepared import Prepared
from modelwatch.groundtruth.store import Store
from modelwatch.groundtruth.tables import state

PUT = Prepared(lambda _: state.insert())


def both(connection: Connection) -> None:
    """Write a row by the driver, and one by SQLAlchemy."""
    PUT.run(connection, [{"name": "driver", "value": "x"}])
    connection.execute(state.insert(), {"name": "sqlalchemy", "value": "x"})


def test_one_transaction_of_driver_and_sqlalchemy(store: Store) -> None:
    """What both wrote is there for others when it is committed, and the next transaction goes on as ever."""
    store.database.write(both)
    other = Store(store.database.url.render_as_string(hide_password=False))
    assert (other.value("driver"), other.value("sqlalchemy")) == ("x", "x")
    other.set_value("later", "y")
    other.close()
    assert store.value("later") == "y"


def test_what_fails_leaves_nothing(store: Store) -> None:
    """An error of the work itself undoes what both wrote."""

    def work(connection: Connection) -> None:
        both(connection)
        raise KeyError

    with pytest.raises(KeyError):
        store.database.write(work)
    assert (store.value("driver"), store.value("sqlalchemy")) == (None, None)
    store.database.write(both)
    assert store.value("driver") == "x"


def test_a_reader_sees_one_moment(tmp_path: Path, opened: Callable[[str], Store]) -> None:
    """What another one commits while somebody reads is not seen before he reads again."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    store, other = opened(url), opened(url)

    def reads(connection: Connection) -> list[int]:
        query = select(state.c.name).where(state.c.name.in_(["driver", "sqlalchemy"]))
        before = len(connection.execute(query).all())
        other.database.write(both)
        return [before, len(connection.execute(query).all())]

    assert store.database.read(reads) == [0, 0]
    assert store.value("driver") == "x"


@given(st.text(st.characters(codec=None, exclude_categories=[])) | st.floats(allow_nan=False, allow_infinity=False))
def test_values_come_back(value: str | float) -> None:
    """Whatever text or number is stored, JSON is what is stored, and both readers of it say the same."""
    text = as_json(value)
    assert from_json(text) == json.loads(text) == value
    assert text == json.dumps(value if isinstance(value, str) else value + 0.0)
