"""Scenarios with real servers: a stuck store behind a web service, and workers that are killed under load."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from modelwatch.errors import ModelwatchError
from modelwatch.testing import Service, StuckStore, running_service
from soak.ledger import Ledger, Report, paired, percentile

ROOT = Path(__file__).resolve().parent.parent
RATE = 200.0  # requests a second while workers are killed
WORKERS = 4
PAIRS = 9  # of a stuck store and its control
LOSS_S = 1.5  # of a worker's traffic that a kill may take along: a flush interval and half a second


def uvicorn(workers: int) -> list[str]:
    """Return the command of uvicorn."""
    command = [sys.executable, "-m", "uvicorn", "soak.app:app", "--port", "{port}", "--log-level", "error"]
    return [*command, "--workers", str(workers)]


def gunicorn(workers: int) -> list[str]:
    """Return the command of gunicorn, which loads the app before it forks its workers."""
    command = [sys.executable, "-m", "gunicorn", "soak.app:app", "--preload", "--bind", "127.0.0.1:{port}"]
    return [*command, "--workers", str(workers), "--worker-class", "asgi", "--log-level", "error"]


SERVERS = {"uvicorn": uvicorn, "gunicorn --preload": gunicorn}


@contextlib.contextmanager
def service(folder: Path, command: list[str]) -> Iterator[Service]:
    """Run the app under a server; its counts are in `folder`, what it says in `folder`/said."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"SOAK_LIVE": str(folder / "live.db"), "PYTHONPATH": path}
    telling = ["sh", "-c", 'exec "$@" 2>>"$0"', str(folder / "said"), *command]
    with running_service(telling, environment=environment) as served:
        yield served


class Clients:
    """Sends requests at a steady rate over several connections, which are opened again when a worker dies."""

    def __init__(self, port: int, rate: float, connections: int = 4) -> None:
        self.port, self.rate = port, rate / connections
        self.answered = self.failed = 0
        self.took: list[float] = []
        self.pids: dict[int, float] = {}  # of the workers that answered, and when first (monotonic)
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    def __enter__(self) -> Clients:  # noqa: PYI034 - Self is of Python 3.11
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        connection = None
        due = time.monotonic()
        while not self._stopping.is_set():
            due = max(due + 1 / self.rate, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))
            begin = time.perf_counter()
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/predict")
                pid = json.loads(connection.getresponse().read())["pid"]
                took = time.perf_counter() - begin
                with self._lock:
                    self.answered += 1
                    self.took.append(took)
                    self.pids.setdefault(pid, time.monotonic())
                done = random.random() < 0.05
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                with self._lock:
                    self.failed += 1
                done = True
            if done and connection is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def predicted(served: Service) -> float:
    """Return the requests that a scrape shows."""
    return served.value("ml_requests_total", endpoint="/predict")


def stuck_store_requests(report: Report, scale: float) -> None:
    """Statement 4: a stuck store does not slow or fail a request. Interleaved pairs of rounds, their differences judged."""
    seconds = max(3.0, 60 * scale / PAIRS)
    tails: dict[bool, list[float]] = {False: [], True: []}
    failed = sent = 0
    with tempfile.TemporaryDirectory() as name, service(Path(name), uvicorn(1)) as served:
        for pair in range(PAIRS):
            for stuck in (False, True) if pair % 2 else (True, False):
                with StuckStore(Path(name, "live.db")) if stuck else contextlib.nullcontext():
                    with Clients(served.port, 500) as clients:
                        time.sleep(seconds)
                tails[stuck].append(percentile(clients.took, 0.999) * 1e3)
                failed += clients.failed
                sent += clients.answered
        time.sleep(3)
        seen = predicted(served)
    report.ledger.add(Ledger(sent, int(seen)))
    report.check(4, "failed requests", "0", f"{failed} of {sent:,}", holds=failed == 0)
    more, low, high = paired(tails[True], tails[False])
    report.check(
        4, "p99.9 of a request", "control + 1 ms; cannot be told where the interval of the difference has it inside",
        f"median of {PAIRS} rounds {statistics.median(tails[True]):.1f} ms, control {statistics.median(tails[False]):.1f} ms;"
        f" difference in pairs {more:+.1f} ms ({low:+.1f} to {high:+.1f}); {sent / seconds / 2 / PAIRS:.0f} of 500 requests/s",
        holds=True if high <= 1 else False if low > 1 else None,
    )  # fmt: skip


def kills(report: Report, scale: float) -> None:
    """Statement 24: kill -9 of random workers under load, of both servers."""
    n = max(5, int(50 * scale))
    for server, command in SERVERS.items():
        try:
            _kills(report, n, server, command(WORKERS))
        except (ModelwatchError, OSError) as error:
            report.check(24, f"kills, {server}", "the service goes on", repr(error), holds=False)


def _kills(report: Report, n: int, server: str, command: list[str]) -> None:
    chance = random.Random(24)
    with tempfile.TemporaryDirectory() as name, service(Path(name), command) as served:
        with Clients(served.port, RATE, 16) as clients:
            time.sleep(3)
            falls, last, scrapes, killed = 0, 0.0, 0, set[int]()
            deadline = time.monotonic() + 30 + 10 * n
            while len(killed) < n and time.monotonic() < deadline:
                old = time.monotonic() - 2  # to have reported once: nobody can count who was never known
                alive = sorted({pid for pid, first in clients.pids.copy().items() if first < old} - killed)
                if alive:
                    victim = chance.choice(alive)
                    killed.add(victim)
                    os.kill(victim, signal.SIGKILL)
                for _ in range(4):
                    with contextlib.suppress(OSError):  # the killed worker may have taken the connection
                        seen = predicted(served)
                        falls += seen < last
                        last, scrapes = max(last, seen), scrapes + 1
                    time.sleep(0.3)
        time.sleep(12)
        counted = int(predicted(served))
        deaths, left = served.value("modelwatch_worker_deaths_total"), served.value("modelwatch_workers")
        in_progress = served.value("ml_requests_in_progress")
    answered, allowed = clients.answered, n * LOSS_S * RATE / WORKERS
    lost = answered - counted
    # a request that was counted may have lost its answer with the worker
    report.ledger.add(Ledger(max(answered, counted), counted, 0, max(lost, 0), allowed))
    report.check(
        24, f"counters that fall, {server}", "0",
        f"{falls} in {scrapes} scrapes, {len(killed)} kills, {WORKERS} workers, {RATE:.0f} requests/s",
        holds=falls == 0 and len(killed) == n,
    )  # fmt: skip
    report.check(
        24, f"requests lost, {server}", f"{LOSS_S:g} s of a worker's traffic a kill: {allowed:.0f}",
        f"{lost} of {answered:,} answered", holds=-clients.failed <= lost <= allowed,
    )  # fmt: skip
    living = WORKERS + ("preload" in server)  # the master has loaded the app, too
    report.check(
        24, f"deaths and gauges, {server}", "every death is counted, no gauge of the dead after 10 s",
        f"{deaths:.0f} of {n} deaths, {left:.0f} of {living} processes report, {in_progress:.0f} in progress",
        holds=(deaths, left, in_progress) == (n, living, 0),
    )  # fmt: skip
