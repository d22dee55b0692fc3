"""The pages as a Starlette application: page, JSON, fragments for the refresh, static files, strict headers."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelwatch.errors import ModelwatchError
from modelwatch.server.pages import (
    HEALTH,
    MONITOR,
    PATHS,
    health_fragments,
    health_page,
    model_link,
    model_names,
    monitor_fragments,
    monitor_page,
    problem_page,
)
from modelwatch.server.words import clean

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
_STATIC = Path(__file__).parent / "static"
_log = logging.getLogger(__name__)

ReadStatus = Callable[[], Mapping[str, Any]]


def pages_app(read_status: ReadStatus) -> Starlette:
    """Return the application that serves the pages; it can be mounted under any path.

    Parameters
    ----------
    read_status : callable
        Returns what the server knows now. It may block: it runs in a thread. Whatever it raises is answered with
        503 and the page "Cannot tell"; the details of an error that is not ours stay in the log.
    """

    def page(path: str, render: Callable[..., str]) -> Route:
        async def answer(request: Request) -> Response:
            base, name = _base(request), request.query_params.get("model")
            status = await run_in_threadpool(read_status)
            try:
                html = await run_in_threadpool(render, status, base=base, model=name)
            except KeyError:
                links = [(clean(n), model_link(n, base)) for n in model_names(status)]
                told = f"There is no model named {clean(name)!r}. The models that report are below."
                return _html(problem_page("No such model", told, base=base, links=links), 404)
            return _html(html)

        return Route(path, _guarded(answer, page=path))

    def fragments(path: str, render: Callable[..., Mapping[str, str]]) -> Route:
        async def answer(request: Request) -> Response:
            name = request.query_params.get("model")
            status = await run_in_threadpool(read_status)
            try:
                return _json(await run_in_threadpool(render, status, base=_base(request), model=name))
            except KeyError:
                return _error(404, "not_found", f"there is no model named {clean(name)!r}")

        return Route(path, _guarded(answer))

    async def status(_: Request) -> Response:
        return _json(await run_in_threadpool(read_status))

    return Starlette(
        routes=[
            page(PATHS[HEALTH], health_page),
            page(PATHS[MONITOR], monitor_page),
            Route("/api/status", _guarded(status)),
            fragments("/fragments", health_fragments),
            fragments("/fragments/monitor", monitor_fragments),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[Middleware(_StrictHeaders)],
        exception_handlers={HTTPException: _refused},
    )


class _StrictHeaders:
    """Sets the headers of every answer: no foreign script or style, no sniffing, no referrer, no stale copy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-cache")
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _guarded(endpoint: Callable[[Request], Any], *, page: str | None = None) -> Callable[[Request], Any]:
    """Return the endpoint with every error turned into "cannot tell", 503; `page`: the path of one for people."""

    async def answer(request: Request) -> Response:
        try:
            response: Response = await endpoint(request)
        except ModelwatchError as error:
            message = clean(error, 400)
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is that nobody can tell
            _log.exception("page failed", extra={"path": request.url.path})
            message = f"the status could not be read ({type(error).__name__}); the log of this server has the details"
        else:
            return response
        if page is None:
            return _error(503, "cannot_tell", message)
        base = _base(request)
        here = base + page + (f"?{request.url.query}" if request.url.query else "")
        title = "Cannot tell – the counts cannot be read"
        return _html(problem_page(title, message, base=base, links=[("Try again", here)]), 503)

    return answer


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what no route takes: JSON in the one error shape."""
    code = error.status_code if isinstance(error, HTTPException) else 500
    name = {404: "not_found", 405: "method_not_allowed"}.get(code, "refused")
    headers = error.headers if isinstance(error, HTTPException) else None
    answer = _error(code, name, f"nothing answers {request.method} {clean(request.url.path)} here")
    answer.headers.update(headers or {})
    return answer


def _base(request: Request) -> str:
    """Return the path that the application is mounted under."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def _html(text: str, code: int = 200) -> Response:
    body = text.encode("utf-8", errors="replace")
    return Response(body, code, {"cache-control": "no-store"}, "text/html; charset=utf-8")


def _json(value: Any, code: int = 200) -> Response:
    body = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))
    return Response(body, code, {"cache-control": "no-store"}, "application/json")


def _error(code: int, name: str, message: str) -> Response:
    return _json({"error": {"code": name, "message": message}}, code)


def plain(value: Any) -> Any:
    """Return a value as JSON can carry it: null for numbers that are not finite, text for what has no JSON form.

    Examples
    --------
    >>> plain({"a": (1.5, float("nan"))})
    {'a': [1.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
