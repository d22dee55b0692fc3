"""Statements that go to the driver as they are: their errors are those of SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import Connection, bindparam, select, text
from sqlalchemy.exc import IntegrityError

from modelwatch.errors import StoreUnavailable
from modelwatch.groundtruth.prepared import Prepared
from modelwatch.groundtruth.store import Store
from modelwatch.groundtruth.tables import state
from modelwatch.testing.postgres import Postgres
from truth import number, sample

PUT = Prepared(lambda _: state.insert())
GET = Prepared(lambda _: select(state.c.value).where(state.c.name == bindparam("one")))


def test_rows_go_in_and_come_back(store: Store) -> None:
    """One row or many, whatever is in their texts; a row that is not there is none."""
    rows = [{"name": f"n%{i}", "value": "%s ? :x '" + chr(233)} for i in range(3)]

    def work(connection: Connection) -> list[object]:
        PUT.run(connection, rows[:1])
        PUT.run(connection, rows[1:])
        return [tuple(row) for name in ("n%0", "n%2", "none") for row in GET.run(connection, [{"one": name}])]

    assert store.database.write(work) == [(rows[0]["value"],), (rows[2]["value"],)]


@pytest.mark.parametrize("many", [False, True])
def test_what_the_store_refuses_is_told_without_values(store: Store, many: bool) -> None:
    """A row that breaks a rule is refused for good; nothing of the transaction stays, and no message shows the row."""
    rows = [{"name": "secret", "value": None}, {"name": "secret2", "value": None}][: 1 + many]
    seen: list[BaseException] = []

    def work(connection: Connection) -> None:
        PUT.run(connection, [{"name": "first", "value": "x"}])
        try:
            PUT.run(connection, rows)
        except IntegrityError as error:
            seen.append(error)
            raise

    with pytest.raises(StoreUnavailable) as caught:
        store.database.write(work)
    assert caught.value.refused
    assert seen
    assert "secret" not in str(caught.value)
    assert store.value("first") is None


def test_a_connection_that_the_server_ends_is_replaced(postgres: Postgres, opened: Callable[[str], Store]) -> None:
    """A transaction whose connection is ended in the middle of it is begun again on another one."""
    store = opened(postgres.new_schema())
    store.add_samples([sample(0)])
    turns: list[int] = []

    def end(connection: Connection, ended: int) -> None:
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": ended})

    def work(connection: Connection) -> list[object]:
        turns.append(int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one()))
        if len(turns) == 1:
            store.database.read(partial(end, ended=turns[0]))
        return GET.run(connection, [{"one": "layout"}])

    assert store.database.write(work)
    assert len(set(turns)) == len(turns) == 2
    assert store.database.tried_again == 1
    assert store.label(number(0), "positive").state == "matched"
