"""The pages behind a real nginx under a path of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from modelwatch import Monitor
from modelwatch.testing import running_service
from server.test_review import CONFIG
from support import require

PREFIX = "/ops/ml"
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr error; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass http://127.0.0.1:{upstream}{taken};
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto https;
    }}
    location = /healthz {{ return 200 "ok"; }}
  }}
}}
"""
TOKEN = "a-token-to-operate"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a configuration and a service that has counted, and kept three answers for review."""
    path = tmp_path / "modelwatch.yaml"
    whole = CONFIG.format(task="classification", classes="classes: [negative, positive]")
    path.write_text(f"{whole}\npages: {{prefix: {PREFIX}, tokens: {{operate: '${{MW_OPERATE}}'}}}}\n")
    environ = pytest.MonkeyPatch()
    environ.setenv("MW_OPERATE", TOKEN)
    monitor = Monitor.from_config(path)
    for text in ("one", "two", "three"):
        monitor.record("/predict", duration=0.01, prediction="positive", confidence=0.8, request_id=text, input=text)
    assert monitor.flush(5)
    yield tmp_path
    monitor.close()
    environ.undo()


def proxy_of(folder: Path, upstream: int, *, takes: bool) -> list[str]:
    """Return the command of an nginx in front; `takes`: it takes the path away."""
    program = "/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else require("nginx")
    root = "user root;" if (Path("/etc/passwd").exists() and subprocess.getoutput("id -u") == "0") else ""
    file = folder / "nginx.conf"
    file.write_text(
        NGINX.format(
            folder=folder, port="PORT", upstream=upstream, prefix=PREFIX, taken="/" if takes else "", user=root
        )
    )
    script = f"sed s/PORT/$0/ {file} > {file}.port && exec {program} -p {folder} -c {file}.port"
    return ["sh", "-c", script, "{port}"]


class Visitor:
    """Somebody behind the proxy, who follows what the pages say."""

    def __init__(self, url: str) -> None:
        self.url, self.cookies = url, dict[str, str]()
        self.seen: dict[str, int] = {}

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send one request; the browser speaks TLS to the proxy, so its secure cookies come along."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"accept": "text/html", "origin": self.url.replace("http:", "https:"), "cookie": cookies}
        answer = httpx.request(method, f"{self.url}{path}", headers=headers, timeout=10, trust_env=False, **more)
        for set_cookie in answer.headers.get_list("set-cookie"):
            name, _, rest = set_cookie.partition("=")
            self.cookies[name] = rest.partition(";")[0]
        return answer

    def walk(self, path: str) -> None:
        """Open a page and everything of this server that it names, once each."""
        plain = urlsplit(path)._replace(fragment="").geturl()
        if plain in self.seen:
            return
        answer = self.send("GET", plain)
        self.seen[plain] = answer.status_code
        if "text/html" not in answer.headers.get("content-type", ""):
            return
        for given in re.findall(r'(?:href|src|data-refresh)="([^"]*)"', answer.text):
            target = unescape(given)
            if not target.startswith(("data:", "#")):
                assert not urlsplit(target).netloc, f"{plain} names {target}"
                self.walk(urljoin(plain, target))

    def fields(self, page: str, action: str) -> dict[str, str]:
        """Return the hidden fields of the form with this address."""
        found = re.search(rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', page, re.S)
        assert found, f"no form to {action}"
        return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', found[1]))


@pytest.mark.parametrize("takes", [True, False], ids=["path is taken away", "path is left"])
def test_everything_works_behind_nginx_under_a_path(folder: Path, takes: bool) -> None:
    """Signed in over TLS of the proxy: every link, fragment, file and form, and no address outside the path."""
    serve = [
        sys.executable, "-m", "modelwatch.cli", "serve", "--config", str(folder / "modelwatch.yaml"), "--port", "{port}"
    ]  # fmt: skip
    with running_service(serve, environment={"MW_OPERATE": TOKEN}) as server:
        with running_service(proxy_of(folder, server.port, takes=takes), ready="/healthz") as proxy:
            who = Visitor(proxy.url)
            first = who.send("GET", f"{PREFIX}/drift?model=m")
            assert (first.status_code, "Sign in" in first.text) == (401, True)
            login = who.fields(first.text, f"{PREFIX}/login")
            assert unescape(login["next"]) == f"{PREFIX}/drift?model=m"
            done = who.send("POST", f"{PREFIX}/login", data={**login, "token": TOKEN})
            assert (done.status_code, done.headers["location"]) == (303, f"{PREFIX}/drift?model=m")
            assert {"Secure", f"Path={PREFIX}"} <= set(done.headers["set-cookie"].split("; "))
            who.walk(f"{PREFIX}/")
            assert [path for path in who.seen if not path.startswith(f"{PREFIX}/")] == []
            assert {path: code for path, code in who.seen.items() if code != 200} == {}
            pages = {urlsplit(path).path.removeprefix(PREFIX) for path in who.seen}
            assert {"/", "/quality", "/drift", "/alerts", "/slos", "/review", "/settings", "/monitor"} <= pages
            assert {"/static/modelwatch.css", "/static/modelwatch.js", "/fragments", "/fragments/review"} <= pages
            page = who.send("GET", f"{PREFIX}/review?model=m").text
            named = who.send(
                "POST", f"{PREFIX}/review/name", data={**who.fields(page, f"{PREFIX}/review/name"), "name": "ana"}
            )
            assert (named.status_code, named.headers["location"].startswith(f"{PREFIX}/review?")) == (303, True)
            page = who.send("GET", named.headers["location"]).text
            label = {**who.fields(page, f"{PREFIX}/review/label"), "label": "negative"}
            saved = who.send("POST", f"{PREFIX}/review/label", data=label)
            assert saved.headers["location"].endswith("said=matched")
            assert who.send("GET", "/drift").status_code == 404  # the proxy's own
