"""A real Prometheus scrapes the demo for a minute of traffic."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from modelwatch.testing import running_prometheus
from support import free_port, require

SECONDS = 60


def test_prometheus_sees_exactly_what_was_sent(tmp_path: Path) -> None:
    """After a minute the total of /predict in Prometheus is what the generator sent, and no counter was ever reset."""
    require("prometheus")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "modelwatch",
        "demo",
        "--port",
        str(port),
        "--seconds",
        str(SECONDS),
        "--data",
        str(tmp_path),
    ]
    (tmp_path / "prometheus").mkdir()
    begin = time.time()
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert demo.stdout is not None
        while "Runs for" not in (line := demo.stdout.readline()):
            assert line, "the demo ended"
        with running_prometheus(tmp_path / "prometheus", [f"127.0.0.1:{port}"]) as prometheus:
            time.sleep(SECONDS / 2)
            page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
            out, _ = demo.communicate(timeout=SECONDS)
            window = f"{int(time.time() - begin)}s"
            seen = prometheus.query(f'max_over_time(ml_requests_total{{endpoint="/predict"}}[{window}])')
            resets = prometheus.query(f"max(resets(ml_requests_total[{window}]))")
            scrapes = prometheus.query(f"count_over_time(ml_model_info[{window}])")
    finally:
        demo.kill()
    sent = re.search(r"sent +([\d,]+) requests", out)
    assert sent, out
    assert demo.returncode == 0, out
    assert list(seen.values()) == [int(sent[1].replace(",", ""))]
    assert list(resets.values()) == [0]
    assert max(scrapes.values()) > SECONDS / 2
    check = subprocess.run([require("promtool"), "check", "metrics"], input=page, capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
