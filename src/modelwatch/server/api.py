"""Everything that the pages show as JSON: one function of the status for each address, and one shape of errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelwatch.server.answers import base_of, error_of, guarded, json_of
from modelwatch.server.frame import choose, model_link, states_of_models
from modelwatch.server.openapi import document
from modelwatch.server.words import clean

Status = Mapping[str, Any]


class Asked(NamedTuple):
    """What an address asks for."""

    model: str | None
    feature: str | None
    base: str


class Unavailable(Exception):
    """What was asked for cannot be told now; the message says why."""


class NotFound(Exception):
    """There is no such thing; the message says what."""


def whole_status(status: Status, _: Asked) -> Any:
    """Return all that the server knows now."""
    return status


def models(status: Status, asked: Asked) -> Any:
    """Return every model with its state, the worst first."""
    found = states_of_models(status)
    return {"models": [{**one, "href": model_link(str(one["name"]), asked.base)} for one in found]}


def alerts(status: Status, asked: Asked) -> Any:
    """Return the alerts of all models or of one, how they were evaluated, and what people did about them."""
    held = status.get("alerts")
    if not isinstance(held, Mapping):
        raise Unavailable("nobody evaluates alerts here. Run modelwatch serve.")
    if asked.model is not None:
        choose(status, asked.model)
        own = [one for one in held["alerts"] if one.get("model") in {asked.model, "", None}]
        held = {"firing": sum(_is_told(one) for one in own), "alerts": own}
    return {**held, "evaluation": status.get("evaluation"), "handling": status.get("handling")}


def _is_told(one: Mapping[str, Any]) -> bool:
    return one.get("state") == "firing" and not one.get("silenced_by") and one.get("severity") != "none"


def slos(status: Status, asked: Asked) -> Any:
    """Return how the objectives of all models or of one stand."""
    held = status.get("slos")
    if not isinstance(held, Mapping):
        raise Unavailable("nobody works out objectives here. Run modelwatch serve.")
    if "models" not in held:
        raise Unavailable(str(held.get("reason") or "the objectives cannot be worked out now"))
    if asked.model is None:
        return held
    choose(status, asked.model)
    return {"models": {asked.model: held["models"].get(asked.model, [])}}


def quality(status: Status, asked: Asked) -> Any:
    """Return what labels say of a model."""
    chosen = _chosen(status, asked)
    return {**_named(status, chosen), "quality": chosen.get("quality"), "estimate": chosen.get("estimate")}


def drift(status: Status, asked: Asked) -> Any:
    """Return how the inputs and answers of a model have moved; with a feature, only that one."""
    chosen = _chosen(status, asked)
    found = chosen.get("drift")
    if asked.feature is not None:
        rows = [row for row in (found or {}).get("rows", ()) if row.get("name") == asked.feature]
        if not rows:
            raise NotFound(f"there is no feature named {clean(asked.feature)!r}")
        found = {**found, "rows": rows} if found else None
    return {**_named(status, chosen), "drift": found}


def monitor(status: Status, _: Asked) -> Any:
    """Return the state of modelwatch itself."""
    keys = ("now", "data_age_s", "workers", "live", "monitor", "evaluation")
    return {key: status.get(key) for key in keys}


def settings(status: Status, _: Asked) -> Any:
    """Return the configuration as it was understood; of a secret only whether it is set."""
    found = status.get("settings")
    if not isinstance(found, Mapping):
        raise Unavailable("these pages were given no configuration. Pass settings= to pages_app.")
    return found


#: The addresses that only read, and what each is answered with.
READ: dict[str, Callable[[Status, Asked], Any]] = {
    "/api/status": whole_status,
    "/api/models": models,
    "/api/alerts": alerts,
    "/api/slos": slos,
    "/api/quality": quality,
    "/api/drift": drift,
    "/api/monitor": monitor,
    "/api/settings": settings,
}


def _chosen(status: Status, asked: Asked) -> Mapping[str, Any]:
    found = choose(status, asked.model)
    if found is None:
        raise Unavailable("no model has reported yet")
    return found


def _named(status: Status, model: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model.get("name"), "version": model.get("version"), "now": status.get("now")}


def api_routes(read: Callable[[Request], Status]) -> list[Route]:
    """Return the routes of all that only reads, and of the document that describes the whole API.

    read : returns the status that a request asks for; may block.
    """
    found = [Route(path, guarded(_endpoint(read, answer))) for path, answer in READ.items()]
    return [*found, Route("/api/openapi.json", guarded(_described))]


async def _described(request: Request) -> Response:
    return json_of(document(base_of(request)))


def _endpoint(read: Callable[[Request], Status], answer: Callable[[Status, Asked], Any]) -> Callable[[Request], Any]:
    def work(request: Request) -> Response:
        picked = request.query_params
        asked, status = Asked(picked.get("model"), picked.get("feature"), base_of(request)), read(request)
        try:
            return json_of(answer(status, asked))
        except KeyError:
            return error_of(404, "not_found", f"there is no model named {clean(asked.model)!r}")
        except NotFound as error:
            return error_of(404, "not_found", str(error))
        except Unavailable as error:
            return error_of(503, "cannot_tell", clean(error, 400))

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(work, request)

    return endpoint
