"""Who may read: everybody on this machine, or whoever has the token. Pure ASGI."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress

from modelwatch.errors import ConfigError
from modelwatch.integrations.asgi import App, Receive, Scope, Send, respond

OPEN = ("/healthz",)


def check_bind(host: str, token: str | None) -> None:
    """Refuse to listen where others can reach it without a token.

    Raises
    ------
    ConfigError   the address is not of this machine alone, and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"--host: host is {host!r}; expected an address of this machine alone, such as 127.0.0.1, or a token."
            " Set MODELWATCH_TOKEN."
        )


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Answers 401 to who has no token, if one is set; `/healthz` is open.

    The token is given as `Authorization: Bearer TOKEN`, or as the password of a browser's own dialog.
    """

    def __init__(self, app: App, token: str | None) -> None:
        self.app, self._token = app, None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        if self._token is None or scope["type"] != "http" or scope["path"] in OPEN or self._knows(scope):
            await self.app(scope, receive, send)
            return
        headers = [
            (b"www-authenticate", b'Basic realm="modelwatch", charset="UTF-8"'),
            (b"content-type", b"text/plain"),
        ]
        await respond(
            send, 401, b"This server needs a token: as a bearer token, or as the password of any user.\n", headers
        )

    def _knows(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, value = given.partition(b" ")
        if kind.lower() == b"basic":
            try:
                value = base64.b64decode(value, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return False
        elif kind.lower() != b"bearer":
            return False
        return self._token is not None and hmac.compare_digest(value.strip(), self._token)
