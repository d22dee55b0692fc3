"""Scenarios that are seen through a real Prometheus: events that are given up, and traffic that stops."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal as signal_module
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from modelwatch import names
from modelwatch.signals import SIGNALS, Objectives
from modelwatch.testing import Prometheus, Service, running_prometheus
from soak.ledger import Ledger, Report, wait_until
from soak.servers import Clients, service, uvicorn

SEEN_S = 5.0
BURST = 120_000  # more than a buffer can hold
BLOCKED_S = 8.0
WINDOW_S = 60  # of the gauges of throughput, and of the signals here
GAUGES = (names.THROUGHPUT, names.IN_PROGRESS)


@contextlib.contextmanager
def scraped(folder: Path, workers: int) -> Iterator[tuple[Service, Prometheus]]:
    """Run the service, and a Prometheus that scrapes it every second on a new connection."""
    (folder / "prometheus").mkdir()
    command = [*uvicorn(workers), "--timeout-keep-alive", "0"]  # else every scrape would reach the same worker
    with service(folder, command) as served:
        with running_prometheus(folder / "prometheus", [f"127.0.0.1:{served.port}"]) as prometheus:
            wait_until(lambda: bool(prometheus.query(names.LIVE_UP.name)), 30)
            yield served, prometheus


def _missing(report: Report, statement: int, what: str, bar: str) -> bool:
    if shutil.which("prometheus") is None:
        report.check(statement, what, bar, "prometheus is not installed", holds=None)
        return True
    return False


def drops(report: Report, scale: float) -> None:
    """Statement 8: the counting is blocked, events are given up, and Prometheus knows it within seconds."""
    what, bar = "drops are seen by Prometheus", f"within {SEEN_S:g} s of the first, exactly in the end"
    if _missing(report, 8, what, bar):
        return
    rounds, delays, sent = max(2, int(20 * scale)), [], 0
    with tempfile.TemporaryDirectory() as name, scraped(Path(name), 1) as (served, prometheus):

        def seen() -> float:
            return sum(prometheus.query(names.ABANDONED.name).values())

        def balance() -> float:
            return served.value(names.EVENTS.name) + served.value(names.ABANDONED.name)

        for _ in range(rounds):
            before = seen()
            served.read(f"/block?seconds={BLOCKED_S:g}")
            time.sleep(1)
            answers: list[str] = []

            def has_risen(before: float = before) -> bool:
                return seen() > before

            def burst(kept: list[str] = answers) -> None:
                kept.append(served.read(f"/burst?events={BURST}"))

            bursting = threading.Thread(target=burst)
            bursting.start()
            found = wait_until(has_risen, 30, every=0.05)
            at = time.time() if found else float("inf")
            bursting.join()
            answer = json.loads(answers[0])
            delays.append(at - answer["first"] if answer["first"] else float("inf"))
            sent += BURST + 3  # and the value that blocks, and the two requests themselves
            wait_until(lambda: balance() == sent, 30)
        given_up = served.value(names.ABANDONED.name)
        exact = wait_until(lambda: seen() == given_up, 10)
        counted = int(served.value(names.EVENTS.name))
    report.ledger.add(Ledger(sent, counted, int(given_up)))
    report.check(
        8, what, bar,
        f"slowest {max(delays):.1f} s of {rounds}, scraped every second while the counting was blocked;"
        f" {given_up:,.0f} given up, {'the same' if exact else 'another number'} in Prometheus",
        holds=max(delays) <= SEEN_S and exact,
    )  # fmt: skip


def silence(report: Report, scale: float) -> None:
    """Statement 20: traffic stops, and within two windows every derived number is 0 or absent; then the service stops."""
    what, bar = "traffic stops", f"every derived number is 0 or absent within two windows of {WINDOW_S} s"
    if _missing(report, 20, what, bar):
        return
    del scale  # the windows are as long as they are
    objectives = Objectives(0.5, 0.95, 0.99)
    expressions = {metric.name: metric.name for metric in GAUGES}
    for signal in SIGNALS.values():
        expression = signal.promql("", f"{WINDOW_S}s", objectives)
        if expression is not None:
            expressions[signal.name] = expression
    with tempfile.TemporaryDirectory() as name, scraped(Path(name), 2) as (served, prometheus):
        failures = 20
        with Clients(served.port, 50) as clients:
            for _ in range(failures):
                with contextlib.suppress(OSError):
                    served.read("/fail?seconds=0.6")  # an error, and slower than its objective
                time.sleep(0.4)
        lively = {key for key, expression in expressions.items() if any(prometheus.query(expression).values())}
        stopped, dead = time.monotonic(), dict[str, float]()
        while time.monotonic() < stopped + 2 * WINDOW_S:
            for key, expression in expressions.items():
                if any(prometheus.query(expression).values()):
                    dead.pop(key, None)
                else:
                    dead.setdefault(key, time.monotonic() - stopped)
            time.sleep(1)
        counted = int(served.value(names.REQUESTS.name))
        os.kill(served.process.pid, signal_module.SIGTERM)
        served.process.wait(20)
        ended = time.monotonic()
        stale = wait_until(lambda: not prometheus.query('{__name__=~"ml_.*|modelwatch_.*"}'), 30)
        stale_s = time.monotonic() - ended
    report.ledger.add(Ledger(clients.answered + failures, counted))
    late = sorted(expressions.keys() - dead.keys())
    told = ", ".join(f"{key} after {seconds:.0f} s" for key, seconds in sorted(dead.items()))
    report.check(
        20, what, bar, f"{told}{'; never: ' + ', '.join(late) if late else ''}; {len(lively)} told something before",
        holds=not late and len(lively) >= len(SIGNALS),
    )  # fmt: skip
    report.check(
        20, "the service stops", "no series of it is left after 30 s", f"none after {stale_s:.1f} s", holds=stale
    )
