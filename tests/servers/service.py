"""Starts the small service under a real server, sends it requests, and reads its page."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from support import free_port

HERE = Path(__file__).parent


@dataclass
class Service:
    """A running service."""

    process: subprocess.Popen[bytes]
    port: int
    live: Path

    def metrics(self) -> str:
        """Scrape it, on a new connection: any worker may answer."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels."""
        samples = [s for family in text_string_to_metric_families(self.metrics()) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    def predicted(self) -> float:
        """Return the requests that were counted on /predict."""
        return self.value("ml_requests_total", endpoint="/predict")


def uvicorn(port: int, workers: int) -> list[str]:
    """Return the command of uvicorn."""
    return [
        sys.executable,
        "-m",
        "uvicorn",
        "app:app",
        "--port",
        str(port),
        "--workers",
        str(workers),
        "--log-level",
        "error",
    ]


def gunicorn(port: int, workers: int) -> list[str]:
    """Return the command of gunicorn, which loads the app before it forks its workers."""
    return [
        sys.executable, "-m", "gunicorn", "app:app", "--preload", "--bind", f"127.0.0.1:{port}", "--workers", str(workers),
        "--worker-class", "asgi", "--log-level", "error",
    ]  # fmt: skip


@contextlib.contextmanager
def running(folder: Path, workers: int, command: Callable[[int, int], list[str]] = uvicorn) -> Iterator[Service]:
    """Run the service until the block ends."""
    port, live = free_port(), folder / "live.db"
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"MODELWATCH_LIVE": str(live), "PYTHONPATH": path}
    process = subprocess.Popen(command(port, workers), env=environment, stderr=subprocess.PIPE)
    service = Service(process, port, live)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                service.metrics()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield service
    finally:
        process.terminate()
        try:
            process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@dataclass
class Client(threading.Thread):
    """Sends requests one after another, at a rate, until a number is sent or it is told to stop."""

    port: int
    most: int = 10**9
    rate: float = 1e9
    answered: int = 0
    failed: int = 0
    pids: dict[int, float] = field(default_factory=dict)  # of the workers that answered, and when first (monotonic)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        """Make it a thread."""
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        """Threads are kept in a set by the interpreter."""
        return id(self)

    def run(self) -> None:
        """Send; a connection lasts 20 requests, so that every worker gets some."""
        connection, used = None, 0
        due = time.monotonic()
        while self.answered + self.failed < self.most and not self.stopping.is_set():
            due = max(due + 1 / self.rate, time.monotonic() - 0.1)
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/predict")
                self.pids.setdefault(json.loads(connection.getresponse().read())["pid"], time.monotonic())
                self.answered, used = self.answered + 1, used + 1
            except (OSError, http.client.HTTPException, ValueError):
                self.failed, used = self.failed + 1, 20
            if used >= 20:
                if connection is not None:
                    connection.close()
                connection, used = None, 0
        if connection is not None:
            connection.close()


def send(port: int, total: int, clients: int = 8) -> set[int]:
    """Send exactly `total` requests over several clients; return the workers that answered."""
    threads = [Client(port, most=total // clients) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(thread.answered for thread in threads) == total // clients * clients, [t.failed for t in threads]
    return set().union(*(thread.pids for thread in threads))
