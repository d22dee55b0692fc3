"""Real servers with several workers: whoever is asked, the page shows what all of them did."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.service import Client, gunicorn, predicted, running, send, uvicorn

FLUSH_S = 1.0
LOSS_S = FLUSH_S + 0.5  # of a worker's traffic, that kill -9 may take along


@pytest.mark.parametrize("command", [uvicorn, gunicorn])
def test_every_scrape_shows_all_workers(tmp_path: Path, command: Callable[[int], list[str]]) -> None:
    """Four workers, 2,000 requests: every one of 30 scrapes afterwards shows exactly 2,000."""
    with running(tmp_path, 4, command) as service:
        workers = send(service.port, 2000)
        assert len(workers) > 1
        time.sleep(FLUSH_S + 0.5)
        assert [predicted(service) for _ in range(30)] == [2000] * 30
        assert service.value("ml_requests_in_progress") == 0
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
        service.process.wait(15)
        for client in clients:
            client.stopping.set()
            client.join(10)
    answered = sum(client.answered for client in clients)
    assert answered > 100
    with running(tmp_path, 1) as again:
        time.sleep(FLUSH_S + 0.5)
        assert answered <= predicted(again) <= answered + len(clients)  # an answer may be lost on its way
        assert again.value("modelwatch_worker_deaths_total") == 0


def test_killed_workers_lose_little_and_no_counter_falls(tmp_path: Path) -> None:
    """Twenty times kill -9 of a random worker under 200 requests a second.

    No counter ever falls, each kill loses at most a flush interval and half a second of that worker's requests, the
    deaths are counted, and no gauge of a dead worker remains.
    """
    kills, workers, rate = 20, 4, 200.0
    chance = random.Random(1)
    with running(tmp_path, workers) as service:
        clients = [Client(service.port, rate=rate / 16) for _ in range(16)]
        for client in clients:
            client.start()
        time.sleep(2.5)
        seen: list[float] = []
        killed: set[int] = set()
        while len(killed) < kills:
            old_enough = time.monotonic() - 2 * FLUSH_S  # to have reported once: nobody can count who was never known
            seen_first = [client.pids.copy() for client in clients]
            alive = sorted({pid for pids in seen_first for pid, first in pids.items() if first < old_enough} - killed)
            if alive:
                victim = chance.choice(alive)
                os.kill(victim, signal.SIGKILL)
                killed.add(victim)
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
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            left, deaths = service.value("modelwatch_workers"), service.value("modelwatch_worker_deaths_total")
            if (left, deaths) == (workers, kills):
                break
            time.sleep(0.5)
        counted, in_progress = predicted(service), service.value("ml_requests_in_progress")
    answered = sum(client.answered for client in clients)
    failed = sum(client.failed for client in clients)
    assert seen == sorted(seen)
    assert len(seen) > kills
    assert answered - kills * LOSS_S * rate / workers <= counted <= answered + failed
    assert deaths == kills
    assert (in_progress, left) == (0, workers)
