"""Lets nobody in without the role that a route asks for: signs in, signs out, and says what is missing. ASGI."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from math import ceil
from pathlib import Path

from markupsafe import Markup
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelwatch.server.access import LOGIN, MAY, OPEN, ROLE, ROLES, Access, role_needed
from modelwatch.server.answers import base_of, error_of, html
from modelwatch.server.attempts import TooOften
from modelwatch.server.forms import BY_BEARER, Refused, fields_of, form, keep
from modelwatch.server.frame import problem_page, render, tab_icon
from modelwatch.server.guards import WITH_FORMS
from modelwatch.server.words import clock, span

STYLE = Path(__file__).parent / "static" / "login.css"
NEEDS = "This server needs a token: as a bearer token, or as the password of any user."


class Guard:
    """Answers 401 to whoever has no token and no session, with a form to sign in for people; 403 to the wrong role.

    Whoever has given too many wrong tokens is told with 429 when to try again; sessions of that address go on.

    Parameters
    ----------
    app : to ask.
    access : of the tokens; None: everybody may do everything.
    """

    def __init__(self, app: ASGIApp, access: Access | None) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the application, or answer for it."""
        if scope["type"] != "http" or self.access is None:
            await self.app(scope, receive, send)
            return
        request = Request(scope, receive)
        path = scope["path"].removeprefix(base_of(request))
        try:
            known = self.access.known(scope)
        except TooOften as error:
            await _too_often(request, self.access, error)(scope, receive, send)
            return
        role = None if known is None else known.role
        if path == "/login":
            await (await self._login(request, self.access, role))(scope, receive, send)
        elif path in OPEN:
            await self.app(scope, receive, send)
        elif known is None:
            await _nobody(request)(scope, receive, send)
        elif ROLES.index(known.role) < ROLES.index(needed := role_needed(request.method, path)):
            await _too_little(request, known.role, needed)(scope, receive, send)
        elif path == "/logout" and request.method == "POST":
            await _logout(request)(scope, receive, send)
        else:
            await self.app({**scope, ROLE: role, BY_BEARER: known.by_bearer}, receive, send)

    async def _login(self, request: Request, access: Access, role: str | None) -> Response:
        if request.method != "POST":
            return login_page(request, request.query_params.get("next", ""), code=200 if role else 401)
        try:
            fields = await fields_of(request, form)
        except Refused as error:
            return login_page(request, "", error.message, error.code)
        given, after = str(fields.get("token") or "").strip(), str(fields.get("next") or "")
        try:
            session = access.sign_in_from(request.scope, given.encode("utf-8", "replace"))
        except TooOften as error:
            return _too_often(request, access, error, after)
        if session is None:
            return login_page(request, after, "That is no token of this server.", 401)
        answer = RedirectResponse(_own(request, after), 303)
        keep(request, answer, LOGIN, session, access.session_s)
        return answer


def _too_often(request: Request, access: Access, error: TooOften, after: str = "") -> Response:
    """Return the answer to an address that has given too many wrong tokens: when it may give one again."""
    wait_s = ceil(error.wait_s)
    when = clock(access.now() + wait_s, seconds=True)
    told = f"Too many wrong tokens came from your address. Try again in {span(wait_s)}, at {when} UTC."
    if "text/html" in request.headers.get("accept", "") or (request.method == "POST" and "/login" in request.url.path):
        answer = login_page(request, after, told, 429)
    else:
        answer = error_of(429, "too_many_attempts", told)
    answer.headers["retry-after"] = str(wait_s)
    return answer


def _nobody(request: Request) -> Response:
    """Return the answer to whoever has not signed in."""
    headers = {"www-authenticate": 'Bearer realm="modelwatch"'}
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        answer = error_of(401, "no_token", NEEDS)
    elif request.headers.get("sec-fetch-site") == "cross-site" and LOGIN not in request.cookies:
        page = render("again", title="modelwatch", base=base_of(request), tab=tab_icon("none"))
        answer = html(page, 401)  # a cookie that no other site can send comes with the second request only
    else:
        answer = login_page(
            request, f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
        )
    answer.headers.update(headers)
    return answer


def login_page(request: Request, after: str, told: str = "", code: int = 401) -> Response:
    """Return the form in which people give their token; `after` is where they were."""
    style, policy = _style()
    page = render(
        "login", base=base_of(request), after=_own(request, after), told=told, style=Markup(style),
        over=LOGIN in request.cookies and not told, tab=tab_icon("none"),
    )  # fmt: skip
    answer = html(page, code)
    answer.headers.update({"content-security-policy": policy, "referrer-policy": "same-origin"})
    return answer


@cache
def _style() -> tuple[str, str]:
    """Return the style of the form, which no file is asked for that only who is signed in may read, and the policy."""
    style = STYLE.read_text(encoding="utf-8")
    known = b64encode(sha256(style.encode()).digest()).decode()
    return style, WITH_FORMS["content-security-policy"].replace("style-src 'self'", f"style-src 'sha256-{known}'")


def _own(request: Request, after: str) -> str:
    """Return an address of this server to go to: the one that was asked for, if it is one of ours."""
    base = base_of(request)
    plain = after.startswith(f"{base}/") and not after.startswith(("//", "/\\")) and after.isprintable()
    own = plain and "\\" not in after and not after.startswith((f"{base}/login", f"{base}/logout", f"{base}//"))
    return after if own else f"{base}/"


def _too_little(request: Request, role: str, needed: str) -> Response:
    told = f"This asks for the role {needed}, which may {MAY[needed]}; you have signed in as {role}."
    if "text/html" not in request.headers.get("accept", ""):
        return error_of(403, "wrong_role", told)
    base = base_of(request)
    links = [("Sign in with another token", f"{base}/login"), ("The first page", f"{base}/")]
    return html(problem_page(f"Not allowed – this needs the role {needed}", told, base=base, links=links), 403)


def _logout(request: Request) -> Response:
    origin = Headers(scope=request.scope).get("origin", "")
    if not origin.lower().endswith(f"//{request.headers.get('host', '').lower()}"):
        return error_of(403, "foreign_origin", "This did not come from a page of this server.")
    answer = RedirectResponse(f"{base_of(request)}/", 303)
    answer.delete_cookie(LOGIN, path=base_of(request) or "/", httponly=True, samesite="strict")
    return answer
