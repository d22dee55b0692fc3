"""The pages as a Starlette application: pages, JSON, fragments for the refresh, static files, review."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from modelwatch.server.alertspage import alerts_fragments, alerts_page
from modelwatch.server.answers import base_of, error_of, guarded, html, json_of, refused
from modelwatch.server.frame import (
    ALERTS_PAGE,
    DRIFT,
    HEALTH,
    MONITOR,
    PATHS,
    QUALITY,
    SLOS,
    model_link,
    model_names,
    problem_page,
)
from modelwatch.server.guards import KnownHost, StrictHeaders
from modelwatch.server.pages import health_fragments, health_page, monitor_fragments, monitor_page
from modelwatch.server.quality import quality_fragments, quality_page
from modelwatch.server.reviewroutes import review_routes
from modelwatch.server.runbookpage import runbook_page
from modelwatch.server.slospage import slos_fragments, slos_page
from modelwatch.server.words import clean

if TYPE_CHECKING:
    from modelwatch.server.desk import Desk
from modelwatch.server.driftpage import drift_fragments, drift_page

STATIC = Path(__file__).parent / "static"

ReadStatus = Callable[[], Mapping[str, Any]]


def pages_app(read_status: ReadStatus, desk: Desk | None = None, *, hosts: Sequence[str] = ()) -> Starlette:
    """Return the application that serves the pages; it can be mounted under any path.

    Parameters
    ----------
    read_status : callable
        Returns what the server knows now. It may block: it runs in a thread. Whatever it raises is answered with
        503 and the page "Cannot tell"; the details of an error that is not ours stay in the log.
    desk : Desk, optional
        Where reviewers get samples; without one the page Review says what is missing.
    hosts : sequence of str
        Names that this server is known by, besides localhost and its addresses; "*" for all.
    """
    pages = _Pages(read_status)
    return Starlette(
        routes=[
            pages.page(PATHS[HEALTH], health_page),
            pages.page(PATHS[QUALITY], quality_page),
            pages.page(PATHS[DRIFT], drift_page, "feature"),
            pages.page(PATHS[ALERTS_PAGE], alerts_page),
            pages.page(PATHS[SLOS], slos_page),
            pages.page(PATHS[MONITOR], monitor_page),
            Route("/runbooks/{name}", guarded(_runbook, page=PATHS[ALERTS_PAGE])),
            Route("/api/status", guarded(pages.status)),
            pages.fragments("/fragments", health_fragments),
            pages.fragments("/fragments/quality", quality_fragments),
            pages.fragments("/fragments/drift", drift_fragments, "feature"),
            pages.fragments("/fragments/alerts", alerts_fragments),
            pages.fragments("/fragments/slos", slos_fragments),
            pages.fragments("/fragments/monitor", monitor_fragments),
            *review_routes(read_status, desk),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(StrictHeaders), Middleware(KnownHost, hosts=hosts)],
        exception_handlers={HTTPException: refused},
    )


class _Pages:
    """Routes of pages that are functions of the status; `picks` are parameters of the address besides the model."""

    def __init__(self, read_status: ReadStatus) -> None:
        self.read_status = read_status

    def page(self, path: str, render: Callable[..., str], *picks: str) -> Route:
        """Return the route of a page."""

        async def answer(request: Request) -> Response:
            base, asked = base_of(request), _asked(request, picks)
            status = await run_in_threadpool(self.read_status)
            try:
                text = await run_in_threadpool(render, status, base=base, **asked)
            except KeyError:
                links = [(clean(n), model_link(n, base)) for n in model_names(status)]
                told = f"There is no model named {clean(asked['model'])!r}. The models that report are below."
                return html(problem_page("No such model", told, base=base, links=links), 404)
            return html(text)

        return Route(path, guarded(answer, page=path))

    def fragments(self, path: str, render: Callable[..., Mapping[str, str]], *picks: str) -> Route:
        """Return the route of the parts of a page."""

        async def answer(request: Request) -> Response:
            asked = _asked(request, picks)
            status = await run_in_threadpool(self.read_status)
            try:
                return json_of(await run_in_threadpool(render, status, base=base_of(request), **asked))
            except KeyError:
                return error_of(404, "not_found", f"there is no model named {clean(asked['model'])!r}")

        return Route(path, guarded(answer))

    async def status(self, _: Request) -> Response:
        """Answer with the status itself."""
        return json_of(await run_in_threadpool(self.read_status))


def _asked(request: Request, picks: Sequence[str]) -> dict[str, str | None]:
    return {name: request.query_params.get(name) for name in ("model", *picks)}


async def _runbook(request: Request) -> Response:
    base, name = base_of(request), request.path_params["name"]
    try:
        return html(runbook_page(name, base=base, model=request.query_params.get("model")))
    except KeyError:
        told = f"There is no alert named {clean(name)!r}, so it has no runbook."
        links = [("All alerts", f"{base}{PATHS[ALERTS_PAGE]}")]
        return html(problem_page("No such runbook", told, base=base, links=links), 404)
