"""The history of other ranges: the same numbers as those of the last hour, over longer steps, and in the past."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerts.life import SCHEMA, requests
from counting import commit, query, worker_at
from modelwatch.sources.history import RANGES, HistorySource, with_history
from modelwatch.sources.status import StatusSource
from modelwatch.store.live import Key
from modelwatch.testing import FakeClock

KEY = Key("sentiment", "1")
START = 1_700_000_040.0
HOURS = 8


@pytest.fixture
def host(tmp_path: Path) -> tuple[Path, FakeClock]:
    """Return a `live.db` of eight hours: ten requests in every tenth minute, half of them failed in the third hour."""
    clock = FakeClock(wall=START)
    worker = worker_at(tmp_path / "live.db", clock, KEY, SCHEMA)
    for minute in range(HOURS * 60):
        if minute % 10 == 0:
            for event in requests(10, failed=5 if minute // 60 == 2 else 0):
                worker.recorders[KEY].put(event)
        assert commit(worker)
        clock.advance(60)
    query(
        tmp_path / "live.db", "UPDATE state SET value = ? WHERE name = 'began'", int(START)
    )  # it is of the real clock
    return tmp_path / "live.db", clock


def test_an_hour_is_the_same_as_the_page_without_a_range(host: tuple[Path, FakeClock]) -> None:
    """Every series of it, step by step."""
    live, clock = host
    status = StatusSource(live, clock=clock).read()
    (shown,) = [one["history"] for one in status["models"]]
    found = HistorySource(live, clock=clock).read("1h")["sentiment", "1"]
    assert found["step_s"] == shown["step_s"] == 60
    assert found["start"] == shown["start"]
    assert {name: found[name] for name in ("request_rate", "error_ratio", "slow_ratio", "p95_s")} == {
        name: shown[name] for name in ("request_rate", "error_ratio", "slow_ratio", "p95_s")
    }
    assert {name: values for name, values in found["share"].items() if any(values)} == {
        name: values for name, values in shown["share"].items() if any(values)
    }


def test_longer_ranges_hold_every_request_and_the_past_ends_where_it_was_asked(host: tuple[Path, FakeClock]) -> None:
    """Rate times step sums to what was counted; the third hour is bad, and only there; before the first count is nothing."""
    live, clock = host
    source = HistorySource(live, clock=clock)
    day = source.read("24h")["sentiment", "1"]
    known = [rate for rate in day["request_rate"] if rate is not None]
    assert sum(rate * day["step_s"] for rate in known) == pytest.approx(HOURS * 60, rel=0.1)
    assert day["request_rate"][0] is None
    bad = [start for start, ratio in zip(day["start"], day["error_ratio"], strict=True) if ratio]
    assert all(START + 2 * 3600 - day["step_s"] <= start < START + 3 * 3600 for start in bad)
    assert bad
    past = source.read("1h", START + 3 * 3600)["sentiment", "1"]
    assert past["start"][-1] < START + 3 * 3600 <= past["start"][-1] + 2 * past["step_s"]
    assert max(ratio for ratio in past["error_ratio"] if ratio is not None) == 0.5
    future = source.read("1h", START + 1e9)["sentiment", "1"]
    assert future["start"][-1] <= clock.now()


def test_every_range_has_a_readable_number_of_steps(host: tuple[Path, FakeClock]) -> None:
    """At most 90 points a chart, also where rows are coarser than the step."""
    source = HistorySource(host[0], clock=host[1])
    for name in RANGES:
        assert 24 <= len(source.read(name)["sentiment", "1"]["start"]) <= 90


def test_a_status_says_which_range_it_has_and_why_it_has_none(tmp_path: Path, host: tuple[Path, FakeClock]) -> None:
    """A range that nobody knows is none; a file that cannot be read is said, and the last hour stays."""
    status = {"models": [{"name": "sentiment", "version": "1", "history": {"step_s": 60}}]}
    source = HistorySource(host[0], clock=host[1])
    assert with_history(status, source, "1y", None) == with_history(status, None, "6h", None) == status
    found = with_history(status, source, "6h", None)
    assert (found["range"]["range"], found["models"][0]["history"]["step_s"]) == ("6h", 300)
    assert with_history(status, source, None, START + 3600)["range"]["range"] == "1h"
    (tmp_path / "torn.db").write_bytes(b"no database" * 100)
    torn = with_history(status, HistorySource(tmp_path / "torn.db"), "6h", None)
    assert torn["range"]["reason"]
    assert torn["models"] == status["models"]
