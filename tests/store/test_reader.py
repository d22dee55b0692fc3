"""What a reader makes of live.db: totals at the cost of what changed, on the edges in use, and what the processes do."""

from __future__ import annotations

import sqlite3

import pytest

from counting import KEY, commit, query, read_rows, reader_at, record, scraped, worker_at
from modelwatch import names
from modelwatch.schema import ModelSchema
from modelwatch.store.live import MINUTE, Key, Row
from modelwatch.store.reader import SETTLED_S, Changes, Totals
from modelwatch.tally import TableSchema, Tally
from modelwatch.testing import FakeClock

REQUESTS, DURATION = names.REQUESTS.name, names.DURATION.name


def row(n, start=0, worker="w", span=MINUTE, key=KEY, schema=None):
    """Return a row with n requests, and durations on the edges of a schema."""
    tally = (schema or ModelSchema()).empty()
    tally.tables[REQUESTS].count(("/p",), n)
    tally.tables[DURATION].row(("/p",))
    tally.tables[DURATION].counts[0, 0] = n
    return Row(key, start, span, worker, tally.dump())


def total(totals, table=REQUESTS, key=KEY):
    """Return a total of all rows of a table."""
    return totals.tallies[key].tables[table].total()


def test_a_rewritten_row_replaces_what_it_held():
    """Only the difference counts, row by row."""
    totals = Totals()
    for n in (3, 5, 9):
        totals.apply(Changes(again=False, rows=(row(n), row(1, worker="v"))), {})
    assert total(totals) == 10


def test_again_forgets_everything():
    """After a restart of the reading only the rows given then are in the sum."""
    totals = Totals()
    totals.apply(Changes(again=False, rows=(row(3),)), {})
    totals.apply(Changes(again=True, rows=(row(4, start=60),)), {})
    assert total(totals) == 4


def test_rows_that_may_be_rewritten_are_remembered_by_time_that_passed():
    """A row far ahead of the others, of a wrong clock, makes no other row be forgotten; time that passes does, so memory is bounded."""
    clock = FakeClock()
    totals = Totals(clock.monotonic)
    totals.apply(Changes(again=False, rows=(row(3),)), {})
    totals.apply(Changes(again=False, rows=(row(1, start=10**9, worker="ahead"),)), {})
    totals.apply(Changes(again=False, rows=(row(5),)), {})
    assert total(totals) == 6
    for minute in range(200):
        clock.advance(60)
        totals.apply(Changes(again=False, rows=(row(1, start=minute * 60, worker="x"),)), {})
        assert len(totals._rows) <= SETTLED_S / 60 + 3


def test_a_reader_that_sleeps_between_its_look_and_its_sum_counts_nothing_twice():
    """What was read before a long pause may be rewritten in what is read next: rows are remembered by when was read, not summed."""
    clock = FakeClock()
    totals = Totals(clock.monotonic)
    totals.apply(Changes(again=False, rows=(row(3),)), {})
    clock.advance(SETTLED_S + 1)  # stopped, after it has read that nothing is new
    totals.apply(Changes(again=False, rows=()), {})
    totals.apply(Changes(again=False, rows=(row(5),)), {})
    assert total(totals) == 5


def test_changed_edges_begin_again_and_counters_go_on():
    """A version that is configured anew: its histogram starts at the new edges, its counters continue, for who has seen both."""
    old, new = ModelSchema(latency=(1.0, 2.0)), ModelSchema(latency=(1.0, 3.0))
    totals = Totals()
    totals.apply(Changes(again=False, rows=(row(3, schema=old),)), {KEY: old})
    assert (total(totals), total(totals, DURATION)) == (3, 3)
    totals.apply(Changes(again=False, rows=(row(4, schema=new, worker="n"),)), {KEY: new})
    assert (total(totals), total(totals, DURATION)) == (7, 4)
    assert totals.tallies[KEY].fingerprints()[DURATION] == new.fingerprints[DURATION]
    # the old worker rewrites its row: its counters count, its histogram does not, and nothing falls below zero
    totals.apply(Changes(again=False, rows=(row(5, schema=old), row(6, schema=new, worker="n"))), {KEY: new})
    assert (total(totals), total(totals, DURATION)) == (11, 6)
    fresh = Totals()
    rows = (row(5, schema=old), row(6, schema=new, worker="n"))
    fresh.apply(Changes(again=False, rows=rows), {KEY: new})
    assert fresh.tallies[KEY].as_dict() == totals.tallies[KEY].as_dict()


def test_changed_edges_through_a_real_file(tmp_path):
    """The same with two workers of a rolling deploy that kept its version."""
    path, clock = tmp_path / "live.db", FakeClock()
    before = worker_at(path, clock, schema=ModelSchema(latency=(1.0,)))
    record(before, 5)
    assert commit(before)
    reader, totals = reader_at(path, clock), Totals(clock.monotonic)
    changes, host = reader.poll()
    totals.apply(changes, host.schemas)
    after = worker_at(path, clock, schema=ModelSchema(latency=(2.0,)))
    record(after, 2)
    assert commit(after)
    changes, host = reader.poll()
    totals.apply(changes, host.schemas)
    assert (total(totals), total(totals, DURATION)) == (7, 2)
    assert scraped(after) == 7
    assert scraped(after, "ml_request_duration_seconds_count") == 2
    assert scraped(before) == 7
    assert scraped(before, "ml_request_duration_seconds_count") == 5


def test_a_damaged_row_is_left_out_and_counted(tmp_path):
    """One row whose bytes are broken costs its own counts, on every page, and is said there; compaction keeps the number."""
    path, clock = tmp_path / "live.db", FakeClock(wall=1_700_000_040)
    workers = [worker_at(path, clock) for _ in range(3)]
    for worker in workers:
        record(worker, 5)
        assert commit(worker)
    assert scraped(workers[0], "modelwatch_live_damaged_rows") == 0
    db = sqlite3.connect(path)
    (broken,) = db.execute("SELECT tally FROM counts LIMIT 1").fetchone()
    with db:
        db.execute("UPDATE counts SET tally = ? WHERE worker = ?", (broken[:-3], workers[2].writer.worker))
    db.close()
    for reader in (worker_at(path, clock), worker_at(path, clock)):
        record(reader, 1)
        assert commit(reader)
        assert scraped(reader, "modelwatch_live_damaged_rows") == 1
        workers.append(reader)
    assert scraped(workers[3]) == 12
    for _ in range(20):
        clock.advance(61)
        for worker in workers:
            commit(worker)
            worker._compact()
    assert {w for (w,) in query(path, "SELECT worker FROM counts")} == {""}
    for worker in (workers[0], workers[3], workers[4], worker_at(path, clock)):
        assert scraped(worker, "modelwatch_live_damaged_rows") == 1
        assert worker.poll()[KEY].tables[REQUESTS].total() == 12


def test_a_newer_tally_is_left_out(monkeypatch):
    """A row that a newer version wrote is in no sum of ours, and no error."""
    monkeypatch.setattr("modelwatch.tally.LAYOUT", 99)
    newer = row(3)
    monkeypatch.undo()
    totals = Totals()
    totals.apply(Changes(again=False, rows=(newer,)), {})
    assert totals.damaged == 1


def test_newest_row_of_a_version():
    """The start of the newest row tells whether a version is still in use; base rows say nothing."""
    totals = Totals()
    totals.apply(
        Changes(again=False, rows=(row(1, start=120), row(1, start=60), row(9, start=0, span=0, worker=""))), {}
    )
    assert totals.newest == {KEY: 120}


def test_reading_costs_what_changed(tmp_path):
    """A poll brings the rows that changed since the last, no others."""
    path, clock = tmp_path / "live.db", FakeClock(wall=1_700_000_040)
    worker = worker_at(path, clock)
    reader = reader_at(path, clock)
    for _ in range(10):
        record(worker)
        assert commit(worker)
        clock.advance(60)
        commit(worker)  # the end of the minute
    changes, _ = reader.poll()
    assert changes.again
    assert len(changes.rows) == 10
    record(worker)
    assert commit(worker)
    changes, _ = reader.poll()
    assert (changes.again, len(changes.rows)) == (False, 1)
    assert reader.poll()[0] == Changes(again=False, rows=())


def test_gauges_are_summed_over_the_living(tmp_path):
    """Workers that reported within ten seconds count; a clock that runs ahead of ours by a reboot does not."""
    path, clock = tmp_path / "live.db", FakeClock()
    workers = [worker_at(path, clock) for _ in range(2)]
    for worker in workers:
        worker.recorders[KEY].busy.append(None)
        assert commit(worker)
    host = read_rows(path, clock)[1]
    assert (host.workers, host.gauges["m"]["in_progress"]) == (2, 2)
    assert host.oldest_beat_age_s == 0
    for shift in (11, -11):
        other = FakeClock(seconds=clock.seconds + shift)
        host = read_rows(path, other)[1]
        assert (host.workers, host.gauges, host.oldest_beat_age_s) == (0, {}, None)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE workers SET gauges = 'x'",
        "UPDATE workers SET gauges = '[]'",
        "UPDATE workers SET seen = 'late'",
        "UPDATE counts SET tally = 'text'",
        "UPDATE counts SET start = 'noon'",
        "UPDATE counts SET model = x'00ff'",
        "UPDATE counts SET seq = 'last'",
        "UPDATE state SET value = 'many' WHERE name = 'seq'",
        "DELETE FROM state",
        "DROP TABLE state",
        "DROP TABLE workers",
        "DROP TABLE counts",
        "ALTER TABLE counts RENAME COLUMN tally TO x",
        "UPDATE models SET schema = '{'",
    ],
)
def test_contents_of_other_types_cost_no_scrape_and_no_count(tmp_path, change):
    """Whatever somebody wrote into the tables: pages are answered, and within two commits own counts are kept in a sound file."""
    path, clock = tmp_path / "live.db", FakeClock(wall=1_700_000_040)
    workers = [worker_at(path, clock) for _ in range(2)]
    for worker in workers:
        record(worker, 5)
        assert commit(worker)
        assert scraped(worker) >= 5
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(change)
    db.close()
    for _ in range(3):
        clock.advance(1)
        for worker in workers:
            assert worker.scrape.render()
            record(worker, 1)
            commit(worker)
    for worker in workers:
        assert commit(worker)
        assert scraped(worker) == 16
        assert scraped(worker, "modelwatch_live_up") == 1
    assert worker_at(path, clock).poll()[KEY].tables[REQUESTS].total() == scraped(workers[0]) == scraped(workers[1])


def test_totals_take_a_tally_without_a_schema():
    """A version whose schema is not known is summed as it is."""
    tally = Tally([TableSchema("t")])
    tally.tables["t"].count((), 2)
    totals = Totals()
    for _ in range(2):
        totals.apply(Changes(again=False, rows=(Row(Key("x", "y"), 0, MINUTE, "w", tally.dump()),)), {})
    assert total(totals, "t", Key("x", "y")) == 2
