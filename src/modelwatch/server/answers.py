"""Answers over HTTP: pages, JSON, the one shape of errors, and what is said when nobody can tell."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from modelwatch.errors import ModelwatchError
from modelwatch.server.frame import problem_page
from modelwatch.server.words import clean

_log = logging.getLogger(__name__)


def guarded(
    endpoint: Callable[[Request], Any], *, page: str | None = None, what: str = "the counts cannot be read"
) -> Callable[[Request], Any]:
    """Return the endpoint with every error turned into "cannot tell", 503.

    page : the path of one for people, which they can try again. what : cannot be done.
    """

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
            return error_of(503, "cannot_tell", message)
        base = base_of(request)
        here = base + page + (f"?{request.url.query}" if request.url.query else "")
        title = f"Cannot tell – {what}"
        return html(problem_page(title, message, base=base, links=[("Try again", here)]), 503)

    return answer


async def refused(request: Request, error: Exception) -> Response:
    """Answer what no route takes: JSON in the one error shape."""
    code = error.status_code if isinstance(error, HTTPException) else 500
    name = {404: "not_found", 405: "method_not_allowed"}.get(code, "refused")
    headers = error.headers if isinstance(error, HTTPException) else None
    answer = error_of(code, name, f"nothing answers {request.method} {clean(request.url.path)} here")
    answer.headers.update(headers or {})
    return answer


def base_of(request: Request) -> str:
    """Return the path that the application is mounted under."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def html(text: str, code: int = 200) -> Response:
    """Return a page."""
    body = text.encode("utf-8", errors="replace")
    return Response(body, code, {"cache-control": "no-store"}, "text/html; charset=utf-8")


def json_of(value: Any, code: int = 200) -> Response:
    """Return JSON, with null for numbers that are not finite."""
    body = json.dumps(plain(value), allow_nan=False, separators=(",", ":"))
    return Response(body, code, {"cache-control": "no-store"}, "application/json")


def error_of(code: int, name: str, message: str) -> Response:
    """Return an error in the one shape."""
    return json_of({"error": {"code": name, "message": message}}, code)


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
