"""The pages as a Starlette application: pages, JSON, fragments for the refresh, static files, review, actions."""

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

from modelwatch.server.access import ROLE, Access
from modelwatch.server.alertroutes import AlertRoutes
from modelwatch.server.answers import base_of, error_of, guarded, html, json_of, refused
from modelwatch.server.api import api_routes
from modelwatch.server.driftpage import drift_fragments, drift_page
from modelwatch.server.frame import (
    ALERTS_PAGE,
    DRIFT,
    HEALTH,
    MONITOR,
    PATHS,
    QUALITY,
    RESOURCES,
    RUNBOOKS,
    SETTINGS,
    SLOS,
    model_link,
    model_names,
    picked_time,
    problem_page,
)
from modelwatch.server.guarding import Guard
from modelwatch.server.guards import WITH_FORMS, KnownHost, StrictHeaders
from modelwatch.server.pages import health_fragments, health_page, monitor_fragments, monitor_page
from modelwatch.server.quality import quality_fragments, quality_page
from modelwatch.server.resourcespage import resources_fragments, resources_page
from modelwatch.server.reviewroutes import review_routes
from modelwatch.server.runbookpage import runbook_page, runbooks_fragments, runbooks_page
from modelwatch.server.settingspage import settings_fragments, settings_page
from modelwatch.server.slospage import slos_fragments, slos_page
from modelwatch.server.words import clean, finite
from modelwatch.sources.history import RANGES, with_history

if TYPE_CHECKING:
    from modelwatch.server.desk import Desk
    from modelwatch.server.handling import Handling
    from modelwatch.sources.history import HistorySource

STATIC = Path(__file__).parent / "static"

ReadStatus = Callable[[], Mapping[str, Any]]
Render = Callable[..., Any]

#: Pages that are functions of the status: how each is made, its changing parts, and what else its address picks.
RENDERED: dict[str, tuple[Render, Render, tuple[str, ...]]] = {
    HEALTH: (health_page, health_fragments, ()),
    QUALITY: (quality_page, quality_fragments, ()),
    DRIFT: (drift_page, drift_fragments, ("feature",)),
    RESOURCES: (resources_page, resources_fragments, ()),
    SLOS: (slos_page, slos_fragments, ()),
    RUNBOOKS: (runbooks_page, runbooks_fragments, ()),
    MONITOR: (monitor_page, monitor_fragments, ()),
}


def pages_app(
    read_status: ReadStatus,
    desk: Desk | None = None,
    *,
    hosts: Sequence[str] = (),
    handling: Handling | None = None,
    access: Access | None = None,
    settings: ReadStatus | None = None,
    history: HistorySource | None = None,
) -> Starlette:
    """Return the application that serves the pages; it can be mounted under any path.

    Parameters
    ----------
    read_status : callable
        Returns what the server knows now: `StatusSource.read`, or what any other source of tallies makes of its own.
        It may block: it runs in a thread. Whatever it raises is answered with 503 and the page "Cannot tell"; the
        details of an error that is not ours stay in the log.
    desk : Desk, optional
        Where reviewers get samples; without one the page Review says what is missing.
    hosts : sequence of str
        Names that this server is known by, besides localhost and its addresses; "*" for all.
    handling : Handling, optional
        Where alerts are acknowledged and silenced; without it they are only shown.
    access : Access, optional
        Tokens and their roles; without it everybody who reaches these pages may do everything: put them behind what
        guards the rest of the service.
    settings : callable, optional
        Returns the configuration as it was understood, without secrets (`sources.settings.settings`).
    history : HistorySource, optional
        Where the history of other ranges than the last hour comes from.
    """
    pages = _Pages(read_status, handling, settings, history)
    return Starlette(
        routes=[
            *(pages.page(name, *parts) for name, parts in RENDERED.items()),
            *(pages.fragments(name, *parts) for name, parts in RENDERED.items()),
            *AlertRoutes(pages.read, handling, _missing).routes(),
            Route(PATHS[SETTINGS], guarded(pages.settings_page, page=PATHS[SETTINGS])),
            Route("/fragments/settings", guarded(pages.settings_fragments)),
            Route("/runbooks/{name}", guarded(_runbook, page=PATHS[ALERTS_PAGE])),
            *api_routes(pages.read),
            *review_routes(pages.now, desk),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(StrictHeaders), Middleware(KnownHost, hosts=hosts), Middleware(Guard, access=access)],
        exception_handlers={HTTPException: refused},
    )


class _Pages:
    """Routes of pages that are functions of the status; `picks` are parameters of the address besides the model."""

    def __init__(
        self,
        read_status: ReadStatus,
        handling: Handling | None,
        settings: ReadStatus | None,
        history: HistorySource | None,
    ) -> None:
        self.read_status, self.handling, self.settings, self.history = read_status, handling, settings, history

    def now(self) -> Mapping[str, Any]:
        """Return what is known now, with what people did about alerts and the settings."""
        found = dict(self.read_status())
        if self.handling is not None:
            found["handling"] = self.handling.read()
        if self.settings is not None:
            found["settings"] = self.settings()
        found["ranges"] = [] if self.history is None else list(RANGES)
        return found

    def read(self, request: Request) -> Mapping[str, Any]:
        """Return what is known now, with the history of the range that the address picks."""
        picked, to = _range_of(request)
        return with_history(self.now(), self.history, picked, to)

    def page(self, name: str, render: Render, _: Render, picks: Sequence[str]) -> Route:
        """Return the route of a page."""

        async def answer(request: Request) -> Response:
            return await run_in_threadpool(self._page, request, render, picks)

        return Route(PATHS[name], guarded(answer, page=PATHS[name]))

    def _page(self, request: Request, render: Render, picks: Sequence[str], **more: str) -> Response:
        status, asked = self.read(request), _asked(request, picks)
        picked_time.set(_range_query(request))  # for this request only: the thread has a context of its own
        try:
            return html(render(status, base=base_of(request), **asked, **more))
        except KeyError:
            return _missing(request, status, asked["model"])

    def fragments(self, name: str, _: Render, render: Render, picks: Sequence[str]) -> Route:
        """Return the route of the parts of a page."""

        async def answer(request: Request) -> Response:
            return await run_in_threadpool(self._fragments, request, render, picks)

        return Route(f"/fragments{PATHS[name]}".rstrip("/"), guarded(answer))

    def _fragments(self, request: Request, render: Render, picks: Sequence[str], **more: str) -> Response:
        status, asked = self.read(request), _asked(request, picks)
        picked_time.set(_range_query(request))
        try:
            return json_of(render(status, base=base_of(request), **asked, **more))
        except KeyError:
            return error_of(404, "not_found", f"there is no model named {clean(asked['model'])!r}")

    async def settings_page(self, request: Request) -> Response:
        """Answer with the page of the settings, from which whoever has signed in signs out."""
        role = request.scope.get(ROLE, "")
        answer = await run_in_threadpool(self._page, request, settings_page, (), role=role)
        answer.headers.update(WITH_FORMS)
        return answer

    async def settings_fragments(self, request: Request) -> Response:
        """Answer with the changing parts of the page of the settings."""
        return await run_in_threadpool(
            self._fragments, request, settings_fragments, (), role=request.scope.get(ROLE, "")
        )


def _asked(request: Request, picks: Sequence[str]) -> dict[str, str | None]:
    return {name: request.query_params.get(name) for name in ("model", *picks)}


def _range_of(request: Request) -> tuple[str | None, float | None]:
    """Return the range and its end that an address picks; None for what it does not, or what is none."""
    picked = request.query_params.get("range")
    try:
        to = finite(float(request.query_params.get("to", "nan")))
    except ValueError:
        to = None
    return picked if picked in RANGES else None, to if to is not None and to >= 0 else None


def _range_query(request: Request) -> str:
    picked, to = _range_of(request)
    parts = [f"range={picked}"] if picked else []
    parts += [f"to={to:.0f}"] if to is not None else []
    return "&".join(parts)


def _missing(request: Request, status: Mapping[str, Any], model: str | None) -> Response:
    """Return the page that says that there is no such model, and which there are."""
    base = base_of(request)
    links = [(clean(name), model_link(name, base)) for name in model_names(status)]
    told = f"There is no model named {clean(model)!r}. The models that report are below."
    return html(problem_page("No such model", told, base=base, links=links), 404)


async def _runbook(request: Request) -> Response:
    base, name = base_of(request), request.path_params["name"]
    try:
        return html(runbook_page(name, base=base, model=request.query_params.get("model")))
    except KeyError:
        told = f"There is no alert named {clean(name)!r}, so it has no runbook."
        links = [("All alerts", f"{base}{PATHS[ALERTS_PAGE]}")]
        return html(problem_page("No such runbook", told, base=base, links=links), 404)
