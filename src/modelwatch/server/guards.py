"""What keeps others out: the headers of every answer, the hosts that are known, and whose POST is taken."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelwatch.server.answers import error_of
from modelwatch.server.words import clean

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
)
#: Of pages with forms. With no-referrer a browser sends `Origin: null`, which does not tell whose form it is.
WITH_FORMS = {
    "content-security-policy": CONTENT_SECURITY_POLICY.replace("form-action 'none'", "form-action 'self'"),
    "referrer-policy": "same-origin",
}
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
MOST_BYTES = 65_536  # of a body


class StrictHeaders:
    """Sets the headers of every answer: no foreign script or style, no sniffing, no referrer, no stale copy."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers that the answer has not set itself."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class KnownHost:
    """Answers only to names that are known, so that no foreign name can be pointed at this server (DNS rebinding).

    Parameters
    ----------
    app : to ask.
    hosts : names besides localhost and all addresses that are numbers; "*" for all.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.hosts = {"localhost", *(host.lower() for host in hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 421."""
        if scope["type"] != "http" or self._knows(Headers(scope=scope).get("host", "")):
            await self.app(scope, receive, send)
            return
        told = (
            f"this server is not known as {clean(Headers(scope=scope).get('host', ''))!r}; use localhost, its address"
        )
        answer = error_of(421, "unknown_host", f"{told}, or add the name to hosts= of pages_app")
        await answer(scope, receive, send)

    def _knows(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if "*" in self.hosts or name in self.hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def is_ours(request: Request) -> bool:
    """Tell whether a POST comes from a page of this server: its Origin is the host that was asked."""
    origin = urlsplit(request.headers.get("origin", ""))
    return origin.scheme in {"http", "https"} and origin.netloc.lower() == request.headers.get("host", "").lower()


async def body_of(request: Request) -> bytes | None:
    """Return the body; None when it is over 64 KiB, without having read the rest."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            return None
    return body
