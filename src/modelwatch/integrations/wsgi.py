"""Pure WSGI: a middleware that times and counts every request to the end of its answer, and answers a scrape."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Collection, Iterable, Iterator
from time import perf_counter
from typing import Any

from modelwatch.events import CANCELLED
from modelwatch.exposition import OPENMETRICS, TEXT
from modelwatch.integrations.hostregistry import host_registry
from modelwatch.integrations.scrapetoken import REFUSAL, may_scrape
from modelwatch.labels import name_of
from modelwatch.names import UNMATCHED
from modelwatch.record.monitor import Monitor
from modelwatch.record.request import Request, current

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

GZIP_FROM = 1000  # bytes
HEADER = "x-modelwatch-request-id"
WATCHED = "modelwatch.watched"  # key of the environ: who counts this request already


class Middleware:
    """Counts every request of a WSGI app and answers `/metrics`. Of two middlewares of one monitor the outer counts.

    Parameters
    ----------
    app : the WSGI app.
    monitor : counts.
    route : from the environ, after the app was called, to the route that answered, or None. WSGI itself knows no
        routes; without this every request is `__unmatched__`, since paths may be endless.
    metrics : path of the scrape; None: the app answers it itself.
    ignore : paths that are not counted.
    registry : a prometheus_client registry to show, too; by default the host's, if it uses one.
    """

    def __init__(
        self,
        app: App,
        monitor: Monitor,
        *,
        route: Callable[[Environ], str | None] = lambda _environ: None,
        metrics: str | None = "/metrics",
        ignore: Collection[str] = (),
        registry: Any = None,
    ) -> None:
        self.app, self.monitor, self.route = app, monitor, route
        self._metrics, self._ignored, self._registry = metrics, frozenset(ignore), registry

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:  # noqa: D102 - WSGI
        path = environ.get("PATH_INFO", "")
        if path == self._metrics and environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
            return [scrape(self.monitor, environ, start_response, self._registry)]
        recorder = self.monitor.recorder
        if path in self._ignored or environ.get(WATCHED) is recorder:
            return self.app(environ, start_response)
        environ[WATCHED] = recorder
        exchange = _Exchange(self, environ)
        token = current.set(exchange.request)
        try:
            body = self.app(environ, exchange.starting(start_response))
        except BaseException as error:
            exchange.finish(name_of(type(error)))
            raise
        finally:
            current.reset(token)
        return _Body(body, exchange)


class _Exchange:
    """One request and its answer."""

    def __init__(self, middleware: Middleware, environ: Environ) -> None:
        self.middleware, self.environ = middleware, environ
        self.outer = current.get()
        self.status = 0
        self.done = False
        middleware.monitor.recorder.busy.append(None)
        self.request = Request(middleware.monitor)

    def starting(self, start_response: StartResponse) -> StartResponse:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            try:
                self.status = int(status[:3])
            except ValueError:
                self.status = 0
            return start_response(status, [*headers, (HEADER, self.request.id)], *rest)

        return start

    def finish(self, error: str | None) -> None:
        if self.done:
            return
        self.done = True
        request, monitor = self.request, self.middleware.monitor
        duration = perf_counter() - request.start
        if error is None and self.status >= 500:
            error = request.error or f"http_{self.status}"
        if request.endpoint is None:
            try:
                request.endpoint = self.middleware.route(self.environ) or UNMATCHED
            except Exception as fault:  # noqa: BLE001 - a function of the user's
                monitor.recorder.faults.add("route", fault, ours=False)
                request.endpoint = UNMATCHED
        monitor.finish(request, duration, error, self.outer)


class _Body:
    """The answer's parts; the request ends with the last one, with an error, or when the server closes it."""

    def __init__(self, parts: Iterable[bytes], exchange: _Exchange) -> None:
        self._parts, self._exchange = parts, exchange

    def __iter__(self) -> Iterator[bytes]:
        parts, exchange = iter(self._parts), self._exchange
        try:
            while True:
                token = current.set(exchange.request)  # only while the app is at work: who reads may stop for good
                try:
                    part = next(parts)
                except StopIteration:
                    break
                finally:
                    current.reset(token)
                yield part
        except GeneratorExit:
            exchange.finish(CANCELLED)
            raise
        except BaseException as error:
            exchange.finish(name_of(type(error)))
            raise
        exchange.finish(None)

    def close(self) -> None:
        """Close the app's own answer, as WSGI asks; a server that closes before the end has lost its client."""
        close = getattr(self._parts, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._exchange.finish(CANCELLED)


def scrape(monitor: Monitor, environ: Environ, start_response: StartResponse, registry: Any = None) -> bytes:
    """Answer a scrape: start the response and return its body; with `$MODELWATCH_METRICS_TOKEN` to who sends that."""
    if not may_scrape(environ.get("HTTP_AUTHORIZATION", "")):
        headers = [("content-type", "application/json"), ("content-length", str(len(REFUSAL)))]
        start_response("401 Unauthorized", headers)
        return b"" if environ.get("REQUEST_METHOD") == "HEAD" else REFUSAL.encode()
    openmetrics = "application/openmetrics-text" in environ.get("HTTP_ACCEPT", "")
    body = monitor.metrics(openmetrics=openmetrics, registry=registry if registry is not None else host_registry())
    headers = [("content-type", OPENMETRICS if openmetrics else TEXT), ("vary", "accept, accept-encoding")]
    if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "") and len(body) >= GZIP_FROM:
        body = gzip.compress(body, 1)
        headers.append(("content-encoding", "gzip"))
    start_response("200 OK", [*headers, ("content-length", str(len(body)))])
    return b"" if environ.get("REQUEST_METHOD") == "HEAD" else body
