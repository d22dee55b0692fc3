"""modelwatch load: it finds what a service holds, within its bounds, against a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from modelwatch.cli import app
from modelwatch.errors import ConfigError
from modelwatch.load import Plan, load


@contextmanager
def serving(seconds: float, at_once: int = 1, status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Serve answers that take so long, so many at once: at most at_once / seconds requests per second."""
    room, seen = threading.Semaphore(at_once), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Wait for room, work, answer."""
            length = int(self.headers.get("content-length", 0))
            seen.append(self.rfile.read(length).decode() if length else self.command)
            with room:
                time.sleep(seconds)
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        do_POST = do_GET

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 1000

        def handle_error(self, *_arguments: object) -> None:
            """Clients that time out are part of the test."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_finds_the_rate_that_is_held() -> None:
    """A service of 40 requests per second: more than a quarter of it is held, and no more than it can do."""
    with serving(0.025) as (url, _):
        report = load(Plan(url, threshold_s=0.4, start=10, step_s=1.0, total_s=9))
    assert report.held is not None
    assert report.broken is not None
    assert 10 <= report.held <= 60
    assert report.broken > report.held
    assert any(not step.held for step in report.steps)


def test_errors_are_not_held() -> None:
    """Fast failures are no throughput."""
    with serving(0.0, status=503) as (url, _):
        report = load(Plan(url, start=5, step_s=0.4))
    assert (report.held, report.ended) == (None, "the first step was not held")
    assert report.steps[0].failed == 1.0
    assert report.steps[0].fast == 1.0


def test_stays_within_its_bounds() -> None:
    """Never above the highest rate, never longer than the time; a body is posted."""
    with serving(0.0) as (url, seen):
        report = load(
            Plan(url, method="POST", body='{"text": "x"}', threshold_s=5, start=4, most=16, step_s=0.5, total_s=60)
        )
        sent = len(seen)
        assert set(seen) == {'{"text": "x"}'}
        began = time.monotonic()
        short = load(Plan(url, start=4, most=1000, step_s=0.5, total_s=1.2))
        took = time.monotonic() - began
    assert report.held == 16
    assert [step.offered for step in report.steps] == [4, 8, 16]
    assert sent == sum(step.requests for step in report.steps) == 14
    assert short.ended == "stopped after 1.2 s"
    assert took < 5


def test_nobody_there() -> None:
    """A refused connection is a failed request, not an exception."""
    with serving(0.0) as (url, _):
        pass
    report = load(Plan(url, start=5, step_s=0.4))
    assert report.held is None
    assert report.steps[0].failed == 1.0


@pytest.mark.parametrize(
    ("given", "field"), [({"url": "localhost:8000"}, "url"), ({"url": "http://x", "most": 0}, "most")]
)
def test_bad_plans(given: dict[str, object], field: str) -> None:
    """The message names the option."""
    with pytest.raises(ConfigError, match=f"load: {field} is"):
        Plan(**given)  # type: ignore[arg-type]


def test_command() -> None:
    """It prints a table, or JSON; exit code 1 when nothing was held."""
    with serving(0.0) as (url, _):
        found = CliRunner().invoke(
            app, ["load", url, "--start", "4", "--most", "4", "--step", "0.5", "--threshold", "5", "--json"]
        )
        assert found.exit_code == 0
        assert json.loads(found.stdout)["held"] == 4
        found = CliRunner().invoke(
            app, ["load", url, "--start", "4", "--most", "4", "--step", "0.5", "--threshold", "5"]
        )
    assert "Held: 4.0 requests per second (4 is the most that was to be tried)." in found.stdout
    found = CliRunner().invoke(app, ["load", url, "--start", "4", "--most", "4", "--step", "0.3"])
    assert found.exit_code == 1
