"""Who may do what: roles by tokens, sessions of browsers that have signed in, the role that a route asks for."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, NamedTuple

from starlette.types import Scope

from modelwatch.server.attempts import Attempts, TooOften, address_of

if TYPE_CHECKING:
    from modelwatch.config import Config

VIEW, REVIEW, OPERATE = ROLES = ("view", "review", "operate")  # each may do what those before it may
MAY = {VIEW: "see the pages", REVIEW: "label samples", OPERATE: "acknowledge and silence alerts"}
ROLE = "modelwatch.role"  # in a scope: what whoever asks may do
LOGIN = "modelwatch_login"
TOKEN = "MODELWATCH_TOKEN"  # noqa: S105 - the name of a variable
OPEN = ("/healthz", "/login")  # asks for nothing; /login shows nothing but its form
SESSION_S = 12 * 3600.0
_REVIEW = ("/review", "/api/review", "/fragments/review")  # inputs of samples stand there


class Known(NamedTuple):
    """Who asks: a role, and whether a header said so that no other site can make a browser send."""

    role: str
    by_bearer: bool


class Access:
    """Knows tokens and sessions. Of a token only its hash is held.

    Parameters
    ----------
    tokens : (role, token); several may have one role.
    session_s : after which a browser signs in again.
    now : Unix time.
    attempts : remembers who gave wrong tokens.
    """

    def __init__(
        self,
        tokens: Iterable[tuple[str, str]],
        session_s: float = SESSION_S,
        now: Callable[[], float] = time.time,
        attempts: Attempts | None = None,
    ) -> None:
        self.session_s, self.now = session_s, now
        self.attempts = Attempts() if attempts is None else attempts
        self._held = [(role, sha256(token.encode()).digest()) for role, token in tokens]

    @classmethod
    def of(cls, config: Config, environ: Mapping[str, str]) -> Access | None:
        """Return the access that a configuration and `MODELWATCH_TOKEN` give; None where there is no token at all."""
        given = config.pages.tokens
        tokens = [(role, secret.get_secret_value()) for role, secret in given if secret is not None]
        whole = environ.get(TOKEN, "").strip()
        tokens += [(OPERATE, whole)] if whole else []
        return cls(tokens, config.pages.session_s) if tokens else None

    def role_of(self, token: bytes) -> str | None:
        """Return the highest role of a token; None for one that is unknown. All are compared, in constant time."""
        found = self._of(token)
        return None if found is None else found[0]

    def _of(self, token: bytes) -> tuple[str, bytes] | None:
        given = sha256(token).digest()
        found = [one for one in self._held if hmac.compare_digest(one[1], given)]
        return max(found, key=lambda one: ROLES.index(one[0]), default=None)

    def sign_in(self, token: bytes) -> str | None:
        """Return what the cookie of a browser holds that has given a token: it ends by itself, and with its token."""
        found = self._of(token)
        if found is None:
            return None
        said = f"{found[0]}.{int(self.now() + self.session_s)}.{secrets.token_hex(8)}"
        return f"{said}.{_signature(said, found[1])}"

    def sign_in_from(self, scope: Scope, token: bytes) -> str | None:
        """Return what `sign_in` does, to an address that has not guessed too often.

        Raises
        ------
        TooOften   it has to wait; the token was not looked at.
        """
        return self._guess(scope, token, self.sign_in)

    def _guess(self, scope: Scope, token: bytes, of: Callable[[bytes], str | None]) -> str | None:
        """Return what a token gives; a wrong one is remembered."""
        address = address_of(scope)
        if wait_s := self.attempts.wait_s(address):
            raise TooOften(wait_s)
        found = of(token)
        if found is None and token:
            self.attempts.wrong(address, token)
        return found

    def role_of_session(self, cookie: str) -> str | None:
        """Return the role of a session; None for one that is over, or that nobody was given."""
        said, _, signature = cookie.rpartition(".")
        role, ends, *_ = [*said.split("."), "", ""]
        given = signature.encode("utf-8", "replace")
        signed = [
            hmac.compare_digest(_signature(said, held).encode(), given) for name, held in self._held if name == role
        ]
        return role if any(signed) and self.now() < int(ends) else None

    def known(self, scope: Scope) -> Known | None:
        """Return who asks; None for whoever has neither token nor session.

        Raises
        ------
        TooOften   a token came along, from an address that has to wait.
        """
        headers = dict(scope["headers"])
        kind, _, value = headers.get(b"authorization", b"").partition(b" ")
        role = None
        if kind.lower() == b"bearer":
            role = self._guess(scope, value.strip(), self.role_of)
        elif kind.lower() == b"basic":
            role = self._guess(scope, _password(value), self.role_of)
        if role is not None:
            return Known(role, kind.lower() == b"bearer")
        for cookie in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, session = cookie.strip().partition("=")
            if name == LOGIN and (role := self.role_of_session(session)):
                return Known(role, by_bearer=False)
        return None


def role_needed(method: str, path: str) -> str:
    """Return the role that a route asks for; what changes something, and is not known here, asks for the highest.

    Examples
    --------
    >>> role_needed("GET", "/drift"), role_needed("POST", "/api/review/label"), role_needed("POST", "/alerts/silence")
    ('view', 'review', 'operate')
    """
    if path in _REVIEW or path.startswith(tuple(f"{start}/" for start in _REVIEW)):
        return REVIEW
    return VIEW if method in {"GET", "HEAD", "OPTIONS"} or path == "/logout" else OPERATE


def may(scope: Scope, role: str) -> bool:
    """Tell whether whoever asks may do what a role may; without tokens everybody may do everything."""
    return ROLES.index(scope.get(ROLE, OPERATE)) >= ROLES.index(role)


def _signature(said: str, key: bytes) -> str:
    return blake2b(said.encode("utf-8", "replace"), digest_size=24, key=key, person=b"mw session").hexdigest()


def _password(value: bytes) -> bytes:
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
