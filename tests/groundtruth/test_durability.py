"""What was acknowledged stays: killed workers, torn logs, full, read-only, deleted and replaced files, dead servers, backups."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time as clock
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from modelwatch.errors import ModelwatchError, StoreUnavailable
from modelwatch.groundtruth.store import Store, TrueLabel
from modelwatch.groundtruth.writer import Writer
from modelwatch.testing import TornFile
from modelwatch.testing.postgres import Postgres
from truth import number, sample

KILLS = int(os.environ.get("MODELWATCH_KILLS", "50"))  # `make soak` asks for more
RECOVERED_S = 10.0

Opener = Callable[[str], Store]

#: Forks a worker a trial, whose four threads label one new id after the other and tell of each that was acknowledged;
#: kills it at a random moment. Prints the numbers of all that were told.
KILLER = """
import os, random, signal, sys, threading, time
from modelwatch.groundtruth.store import TrueLabel
from modelwatch.groundtruth import labelling, retention, views
from modelwatch.groundtruth.writer import Writer
url, trials, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)

def work(trial, pipe):
    writer = Writer.of(url)
    def label(turn):
        for i in range(turn, 100_000, 4):
            name = trial * 100_000 + i
            writer.label(TrueLabel(f"{name:032x}", "positive", "ann", sampled=True), 60)
            os.write(pipe, b"%d " % name)
    for turn in range(3):
        threading.Thread(target=label, args=(turn,)).start()
    label(3)

for trial in range(trials):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            work(trial, writing)
        finally:
            os._exit(1)
    os.close(writing)
    told = os.read(reading, 65536)
    time.sleep(chance.random() * 0.04)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(reading, 65536):
        told += more
    os.close(reading)
    print(told.decode())
"""


def kill_workers(url: str, trials: int, seed: int = 1) -> set[str]:
    """Return the ids whose label was acknowledged by workers that were then killed."""
    command = [sys.executable, "-c", KILLER, url, str(trials), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 + 2 * trials, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {number(int(word)) for word in done.stdout.split()}


def kept(store: Store) -> set[str]:
    """Return the ids that have a label in both tables that say so."""
    query = text(
        "SELECT s.request_id FROM samples s JOIN labels l ON l.request_id = s.request_id AND l.label = s.label"
    )
    return set(store.database.read(lambda connection: connection.execute(query).scalars().all()))


def is_whole(store: Store) -> bool:
    """Tell whether labels and samples say the same, and SQLite finds its file in order."""
    strays = text(
        "SELECT count(*) FROM labels l LEFT JOIN samples s ON s.request_id = l.request_id"
        " WHERE s.label IS NULL OR s.label <> l.label"
    )

    def look(connection: Any) -> bool:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        return bool(connection.execute(strays).scalar() == 0)

    return store.database.read(look)


@pytest.fixture
def writing(time: Callable[[], float]) -> Iterator[Callable[[str], Writer]]:
    """Make writers; they are closed after the test."""
    made: list[Writer] = []

    def one(url: str) -> Writer:
        made.append(Writer(Store(url, clock=time, busy_s=0.5)))
        return made[-1]

    yield one
    for writer in made:
        writer.close(1)


def recovers(writer: Writer, label: TrueLabel) -> bool:
    """Tell whether a label is taken again within ten seconds."""
    deadline = clock.monotonic() + RECOVERED_S
    while clock.monotonic() < deadline:
        try:
            writer.label(label, 2)
            return True
        except StoreUnavailable:
            clock.sleep(0.1)
    return False


def test_killed_workers_lose_no_label_that_was_acknowledged(store_url: str, opened: Opener) -> None:
    """Workers killed at random moments between and within commits of four threads; the store is whole after each."""
    trials = KILLS if store_url.startswith("sqlite") else max(1, KILLS // 5)
    store = opened(store_url)
    acknowledged = kill_workers(store_url, trials)
    assert len(acknowledged) >= trials
    assert acknowledged <= kept(store)
    assert is_whole(store)


@pytest.mark.parametrize("pages", [1, 2, 7, 64])
@pytest.mark.parametrize("fault", ["truncate", "zero", "garbage"])
def test_a_torn_log_costs_its_tail_only(tmp_path: Path, opened: Opener, fault: str, pages: int) -> None:
    """The end of the write-ahead log is lost, as after a failure of power: what is left is all up to one commit."""
    path = tmp_path / "truth.db"
    store = opened(f"sqlite:///{path}")
    for i in range(60):
        store.label(number(i), "positive", sampled=True)
    torn = tmp_path / "torn" / "truth.db"
    torn.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{torn}{suffix}")
    log = Path(f"{torn}-wal")
    length = log.stat().st_size
    lost = min(pages * 4120, length)
    if fault == "truncate":
        TornFile(log).truncate(length - lost)
    elif fault == "zero":
        TornFile(log).zero(length - lost, lost)
    else:
        with log.open("r+b") as file:
            file.seek(length - lost)
            file.write(os.urandom(lost))
    after = opened(f"sqlite:///{torn}")
    left = kept(after)
    assert left == {number(i) for i in range(len(left))}
    assert 60 - 2 * pages <= len(left) < 60 or pages == 64
    assert is_whole(after)
    assert after.label(number(99), "positive", sampled=True).state == "matched"


def test_a_full_disk_takes_no_label_that_it_acknowledges_not(tmp_path: Path, writing: Callable[[str], Writer]) -> None:
    """Each label is either in the store or its caller was told; with room again, the same writer goes on."""
    writer = writing(f"sqlite:///{tmp_path / 'truth.db'}")
    writer.put(sample(0))
    assert writer.flush(10)

    def pages(most: int) -> None:
        writer.store.database.write(
            lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={most}").close()
        )

    pages(60)
    acknowledged, refused = set(), 0
    for i in range(1000, 1600):
        try:
            writer.label(TrueLabel(number(i), "positive", "ann", sampled=True, note="x" * 500), 5)
            acknowledged.add(number(i))
        except StoreUnavailable as error:
            assert "full" in str(error)
            refused += 1
    assert acknowledged
    assert refused > 300
    assert acknowledged <= kept(writer.store)
    assert writer.put(sample(1))
    assert writer.kept is False
    pages(100_000)
    assert recovers(writer, TrueLabel(number(2000), "positive", sampled=True))
    assert writer.flush(10)
    assert writer.store.counts().waiting == 2
    assert is_whole(writer.store)


def test_a_read_only_store_is_said_and_left(tmp_path: Path, writing: Callable[[str], Writer]) -> None:
    """Labels are refused at once while nothing can be written, and taken as soon as it can."""
    writer = writing(f"sqlite:///{tmp_path / 'truth.db'}")
    writer.label(TrueLabel(number(0), "positive", sampled=True))

    def read_only(value: int) -> None:
        writer.store.database.read(lambda connection: connection.exec_driver_sql(f"PRAGMA query_only={value}").close())

    read_only(1)
    with pytest.raises(StoreUnavailable, match="readonly"):
        writer.label(TrueLabel(number(1), "positive", sampled=True), 5)
    writer.put(sample(0))
    read_only(0)
    assert recovers(writer, TrueLabel(number(1), "positive", sampled=True))
    assert writer.flush(10)
    assert kept(writer.store) == {number(0), number(1)}


@pytest.mark.parametrize("others", [False, True], ids=["the log stays", "the log goes too"])
def test_a_file_deleted_under_us_is_made_anew(tmp_path: Path, writing: Callable[[str], Writer], others: bool) -> None:
    """What is acknowledged after the file has gone is in the new one, which others see; it is counted."""
    path = tmp_path / "truth.db"
    url = f"sqlite:///{path}"
    writer = writing(url)
    seen = writing(url)
    for turn in range(5):
        writer.label(TrueLabel(number(turn), "positive", sampled=True))
        for name in [path, *(tmp_path.glob("truth.db-*") if others else [])]:
            name.unlink()
        writer.label(TrueLabel(number(100 + turn), "positive", sampled=True), 20)
        assert number(100 + turn) in kept(seen.store)
    assert writer.store.database.reopened == 5
    assert is_whole(seen.store)


def test_what_is_written_into_a_file_that_has_just_gone_is_written_again(tmp_path: Path, opened: Opener) -> None:
    """Deleted in the middle of a transaction: it is not acknowledged before it is in the file that is there."""
    path = tmp_path / "truth.db"
    store = opened(f"sqlite:///{path}")
    turns: list[int] = []

    def work(connection: Connection) -> None:
        turns.append(1)
        if len(turns) == 1:
            path.unlink()
        connection.exec_driver_sql("INSERT INTO modelwatch_store VALUES ('mark', 'here')").close()

    store.database.write(work)
    assert len(turns) == 2
    found = opened(f"sqlite:///{path}").database.read(
        lambda connection: connection.execute(text("SELECT value FROM modelwatch_store WHERE name = 'mark'")).scalar()
    )
    assert found == "here"


def test_labels_while_the_file_is_deleted_again_and_again(tmp_path: Path, writing: Callable[[str], Writer]) -> None:
    """Every label acknowledged after the last deletion is in the file that is there at the end."""
    path = tmp_path / "truth.db"
    writer = writing(f"sqlite:///{path}")
    acknowledged: list[tuple[float, str]] = []
    stop = threading.Event()

    def work() -> None:
        for i in range(100_000):
            if stop.is_set():
                return
            begun = clock.monotonic()
            with contextlib.suppress(StoreUnavailable):  # the file went while it was made: the client sends it again
                writer.label(TrueLabel(number(i), "positive", sampled=True), 20)
                acknowledged.append((begun, number(i)))

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            for _ in range(8):
                clock.sleep(0.05)
                path.unlink(missing_ok=True)
            deleted = clock.monotonic()
            deadline = deleted + 60
            while len([begun for begun, _ in acknowledged if begun > deleted]) < 20 and clock.monotonic() < deadline:
                clock.sleep(0.02)
        finally:
            stop.set()
        working.result()
    after = {name for begun, name in acknowledged if begun > deleted}
    assert len(after) >= 20
    assert after <= kept(writer.store)
    assert is_whole(writer.store)


def test_a_backup_put_in_its_place_is_taken_up(tmp_path: Path, writing: Callable[[str], Writer]) -> None:
    """A file restored under a running writer is the store from then on; the log of the former is not applied to it."""
    path, copy = tmp_path / "truth.db", tmp_path / "backup.db"
    writer = writing(f"sqlite:///{path}")
    for i in range(5):
        writer.label(TrueLabel(number(i), "positive", sampled=True))
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    target.close()
    source.close()
    for i in range(5, 10):
        writer.label(TrueLabel(number(i), "positive", sampled=True))
    copy.replace(path)
    writer.label(TrueLabel(number(20), "positive", sampled=True), 20)
    assert kept(writer.store) == {number(i) for i in (0, 1, 2, 3, 4, 20)}
    assert is_whole(writer.store)


def test_a_server_that_dies_and_comes_back(postgres: Postgres, writing: Callable[[str], Writer]) -> None:
    """While PostgreSQL is away labels are refused and samples wait; ten seconds after its return all goes on."""
    writer = writing(postgres.new_database())
    writer.label(TrueLabel(number(0), "positive", sampled=True))
    for turn in range(2):
        postgres.kill()
        try:
            with pytest.raises(StoreUnavailable):
                writer.label(TrueLabel(number(10 + turn), "negative", sampled=True), 5)
            assert writer.put(sample(turn))
            assert not writer.flush(0.3)
        finally:
            postgres.start()
        assert recovers(writer, TrueLabel(number(10 + turn), "positive", sampled=True))
        assert writer.flush(10)
    assert kept(writer.store) == {number(0), number(10), number(11)}
    assert (writer.stored, writer.dropped()) == (2, {})


def test_a_locked_table_makes_labels_wait(postgres: Postgres, writing: Callable[[str], Writer]) -> None:
    """While somebody holds a table of PostgreSQL labels are refused after their time; then they are taken."""
    url = postgres.new_database()
    writer, other = writing(url), Store(url)
    writer.label(TrueLabel(number(0), "positive", sampled=True))

    def hold(connection: Connection) -> None:
        connection.exec_driver_sql("LOCK TABLE samples IN ACCESS EXCLUSIVE MODE").close()
        with pytest.raises(StoreUnavailable, match="within 1 s"):
            writer.label(TrueLabel(number(1), "positive", sampled=True), 1)
        writer.put(sample(0))
        assert not writer.flush(0.2)

    other.database.write(hold)
    other.close()
    assert recovers(writer, TrueLabel(number(2), "positive", sampled=True))
    assert writer.flush(10)
    assert {number(0), number(2)} <= kept(writer.store)


def test_transactions_that_wait_for_each_other_both_end(postgres: Postgres, opened: Opener) -> None:
    """The one that PostgreSQL ends for the sake of the other is begun again, and nobody hears of it."""
    url = postgres.new_schema()
    stores = [opened(url), opened(url)]
    stores[0].add_samples([sample(0), sample(1)])
    both = threading.Barrier(2)
    turns: list[int] = []

    def work(first: int, connection: Connection) -> None:
        turns.append(first)
        for i in (first, 1 - first):
            query = text("SELECT 1 FROM samples WHERE request_id = :name FOR UPDATE")
            connection.execute(query, {"name": number(i)}).all()
            if i == first and turns.count(first) == 1:
                both.wait(20)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(stores[i].database.write, partial(work, i)) for i in (0, 1)]:
            done.result(60)
    again = sum(store.database.tried_again for store in stores)
    assert len(turns) == 2 + again
    assert again >= 1  # more when the same two meet again


def consistent(store: Store) -> set[str]:
    """Return the ids that are labelled; the copy is whole, and holds all labels up to one of them."""
    found = kept(store)
    assert is_whole(store)
    assert {name for name in found if int(name, 16) < 10_000} == {
        number(i) for i in range(len([name for name in found if int(name, 16) < 10_000]))
    }
    return found


def under_load(writer: Writer, backup: Callable[[], None]) -> int:
    """Take a backup while labels come in; return how many had been acknowledged when it began."""
    done: list[int] = []
    stop: list[int] = []

    def work() -> None:
        for i in range(10_000):
            if stop:
                return
            writer.label(TrueLabel(number(i), "positive", "ann", sampled=True), 20)
            done.append(i)

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        try:
            while len(done) < 30:
                clock.sleep(0.01)
            before = len(done)
            backup()
            while len(done) < before + 5:
                clock.sleep(0.01)
        finally:
            stop.append(1)
        working.result()
    return before


def test_a_backup_of_a_file_under_load(tmp_path: Path, writing: Callable[[str], Writer], opened: Opener) -> None:
    """SQLite's own backup of a store in use opens, is whole, and has all that was acknowledged before it began."""
    path, copy = tmp_path / "truth.db", tmp_path / "copy" / "truth.db"
    copy.parent.mkdir()

    def backup() -> None:
        source, target = sqlite3.connect(path), sqlite3.connect(copy)
        source.backup(target, pages=5)
        source.close()
        target.close()

    before = under_load(writing(f"sqlite:///{path}"), backup)
    assert len(consistent(opened(f"sqlite:///{copy}"))) >= before


def test_a_dump_of_a_database_under_load(postgres: Postgres, writing: Callable[[str], Writer], opened: Opener) -> None:
    """The same for pg_dump and another database."""
    source, target = postgres.new_database(), postgres.new_database()
    before = under_load(writing(source), lambda: postgres.copy(source, target))
    assert len(consistent(opened(target))) >= before


def test_a_damaged_file_is_not_replaced(tmp_path: Path, writing: Callable[[str], Writer]) -> None:
    """Labels are nobody's to throw away: the store is refused until somebody looks; the service goes on."""
    path = tmp_path / "truth.db"
    first = writing(f"sqlite:///{path}")
    first.label(TrueLabel(number(0), "positive", sampled=True))
    first.close()
    damaged = TornFile(path).garbage()
    writer = writing(f"sqlite:///{path}")
    with pytest.raises(ModelwatchError):
        writer.label(TrueLabel(number(1), "positive", sampled=True), 5)
    assert writer.put(sample(1))
    assert not writer.flush(0.3)
    assert path.read_bytes() == damaged


def test_the_log_says_nothing_of_what_was_labelled(
    tmp_path: Path, writing: Callable[[str], Writer], caplog: pytest.LogCaptureFixture
) -> None:
    """A fault is logged once a minute, with neither a label nor a text nor an id."""
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    writer = writing(f"sqlite:///{blocked / 'truth.db'}")
    for i in range(5):
        with pytest.raises(StoreUnavailable):
            writer.label(TrueLabel(number(i), "a secret label", "ann"), 5)
    writer.put(sample(3))
    writer.flush(0.3)
    logged = [json.dumps(record.__dict__, default=repr) for record in caplog.records if record.name == "modelwatch"]
    assert len(logged) == 1
    assert not any(word in logged[0] for word in ("a secret label", number(3), "text 3", 'ann"'))
