"""What a drill breaks in a service: only with consent, for as long as it asked, and counted as the service's own."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response

from counting import total
from modelwatch import Monitor, current_request
from modelwatch.integrations.fastapi import instrument
from modelwatch.integrations.faulthooks import CONSENT, KINDS, PATH, YES, Faults, mount_faults
from modelwatch.schema import ModelSchema

SCHEMA = ModelSchema(numeric={"length": ((1.0, 10.0), (1.0, 10.0))}, categorical={"language": ("en", "de")})


def service(folder: Path) -> tuple[FastAPI, Monitor, bool]:
    """Return a service whose every answer has the same features, its monitor, and whether it may be broken."""
    app, monitor = FastAPI(), Monitor("m", "1", SCHEMA, live=folder / "live.db")
    mounted = mount_faults(app, monitor)
    instrument(app, monitor)

    @app.get("/predict")
    async def predict() -> str:
        current_request().predicted("a", confidence=0.9, features={"length": 5, "language": "en"})
        return "a"

    return app, monitor, mounted


class Client:
    """Asks an app without a socket."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def get(self, path: str) -> Response:
        """Return the answer to a GET."""
        return asyncio.run(self._ask("GET", path))

    def post(self, path: str, **given: Any) -> Response:
        """Return the answer to a POST."""
        return asyncio.run(self._ask("POST", path, **given))

    async def _ask(self, method: str, path: str, **given: Any) -> Response:
        async with AsyncClient(transport=ASGITransport(self._app), base_url="http://drill") as client:
            return await client.request(method, path, **given)


def read(monitor: Monitor, name: str, **labels: str) -> float:
    """Return the sum of some series."""
    assert monitor.flush(5)
    return total(monitor.metrics(), name, **labels)


@pytest.mark.parametrize("said", ["", "yes", "1", "true"])
def test_without_its_consent_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """Only the very words consent: else there is no route, and the buffer is the plain one."""
    monkeypatch.setenv(CONSENT, said)
    app, monitor, mounted = service(tmp_path)
    assert (mounted, type(monitor.recorder.pending).__name__) == (False, "deque")
    client = Client(app)
    assert client.post(PATH, json={"kinds": ["errors"], "seconds": 60}).status_code == 404
    assert client.get("/predict").status_code == 200
    monitor.close()


def test_each_fault_breaks_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors, drift, missing values, low confidence, no counts and no service: one after the other, and all is well after."""
    monkeypatch.setenv(CONSENT, YES)
    app, monitor, mounted = service(tmp_path)
    assert mounted
    client = Client(app)

    def broken(*kinds: str, n: int = 60) -> list[int]:
        assert client.post(PATH, json={"kinds": kinds, "seconds": 60}).status_code == 200
        return [client.get("/predict").status_code for _ in range(n)]

    assert set(broken()) == {200}
    assert set(broken("errors")) == {200, 503}
    failed = read(monitor, "ml_errors_total", error_type="http_503")
    assert failed > 5
    assert read(monitor, "ml_low_confidence_predictions_total") == 0
    assert set(broken("drift", "missing_values", "low_confidence")) == {200}
    assert read(monitor, "ml_low_confidence_predictions_total") == 60
    assert read(monitor, "ml_feature_category_total", category="en") < 121
    assert 15 < read(monitor, "ml_feature_invalid_total", feature_name="length") < 60
    assert client.get("/metrics").status_code == 200
    broken("metrics", n=0)
    assert "ml_requests_total" not in client.get("/metrics").text
    assert set(broken("down", n=3)) == {503}
    assert client.get("/healthz").status_code == 503
    assert set(broken(n=3)) == {200}
    assert broken("few_errors", n=400).count(503) in range(1, 40)
    assert read(monitor, "ml_errors_total", error_type="http_503") > failed
    before = read(monitor, "ml_requests_total")
    assert client.post(PATH, json={"kinds": ["nonsense"], "seconds": 1}).status_code == 422
    assert client.post(PATH, content=b"no json").status_code == 422
    assert read(monitor, "ml_requests_total") == before  # the hook itself is not counted
    began = time.monotonic()
    broken("slow", n=8)
    assert time.monotonic() - began > 1.2
    monitor.close()


@pytest.mark.parametrize("text", [None, "", "nonsense", "[]", '{"kinds": 3, "until": 1}', '{"kinds": ["errors"]}'])
def test_a_file_that_cannot_be_read_breaks_nothing(tmp_path: Path, text: str | None) -> None:
    """No file, and any other text than was written."""
    if text is not None:
        (tmp_path / "live.db.drill").write_text(text)
    assert Faults(tmp_path / "live.db.drill").active() == frozenset()


def test_a_fault_ends_by_itself(tmp_path: Path) -> None:
    """A drill that dies leaves nothing broken: every worker forgets the fault when its time is over."""
    one, other = Faults(tmp_path / "live.db.drill"), Faults(tmp_path / "live.db.drill")
    one.set(KINDS, 0.5)
    assert one.active() == other.active() == set(KINDS)
    time.sleep(0.6)
    assert one.active() == other.active() == frozenset()
    wrong: Any = {"errors"}
    one.set(wrong, -5)
    assert one.active() == frozenset()
