"""A dead feed reads as dead: within two windows every derived number is 0 or absent, never the last value (RELIABILITY 20)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from counting import KEY, close_everything, commit, page_values, record, worker_at
from differential import START, Replay, prometheus_of
from modelwatch import names
from modelwatch.config import Config, ModelConfig, Service
from modelwatch.schema import ModelSchema, latency_edges
from modelwatch.serve.looks import LEAST_SILENT_S, LiveLooks
from modelwatch.signals import SIGNALS, Objectives
from modelwatch.sources.status import WINDOW_S, StatusSource
from modelwatch.store.live import MINUTE
from modelwatch.store.writer import DEAD_S
from modelwatch.testing import FakeClock, TornFile
from support import require

RATE_WINDOW_S = 60  # of the throughput gauge
OBJECTIVES = Objectives(latency_threshold_s=0.2, latency_objective=0.95, error_objective=0.99)
SCHEMA = ModelSchema(latency=latency_edges([0.2]), classes=("a", "b"))
FAILED = ("/p", 0.5, "TimeoutError", None, "a", 0.4, None)
#: what a process uses of its machine is no number of the traffic
OF_THE_MACHINE = ("modelwatch_process_", "modelwatch_gpu_", names.FLUSH_LAG.name)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Close what the workers of a test have opened."""
    yield
    close_everything()


@pytest.fixture
def clock() -> FakeClock:
    """The clock of workers and readers; a file knows by the system's own when it began."""
    return FakeClock(wall=time.time())


def gauges(page: bytes) -> dict[Any, float]:
    """Return the gauges of a page."""
    named = {m.name for m in vars(names).values() if isinstance(m, names.Metric) and m.kind == "gauge"}
    values = page_values(page).items()
    return {at: v for at, v in values if at[0] in named and not at[0].startswith(OF_THE_MACHINE)}


def of_traffic(found: dict[Any, float]) -> list[float]:
    """Return what the gauges that follow the traffic show."""
    return [v for (name, _), v in found.items() if name in (names.THROUGHPUT.name, names.IN_PROGRESS.name)]


def traffic(worker: Any, clock: FakeClock, seconds: int) -> None:
    """Let requests come for a while, and three be in progress."""
    for _ in range(seconds):
        clock.advance(1)
        record(worker, 4)
        record(worker, event=FAILED)
        assert commit(worker)
    worker.recorders[KEY].busy.extend([None] * 3)
    clock.advance(2)
    assert commit(worker)


def quiet(worker: Any, clock: FakeClock, seconds: int) -> None:
    """Let the requests in progress end, and nobody come for a while."""
    worker.recorders[KEY].busy.clear()
    for _ in range(seconds):
        clock.advance(1)
        commit(worker)


def test_gauges_of_a_silent_service_are_those_of_one_that_was_never_asked(tmp_path: Path, clock: FakeClock) -> None:
    """Two windows after the last request, no gauge of the page remembers the traffic."""
    worker = worker_at(tmp_path / "live.db", clock, schema=SCHEMA)
    assert commit(worker)
    before = gauges(worker.scrape.render())
    traffic(worker, clock, 90)
    assert all(of_traffic(gauges(worker.scrape.render())))
    quiet(worker, clock, 2 * RATE_WINDOW_S)
    assert gauges(worker.scrape.render()) == before
    assert of_traffic(before) == [0, 0]


def test_gauges_of_a_worker_that_died_are_gone(tmp_path: Path, clock: FakeClock) -> None:
    """A worker is killed with requests in progress: the pages of the others show nothing of it ten seconds later."""
    worker, other = (worker_at(tmp_path / "live.db", clock, schema=SCHEMA) for _ in range(2))
    traffic(worker, clock, 90)
    assert commit(other)
    assert all(of_traffic(gauges(other.scrape.render())))
    worker.writer._forget_connection()
    clock.advance(DEAD_S + 1)
    assert commit(other)
    assert of_traffic(gauges(other.scrape.render())) == [0, 0]


@pytest.mark.parametrize(("time_scale", "silent_s"), [(1, DEAD_S), (2, DEAD_S / 2), (60, LEAST_SILENT_S)])
def test_a_worker_that_gives_no_sign_does_not_report(
    tmp_path: Path, clock: FakeClock, time_scale: float, silent_s: float
) -> None:
    """Metrics are absent as soon as in a stack: ten seconds after the last sign, scaled, but never between two signs."""
    path = tmp_path / "live.db"
    worker, other = (worker_at(path, clock, schema=SCHEMA) for _ in range(2))
    record(worker)
    assert commit(worker)
    model = ModelConfig(name=KEY.model, version=KEY.version, task="classification", classes=("a", "b"))
    config = Config(service=Service(name="s"), models={KEY.model: model}, time_scale=time_scale)
    looks = LiveLooks(config, path, clock)

    def reports() -> bool | None:
        return looks.take({})[KEY.model].facts.reporting

    assert reports()
    clock.advance(silent_s - 0.5)
    assert reports()
    assert commit(other)  # one of them is enough
    clock.advance(silent_s - 0.5)
    assert reports()
    clock.advance(1)
    assert reports() is False
    looks.close()


def delete(path: Path) -> None:
    """Take a file away, with its log."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def tear(path: Path) -> None:
    """Put garbage in the place of a file and its log."""
    delete(path)
    path.touch()
    TornFile(path).garbage()


UNREADABLE = [delete, tear]


@pytest.mark.parametrize("damage", UNREADABLE)
def test_gauges_of_a_file_that_cannot_be_read_are_absent(
    tmp_path: Path, clock: FakeClock, damage: Callable[[Path], None]
) -> None:
    """Nobody knows what the workers do: the page does not go on to show what they did. Counters stay, and come back."""
    path = tmp_path / "live.db"
    worker = worker_at(path, clock, schema=SCHEMA)
    traffic(worker, clock, 90)
    page = worker.scrape.render()
    damage(path)
    worker.recorders[KEY].busy.clear()
    clock.advance(DEAD_S + 1)
    after = worker.scrape.render()
    assert of_traffic(gauges(after)) == []
    assert {at: v for at, v in page_values(page).items() if at[0] == names.REQUESTS.name}.items() <= page_values(
        after
    ).items()
    for _ in range(3):
        clock.advance(1)
        commit(worker)
    assert len(of_traffic(gauges(worker.scrape.render()))) == 2


def alive(status: dict[str, Any]) -> set[str]:
    """Return which numbers of the first model still tell something."""
    model = status["models"][0]
    found = {r["signal"] for r in model["readings"] if r["value"] or r["outcome"] == "firing"}
    return found | {name for name in ("in_progress", "throughput", "p50_s", "slow", "failed") if model["details"][name]}


def test_the_state_of_a_silent_service_tells_nothing(tmp_path: Path, clock: FakeClock) -> None:
    """Readings, details and the end of the history are 0 or undefined, and nothing is said to be ok."""
    worker = worker_at(tmp_path / "live.db", clock, schema=SCHEMA)
    source = StatusSource(tmp_path / "live.db", clock=clock, objectives={KEY.model: OBJECTIVES})
    traffic(worker, clock, 6 * MINUTE)
    assert alive(source.read()) == {*SIGNALS, "in_progress", "throughput", "p50_s", "slow", "failed"}
    quiet(worker, clock, 2 * WINDOW_S)
    status = source.read()
    assert alive(status) == set()
    outcomes = {r["signal"]: (r["value"], r["outcome"]) for r in status["models"][0]["readings"]}
    assert outcomes.pop("request_rate") == (0, "cannot_tell")
    assert set(outcomes.values()) == {(None, "cannot_tell")}
    history = status["models"][0]["history"]
    newest = [history[name][-5:] for name in ("error_ratio", "slow_ratio", "p95_s")] + [
        values[-5:] for values in history["share"].values()
    ]
    assert newest == [[None] * 5] * len(newest)
    assert history["request_rate"][-5:] == [0] * 5
    source.close()


@pytest.mark.parametrize("damage", UNREADABLE)
def test_the_state_of_an_unreadable_file_tells_nothing(
    tmp_path: Path, clock: FakeClock, damage: Callable[[Path], None]
) -> None:
    """The file is lost under the reader: it says so, and two windows later it has no number any more, nor a living worker."""
    worker = worker_at(tmp_path / "live.db", clock, schema=SCHEMA)
    source = StatusSource(tmp_path / "live.db", clock=clock, objectives={KEY.model: OBJECTIVES})
    traffic(worker, clock, 6 * MINUTE)
    assert alive(source.read())
    damage(tmp_path / "live.db")
    clock.advance(2 * WINDOW_S)
    status = source.read()
    assert status["live"]["kept"] is False
    assert alive(status) == set()
    assert status["workers"]["alive"] == 0
    assert status["data_age_s"] > 2 * WINDOW_S - DEAD_S
    source.close()


def test_prometheus_reads_a_dead_feed_as_dead(tmp_path: Path) -> None:
    """Every signal, by its PromQL in a real Prometheus and by ours: two windows after the last request 0 or no result."""
    require("prometheus")
    window_s, last, length = 300, 15 * MINUTE, 30 * MINUTE

    def events(second: int, _replica: int, _chance: random.Random) -> list[tuple[Any, ...]]:
        return [("/predict", 0.05, None, None, "a", 0.9, None)] * 9 + [FAILED] if second <= last else []

    replay = Replay(SCHEMA, events, length, ("1", "1"), {}, seed=1)
    with prometheus_of(replay, tmp_path, require("promtool")) as server:
        for name, signal in SIGNALS.items():
            expression = signal.promql("", f"{window_s}s", OBJECTIVES)
            assert expression is not None
            assert any(server.query(expression, START + last).values()), name
            assert not any(server.query(expression, START + last + 2 * window_s).values()), name
            ours = replay.readings(signal, window_s, OBJECTIVES)
            assert any(reading.value for reading in ours[START + last]), name
            assert not any(reading.value for reading in ours[START + last + 2 * window_s]), name
