"""What watching an ASGI app adds to one request, without a network: the app is called with a scope of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from itertools import repeat
from typing import Any

from fastapi import FastAPI, Request, Response

from bench import brief
from bench.harness import Contender, Effort, Gate, Row, added, awaited, best, missing, monitored
from modelwatch.integrations import fastapi as ours
from modelwatch.integrations.asgi import Middleware

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUESTS = 400  # a round
EXPORTERS = {
    "prometheus-fastapi-instrumentator": "prometheus_fastapi_instrumentator",
    "starlette-exporter": "starlette_exporter",
}
BRIEF = '@app.middleware("http") with the brief\'s metrics'


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the middleware."""
    absent = {name: missing(module) for name, module in EXPORTERS.items()}
    events = asyncio.new_event_loop()
    with monitored(0) as monitor:
        watched = _service()
        ours.instrument(watched, monitor)
        apps: dict[str, App] = {"ours": watched, BRIEF: _with_brief()}
        apps |= {name: _with_exporter(name) for name, why in absent.items() if not why}
        contenders = {"bare": _contender(events, _service())}
        contenders |= {name: _contender(events, app) for name, app in apps.items()}
        contenders["ours"] = _contender(events, watched, monitor.recorder.fold_waiting)
        found = best(contenders, effort.rounds, REQUESTS)
        on_empty = best(
            {
                "bare": _contender(events, _empty),
                "ours": _contender(events, Middleware(_empty, monitor), monitor.recorder.fold_waiting),
            },
            effort.rounds,
            REQUESTS * 5,
        )
    events.close()
    return _rows(added(found, "bare"), found["bare"], added(on_empty, "bare")["ours"], absent)


def _rows(more: dict[str, float], bare: float, on_empty: float, absent: dict[str, str]) -> list[Row]:
    what, limit = "middleware on FastAPI, a request", Gate("at most", 5e-6)
    figures = {name: more[name] for name, why in absent.items() if not why}
    names = sorted(figures, key=lambda name: figures[name])  # the best one is the one to be under
    rows = [
        Row("middleware on an empty ASGI app, a request", on_empty, gate=limit),
        Row(what, more["ours"], "the bare request", bare, limit),
    ]
    names += [name for name, why in absent.items() if why]
    for place, name in enumerate(names):
        gate = None if place else Gate("under the peer", 8)
        rows.append(Row(what, more["ours"], name, figures.get(name), gate, note=absent[name]))
    rows.append(Row(what, more["ours"], BRIEF, more[BRIEF]))
    return rows


def _contender(events: asyncio.AbstractEventLoop, app: App, settle: Callable[[], object] = lambda: None) -> Contender:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and message["status"] != 200:
            raise AssertionError(f"the app answered {message['status']}")

    async def run(n: int) -> None:
        for _ in repeat(None, n):
            await app(_scope(), receive, send)

    return Contender(awaited(events, run), settle)


def _scope() -> Scope:
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/predict", "raw_path": b"/predict", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*")], "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000), "state": {},
    }  # fmt: skip


async def _empty(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def _service() -> FastAPI:
    app = FastAPI()

    @app.get("/predict")
    async def predict() -> dict[str, str]:
        return {"label": "positive"}

    return app


def _with_brief() -> FastAPI:
    """Return the service with the brief's request metrics in a middleware of the usual form."""
    app = _service()
    model = "sentiment_classifier"

    @app.middleware("http")
    async def monitor(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        endpoint, version = request.url.path, brief.get_model_version()
        brief.REQUEST_COUNT.labels(model_name=model, endpoint=endpoint, model_version=version).inc()
        brief.IN_PROGRESS.labels(model_name=model).inc()
        start_time = time.time()
        try:
            response = await call_next(request)
            brief.REQUEST_LATENCY.labels(model_name=model, endpoint=endpoint).observe(time.time() - start_time)
            return response
        except Exception as error:
            brief.ERROR_COUNT.labels(model_name=model, endpoint=endpoint, error_type=type(error).__name__).inc()
            raise
        finally:
            brief.IN_PROGRESS.labels(model_name=model).dec()

    return app


def _with_exporter(name: str) -> FastAPI:
    app = _service()
    if name == "starlette-exporter":
        from starlette_exporter import PrometheusMiddleware

        app.add_middleware(PrometheusMiddleware)
    else:
        from prometheus_client import CollectorRegistry
        from prometheus_fastapi_instrumentator import Instrumentator

        Instrumentator(registry=CollectorRegistry()).instrument(app)
    return app
