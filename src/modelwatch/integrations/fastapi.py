"""FastAPI and Starlette: `instrument(app, monitor)` adds the middleware, `/metrics`, `/healthz` and `/feedback`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from modelwatch.integrations.asgi import App, Middleware, Receive, Scope, Send, metrics_app, respond_error, respond_json
from modelwatch.integrations.routes import Routes
from modelwatch.record.monitor import Monitor

if TYPE_CHECKING:
    from starlette.applications import Starlette

METRICS, HEALTH, FEEDBACK = "/metrics", "/healthz", "/feedback"


class _Endpoint:
    """A raw ASGI app as the endpoint of a route (Starlette would call a function with a request)."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def instrument(app: Starlette, monitor: Monitor, *, registry: Any = None, ignore: Collection[str] = ()) -> None:
    """Watch a FastAPI or Starlette app.

    Adds the middleware and the routes `/metrics`, `/healthz` and `/feedback`, which are not counted themselves. A route
    of these paths that the app has already stays the app's own. An app that is instrumented twice counts once.

    Parameters
    ----------
    app : the app, before it has started.
    monitor : counts.
    registry : a prometheus_client registry to show on `/metrics`, too; by default the host's, if it uses one.
    ignore : further paths, and what lies below them, that are not counted.
    """
    from starlette.routing import Route

    own: list[tuple[str, App, list[str]]] = [
        (METRICS, metrics_app(monitor, registry), ["GET"]),
        (HEALTH, _health_app(monitor), ["GET"]),
        (FEEDBACK, _feedback_app(), ["POST"]),
    ]
    taken = set(Routes(app.routes).paths)
    mine = {route.path for route in app.routes if isinstance(route, Route) and isinstance(route.endpoint, _Endpoint)}
    for path, endpoint, methods in own:
        if path not in taken:  # in front: a route or mount for every path must not hide it
            app.router.routes.insert(0, Route(path, _Endpoint(endpoint), methods=methods, include_in_schema=False))
            mine.add(path)
    app.add_middleware(Middleware, monitor=monitor, ignore=(*mine, *ignore))


def _health_app(monitor: Monitor) -> App:
    """Whether the service answers; the health of the monitor is no reason to restart it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        await respond_json(
            send, 200, {"status": "ok", "model_name": monitor.key.model, "model_version": monitor.key.version}
        )

    return app


def _feedback_app() -> App:
    """Labels need a store; without one they are refused, since what is acknowledged must be durable."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        await respond_error(
            send, 503, "no_store", "There is no store for labels; send the label again once the service has one."
        )

    return app
