"""Where `modelwatch serve` listens, and under which path."""

from __future__ import annotations

import ipaddress

from modelwatch.errors import ConfigError
from modelwatch.integrations.asgi import App, Receive, Scope, Send


def check_bind(host: str, *, has_token: bool) -> None:
    """Refuse to listen where others can reach it without a token.

    Raises
    ------
    ConfigError   the address is not of this machine alone, and there is no token.
    """
    if not has_token and not is_loopback(host):
        raise ConfigError(
            f"--host: host is {host!r}; expected an address of this machine alone, such as 127.0.0.1, or a token."
            " Set MODELWATCH_TOKEN, or pages.tokens in the configuration."
        )


def is_loopback(host: str) -> bool:
    """Tell whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Prefixed:
    """Serves an application under a path: also where a proxy in front has taken the path away.

    Parameters
    ----------
    app : to ask.
    prefix : such as /ops/ml; empty for none.
    """

    def __init__(self, app: App, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the application, which sees the path that the browser has."""
        if self.prefix and scope["type"] == "http":
            path = scope["path"]
            inside = path == self.prefix or path.startswith(f"{self.prefix}/")
            whole = path if inside else f"{self.prefix}{path}"
            root = scope.get("root_path", "")
            raw = whole.encode("utf-8", "replace")
            scope = {**scope, "path": f"{root}{whole}", "raw_path": raw, "root_path": f"{root}{self.prefix}"}
        await self.app(scope, receive, send)
