"""The examples run as their first lines say, and count what they did."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from support import free_port

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples: their live.db is made beside them."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("*.db*", "__pycache__")))


def value(page: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's series that have these labels."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@contextlib.contextmanager
def served(command: list[str], folder: Path, port: int) -> Iterator[str]:
    """Run a server until the block ends; yield its address."""
    server = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                read(f"{url}/healthz")
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield url
    finally:
        server.terminate()
        server.wait(15)


def read(url: str) -> str:
    """Read a page."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read(), "utf-8")


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_services(folder: Path, framework: str) -> None:
    """Started, called and scraped, a service shows exactly what it was asked and what it answered."""
    port = free_port()
    commands = {
        "fastapi": ["uvicorn", "fastapi_service:app", "--port", str(port), "--workers", "2", "--log-level", "error"],
        "flask": ["flask", "--app", "flask_service", "run", "--port", str(port)],
    }
    with served(commands[framework], folder, port) as url:
        for i in range(30):
            read(f"{url}/predict?text={'good' if i % 3 == 0 else 'poor'}")
        with pytest.raises(OSError, match="4"):
            read(f"{url}/predict")  # without its text: the client's mistake
        time.sleep(1.5)
        page = read(f"{url}/metrics")
    assert value(page, "ml_requests_total", endpoint="/predict") == 31
    assert value(page, "ml_requests_failed_total") == 0
    assert value(page, "ml_predictions_by_class_total", predicted_class="positive") == 10
    assert value(page, "ml_predictions_by_class_total", predicted_class="negative") == 20
    assert value(page, "ml_feature_value_bucket", feature_name="text_length", le="+Inf") == 30


@pytest.mark.parametrize(
    ("script", "endpoint", "requests", "positive"),
    [("plain_function", "predict", 3, 2), ("batch_job", "nightly", 3, 2), ("sklearn_model", "predict", 2, 1)],
)
def test_scripts(folder: Path, script: str, endpoint: str, requests: int, positive: int) -> None:
    """A script prints the counts of its own work."""
    done = subprocess.run(
        [sys.executable, f"{script}.py"], cwd=folder, capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert value(done.stdout, "ml_requests_total", endpoint=endpoint) == requests
    assert value(done.stdout, "ml_predictions_by_class_total", predicted_class="positive") == positive
    assert value(done.stdout, "ml_feature_value_bucket", le="+Inf") == requests + (script == "sklearn_model")
