"""A store of every earlier layout, with what people did in it, is opened by this version: nothing is lost, all of it works."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, inspect, select, text

from modelwatch.errors import StoreUnavailable
from modelwatch.groundtruth import migrations, queue, tables
from modelwatch.groundtruth.deploys import Deploy
from modelwatch.groundtruth.migrations import LAYOUT, STEPS, WORDS
from modelwatch.groundtruth.store import Store
from truth import NOW, number, sample

Opener = Callable[[str], Store]
Rows = dict[str, list[Any]]
PINNED = ("4dbe41a6343bc12f", "548acedb99782a6c", "2d736225b4c8a8b7")


def test_a_step_is_never_changed() -> None:
    """Stores have had them: whoever changes one must write a new one instead."""
    assert tuple(sha256(" ".join(step.split()).encode()).hexdigest()[:16] for step in STEPS) == PINNED


def rows_of(connection: Connection) -> Rows:
    """Return all rows of all tables that are there."""
    there = inspect(connection).get_table_names()
    return {
        name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
        for name, table in tables.metadata.tables.items()
        if name in there and table is not tables.state
    }


def lived_in(store: Store) -> None:
    """Do in a store what people do: samples, labels by two, a conflict, a skip, a label that is taken back, a deploy."""
    store.add_samples([sample(i) for i in range(6)])
    store.label(number(0), "positive", reviewer="ann", note="sure")
    store.label(number(1), "negative", reviewer="ann")
    store.label(number(1), "positive", reviewer="bob")
    store.label(number(9), "negative", reviewer="bob", issued_at=NOW - 5)
    (held,) = queue.claim(store, "cat", "sentiment")
    assert queue.skip(store, held.request_id, "cat")
    store.tell_deploy(Deploy("sentiment", "1.0", NOW, "cat"))
    store.secret()


def written_as(layout: int, store: Store, url: str) -> Rows:
    """Write what a store holds into a new one of an earlier layout, as that version made its tables; return its rows."""

    def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        return {
            name: [dict(row._mapping) for row in connection.execute(select(table))]
            for name, table in tables.metadata.tables.items()
        }

    held = store.database.read(read)
    for row in held["audit"]:
        del row["id"]  # the engine numbers them
    for row in held[tables.state.name]:
        row["value"] = str(layout) if row["name"] == "layout" else row["value"]
    engine = create_engine(url)
    with engine.begin() as connection:
        for step in STEPS[:layout]:
            for statement in step.format(**WORDS[engine.dialect.name]).split(";"):
                connection.execute(text(statement))
        there = inspect(connection).get_table_names()
        for name, table in tables.metadata.tables.items():
            if name in there and held[name]:
                connection.execute(table.insert(), held[name])
        found = rows_of(connection)
    engine.dispose()
    return found


@pytest.fixture
def source(opened: Opener, tmp_path: Path) -> Store:
    """Return a store that people have worked with."""
    made = opened(f"sqlite:///{tmp_path / 'source.db'}")
    lived_in(made)
    return made


def layout_in(store: Store) -> str | None:
    """Return the layout that a store says it has."""
    return store.value("layout")


@pytest.mark.parametrize("layout", range(1, LAYOUT + 1))
def test_an_earlier_store_goes_on(layout: int, source: Store, store_url: str, opened: Opener) -> None:
    """Every row is where it was, its tables are those of today, and what was half done is done in the new version."""
    before = written_as(layout, source, store_url)
    assert before["labels"]
    assert before["audit"]
    store = opened(store_url)
    after = store.database.read(rows_of)
    assert {name: after[name] for name in before} == before
    assert set(after) == {*tables.metadata.tables} - {tables.state.name}
    assert layout_in(store) == str(LAYOUT)
    assert store.secret() == source.secret()  # ids that were handed out are still known
    assert store.counts() == source.counts()
    assert store.deploys("sentiment") == source.deploys("sentiment")
    assert store.label(number(0), "negative", reviewer="bob").state == "conflict"
    assert store.label(number(5), "positive", reviewer="ann").state == "matched"
    assert store.add_samples([sample(0), sample(100)]).new == 1
    held = queue.claim(store, "cat", n=9)
    assert len(held) == store.counts().waiting - 1  # all but the one that cat has passed over
    assert queue.history(store, number(1))[: len(queue.history(source, number(1)))] == queue.history(source, number(1))


@pytest.mark.parametrize("layout", range(1, LAYOUT))
def test_many_upgrade_a_store_at_once(layout: int, source: Store, store_url: str, opened: Opener) -> None:
    """Of eight workers that come back with the new version each finds it upgraded, and nothing is done twice."""
    before = written_as(layout, source, store_url)
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: opened(store_url), range(8)))
    after = stores[0].database.read(rows_of)
    assert {name: after[name] for name in before} == before
    assert {layout_in(one) for one in stores} == {str(LAYOUT)}


def test_an_upgrade_that_fails_changes_nothing(
    source: Store, store_url: str, opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that the engine refuses in its midst leaves the earlier layout, which the next attempt upgrades."""
    before = written_as(1, source, store_url)
    with monkeypatch.context() as broken:
        broken.setattr(migrations, "STEPS", (*STEPS[:2], f"{STEPS[2]}; CREATE TABLE samples (x TEXT)"))
        with pytest.raises(StoreUnavailable):
            opened(store_url)
    engine = create_engine(store_url)
    with engine.connect() as connection:
        assert rows_of(connection) == before
        assert migrations.layout_of(connection) == 1
    engine.dispose()
    assert layout_in(opened(store_url)) == str(LAYOUT)
