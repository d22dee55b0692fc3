"""The examples run as their first lines say, and count what they did."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelwatch.testing import running_service
from support import free_port, require

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples: their live.db is made beside them."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("*.db*", "__pycache__")))


def value(page: str, name: str, **labels: str) -> float:
    """Return the sum of a metric's series that have these labels."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@pytest.mark.parametrize("framework", ["fastapi", "flask"])
def test_services(folder: Path, framework: str) -> None:
    """Started, called and scraped, a service shows exactly what it was asked and what it answered."""
    commands = {
        "fastapi": ["uvicorn", "fastapi_service:app", "--port", "{port}", "--workers", "2", "--log-level", "error"],
        "flask": ["flask", "--app", "flask_service", "run", "--port", "{port}"],
    }
    with running_service([sys.executable, "-m", *commands[framework]], folder=folder) as service:
        for i in range(30):
            service.read(f"/predict?text={'good' if i % 3 == 0 else 'poor'}")
        with pytest.raises(OSError, match="4"):
            service.read("/predict")  # without its text: the client's mistake
        time.sleep(1.5)
        page = service.read("/metrics")
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
    """A script prints the counts of its own work; a batch job also where no Pushgateway answers."""
    page = run(folder, script, f"127.0.0.1:{free_port()}")
    assert value(page, "ml_requests_total", endpoint=endpoint) == requests
    assert value(page, "ml_predictions_by_class_total", predicted_class="positive") == positive
    assert value(page, "ml_feature_value_bucket", le="+Inf") == requests + (script == "sklearn_model")


def test_batch_job_pushes(folder: Path) -> None:
    """A real Pushgateway has the counts of two runs of the batch job."""
    require("prometheus-pushgateway")
    command = ["prometheus-pushgateway", "--web.listen-address=127.0.0.1:{port}", "--persistence.file="]
    with running_service(command, ready="/-/ready") as gateway:
        run(folder, "batch_job", gateway.url)
        assert gateway.value("ml_requests_total", job="nightly", endpoint="nightly") == 3
        assert "# No Pushgateway" not in run(folder, "batch_job", gateway.url)
        assert gateway.value("ml_requests_total", job="nightly", endpoint="nightly") == 6
        assert gateway.value("ml_predictions_by_class_total", predicted_class="positive") == 4


def run(folder: Path, script: str, gateway: str) -> str:
    """Run a script of the folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, f"{script}.py"], cwd=folder, capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"PUSHGATEWAY": gateway},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
