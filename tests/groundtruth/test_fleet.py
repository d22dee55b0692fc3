"""What the hosts of a fleet counted, in the store they share: each minute once, and the sum stays what it was."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select, text

from modelwatch import names
from modelwatch.groundtruth import fleet
from modelwatch.groundtruth.migrations import STEPS
from modelwatch.groundtruth.store import Store
from modelwatch.groundtruth.tables import counts
from modelwatch.groundtruth.writer import Writer
from modelwatch.schema import ModelSchema
from modelwatch.store.live import DAY, HOUR, MINUTE, Key, connect
from modelwatch.tally import Tally
from modelwatch.testing.postgres import Postgres
from truth import number, sample

NOON = 1_700_006_400 - 1_700_006_400 % DAY
KEY, OTHER = Key("sentiment", "1.0"), Key("prices", "2.0")
REQUESTS = names.REQUESTS.name


@contextmanager
def host(path: Path) -> Iterator[Callable[..., None]]:
    """Make a live.db; yield what puts a row of a worker into it."""
    db = connect(path)
    db.execute("INSERT OR IGNORE INTO models VALUES (?, ?, ?, 1)", (*KEY, ModelSchema(classes=("a", "b")).to_json()))

    def put(minute: int, n: int, key: Key = KEY, worker: str = "w", span: int = MINUTE) -> None:
        tally = Tally(ModelSchema(classes=("a", "b")).tables)
        tally.tables[REQUESTS].count(("/p",), n)
        (seq,) = db.execute("UPDATE state SET value = value + 1 WHERE name = 'seq' RETURNING value").fetchone()
        db.execute(
            "INSERT OR REPLACE INTO counts (model, version, start, span, worker, host, seq, tally) VALUES (?,?,?,?,?,'h',?,?)",
            (*key, NOON + minute * MINUTE, span, worker, seq, tally.dump()),
        )

    try:
        yield put
    finally:
        db.close()


def requests(
    store: Store, since: float = 0, until: float = 2**40, model: str | None = None
) -> dict[tuple[str, Key], int]:
    """Return how many requests each host counted."""
    found = fleet.by_host(store.database, since, until, model)
    return {(name, key): tally.tables[REQUESTS].total() for name, mine in found.items() for key, tally in mine.items()}


def rows(store: Store) -> dict[int, int]:
    """Return how many rows there are of each span."""
    query = select(counts.c.span, func.count()).group_by(counts.c.span)
    return {span: n for span, n in store.database.read(lambda connection: connection.execute(query).all())}


def test_closed_minutes_of_every_host_are_there_once(store: Store, tmp_path: Path) -> None:
    """The workers of a minute are summed, open minutes wait, and copying again adds nothing."""
    for name, factor in (("one", 1), ("two", 100)):
        with host(tmp_path / f"{name}.db") as put:
            for minute in range(30):
                put(minute, factor)
                put(minute, 2 * factor, worker="another")
            put(3, 5 * factor, key=OTHER)
    now = NOON + 30 * MINUTE
    for _ in range(4):
        for name in ("one", "two"):
            fleet.copy_closed(store.database, tmp_path / f"{name}.db", now, name)
    closed = 30 - fleet.CLOSED_S // MINUTE
    assert requests(store) == {
        ("one", KEY): 3 * closed,
        ("one", OTHER): 5,
        ("two", KEY): 300 * closed,
        ("two", OTHER): 500,
    }
    assert requests(store, NOON + 2 * MINUTE, NOON + 4 * MINUTE, "prices") == {("one", OTHER): 5, ("two", OTHER): 500}
    assert fleet.schemas(store.database)[KEY].classes == ("a", "b")
    assert fleet.copy_closed(store.database, tmp_path / "one.db", now + MINUTE, "one") == 1


def test_what_is_long_past_is_copied_a_few_minutes_at_a_time(store: Store, tmp_path: Path) -> None:
    """A host that was cut off catches up, without one transaction that holds up all labels."""
    with host(tmp_path / "live.db") as put:
        for minute in range(100):
            put(minute, 1)
    taken = [fleet.copy_closed(store.database, tmp_path / "live.db", NOON + DAY, "one") for _ in range(6)]
    assert taken == [20, 20, 20, 20, 20, 0]
    assert requests(store) == {("one", KEY): 100}


def test_workers_of_a_host_copy_at_once(store_url: str, opened: Callable[[str], Store], tmp_path: Path) -> None:
    """Each does its part or finds it done; no minute is there twice, while hours are summed up at the same time."""
    with host(tmp_path / "live.db") as put:
        for minute in range(120):
            put(minute, 1)
    stores = [opened(store_url) for _ in range(4)]

    def worker(one: Store) -> int:
        new = 0
        for _ in range(8):
            new += fleet.copy_closed(one.database, tmp_path / "live.db", NOON + 2 * DAY, "one")
            fleet.compact(one.database, NOON + 2 * DAY)
        return new

    with ThreadPoolExecutor(4) as pool:
        copied = sum(pool.map(worker, stores))
    assert requests(stores[0]) == {("one", KEY): 120}
    assert copied == 120


def test_summing_up_changes_no_sum(store: Store, tmp_path: Path) -> None:
    """Minutes become hours after a day, hours days after five weeks, and go after 400 days; each unit as a whole."""
    with host(tmp_path / "live.db") as put:
        for minute in range(0, 3 * 24 * 60, 7):
            put(minute, minute + 1)
    for _ in range(31):
        fleet.copy_closed(store.database, tmp_path / "live.db", NOON + 3 * DAY + HOUR, "one")
    before = requests(store)
    assert rows(store) == {MINUTE: 618}
    fleet.compact(store.database, NOON + 2 * DAY)
    assert rows(store) == {MINUTE: 618 - 206, HOUR: 24}
    assert requests(store, NOON, NOON + DAY) == {("one", KEY): sum(minute + 1 for minute in range(0, 24 * 60, 7))}
    fleet.compact(store.database, NOON + 37 * DAY)
    assert requests(store) == before
    fleet.compact(store.database, NOON + 37 * DAY)
    assert (rows(store), requests(store)) == ({DAY: 2, HOUR: 24}, before)
    fleet.compact(store.database, NOON + 403 * DAY)
    assert rows(store) == {DAY: 1}


def test_an_hour_with_more_rows_than_one_transaction_takes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is summed up part by part, and is whole in the end."""
    monkeypatch.setattr(fleet, "MOST_ROWS", 7)
    with host(tmp_path / "live.db") as put:
        for minute in range(60):
            put(minute, 1)
            put(minute, 10, key=OTHER)
    for _ in range(3):
        fleet.copy_closed(store.database, tmp_path / "live.db", NOON + DAY, "one")
    turns = 0
    while fleet.compact(store.database, NOON + 2 * DAY):
        turns += 1
    assert turns > 10
    assert rows(store) == {HOUR: 2}
    assert requests(store) == {("one", KEY): 60, ("one", OTHER): 600}


def test_another_live_db_of_the_same_host_adds(store: Store, tmp_path: Path) -> None:
    """A file that was lost and made anew in the middle of a minute: both parts count."""
    for name in ("former.db", "latter.db"):
        with host(tmp_path / name) as put:
            put(0, 3)
        assert fleet.copy_closed(store.database, tmp_path / name, NOON + HOUR, "one") == 1
    assert requests(store) == {("one", KEY): 6}


def test_a_row_that_cannot_be_read_costs_itself(store: Store, tmp_path: Path) -> None:
    """The other workers of its minute count; the file that is none is somebody else's matter."""
    with host(tmp_path / "live.db") as put:
        put(0, 3)
        put(0, 4, worker="damaged")
    with sqlite3.connect(tmp_path / "live.db") as db:
        db.execute("UPDATE counts SET tally = x'00' WHERE worker = 'damaged'")
    db.close()
    assert fleet.copy_closed(store.database, tmp_path / "absent.db", NOON + HOUR) == 0
    assert fleet.copy_closed(store.database, tmp_path / "live.db", NOON + HOUR, "one") == 1
    assert requests(store) == {("one", KEY): 3}


def test_the_writer_copies_once_a_minute_on_postgres(postgres: Postgres, tmp_path: Path) -> None:
    """By itself, beside samples and labels; a live.db that is damaged costs neither."""
    with host(tmp_path / "live.db") as put:
        put(0, 3)
    writer = Writer(Store(postgres.new_database(), clock=lambda: NOON + HOUR))
    writer.follow(tmp_path / "live.db")
    writer.follow(tmp_path / "damaged.db")
    (tmp_path / "damaged.db").write_bytes(b"no database" * 500)
    faults: list[str] = []
    writer.on_fault.append(lambda where, error: faults.append(where))
    writer.put(sample(1))
    assert writer.flush(20)
    writer._told_at = float("-inf")
    writer.put(sample(2))
    assert writer.flush(20)
    assert writer.close()
    assert sum(requests(writer.store).values()) == 3
    assert "minute" in faults
    assert writer.stored == 2
    writer.store.close()


def test_a_sqlite_store_is_of_one_host_and_gets_no_copies(tmp_path: Path) -> None:
    """Its host has the counts already."""
    with host(tmp_path / "live.db") as put:
        put(0, 3)
    writer = Writer(Store(f"sqlite:///{tmp_path / 'truth.db'}", clock=lambda: NOON + HOUR))
    writer.follow(tmp_path / "live.db")
    writer._told_at = float("-inf")
    writer.put(sample(1))
    assert writer.flush(20)
    assert writer.close()
    assert requests(writer.store) == {}
    writer.store.close()


def test_a_store_of_the_first_layout_is_brought_up_to_date(store_url: str, opened: Callable[[str], Store]) -> None:
    """What it holds stays, and the tables that came later are there."""
    store = opened(store_url)
    of_later_steps = re.findall(r"CREATE TABLE (\w+)", "".join(STEPS[1:]))

    def back(connection: Connection) -> None:
        for table in of_later_steps:
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("UPDATE modelwatch_store SET value = '1' WHERE name = 'layout'"))

    assert {"counts", "models"} <= set(of_later_steps)
    store.add_samples([sample(1)])
    store.label(number(1), "positive")
    store.database.write(back)
    store.close()
    again = opened(store_url)
    assert again.counts().labelled == 1
    assert rows(again) == {}
