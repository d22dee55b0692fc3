"""Starts the small service under a real server, sends it requests, and reads its page."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from modelwatch.testing import Service, running_service

HERE = Path(__file__).parent


def uvicorn(workers: int) -> list[str]:
    """Return the command of uvicorn."""
    return [
        sys.executable, "-m", "uvicorn", "app:app", "--port", "{port}", "--workers", str(workers),
        "--log-level", "error",
    ]  # fmt: skip


def gunicorn(workers: int) -> list[str]:
    """Return the command of gunicorn, which loads the app before it forks its workers."""
    return [
        sys.executable, "-m", "gunicorn", "app:app", "--preload", "--bind", "127.0.0.1:{port}", "--workers", str(workers),
        "--worker-class", "asgi", "--log-level", "error",
    ]  # fmt: skip


@contextlib.contextmanager
def running(folder: Path, workers: int, command: Callable[[int], list[str]] = uvicorn) -> Iterator[Service]:
    """Run the service until the block ends; its counts are in `folder`."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {"MODELWATCH_LIVE": str(folder / "live.db"), "PYTHONPATH": path}
    with running_service(command(workers), environment=environment) as service:
        yield service


def predicted(service: Service) -> float:
    """Return the requests that were counted on /predict."""
    return service.value("ml_requests_total", endpoint="/predict")


def becomes(expected: float, read: Callable[[], float], seconds: float = 60) -> float:
    """Read until it is what is expected, for so long that only a fault takes longer; return what was read last."""
    deadline = time.monotonic() + seconds
    while (found := read()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@dataclass
class Client(threading.Thread):
    """Sends requests one after another, at a rate, until a number is sent or it is told to stop."""

    port: int
    most: int = 10**9
    rate: float = 1e9
    answered: int = 0
    failed: int = 0
    answers: dict[int, list[float]] = field(default_factory=dict)  # of each worker (its pid), when (monotonic)
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
                pid = json.loads(connection.getresponse().read())["pid"]
                self.answers.setdefault(pid, []).append(time.monotonic())
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
    return set().union(*(thread.answers for thread in threads))
