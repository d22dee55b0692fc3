"""What traffic is normal, from the rows of a `live.db`: hours, gaps, models, and its words on the page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from alerts.life import SCHEMA, requests
from counting import add_model, commit, query, worker_at
from modelwatch.server.health import View
from modelwatch.server.panels import Panel, panels
from modelwatch.server.words import NBSP
from modelwatch.sources.render import status_lines
from modelwatch.sources.status import StatusSource
from modelwatch.sources.traffic import TrafficSource, usual_at, with_traffic
from modelwatch.store.live import Key
from modelwatch.testing import FakeClock

KEY, OTHER = Key("sentiment", "1"), Key("other", "1")
START = 1_700_002_800.0  # a whole hour of UTC
SCALE = 60.0  # an hour is a minute, so that weeks of rows are made in a moment
HOURS = 252  # a week and a half


class Host:
    """A worker that counts by the hour; `live.db` begins with its first."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.live = FakeClock(wall=START), folder / "live.db"
        self.worker = worker_at(self.live, self.clock, KEY, SCHEMA)
        self.worker.scale(SCALE)

    def hour(self, asked: int, key: Key = KEY, *, runs: bool = True) -> None:
        """Let an hour go by."""
        for event in requests(asked):
            self.worker.recorders[key].put(event)
        assert not runs or commit(self.worker)
        self.clock.advance(3600 / SCALE)

    def hours(self, n: int) -> None:
        """Let the first hours go by, with 20 requests in each."""
        for hour in range(n):
            self.hour(20)
            if hour == 0:  # what the file says of itself is of the real clock
                query(self.live, "UPDATE state SET value = ? WHERE name = 'began'", int(START))

    def status(self) -> dict[str, Any]:
        """Return the status in the next hour, in which 40 requests have come."""
        for event in requests(40):
            self.worker.recorders[KEY].put(event)
        assert commit(self.worker)
        self.clock.advance(2)
        source = StatusSource(self.live, time_scale=SCALE, clock=self.clock)
        found = source.read()
        source.close()
        return found

    def traffic(self) -> dict[str, dict[str, Any]]:
        """Return what is found after the rows of the last hour have come."""
        self.clock.advance(2)
        return TrafficSource(self.live, SCALE, self.clock).read()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host that has counted 20 requests an hour for a week and a half."""
    host = Host(tmp_path)
    host.hours(HOURS)
    return host


@pytest.mark.parametrize(
    ("asked", "state", "side"), [(20, "normal", ""), (90, "unusual", "high"), (3, "unusual", "low")]
)
def test_the_last_full_hour_is_judged_by_those_before(host: Host, asked: int, state: str, side: str) -> None:
    """It is beside 20 an hour, within a factor of three after ten days; what came after it is not in it."""
    host.hour(asked)
    ended = host.clock.now()
    for event in requests(500):
        host.worker.recorders[KEY].put(event)
    assert commit(host.worker)
    found = host.traffic()[KEY.model]
    assert (found["state"], found["side"], found["requests"]) == (state, side, asked)
    assert found["normal"] == pytest.approx(20)
    assert found["ended"] == ended


def test_an_hour_in_which_nobody_ran_is_not_zero_and_one_without_requests_is(host: Host) -> None:
    """Without a row of anybody nothing can be told; with one of another model there were no requests."""
    host.hour(0, runs=False)
    assert host.traffic()[KEY.model]["state"] == "cannot_tell"
    host.clock.advance(58)
    add_model(host.worker, OTHER, SCHEMA)
    host.hour(20, OTHER)
    found = host.traffic()
    assert (found[KEY.model]["requests"], found[KEY.model]["side"]) == (0, "low")
    assert (found[OTHER.model]["requests"], found[OTHER.model]["state"]) == (20, "learning")


def test_the_page_says_what_was_unusual(host: Host) -> None:
    """The panel of the rate has the hour, its normal and its band; of the past, and of a file that is gone, neither."""
    host.hour(90)
    read = host.status()
    told = "<b>Unusual:</b> <b>90</b> in the hour to "
    assert str(_words(read)[0]).startswith(told)
    assert "normal is about 20 (7 to 60)." in str(_words(read))
    assert told not in str(_words({**read, "range": {"to": START}}))
    assert "UNUSUAL: the last full hour: 90 requests this hour; normal is about 20" in "\n".join(status_lines(read))
    bare = {**read, "models": [{k: v for k, v in one.items() if k != "traffic"} for one in read["models"]]}
    gone = TrafficSource(host.live.parent, SCALE, host.clock)
    assert with_traffic(bare, gone) == bare == with_traffic(bare, None)


def test_what_is_usual_now_is_in_the_status_the_terminal_and_the_panel(host: Host) -> None:
    """Requests a second of this hour and those around it: in words, and behind the line of the last hour only."""
    host.hour(20)
    read = host.status()
    usual = read["models"][0]["traffic"]["usual"]
    ended = read["models"][0]["traffic"]["ended"]
    assert [(one["begin"], one["end"]) for one in usual] == [(ended + 60 * i, ended + 60 * i + 60) for i in (-1, 0, 1)]
    assert usual[1]["low"] == pytest.approx(20 / 3 / 60)
    assert usual[1]["high"] == pytest.approx(20 * 3 / 60)
    assert usual_at(read["models"][0]["traffic"], read["now"]) == usual[1]
    assert re.search(r"\n  Usual here +0\.11 to 1\.00 req/s at this hour of the week\n", "\n".join(status_lines(read)))
    assert f"Usual at this hour: 0.11 to 1.0{NBSP}req/s." in _words(read)
    assert 'class="usual"' in str(_rate(read).picture)
    past = {**read, "range": {"to": START}}
    assert "Usual" not in str(_words(past))
    assert 'class="usual"' not in str(_rate(past).picture)
    read["models"][0]["history"]["start"][0] -= 600
    assert 'class="usual"' not in str(_rate(read).picture), "it is not known of the hours before"


def test_in_the_first_week_there_is_not_a_word_of_it(tmp_path: Path) -> None:
    """Nothing on the page and in the terminal; the status says that it learns."""
    host = Host(tmp_path)
    host.hours(50)
    read = host.status()
    traffic = read["models"][0]["traffic"]
    assert (traffic["state"], traffic["words"], traffic["usual"]) == (
        "learning",
        "learning what is normal: 2 of 7 days",
        [],
    )
    for told in ("\n".join(status_lines(read)), str(_words(read)), str(_rate(read).picture)):
        assert "sual" not in told
        assert "learning" not in told


def test_of_two_versions_at_once_no_rate_is_usual(host: Host) -> None:
    """What is known is of both together, and each has its own panel."""
    host.hour(20)
    add_model(host.worker, Key(KEY.model, "2"), SCHEMA)
    for event in requests(5):
        host.worker.recorders[Key(KEY.model, "2")].put(event)
    read = host.status()
    assert len(read["models"]) == 2
    assert all(one["traffic"]["usual"] == [] for one in read["models"])


def _rate(status: dict[str, Any]) -> Panel:
    return panels(View(status, status["models"][0]))[0]


def _words(status: dict[str, Any]) -> list[Any]:
    return list(_rate(status).compare)
