"""Counts of a job at a real Pushgateway: exact, in their own group; whatever the gateway does, the job goes on in time."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import basic_auth_handler, pushadd_to_gateway
from prometheus_client.parser import text_string_to_metric_families

from modelwatch import Monitor
from modelwatch.errors import ModelwatchError
from modelwatch.schema import ModelSchema
from modelwatch.testing import Service, StuckStore, running_service
from support import free_port, require

COMMAND = ["prometheus-pushgateway", "--web.listen-address=127.0.0.1:{port}", "--persistence.file="]
# of the user "job" with the password "secret", as `htpasswd -bnBC 4 job secret` prints it
USERS = {"basic_auth_users": {"job": "$2b$04$GJLjC17zn1yZoUQ/lQh4E.4OiNRQsXH7mTwy3suQxK08VPH828UBG"}}

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def gateway() -> Iterator[Service]:
    """A Pushgateway that knows nothing yet."""
    require("prometheus-pushgateway")
    with running_service(COMMAND, ready="/-/ready") as service:
        yield service


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor with an endless histogram edge below 0, so that a sum is left out."""
    schema = ModelSchema(classes=("a", "b"), numeric={"x": ((-1.0, 0.0, 1.0), (-1.0, 0.0, 1.0))})
    made = Monitor("pushed", "1", schema, live=tmp_path / "live.db")
    yield made
    made.close()


def values(page: str, job: str | None = None) -> Values:
    """Return {(name, labels): value} of a page; `job`: of this group only, without what the gateway adds."""
    found: Values = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = dict(sample.labels)
            if "le" in labels:
                labels["le"] = str(float(labels["le"]))
            if labels.pop("job", None) == job and not sample.name.startswith("push_"):
                if job is not None:
                    labels.pop("instance", None)
                found[sample.name, frozenset(labels.items())] = sample.value
    return found


def work(monitor: Monitor) -> None:
    """Record 1,000 rows, some of them with labels that hurt."""
    for i in range(1000):
        hostile = ['say "yes"', "back\\slash", "new\nline", "ü\ud800"][i % 4]
        monitor.record(
            hostile, duration=0.01 * (i % 7), prediction="ab"[i % 2], confidence=i / 1000, features={"x": i % 5 - 2.0},
            error="Broken" if i % 50 == 0 else None,
        )  # fmt: skip


def test_the_gateway_has_every_series_with_its_value(gateway: Service, monitor: Monitor) -> None:
    """All that the page shows is at the gateway, with the same labels and values, hostile ones included."""
    work(monitor)
    assert monitor.push(gateway.url, "nightly") is True
    ours, theirs = values(monitor.metrics().decode()), values(gateway.read("/metrics"), "nightly")
    later = {"modelwatch_flush_lag_seconds"}
    assert {key for key in ours if key not in theirs} == set()
    differing = {key[0] for key, value in ours.items() if theirs[key] != value}
    assert differing <= later
    assert gateway.value("ml_requests_total", job="nightly") == 1000
    assert gateway.value("ml_requests_failed_total", job="nightly") == 20
    # the gateway shows a sum of 0 where we have none
    assert {key[0] for key in theirs if key not in ours} <= {"ml_feature_value_sum"}


def test_a_job_goes_on_counting_where_it_ended(gateway: Service, tmp_path: Path) -> None:
    """The next run of a job pushes the sum of all its runs: a counter never falls. Each run replaces its group."""
    for version in ("1", "2"):
        monitor = Monitor("nightly", version, live=tmp_path / "live.db")
        for _ in range(100):
            monitor.record("batch", prediction="a")
        assert monitor.push(gateway.url, "nightly")
        monitor.close()
        gone = gateway.value("seen", job="nightly")
        registry = CollectorRegistry()
        Gauge("seen", "What somebody else pushed into this group.", registry=registry).set(1)
        pushadd_to_gateway(gateway.url, "nightly", registry)
    assert gone == 0
    assert gateway.value("ml_requests_total", job="nightly", model_version="1") == 100
    assert gateway.value("ml_requests_total", job="nightly", model_version="2") == 100


@pytest.mark.parametrize("name", ["a/b", "a b+c", "..", "ü", "%2F", "job@base64", '"', "x" * 500])
def test_jobs_and_grouping_keys_arrive_as_they_were_given(gateway: Service, monitor: Monitor, name: str) -> None:
    """Whatever is in the name of a job or of a group, the gateway has just that."""
    monitor.record("batch")
    assert monitor.push(gateway.url, name, {"instance": name, "shard": 3, "none": ""})
    assert gateway.value("ml_requests_total", job=name, instance=name, shard="3", none="") == 1
    assert gateway.value("ml_requests_total") == 1


def test_the_jobs_own_metrics_go_along(gateway: Service, monitor: Monitor) -> None:
    """Families of a prometheus_client registry are pushed in the same group."""
    registry = CollectorRegistry()
    Gauge("rows_read", "Rows.", registry=registry).set(7)
    assert monitor.push(f"127.0.0.1:{gateway.port}/", "nightly", registry=registry)
    assert gateway.value("rows_read", job="nightly") == 7
    assert gateway.value("ml_model_info", job="nightly") == 1


def test_credentials_are_given_by_the_handler(monitor: Monitor, tmp_path: Path) -> None:
    """Without credentials the gateway answers 401, and that is said; with prometheus_client's handler it takes them."""
    require("prometheus-pushgateway")
    config = tmp_path / "web.yml"
    config.write_text(json.dumps(USERS))

    def signed(**request: object) -> Callable[[], None]:
        return basic_auth_handler(**request, username="job", password="secret")  # type: ignore[arg-type]

    with running_service([*COMMAND, f"--web.config.file={config}"], ready="/-/ready") as gateway:
        deadline = time.monotonic() + 10
        while not monitor.push(gateway.url, "nightly", handler=signed) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert monitor.push(gateway.url, "nightly", handler=signed)
        with pytest.raises(ModelwatchError, match="is 401; expected 200 or 202. Give the credentials by handler="):
            monitor.push(gateway.url, "nightly", check=True)


def test_a_gateway_that_refuses_says_so(gateway: Service, monitor: Monitor) -> None:
    """Another job has pushed one of our names as another type: 400, in words, and the job goes on."""
    registry = CollectorRegistry()
    Gauge("ml_requests_total", "Not ours.", registry=registry).set(3)
    pushadd_to_gateway(gateway.url, "other", registry)
    monitor.record("batch")
    assert monitor.push(gateway.url, "nightly") is False
    with pytest.raises(ModelwatchError, match="is 400; expected 200 or 202. The gateway's log says why"):
        monitor.push(gateway.url, "nightly", check=True)
    with pytest.raises(ModelwatchError, match="is 404; expected 200 or 202. Give the address"):
        monitor.push(f"{gateway.url}/metrics", "nightly", check=True)


def test_a_gateway_that_is_down(monitor: Monitor, caplog: pytest.LogCaptureFixture) -> None:
    """The push fails at once, is logged in one line and counted; what was recorded is in the next push."""
    url = f"http://127.0.0.1:{free_port()}"
    monitor.record("batch")
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING, "modelwatch"):
        assert monitor.push(url, "nightly") is False
    assert time.monotonic() - begin < 5
    (record,) = caplog.records
    assert record.getMessage() == (
        f"modelwatch: push: the answer of {url} is '[Errno 111] Connection refused'; expected 200 or 202."
        " Check that it runs and that its address is right."
    )
    assert monitor.flush(5)
    page = monitor.metrics().decode()
    assert 'modelwatch_internal_errors_total{model_name="pushed",model_version="1",where="push"} 1\n' in page
    assert 'ml_requests_total{model_name="pushed",model_version="1",endpoint="batch"} 1\n' in page


@pytest.mark.parametrize("drip", [b"", b"H"])
def test_a_gateway_that_hangs_costs_no_more_than_the_timeout(monitor: Monitor, drip: bytes) -> None:
    """One that takes the connection and is silent, and one that answers a byte at a time: False, in time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            client, _ = server.accept()
            with client:
                while not over.wait(0.1):
                    try:
                        client.sendall(drip)
                    except OSError:
                        return

        thread = threading.Thread(target=serve)
        thread.start()
        begin = time.monotonic()
        with pytest.raises(ModelwatchError, match="is 'no answer after 1 s'; expected an answer within them"):
            monitor.push(f"127.0.0.1:{server.getsockname()[1]}", "nightly", timeout=1, check=True)
        took = time.monotonic() - begin
        over.set()
        thread.join()
    assert 0.9 < took < 4


def test_a_stuck_store_pushes_nothing(gateway: Service, monitor: Monitor, tmp_path: Path) -> None:
    """Counts that are not all kept are not pushed as if they were all: the gateway keeps the time of the last push."""
    monitor.record("batch")
    assert monitor.push(gateway.url, "nightly")
    with StuckStore(tmp_path / "live.db"):
        monitor.record("batch")
        begin = time.monotonic()
        with pytest.raises(ModelwatchError, match=r"live\.db is behind|no answer after 1 s"):
            monitor.push(gateway.url, "nightly", timeout=1, check=True)
        assert time.monotonic() - begin < 4
    assert gateway.value("ml_requests_total", job="nightly") == 1
    assert monitor.push(gateway.url, "nightly")
    assert gateway.value("ml_requests_total", job="nightly") == 2


class Rude:
    """A value without a text."""

    def __str__(self) -> str:
        """Refuse."""
        raise RuntimeError("no")


URL = "http://127.0.0.1:9091"


@pytest.mark.parametrize(
    ("url", "job", "key", "timeout", "said"),
    [
        (None, "j", None, 1, "url is None; expected the address of a Pushgateway"),
        ("", "j", None, 1, "url is ''"),
        ("ftp://gateway", "j", None, 1, "url is 'ftp://gateway'"),
        ("http://[::1", "j", None, 1, "url is"),
        ("gateway:port", "j", None, 1, "url is 'gateway:port'"),
        ("http://gateway/?a=1", "j", None, 1, "url is"),
        ("http://me:geheim@gateway:9091", "j", None, 1, "url is 'http://…@gateway:9091'"),
        ("me:geheim@gateway:9091", "j", None, 1, "url is"),
        (URL, "", None, 1, "job is ''; expected the name of the job"),
        (URL, None, None, 1, "job is None"),
        (URL, "\ud800", None, 1, "grouping_key is 'UnicodeEncodeError'"),
        (URL, "j", {"job": "k"}, 1, "grouping_key is 'job'; expected a name of a label that our metrics do not have"),
        (URL, "j", {"model_name": "k"}, 1, "grouping_key is 'model_name'"),
        (URL, "j", {"endpoint": "k"}, 1, "grouping_key is 'endpoint'"),
        (URL, "j", {"__name__": "k"}, 1, "grouping_key is '__name__'"),
        (URL, "j", {"a-b": "k"}, 1, "grouping_key is 'a-b'"),
        (URL, "j", {"a": Rude()}, 1, "grouping_key is 'RuntimeError'"),
        (URL, "j", [1], 1, "grouping_key is 'AttributeError'"),
        (URL, "j", None, 0, "timeout is 0; expected a number of seconds above 0"),
        (URL, "j", None, float("nan"), "timeout is nan"),
        (URL, "j", None, None, "timeout is None"),
        (URL, "j", None, 1e300, "timeout is 1e\\+300"),
    ],
)  # fmt: skip
def test_mistakes_are_said_and_stop_no_job(
    monitor: Monitor,
    caplog: pytest.LogCaptureFixture,
    url: str,
    job: str,
    key: dict[str, str],
    timeout: float,
    said: str,
) -> None:
    """Each is False and one line of the log, without a password; asked to, it raises."""
    with caplog.at_level(logging.WARNING, "modelwatch"):
        assert monitor.push(url, job, key, timeout=timeout) is False
    (record,) = caplog.records
    assert record.getMessage().startswith("modelwatch: push: ")
    assert "geheim" not in record.getMessage()
    with pytest.raises(ModelwatchError, match=said):
        monitor.push(url, job, key, timeout=timeout, check=True)


def test_a_handler_that_fails_stops_no_job(monitor: Monitor) -> None:
    """What a handler of the job's own raises is named by its class."""

    def broken(**_: object) -> Callable[[], None]:
        raise LookupError("password")

    assert monitor.push(URL, "nightly", handler=broken) is False
    with pytest.raises(ModelwatchError, match="is 'LookupError'; expected a handler that sends"):
        monitor.push(URL, "nightly", handler=broken, check=True)


class Shouting(logging.Handler):
    """A log handler that is itself broken."""

    def emit(self, record: logging.LogRecord) -> None:
        """Raise."""
        raise OSError("disk full")


def test_a_broken_log_handler_stops_no_job(monitor: Monitor) -> None:
    """The push is False all the same."""
    handler = Shouting()
    logging.getLogger("modelwatch").addHandler(handler)
    try:
        assert monitor.push("", "nightly") is False
    finally:
        logging.getLogger("modelwatch").removeHandler(handler)
