"""The pages mounted in the application of a user, and in two places of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp

from modelwatch import Monitor
from modelwatch.config import load_config
from modelwatch.server.desk import Desk
from modelwatch.server.web import pages_app
from modelwatch.sources.settings import settings
from modelwatch.sources.standing import StandingSource
from modelwatch.sources.status import StatusSource
from serve.test_proxy import Visitor
from server.test_review import CONFIG

PREFIX = "/ops/ml"


def test_the_pages_are_mounted_in_the_application_of_a_user(tmp_path: Path, serve: Callable[[ASGIApp], str]) -> None:
    """At a prefix of their choice, beside their own routes, with links, fragments and files below it."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(CONFIG.format(task="classification", classes="classes: [negative, positive]"))
    config, monitor = load_config(path), Monitor.from_config(path)
    monitor.record("/predict", duration=0.01, prediction="positive", confidence=0.8, request_id="one", input="one")
    assert monitor.flush(5)
    source, standing = StatusSource.from_config(config), StandingSource(config)
    assert monitor.review is not None
    own = FastAPI()
    own.get("/predict")(lambda: {"label": "positive"})
    own.mount(PREFIX, pages_app(
        lambda: {**source.read(), **standing.read()}, Desk([monitor.review]), settings=lambda: settings(config)
    ))  # fmt: skip
    who = Visitor(serve(own))
    assert who.send("GET", "/predict").json() == {"label": "positive"}
    who.walk(f"{PREFIX}/")
    assert [path for path in who.seen if not path.startswith(f"{PREFIX}/")] == []
    assert {path: code for path, code in who.seen.items() if code != 200} == {}
    assert len(who.seen) > 25
    assert who.send("GET", f"{PREFIX}/api/status").json()["models"][0]["name"] == "m"
    assert who.send("GET", "/api/status").status_code == 404
    monitor.close()
    source.close()
