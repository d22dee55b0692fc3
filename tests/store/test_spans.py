"""Where time is scaled, rows are as short as its minute: windows let go when they should, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from counting import KEY, commit, query, read_rows, reader_at, record, scraped, worker_at
from modelwatch import names
from modelwatch.groundtruth import fleet
from modelwatch.groundtruth.store import Store
from modelwatch.store.live import DAY, EVERYDAY, HOUR, MINUTE, Spans
from modelwatch.store.reader import LiveReader
from modelwatch.store.windows import Windows
from modelwatch.testing import FakeClock

FAST = 60.0
NOON = 1_700_006_400 - 1_700_006_400 % DAY


def requests(windows: Windows, window_s: int) -> int:
    """Return the requests within a window."""
    table = windows.sum(KEY, window_s).tables.get(names.REQUESTS.name)
    return table.total() if table else 0


@pytest.mark.parametrize(
    ("scale", "minute"),
    [(0.5, 60), (1, 60), (1.01, 60), (2, 30), (7, 9), (59, 2), (60, 1), (86_400, 1)],
)
def test_the_minute_of_a_scale(scale: float, minute: int) -> None:
    """A minute divided by the scale, in whole seconds, at least one, never longer than 60; the rest follows from it."""
    spans = Spans.of(scale)
    assert (spans.minute, spans.seconds(HOUR), spans.seconds(DAY)) == (minute, 60 * minute, 1440 * minute)
    assert spans.seconds(0) == 0


@pytest.mark.parametrize(
    ("said", "found"),
    [({}, EVERYDAY), ({"minute": 5}, Spans(5)), ({"minute": 0}, EVERYDAY), ({"minute": 61}, EVERYDAY)],
)
def test_what_a_file_says(said: dict[str, int], found: Spans) -> None:
    """A file that says nothing, or nothing that could be a minute, has minutes of 60 seconds."""
    assert Spans.kept(said) == found


def test_a_window_of_five_seconds_is_empty_six_seconds_later(tmp_path: Path) -> None:
    """Five minutes at sixty times the speed: what is counted leaves its window after five to six seconds, to the last one."""
    clock = FakeClock(wall=NOON)
    worker = worker_at(tmp_path / "live.db", clock)
    worker.scale(FAST)
    windows, reader = Windows((5,)), LiveReader(tmp_path / "live.db", clock.monotonic)
    inside = {}
    for second in range(12):
        if second < 3:
            record(worker, 10)
        assert commit(worker)
        changes, host = reader.poll()
        windows.apply(changes, clock.now(), host.schemas, host.spans)
        inside[second] = requests(windows, 5)
        clock.advance(1)
    reader.close()
    assert host.spans == Spans(1)
    assert [inside[second] for second in (0, 2, 5, 6, 7)] == [
        10,
        30,
        30,
        10,
        0,
    ]  # what came between two commits is of the first
    assert {span for (span,) in query(tmp_path / "live.db", "SELECT span FROM counts")} == {1}


def test_a_file_of_unscaled_time_says_nothing_of_it(tmp_path: Path) -> None:
    """A service that scales nothing writes the rows and states that every version before wrote."""
    clock = FakeClock(wall=NOON)
    worker = worker_at(tmp_path / "live.db", clock)
    worker.scale(1)
    record(worker)
    assert commit(worker)
    assert query(tmp_path / "live.db", "SELECT span FROM counts") == [(MINUTE,)]
    assert query(tmp_path / "live.db", "SELECT * FROM state WHERE name = 'minute'") == []


def test_a_file_goes_on_at_another_scale(tmp_path: Path) -> None:
    """Scaled, unscaled and scaled again, in one file and in the middle of a minute: each event counts once, in its time."""
    path, clock = tmp_path / "live.db", FakeClock(wall=NOON + 7)
    worker, reader = worker_at(path, clock), reader_at(path)
    n = 0
    for scale in (1.0, FAST, 20.0, 1.0, FAST):
        worker.scale(scale)
        for _ in range(3):
            record(worker)
            n += 1
            assert commit(worker)
            assert scraped(worker) == n
            clock.advance(0.4)
        changes, host = read_rows(path)
        assert host.spans == Spans.of(scale)
        windows = Windows((60, 300))
        windows.apply(changes, clock.now(), host.schemas, host.spans)
        assert requests(windows, 300) == n
    assert {row.span for row in reader.poll()[0].rows} == {60, 3, 1}
    assert scraped(worker_at(path, clock)) == n


def test_a_scaled_month_has_as_many_rows_as_a_month(tmp_path: Path) -> None:
    """Forty days at sixty times the speed, compaction included: sums stay, and there are the day's minutes, the hours and the days."""
    path, clock = tmp_path / "live.db", FakeClock(wall=NOON)
    worker = worker_at(path, clock)
    worker.scale(FAST)
    for n in range(1, 601):
        clock.advance((1, 10, 120, 400)[n % 4])
        record(worker)
        assert commit(worker)
        worker.writer._compacted = float("-inf")
        worker._compact()
    spans = Spans.of(FAST)
    rows = dict(query(path, "SELECT span, count(*) FROM counts GROUP BY span"))
    assert (clock.wall - NOON) / spans.seconds(DAY) > 40
    assert rows[spans.minute] <= 60
    assert rows[spans.seconds(DAY)] >= 10
    assert set(rows) == {spans.minute, spans.seconds(HOUR), spans.seconds(DAY)}
    assert scraped(worker) == 600
    assert scraped(worker_at(path, clock)) == 600


def test_rows_of_a_scale_that_is_gone_are_summed_up_in_the_end(tmp_path: Path) -> None:
    """What was counted at another scale leaves no row behind for ever: it goes to the base row after 400 days."""
    path, clock = tmp_path / "live.db", FakeClock(wall=NOON)
    worker = worker_at(path, clock)
    worker.scale(20)
    for _ in range(50):
        record(worker)
        assert commit(worker)
        clock.advance(3)
    worker.scale(1)
    for _ in range(3):
        clock.advance(401 * DAY)
        record(worker)
        assert commit(worker)
        worker._compact()
    assert query(path, "SELECT count(*) FROM counts WHERE span = 3") == [(0,)]
    assert scraped(worker) == scraped(worker_at(path, clock)) == 53


def test_a_fleet_is_told_of_scaled_minutes(tmp_path: Path) -> None:
    """Closed rows of a scaled host are copied into the store as they are, summed up to hours later, and none is lost."""
    path, clock = tmp_path / "live.db", FakeClock(wall=NOON)
    worker, store = worker_at(path, clock), Store(f"sqlite:///{tmp_path / 'store.db'}")
    worker.scale(FAST)
    try:
        for _ in range(30):
            record(worker)
            assert commit(worker)
            clock.advance(1)
        clock.advance(60)
        while fleet.copy_closed(store.database, path, clock.now(), "one"):
            pass
        copied = fleet.by_host(store.database, NOON, clock.now())["one"][KEY]
        assert copied.tables[names.REQUESTS.name].total() == 30
        fleet.compact(store.database, NOON + 2 * DAY)
        summed = fleet.by_host(store.database, NOON, NOON + HOUR)["one"][KEY]
        assert summed.as_dict() == copied.as_dict()
    finally:
        store.close()
