"""The page Settings: the configuration as it was understood, and of a secret only whether it is set."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any

from integrations.calling import call
from modelwatch.config import Config, parse_config
from modelwatch.server.access import VIEW, Access
from modelwatch.server.web import pages_app
from modelwatch.sources.settings import settings

Sample = Callable[..., dict[str, Any]]
HERE = (b"host", b"localhost")
ENVIRON = {name: f"planted-{name.lower()}-secret-0123456789" for name in ("PAGE", "HOOK", "TOKEN")}
TEXT = """
service: {name: api, owner: "the <b>team</b>", health_url: "http://u:planted-health@10.0.0.1/healthz"}
models:
  churn: {version: "2", task: regression, features: {age: numeric}, alerts: {TrafficStopped: null}}
  mood:
    version: "1.4"
    task: classification
    classes: [bad, good]
    ground_truth: {retention: 30d}
    slos: {latency: {threshold: 500ms, objective: 0.95}}
alerting:
  receivers:
    oncall: {pagerduty: "${PAGE}"}
    team: {slack: "https://hooks.example.com/${HOOK}"}
  alertmanager: "http://u:planted-manager@10.0.0.2:9093"
pages: {tokens: {view: "${TOKEN}"}, prefix: /ops/ml, hosts: [ml.example.org]}
store: postgresql+psycopg://u:planted-store@10.0.0.3/watch
"""


def config() -> Config:
    """Return a configuration with a secret wherever one may stand."""
    return parse_config(TEXT, environ=ENVIRON)


def words(answer: Any) -> str:
    """Return the words of a page."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", answer.body.decode())))


def test_no_secret_is_shown(sample: Sample) -> None:
    """Neither on the page nor in the API, wherever it stands in the file; whether it is set, is."""
    app = pages_app(lambda: sample("healthy"), settings=lambda: settings(config()))
    for path in ("/settings", "/api/settings", "/fragments/settings", "/api/status"):
        answer = call(app, path, headers=[HERE])
        assert (path, answer.status, "planted" in answer.body.decode()) == (path, 200, False)
    page = words(call(app, "/settings", headers=[HERE]))
    for said in (
        "Receiver oncall pagerduty, target set", "Receiver team slack, target set", "Alertmanager set",
        "Token to view set", "Token to operate not set", "Health check set", "Path prefix /ops/ml",
        "Known as ml.example.org", "Alerts switched off TrafficStopped", "latency 0.95",
    ):  # fmt: skip
        assert said in page
    assert "<b>team</b>" not in call(app, "/settings", headers=[HERE]).body.decode()


def test_it_tells_versions_retention_and_every_model(sample: Sample) -> None:
    """As values in the API, and in words on the page."""
    app = pages_app(lambda: sample("healthy"), settings=lambda: {**settings(config()), "series": {"mood 1.4": 69}})
    found = json.loads(call(app, "/api/settings", headers=[HERE]).body)
    assert [one["name"] for one in found["models"]] == ["churn", "mood"]
    assert found["retention"]["samples_s"] == {"churn": 90 * 86_400.0, "mood": 30 * 86_400.0}
    assert set(found["versions"]) >= {"modelwatch", "Python", "numpy", "starlette"}
    page = words(call(app, "/settings", headers=[HERE]))
    assert "Series in Prometheus 69" in page
    assert "Samples of mood 30 d" in page
    assert "The monitor itself" in page


def test_pages_without_a_configuration_say_so(sample: Sample) -> None:
    """And still tell how the monitor itself is."""
    page = words(call(pages_app(lambda: sample("healthy")), "/settings", headers=[HERE]))
    assert "These pages were given no configuration" in page
    assert "Workers reporting" in page


def test_who_has_signed_in_can_sign_out(sample: Sample) -> None:
    """The form is there for a session only; without tokens there is nobody to sign out."""
    bare = pages_app(lambda: sample("healthy"))
    assert "Sign out" not in words(call(bare, "/settings", headers=[HERE]))
    access = Access([(VIEW, "see")])
    app = pages_app(lambda: sample("healthy"), access=access)
    assert "have signed in as view" in words(call(app, "/settings", headers=[HERE, (b"authorization", b"Bearer see")]))
