"""What a real service loses under load: requests a second, and CPU of the server for one request, over a socket.

All servers stay up; one at a time is loaded, in interleaved rounds. The servers have one core, the load another one.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psutil

from bench.harness import ROOT, Effort, Gate, Row, missing

SERVERS = {
    "fastapi": {
        "bare": (), "ours": (), "prometheus-fastapi-instrumentator": ("prometheus_fastapi_instrumentator",),
        "starlette-exporter": ("starlette_exporter",), "OpenTelemetry": ("opentelemetry.instrumentation.fastapi",),
        "brief": (), "ours, whole": (), "brief, whole": ("scipy",),
    },
    "flask": {
        "bare": ("flask", "gunicorn"), "ours": ("flask", "gunicorn"),
        "prometheus-flask-exporter": ("flask", "gunicorn", "prometheus_flask_exporter"), "brief": ("flask", "gunicorn"),
        "ours, whole": ("flask", "gunicorn"), "brief, whole": ("flask", "gunicorn", "scipy"),
    },
}  # fmt: skip
TITLES = {"fastapi": "FastAPI (uvicorn)", "flask": "Flask (gunicorn)"}
NAMES = {
    ("fastapi", "brief"): "the brief's request metrics in a middleware",
    ("flask", "brief"): "the brief's decorator",
}
GATES = {"fastapi": Gate("at most", 10)}
SETTLE_S = 0.3  # until the counting of a round is done, too
START_S = 60.0


@dataclass
class Server:
    """One server, and what its rounds have shown."""

    port: int
    process: psutil.Process
    rate: list[float] = field(default_factory=list)  # requests a second
    cpu: list[float] = field(default_factory=list)  # seconds a request

    def cpu_s(self) -> float:
        """Return the CPU seconds of the process so far."""
        try:
            tasks = [path for path in os.scandir(f"/proc/{self.process.pid}/task")]
            return sum(int(_read(f"{task.path}/schedstat").split()[0]) for task in tasks) * 1e-9
        except OSError:  # another system, whose clock is coarser
            return sum(self.process.cpu_times()[:2])


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the services."""
    rows = []
    for framework, variants in SERVERS.items():
        why = {name: missing(*modules) for name, modules in variants.items()}
        if why["bare"]:
            rows.append(Row(f"{TITLES[framework]}: throughput lost", None, "bare", None, note=why["bare"]))
            continue
        with ExitStack() as stack:
            servers = {name: stack.enter_context(served(framework, name)) for name in variants if not why[name]}
            busy = rounds(servers, effort.few, effort.paced_s / 2, stack.enter_context(loader()))
        rows += _rows(framework, servers, why, busy)
    return rows


def rounds(servers: dict[str, Server], turns: int, seconds: float, load: subprocess.Popen[str]) -> float:
    """Load one server after the other, again and again; return how busy the load was at most, of its core."""
    order, busiest = list(servers.values()), 0.0
    for turn in range(turns + 1):
        for server in order:
            before = server.cpu_s()
            assert load.stdin is not None and load.stdout is not None
            load.stdin.write(f"{server.port} {seconds if turn else seconds / 2}\n")
            load.stdin.flush()
            found = json.loads(load.stdout.readline())
            time.sleep(SETTLE_S)
            if turn:  # the first round warms up
                server.rate.append(found["requests"] / found["seconds"])
                server.cpu.append((server.cpu_s() - before) / found["requests"])
                busiest = max(busiest, found["busy"])
    return busiest


def _rows(framework: str, servers: dict[str, Server], why: dict[str, str], busy: float) -> list[Row]:
    title, bare = TITLES[framework], servers["bare"]

    def lost_by_cpu(name: str) -> float | None:
        server = servers.get(name)
        pairs = zip(bare.cpu, server.cpu, strict=True) if server else ()
        return 100 * (1 - statistics.median(of_bare / cpu for of_bare, cpu in pairs)) if server else None

    def lost(name: str) -> float | None:
        server = servers.get(name)
        pairs = zip(server.rate, bare.rate, strict=True) if server else ()
        return 100 * (1 - statistics.median(rate / of_bare for rate, of_bare in pairs)) if server else None

    def lost_best(name: str) -> float | None:
        return 100 * (1 - max(servers[name].rate) / max(bare.rate)) if name in servers else None

    def added(name: str) -> float | None:
        return min(servers[name].cpu) - min(bare.cpu) if name in servers else None

    def called(name: str) -> str:
        return NAMES.get((framework, name), "the brief's whole set" if name == "brief, whole" else name)

    gate = GATES.get(framework)
    rows = [
        Row(f"{title}: requests/s, median of rounds", None, "bare", statistics.median(bare.rate), unit="requests/s"),
        Row(f"{title}: requests per CPU second of the server", None, "bare", 1 / min(bare.cpu), unit="requests/s"),
        Row(f"{title}: CPU of the server a request", None, "bare", min(bare.cpu)),
        Row(f"{title}: how busy the load was, of its core", None, "at most", 100 * busy, unit="%"),
    ]
    for whole, first in ((False, gate), (True, None)):
        mine = "ours, whole" if whole else "ours"
        kind = "with class, confidence and 10 features" if whole else "requests only"
        peers = [name for name in why if name.endswith(", whole") == whole and name not in ("bare", mine)]
        for at, name in enumerate(peers):
            note = why[name]
            rows += [
                Row(f"{title}, {kind}: requests per CPU second lost, median", lost_by_cpu(mine), called(name), lost_by_cpu(name), None if at else first, "%", note),
                Row(f"{title}, {kind}: requests/s lost, median", lost(mine), called(name), lost(name), None, "%", note),
                Row(f"{title}, {kind}: requests/s lost, best round", lost_best(mine), called(name), lost_best(name), None, "%", note),
                Row(f"{title}, {kind}: CPU added to a request", added(mine), called(name), added(name), note=note),
            ]  # fmt: skip
    return rows


# -- processes ---------------------------------------------------------------------------------------------------------


def cores() -> tuple[int | None, int | None]:
    """Return the core of the servers and that of the load; None where they cannot be told apart."""
    have = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    return (have[0], have[1]) if len(have) > 1 else (None, None)


@contextmanager
def served(framework: str, name: str) -> Iterator[Server]:
    """Run a server until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "bench.services", framework, name, str(port)]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            _await(port, process)
            found = psutil.Process(process.pid)
            if framework == "flask":
                (found,) = found.children()  # gunicorn's one worker
            core, _ = cores()
            if core is not None:
                for task in os.scandir(f"/proc/{found.pid}/task"):
                    os.sched_setaffinity(int(task.name), {core})
            yield Server(port, found)
        finally:
            process.terminate()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"GET /predict HTTP/1.0\r\n\r\n")
                if b" 200 " in connection.recv(100):
                    return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"the server on port {port} does not answer")


@contextmanager
def loader() -> Iterator[subprocess.Popen[str]]:
    """Run the process that loads."""
    _, core = cores()
    command = [sys.executable, "-m", "bench.load", *([] if core is None else [str(core)])]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
