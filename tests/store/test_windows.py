"""Running sums of the last minutes, hours and days equal a sum made anew, whatever came, was rewritten, compacted or left."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from modelwatch import names
from modelwatch.schema import ModelSchema
from modelwatch.store.live import BASE, DAY, EVERYDAY, HOUR, MINUTE, Key, Row, Spans
from modelwatch.store.reader import Changes
from modelwatch.store.windows import AHEAD_S, FINE_S, WINDOWS_S, Windows, first_start
from modelwatch.tally import Tally

KEY, OTHER = Key("m", "1"), Key("m", "2")
SCHEMA = ModelSchema(latency=(0.1, 1.0))
REQUESTS, DURATION = names.REQUESTS.name, names.DURATION.name
NOON = 1_700_006_400 - 1_700_006_400 % DAY


def tally(n, schema=SCHEMA):
    """Return counts of n requests."""
    found = Tally(schema.tables)
    found.tables[REQUESTS].count((f"/{n % 3}",), n)
    table = found.tables[DURATION]
    row = table.row(("/p",))
    table.counts[row, n % 2] += n
    table.sums[row] += n * 1000
    return found


def row(n, start, span=MINUTE, worker="w", key=KEY, schema=SCHEMA):
    """Return a row with counts of n requests."""
    return Row(key, start, span, worker, tally(n, schema).dump())


def news(*rows):
    """Return rows as a reader brings them."""
    return Changes(again=False, rows=rows)


def requests(windows, window_s, key=KEY):
    """Return the requests within a window."""
    table = windows.sum(key, window_s).tables.get(REQUESTS)
    return table.total() if table else 0


def naive(rows, now, window_s, key=KEY, schema=SCHEMA, minute=MINUTE):
    """Return the sum over the rows of a window, made anew."""
    total = Tally()
    for found in rows.values():
        if found.key == key and found.span != BASE and found.start <= now + AHEAD_S:
            if found.start + found.span > first_start(now, window_s, minute):
                total.add_matching(Tally.load(found.tally).matching(schema.fingerprints))
    return total


def test_a_window_holds_whole_minutes_and_the_open_one():
    """On the minute a window is exactly as long as its name; a row that ends at its edge is outside, one that begins there inside."""
    windows = Windows((300,))
    now = NOON + 600
    windows.apply(news(*[row(1, NOON + 60 * i) for i in range(11)]), now, {})
    assert requests(windows, 300) == 6  # five whole minutes, and the open one
    windows.apply(news(), now + 59.9, {})
    assert requests(windows, 300) == 6
    windows.apply(news(), now + 60, {})
    assert requests(windows, 300) == 5
    windows.apply(news(), now + 3600, {})
    assert requests(windows, 300) == 0
    assert windows.sum(KEY, 300).is_empty()


steps = st.lists(
    st.tuples(
        st.sampled_from(["minute", "rewrite", "late", "hour", "day", "tick", "sleep", "again", "back", "ahead"]),
        st.integers(1, 50),
        st.integers(0, 10**6),
    ),
    max_size=60,
)


@settings(max_examples=120, deadline=None)
@given(
    steps,
    st.sampled_from([WINDOWS_S, (300,), (DAY, 2 * DAY + 30 * MINUTE, 3 * DAY), (2 * DAY + 1, 40 * DAY)]),
    st.sampled_from([EVERYDAY, Spans.of(20), Spans.of(60)]),
)
def test_running_sums_equal_a_sum_made_anew(steps, sizes, spans):
    """Rows of two versions and several workers, new, rewritten, late, of hours and days; time that goes on, jumps and goes back; at any scale."""
    sizes = tuple(max(size * spans.minute // MINUTE, 1) for size in sizes)
    minute_s, hour_s, day_s = (spans.seconds(s) for s in (MINUTE, HOUR, DAY))
    windows, now, rows = Windows(sizes), float(NOON + 40 * DAY), {}
    schemas = {KEY: SCHEMA, OTHER: SCHEMA}
    for what, n, value in steps:
        changes = []
        key, worker = (KEY, OTHER)[value % 2], f"w{value % 3}"
        minute = int(now // minute_s) * minute_s
        if what == "minute":
            changes = [row(n, minute, minute_s, worker=worker, key=key)]
        elif what == "rewrite":
            young = [r for r in rows.values() if r.span == minute_s and now - r.start < spans.seconds(FINE_S) / 2]
            changes = [row(n, r.start, minute_s, worker=r.worker, key=r.key) for r in young[value % 5 :: 5]]
        elif what == "late":
            changes = [row(n, minute - minute_s * (value % 2000), minute_s, worker=worker, key=key)]
        elif what == "hour":
            changes = [row(n, int(now // hour_s - 1 - value % 900) * hour_s, hour_s, "", key)]
        elif what == "day":
            changes = [row(n, int(now // day_s - 1 - value % 45) * day_s, day_s, "", key), row(7, 0, BASE, "", key)]
        elif what == "ahead":
            changes = [row(n, minute + 60 * (2 + value % 90), minute_s, worker=worker, key=key)]
        elif what == "tick":
            now += value % (4 * minute_s)
        elif what == "sleep":
            now += value
        elif what == "back":
            now -= value % (2 * hour_s)
        oldest = first_start(now, max(sizes), minute_s)  # what is before is forgotten
        changes = [r for r in changes if (r.key, *r[1:4]) not in rows or what == "rewrite"]
        for found in changes:
            rows[found.key, found.start, found.span, found.worker] = found
        rows = {at: r for at, r in rows.items() if r.start + r.span > oldest}
        if what == "again":
            windows.apply(Changes(again=True, rows=tuple(rows.values())), now, schemas, spans)
        else:
            windows.apply(news(*changes), now, schemas, spans)
        for key in (KEY, OTHER):
            for size in sizes:
                assert windows.sum(key, size).as_dict() == naive(rows, now, size, key, minute=minute_s).as_dict(), (
                    what,
                    size,
                )


def test_compaction_by_others_is_not_seen(tmp_path):
    """A reader that follows live.db for three days, with a worker that compacts: its sums equal those of a fresh reader."""
    from counting import commit, read_rows, reader_at, record, worker_at
    from modelwatch.testing import FakeClock

    path, clock, chance = tmp_path / "live.db", FakeClock(wall=NOON), random.Random(3)
    workers = [worker_at(path, clock) for _ in range(2)]
    reader, windows = reader_at(path, clock), Windows()
    for step in range(150):
        clock.advance(chance.choice([60, 600, 3600]))
        for worker in workers:
            record(worker, chance.randrange(4))
            assert commit(worker)
            worker._compact()
        changes, host = reader.poll()
        assert changes.again == (step == 0)
        windows.apply(changes, clock.now(), host.schemas)
        if step % 30 == 29:
            fresh = Windows()
            changes, host = read_rows(path, clock)
            fresh.apply(changes, clock.now(), host.schemas)
            key = Key("m", "1")
            assert requests(fresh, 300, key) == requests(windows, 300, key)
            assert requests(fresh, HOUR, key) == requests(windows, HOUR, key)
            # compacted hours and days stick out over the edge of a longer window
            assert 0 <= requests(fresh, DAY, key) - requests(windows, DAY, key) <= 2 * 4 * 60
            assert requests(fresh, 30 * DAY, key) == requests(windows, 30 * DAY, key)


def test_rows_of_a_clock_that_was_wrong_wait_for_their_time():
    """Rows a year ahead, of a host whose clock was wrong at its start, are in no window until then."""
    windows = Windows((300, DAY))
    windows.apply(news(row(9, NOON + 365 * DAY), row(2, NOON)), NOON + 30, {})
    assert (requests(windows, 300), requests(windows, DAY)) == (2, 2)
    windows.apply(news(row(5, NOON + 365 * DAY)), NOON + 60, {})
    assert requests(windows, 300) == 2
    windows.apply(news(), NOON + 365 * DAY + 60, {})
    assert requests(windows, 300) == 5


def test_a_row_ahead_that_is_rewritten_when_its_time_has_come_counts_once():
    """A worker whose clock is two minutes ahead goes on to rewrite its row."""
    windows = Windows((300,))
    windows.apply(news(row(2, NOON + 120)), NOON, {})
    assert requests(windows, 300) == 0
    windows.apply(news(row(5, NOON + 120)), NOON + 60, {})
    assert requests(windows, 300) == 5
    windows.apply(news(), NOON + 600, {})
    assert windows.sum(KEY, 300).is_empty()


def test_time_that_goes_back_is_summed_anew():
    """After a step back, what lies ahead now leaves, and what is recent again comes back."""
    windows = Windows((300, DAY))
    windows.apply(news(row(1, NOON), row(2, NOON + 3600)), NOON + 3600, {})
    assert (requests(windows, 300), requests(windows, DAY)) == (2, 3)
    windows.apply(news(row(4, NOON + 60, worker="v")), NOON + 60, {})
    assert (requests(windows, 300), requests(windows, DAY)) == (5, 5)
    windows.apply(news(), NOON + 3600, {})
    assert requests(windows, DAY) == 7


def test_old_minutes_by_the_hour_leave_as_minutes_do():
    """A window that ends within an hour of old minutes, and minutes that come late for such an hour: the sums stay right."""
    size = FINE_S + 30 * MINUTE
    windows, rows = Windows((size, 3 * DAY)), {}
    for n in range(60):
        rows[n] = row(1, NOON + 60 * n)
    windows.apply(news(*rows.values()), NOON + 3600, {})
    for step in range(0, 3 * 60, 7):
        now = NOON + FINE_S + step * MINUTE
        late = row(3, NOON + 60 * (step % 60), worker=f"late {step}")
        rows[-step - 1] = late
        windows.apply(news(late), now, {})
        for window_s in windows.windows_s:
            assert windows.sum(KEY, window_s).as_dict() == naive(rows, now, window_s).as_dict(), (step, window_s)
    assert len(windows._rows[KEY]) < 60
    for step in range(0, 4 * 60, 13):
        now = NOON + 3 * DAY - HOUR + step * MINUTE
        windows.apply(news(), now, {})
        if now < NOON + 3 * DAY or now > NOON + 3 * DAY + HOUR:  # an hour leaves as a whole
            assert windows.sum(KEY, 3 * DAY).as_dict() == naive(rows, now, 3 * DAY).as_dict(), step
    assert windows.sum(KEY, 3 * DAY).is_empty()


def test_other_edges_are_left_out_and_taken_in():
    """A changed configuration: histograms are summed again on the new edges, counters keep everything."""
    new = ModelSchema(latency=(0.2, 1.0))
    windows = Windows((300,))
    windows.apply(news(row(3, NOON), row(5, NOON, worker="n", schema=new)), NOON, {KEY: SCHEMA})
    assert windows.sum(KEY, 300).tables[DURATION].total() == 3
    windows.apply(news(), NOON, {KEY: new})
    assert windows.sum(KEY, 300).tables[DURATION].total() == 5
    assert requests(windows, 300) == 8
    windows.apply(news(row(6, NOON, schema=SCHEMA)), NOON + 60, {KEY: new})
    assert (requests(windows, 300), windows.sum(KEY, 300).tables[DURATION].total()) == (11, 5)
    windows.apply(news(), NOON + 600, {KEY: new})
    assert windows.sum(KEY, 300).is_empty()


def test_damaged_rows_count_nothing():
    """A row that cannot be read is nothing, when it comes, is rewritten and leaves."""
    windows = Windows((300,))
    bad = Row(KEY, NOON, MINUTE, "w", b"damaged")
    windows.apply(news(bad), NOON, {})
    windows.apply(news(row(3, NOON)), NOON, {})
    assert requests(windows, 300) == 3
    windows.apply(news(bad), NOON, {})
    assert requests(windows, 300) == 0
    windows.apply(news(), NOON + 6000, {})
    assert requests(windows, 300) == 0


def test_minutes_for_charts():
    """Counts by minute since a time, over all workers."""
    windows = Windows((HOUR,))
    windows.apply(news(*[row(1, NOON + 60 * i, worker=w) for i in range(5) for w in "ab"]), NOON + 300, {})
    found = windows.minutes(KEY, NOON + 120)
    assert list(found) == [NOON + 120, NOON + 180, NOON + 240]
    assert [t.tables[REQUESTS].total() for t in found.values()] == [2, 2, 2]
    assert windows.keys() == [KEY]


def test_memory_is_flat_over_forty_days():
    """Old minutes are kept by the hour, and what is in no window is forgotten: a month of minutes costs no more than it did."""
    windows, sizes = Windows(), []
    steps_a_day, workers = 48, 2
    for step in range(40 * steps_a_day):
        start = NOON + step * DAY // steps_a_day
        rows = [row(1 + step % 7, start, worker=f"w{i}") for i in range(workers)]
        windows.apply(news(*rows), start + 30, {KEY: SCHEMA})
        if step % steps_a_day == 0 and step > 31 * steps_a_day:
            held = windows._rows[KEY]
            inside = sum(len(found) for found in windows._inside.values())
            sizes.append((len(held), sum(map(len, held.values())), inside, len(windows._ahead)))
    most, least = (tuple(map(edge, zip(*sizes, strict=True))) for edge in (max, min))
    assert all(high - low <= 0.01 * high for high, low in zip(most, least, strict=True))
    assert most[0] <= 30 * 24 + 24 + 2 * steps_a_day * workers
