"""A real Prometheus scrapes the demo for a minute of traffic."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from modelwatch.statistics import wilson
from modelwatch.testing import running_prometheus
from support import free_port, require

SECONDS, SEED = 60, "3"


def test_prometheus_sees_exactly_what_was_sent(tmp_path: Path) -> None:
    """After a minute the total of /predict in Prometheus is what the generator sent, and no counter was ever reset.

    The 95 % interval of the accuracy that the labels give holds the true one, in the terminal, the API and Prometheus
    alike: which predictions are labelled, and how, is the same at each run with this seed.
    """
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
        "--seed",
        SEED,
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
            time.sleep(max(0.0, begin + SECONDS - 3 - time.time()))
            api = json.loads(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=10).read())
            out, _ = demo.communicate(timeout=SECONDS)
            window = f"{int(time.time() - begin)}s"
            seen = prometheus.query(f'max_over_time(ml_requests_total{{endpoint="/predict"}}[{window}])')
            resets = prometheus.query(f"max(resets(ml_requests_total[{window}]))")
            right = prometheus.query(f"max_over_time(ml_labels_total[{window}])")
            scrapes = prometheus.query(f"count_over_time(ml_model_info[{window}])")
    finally:
        demo.kill()
    sent = re.search(r"sent +([\d,]+) requests", out)
    assert sent, out
    assert demo.returncode == 0, out
    assert list(seen.values()) == [int(sent[1].replace(",", ""))]
    assert list(resets.values()) == [0]
    assert max(scrapes.values()) > SECONDS / 2
    told = re.search(r"right +([\d.]+) %", out)
    assert told, out
    truth = float(told[1]) / 100
    known = api["models"][0]["quality"]["views"]["last"][-1]["accuracy"]
    assert known["n"] > 100
    assert known["low"] <= truth <= known["high"]
    by_outcome = {
        outcome: sum(n for labels, n in right.items() if ("outcome", outcome) in labels)
        for outcome in ("correct", "wrong")
    }
    counted = sum(by_outcome.values())
    assert known["n"] <= counted
    share = wilson(by_outcome["correct"], counted)
    assert share is not None
    assert share.low <= truth <= share.high
    status = [sys.executable, "-m", "modelwatch", "status", "--config", str(tmp_path / "modelwatch.yaml")]
    shown = re.search(
        r"last 1000 labels +[\d.]+ % +([\d.]+) to ([\d.]+) %",
        subprocess.run(status, capture_output=True, text=True).stdout,
    )
    assert shown
    assert float(shown[1]) <= 100 * truth <= float(shown[2])
    check = subprocess.run([require("promtool"), "check", "metrics"], input=page, capture_output=True, text=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
