"""The addresses of the review: the page and its forms, the same as JSON, and who may use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from modelwatch.errors import ModelwatchError, UnknownLabel
from modelwatch.groundtruth.kinds import REQUEST_ID
from modelwatch.server.answers import base_of, error_of, guarded, html, json_of
from modelwatch.server.forms import (
    BY_BEARER,
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
    session_of,
)
from modelwatch.server.frame import PATHS, REVIEW, frame, model_names, problem_page, render, tab_icon
from modelwatch.server.guards import WITH_FORMS
from modelwatch.server.reviewpage import DONE, LONGEST_NAME, NO_STORE, here, item, review_json, review_page, why
from modelwatch.server.words import clean

if TYPE_CHECKING:
    from modelwatch.server.desk import Desk, Turn

ACTIONS = ("name", "label", "skip", "undo", "peek")
NEXT = ("sample", "page")  # what an answer of the API may bring along
RECENT_S = 5.0  # how long a label is answered from a status that was read before: the page itself looks every 2 s
LONGEST_NOTE = 1500  # characters; with what is written down besides, the store keeps 2,000


class _Place(NamedTuple):
    """Where a request belongs: the model in its address, in the status and at the desk."""

    status: Mapping[str, Any]
    name: str | None
    chosen: Mapping[str, Any] | None
    model: str | None  # that can be reviewed


def review_routes(read_status: Callable[[], Mapping[str, Any]], desk: Desk | None) -> list[Route]:
    """Return the routes of the review page and of its API.

    Parameters
    ----------
    read_status : as for `pages_app`.
    desk : None where there is nothing to review: the page then says what is missing.
    """
    routes = _Routes(read_status, desk)
    what = "the samples cannot be read"
    found = [
        Route(PATHS[REVIEW], guarded(routes.page, page=PATHS[REVIEW], what=what)),
        Route("/fragments/review", guarded(routes.fragments)),
        Route("/api/review", guarded(routes.state)),
        Route("/api/review/history", guarded(routes.history)),
    ]
    for action in ACTIONS:
        form = guarded(routes.form(action), page=PATHS[REVIEW], what="it may not be saved; doing it again does no harm")
        found.append(Route(f"{PATHS[REVIEW]}/{action}", form, methods=["POST"]))
        found.append(Route(f"/api/review/{action}", guarded(routes.api(action)), methods=["POST"]))
    return found


class _Routes:
    """Answers for one desk."""

    def __init__(self, read_status: Callable[[], Mapping[str, Any]], desk: Desk | None) -> None:
        self.read_status, self.desk = read_status, desk
        self.key = FormKey(lambda: self._desk().key())
        self._read: tuple[float, Mapping[str, Any]] = (float("-inf"), {})

    def _status(self, *, recent: bool) -> Mapping[str, Any]:
        """Return what is known now, or what was read some seconds ago: to read it takes longer than to label."""
        at, status = self._read
        if not recent or time.monotonic() - at > RECENT_S:
            status = self.read_status()
            self._read = time.monotonic(), status
        return status

    def _place(self, name: str | None, *, recent: bool = False) -> _Place:
        """Return where a request belongs.

        Raises
        ------
        KeyError   there is no model of that name.
        """
        status = self._status(recent=recent)
        at_desk = self.desk.models if self.desk else ()
        reporting = model_names(status)
        if name is not None and name not in at_desk and name not in reporting:
            raise KeyError(name)
        first = next((n for n in reporting if n in at_desk), next(iter([*at_desk, *reporting]), None))
        wanted = name if name is not None else first
        chosen = next((m for m in status.get("models") or () if str(m.get("name", "")) == wanted), None)
        return _Place(status, name, chosen, wanted if wanted in at_desk else None)

    # -- what is shown -------------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """Answer with the page, which holds a sample for its reviewer."""
        if request.headers.get("sec-fetch-site") == "cross-site" and SESSION not in request.cookies:
            return html(
                render("again", title=REVIEW, base=base_of(request), tab=tab_icon("none"))
            )  # strict cookies come with the second request only
        session = session_of(request) or new_session()
        text, code = await run_in_threadpool(self._page, request, session)
        answer = html(text, code)
        answer.headers.update(WITH_FORMS)
        if session_of(request) is None and self.desk is not None:
            keep(request, answer, SESSION, session)
        return answer

    def _page(self, request: Request, session: str) -> tuple[str, int]:
        base, name = base_of(request), request.query_params.get("model")
        try:
            place = self._place(name)
        except KeyError:
            told = f"There is no model named {clean(name)!r}."
            links = [("Review", f"{base}{PATHS[REVIEW]}")]
            return problem_page("No such model", told, base=base, links=links), 404
        reviewer = name_of(request)
        naming = "rename" in request.query_params or not reviewer
        token, turn = "", None
        if self.desk is not None and place.model is not None:
            token = self.key.token(session)
            turn = None if naming else self.desk.turn(place.model, reviewer)
        said = request.query_params.get("said", "")
        page = review_page(
            place.status, place.chosen, turn, base=base, model=name or place.model, token=token,
            said=said if said in DONE else "", naming=naming, reviewer=reviewer,
        )  # fmt: skip
        return page, 200

    async def fragments(self, request: Request) -> Response:
        """Answer with the changing parts; with `item` in the address also with the next sample."""
        return await run_in_threadpool(self._fragments, request)

    def _fragments(self, request: Request) -> Response:
        base, session, reviewer = base_of(request), session_of(request), name_of(request)
        try:
            place = self._place(request.query_params.get("model"))
        except KeyError as error:
            return error_of(404, "not_found", f"there is no model named {clean(error.args[0])!r}")
        parts = frame(place.status, place.chosen, base, place.name or place.model, REVIEW)
        if "item" in request.query_params and self.desk and place.model and session and reviewer:
            turn = self.desk.turn(place.model, reviewer)
            said = request.query_params.get("said", "")
            parts |= self._parts(request, place.chosen, turn, self.key.token(session), said)
        return json_of(parts)

    async def state(self, request: Request) -> Response:
        """Answer with the sample in hand as JSON."""
        return await run_in_threadpool(self._asked, request, self._state)

    def _state(self, request: Request) -> Response:
        desk = self._desk()
        asked = request.query_params
        session, reviewer, model = self._known(request, self._place(asked.get("model")).model, asked.get("reviewer"))
        turn: Turn = desk.turn(model, reviewer)
        return json_of(review_json(turn, self.key.token(session)))

    async def history(self, request: Request) -> Response:
        """Answer with all that was said and done about a sample."""
        return await run_in_threadpool(self._asked, request, self._history)

    def _history(self, request: Request) -> Response:
        desk = self._desk()
        self._known(request, desk.models[0], request.query_params.get("reviewer"))
        return json_of({"history": desk.history(_request_id(request.query_params))})

    # -- what is done --------------------------------------------------------------------------------------------------

    def form(self, action: str) -> Callable[[Request], Any]:
        """Return the endpoint of a form: it acts, and sends the browser back to the page."""

        async def answer(request: Request) -> Response:
            try:
                fields = await fields_of(request, form)
                said = await run_in_threadpool(self._do, request, action, fields)
            except Refused as error:
                base = base_of(request)
                links = [("Back to the review", f"{base}{PATHS[REVIEW]}")]
                return html(problem_page("Not done", error.message, base=base, links=links), error.code)
            done = RedirectResponse(here(base_of(request), str(fields.get("model", "")), said), 303)
            if action == "name":
                keep(request, done, REVIEWER, quote(_name(fields), safe=""))
            return done

        return answer

    def api(self, action: str) -> Callable[[Request], Any]:
        """Return the endpoint of the API: JSON in, JSON out."""

        async def answer(request: Request) -> Response:
            try:
                fields = await fields_of(request, json_fields)
                said, more = await run_in_threadpool(self._done, request, action, fields)
            except Refused as error:
                return error_of(error.code, error.name, error.message)
            if said == "unknown_label":
                return error_of(422, said, DONE[said])
            done = json_of({"state": said, **more})
            if action == "name":
                keep(request, done, REVIEWER, quote(_name(fields), safe=""))
            return done

        return answer

    def _done(self, request: Request, action: str, fields: Fields) -> tuple[str, dict[str, Any]]:
        """Do what a POST asks for; return what became of it, and what it asks for besides."""
        said = self._do(request, action, fields)
        return said, self._next(request, fields, said)

    def _do(self, request: Request, action: str, fields: Fields) -> str:
        """Do what a POST asks for, if it comes from our own form; return what became of it."""
        desk = self._desk()
        check_form(request, self.key, fields)
        if action == "name":
            _name(fields)
            return "named"
        _, reviewer, model = self._known(request, fields.get("model"), fields.get("reviewer"))
        note = str(fields.get("note") or "").strip()[:LONGEST_NOTE] or None
        if action == "undo":
            return "nothing" if desk.undo(model, reviewer) is None else "undone"
        request_id = _request_id(fields)
        if action == "skip":
            return "skipped" if desk.skip(request_id, reviewer, note) else "unknown_id"
        if action == "peek":
            desk.peek(request_id, reviewer)
            return "peeked"
        try:
            return desk.label(model, reviewer, request_id, fields.get("label"), note)
        except UnknownLabel:
            return "unknown_label"

    def _next(self, request: Request, fields: Fields, said: str) -> dict[str, Any]:
        """Return what `next` asks for after an action: what is in hand now; None where the store cannot tell.

        What was done is done: a body that is answered with an error would be sent again.
        """
        wanted = fields.get("next")
        if wanted not in NEXT or said in ("named", "unknown_label"):
            return {}
        try:
            session, reviewer, model = self._known(request, fields.get("model"), fields.get("reviewer"))
            turn, token = self._desk().turn(model, reviewer), self.key.token(session)
            if wanted == "sample":
                return {"next": review_json(turn, token)}
            return {"next": self._parts(request, self._place(model, recent=True).chosen, turn, token, said)}
        except ModelwatchError:
            return {"next": None}

    def _parts(
        self, request: Request, chosen: Mapping[str, Any] | None, turn: Turn, token: str, said: str
    ) -> dict[str, str]:
        """Return the parts of the page that a sample changes."""
        return {"why": why(chosen, turn), "item": item(turn, base=base_of(request), token=token, said=said)}

    # -- who asks ------------------------------------------------------------------------------------------------------

    def _asked(self, request: Request, work: Callable[[Request], Response]) -> Response:
        try:
            return work(request)
        except Refused as error:
            return error_of(error.code, error.name, error.message)
        except KeyError as error:
            return error_of(404, "not_found", f"there is no model named {clean(error.args[0])!r}")

    def _desk(self) -> Desk:
        if self.desk is None:
            raise Refused(503, "no_store", NO_STORE)
        return self.desk

    def _known(self, request: Request, model: Any, named: Any) -> tuple[str, str, str]:
        """Return (session, reviewer, model) of a request, if all are known.

        named : the reviewer that a program with a token names; a browser says it by its cookie.
        """
        session, reviewer = session_of(request), name_of(request)
        if request.scope.get(BY_BEARER) and isinstance(named, str):
            session, reviewer = session or "", clean(named, LONGEST_NAME).strip()
        if session is None or not reviewer:
            raise Refused(403, "no_reviewer", "Nobody is reviewing here yet. Open the review and give your name.")
        if model not in self._desk().models:
            raise Refused(404, "not_found", f"There is no model named {clean(model)!r} to review.")
        return session, reviewer, str(model)


def _name(fields: Fields) -> str:
    name = clean(fields.get("name") or "", LONGEST_NAME).strip()
    if not name:
        raise Refused(422, "no_name", "A name is needed: it is written beside your labels. Go back and type one.")
    return name


def _request_id(fields: Fields) -> str:
    found = fields.get("request_id")
    if not isinstance(found, str) or not REQUEST_ID.fullmatch(found):
        raise Refused(422, "bad_request", "request_id is missing or none of ours. Open the review again.")
    return found
