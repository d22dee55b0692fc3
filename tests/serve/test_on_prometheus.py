"""`modelwatch serve --prometheus`: the pages on the counts of a real Prometheus, which answers, hangs and is gone."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.calling import Answer, call
from modelwatch.config import Config, load_config
from modelwatch.errors import ConfigError
from modelwatch.serve.onprometheus import Watching
from modelwatch.serve.run import app_on
from modelwatch.sources.prometheus import Client
from modelwatch.testing import running_prometheus, running_service
from server.test_review import CONFIG
from support import free_port, require

HERE = (b"host", b"localhost")
SERVICE = """
import sys
from pathlib import Path
from modelwatch import Monitor
from http.server import BaseHTTPRequestHandler, HTTPServer

monitor = Monitor.from_config(sys.argv[1])
for i in range(200):
    monitor.record("/predict", duration=0.02, prediction="positive", confidence=0.9, error="ValueError" if i < 4 else None)
assert monitor.flush(5)

class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        for i in range(20):
            monitor.record("/predict", duration=0.02, prediction="positive", confidence=0.9)
        monitor.flush(5)
        body = monitor.metrics()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[2])), Page).serve_forever()
"""


def page(watching: Watching, path: str) -> Answer:
    """Ask a page; nothing may take longer than a second, whatever the Prometheus does."""
    begin = time.monotonic()
    answer = call(app_on(watching), path, headers=[HERE])
    assert time.monotonic() - begin < 1.0
    return answer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with one model."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(CONFIG.format(task="classification", classes="classes: [negative, positive]"))
    return load_config(path)


@pytest.mark.timeout(240)  # a whole minute must have passed at the Prometheus
def test_the_pages_show_what_it_has_and_say_when_it_hangs(config: Config, tmp_path: Path) -> None:
    """The numbers are those of its counters; while it hangs they stay, with the reason, and cannot be told."""
    require("prometheus")
    (tmp_path / "service.py").write_text(SERVICE)
    command = [sys.executable, str(tmp_path / "service.py"), str(tmp_path / "modelwatch.yaml"), "{port}"]
    with running_service(command, ready="/metrics", folder=tmp_path) as service:
        folder = tmp_path / "prometheus"
        folder.mkdir()
        with running_prometheus(folder, [f"127.0.0.1:{service.port}"]) as prometheus:
            watching = Watching(config, Client(prometheus.url, wall_s=5.0))
            until = time.monotonic() + 90
            while not (
                watching.look() and watching.read()["models"] and watching.read()["models"][0]["details"]["requests"]
            ):
                assert time.monotonic() < until, watching.reason
                time.sleep(0.5)
            status = json.loads(page(watching, "/api/status").body)
            assert status["models"][0]["name"] == "m"
            assert status["live"] == {"path": prometheus.url, "kept": True, "reason": None}
            for path in ("/", "/quality", "/drift", "/alerts", "/slos", "/resources", "/monitor", "/settings"):
                assert (path, page(watching, path).status) == (path, 200)
            assert "review" in page(watching, "/review").body.decode().lower()
        assert not watching.look()  # it is gone
        body = page(watching, "/").body.decode()
        assert "Cannot tell" in body
        assert json.loads(page(watching, "/api/status").body)["live"]["kept"] is False


@pytest.fixture
def silent() -> Iterator[str]:
    """Return the address of one that takes every question and answers none."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_no_page_waits_for_one_that_hangs(config: Config, silent: str) -> None:
    """Before anything is known every page says so at once, and goes on saying why; the process ends in time."""
    watching = Watching(config, Client(silent, wall_s=0.5), every_s=0.1)
    watching.start()
    try:
        for path in ("/", "/drift", "/alerts", "/monitor"):
            answer = page(watching, path)
            assert (answer.status, "Cannot tell" in answer.body.decode()) == (503, True)
        until = time.monotonic() + 10
        while "not been asked" in watching.reason:
            assert time.monotonic() < until
            time.sleep(0.05)
        told = json.loads(page(watching, "/api/status").body)["error"]
        assert (told["code"], silent in told["message"]) == ("cannot_tell", True)
    finally:
        begin = time.monotonic()
        watching.stop()
        assert time.monotonic() - begin < 3


def test_an_address_that_is_none_is_one_line(config: Config) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError, match="--prometheus"):
        Client("prometheus:9090")


def test_nobody_else_may_read_it_without_a_token(config: Config) -> None:
    """The same hosts and headers as on a host's own counts; there is no exposition to scrape, and nothing to operate."""
    watching = Watching(config, Client(f"http://127.0.0.1:{free_port()}", wall_s=0.2))
    app = app_on(watching)
    assert call(app, "/", headers=[(b"host", b"evil.example")]).status == 421
    assert call(app, "/metrics", headers=[HERE]).status == 404
    assert call(app, "/healthz", headers=[HERE]).status == 200
    origin = (b"origin", b"http://localhost")
    form = (b"content-type", b"application/x-www-form-urlencoded")
    answer = call(app, "/alerts/silence", method="POST", headers=[HERE, origin, form], body=b"")
    assert (answer.status, "Nobody evaluates alerts here" in answer.body.decode()) == (503, True)
