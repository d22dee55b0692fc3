"""Opening a store: by its URL, by many at once, made by another version; what is said when it cannot be."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from modelwatch.errors import ConfigError, ModelwatchError, NewerFormat, StoreUnavailable
from modelwatch.groundtruth import tables
from modelwatch.groundtruth.migrations import LAYOUT
from modelwatch.groundtruth.store import Store
from modelwatch.testing.postgres import Postgres
from truth import number, sample

Opener = Callable[[str], Store]


def test_migrations_make_the_tables_that_the_code_expects(store: Store) -> None:
    """Columns, keys and indexes of a new store are those of `tables`, on both engines."""

    def made(connection: object) -> dict[str, tuple[object, ...]]:
        found = inspect(connection)
        return {
            name: (
                [(column["name"], column["nullable"]) for column in found.get_columns(name)],
                found.get_pk_constraint(name)["constrained_columns"],
                sorted((index["name"], tuple(index["column_names"])) for index in found.get_indexes(name)),
            )
            for name in found.get_table_names()
        }

    expected = {
        name: (
            [(column.name, bool(column.nullable)) for column in table.columns],
            [column.name for column in table.primary_key],
            sorted((index.name, tuple(column.name for column in index.columns)) for index in table.indexes),
        )
        for name, table in tables.metadata.tables.items()
    }
    assert store.database.read(made) == expected


def test_many_open_a_new_store_at_once(store_url: str, opened: Opener) -> None:
    """Of eight that come first at the same time all find the tables made, once."""
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: opened(store_url), range(8)))
    assert sum(one.add_samples([sample(i)]).new for i, one in enumerate(stores)) == 8
    layout = text("SELECT value FROM modelwatch_store WHERE name = 'layout'")
    assert stores[0].database.read(lambda connection: connection.execute(layout).scalars().all()) == [str(LAYOUT)]


PROGRAM = """
import os, sys, time
from modelwatch.groundtruth.store import Sample, Store
children = []
for turn in range(6):
    child = os.fork()
    if child == 0:
        try:
            store = Store.open(sys.argv[1])
            new = sum(
                store.add_samples([Sample(f"{i:032x}", "m", "1", "/", time.time(), "a")]).new for i in range(20)
            )
            os.write(1, b"%d\\n" % new)
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
sys.exit(max(os.waitpid(child, 0)[1] for child in children))
"""


def test_many_processes_make_one_store(store_url: str, opened: Opener) -> None:
    """Six workers that start together make it once, and each sample is new to exactly one of them."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, store_url], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert sum(map(int, done.stdout.split())) == 20
    assert opened(store_url).counts().waiting == 20


def make_newer(store: Store) -> None:
    """Write down that a later version has been here."""
    newer = f"UPDATE modelwatch_store SET value = '{LAYOUT + 1}' WHERE name = 'layout'"
    store.database.write(lambda connection: connection.exec_driver_sql(newer).close())


def test_a_newer_file_is_refused_and_left_untouched(tmp_path: Path, opened: Opener) -> None:
    """To the byte; nothing is put beside it."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    store = opened(url)
    store.add_samples([sample(1)])
    make_newer(store)
    store.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):
        with pytest.raises(NewerFormat, match=f"layout of .* is {LAYOUT + 1}; expected at most {LAYOUT}"):
            opened(url)
    other = Store(url)
    with pytest.raises(NewerFormat):
        other.label(number(1), "positive")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_newer_file_keeps_its_journal_as_well(tmp_path: Path, opened: Opener) -> None:
    """One that a later version keeps in another journal mode is not switched to ours."""
    url = f"sqlite:///{tmp_path / 'truth.db'}"
    store = opened(url)
    make_newer(store)
    store.close()
    with sqlite3.connect(tmp_path / "truth.db") as db:
        db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    before = (tmp_path / "truth.db").read_bytes()
    with pytest.raises(NewerFormat):
        opened(url)
    assert (tmp_path / "truth.db").read_bytes() == before


def test_a_newer_database_is_refused_and_left_untouched(postgres: Postgres, opened: Opener) -> None:
    """Neither rows nor tables of it change, on PostgreSQL."""
    url = postgres.new_database()
    store = opened(url)
    store.add_samples([sample(1)])
    make_newer(store)
    before = store.counts()
    with pytest.raises(NewerFormat, match="Upgrade modelwatch"):
        opened(url)
    with pytest.raises(NewerFormat):
        Store(url).add_samples([sample(2)])
    assert store.counts() == before


def test_a_store_that_becomes_newer_meanwhile_is_found_out(store_url: str, opened: Opener) -> None:
    """A process that opens it again after an upgrade by another one stops writing."""
    mine, theirs = opened(store_url), opened(store_url)
    mine.add_samples([sample(1)])
    make_newer(theirs)
    mine.close()
    with pytest.raises(NewerFormat):
        mine.add_samples([sample(2)])
    assert theirs.counts().waiting == 1


@pytest.mark.parametrize(
    "url", ["", "truth.db", "mysql://u:hunter2@host/db", "postgresql+psycopg2://u:hunter2@h/d", "::"]
)
def test_another_url_is_a_mistake_of_the_configuration(url: str) -> None:
    """The message says what is expected, in one line, without the password."""
    with pytest.raises(ConfigError, match="expected sqlite:///FILE or postgresql") as caught:
        Store(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_message_shows_the_password(postgres: Postgres, tmp_path: Path) -> None:
    """Nobody there, a wrong password, a database that is not there: one line each, the host and no secret."""
    right = postgres.new_database()
    urls = [
        right.replace(f":{postgres.port}/", ":1/"),
        right.replace(postgres.password, "hunter2"),
        postgres.url("absent"),
        right.replace("127.0.0.1", "no.such.host.invalid"),
    ]
    for url in urls:
        secret = Store(url).database.url.password
        with pytest.raises(StoreUnavailable, match=r"modelwatch:\*\*\*@") as caught:
            Store.open(url)
        assert str(secret) not in str(caught.value) + repr(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_driver_that_repeats_the_password_is_not_repeated() -> None:
    """Whatever words an error has, the password is not among those that are passed on."""
    database = Store("postgresql+psycopg://me:hunter2@host/truth").database
    told = database._unavailable(OSError("cannot use me:hunter2@host"))
    assert "hunter2" not in str(told)
    assert "me:***@host" in str(told)


def test_no_message_shows_what_was_to_be_stored(store: Store) -> None:
    """A row that the engine refuses is not quoted."""
    rule = "CREATE UNIQUE INDEX only_one ON samples (segment)"
    store.database.write(lambda connection: connection.exec_driver_sql(rule).close())
    with pytest.raises(StoreUnavailable) as caught:
        store.add_samples([sample(1), sample(2)])
    assert caught.value.refused
    assert "books" not in str(caught.value)


@pytest.mark.parametrize("contents", [b"no database at all" * 100, b"SQLite format 3\0" + bytes(4080)])
def test_a_foreign_file_is_not_touched(tmp_path: Path, contents: bytes) -> None:
    """What is no store is not written into, and the message names it."""
    path = tmp_path / "truth.db"
    path.write_bytes(contents)
    with pytest.raises(ModelwatchError, match=r"truth\.db"):
        Store.open(f"sqlite:///{path}")
    assert path.read_bytes() == contents


def test_sqlalchemy_is_loaded_when_a_store_is_opened_and_not_before() -> None:
    """A service that keeps no ground truth does not pay for it."""
    program = (
        "import sys, modelwatch, modelwatch.groundtruth.store, modelwatch.groundtruth.writer;"
        "assert 'sqlalchemy' not in sys.modules; modelwatch.groundtruth.store.Store('sqlite://');"
        "assert 'sqlalchemy' in sys.modules and 'psycopg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(("missing", "extra"), [("sqlalchemy", "store"), ("psycopg", "postgres")])
def test_a_driver_that_is_missing_is_named_with_its_extra(missing: str, extra: str) -> None:
    """What to install is in the message."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from modelwatch.groundtruth.store import Store\n"
        "from modelwatch.errors import MissingExtra\n"
        "try:\n    Store('postgresql+psycopg://me:hunter2@127.0.0.1:1/truth').open\n    Store.open('postgresql+psycopg://me:hunter2@127.0.0.1:1/truth')\n"
        "except MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert f"pip install 'modelwatch[{extra}]'" in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


def test_every_commit_reaches_the_disk(store: Store, postgres: Postgres) -> None:
    """Whatever the default of the engine or of its administrator: synchronous."""

    def setting(connection: Connection) -> object:
        if store.database.engine_name == "sqlite":
            return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("synchronous", "journal_mode")]
        return connection.exec_driver_sql("SHOW synchronous_commit").scalar()

    if store.database.engine_name == "postgresql":
        store.close()
        postgres.run("ALTER DATABASE postgres SET synchronous_commit = off")
    assert store.database.read(setting) in ([2, "wal"], "on")
    assert store.database.write_quickly(setting) in ([1, "wal"], "off")  # leases, which may be forgotten
    assert store.database.write(setting) in ([2, "wal"], "on")


def test_a_store_in_memory(time: Callable[[], float]) -> None:
    """For a trial: all threads share it, and it is gone when it is closed."""
    store = Store("sqlite://", clock=time)
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda i: store.add_samples([sample(i)]).new, range(40))) == 40
    assert store.counts().waiting == 40
    store.close()
    assert store.counts().waiting == 0


def test_the_path_does_not_follow_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the directory in which the store was named."""
    monkeypatch.chdir(tmp_path)
    store = Store("sqlite:///truth.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.add_samples([sample(1)])
    store.close()
    assert (tmp_path / "truth.db").exists()
