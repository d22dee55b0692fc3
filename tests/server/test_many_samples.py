"""A million samples that wait for a label: the page of the reviewer and its API are as quick as with three."""

from __future__ import annotations

import sqlite3
import time
import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from modelwatch.groundtruth.reviewers import MOST_COUNTED
from server.test_pages import told
from server.test_review import Browser, Host

MANY = 1_000_000
FILL = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
INSERT INTO samples (request_id, model, version, predicted_at, prediction, confidence, inclusion, revisions, counted, input)
SELECT printf('%032x', i), 'm', '1', ? + i / 100.0, '"positive"', 0.8, 0.5, 0, 0, 'text ' || i FROM n
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Return a service with a million samples of the last hours, put into its store by one statement."""
    made = Host(tmp_path_factory.mktemp("many"))
    made.store.database.open()
    with sqlite3.connect(made.store.database.path or "") as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -300000")
        connection.execute(FILL, (MANY, time.time() - 20_000))
    connection.close()
    yield made
    made.monitor.close()


@pytest.fixture(scope="module")
def reading_all(host: Host) -> float:
    """Return the seconds in which all samples can be read: the measure of what must not depend on how many there are."""
    with sqlite3.connect(host.store.database.path or "") as connection:
        took = quickest(lambda: connection.execute("SELECT sum(length(input)) FROM samples").fetchall())
    connection.close()
    return took


def quickest(work: Callable[[], object]) -> float:
    """Return the seconds that it takes, the least of five: others use this machine, too."""
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return min(took)


def test_the_next_sample_comes_at_once(host: Host, reading_all: float) -> None:
    """Claimed, labelled and taken back through the desk without a look at all of them, and each time another one."""
    turn = host.desk.turn("m", "ann")
    assert turn.sample is not None
    assert turn.sample.input
    assert quickest(lambda: host.desk.turn("m", "ann")) < reading_all / 2
    assert quickest(lambda: host.desk.turn("m", f"reviewer {time.perf_counter()}")) < reading_all / 2
    seen = set()

    def label() -> None:
        held = host.desk.turn("m", "eve").sample
        assert held is not None
        seen.add(held.input)
        assert host.desk.label("m", "eve", held.request_id, "negative") == "matched"

    assert quickest(label) < reading_all
    assert len(seen) == 5
    assert quickest(lambda: host.desk.undo("m", "eve")) < reading_all / 2


def test_page_and_api_say_how_many_at_least(host: Host, reading_all: float) -> None:
    """More than is counted is said to be more, on the page and in the API; neither reads all of them."""
    browser = Browser(host.app, "ana")
    assert f"over {MOST_COUNTED:,} waiting" in told(browser.page)
    assert f"{MOST_COUNTED + 1:,}" not in told(browser.page)
    answer = browser.send("GET", "/api/review?model=m").json()
    assert (answer["waiting"], answer["more_waiting"]) == (MOST_COUNTED, True)
    assert quickest(lambda: browser.send("GET", "/api/review?model=m")) < reading_all
    assert quickest(lambda: browser.get("/review?model=m")) < reading_all


def test_they_are_never_all_in_memory(host: Host) -> None:
    """A page of a million costs less than two megabytes while it is made."""
    browser = Browser(host.app, "bob")
    tracemalloc.start()
    try:
        browser.get("/review?model=m")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
