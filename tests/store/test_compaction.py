"""Compaction changes how counts are kept, never what they sum up to, and no reader sees a counter fall or rise by it."""

from __future__ import annotations

import random
import threading
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from counting import KEY, commit, read_rows, reader_at, record, scraped, worker_at
from modelwatch import names
from modelwatch.schema import ModelSchema
from modelwatch.store import compaction
from modelwatch.store.live import BASE, DAY, EVERYDAY, HOUR, MINUTE, Key, Spans, connect
from modelwatch.store.reader import Totals
from modelwatch.tally import Tally
from modelwatch.testing import FakeClock

REQUESTS = names.REQUESTS.name
NOON = 1_700_006_400 - 1_700_006_400 % DAY


def put(db, rows):
    """Insert rows (key, start, span, worker, n) as commits would, one number each."""
    for key, start, span, worker, n in rows:
        tally = Tally(ModelSchema().tables)
        tally.tables[REQUESTS].count(("/p",), n)
        tally.tables[names.CONFIDENCE.name].row(())
        tally.tables[names.CONFIDENCE.name].sums[0] = n / 8
        (seq,) = db.execute("UPDATE state SET value = value + 1 WHERE name = 'seq' RETURNING value").fetchone()
        db.execute(
            "INSERT OR REPLACE INTO counts (model, version, start, span, worker, host, seq, tally) VALUES (?,?,?,?,?,'h',?,?)",
            (*key, start, span, worker, seq, tally.dump()),
        )


def sums(db):
    """Return the counts of all rows, by version."""
    found = {}
    for model, version, blob in db.execute("SELECT model, version, tally FROM counts"):
        found.setdefault(Key(model, version), Tally()).add(Tally.load(blob))
    return {key: tally.as_dict() for key, tally in found.items()}


def spans(db):
    """Return how many rows there are of each span."""
    return Counter(span for (span,) in db.execute("SELECT span FROM counts"))


@pytest.fixture
def db(tmp_path):
    """An empty live.db."""
    db = connect(tmp_path / "live.db")
    yield db
    db.close()


def test_minutes_become_hours_days_and_base_at_their_age(db):
    """Workers' minutes are put together after 15 minutes; minutes to hours after a day, to days after 35 days, to base after 400."""
    put(db, [(KEY, NOON + 60 * i, MINUTE, w, 1) for i in range(120) for w in ("a", "b")])
    everything = sums(db)
    ages = {
        0: {MINUTE: 240},
        120 * MINUTE + 15 * MINUTE: {MINUTE: 120},
        DAY + HOUR - 1: {MINUTE: 120},
        DAY + HOUR: {MINUTE: 60, HOUR: 1},
        DAY + 2 * HOUR: {HOUR: 2},
        36 * DAY - 1: {HOUR: 2},
        36 * DAY: {DAY: 1},
        401 * DAY - 1: {DAY: 1},
        401 * DAY: {BASE: 1},
    }
    for age, expected in ages.items():
        compaction.compact(db, NOON + age)
        assert spans(db) == expected, age
        assert sums(db) == everything


def test_the_open_minutes_of_workers_are_left_alone(db):
    """No row that its worker may still rewrite is touched."""
    put(db, [(KEY, NOON + 60 * i, MINUTE, "a", 1) for i in range(60)])
    now = NOON + 3600
    compaction.compact(db, now)
    untouched = {start for start, worker in db.execute("SELECT start, worker FROM counts") if worker == "a"}
    assert untouched == {NOON + 60 * i for i in range(60) if NOON + 60 * i + 60 > now - 15 * MINUTE}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 500 * DAY),
            st.sampled_from([MINUTE, HOUR, DAY, BASE]),
            st.sampled_from("ab"),
            st.integers(0, 99),
            st.sampled_from([EVERYDAY, Spans.of(7), Spans.of(60)]),
        ),
        max_size=30,
    ),
    st.lists(st.tuples(st.integers(0, 1000 * DAY), st.sampled_from([EVERYDAY, Spans.of(60)])), min_size=1, max_size=5),
)
def test_no_set_of_rows_and_no_time_changes_the_sum(tmp_path_factory, rows, times):
    """For any rows, clock and scale of time, mixed in one file too: the sum of all rows stays, and so do the totals of readers that saw all, some or none of it."""
    path = tmp_path_factory.mktemp("live") / "live.db"
    db = connect(path)
    early, totals = reader_at(path), Totals()
    keys = [Key("m", "1"), Key("m", "2")]
    half = len(rows) // 2
    made = []
    for start, unscaled, worker, n, of in rows:
        span = of.seconds(unscaled)
        lone = worker if unscaled in (MINUTE, BASE) else ""
        made.append((keys[n % 2], start // span * span if span else 0, span, lone, n))
    put(db, made[:half])
    totals.apply(early.poll()[0], {})
    put(db, made[half:])
    everything = sums(db)
    for now, of in times:
        compaction.compact(db, float(NOON + now), of)
        assert sums(db) == everything
        totals.apply(early.poll()[0], {})
        fresh = Totals()
        fresh.apply(read_rows(path)[0], {})
        for found in (totals, fresh):
            assert {k: t.as_dict() for k, t in found.tallies.items()} == everything
    db.close()


def test_readers_that_have_seen_the_parts_do_not_begin_again(db, tmp_path):
    """Only a reader that has not seen all parts of a compacted row reads anew."""
    seen, half = reader_at(tmp_path / "live.db"), reader_at(tmp_path / "live.db")
    put(db, [(KEY, NOON, MINUTE, "a", 1)])
    half.poll()
    put(db, [(KEY, NOON, MINUTE, "b", 1)])
    seen.poll()
    compaction.compact(db, NOON + HOUR)
    assert seen.poll()[0] == (type(seen.poll()[0])(again=False, rows=()))
    changes, _ = half.poll()
    assert changes.again
    assert len(changes.rows) == 1


def test_most_rows_at_a_time(db, monkeypatch):
    """A long backlog is taken in parts, others can write in between, and an hour that is cut in two is whole in the end."""
    monkeypatch.setattr(compaction, "MOST_ROWS", 50)
    put(db, [(KEY, NOON + 60 * i, MINUTE, w, 1) for i in range(180) for w in ("a", "b")])
    everything, rounds = sums(db), 0
    while True:
        done = compaction.compact(db, NOON + 10 * DAY)
        assert sums(db) == everything
        assert done <= 5 * 50
        rounds += 1
        if not done:
            break
    assert spans(db) == {HOUR: 3}
    assert rounds >= 4


def test_other_edges_keep_the_counters(db):
    """An hour counted on two sets of edges: counters are whole, the histogram is that of the newest row."""
    old, new = ModelSchema(latency=(1.0,)), ModelSchema(latency=(2.0,))
    for i, schema in enumerate((old, new, old, new)):
        tally = Tally(schema.tables)
        tally.tables[REQUESTS].count(("/p",), 1)
        tally.tables[names.DURATION.name].row(("/p",))
        tally.tables[names.DURATION.name].counts[0, 0] = 1
        put(db, [(KEY, NOON + 60 * i, MINUTE, "a", 1)])
        db.execute("UPDATE counts SET tally = ? WHERE start = ?", (tally.dump(), NOON + 60 * i))
    compaction.compact(db, NOON + 2 * DAY)
    ((blob,),) = db.execute("SELECT tally FROM counts").fetchall()
    found = Tally.load(blob)
    assert found.tables[REQUESTS].total() == 4
    assert found.tables[names.DURATION.name].total() == 2
    assert found.fingerprints()[names.DURATION.name] == new.fingerprints[names.DURATION.name]


def test_workers_that_compact_at_once_while_readers_poll(tmp_path):
    """Three workers compact and commit, two read, all at the same time: no page ever falls, and the sum is exact."""
    path, clock = tmp_path / "live.db", FakeClock(wall=NOON)
    db = connect(path)
    put(db, [(KEY, NOON - DAY - 60 * i, MINUTE, f"w{i % 4}", 1) for i in range(600)])
    db.close()
    workers = [worker_at(path, clock) for _ in range(3)]
    readers = [worker_at(path, clock) for _ in range(2)]
    stop, seen, sent = threading.Event(), {0: [], 1: []}, Counter()

    def work(i):
        for _ in range(25):
            record(workers[i])
            sent[i] += 1
            while not commit(workers[i]):
                pass
            workers[i].writer._compacted = float("-inf")
            workers[i]._compact()

    def read(i):
        while not stop.is_set():
            seen[i].append(scraped(readers[i]))

    reading = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    working = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in (*reading, *working):
        thread.start()
    for thread in working:
        thread.join()
    stop.set()
    for thread in reading:
        thread.join()
    for pages in seen.values():
        assert pages == sorted(pages)
    assert scraped(readers[0]) == scraped(workers[0]) == 600 + sum(sent.values()) == 675


def test_a_month_of_a_busy_host_stays_small(tmp_path):
    """Rows do not pile up: after weeks there are the day's minutes, the hours and the days, no more."""
    path, clock, chance = tmp_path / "live.db", FakeClock(wall=NOON), random.Random(1)
    worker = worker_at(path, clock)
    n = 0
    for _ in range(600):
        clock.advance(chance.choice([61, 600, 7200, 40_000]))
        record(worker)
        n += 1
        assert commit(worker)
        worker._compact()
    days = (clock.wall - NOON) / DAY
    db = connect(path)
    rows = spans(db)
    db.close()
    assert days > 40
    assert rows[MINUTE] <= 26
    assert rows[HOUR] + rows[DAY] <= 600
    assert rows[DAY] >= days - 38
    assert scraped(worker) == n


def test_finding_what_is_due_does_not_read_the_counts(db):
    """The rows that are due are found by an index: compaction of a big file costs what is due, not what is kept."""
    plan = " ".join(
        str(line)
        for line in db.execute(
            "EXPLAIN QUERY PLAN SELECT rowid FROM counts WHERE span = 60 AND start <= 5 AND worker <> '' LIMIT 9"
        )
    )
    assert "counts_due" in plan
