"""FastAPI and Starlette: `instrument(app, monitor)` adds the middleware, `/metrics`, `/healthz` and `/feedback`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound, Route

from modelwatch.integrations.asgi import App, Middleware, Receive, Scope, Send, metrics_app, respond_json
from modelwatch.integrations.feedback import feedback_app
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


class _OwnRoutes(BaseRoute):
    """The routes of ours as one: every request of the app is compared with what stands in front."""

    path = ""  # as a mount has one, for those who list an app's routes

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._by_path = {route.path: route for route in routes}

    def _found(self, scope: Scope) -> Route | None:
        path = scope["path"]
        found = self._by_path.get(path)
        if found is None and scope.get("root_path"):  # what a proxy or a mount has put in front of the path
            found = self._by_path.get(path.removeprefix(scope["root_path"]))
        return found

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        route = self._found(scope)
        return _NO_MATCH if route is None else route.matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._found(scope)
        if route is not None:
            await route.handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        for route in self.routes:
            if route.name == name:
                return route.url_path_for(name, **path_params)
        raise NoMatchFound(name, path_params)


_NO_MATCH: tuple[Match, Scope] = (Match.NONE, {})


def instrument(
    app: Starlette,
    monitor: Monitor,
    *,
    registry: Any = None,
    ignore: Collection[str] = (),
    feedback_token: str | None = None,
) -> None:
    """Watch a FastAPI or Starlette app.

    Adds the middleware and the routes `/metrics`, `/healthz` and `/feedback`, which are not counted themselves. A route
    of these paths that the app has already stays the app's own. An app that is instrumented twice counts once.

    Parameters
    ----------
    app : the app, before it has started.
    monitor : counts.
    registry : a prometheus_client registry to show on `/metrics`, too; by default the host's, if it uses one.
    ignore : further paths, and what lies below them, that are not counted.
    feedback_token : required of those who send labels; by default that of `$MODELWATCH_FEEDBACK_TOKEN`, if it is set.
    """
    own: list[tuple[str, App, list[str]]] = [
        (METRICS, metrics_app(monitor, registry), ["GET"]),
        (HEALTH, _health_app(monitor), ["GET"]),
        (FEEDBACK, feedback_app(monitor, feedback_token), ["POST"]),
    ]
    taken = set(Routes(app.routes).paths)
    mine = [path for route in app.routes if isinstance(route, _OwnRoutes) for path in Routes([route]).paths]
    added = [
        Route(path, _Endpoint(endpoint), methods=methods, include_in_schema=False)
        for path, endpoint, methods in own
        if path not in taken
    ]
    if added:  # in front: a route or mount for every path must not hide them
        app.router.routes.insert(0, _OwnRoutes(added))
        mine += [route.path for route in added]
    app.add_middleware(Middleware, monitor=monitor, ignore=(*mine, *ignore))


def _health_app(monitor: Monitor) -> App:
    """Whether the service answers; the health of the monitor is no reason to restart it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
        await respond_json(
            send, 200, {"status": "ok", "model_name": monitor.key.model, "model_version": monitor.key.version}
        )

    return app
