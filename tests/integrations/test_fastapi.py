"""FastAPI and Starlette: the names of routes, what a handler says of its request, and the routes that are added."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI
from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, NoMatchFound, Route, Router
from starlette.staticfiles import StaticFiles

import modelwatch
from integrations.calling import call, requests, samples
from modelwatch.integrations.asgi import Middleware, metrics_app
from modelwatch.integrations.fastapi import instrument
from modelwatch.integrations.hostregistry import host_registry
from modelwatch.record.monitor import Monitor
from modelwatch.schema import ModelSchema

ID = "x-modelwatch-request-id"


def test_routers_and_mounts_give_the_whole_path(monitor: Monitor, tmp_path: Path) -> None:
    """One router under two prefixes is two endpoints; the parameters of mounts stay names; series exist at 0 as such."""
    app, below, inner, outer = FastAPI(), FastAPI(), APIRouter(prefix="/inner"), APIRouter(prefix="/outer")

    @inner.get("/x/{y}")
    async def x(y: str) -> str:
        return y

    @below.get("/deep/{n}")
    def deep(n: int) -> int:
        return n

    outer.include_router(inner, prefix="/mid")
    app.include_router(outer, prefix="/api")
    app.include_router(inner, prefix="/again")
    app.mount("/tenants/{tenant}", below)
    app.mount("/page", Starlette(routes=[Route("/{p}", lambda _r: PlainTextResponse("p"))]))
    (tmp_path / "file.txt").write_text("x")
    app.mount("/static", StaticFiles(directory=tmp_path))
    instrument(app, monitor)
    for i in range(5):
        assert call(app, f"/api/outer/mid/inner/x/{i}").status == 200
        assert call(app, f"/proxy/again/inner/x/{i}", root_path="/proxy").status == 200
        assert call(app, f"/tenants/{i}/deep/{i}").status == 200
        assert call(app, f"/tenants/{i}/nothing").status == 404
        assert call(app, f"/page/{i}").status == 200
        assert call(app, f"/static/{i}").status == 404
    assert call(app, "/static/file.txt").status == 200
    assert call(app, "/again/inner/x/1/").status == 307
    assert [call(app, "/again/inner/x/1", method=m).status for m in ("POST", "HEAD", "OPTIONS")] == [405, 405, 405]
    found = {
        "/api/outer/mid/inner/x/{y}": 5, "/again/inner/x/{y}": 8, "/tenants/{tenant}/deep/{n}": 5, "/page/{p}": 5,
        "/static": 6, "__unmatched__": 6,
    }  # fmt: skip
    assert requests(monitor) == found
    named = set(re.findall('ml_requests_total{.*endpoint="([^"]*)"', monitor.metrics().decode()))
    assert {path for path in named if "docs" not in path and "openapi" not in path and "redoc" not in path} == set(
        found
    )


def test_starlette_routes_of_one_endpoint_are_told_apart(monitor: Monitor) -> None:
    """One function or class behind several routes is as many endpoints, also below mounts and hosts."""

    def same(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("same")

    class View(HTTPEndpoint):
        async def get(self, _request: Request) -> PlainTextResponse:
            return PlainTextResponse("view")

    leaf = [Route("/leaf/{z}", same), Mount("/deeper", routes=[Route("/w.w", same)])]
    host = Host("api.example", Router([Route("/hosted/{i}", View)]))
    app = Starlette(routes=[host, Route("/v1/s", same), Route("/v2/s/{q:path}", same), Mount("/t/{t}", routes=leaf)])
    instrument(app, monitor)
    for path in ("/v1/s", "/v2/s/3/4", "/t/a/leaf/1", "/t/b/leaf/2", "/t/b/deeper/w.w", "/t/b/none", "/none"):
        call(app, path)
    call(app, "/p/t/c/leaf/3", root_path="/p")
    call(app, "/hosted/1", headers=[(b"host", b"api.example")])
    call(app, "/hosted/1")
    assert requests(monitor) == {
        "/v1/s": 1, "/v2/s/{q:path}": 1, "/t/{t}/leaf/{z}": 3, "/t/{t}/deeper/w.w": 1, "/hosted/{i}": 1,
        "__unmatched__": 3,
    }  # fmt: skip


def test_route_that_was_added_later_has_its_path(monitor: Monitor) -> None:
    """A route that did not exist at the first request is known by its own path."""
    app = FastAPI()
    instrument(app, monitor)
    call(app, "/nothing")

    @app.get("/later/{i}")
    def later(i: int) -> int:
        return i

    call(app, "/later/1")
    assert requests(monitor) == {"__unmatched__": 1, "/later/{i}": 1}


def test_framework_without_routes_can_name_its_endpoint(monitor: Monitor) -> None:
    """An app of any other framework says its endpoint to `current_request`."""

    async def bare(_scope: Any, _receive: Any, send: Any) -> None:
        modelwatch.current_request().endpoint = "predict"
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    assert ID in call(Middleware(bare, monitor), "/whatever/1").headers
    assert requests(monitor) == {"predict": 1}


def test_every_answer_of_the_app_has_an_id_of_its_own(monitor: Monitor) -> None:
    """Answers of handlers, refusals, unknown paths and handled errors have a header of 128 random bits each."""
    app = FastAPI()

    @app.get("/items/{item}")
    def item(item: int) -> int:
        return item

    @app.get("/fail")
    def fail() -> None:
        raise KeyError("handled")

    @app.exception_handler(KeyError)
    async def handled(_request: Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("sorry", 500)

    instrument(app, monitor)
    paths = {"/items/1": 200, "/items/x": 422, "/nothing": 404, "/fail": 500, "/docs": 200}
    answers = {path: call(app, path) for path in paths}
    answers["POST"] = call(app, "/items/1", method="POST")
    assert {path: answer.status for path, answer in answers.items()} == paths | {"POST": 405}
    ids = [answer.headers[ID] for answer in answers.values()]
    assert all(re.fullmatch("[0-9a-f]{32}", found) for found in ids)
    assert len(set(ids)) == len(paths) + 1
    assert samples(monitor)["ml_errors_total", "/fail", "http_500"] == 1


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_handler_adds_to_the_one_event(tmp_path: Path, kind: str) -> None:
    """Prediction, confidence, segment and features said in a handler, in its thread or on the loop, are one request's."""
    schema = ModelSchema(classes=("a", "b"), categorical={"language": ("de", "en")})
    monitor, app, threads = Monitor("said", "1", schema, live=tmp_path / "live.db"), FastAPI(), set()

    def say() -> dict[str, str]:
        threads.add(threading.current_thread())
        request = modelwatch.current_request()
        request.segment = "books"
        request.predicted("a", confidence=0.6, features={"language": "de"})
        return {"id": request.id}

    async def say_on_the_loop() -> dict[str, str]:
        return say()

    app.get("/predict")(say if kind == "sync" else say_on_the_loop)
    app.middleware("http")(_pass_on)  # runs the handler in a task of its own
    instrument(app, monitor)
    answer = call(app, "/predict")
    assert answer.headers[ID].encode() in answer.body
    assert (threading.main_thread() in threads) == (kind == "async")
    found = samples(monitor)
    assert found["ml_requests_total", "/predict"] == 1
    assert found["ml_request_duration_seconds_count", "/predict"] == 1
    assert found["ml_predictions_by_class_total", "a"] == 1
    assert found["ml_prediction_confidence_count",] == 1
    assert found["ml_low_confidence_predictions_total", "0.7"] == 1
    assert found["ml_requests_by_segment_total", "books"] == 1
    assert found["ml_feature_category_total", "language", "de"] == 1
    monitor.close()


async def _pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def test_instrumented_twice_keeps_what_was_said(monitor: Monitor) -> None:
    """An app that is instrumented twice counts once, with its prediction, hands out one id, and counts no scrape."""
    app = FastAPI()

    @app.get("/predict")
    def predict() -> str:
        modelwatch.current_request().predicted("a")
        return modelwatch.current_request().id

    instrument(app, monitor)
    instrument(app, monitor)
    answer = call(app, "/predict")
    assert answer.ids == [answer.body.decode().strip('"')]
    assert call(app, "/metrics").status == 200
    found = samples(monitor)
    assert requests(monitor) == {"/predict": 1}
    assert found["ml_predictions_by_class_total", "a"] == 1


def test_watched_call_after_the_answer_counts_for_itself(monitor: Monitor) -> None:
    """A background task, whose request has been counted already, is not lost in it."""
    app = FastAPI()

    @monitor.endpoint("score")
    def score() -> dict[str, str]:
        return {"label": "a"}

    @app.get("/answer")
    async def answer(tasks: BackgroundTasks) -> None:
        tasks.add_task(score)

    instrument(app, monitor)
    call(app, "/answer")
    assert requests(monitor) == {"/answer": 1, "score": 1}
    assert samples(monitor)["ml_predictions_by_class_total", "a"] == 1


def test_own_routes_do_not_hide_and_are_not_hidden(monitor: Monitor) -> None:
    """A health check in a router stays the app's; a route for every path does not swallow the scrape."""
    app, router = FastAPI(), APIRouter()

    @router.get("/healthz")
    def health() -> str:
        return "mine"

    app.include_router(router)

    @app.get("/{path:path}")
    def everything(path: str) -> str:
        return path

    instrument(app, monitor)
    assert b"mine" in call(app, "/healthz").body
    assert b"# HELP ml_requests_total" in call(app, "/metrics").body
    assert b'"no_store"' in call(app, "/feedback", method="POST").body
    assert call(app, "/any/thing").body == b'"any/thing"'
    assert requests(monitor) == {"/healthz": 1, "/{path:path}": 1}


def test_own_routes_leave_the_app_its_names_methods_and_prefix(monitor: Monitor) -> None:
    """An app finds its own routes by name; ours refuse a wrong method, and answer behind a proxy's prefix."""
    app = FastAPI()

    @app.get("/items/{item}", name="item")
    def item(item: str) -> str:
        return item

    instrument(app, monitor)
    assert app.url_path_for("item", item="7") == "/items/7"
    with pytest.raises(NoMatchFound):
        app.url_path_for("nothing")
    assert call(app, "/metrics", method="POST").status == 405
    assert [call(app, path, root_path="/m").status for path in ("/metrics", "/m/metrics")] == [200, 200]
    assert "/metrics" not in app.openapi()["paths"]


def test_registry_in_use_is_shown_without_its_process(monitor: Monitor) -> None:
    """The default registry's families stand on the page, in both formats; those of one process do not."""
    own = Gauge("shop_basket", "Baskets.")
    own.set(7)
    try:
        app = metrics_app(monitor)
        text = call(app, "/metrics").body.decode()
        openmetrics = call(app, "/metrics", headers=[(b"accept", b"application/openmetrics-text")]).body.decode()
    finally:
        from prometheus_client import REGISTRY

        REGISTRY.unregister(own)
    for page in (text, openmetrics):
        assert "\nshop_basket 7.0\n" in page
        assert not re.search("process_|python_", page)
    assert openmetrics.count("# EOF") == 1


@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_files_of_other_workers_cannot_break_the_page(
    monitor: Monitor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """With prometheus_client's own files a missing folder or a torn file costs only their families."""
    folder = tmp_path / "files"
    if damage == "torn":
        folder.mkdir()
        (folder / "counter_1.db").write_bytes(b"\x01")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    assert isinstance(host_registry(), CollectorRegistry)
    answer = call(metrics_app(monitor), "/metrics")
    assert answer.status == 200
    assert b"ml_model_info" in answer.body
    assert b'modelwatch_collector_errors_total{family="AllWorkers"} 1.0' in answer.body


def test_page_at_the_cap_of_labels(tmp_path: Path) -> None:
    """With every label at its cap the page is answered and stays below 5 MB."""
    features: dict[str, tuple[str, ...]] = {f"f{i}": () for i in range(3)}
    monitor = Monitor("full", "1", ModelSchema(categorical=features, cap=1000), live=tmp_path / "live.db")
    for i in range(3000):
        text = f"value-{i}"
        monitor.record(
            text, duration=0.01, prediction=text, segment=text, error=text, features=dict.fromkeys(features, text)
        )
    answer = call(metrics_app(monitor), "/metrics", headers=[(b"accept-encoding", b"gzip")])
    assert answer.status == 200
    found = samples(monitor)
    assert sum(n for key, n in found.items() if key[0] == "ml_requests_total") == 3000
    assert found["ml_requests_total", "__other__"] >= 2000
    assert len(monitor.metrics()) < 5_000_000
    monitor.close()
