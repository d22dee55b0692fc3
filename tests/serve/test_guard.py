"""Who may read and do what in `modelwatch serve`: nobody from outside without a token, each role what is its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from starlette.routing import Mount, Route

from integrations.calling import call
from modelwatch.config import parse_config
from modelwatch.errors import ConfigError
from modelwatch.serve.guard import Forwarded, Prefixed, check_bind
from modelwatch.serve.run import app_of
from modelwatch.server.access import LOGIN, OPERATE, REVIEW, ROLES, VIEW, Access, role_needed
from serve.conftest import House

HERE = (b"host", b"localhost:8080")
OPEN = {"/healthz"}
TOKENS = {VIEW: "token-of-view", REVIEW: "token-of-review", OPERATE: "token-of-operate"}
#: The role that every route asks for, by its method: a new route has to be added here.
NEEDED = {
    **dict.fromkeys(
        [
            "/", "/quality", "/drift", "/resources", "/alerts", "/slos", "/monitor", "/settings", "/runbooks",
            "/runbooks/name", "/metrics", "/static/x", "/fragments", "/fragments/quality", "/fragments/drift",
            "/fragments/resources", "/fragments/alerts", "/fragments/slos", "/fragments/runbooks",
            "/fragments/monitor", "/fragments/settings", "/api/status", "/api/models", "/api/alerts", "/api/slos",
            "/api/quality", "/api/drift", "/api/monitor", "/api/settings", "/api/openapi.json",
        ],
        ("GET", VIEW),
    ),
    **dict.fromkeys(["/review", "/fragments/review", "/api/review", "/api/review/history"], ("GET", REVIEW)),
    **{
        f"{base}/{action}": ("POST", REVIEW)
        for base in ("/review", "/api/review")
        for action in ("name", "label", "skip", "undo", "peek")
    },
    **{
        f"{base}/{action}": ("POST", OPERATE)
        for base in ("/alerts", "/api/alerts")
        for action in ("acknowledge", "silence", "unsilence")
    },
}  # fmt: skip


def paths(routes: Sequence[object], base: str = "") -> Iterator[tuple[str, str]]:
    """Yield (path, method) of a route table, with something for the parameters of a path."""
    for route in routes:
        if isinstance(route, Mount):
            inner = route.routes
            yield from paths(inner, base + route.path)
            if not inner:
                yield f"{base}{route.path}/x", "GET"
        elif isinstance(route, Route):
            path = base + route.path.replace("{", "").replace("}", "").replace(":path", "")
            yield path, "POST" if "POST" in (route.methods or ()) else "GET"


def table(app: object) -> dict[str, str]:
    """Return every path that an application answers, with its method."""
    assert isinstance(app, Forwarded)
    app = app.app
    assert isinstance(app, Prefixed)
    return dict(paths(app.app.routes))  # type: ignore[attr-defined]  # Starlette


def bearer(token: str) -> tuple[bytes, bytes]:
    """Return the header that a program sends."""
    return b"authorization", f"Bearer {token}".encode()


def test_every_route_needs_the_token(house: House) -> None:
    """401 on each route, by each method, without it, with a wrong one, or with one of another kind; 200 on /healthz."""
    app = app_of(house.serve(), "a secret")
    found = table(app)
    assert {"/healthz", "/metrics", "/api/alerts", "/api/slos", "/api/status", "/", "/quality", "/monitor"} <= set(
        found
    )
    wrong = [b"", b"Bearer", b"Bearer wrong", b"bearer a secret x", b"Basic !!!", b"Basic " + base64.b64encode(b"x:y")]
    for path in [*found, "/login", "/logout", "/docs", "/anything"]:
        for given in wrong:
            for method in ("GET", "HEAD", "OPTIONS"):
                answer = call(app, path, method=method, headers=[HERE, (b"authorization", given)])
                if path != "/healthz":
                    assert (path, answer.status) == (path, 401)
                    assert "secret" not in answer.body.decode()
        if path not in {"/healthz", "/login"}:
            assert call(app, path, method="POST", headers=[HERE]).status == 401
    assert call(app, "/healthz", headers=[HERE]).status == 200
    for given in (b"Bearer a secret", b"Basic " + base64.b64encode(b"anybody:a secret")):
        assert call(app, "/metrics", headers=[HERE, (b"authorization", given)]).status == 200
    assert (
        call(app, "/metrics", headers=[(b"host", b"pages.example.com"), (b"authorization", b"Bearer a secret")]).status
        == 200
    )


def test_every_route_asks_for_its_role(house: House) -> None:
    """Walked over the route table: 403 for the roles below the one it asks for, and for no other; none is left out."""
    app = app_of(house.serve(), Access(TOKENS.items()))
    found = {path: method for path, method in table(app).items() if path not in OPEN}
    assert found == {path: method for path, (method, _) in NEEDED.items()}
    for path, (method, needed) in NEEDED.items():
        for role in ROLES:
            answer = call(app, path, method=method, headers=[HERE, bearer(TOKENS[role])], body=b"{}")
            refused = ROLES.index(role) < ROLES.index(needed)
            assert (path, role, answer.status == 403 and b"wrong_role" in answer.body) == (path, role, refused)
            assert answer.status not in {401, 500}


def test_what_is_not_known_and_changes_something_asks_for_the_highest_role() -> None:
    """A route that nobody has thought of is closed to whoever only reads."""
    assert role_needed("POST", "/new/thing") == role_needed("DELETE", "/alerts") == OPERATE
    assert role_needed("GET", "/reviewers") == VIEW
    assert role_needed("GET", "/review/anything") == REVIEW


def test_a_browser_signs_in_and_is_where_it_was(house: House) -> None:
    """The page asks for the token with the address that was asked for; the cookie is kept from scripts and others."""
    app = app_of(house.serve(), Access(TOKENS.items()))
    html = (b"accept", b"text/html")
    page = call(app, "/drift", query_string=b"model=a%20b&feature=x", headers=[HERE, html])
    assert page.status == 401
    assert 'name="next" value="/drift?model=a%20b&amp;feature=x"' in page.body.decode()
    assert page.headers["www-authenticate"].startswith("Bearer")
    assert "sha256-" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    form = (b"content-type", b"application/x-www-form-urlencoded")
    origin = (b"origin", b"http://localhost:8080")
    body = b"token=token-of-view&next=/drift%3Fmodel%3Da"
    assert call(app, "/login", method="POST", headers=[HERE, form], body=body).status == 403  # from elsewhere
    wrong = call(app, "/login", method="POST", headers=[HERE, form, origin], body=b"token=nothing&next=/drift")
    assert (wrong.status, "no token of this server" in wrong.body.decode()) == (401, True)
    done = call(app, "/login", method="POST", headers=[HERE, form, origin], body=body)
    assert (done.status, done.headers["location"]) == (303, "/drift?model=a")
    cookie = done.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "token-of-view" not in cookie
    held = (b"cookie", cookie.partition(";")[0].encode())
    assert call(app, "/drift", headers=[HERE, html, held]).status == 200
    refused = call(app, "/review", headers=[HERE, html, held])
    assert (refused.status, "needs the role review" in refused.body.decode()) == (403, True)


@pytest.mark.parametrize(
    "after", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/login", "/logout", "/a\nb", "drift"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(house: House, after: str) -> None:
    """Whatever stands in the form: only an address of this server is followed."""
    app = app_of(house.serve(), Access(TOKENS.items()))
    headers = [HERE, (b"content-type", b"application/json"), (b"origin", b"http://localhost:8080")]
    assert call(app, "/login", method="POST", headers=headers, body=b"{}").status == 415
    headers[1] = (b"content-type", b"application/x-www-form-urlencoded")
    from urllib.parse import urlencode

    body = urlencode({"token": TOKENS[VIEW], "next": after}).encode()
    assert call(app, "/login", method="POST", headers=headers, body=body).headers["location"] == "/"


def test_a_session_ends_with_its_time_and_with_its_token() -> None:
    """No cookie that was changed, is too old, or is of a token that does not hold any more is taken."""
    now = [1000.0]
    access = Access(TOKENS.items(), 60, lambda: now[0])
    cookie = access.sign_in(TOKENS[VIEW].encode())
    assert cookie is not None
    assert access.role_of_session(cookie) == VIEW
    for bad in ("", "view", cookie[:-1], cookie.replace("view", "operate"), cookie.replace("1060", "9999"), "ü.9.x.é"):
        assert access.role_of_session(bad) is None
    assert Access({**TOKENS, VIEW: "another"}.items(), 60, lambda: now[0]).role_of_session(cookie) is None
    now[0] = 1060
    assert access.role_of_session(cookie) is None
    assert access.sign_in(b"wrong") is None


def test_a_session_that_is_over_leads_to_the_form_and_the_script_hears_of_it(house: House) -> None:
    """A page says that the session is over, and keeps the address; its refresh is answered 401 in the one shape."""
    access = Access(TOKENS.items(), 60, lambda: 0.0)
    cookie = access.sign_in(TOKENS[VIEW].encode())
    access.now = lambda: 61.0
    app = app_of(house.serve(), access)
    held = [HERE, (b"cookie", f"{LOGIN}={cookie}".encode())]
    page = call(app, "/alerts", headers=[*held, (b"accept", b"text/html")])
    assert (page.status, "Your session is over" in page.body.decode()) == (401, True)
    assert 'value="/alerts"' in page.body.decode()
    parts = call(app, "/fragments/alerts", headers=held)
    assert (parts.status, json.loads(parts.body)["error"]["code"]) == (401, "no_token")


def test_who_comes_from_elsewhere_is_asked_once_more_before_the_form(house: House) -> None:
    """A strict cookie does not come with a link from a chat: the page is opened again by itself, and then it does."""
    app = app_of(house.serve(), Access(TOKENS.items()))
    headers = [HERE, (b"accept", b"text/html"), (b"sec-fetch-site", b"cross-site")]
    assert 'http-equiv="refresh"' in call(app, "/alerts", headers=headers).body.decode()


def test_signing_out_ends_the_session(house: House) -> None:
    """Only by a form of ours."""
    access = Access(TOKENS.items())
    app = app_of(house.serve(), access)
    held = [HERE, (b"cookie", f"{LOGIN}={access.sign_in(TOKENS[VIEW].encode())}".encode())]
    assert call(app, "/logout", method="POST", headers=[*held, (b"origin", b"http://evil.example")]).status == 403
    done = call(app, "/logout", method="POST", headers=[*held, (b"origin", b"http://localhost:8080")])
    assert (done.status, f"{LOGIN}=" in done.headers["set-cookie"]) == (303, True)
    settings = call(app, "/settings", headers=held).body.decode()
    assert 'action="/logout"' in settings


def test_no_token_is_held_or_shown(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the access, nor any answer, nor the log holds one: also when it is given, wrongly, in every place."""
    config = parse_config(
        (house.folder / "modelwatch.yaml").read_text() + "\npages: {tokens: {view: '${V}', operate: '${O}'}}\n",
        environ={"V": "planted-secret-1", "O": "planted-secret-2"},
    )
    access = Access.of(config, {"MODELWATCH_TOKEN": "planted-secret-3"})
    assert access is not None
    assert "planted-secret" not in repr(config) + repr(vars(access))
    app = app_of(house.serve(), access)
    for token in ("planted-secret-1", "planted-secret-2", "planted-secret-3"):
        for path in table(app):
            answer = call(app, path, headers=[HERE, bearer(token), (b"accept", b"text/html")])
            assert "planted-secret" not in answer.body.decode("utf-8", "replace") + repr(answer.headers)
    assert "planted-secret" not in caplog.text
    assert Access.of(parse_config((house.folder / "modelwatch.yaml").read_text(), environ={}), {}) is None


def test_without_a_token_only_this_machine_is_answered(house: House) -> None:
    """A foreign name that points at this server reads nothing; every answer has the strict headers."""
    app = app_of(house.serve())
    for path in table(app):
        assert call(app, path, headers=[(b"host", b"evil.example.com")]).status == 421
    for path in ("/healthz", "/metrics", "/api/alerts", "/api/slos", "/", "/drift", "/alerts", "/slos", "/settings"):
        answer = call(app, path, headers=[HERE])
        assert (path, answer.status) == (path, 200)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "serve.example.com", "", "127.0.0.1.example.com"])  # noqa: S104
def test_an_open_address_needs_a_token(host: str) -> None:
    """Anything but this machine's own addresses is refused without one."""
    with pytest.raises(ConfigError, match="MODELWATCH_TOKEN"):
        check_bind(host, has_token=False)
    check_bind(host, has_token=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_of_this_machine_needs_none(host: str) -> None:
    """Loopback is open."""
    check_bind(host, has_token=False)


@pytest.mark.parametrize("given", ["/ops/ml/drift", "/drift"])
def test_a_prefix_is_in_every_link(house: House, given: str) -> None:
    """Whether the proxy in front takes it away or not; `/healthz` is also there without."""
    house.write((house.folder / "modelwatch.yaml").read_text() + "\npages: {prefix: /ops/ml}\n")
    app = app_of(house.serve())
    page = call(app, given, headers=[HERE]).body.decode()
    assert 'href="/ops/ml/static/modelwatch.css"' in page
    assert 'data-refresh="/ops/ml/fragments/drift' in page
    links: list[Any] = [part.partition('"')[0] for part in page.split('href="')[1:]]
    assert [link for link in links if not link.startswith(("/ops/ml/", "#", "data:"))] == []
    assert call(app, "/healthz", headers=[HERE]).status == 200
    assert call(app, "/ops/mlx/drift", headers=[HERE]).status == 404
