"""From the counts of a service to PagerDuty, Slack and the dead-man's receiver, by real programs, in fast motion."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelwatch import stack
from modelwatch.testing.receivers import Receiver, running_receiver
from support import free_port, require

TEXT = """
service: {{name: api, health_url: "http://127.0.0.1:{service}/healthz"}}
models: {{m: {{version: "1", task: regression}}}}
alerting:
  receivers:
    oncall: {{pagerduty: {{routing_key: "${{KEY}}", url: "{base}/pagerduty"}}}}
    team: {{slack: "${{SLACK}}"}}
    alive: {{webhook: "{base}/alive"}}
  routes: {{critical: [oncall, team], warning: [team], info: [team]}}
  deadman: alive
time_scale: 30
"""
SERIES = """
ml_model_info{{model_name="m",model_version="1"}} 1
ml_requests_total{{model_name="m",model_version="1",endpoint="/p"}} {requests}
ml_requests_cancelled_total{{model_name="m",model_version="1",endpoint="/p"}} 0
ml_requests_failed_total{{model_name="m",model_version="1",endpoint="/p"}} {failed}
"""


class Page:
    """The /metrics of a service whose requests come at 100 a second, and fail while `failing`."""

    def __init__(self) -> None:
        self.failing, self.requests, self.failed, self._at = False, 0.0, 0.0, time.monotonic()

    def text(self) -> bytes:
        """Count up to now."""
        now = time.monotonic()
        more = 100 * (now - self._at)
        self._at, self.requests = now, self.requests + more
        self.failed += more / 2 if self.failing else 0
        return SERIES.format(requests=self.requests, failed=self.failed).encode()


@contextlib.contextmanager
def served(page: Page, port: int) -> Iterator[http.server.ThreadingHTTPServer]:
    """Serve the page until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.text())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.3)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_incident_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors page once and resolve; while the service is down nothing of it resolves; Watchdog arrives all the time."""
    require("prometheus")
    require("prometheus-alertmanager")
    with running_receiver() as web:
        port, page, state = free_port(), Page(), tmp_path / "state"
        monkeypatch.setenv("KEY", "routing-key")
        monkeypatch.setenv("SLACK", f"{web.url}/slack")
        (tmp_path / "modelwatch.yaml").write_text(TEXT.format(service=port, base=web.url))
        ports = {"prometheus": free_port(), "alertmanager": free_port()}

        def told(path: str, *words: str) -> int:
            return sum(all(word in text for word in words) for text in _texts(web, path))

        try:
            with served(page, port):
                stack.up(tmp_path / "modelwatch.yaml", state, say=lambda _line: None, docker=False, ports=ports)
                _until(lambda: told("/alive", "Watchdog", "firing") > 0, "no Watchdog")
                page.failing = True
                _until(lambda: told("/pagerduty", "routing-key", "trigger", "m: ") > 0, "PagerDuty was not told")
                _until(lambda: told("/slack", "FIRING: HighErrorRate (critical)") > 0, "Slack was not told")
                page.failing = False
                _until(lambda: told("/pagerduty", '"resolve"') > 0, "PagerDuty was not told of its end")
                _until(
                    lambda: told("/slack", "RESOLVED: HighErrorRate (critical)") > 0, "Slack was not told of its end"
                )
                page.failing = True
                _until(lambda: told("/pagerduty", '"trigger"', "of requests fail") > 1, "no second incident")
            ended = told("/pagerduty", '"resolve"')
            _until(
                lambda: told("/pagerduty", '"trigger"', "the service is down") > 0, "nobody was told that it is down"
            )
            time.sleep(30)  # a quarter of an hour of this configuration
            assert told("/pagerduty", '"resolve"') == ended
            alive = told("/alive", "Watchdog")
            _until(lambda: told("/alive", "Watchdog") > alive, "Watchdog stopped")
        finally:
            stack.down(state)


def _texts(web: Receiver, path: str) -> list[str]:
    return [json.dumps(each.body) for each in list(web.requests) if each.path.startswith(path)]
