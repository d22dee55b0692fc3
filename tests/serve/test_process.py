"""Real `modelwatch serve` beside a real service: alerts fire, outlive kill -9, and another one takes over."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwatch.groundtruth.store import Store
from modelwatch.testing import Service, running_service
from support import free_port

CONFIG = """
service: {{name: api, health_url: "{url}/healthz"}}
models: {{m: {{version: "1", task: classification, classes: [a, b]}}}}
store: sqlite:///truth.db
time_scale: 60
"""
LONG_S = 60.0  # only a fault takes longer


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Run the small service; its folder has a configuration."""
    command = [sys.executable, str(Path(__file__).with_name("failing.py")), "{port}"]
    with running_service(command, folder=tmp_path) as made:
        (tmp_path / "modelwatch.yaml").write_text(CONFIG.format(url=made.url))
        yield made


@contextlib.contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Service]:
    """Run `modelwatch serve` until the block ends."""
    command = [sys.executable, "-m", "modelwatch", "serve", "--port", "{port}"]
    with running_service(command, folder=folder, environment=environment) as made:
        yield made


def alerts(serve: Service) -> dict[str, Any]:
    """Return what /api/alerts says; `worst` is {name: (severity, since)} of what fires and nobody else says."""
    found: dict[str, Any] = json.loads(serve.read("/api/alerts"))
    told = [one for one in found["alerts"] if one["state"] == "firing" and not one["silenced_by"]]
    return {**found, "worst": {one["alert"]: (one["severity"], one["since"]) for one in told}}


def wait_for(what: Callable[[], Any]) -> Any:
    """Ask again and again until the answer is true; return it."""
    deadline = time.monotonic() + LONG_S
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def request(service: Service, path: str, n: int) -> None:
    """Send n requests."""
    for _ in range(n):
        with contextlib.suppress(urllib.error.HTTPError):
            service.read(path)


def test_alerts_over_deaths(tmp_path: Path, service: Service) -> None:
    """Errors fire; kill -9 of the one that leads changes nothing of it; a third takes over; a dead service is told."""
    with serving(tmp_path) as first:
        wait_for(lambda: alerts(first)["evaluation"]["leads"])
        assert "HighErrorRate" not in alerts(first)["worst"]

        def fails() -> Any:
            request(service, "/fail", 5)
            request(service, "/predict", 3)
            return alerts(first)["worst"].get("HighErrorRate")

        severity, since = wait_for(fails)
        assert severity == "critical"
        assert first.value("modelwatch_alerts_firing", severity="critical") >= 1
        assert first.value("modelwatch_replica_up") == 1
        with serving(tmp_path) as second:
            waiting = wait_for(lambda: alerts(second)["evaluation"]["reason"])
            assert waiting == "another process evaluates for this store"
            assert alerts(second)["worst"] == {}
            first.process.kill()
            wait_for(lambda: alerts(second)["evaluation"]["leads"])
            assert wait_for(lambda: alerts(second)["worst"])["HighErrorRate"] == ("critical", since)
            service.process.kill()
            wait_for(lambda: alerts(second)["worst"].get("ServiceDown"))
            assert "HighErrorRate" not in alerts(second)["worst"]  # ServiceDown says it
            assert second.value("modelwatch_replica_up") == 0
            second.process.terminate()
            assert second.process.wait(LONG_S) == 0


def test_a_store_that_can_never_be_opened(tmp_path: Path, service: Service) -> None:
    """It says in one line what is wrong and what to do, and ends with exit status 1, before it says anything else."""
    (tmp_path / "truth.db").mkdir()
    command = [sys.executable, "-m", "modelwatch", "serve", "--port", str(free_port())]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "unable to open database file" in ended.stderr
    assert ended.stderr.endswith("See who may write there, or name another in the configuration.\n")
    assert service.process.poll() is None


def test_a_port_that_is_taken(tmp_path: Path, service: Service) -> None:
    """It says so and ends with exit status 2; the lease is free at once."""
    command = [sys.executable, "-m", "modelwatch", "serve", "--port", str(service.port)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "cannot be used (Address already in use); expected a free one" in ended.stderr
    store = Store(f"sqlite:///{tmp_path / 'truth.db'}")
    assert store.lease("evaluator", "another", 60)
    store.close()
