"""What traffic is normal, from the rows of a `live.db`: hours, gaps, models, and its words on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alerts.life import SCHEMA, requests
from counting import add_model, commit, query, worker_at
from modelwatch.server.health import View
from modelwatch.server.panels import panels
from modelwatch.sources.history import HistorySource
from modelwatch.sources.status import StatusSource
from modelwatch.sources.traffic import TrafficSource, with_traffic
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

    def traffic(self) -> dict[str, dict[str, Any]]:
        """Return what is found after the rows of the last hour have come."""
        self.clock.advance(2)
        return TrafficSource(self.live, SCALE, self.clock).read()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host that has counted 20 requests an hour for a week and a half."""
    host = Host(tmp_path)
    for hour in range(HOURS):
        host.hour(20)
        if hour == 0:  # what it says of itself is of the real clock
            query(host.live, "UPDATE state SET value = ? WHERE name = 'began'", int(START))
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


def test_the_page_says_what_is_normal(host: Host) -> None:
    """The panel of the rate has the hour, its normal and its band; of the past, and of a file that is gone, neither."""
    host.hour(90)
    for event in requests(40):
        host.worker.recorders[KEY].put(event)
    assert commit(host.worker)
    host.clock.advance(2)
    history = HistorySource(host.live, time_scale=SCALE, clock=host.clock)
    read = StatusSource(host.live, time_scale=SCALE, clock=host.clock).read()
    read = {**read, "models": [one for one in read["models"] if one["name"] == KEY.model]}
    told = "<b>Unusual:</b> <b>90</b> in the hour to "
    assert told in str(_words(with_traffic(read, history.traffic)))
    assert "normal is about 20 (7 to 60)." in str(_words(with_traffic(read, history.traffic)))
    assert told not in str(_words({**with_traffic(read, history.traffic), "range": {"to": START}}))
    gone = TrafficSource(host.live.parent, SCALE, host.clock)
    assert with_traffic(read, gone) == read == with_traffic(read, None)


def _words(status: dict[str, Any]) -> list[Any]:
    rate, *_ = panels(View(status, status["models"][0]))
    return list(rate.compare)
