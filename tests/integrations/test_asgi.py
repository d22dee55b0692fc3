"""ASGI and FastAPI: every way to answer a request is counted once, timed to its end, under the name of its route."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, WebSocket
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from starlette.websockets import WebSocketDisconnect

import modelwatch
from integrations.calling import Answer, acall, call, requests, samples
from modelwatch.integrations.asgi import Middleware, metrics_app
from modelwatch.integrations.fastapi import instrument
from modelwatch.record.monitor import Monitor
from modelwatch.record.worker import Worker
from modelwatch.testing import StuckStore

PAUSE_S = 0.05


def service(monitor: Monitor) -> FastAPI:
    """An app with every way to answer."""
    app = FastAPI()

    @app.get("/sync")
    def sync() -> dict[str, str]:
        time.sleep(PAUSE_S)
        return {"is": "sync"}

    @app.get("/async")
    async def asynchronous() -> dict[str, str]:
        await asyncio.sleep(PAUSE_S)
        return {"is": "async"}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for _ in range(3):
                await asyncio.sleep(PAUSE_S / 3)
                yield b"part"

        return StreamingResponse(parts())

    @app.get("/midway")
    async def midway() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"part"
            raise KeyError("gone")

        return StreamingResponse(parts())

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> dict[str, str]:
        async def later() -> None:
            await asyncio.sleep(10 * PAUSE_S)

        tasks.add_task(later)
        return {"is": "answered"}

    @app.get("/items/{item}")
    async def item(item: str) -> dict[str, str]:
        return {"item": item}

    @app.get("/raise")
    async def fail() -> None:
        raise ValueError("no")

    @app.get("/busy")
    async def busy() -> None:
        raise HTTPException(503, "busy")

    @app.get("/unknown-item")
    async def missing() -> None:
        raise HTTPException(404, "no such item")

    @app.get("/slow")
    async def slow() -> None:
        await asyncio.sleep(30)

    @app.post("/label")
    async def label(body: dict[str, Any]) -> dict[str, str]:
        request = modelwatch.current_request()
        request.segment = body["label"]
        request.predicted(body["label"], confidence=0.6)
        return {"id": request.id}

    @app.get("/said/sync")
    def said() -> dict[str, str]:
        request = modelwatch.current_request()
        request.predicted("b", confidence=0.9)
        return {"id": request.id}

    @app.get("/named/sync")
    @monitor.endpoint("named-sync")
    def named_sync() -> dict[str, Any]:
        return {"label": "a", "confidence": 0.8}

    @app.get("/named/async")
    @monitor.endpoint("named-async")
    async def named_async() -> dict[str, Any]:
        raise RuntimeError("inner")

    @app.exception_handler(RuntimeError)
    async def handled(_request: Request, _error: Exception) -> JSONResponse:
        return JSONResponse({"error": "handled"}, 500)

    router = APIRouter(prefix="/v1")

    @router.get("/models/{name}")
    async def versioned(name: str) -> dict[str, str]:
        return {"name": name}

    app.include_router(router)

    @app.websocket("/socket")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await asyncio.sleep(PAUSE_S)
        await websocket.close()

    below = FastAPI()

    @below.get("/deep/{n}")
    async def deep(n: int) -> dict[str, int]:
        return {"n": n}

    app.mount("/sub", below)
    instrument(app, monitor)
    return app


@pytest.mark.parametrize("path", ["/sync", "/async", "/stream"])
def test_duration_is_that_of_the_whole_answer(monitor: Monitor, path: str) -> None:
    """Sync, async and streamed answers are timed to their end, counted once, and leave nothing in progress."""
    assert call(service(monitor), path).status == 200
    found = samples(monitor)
    assert found["ml_requests_total", path] == 1
    assert found["ml_request_duration_seconds_count", path] == 1
    assert found["ml_request_duration_seconds_sum", path] >= PAUSE_S
    assert not monitor.recorder.busy


def test_background_task_is_not_part_of_the_answer(monitor: Monitor) -> None:
    """A background task runs after the answer: the duration ends before it."""
    begin = time.monotonic()
    call(service(monitor), "/background")
    assert time.monotonic() - begin >= 10 * PAUSE_S
    assert samples(monitor)["ml_request_duration_seconds_sum", "/background"] < 10 * PAUSE_S


def test_request_in_flight_is_in_progress_and_not_yet_counted(monitor: Monitor) -> None:
    """A request and its error count together, at its end: until then it is in progress and in no ratio."""
    app, go, seen = FastAPI(), threading.Event(), {}

    @app.get("/fail")
    def fail() -> None:
        go.wait(20)
        raise HTTPException(503)

    instrument(app, monitor)

    async def together() -> None:
        asked = [asyncio.ensure_future(acall(app, "/fail")) for _ in range(3)]
        while len(monitor.recorder.busy) < 3:
            await asyncio.sleep(0.01)
        seen.update(samples(monitor))
        go.set()
        await asyncio.gather(*asked)

    asyncio.run(together())
    assert seen["ml_requests_in_progress",] == 3
    assert not [key for key in seen if key[0] in ("ml_requests_total", "ml_errors_total")]
    found = samples(monitor)
    assert ("ml_requests_in_progress",) not in found
    assert found["ml_requests_total", "/fail"] == found["ml_errors_total", "/fail", "http_503"] == 3


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/raise", "ValueError"), ("/midway", "KeyError"), ("/busy", "http_503"), ("/named/async", "RuntimeError")],
)
def test_failures_are_one_failed_request_with_a_duration(monitor: Monitor, path: str, kind: str) -> None:
    """Exceptions, also in the middle of a stream, also handled ones, and 5xx are errors of their kind."""
    app = service(monitor)
    try:
        call(app, path)
    except Exception as error:
        assert kind in repr(error)
        assert path in ("/raise", "/midway")
    endpoint = "named-async" if path == "/named/async" else path
    found = samples(monitor)
    assert found["ml_errors_total", endpoint, kind] == 1
    assert found["ml_requests_failed_total", endpoint] == 1
    assert found["ml_request_duration_seconds_count", endpoint] == 1
    assert requests(monitor) == {endpoint: 1}


def test_failure_of_a_task_has_its_own_name(monitor: Monitor) -> None:
    """An exception that a group of tasks has wrapped is counted by its own class."""

    async def fail() -> None:
        raise LookupError("inner")

    async def bare(_scope: Any, _receive: Any, _send: Any) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)

    with pytest.raises(Exception, match="TaskGroup"):
        call(Middleware(bare, monitor), "/whatever")
    assert samples(monitor)["ml_errors_total", "__unmatched__", "LookupError"] == 1


def test_client_errors_are_no_errors(monitor: Monitor) -> None:
    """404 by a handler, an unknown path and a wrong method are answered requests."""
    app = service(monitor)
    assert [call(app, path).status for path in ("/unknown-item", "/nowhere")] == [404, 404]
    assert call(app, "/sync", method="DELETE").status == 405
    found = samples(monitor)
    assert not [key for key in found if key[0] in ("ml_errors_total", "ml_requests_failed_total")]
    assert requests(monitor)["/unknown-item"] == 1


def test_endpoints_are_routes_never_paths(monitor: Monitor) -> None:
    """Random paths add one series; ids in a route add one; prefixes, mounts and a proxy's prefix are told apart."""
    app, chance = service(monitor), random.Random(1)

    async def many() -> None:
        for _ in range(10_000):
            await acall(app, f"/{chance.random()}/x")
        for _ in range(1000):
            await acall(app, f"/items/{chance.random()}")

    asyncio.run(many())
    call(app, "/v1/models/churn")
    call(app, "/sub/deep/7")
    call(app, "/proxy/sub/deep/8", root_path="/proxy")
    assert requests(monitor) == {
        "__unmatched__": 10_000, "/items/{item}": 1000, "/v1/models/{name}": 1, "/sub/deep/{n}": 2,
    }  # fmt: skip


def test_known_routes_exist_at_zero(monitor: Monitor) -> None:
    """After the first request every route's series exists: its first error is an increase from 0."""
    call(service(monitor), "/sync")
    assert monitor.flush(5)
    page = monitor.metrics().decode()
    assert 'ml_requests_failed_total{model_name="asgi",model_version="1",endpoint="/busy"} 0' in page
    assert 'endpoint="/metrics"' not in page


def test_inner_name_wins_and_counts_once(monitor: Monitor) -> None:
    """A watched handler behind the middleware is one request, by the inner name, with its answer; also in a thread."""
    call(service(monitor), "/named/sync")
    found = samples(monitor)
    assert requests(monitor) == {"named-sync": 1}
    assert found["ml_predictions_by_class_total", "a"] == 1


def test_instrumented_twice_counts_once(monitor: Monitor) -> None:
    """Two middlewares of one monitor count a request once."""
    app = service(monitor)
    app.add_middleware(Middleware, monitor=monitor)
    call(app, "/async")
    assert requests(monitor) == {"/async": 1}


@pytest.mark.parametrize("path", ["/said/sync", "/label"])
def test_current_request_of_a_handler(monitor: Monitor, path: str) -> None:
    """What a handler says of its request is in the one event; its id is that of the header, 128 bits."""
    app = service(monitor)
    method = "POST" if path == "/label" else "GET"
    headers = [(b"content-type", b"application/json")]
    answers = [call(app, path, method=method, body=b'{"label": "b"}', headers=headers) for _ in range(20)]
    ids = {answer.headers["x-modelwatch-request-id"] for answer in answers}
    assert len(ids) == 20
    assert all(answer.headers["x-modelwatch-request-id"] in answer.body.decode() for answer in answers)
    assert samples(monitor)["ml_predictions_by_class_total", "b"] == 20


def test_surrogate_label_by_json_breaks_no_scrape(monitor: Monitor) -> None:
    """A lone surrogate posted as a label is replaced: every later scrape is answered."""
    app = service(monitor)
    headers = [(b"content-type", b"application/json")]
    assert call(app, "/label", method="POST", body=b'{"label": "\\ud800"}', headers=headers).status == 200
    assert samples(monitor)["ml_predictions_by_class_total", "?"] == 1
    assert call(app, "/metrics").status == 200


def test_disconnected_clients_are_cancelled(monitor: Monitor) -> None:
    """Clients that leave at random: started = ok + failed + cancelled, cancelled in no duration, nothing in progress."""
    app = service(monitor)

    async def one(chance: random.Random) -> None:
        task = asyncio.ensure_future(acall(app, chance.choice(["/slow", "/async", "/busy", "/stream"])))
        await asyncio.sleep(chance.random() * 2 * PAUSE_S)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def many() -> None:
        chance = random.Random(2)
        for _ in range(10):
            await asyncio.gather(*(one(chance) for _ in range(100)))

    asyncio.run(many())
    found = samples(monitor)

    def total(name: str) -> float:
        return sum(n for key, n in found.items() if key[0] == name)

    assert total("ml_requests_total") == 1000
    assert total("ml_requests_cancelled_total") > 200
    assert total("ml_request_duration_seconds_count") == 1000 - total("ml_requests_cancelled_total")
    assert total("ml_requests_failed_total") == total("ml_errors_total")
    assert not [key for key in found if key[0] == "ml_errors_total" and key[2] != "http_503"]
    assert not monitor.recorder.busy


def test_told_disconnect_is_cancelled(monitor: Monitor) -> None:
    """An app that hears of the disconnect, as a stream does, was cancelled."""

    async def endless(_request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0.01)
                yield b"x"

        return StreamingResponse(parts())

    app = Starlette(routes=[Route("/endless", endless)])
    instrument(app, monitor)
    call(app, "/endless", gone_after=0.05)
    found = samples(monitor)
    assert found["ml_requests_cancelled_total", "/endless"] == 1
    assert ("ml_request_duration_seconds_count", "/endless") not in found


def test_client_that_leaves_while_it_sends_is_cancelled(monitor: Monitor) -> None:
    """A body that never comes is the client's end, not the answer that the framework would have given."""
    app = service(monitor)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": "/label", "query_string": b"", "root_path": "", "state": {}}
    asyncio.run(app(scope | {"headers": [(b"content-type", b"application/json")]}, receive, send))
    found = samples(monitor)
    assert found["ml_requests_cancelled_total", "/label"] == 1
    assert not [key for key in found if key[0] in ("ml_errors_total", "ml_request_duration_seconds_count")]


def test_request_that_is_closed_from_outside_is_cancelled(monitor: Monitor) -> None:
    """A request whose coroutine is closed, as an ending event loop does, was cancelled."""

    class Never:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def bare(_scope: Any, _receive: Any, _send: Any) -> None:
        await Never()

    request = acall(Middleware(bare, monitor), "/whatever")
    request.send(None)
    request.close()
    found = samples(monitor)
    assert found["ml_requests_cancelled_total", "__unmatched__"] == 1
    assert not [key for key in found if key[0] == "ml_errors_total"]


async def connect(app: Any, path: str, inbox: list[dict[str, Any]]) -> list[str]:
    """Open a WebSocket as a server does, hand in `inbox` after the connect, and return the types of what was sent."""
    sent = []
    messages = [{"type": "websocket.connect"}, *inbox]

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.sleep(60)
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    scope = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
    more: dict[str, Any] = {
        "asgi": {"version": "3.0"},
        "headers": [],
        "subprotocols": [],
        "client": None,
        "server": None,
        "state": {},
    }
    await app(scope | more, receive, send)
    return sent


def test_websocket_is_one_request(monitor: Monitor) -> None:
    """A WebSocket counts as one request over its whole life."""
    assert asyncio.run(connect(service(monitor), "/socket", [])) == ["websocket.accept", "websocket.close"]
    found = samples(monitor)
    assert found["ml_requests_total", "/socket"] == 1
    assert found["ml_request_duration_seconds_sum", "/socket"] >= PAUSE_S
    assert not monitor.recorder.busy


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ({"type": "websocket.disconnect", "code": 1000}, "ok"),
        ({"type": "websocket.disconnect", "code": 1001}, "ok"),
        ({"type": "websocket.disconnect", "code": 1006}, "cancelled"),
        ({"type": "websocket.receive", "text": "raise"}, "ValueError"),
        ({"type": "websocket.receive", "text": "close"}, "websocket_1011"),
    ],
)
def test_websocket_ends(monitor: Monitor, said: dict[str, Any], ends: str) -> None:
    """A client that closes has been answered, one that is lost was cancelled; what the service does wrong is an error."""
    app = FastAPI()

    @app.websocket("/rooms/{room}")
    async def talk(websocket: WebSocket, room: str) -> None:
        await websocket.accept()
        text = await websocket.receive_text()  # raises when the client has closed, which few services expect
        if text == "raise":
            raise ValueError(room)
        await websocket.close(1011)

    instrument(app, monitor)
    with contextlib.suppress(WebSocketDisconnect, ValueError):
        asyncio.run(connect(app, "/rooms/7", [said]))
    found = samples(monitor)
    assert found["ml_requests_total", "/rooms/{room}"] == 1
    assert found.get(("ml_requests_cancelled_total", "/rooms/{room}"), 0) == (ends == "cancelled")
    errors = [key[2] for key in found if key[0] == "ml_errors_total"]
    assert errors == ([] if ends in ("ok", "cancelled") else [ends])
    assert found.get(("ml_request_duration_seconds_count", "/rooms/{room}"), 0) == (ends != "cancelled")
    assert not monitor.recorder.busy


def test_plain_starlette_and_unknown_frameworks(monitor: Monitor) -> None:
    """Starlette's class-based views and mounts have their routes; a bare ASGI function is `__unmatched__`."""

    class View(HTTPEndpoint):
        async def get(self, _request: Request) -> PlainTextResponse:
            return PlainTextResponse("view")

    inner = Route("/inner/{x}", View)
    app = Starlette(
        routes=[
            Route("/view", View),
            Mount("/below", routes=[Route("/other", lambda _r: PlainTextResponse("o")), inner]),
        ]
    )
    instrument(app, monitor)
    assert [call(app, path).body for path in ("/view", "/below/other")] == [b"view", b"o"]

    async def bare(_scope: Any, _receive: Any, send: Callable[..., Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"bare"})

    call(Middleware(bare, monitor), "/whatever")
    assert requests(monitor) == {"/view": 1, "/below/other": 1, "__unmatched__": 1}


def test_own_routes(monitor: Monitor) -> None:
    """Health and feedback answer in their forms and are not counted; a route of the app's own stays its own."""
    app = FastAPI()

    @app.get("/healthz")
    async def health() -> dict[str, str]:
        return {"mine": "yes"}

    instrument(app, monitor, ignore=["/internal"])
    assert b"mine" in call(app, "/healthz").body
    answer = call(app, "/feedback", method="POST")
    assert answer.status == 503
    assert b'"no_store"' in answer.body
    call(app, "/internal/anything")
    call(app, "/metrics")
    assert requests(monitor) == {"/healthz": 1}


def test_scrape_negotiation(monitor: Monitor) -> None:
    """Text by default, OpenMetrics and gzip where asked for."""
    app = service(monitor)
    call(app, "/sync")
    assert monitor.flush(5)
    plain = call(app, "/metrics")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE ml_requests_total counter" in plain.body
    accept = [(b"accept", b"application/openmetrics-text"), (b"accept-encoding", b"gzip, br")]
    packed = call(app, "/metrics", headers=accept)
    assert packed.headers["content-encoding"] == "gzip"
    text = gzip.decompress(packed.body)
    assert text.endswith(b"# EOF\n")
    assert b"# TYPE ml_requests counter" in text


def test_scrape_is_answered_off_the_loop_while_every_thread_is_busy(monitor: Monitor) -> None:
    """All forty threads of the service are blocked: the scrape is answered, and not by the event loop's thread."""
    app, release, threads = service(monitor), threading.Event(), []
    original = monitor.worker.scrape.render

    def render(**options: Any) -> bytes:
        threads.append(threading.current_thread())
        return original(**options)

    monitor.worker.scrape.render = render  # type: ignore[method-assign]

    @app.get("/block")
    def block() -> None:
        release.wait(20)

    async def together() -> Answer:
        blocked = [asyncio.ensure_future(acall(app, "/block")) for _ in range(60)]
        await asyncio.sleep(0.3)
        try:
            return await asyncio.wait_for(acall(app, "/metrics"), 5)
        finally:
            release.set()
            await asyncio.gather(*blocked)

    assert asyncio.run(together()).status == 200
    assert threads
    assert threading.main_thread() not in threads


def test_host_registry_is_shown_and_cannot_break_the_page(monitor: Monitor) -> None:
    """Metrics of the host stand beside ours; one of our names and a collector that raises cost only themselves."""
    registry = CollectorRegistry()
    Counter("shop_orders", "Orders.", registry=registry).inc(3)
    Counter("ml_requests", "Not ours.", registry=registry).inc(99)

    class Broken:
        def collect(self) -> Any:
            raise OSError("gone")

    registry.register(Broken())
    answer = call(metrics_app(monitor, registry), "/metrics")
    assert answer.status == 200
    assert b"shop_orders_total 3.0" in answer.body
    assert b" 99" not in answer.body
    assert samples(monitor)["modelwatch_collector_errors_total", "Broken"] >= 1


def test_page_while_another_worker_makes_the_file(tmp_path: Path) -> None:
    """A scrape between the making of the file and that of its tables shows no counts, and is no fault of ours."""
    worker = Worker(tmp_path / "live.db")
    worker.path.touch()
    with worker.reading:
        assert worker.poll() == {}
    assert not worker.faults.pending


def test_stuck_store_fails_no_request(monitor: Monitor, tmp_path: Path) -> None:
    """Somebody holds the file: every request is answered, the scrape says so, and afterwards all is counted."""
    app = service(monitor)
    assert monitor.flush(5)
    with StuckStore(tmp_path / "live.db"):
        assert {call(app, f"/items/{i}").status for i in range(200)} == {200}
        assert not monitor.flush(2)
        page = call(app, "/metrics")
        assert page.status == 200
        assert b"modelwatch_live_up 0.0" in page.body
    assert requests(monitor)["/items/{item}"] == 200


def test_lifespan_shutdown_commits(monitor: Monitor, tmp_path: Path) -> None:
    """When the app is told to stop, what was counted is in the file before it has stopped."""
    app = service(monitor)

    async def live_and_die() -> None:
        inbox = asyncio.Queue[dict[str, Any]]()
        sent = []
        await inbox.put({"type": "lifespan.startup"})

        async def send(message: Any) -> None:
            sent.append(message["type"])

        lifespan = asyncio.ensure_future(
            app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, send)
        )
        await asyncio.sleep(0.05)
        await acall(app, "/items/1")
        await inbox.put({"type": "lifespan.shutdown"})
        await lifespan
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(live_and_die())
    assert not monitor.worker.is_running()
    from modelwatch.sources.status import StatusSource

    source = StatusSource(tmp_path / "live.db")
    (model,) = source.read()["models"]
    source.close()
    assert model["details"]["requests"] == 1
