"""Who may read `modelwatch serve`: nobody from outside without a token, and nobody under a foreign name."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from starlette.routing import Mount, Route

from integrations.calling import call
from modelwatch.errors import ConfigError
from modelwatch.serve.guard import Guard, check_bind
from modelwatch.serve.run import app_of
from serve.conftest import House

HERE = (b"host", b"localhost:8080")


def paths(routes: list[object], base: str = "") -> Iterator[str]:
    """Yield every path of a route table, with something for its parameters."""
    for route in routes:
        if isinstance(route, Mount):
            yield from paths(list(route.routes), base + route.path)
            yield f"{base}{route.path}/x"
        elif isinstance(route, Route):
            yield base + route.path.replace("{", "").replace("}", "").replace(":path", "")


def table(app: object) -> list[str]:
    """Return every path that an application answers."""
    inner = app.app if isinstance(app, Guard) else app
    return sorted(set(paths(inner.routes)))  # type: ignore[attr-defined]  # Starlette


def test_every_route_needs_the_token(house: House) -> None:
    """401 on each route, by each method, without it, with a wrong one, or with one of another kind; 200 on /healthz."""
    app = app_of(house.serve(), "a secret")
    found = table(app)
    assert {"/healthz", "/metrics", "/api/alerts", "/api/slos", "/api/status", "/", "/quality", "/monitor"} <= set(
        found
    )
    wrong = [b"", b"Bearer", b"Bearer wrong", b"bearer a secret x", b"Basic !!!", b"Basic " + base64.b64encode(b"x:y")]
    for path in found:
        for given in wrong:
            for method in ("GET", "POST", "HEAD", "OPTIONS"):
                answer = call(app, path, method=method, headers=[HERE, (b"authorization", given)])
                if path != "/healthz":
                    assert (path, answer.status) == (path, 401)
                    assert "secret" not in answer.body.decode()
    assert call(app, "/healthz", headers=[HERE]).status == 200
    for given in (b"Bearer a secret", b"Basic " + base64.b64encode(b"anybody:a secret")):
        assert call(app, "/metrics", headers=[HERE, (b"authorization", given)]).status == 200
    assert (
        call(app, "/metrics", headers=[(b"host", b"pages.example.com"), (b"authorization", b"Bearer a secret")]).status
        == 200
    )


def test_without_a_token_only_this_machine_is_answered(house: House) -> None:
    """A foreign name that points at this server reads nothing; every answer has the strict headers."""
    app = app_of(house.serve())
    for path in table(app):
        assert call(app, path, headers=[(b"host", b"evil.example.com")]).status == 421
    for path in (
        "/healthz",
        "/metrics",
        "/api/alerts",
        "/api/slos",
        "/",
        "/drift",
        "/alerts",
        "/slos",
        "/runbooks/ServiceDown",
    ):
        answer = call(app, path, headers=[HERE])
        assert answer.status == 200
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "serve.example.com", "", "127.0.0.1.example.com"])  # noqa: S104
def test_an_open_address_needs_a_token(host: str) -> None:
    """Anything but this machine's own addresses is refused without one."""
    with pytest.raises(ConfigError, match="MODELWATCH_TOKEN"):
        check_bind(host, None)
    check_bind(host, "a secret")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_of_this_machine_needs_none(host: str) -> None:
    """Loopback is open."""
    check_bind(host, None)
