"""A service whose /metrics asks for a token: it is told to nobody without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from integrations.calling import call
from modelwatch.integrations.fastapi import instrument
from modelwatch.integrations.wsgi import Middleware
from modelwatch.record.monitor import Monitor

WRONG = ["", "Bearer", "Bearer wrong", "Bearer scrape-me x", "Basic scrape-me", "scrape-me", "Bearer é"]
RIGHT = ["Bearer scrape-me", "bearer  scrape-me "]


@pytest.fixture(params=["asgi", "wsgi"])
def scraped(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return what asks an app for its page with a header, as (status, body)."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    request.addfinalizer(monitor.close)
    if request.param == "asgi":
        app = FastAPI()
        instrument(app, monitor)

        def ask(authorization: str) -> tuple[int, bytes]:
            answer = call(app, "/metrics", headers=[(b"authorization", authorization.encode("latin-1"))])
            return answer.status, answer.body

    else:

        def ask(authorization: str) -> tuple[int, bytes]:
            told: list[str] = []
            environ = {"PATH_INFO": "/metrics", "REQUEST_METHOD": "GET", "HTTP_AUTHORIZATION": authorization}
            body = b"".join(Middleware(lambda *_: [], monitor)(environ, lambda status, _: told.append(status)))
            return int(told[0][:3]), body

    return ask


def test_with_a_token_who_has_it_is_answered(scraped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """401 to all others, without a number and without the token."""
    monkeypatch.setenv("MODELWATCH_METRICS_TOKEN", "scrape-me")
    for given in WRONG:
        status, body = scraped(given)
        assert (given, status) == (given, 401)
        assert b"scrape-me" not in body
        assert b"modelwatch_" not in body
    for given in RIGHT:
        status, body = scraped(given)
        assert (given, status) == (given, 200)
        assert b"modelwatch_live_up" in body


def test_without_one_everybody_is(scraped: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the variable is there and empty."""
    monkeypatch.delenv("MODELWATCH_METRICS_TOKEN", raising=False)
    assert scraped("")[0] == 200
    monkeypatch.setenv("MODELWATCH_METRICS_TOKEN", "")
    assert scraped("")[0] == 200
