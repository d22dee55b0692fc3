"""A real Prometheus scrapes two workers under traffic."""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.request
from pathlib import Path

from modelwatch.testing import running_prometheus
from servers.service import becomes, running, uvicorn
from support import require

SECONDS = 12.0
THREADS, RATE = 4, 25.0  # requests a second of each


def test_prometheus_sees_every_request_once(tmp_path: Path) -> None:
    """Each scrape is answered by one worker or the other; in the end PromQL counts exactly what was sent, without a reset."""
    require("prometheus")
    (tmp_path / "prometheus").mkdir()

    def command(workers: int) -> list[str]:
        return [*uvicorn(workers), "--timeout-keep-alive", "0"]  # else every scrape would reach the same worker

    with running(tmp_path, 2, command) as service:
        address = f"127.0.0.1:{service.port}"
        answers: list[bytes] = []

        def send() -> None:
            begin = time.monotonic()
            for i in range(int(SECONDS * RATE)):
                time.sleep(max(0.0, begin + i / RATE - time.monotonic()))
                with urllib.request.urlopen(f"http://{address}/predict", timeout=10) as answer:
                    answers.append(answer.read())

        threads = [threading.Thread(target=send) for _ in range(THREADS)]
        with running_prometheus(tmp_path / "prometheus", [address]) as prometheus:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

            def ask(expression: str) -> list[float]:
                return list(prometheus.query(expression).values())

            total = becomes(len(answers), lambda: sum(ask('ml_requests_total{endpoint="/predict"}')))
            predictions = ask('ml_predictions_by_class_total{predicted_class="a"}')
            durations = ask('ml_request_duration_seconds_count{endpoint="/predict"}')
            counters = ["ml_requests_total", "ml_predictions_by_class_total", "ml_request_duration_seconds_bucket"]
            resets = [n for name in counters for n in ask(f"max(resets({name}[1m]))")]
            series = ask("max(count by (__name__, endpoint) (ml_requests_total))")
            scrapes = ask("count_over_time(up[1m])")
            missed = ask("1 - min_over_time(up[1m])")
        page = service.read("/metrics")
    sent = len(answers)
    assert sent == int(SECONDS * RATE) * THREADS
    assert len(set(answers)) == 2  # workers
    assert (total, predictions, durations) == (sent, [sent], [sent])
    assert (resets, series, missed) == ([0, 0, 0], [1], [0])
    assert scrapes[0] > SECONDS / 2  # it finds its targets within 5 seconds
    check = subprocess.run([require("promtool"), "check", "metrics"], input=page, capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
