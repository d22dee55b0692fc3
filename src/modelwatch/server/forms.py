"""Whose form it is: a cookie for each browser, and a token that only forms of that browser bring along."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import Response

from modelwatch.server.answers import base_of
from modelwatch.server.guards import MOST_BYTES, body_of, is_ours
from modelwatch.server.words import clean

SESSION, REVIEWER = "modelwatch_session", "modelwatch_reviewer"
YEAR_S = 365 * 86_400
LONGEST_NAME = 64
BY_BEARER = "modelwatch.by_bearer"  # in a scope: a token in a header let it in, which no other site can send
_SESSION = re.compile(r"[0-9a-f]{32}")
Fields = Mapping[str, Any]


class Refused(Exception):
    """Ends an action with an error in the one shape."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code, self.name, self.message = code, name, message


class FormKey:
    """Makes and knows the tokens of forms. The key is read when it is first needed, and is the same for all workers.

    Parameters
    ----------
    read : returns the key; what it raises is passed on.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._key: bytes | None = None

    def token(self, session: str) -> str:
        """Return what a form of this session must bring along: it shows that the form is ours."""
        with self._lock:
            if self._key is None:
                self._key = self._read()
            return blake2b(session.encode(), digest_size=16, key=self._key).hexdigest()

    def knows(self, session: str, token: str) -> bool:
        """Tell whether a form is of this session."""
        return hmac.compare_digest(self.token(session).encode(), token.encode("utf-8", "replace"))


async def fields_of(request: Request, read: Callable[[Request, bytes], Fields]) -> Fields:
    """Return the fields of a POST that comes from our own form, or from a program that has the token of a role.

    Raises
    ------
    Refused   it comes from elsewhere, or cannot be read.
    """
    if not is_ours(request) and not request.scope.get(BY_BEARER):
        raise Refused(403, "foreign_origin", "This did not come from a page of this server. Open the page again.")
    body = await body_of(request)
    if body is None:
        raise Refused(413, "too_large", f"The body is over {MOST_BYTES} bytes; write a shorter note.")
    return read(request, body)


def check_form(request: Request, key: FormKey, fields: Fields) -> None:
    """Take a form of the session of its browser only; a program with a token in its header needs none.

    Raises
    ------
    Refused   the form is of another session, or of none.
    """
    if request.scope.get(BY_BEARER):
        return
    session = session_of(request)
    token = fields.get("csrf") or request.headers.get("x-csrf-token", "")
    if session is None or not isinstance(token, str) or not key.knows(session, token):
        raise Refused(403, "bad_token", "This form is not of your session, or too old. Open the page again.")


def session_of(request: Request) -> str | None:
    """Return the session of a browser; None for one that has none yet."""
    held = request.cookies.get(SESSION, "")
    return held if _SESSION.fullmatch(held) else None


def new_session() -> str:
    """Return a session that nobody can guess."""
    return secrets.token_hex(16)


def name_of(request: Request) -> str:
    """Return what somebody calls themselves; empty for nothing yet."""
    return clean(unquote(request.cookies.get(REVIEWER, ""), errors="replace"), LONGEST_NAME).strip()


def keep(request: Request, answer: Response, name: str, value: str, max_age: float = YEAR_S) -> None:
    """Set a cookie that no other site can make the browser send, and no script can read."""
    answer.set_cookie(
        name, value, max_age=int(max_age), path=base_of(request) or "/", secure=request.url.scheme == "https",
        httponly=True, samesite="strict",
    )  # fmt: skip


def form(request: Request, body: bytes) -> Fields:
    """Return the fields of a form.

    Raises
    ------
    Refused   it is none.
    """
    if _kind(request) != "application/x-www-form-urlencoded":
        raise Refused(415, "not_a_form", "Send a form, or JSON to the same path below /api.")
    return dict(pairs_of(body))


def pairs_of(body: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a form, in their order.

    Raises
    ------
    Refused   there are too many.
    """
    try:
        return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refused(400, "bad_request", "The form has too many fields. Open the page again.") from None


def json_fields(request: Request, body: bytes) -> Fields:
    """Return the fields of a JSON object.

    Raises
    ------
    Refused   it is none.
    """
    if _kind(request) != "application/json":
        raise Refused(415, "not_json", "Send JSON: content-type is application/json.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(400, "bad_json", "The body is no JSON object.")
    return found


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
