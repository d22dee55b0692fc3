"""Flask: `instrument(app, monitor)` adds the middleware, `/metrics`, `/healthz` and `/feedback`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from modelwatch.integrations.feedback import feedback_view
from modelwatch.integrations.wsgi import Environ, Middleware
from modelwatch.labels import name_of
from modelwatch.record.monitor import Monitor
from modelwatch.record.request import Request, current

if TYPE_CHECKING:
    from flask import Flask

METRICS, HEALTH, FEEDBACK = "/metrics", "/healthz", "/feedback"
ROUTE = "modelwatch.route"


def instrument(
    app: Flask,
    monitor: Monitor,
    *,
    registry: Any = None,
    ignore: Collection[str] = (),
    feedback_token: str | None = None,
) -> None:
    """Watch a Flask app.

    The endpoint is the rule of the route, with the names of its parameters. `/healthz` and `/feedback` are added unless
    the app has them; they and `/metrics` are not counted.

    Parameters
    ----------
    app : the app.
    monitor : counts.
    registry : a prometheus_client registry to show on `/metrics`, too; by default the host's, if it uses one.
    ignore : further paths that are not counted.
    feedback_token : required of those who send labels; by default that of `$MODELWATCH_FEEDBACK_TOKEN`, if it is set.
    """
    from flask import got_request_exception, jsonify, request

    if isinstance(app.wsgi_app, Middleware) and app.wsgi_app.monitor.recorder is monitor.recorder:
        return
    taken = {rule.rule for rule in app.url_map.iter_rules()}

    def remember_route() -> None:
        rule = request.url_rule
        request.environ[ROUTE] = None if rule is None else rule.rule

    def remember_error(_app: Flask, exception: BaseException, **_more: Any) -> None:
        found = current.get()
        if isinstance(found, Request) and found.monitor is monitor:
            found.error = name_of(type(exception))

    def health() -> Any:
        return jsonify(status="ok", model_name=monitor.key.model, model_version=monitor.key.version)

    app.before_request(remember_route)
    got_request_exception.connect(remember_error, app, weak=False)
    own = [METRICS] if METRICS not in taken else []
    for path, view, methods in (
        (HEALTH, health, ["GET"]),
        (FEEDBACK, feedback_view(monitor, feedback_token), ["POST"]),
    ):
        if path not in taken:
            app.add_url_rule(path, f"modelwatch{path.replace('/', '_')}", view, methods=methods)
            own.append(path)
    for rule in app.url_map.iter_rules():
        if rule.rule not in own and rule.rule not in ignore:
            monitor.recorder.know_endpoint(rule.rule)
    app.wsgi_app = Middleware(  # type: ignore[method-assign]  # the way that Flask documents
        app.wsgi_app, monitor, route=_route, metrics=METRICS if METRICS in own else None,
        ignore=(*own, *ignore), registry=registry,
    )  # fmt: skip


def _route(environ: Environ) -> str | None:
    found = environ.get(ROUTE)
    return found if isinstance(found, str) else None
