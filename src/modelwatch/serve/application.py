"""The application around the pages of a `serve`: who gets in, under which path, and what monitors it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from modelwatch.config import Config
from modelwatch.errors import MissingExtra
from modelwatch.exposition import OPENMETRICS, TEXT
from modelwatch.serve.guard import Forwarded, Prefixed

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Mount, Route
except ImportError:
    raise MissingExtra("serve: starlette is not installed. Run: pip install 'modelwatch[server]'") from None

from modelwatch.server.guarding import Guard
from modelwatch.server.guards import KnownHost, StrictHeaders

if TYPE_CHECKING:
    from modelwatch.integrations.asgi import App
    from modelwatch.server.access import Access


def served(
    config: Config,
    pages: Callable[[Sequence[str]], App],
    access: Access | None,
    exposition: Callable[..., bytes] | None = None,
    untold: Callable[[], bool] = bool,
) -> App:
    """Return the application: the pages, `/healthz`, and `/metrics` where there is an exposition.

    Parameters
    ----------
    pages : returns the pages for the names that this server is known by.
    access : tokens and their roles; None where everybody may do everything.
    exposition : returns what is shown to Prometheus, as OpenMetrics or as its older text.
    untold : tells whether nobody would be told of an alert now, since the store does not answer.
    """

    async def metrics(request: Request) -> Response:
        assert exposition is not None, "there is a route for it"
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        body = await run_in_threadpool(exposition, openmetrics=openmetrics)
        return Response(body, media_type=OPENMETRICS if openmetrics else TEXT)

    async def health(_: Request) -> Response:
        if untold():  # why is for those with a token: the pages say it
            return JSONResponse({"status": "cannot tell", "reason": "the store does not answer; see the log"}, 503)
        return JSONResponse({"status": "ok"})

    hosts = config.pages.hosts or (["*"] if access else ())
    own = [Route("/healthz", health), *([Route("/metrics", metrics)] if exposition else [])]
    middleware = [Middleware(StrictHeaders), Middleware(KnownHost, hosts=hosts), Middleware(Guard, access=access)]
    app = Starlette(routes=[*own, Mount("/", pages(hosts))], middleware=middleware)
    return Forwarded(Prefixed(app, config.pages.prefix), config.pages.proxies)
