"""WSGI, Flask and scikit-learn: what they count is what happened."""

from __future__ import annotations

import functools
import gzip
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import modelwatch
from modelwatch.integrations import flask as flask_integration
from modelwatch.integrations import sklearn as sklearn_integration
from modelwatch.integrations.wsgi import Middleware
from modelwatch.record.monitor import Monitor
from modelwatch.reference import profile_numeric
from modelwatch.schema import ModelSchema

flask = pytest.importorskip("flask")
linear_model = pytest.importorskip("sklearn.linear_model")


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor with a file of its own."""
    made = Monitor("wsgi", "1", ModelSchema(classes=("a", "b")), live=tmp_path / "live.db")
    yield made
    made.close()


def samples(monitor: Monitor) -> dict[tuple[str, ...], float]:
    """Return {(name, label values without the model's): value} of everything that is not 0."""
    assert monitor.flush(5)
    found = {}
    for family in text_string_to_metric_families(monitor.metrics().decode()):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("model_name", "model_version")}
            if sample.value:
                key = (sample.name, *labels.values())
                found[key] = sample.value
    return found


def call(app: Callable[..., Any], path: str, **environ: Any) -> tuple[str, dict[str, str], bytes]:
    """Call a WSGI app as a server does."""
    answer: dict[str, Any] = {}

    def start_response(status: str, headers: list[tuple[str, str]], _exc: Any = None) -> None:
        answer["status"], answer["headers"] = status, dict(headers)

    base = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO()}
    server = {"SERVER_NAME": "x", "SERVER_PORT": "1", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.url_scheme": "http"}
    parts = app({**base, **server, **environ}, start_response)
    try:
        body = b"".join(parts)
    finally:
        if hasattr(parts, "close"):
            parts.close()
    return answer["status"], answer["headers"], body


def plain(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    """An app that streams, fails at once, fails midway, or answers 503."""
    path = environ["PATH_INFO"]
    if path == "/raise":
        raise ValueError("no")
    start_response("503 Busy" if path == "/busy" else "200 OK", [])

    def parts() -> Iterator[bytes]:
        yield b"one"
        time.sleep(0.05)
        if path == "/midway":
            raise KeyError("gone")
        yield b"two"

    return parts()


def test_streamed_answer_is_timed_to_its_end(monitor: Monitor) -> None:
    """The duration covers the last part, the request counts once, nothing is in progress afterwards."""
    app = Middleware(plain, monitor, route=lambda environ: environ["PATH_INFO"])
    status, headers, body = call(app, "/stream")
    assert (status, body) == ("200 OK", b"onetwo")
    assert len(headers["x-modelwatch-request-id"]) == 32
    found = samples(monitor)
    assert found["ml_requests_total", "/stream"] == 1
    assert found["ml_request_duration_seconds_sum", "/stream"] >= 0.05
    assert not monitor.recorder.busy


@pytest.mark.parametrize(("path", "kind"), [("/raise", "ValueError"), ("/midway", "KeyError"), ("/busy", "http_503")])
def test_failures_are_counted_by_their_kind(monitor: Monitor, path: str, kind: str) -> None:
    """An exception, one in the middle of the answer, and a 5xx are one failed request with a duration."""
    app = Middleware(plain, monitor, route=lambda environ: environ["PATH_INFO"])
    try:
        call(app, path)
    except (ValueError, KeyError):
        assert path != "/busy"
    found = samples(monitor)
    assert found["ml_errors_total", path, kind] == 1
    assert found["ml_requests_failed_total", path] == 1
    assert found["ml_request_duration_seconds_count", path] == 1


def test_client_that_goes_away_is_cancelled(monitor: Monitor) -> None:
    """A server that closes the answer before its end has lost its client: cancelled, in no ratio."""
    app = Middleware(plain, monitor)
    parts = app({"PATH_INFO": "/x", "REQUEST_METHOD": "GET"}, lambda *_: None)
    assert next(iter(parts)) == b"one"
    parts.close()  # type: ignore[attr-defined]
    found = samples(monitor)
    assert found["ml_requests_cancelled_total", "__unmatched__"] == 1
    assert ("ml_requests_failed_total", "__unmatched__") not in found
    assert ("ml_request_duration_seconds_count", "__unmatched__") not in found


def test_scrape_is_answered_and_not_counted(monitor: Monitor) -> None:
    """`/metrics` is ours, zipped where asked, in OpenMetrics where asked, and no request."""
    app = Middleware(plain, monitor)
    status, headers, body = call(app, "/metrics")
    assert (status, headers["content-type"][:10]) == ("200 OK", "text/plain")
    _, headers, zipped = call(app, "/metrics", HTTP_ACCEPT_ENCODING="gzip", HTTP_ACCEPT="application/openmetrics-text")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(zipped).endswith(b"# EOF\n")
    assert body.count(b"# EOF") == 0
    assert ("ml_requests_total", "__unmatched__") not in samples(monitor)


@pytest.fixture
def app(monitor: Monitor) -> Any:
    """A Flask app with a parametrised route, an error, and a view that is watched by name, too."""
    made = flask.Flask("shop")

    @made.get("/items/<int:item>")
    def item(item: int) -> Any:
        request = modelwatch.current_request()
        request.segment = "books"
        request.predicted("a", confidence=0.8)
        return {"item": item, "id": request.id}

    @made.get("/fail")
    def fail() -> Any:
        raise RuntimeError("broken")

    @made.get("/named")
    @monitor.endpoint("inner")
    def named() -> Any:
        return {"label": "b", "confidence": 0.9}

    flask_integration.instrument(made, monitor)
    return made


def test_flask_counts_routes_not_paths(app: Any, monitor: Monitor) -> None:
    """Many items are one endpoint; unknown paths are `__unmatched__`; the id of the header is that of the handler."""
    client = functools.partial(app.test_client().open, buffered=True)
    for i in range(20):
        answer = client(f"/items/{i}")
        assert answer.json["id"] == answer.headers["x-modelwatch-request-id"]
        client(f"/nowhere/{i}")
    assert client("/healthz").json["status"] == "ok"
    assert client("/feedback", method="POST").status_code == 503
    found = samples(monitor)
    assert {key[1]: n for key, n in found.items() if key[0] == "ml_requests_total"} == {
        "/items/<int:item>": 20,
        "__unmatched__": 20,
    }
    assert found["ml_predictions_by_class_total", "a"] == 20
    assert found["ml_requests_by_segment_total", "books"] == 20


def test_flask_errors_and_inner_names(app: Any, monitor: Monitor) -> None:
    """A view that raises is one failed request; a watched view counts once, by its inner name."""
    client = functools.partial(app.test_client().open, buffered=True)
    assert client("/fail").status_code == 500
    assert client("/named").status_code == 200
    found = samples(monitor)
    assert found["ml_errors_total", "/fail", "RuntimeError"] == 1
    assert found["ml_requests_total", "inner"] == 1
    assert ("ml_requests_total", "/named") not in found
    assert found["ml_predictions_by_class_total", "b"] == 1


def test_instrumented_twice_counts_once(app: Any, monitor: Monitor) -> None:
    """An app that is instrumented twice, or has a second middleware, counts once and hands out one id."""
    flask_integration.instrument(app, monitor)
    app.wsgi_app = Middleware(app.wsgi_app, monitor, metrics=None)
    answer = app.test_client().get("/items/1", buffered=True)
    assert answer.headers.getlist("x-modelwatch-request-id") == [answer.json["id"]]
    found = samples(monitor)
    assert [n for key, n in found.items() if key[0] == "ml_requests_total"] == [1]
    assert found["ml_predictions_by_class_total", "a"] == 1


def test_sklearn_counts_rows_classes_confidence_and_features(tmp_path: Path) -> None:
    """Both `predict` and `predict_proba` count every row once, with its class, confidence and features; answers do not change."""
    dice = np.random.default_rng(3)
    rows = dice.normal(size=(200, 2))
    model = linear_model.LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "b", "a"))
    expected, probabilities = model.predict(rows), model.predict_proba(rows)
    profile = profile_numeric(rows[:, 0])
    schema = ModelSchema(classes=("a", "b"), numeric={"x": (profile.edges, profile.exported)})
    monitor = Monitor("sk", "1", schema, live=tmp_path / "live.db")
    assert sklearn_integration.watch(model, monitor, feature_names=["x", "y"]) is model
    assert (model.predict(rows) == expected).all()
    assert (model.predict_proba(rows) == probabilities).all()
    with pytest.raises(ValueError, match="features"):
        model.predict(rows[:, :1])
    found = samples(monitor)
    assert found["ml_requests_total", "predict"] == 201
    assert found["ml_requests_total", "predict_proba"] == 200
    assert found["ml_predictions_by_class_total", "a"] == 2 * (expected == "a").sum()
    assert found["ml_prediction_confidence_count",] == 200
    assert found["ml_prediction_confidence_sum",] == pytest.approx(probabilities.max(axis=1).sum())
    assert found["ml_feature_value_bucket", "x", "+Inf"] == 400
    assert found["ml_errors_total", "predict", "ValueError"] == 1
    monitor.close()


def test_sklearn_calls_in_threads_are_all_counted(tmp_path: Path) -> None:
    """Calls of several threads do not hide one another."""
    model = linear_model.LogisticRegression().fit([[0.0], [1.0]], ["a", "b"])
    monitor = Monitor("threads", "1", ModelSchema(classes=("a", "b")), live=tmp_path / "live.db")
    sklearn_integration.watch(model, monitor)
    threads = [threading.Thread(target=lambda: [model.predict([[0.0]]) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert samples(monitor)["ml_requests_total", "predict"] == 200
    monitor.close()
