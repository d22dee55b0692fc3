"""Which route of an ASGI app answered a request: its path with the names of its parameters, never with their values."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from modelwatch.names import UNMATCHED

_PARAMETER = re.compile(r"\{([^{}]*)\}")


class Route(NamedTuple):
    """One route, and what its paths look like."""

    endpoint: Any  # kept alive, so that its id stays its own
    path: str
    pattern: re.Pattern[str]


class Routes:
    """The routes of a Starlette or FastAPI app, found by the endpoint that answered.

    The scope of a request names the endpoint. Its route does not know the prefixes of the mounts and routers around it,
    and what the scope says of those holds the values of their parameters.

    Parameters
    ----------
    routes : `app.routes`.

    Attributes
    ----------
    only : {id of an endpoint: path} of those that have one route; `answered` tells the rest.
    """

    def __init__(self, routes: Iterable[Any] = ()) -> None:
        self._by_endpoint: dict[int, list[Route]] = {}
        for route in _all(routes):
            self._by_endpoint.setdefault(id(route.endpoint), []).append(route)
        self.only = {key: known[0].path for key, known in self._by_endpoint.items() if len(known) == 1}

    @property
    def paths(self) -> list[str]:
        """Every path, once."""
        return list(dict.fromkeys(route.path for known in self._by_endpoint.values() for route in known))

    def answered(self, scope: Mapping[str, Any], root_path: str) -> str:
        """Return the path of the route that answered.

        Parameters
        ----------
        scope : of the request, after the app has found the route.
        root_path : of the request, before it has: what a proxy has stripped.
        """
        known = self._by_endpoint.get(id(scope.get("endpoint")))
        if known is not None:
            return known[0].path if len(known) == 1 else _matching(known, scope["path"], root_path)
        path = getattr(scope.get("route"), "path", None)  # added since; below a mount its whole path is not known
        return str(path) if path and scope.get("root_path", "") == root_path else UNMATCHED


def _matching(known: list[Route], path: str, root_path: str) -> str:
    """Return which of several routes with one endpoint a path belongs to."""
    if root_path:
        path = path.removeprefix(root_path)
    return next((route.path for route in known if route.pattern.fullmatch(path)), known[0].path)


def _all(routes: Iterable[Any], prefix: str = "") -> Iterator[Route]:
    # newer FastAPI keeps the routers that an app includes apart, and tells their routes only here
    expand = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    for route in expand(routes):
        path = f"{prefix}{getattr(route, 'path', None) or ''}"  # a host has none
        below = getattr(route, "routes", None)
        if below:
            yield from _all(below, path)
            continue
        endpoint, mounted = getattr(route, "endpoint", None), getattr(route, "app", None)
        if path and endpoint is not None:
            yield Route(endpoint, path, _pattern(path))
        elif path and mounted is not None:
            yield Route(mounted, path, _pattern(f"{path}/{{path:path}}"))


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)  # text, parameter, text, …
    parts[::2] = map(re.escape, parts[::2])
    parts[1::2] = [".*" if name.endswith(":path") else "[^/]+" for name in parts[1::2]]
    return re.compile("".join(parts), re.DOTALL)
