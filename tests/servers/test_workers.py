"""Real servers with several workers: whoever is asked, the page shows what all of them did."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.service import Client, becomes, gunicorn, predicted, running, send, uvicorn

AGE_S = 2.5  # of a worker that is killed
FOLD_S = 0.5  # before a worker reports, it folds: what was answered meanwhile is in its next report


def reported(live: Path) -> dict[int, float]:
    """Return {process id: when it reported last (monotonic)} of the workers that have reported."""
    db = sqlite3.connect(live, timeout=10)
    try:
        return dict(db.execute("SELECT pid, seen FROM workers"))
    finally:
        db.close()


@pytest.mark.parametrize("command", [uvicorn, gunicorn])
def test_every_scrape_shows_all_workers(tmp_path: Path, command: Callable[[int], list[str]]) -> None:
    """Four workers, 2,000 requests: every one of 30 scrapes afterwards shows exactly 2,000."""
    with running(tmp_path, 4, command) as service:
        workers = send(service.port, 2000)
        assert len(workers) > 1
        assert becomes(2000, lambda: predicted(service)) == 2000
        assert [predicted(service) for _ in range(30)] == [2000] * 30
        assert becomes(0, lambda: service.value("ml_requests_in_progress")) == 0
        assert service.value("modelwatch_worker_deaths_total") == 0
        assert service.value("modelwatch_internal_errors_total") == 0


def test_graceful_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    """SIGTERM while requests come: everything that was answered is counted, and nobody has died."""
    with running(tmp_path, 2) as service:
        clients = [Client(service.port, rate=20) for _ in range(10)]
        for client in clients:
            client.start()
        time.sleep(1.5)
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(60)
        for client in clients:
            client.stopping.set()
            client.join(10)
    answered = sum(client.answered for client in clients)
    assert answered > 100
    with running(tmp_path, 1) as again:
        assert answered <= predicted(again) <= answered + len(clients)  # an answer may be lost on its way
        assert again.value("modelwatch_worker_deaths_total") == 0


def test_killed_workers_lose_little_and_no_counter_falls(tmp_path: Path) -> None:
    """Twenty times kill -9 of a random worker under 200 requests a second.

    No counter ever falls, a kill loses at most what that worker answered since it last reported, the deaths are
    counted, and no gauge of a dead worker remains. How long ago that is, `make soak` measures.
    """
    kills, workers, rate = 20, 4, 200.0
    chance = random.Random(1)
    with running(tmp_path, workers) as service:
        clients = [Client(service.port, rate=rate / 16) for _ in range(16)]
        for client in clients:
            client.start()
        seen: list[float] = []
        killed: dict[int, float] = {}  # and when they had reported last
        while len(killed) < kills:
            old = time.monotonic() - AGE_S
            grown = {pid for c in clients for pid, at in c.answers.copy().items() if at and at[0] < old}
            known = {pid: at for pid, at in reported(tmp_path / "live.db").items() if pid in grown - killed.keys()}
            if known:  # nobody can count who was never known
                victim = chance.choice(sorted(known))
                os.kill(victim, signal.SIGKILL)
                killed[victim] = known[victim]
            for _ in range(4):
                try:
                    seen.append(predicted(service))
                except OSError:  # the killed worker had taken the connection
                    continue
            time.sleep(0.3)
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join(10)
        deaths = becomes(kills, lambda: service.value("modelwatch_worker_deaths_total"))
        left = becomes(workers, lambda: service.value("modelwatch_workers"))
        in_progress = becomes(0, lambda: service.value("ml_requests_in_progress"))
        counted = predicted(service)
    answered = sum(client.answered for client in clients)
    failed = sum(client.failed for client in clients)
    assert seen == sorted(seen)
    assert len(seen) > kills
    lost = [
        t for client in clients for pid, at in killed.items() for t in client.answers.get(pid, ()) if t > at - FOLD_S
    ]
    assert answered - len(lost) <= counted <= answered + failed
    assert len(lost) < answered / 2
    assert deaths == kills
    assert (in_progress, left) == (0, workers)
