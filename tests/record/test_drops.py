"""What is given up is seen by whoever asks for the page next, also while the counting is blocked (RELIABILITY 8)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from counting import EVENT, KEY, commit, record, scraped, worker_at
from modelwatch import names
from modelwatch.record import recorder as recorder_module
from modelwatch.record.recorder import MOST
from modelwatch.record.worker import Worker
from modelwatch.testing import FakeClock, StuckStore

ABANDONED, EVENTS = names.ABANDONED.name, names.EVENTS.name


@contextlib.contextmanager
def blocked(worker: Worker) -> Iterator[None]:
    """Let another thread be inside a fold that does not end, as the code of a value may be."""
    inside, release = threading.Event(), threading.Event()

    def hold() -> None:
        with worker.recorders[KEY].lock:
            inside.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait()
    try:
        yield
    finally:
        release.set()
        thread.join()


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker whose callers lose their patience at once."""
    monkeypatch.setattr(recorder_module, "PATIENCE", 0)
    worker = worker_at(tmp_path / "live.db", FakeClock())
    worker.recorders[KEY].limit = 10
    return worker


def test_drops_are_seen_while_the_counting_is_blocked(worker: Worker, tmp_path: Path) -> None:
    """The page of this worker, and of the others, shows every event given up; afterwards events in = counted + given up."""
    other = worker_at(tmp_path / "live.db", worker.clock)
    record(worker, 5)
    assert commit(worker)
    recorder, sent, seen = worker.recorders[KEY], 5, [0.0]
    with blocked(worker):
        for n in (100, 1, 50):
            record(worker, n)
            sent += n
            seen.append(scraped(worker, ABANDONED))
            assert seen[-1] == recorder.abandoned == sent - 5 - MOST * recorder.limit
            assert scraped(other, ABANDONED) == recorder.abandoned
            assert scraped(worker, EVENTS) == 5
    assert commit(worker)
    assert seen == sorted(seen)
    assert scraped(other, ABANDONED) == seen[-1]
    assert scraped(other, EVENTS) + seen[-1] == sent


def test_a_first_scrape_while_the_counting_is_blocked(worker: Worker) -> None:
    """Before anything was counted or committed: a page with its known series, and the drops."""
    with blocked(worker):
        record(worker, 100)
        assert scraped(worker, ABANDONED) == worker.recorders[KEY].abandoned > 0
        assert scraped(worker, EVENTS) == 0


def test_an_older_copy_takes_no_drop_back(worker: Worker) -> None:
    """A commit of counts that were copied before the drops: the counter of drops does not fall."""
    recorder, write = worker.recorders[KEY], worker._write
    record(worker, 3)
    recorder.fold_waiting()
    copied = recorder.snapshot()
    assert copied is not None
    with blocked(worker):
        record(worker, 100)
        seen = scraped(worker, ABANDONED)
    write({KEY: copied})
    assert scraped(worker, ABANDONED) == seen == recorder.abandoned > 0
    assert scraped(worker, EVENTS) == 3


def test_drops_that_cannot_be_stored_cost_no_page(worker: Worker, tmp_path: Path) -> None:
    """With a stuck store besides, the page is answered, and the drops come with the first commit."""
    assert commit(worker)
    worker.writer.timeout_s = 0.01
    worker.writer._forget_connection()
    with blocked(worker):
        with StuckStore(tmp_path / "live.db"):
            record(worker, 100)
            assert scraped(worker, ABANDONED) == 0
        assert scraped(worker, ABANDONED) == worker.recorders[KEY].abandoned > 0


def test_nothing_given_up_costs_no_commit(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrape writes nothing while nothing is given up."""
    record(worker, 5)
    assert commit(worker)
    monkeypatch.setattr(worker.writer, "commit", lambda *_: pytest.fail("written"))
    record(worker, 1, event=EVENT)
    assert scraped(worker, EVENTS) == 5
