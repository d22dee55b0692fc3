"""The API: all that the pages show as JSON, described by a document that holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from integrations.calling import Answer, call
from modelwatch.server.openapi import CALLS, SCHEMAS, document
from modelwatch.server.web import pages_app
from server.watched import alert, alerts, drift, objectives, row, slo

Sample = Callable[..., dict[str, Any]]
HERE = (b"host", b"localhost")
MODEL = "sentiment_classifier"
SETTINGS = {"versions": {"modelwatch": "0"}, "models": []}


def get(status: Mapping[str, Any] | Exception, path: str, query: str = "", **more: Any) -> Answer:
    """Ask the pages of a status."""

    def read() -> Mapping[str, Any]:
        if isinstance(status, Exception):
            raise status
        return status

    return call(pages_app(read, **more), path, query_string=query.encode(), headers=[HERE])


def body_of(answer: Answer) -> Any:
    """Return JSON that a program in any language can read."""
    assert answer.headers["content-type"] == "application/json"

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(answer.body, parse_constant=refuse)


@pytest.fixture
def status(sample: Sample, sample_model: Sample, sample_quality: Sample) -> dict[str, Any]:
    """Return a status with everything in it: two models, labels, drift, alerts, objectives."""
    first = sample_model(MODEL, "degraded") | {
        "quality": sample_quality(400), "drift": drift(row("stars", "warning"), row("length")),
    }  # fmt: skip
    firing = alert("HighErrorRate", state="firing")
    held = {**sample("degraded"), "models": [first, sample_model("churn", seed=2)]}
    return held | alerts(firing, alert("DataDriftDetected", model="churn")) | objectives(slo())


def test_the_document_is_valid_and_describes_every_route() -> None:
    """By a validator of OpenAPI 3.1; a route of the API that is not in it, or that is only in it, is a mistake."""
    described = document("/ops/ml")
    OpenAPIV31SpecValidator(described).validate()
    assert described["servers"] == [{"url": "/ops/ml"}]
    app = pages_app(dict)
    routed = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in route.methods or ()
        if method != "HEAD"
    }
    assert routed == {(path, method) for path, held in described["paths"].items() for method in held}
    assert body_of(get({}, "/api/openapi.json"))["openapi"] == "3.1.0"


def test_every_answer_is_as_the_document_says(status: dict[str, Any]) -> None:
    """Each address that reads is asked, and its answer is checked against its schema; so is its error."""
    errors = Draft202012Validator({**SCHEMAS["Error"], "components": {"schemas": SCHEMAS}})
    asked = 0
    for one in CALLS:
        if one.method != "get" or one.path.startswith("/api/review"):
            continue
        schema = {**one.answer, "components": {"schemas": SCHEMAS}}
        answer = get(status, one.path, settings=lambda: SETTINGS)
        assert (one.path, answer.status) == (one.path, 200)
        Draft202012Validator(schema).validate(body_of(answer))
        asked += 1
        if "model" in one.picks:
            missing = get(status, one.path, "model=nobody")
            assert (one.path, missing.status) == (one.path, 404)
            errors.validate(body_of(missing))
        if one.path != "/api/openapi.json":
            broken = get(RuntimeError("planted"), one.path)
            assert broken.status == 503
            assert "planted" not in broken.body.decode()
            errors.validate(body_of(broken))
    assert asked == 9


def test_each_address_tells_what_its_page_shows(status: dict[str, Any]) -> None:
    """The same values, for a model that is picked, and the worst model first."""
    found = body_of(get(status, "/api/alerts"))
    assert (found["firing"], len(found["alerts"])) == (1, 3)  # with the one that always fires
    own = body_of(get(status, "/api/alerts", "model=churn"))
    assert [one["alert"] for one in own["alerts"] if one["model"] == "churn"] == ["DataDriftDetected"]
    assert own["firing"] == 0
    listed = body_of(get(status, "/api/models"))["models"]
    assert [(one["name"], one["state"]) for one in listed] == [(MODEL, "warn"), ("churn", "ok")]
    assert body_of(get(status, "/api/slos", "model=churn"))["models"] == {"churn": []}
    assert len(body_of(get(status, "/api/slos"))["models"][MODEL]) == 1
    assert body_of(get(status, "/api/quality"))["quality"]["labelled"] == 400
    rows = body_of(get(status, "/api/drift", "feature=stars"))["drift"]["rows"]
    assert [one["name"] for one in rows] == ["stars"]
    assert get(status, "/api/drift", "feature=nothing").status == 404


def test_what_is_not_there_is_said(sample: Sample) -> None:
    """Pages of a service alone have no alerts, objectives or settings; an objective that cannot be worked out says why."""
    bare = sample("healthy")
    for path in ("/api/alerts", "/api/slos", "/api/settings"):
        answer = get(bare, path)
        assert (path, answer.status) == (path, 503)
        assert body_of(answer)["error"]["code"] == "cannot_tell"
    told = body_of(get({**bare, "slos": {"reason": "live.db is locked"}}, "/api/slos"))
    assert told["error"]["message"] == "live.db is locked"
    assert body_of(get({"models": [], "now": 0.0}, "/api/quality"))["error"]["message"] == "no model has reported yet"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_what_only_reads_takes_nothing(status: dict[str, Any], method: str) -> None:
    """405 in the one shape."""
    answer = call(pages_app(lambda: status), "/api/status", method=method, headers=[HERE])
    assert (answer.status, body_of(answer)["error"]["code"]) == (405, "method_not_allowed")
