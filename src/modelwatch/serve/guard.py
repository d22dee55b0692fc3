"""Where `modelwatch serve` listens, and under which path."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

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


class Forwarded:
    """Believes proxies that are named whom they pass a request on for, and those of this machine that it came by TLS.

    Whoever else says so is not believed: an address that could be made up would not limit how often one may guess.

    Parameters
    ----------
    app : to ask.
    proxies : addresses or networks.
    """

    def __init__(self, app: App, proxies: Sequence[str] = ()) -> None:
        self.app = app
        self.proxies = [ipaddress.ip_network(proxy) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the application, which sees the client that the proxy saw."""
        client = scope.get("client")
        if scope["type"] == "http" and client:
            headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
            trusted = self._trusts(client[0])
            scheme = headers.get(b"x-forwarded-proto", "").strip().lower()
            if scheme in {"http", "https"} and (trusted or is_loopback(client[0])):
                scope = {**scope, "scheme": scheme}
            if trusted and (sender := self._sender(headers.get(b"x-forwarded-for", ""))):
                scope = {**scope, "client": (sender, 0)}
        await self.app(scope, receive, send)

    def _sender(self, said: str) -> str:
        """Return the last address that no proxy of ours has; what stands before it, anybody may have written."""
        hops = [hop.strip() for hop in said.split(",") if hop.strip()]
        return next((hop for hop in reversed(hops) if not self._trusts(hop)), hops[0] if hops else "")

    def _trusts(self, address: str) -> bool:
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(known in network for network in self.proxies)
