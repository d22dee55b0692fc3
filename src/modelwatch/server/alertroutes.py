"""The addresses of the alerts: the page with its forms, and the same actions as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from modelwatch.errors import ConfigError
from modelwatch.server.access import OPERATE, ROLE, may
from modelwatch.server.alerthandling import Hand
from modelwatch.server.alertspage import alerts_fragments, alerts_page
from modelwatch.server.answers import base_of, error_of, guarded, html, json_of
from modelwatch.server.forms import (
    LONGEST_NAME,
    REVIEWER,
    SESSION,
    Fields,
    FormKey,
    Refused,
    check_form,
    fields_of,
    form,
    json_fields,
    keep,
    name_of,
    new_session,
    pairs_of,
    session_of,
)
from modelwatch.server.frame import ALERTS_PAGE, PATHS, problem_page, query, render, tab_icon
from modelwatch.server.guards import WITH_FORMS
from modelwatch.server.words import clean

if TYPE_CHECKING:
    from modelwatch.server.handling import Handling

ACTIONS = ("acknowledge", "silence", "unsilence")
LONGEST_NOTE = 300
MOST_MATCHES = 10
NOT_HERE = "Nobody evaluates alerts here, so there is nothing to acknowledge or to silence. Run modelwatch serve."
DONE = {
    "acknowledged": "Acknowledged: it is neither repeated nor escalated.",
    "nothing": "Nothing was acknowledged: it does not fire any more.",
    "silenced": "Silenced: nobody is told until it ends.",
    "ended": "The silence has ended.",
    "gone": "There is no such silence any more.",
}


class AlertRoutes:
    """Answers for the alerts of a server.

    Parameters
    ----------
    read_status : returns what is known for a request; may block.
    handling : None where nobody evaluates: the page then has no forms.
    missing : the answer to a model that is not there.
    """

    def __init__(
        self,
        read_status: Callable[[Request], Mapping[str, Any]],
        handling: Handling | None,
        missing: Callable[..., Response],
    ) -> None:
        self.read_status, self.handling, self.missing = read_status, handling, missing
        self.key = FormKey(lambda: self._handling().key())

    def routes(self) -> list[Route]:
        """Return all of them but those of the JSON that only reads."""
        path, what = PATHS[ALERTS_PAGE], "it may not be saved; doing it again does no harm"
        found = [
            Route(path, guarded(self.page, page=path)),
            Route("/fragments/alerts", guarded(self.fragments)),
        ]
        for action in ACTIONS:
            found.append(Route(f"{path}/{action}", guarded(self.form(action), page=path, what=what), methods=["POST"]))
            found.append(Route(f"/api/alerts/{action}", guarded(self.api(action)), methods=["POST"]))
        return found

    # -- what is shown -------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """Answer with the page; a browser that has no session yet gets one with it."""
        if request.headers.get("sec-fetch-site") == "cross-site" and SESSION not in request.cookies:
            return html(render("again", title=ALERTS_PAGE, base=base_of(request), tab=tab_icon("none")))
        session = session_of(request) or new_session()
        answer = await run_in_threadpool(self._page, request, session)
        answer.headers.update(WITH_FORMS)
        if session_of(request) is None and self.handling is not None:
            keep(request, answer, SESSION, session)
        return answer

    def _page(self, request: Request, session: str) -> Response:
        status, model = self.read_status(request), request.query_params.get("model")
        try:
            return html(
                alerts_page(status, base=base_of(request), model=model, hand=self._hand(request, session))
            )  # fmt: skip
        except KeyError:
            return self.missing(request, status, model)

    async def fragments(self, request: Request) -> Response:
        """Answer with the changing parts of the page."""
        return await run_in_threadpool(self._fragments, request)

    def _fragments(self, request: Request) -> Response:
        status, model = self.read_status(request), request.query_params.get("model")
        hand = self._hand(request, session_of(request) or "")
        try:
            parts = alerts_fragments(status, base=base_of(request), model=model, hand=hand)
        except KeyError:
            return error_of(404, "not_found", f"there is no model named {clean(model)!r}")
        return json_of(parts)

    def _hand(self, request: Request, session: str) -> Hand | None:
        if self.handling is None:
            return None
        allowed = may(request.scope, OPERATE) and bool(session)
        said = DONE.get(request.query_params.get("said", ""), "")
        return Hand(self.key.token(session) if allowed else "", name_of(request), allowed, said)

    # -- what is done --------------------------------------------------------------------------------------------------

    def form(self, action: str) -> Callable[[Request], Any]:
        """Return the endpoint of a form: it acts, and sends the browser back to the page."""

        async def answer(request: Request) -> Response:
            base = base_of(request)
            try:
                fields, done = await self._act(request, action, _form)
            except Refused as error:
                links = [("Back to the alerts", f"{base}{PATHS[ALERTS_PAGE]}")]
                return html(problem_page("Not done", error.message, base=base, links=links), error.code)
            model = fields.get("model") or fields.get("here")
            back = f"{base}{PATHS[ALERTS_PAGE]}{query(model or None)}"
            to = RedirectResponse(f"{back}{'&' if model else '?'}said={done['state']}", 303)
            if fields.get("by"):
                keep(request, to, REVIEWER, quote(_text(fields, "by", LONGEST_NAME), safe=""))
            return to

        return answer

    def api(self, action: str) -> Callable[[Request], Any]:
        """Return the endpoint of the API: JSON in, JSON out."""

        async def answer(request: Request) -> Response:
            try:
                _, done = await self._act(request, action, json_fields)
            except Refused as error:
                return error_of(error.code, error.name, error.message)
            if done["state"] in {"nothing", "gone"}:
                return error_of(404, "not_found", DONE[done["state"]])
            return json_of(done)

        return answer

    async def _act(
        self, request: Request, action: str, read: Callable[[Request, bytes], Fields]
    ) -> tuple[Fields, dict[str, Any]]:
        fields = await fields_of(request, read)
        return fields, await run_in_threadpool(self._do, request, action, fields)

    def _do(self, request: Request, action: str, fields: Fields) -> dict[str, Any]:
        handling = self._handling()
        check_form(request, self.key, fields)
        by = _text(fields, "by", LONGEST_NAME) or name_of(request) or str(request.scope.get(ROLE, ""))
        if not by:
            raise Refused(422, "no_name", "A name is needed: it is written beside what you do. Go back and type one.")
        if action == "acknowledge":
            alert, model = _text(fields, "alert", 100), str(fields.get("model") or "")
            n = handling.acknowledge(alert, model, by)
            return {"state": "acknowledged" if n else "nothing", "acknowledged": n}
        if action == "unsilence":
            ended = handling.end_silence(_text(fields, "id", 40), by)
            return {"state": "ended" if ended else "gone"}
        try:
            made = handling.silence(_matches(fields), _text(fields, "for", 20), by, _text(fields, "note", LONGEST_NOTE))
        except ConfigError as error:
            raise Refused(422, "bad_request", clean(error, 400)) from None
        return {"state": "silenced", "silence": {**vars(made), "matches": dict(made.matches)}}

    def _handling(self) -> Handling:
        if self.handling is None:
            raise Refused(503, "no_evaluation", NOT_HERE)
        return self.handling


def _form(request: Request, body: bytes) -> Fields:
    """Return the fields of a form, with all that are named `match` as the mapping `matches`."""
    fields = form(request, body)
    pairs = [pair.partition("=") for name, pair in pairs_of(body) if name == "match"]
    return {**fields, "matches": {name: value for name, _, value in pairs}}


def _matches(fields: Fields) -> dict[str, str]:
    given: Any = fields.get("matches")
    fits = isinstance(given, dict) and len(given) <= MOST_MATCHES
    if not fits or not all(isinstance(name, str) and isinstance(value, str) for name, value in given.items()):
        raise Refused(422, "bad_request", 'matches: expected names and values, such as {"alertname": "HighErrorRate"}.')
    return {name: value for name, value in given.items() if name}


def _text(fields: Fields, name: str, longest: int) -> str:
    found = fields.get(name)
    return clean(found, longest).strip() if isinstance(found, str) else ""
