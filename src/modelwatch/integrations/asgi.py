"""Pure ASGI: a middleware that times and counts every request, and the app that answers a scrape.

Needs no framework.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

from modelwatch.events import CANCELLED
from modelwatch.exposition import OPENMETRICS, TEXT
from modelwatch.integrations.hostregistry import host_registry
from modelwatch.integrations.routes import Routes
from modelwatch.integrations.scrapetoken import REFUSAL, may_scrape
from modelwatch.labels import name_of
from modelwatch.record.monitor import Monitor
from modelwatch.record.request import Request, current

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID_HEADER = b"x-modelwatch-request-id"
GZIP_FROM = 1000  # bytes
WATCHED = "modelwatch"  # key of the scope: who counts this request already
#: How a request has ended whose app raised one of these: its client has gone, or closed a WebSocket as it should.
ENDINGS: dict[str, str | None] = {
    **dict.fromkeys((CANCELLED, "ClientDisconnect", "ClientDisconnected", "Cancelled", "GeneratorExit"), CANCELLED),
    "WebSocketDisconnect": None,
}
BROKEN = (1006, 1012)  # codes of a WebSocket whose peer was lost, or whose server went down
FAILED = (1011, 1012, 1013, 1014)  # codes by which a service says that it cannot go on
REQUESTS = ("http", "websocket")


class Middleware:
    """Counts every HTTP request and WebSocket connection of an ASGI app.

    The endpoint is the route, never the path; a request that no route answered is `__unmatched__`. A streamed
    answer is timed to its end. A request whose client goes away is cancelled, not failed. Of two middlewares of one
    monitor the outer one counts.

    Parameters
    ----------
    app : the ASGI app.
    monitor : counts.
    ignore : paths, and what lies below them, that are not counted.
    """

    def __init__(self, app: App, monitor: Monitor, ignore: Collection[str] = ()) -> None:
        self.app, self.monitor = app, monitor
        self.recorder, self.enter = monitor.recorder, monitor.recorder.busy.append
        self._ignored = frozenset(ignore)
        self._below = tuple(f"{path.rstrip('/')}/" for path in ignore if path != "/")
        self.routes = Routes()
        self._learned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        kind, recorder = scope["type"], self.recorder
        if kind not in REQUESTS or scope.get(WATCHED) is recorder:
            await (self._lifespan if kind == "lifespan" else self.app)(scope, receive, send)
            return
        path, root_path = scope["path"], scope.get("root_path", "")
        if root_path:
            path = path.removeprefix(root_path)
        if path in self._ignored or path.startswith(self._below):
            await self.app(scope, receive, send)
            return
        scope[WATCHED] = recorder
        if not self._learned:
            self._learn_routes(scope)
        exchange = _Exchange(self, scope, receive, send, root_path)
        token = current.set(exchange)
        try:
            await self.app(scope, exchange.receiving, exchange.sending)
        except BaseException as error:
            name = _name(error)
            exchange.finish(ENDINGS.get(name, name))
            raise
        else:
            if not exchange.done:
                exchange.finish(None)
        finally:
            current.reset(token)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start counting with the app; when it ends, store what is left.

        A worker that is told to stop may not reach `atexit`.
        """

        async def sending(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self.monitor.worker.start()
                self._learn_routes(scope)
            elif message["type"].startswith("lifespan.shutdown"):
                await asyncio.get_running_loop().run_in_executor(_threads(), self.monitor.close)
            await send(message)

        await self.app(scope, receive, sending)

    def _learn_routes(self, scope: Scope) -> None:
        """Make the series of every route exist, at 0."""
        self._learned = True
        try:
            self.routes = Routes(getattr(scope.get("app"), "routes", ()))
            for path in self.routes.paths:
                if path not in self._ignored and not path.startswith(self._below):
                    self.recorder.know_endpoint(path)
        except Exception as error:  # noqa: BLE001 - a framework we do not know
            self.recorder.faults.add("routes", error, ours=False)


class _Exchange(Request):
    """One request and its answer."""

    __slots__ = ("done", "gone", "middleware", "outer", "receive", "root_path", "scope", "send", "status")

    def __init__(self, middleware: Middleware, scope: Scope, receive: Receive, send: Send, root_path: str) -> None:
        self.middleware, self.scope, self.receive, self.send = middleware, scope, receive, send
        self.root_path, self.status, self.outer = root_path, 0, current.get()
        self.done = self.gone = False
        middleware.enter(None)
        Request.__init__(self, middleware.monitor)  # which reads the clock

    async def receiving(self) -> Message:
        message = await self.receive()
        kind = message["type"]
        if kind == "http.disconnect":
            self.gone = not self.done
        elif kind == "websocket.disconnect":
            self.gone = not self.status and message.get("code") in BROKEN
        return message

    def sending(self, message: Message) -> Awaitable[None]:
        """Pass a message on; no coroutine of our own but for the last one."""
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, self.id.encode())]
        elif kind == "http.response.body":
            if not message.get("more_body"):
                return self._sending_last(message)
        elif kind == "websocket.close":
            self.status = message.get("code", 1000)
        return self.send(message)

    async def _sending_last(self, message: Message) -> None:
        await self.send(message)
        self.finish(None)

    def finish(self, error: str | None) -> None:
        """Count the request, once: at the end of the answer, or of the app when there was none."""
        if self.done:
            return
        duration = perf_counter() - self.start
        self.done = True
        if error is None and (self.gone or not 0 < self.status < 500 or self.scope["type"] == "websocket"):
            error = self._error()
        if self.endpoint is None:
            scope, routes = self.scope, self.middleware.routes
            self.endpoint = routes.only.get(id(scope.get("endpoint"))) or routes.answered(scope, self.root_path)
        self.monitor.finish(self, duration, error, self.outer)  # type: ignore[union-attr]  # it has one

    def _error(self) -> str | None:
        if self.gone:
            return CANCELLED
        if self.scope["type"] == "websocket":
            return f"websocket_{self.status}" if self.status in FAILED else None
        if self.status >= 500:
            return self.error or f"http_{self.status}"
        return "no_response"


def _name(error: BaseException) -> str:
    """Return the class of an exception, taken out of the group that a framework's tasks may have put around it."""
    name = name_of(type(error))
    while name in ("ExceptionGroup", "BaseExceptionGroup") and len(error.exceptions) == 1:  # type: ignore[attr-defined]
        (error,) = error.exceptions  # type: ignore[attr-defined]  # of Python 3.11, or its backport
        name = name_of(type(error))
    return name


# -- the scrape --------------------------------------------------------------------------------------------------------

_executor: ThreadPoolExecutor | None = None


def _threads() -> ThreadPoolExecutor:
    """Threads of our own: a scrape is answered when all threads of the service are busy, too."""
    global _executor  # noqa: PLW0603 - one pool a process
    if _executor is None:
        _executor = ThreadPoolExecutor(2, thread_name_prefix="modelwatch-scrape")
    return _executor


def _forget_threads() -> None:
    global _executor  # noqa: PLW0603 - threads do not survive a fork
    _executor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def metrics_app(monitor: Monitor, registry: Any = None) -> App:
    """Return the ASGI app that answers a scrape, off the event loop.

    Where `$MODELWATCH_METRICS_TOKEN` is set, it answers who sends that as `Authorization: Bearer …`.

    registry : a prometheus_client registry to show beside the counts; by default the one in use by the host, if it
        uses one.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        headers = dict(scope["headers"])
        if not may_scrape(headers.get(b"authorization", b"").decode("latin-1")):
            await respond(send, 401, REFUSAL.encode(), [(b"content-type", b"application/json")])
            return
        openmetrics = b"application/openmetrics-text" in headers.get(b"accept", b"")
        zipped = b"gzip" in headers.get(b"accept-encoding", b"")
        chosen = registry if registry is not None else host_registry()

        def render() -> tuple[bytes, bool]:
            body = monitor.metrics(openmetrics=openmetrics, registry=chosen)
            pack = zipped and len(body) >= GZIP_FROM
            return (gzip.compress(body, 1) if pack else body), pack

        body, packed = await asyncio.get_running_loop().run_in_executor(_threads(), render)
        answer = [
            (b"content-type", (OPENMETRICS if openmetrics else TEXT).encode()),
            (b"vary", b"accept, accept-encoding"),
        ]
        if packed:
            answer.append((b"content-encoding", b"gzip"))
        await respond(send, 200, body, answer)

    return app


async def respond(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Send a whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, status: int, content: Any) -> None:
    """Send JSON."""
    await respond(send, status, json.dumps(content).encode(), [(b"content-type", b"application/json")])


async def respond_error(send: Send, status: int, code: str, message: str) -> None:
    """Send the one form of an error: {"error": {"code", "message"}}."""
    await respond_json(send, status, {"error": {"code": code, "message": message}})
