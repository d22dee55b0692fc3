"""A worker's rows of live.db: the right minute, no count lost or doubled, whatever the clock and the file do."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counting import KEY, add_model, commit, query, read_rows, reader_at, record, scraped, worker_at
from modelwatch.schema import ModelSchema
from modelwatch.store.live import BASE, MINUTE, Key, connect
from modelwatch.store.reader import Totals
from modelwatch.store.windows import Windows
from modelwatch.store.writer import DEAD_S, STALE_S
from modelwatch.tally import Tally
from modelwatch.testing import ClockJump, FakeClock, StuckStore

REQUESTS = "ml_requests_total"


def rows(path, key=KEY):
    """Return {(start, span): requests} over all workers."""
    db = sqlite3.connect(path)
    found = {}
    for start, span, blob in db.execute("SELECT start, span, tally FROM counts WHERE model = ? AND version = ?", key):
        tally = Tally.load(blob)
        n = tally.tables[REQUESTS].total() if REQUESTS in tally.tables else 0
        found[start, span] = found.get((start, span), 0) + n
    db.close()
    return {at: n for at, n in found.items() if n}


def count(path):
    """Return the requests of all rows."""
    return sum(rows(path).values())


@pytest.fixture
def path(tmp_path):
    """Where the live.db of a test is."""
    return tmp_path / "live.db"


def test_counts_go_to_their_minute(path):
    """Each commit belongs to the minute it is made in; the first one after the minute ends it."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    for n in (3, 4):
        record(worker, n)
        assert commit(worker)
        clock.advance(20)
    start = 1_700_000_040
    assert rows(path) == {(start, MINUTE): 7}
    clock.advance(20)  # on the minute
    record(worker, 2)  # counted between the last commit and this one: within the second before
    assert commit(worker)
    record(worker, 5)
    clock.advance(1)
    assert commit(worker)
    assert rows(path) == {(start, MINUTE): 9, (start + 60, MINUTE): 5}


def test_an_idle_worker_does_not_keep_an_old_minute_open(path):
    """The first count after a pause goes to the present minute."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    record(worker)
    assert commit(worker)
    for _ in range(60):
        clock.advance(3)
        commit(worker)
    record(worker)
    assert commit(worker)
    assert rows(path) == {(1_700_000_040, MINUTE): 1, (1_700_000_040 + 180, MINUTE): 1}


def test_several_models_and_versions_have_their_own_rows(path):
    """A worker that serves two models keeps them apart, also when only one of them counts."""
    clock, other = FakeClock(wall=1_700_000_040), Key("m", "2")
    worker = worker_at(path, clock)
    add_model(worker, other, None)
    record(worker, 2)
    record(worker, 3, other)
    assert commit(worker)
    clock.advance(60)
    record(worker, 1, other)
    assert commit(worker)
    clock.advance(60)
    record(worker, 10)
    assert commit(worker)
    assert sum(rows(path).values()) == 12
    assert sum(rows(path, other).values()) == 4


def test_a_repeated_or_failed_commit_adds_nothing(path):
    """A commit that is locked out moves nothing; the next one writes everything, once."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    worker.writer.timeout_s = 0.01
    record(worker, 2)
    assert commit(worker)
    worker.writer._forget_connection()  # the time-out of its connection is as above now
    for minute in range(3):
        with StuckStore(path):
            record(worker, 5)
            assert not commit(worker)
            assert not commit(worker)
        assert count(path) == 2 + 5 * minute
        assert commit(worker)
        assert commit(worker)
        assert count(path) == 7 + 5 * minute
        clock.advance(60)


def test_a_fault_of_ours_holds_no_lock(path, monkeypatch):
    """A mistake in the middle of a commit: the other workers commit at once, and the counts come with the next try."""
    worker, other = (worker_at(path, FakeClock()) for _ in range(2))
    record(worker, 2)
    record(other, 3)
    monkeypatch.setattr(worker.writer, "_heartbeat", lambda *_: {}["a mistake"])
    with pytest.raises(KeyError):
        commit(worker)
    other.writer.timeout_s = 0.01
    assert commit(other)
    assert count(path) == 3
    monkeypatch.undo()
    assert commit(worker)
    assert count(path) == 5


def test_counts_held_back_for_long_go_to_the_present(path):
    """After a failure of more than five minutes nothing is written into the old minute any more."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    worker.writer.timeout_s = 0.01
    record(worker, 2)
    assert commit(worker)
    worker.writer._forget_connection()
    with StuckStore(path):
        record(worker, 5)
        clock.advance(STALE_S + 61)
        assert not commit(worker)
    assert commit(worker)
    assert rows(path)[1_700_000_040, MINUTE] == 2
    assert count(path) == 7


def test_a_suspended_worker_never_rewrites_an_old_row(path):
    """A process that slept for an hour, while its rows were compacted, counts what is new in the present minute."""
    clock = FakeClock(wall=1_700_000_040)
    sleeper, other = worker_at(path, clock), worker_at(path, clock)
    record(sleeper, 3)
    assert commit(sleeper)
    for _ in range(60):
        clock.advance(61)
        record(other)
        assert commit(other)
        other._compact()
    record(sleeper, 4)
    assert commit(sleeper)
    assert count(path) == 67
    assert scraped(sleeper) == scraped(other) == 67


def test_a_worker_whose_open_row_was_compacted_takes_another_name(path):
    """The clock of another worker is an hour ahead, and it compacts the minute that this worker is in: nothing counts twice."""
    clock, ahead = FakeClock(wall=1_700_000_040), FakeClock(wall=1_700_000_040 + 3600)
    worker, hasty = worker_at(path, clock), worker_at(path, ahead)
    name = worker.writer.worker
    record(worker, 3)
    assert commit(worker)
    assert scraped(worker) == 3
    record(hasty, 1)
    assert commit(hasty)
    hasty._compact()
    assert {worker for (worker,) in query(path, "SELECT worker FROM counts WHERE start < 1700003000")} == {""}
    for total in (8, 13, 18):
        record(worker, 5)
        assert commit(worker)
        assert count(path) == total + 1
        assert scraped(worker) == scraped(hasty) == total + 1
        clock.advance(DEAD_S - 1)
        ahead.advance(DEAD_S - 1)
        commit(hasty)
    assert worker.writer.worker != name
    assert scraped(worker, "modelwatch_worker_deaths_total") == 0


@pytest.mark.parametrize("step", [-3600, 3600, -86_400 * 30, 5])
def test_a_step_of_the_clock_loses_and_doubles_nothing(path, step):
    """The wall clock is set wrong in the middle of load, for good: counts are exact, no earlier row is overwritten, nobody dies."""
    clock = FakeClock(wall=1_700_000_040)
    workers = [worker_at(path, clock) for _ in range(2)]
    reader, sent = worker_at(path, clock), 0
    for second in range(220):
        if second == 100:
            clock.step(step)
        for worker in workers:
            record(worker, 2)
            sent += 2
            assert commit(worker)
            worker._compact()
        clock.advance(1)
        if second % 7 == 0:
            assert scraped(reader) == count(path) == sent
    assert clock.steps == (abs(step) > 1)
    open_now = [n for (start, _), n in rows(path).items() if clock.wall - 120 < start <= clock.wall]
    assert sum(open_now) >= 60
    assert scraped(workers[0], "modelwatch_worker_deaths_total") == 0
    assert scraped(workers[0], "modelwatch_workers") == 2


def test_a_step_there_and_back_moves_no_count(path):
    """A clock that is an hour wrong for half a minute is not seen at all: every count is in its true minute."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    for second in range(240):
        if second == 70:
            jump = ClockJump(clock, 3600)
            jump.__enter__()
        if second == 100:
            jump.__exit__(None, None, None)
        record(worker)
        assert commit(worker)
        clock.advance(1)
    starts = [1_700_000_040 + 60 * i for i in range(4)]
    assert set(rows(path)) == {(start, MINUTE) for start in starts}
    assert all(abs(n - 60) <= 1 for n in rows(path).values())


def test_the_rate_is_right_after_a_step_that_stays(path):
    """An hour forward, for good: in the five-minute window the rate is right again as soon as the step is believed."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    reader, windows = reader_at(path, clock), Windows((300,))
    for second in range(800):
        if second == 100:
            clock.step(3600)
        record(worker)
        assert commit(worker)
        clock.advance(1)
        if second % 10 == 0 or second > 600:
            changes, host = reader.poll()
            windows.apply(changes, clock.now(), host.schemas)
    n = windows.sum(KEY, 300).tables[REQUESTS].total()
    assert 300 <= n <= 361


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["record", "commit", "compact", "wait", "step", "die", "scrape", "idle"]),
            st.integers(0, 2),
            st.integers(0, 10**6),
        ),
        min_size=20,
        max_size=80,
    )
)
def test_any_history_keeps_every_committed_count(tmp_path_factory, history):
    """Workers count, commit, compact, sleep, die and are scraped in any order while clocks step: the sum is that of the commits."""
    path = tmp_path_factory.mktemp("live") / "live.db"
    clocks = [FakeClock(wall=1_700_000_000) for _ in range(3)]
    workers = [worker_at(path, clock) for clock in clocks]
    committed, told, last = 0, [0, 0, 0], 0.0
    for what, i, value in history:
        worker, clock = workers[i], clocks[i]
        if what == "record":
            record(worker, value % 5)
        elif what in ("commit", "idle"):
            if what == "commit":
                record(worker, value % 3)
            mine = worker.recorders[KEY].requests() + worker.recorders[KEY].backlog()
            assert commit(worker)
            committed, told[i] = committed + mine - told[i], mine
        elif what == "compact":
            worker.writer._compacted = float("-inf")
            worker._compact()
        elif what == "wait":
            for each in clocks:
                each.advance(value % 4000 if value % 2 else value % 90)
        elif what == "step":
            clock.step(value % 20_000 - 10_000)
        elif what == "die":
            workers[i], told[i] = worker_at(path, clock), 0
        elif path.exists():
            now = scraped(worker)
            if now == now:
                assert now == committed
                assert now >= last
                last = now
    if path.exists():
        fresh = Totals()
        changes, host = read_rows(path)
        fresh.apply(changes, host.schemas)
        assert sum(t.tables[REQUESTS].total() for t in fresh.tallies.values() if REQUESTS in t.tables) == committed


# -- the file goes away ------------------------------------------------------------------------------------------------


def test_a_deleted_file_is_made_again_with_all_own_counts(path):
    """Somebody deletes live.db: the next commit makes a new one, and every living worker brings its counts along, once."""
    clock = FakeClock()
    workers = [worker_at(path, clock) for _ in range(3)]
    for worker in workers:
        record(worker, 10)
        assert commit(worker)
    assert scraped(workers[0]) == 30
    path.unlink()
    clock.advance(1)
    assert scraped(workers[0]) == 30  # the last that is known
    for n, worker in enumerate(workers):
        record(worker, n)
        assert commit(worker)
    assert all(scraped(worker) == 33 for worker in workers)
    clock.advance(100)
    record(workers[0])
    assert commit(workers[0])
    assert scraped(workers[1]) == 34
    assert (0, BASE) in rows(path)


def test_a_new_file_with_the_number_of_the_old_one_is_told_apart(path):
    """A file system gives the number of a deleted file to the next one: files are told apart by what is in them, too."""
    clock = FakeClock()
    worker, other = worker_at(path, clock), worker_at(path, clock)
    record(worker, 10)
    assert commit(worker)
    worker.writer._forget_connection()
    was = worker.writer._file
    path.unlink()
    for _ in range(20):
        path.unlink(missing_ok=True)
        record(other)
        assert commit(other)
        other.writer._forget_connection()
        if worker.writer._file == was and commit(worker):
            break
    assert count(path) == 10 + other.recorders[KEY].requests()
    worker.writer._file = worker.writer._tried = None  # as if the numbers were the same all along
    assert commit(worker)
    assert count(path) == 10 + other.recorders[KEY].requests()


def test_base_rows_of_workers_that_left_are_summed_up(path):
    """What workers brought along stays counted after they are gone, in one row."""
    clock = FakeClock()
    for _ in range(3):
        worker = worker_at(path, clock)
        record(worker, 10)
        assert commit(worker)
        path.unlink()
        clock.advance(1)
        assert commit(worker)
    last = worker_at(path, clock)
    record(last)
    clock.advance(DEAD_S + 1)
    assert commit(last)
    assert scraped(last) == 11
    last._compact()
    assert count(path) == 11
    assert scraped(last) == 11
    assert [w for (w,) in query(path, "SELECT worker FROM counts WHERE span = 0")] == [""]


def test_a_file_that_is_moved_back_counts_nothing_twice(path):
    """Moved away and back, or put back from a copy: what is in it already is not brought along again."""
    clock = FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    record(worker, 10)
    assert commit(worker)
    copy = path.with_name("copy.db")
    db = sqlite3.connect(path)
    db.execute("VACUUM INTO ?", (str(copy),))
    db.close()
    record(worker, 5)
    assert commit(worker)
    copy.replace(path)
    clock.advance(1)
    record(worker, 1)
    assert commit(worker)
    assert count(path) == 16
    assert scraped(worker) == 16
    for minute in range(3):
        clock.advance(60)
        record(worker, 1)
        assert commit(worker)
        assert count(path) == 17 + minute


def test_a_copy_from_before_the_open_minute_gets_that_minute_again(path):
    """A backup that is put back lacks what came after it: the minute that is open is written again, for every model."""
    clock, quiet = FakeClock(wall=1_700_000_040), Key("m", "2")
    worker = worker_at(path, clock)
    add_model(worker, quiet, None)
    record(worker, 10)
    assert commit(worker)
    clock.advance(60)
    commit(worker)
    copy = path.with_name("copy.db")
    db = sqlite3.connect(path)
    db.execute("VACUUM INTO ?", (str(copy),))
    db.close()
    record(worker, 5)
    record(worker, 3, quiet)
    assert commit(worker)
    copy.replace(path)
    clock.advance(1)
    record(worker, 1)
    assert commit(worker)
    assert count(path) == scraped(worker, model_version="1") == 16
    assert scraped(worker, model_version="2") == 3
    clock.advance(60)
    record(worker, 1)
    record(worker, 1, quiet)
    assert commit(worker)
    assert scraped(worker, model_version="1") == 17
    assert scraped(worker, model_version="2") == 4


def test_commits_that_the_disk_has_lost_are_made_again(path):
    """The file falls back to an earlier state under its workers: their open minutes are written again, and all readers begin anew."""
    clock = FakeClock(wall=1_700_000_040)
    workers = [worker_at(path, clock) for _ in range(3)]
    for worker in workers:
        record(worker, 2)
        assert commit(worker)
    follower = worker_at(path, clock)
    assert scraped(follower) == 6

    def close():
        for each in (*workers, follower):
            each.writer._forget_connection()
            each.reader.close()

    clock.advance(60)
    for worker in workers:
        commit(worker)  # the end of the minute
    close()
    earlier = path.read_bytes()
    for _ in range(3):
        for worker in workers:
            record(worker, 2)
            assert commit(worker)
    assert scraped(follower) == 24
    close()
    path.write_bytes(earlier)
    clock.advance(1)
    for worker in workers:
        record(worker, 1)
        assert commit(worker)
    assert count(path) == 27
    assert all(scraped(each) == 27 for each in (*workers, follower, worker_at(path, clock)))


def test_a_foreign_file_in_its_place_gets_all_own_counts(path, tmp_path):
    """The live.db of another host is put in the place of ours: it goes on from its own counts and ours."""
    clock = FakeClock()
    worker, stranger = worker_at(path, clock), worker_at(tmp_path / "other.db", clock)
    record(worker, 10)
    record(stranger, 100)
    assert commit(worker)
    assert commit(stranger)
    stranger.writer._forget_connection()
    (tmp_path / "other.db").replace(path)
    clock.advance(1)
    assert commit(worker)
    assert count(path) == 110
    assert scraped(worker) == 110


def test_schemas_are_told_and_told_again(path):
    """Readers know the edges of every version; a changed configuration replaces them, and a new file gets them anew."""
    clock = FakeClock()
    worker = worker_at(path, clock, schema=ModelSchema(latency=(1.0,)))
    assert commit(worker)
    reader = reader_at(path, clock)
    assert reader.poll()[1].schemas[KEY].latency == (1.0,)
    newer = worker_at(path, clock, schema=ModelSchema(latency=(2.0,)))
    assert commit(newer)
    assert reader.poll()[1].schemas[KEY].latency == (2.0,)
    path.unlink()
    clock.advance(3)
    assert commit(worker)
    assert reader.poll()[1].schemas[KEY].latency == (1.0,)


def test_a_reader_alone_makes_no_file(path):
    """To look at counts that are not there creates nothing."""
    with pytest.raises(sqlite3.OperationalError):
        read_rows(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(sqlite3.OperationalError, match="not made yet"):
        read_rows(path)


def test_connections_use_the_write_ahead_log(path):
    """Readers never wait for writers."""
    db = connect(path)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.execute("BEGIN IMMEDIATE")
    assert read_rows(path)[0].rows == ()
    db.close()
