"""Counts from a Prometheus: what one that is down, slow or answers garbage costs, and what a question looks like."""

from __future__ import annotations

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwatch import names
from modelwatch.errors import ConfigError
from modelwatch.schema import ModelSchema
from modelwatch.sources.prometheus import Client, PrometheusUnavailable
from modelwatch.sources.prometheus.client import Series
from modelwatch.sources.prometheus.tallies import COUNTED, Answers, expression, schemas_of
from support import free_port, require

CONFIG = 'service: {name: api}\nmodels: {m: {version: "1", task: classification, classes: [a]}}\n'
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextlib.contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """A web server that answers every question in its way, as its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(OSError):
                answer(self)

        def do_GET(self) -> None:  # what a POST becomes that is sent elsewhere
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def saying(body: bytes | str, status: int = 200) -> Answer:
    """Return what answers with a text."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(body.encode() if isinstance(body, str) else body)

    return answer


def result(kind: str, series: list[Any]) -> str:
    """Return an answer of a Prometheus."""
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": series}})


GARBAGE = {
    "html": saying("<html>login</html>"),
    "bytes": saying(b"\xff\xfe\x00"),
    "nothing": saying(""),
    "a number": saying("3"),
    "another form": saying(result("matrix", [{"metric": {}, "values": [[1, "1"]]}])),
    "no data": saying('{"status": "success"}'),
    "no values": saying(result("vector", [{"metric": {}}])),
    "words for a number": saying(result("vector", [{"metric": {}, "value": [1, "many"]}])),
    "a list of nothing": saying('{"status": "success", "data": {"resultType": "vector", "result": [null]}}'),
    "an error": saying('{"status": "error", "error": "bad\\nquery \\u001b[31m"}', 400),
    "a refusal": saying("go away", 403),
    "a proxy without it": saying("", 502),
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_garbage_is_one_line(answer: Answer) -> None:
    """Whatever answers, the fault names the address and is one line without control characters."""
    with answering(answer) as url:
        with pytest.raises(PrometheusUnavailable, match=url) as told:
            Client(url).query("vector(1)")
    assert str(told.value).isprintable()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """Whoever it leads to would be sent the name and the password."""
    asked = []

    def keep(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(handler.headers.get("Authorization"))
        saying(result("vector", []))(handler)

    with answering(keep) as elsewhere:

        def lead(handler: http.server.BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Location", elsewhere)
            handler.end_headers()

        with answering(lead) as url, pytest.raises(PrometheusUnavailable, match=f"status {status}"):
            Client(url.replace("//", "//ann:secret@")).query("vector(1)")
    assert asked == []


def test_what_it_says_of_an_error_is_shown() -> None:
    """A query that is too heavy says so itself."""
    body = '{"status": "error", "error": "query processing would load too many samples into memory"}'
    with (
        answering(saying(body, 422)) as url,
        pytest.raises(PrometheusUnavailable, match="status 422, query processing"),
    ):
        Client(url).query("vector(1)")


def test_a_slow_one_costs_the_time_that_is_given() -> None:
    """Silence, and an answer that comes a byte at a time, end after the time for one question."""

    def hang(_handler: http.server.BaseHTTPRequestHandler) -> None:
        time.sleep(3)

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(30):
            handler.wfile.write(b" ")
            time.sleep(0.1)

    for answer in (hang, drip):
        with answering(answer) as url:
            began = time.monotonic()
            with pytest.raises(PrometheusUnavailable, match="silent"):
                Client(url, wall_s=0.5).query("vector(1)")
            assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("url", ["", "prometheus:9090", "file:///etc/passwd", "http://", "ftp://h", "http://h:port"])
def test_no_address(url: str) -> None:
    """What is no web address is refused before anybody is asked."""
    with pytest.raises(ConfigError, match="expected an address that begins with http"):
        Client(url)


def test_a_password_is_sent_and_never_shown() -> None:
    """It goes into the header, and no message has it."""
    got: list[str | None] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        got.append(handler.headers.get("Authorization"))
        saying("no")(handler)

    with answering(answer) as url, pytest.raises(PrometheusUnavailable) as told:
        Client(url.replace("://", "://me:s3cret@")).query("vector(1)")
    assert got == ["Basic bWU6czNjcmV0"]
    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("command", ["status", "alerts", "slo"])
def test_commands_say_what_is_wrong(tmp_path: Path, command: str) -> None:
    """Nobody listens: one line, exit code 1, and with --json the same in JSON; a wrong address is exit code 2."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    url = f"http://127.0.0.1:{free_port()}"

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        told = [sys.executable, "-m", "modelwatch", command, *more]
        return subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    done = run("--prometheus", url, "--json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and url in done.stderr and "Connection refused" in done.stderr
    assert json.loads(done.stdout)["error"] in done.stderr
    assert run("--prometheus", "localhost").returncode == 2


def test_a_model_without_series_is_named(tmp_path: Path) -> None:
    """A Prometheus that runs and knows nothing of the model: the message names the model and what to look for."""
    from modelwatch.testing import running_prometheus

    require("prometheus")
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    (tmp_path / "p").mkdir()
    with running_prometheus(tmp_path / "p") as server:
        told = [sys.executable, "-m", "modelwatch", "status", "--prometheus", server.url]
        done = subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "series of m is 'none'; expected ml_model_info of the last day" in done.stderr


# -- tallies -----------------------------------------------------------------------------------------------------------


def of(metric: names.Metric, value: float, **labels: str) -> Series:
    """Return a series of one value at time 0, of version 1."""
    return Series({"counted": metric.name, "model_version": "1", **labels}, {0.0: value})


def test_series_become_counts() -> None:
    """Cumulative buckets become counts between edges, whole numbers that never fall; other versions are left out."""
    upto = {"0.1": 3.02, "0.5": 2.98, "2": 7.4, "+Inf": 8.1}  # replicas are not scraped at one moment
    found = [of(names.DURATION, n, endpoint="/p", le=le) for le, n in upto.items()]
    found += [of(names.REQUESTS, 8.49, endpoint="/p"), of(names.REQUESTS, 1.6, endpoint="/q")]
    found += [Series({"counted": names.REQUESTS.name, "model_version": "2", "endpoint": "/p"}, {0.0: 99.0})]
    found += [
        of(names.FAILED, float("nan"), endpoint="/p"),
        Series({"counted": "else", "model_version": "1"}, {0.0: 1}),
    ]
    schemas = schemas_of(ModelSchema(), [each for each in found if "le" in each.labels], ["1", "2"])
    assert schemas["1"].latency == (0.1, 0.5, 2.0)
    tally = Answers(found, schemas).tally("1", 0.0)
    assert tally.as_dict() == {
        names.DURATION.name: {("/p",): ([3, 0, 4, 1], 0)},
        names.REQUESTS.name: {("/p",): ([8], 0), ("/q",): ([2], 0)},
    }


def test_a_hostile_model_stays_a_label(tmp_path: Path) -> None:
    """A name with quotes, braces and a line end is one matcher: promtool reads the question, and finds no other part."""
    import yaml

    from modelwatch.signals.core import MODEL, matcher

    hostile = 'a b"c\n{{ }}"} or vector(1) #'
    text = expression(COUNTED, matcher(MODEL, hostile), "300s")
    (tmp_path / "r.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": [{"record": "a:b:c", "expr": text}]}]})
    )
    done = subprocess.run(
        [require("promtool"), "check", "rules", str(tmp_path / "r.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert text.count("label_replace(") == len(COUNTED)
