"""The API as an OpenAPI document: every address, what it takes, what it answers, and which role it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, NamedTuple

from modelwatch.server.access import role_needed

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": ["number", "null"]}
COUNT: Schema = {"type": "integer"}
OBJECT: Schema = {"type": "object"}
MAYBE: Schema = {"type": ["object", "null"]}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _object(required: str = "", **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, **({"required": required.split()} if required else {})}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


class Call(NamedTuple):
    """An address: its method, what it does, its parameters, the schema of its answer, and that of its body."""

    method: str
    path: str
    summary: str
    picks: tuple[str, ...]
    answer: Schema
    body: Schema | None = None


_NAMED = {"model": TEXT, "version": TEXT, "now": NUMBER}
_SAID = _object("state", state=TEXT)
_REVIEW = {"csrf": TEXT, "model": TEXT, "reviewer": TEXT, "next": {"enum": ["sample", "page"]}}
_REVIEWED = _object("state", state=TEXT, next=MAYBE)
SCHEMAS: dict[str, Schema] = {
    "Error": _object("error", error=_object("code message", code=TEXT, message=TEXT)),
    "Reading": _object(
        "signal unit value outcome", signal=TEXT, unit=TEXT, labels=OBJECT, value=NUMBER, samples=NUMBER,
        outcome={"enum": ["ok", "firing", "cannot_tell"]}, reason=TEXT, limit=NUMBER,
    ),
    "Model": _object(
        "name version readings", name=TEXT, version=TEXT, task={"enum": ["classification", "regression"]},
        readings=_list(_ref("Reading")), details=OBJECT, history=OBJECT, quality=MAYBE, drift=MAYBE, estimate=MAYBE,
    ),
    "Status": _object(
        "now models", service=TEXT, owner={"type": ["string", "null"]}, now=NUMBER, time_scale=NUMBER, window_s=NUMBER,
        workers=OBJECT, data_age_s=NUMBER, live=OBJECT, notes=_list(TEXT), models=_list(_ref("Model")),
        monitor=OBJECT, alerts=MAYBE, slos=MAYBE, evaluation=MAYBE, handling=MAYBE, settings=MAYBE,
    ),
    "Alert": _object(
        "alert severity state outcome", alert=TEXT, severity=TEXT, model=TEXT, labels=OBJECT,
        state={"enum": ["firing", "pending", "inactive"]}, outcome={"enum": ["ok", "firing", "cannot_tell"]},
        value=NUMBER, limit=NUMBER, since=NUMBER, why=TEXT,
    ),
    "Silence": _object(
        "id author matches ends_at", id=TEXT, author=TEXT, note=TEXT, starts_at=NUMBER, ends_at=NUMBER, matches=OBJECT
    ),
    "Handling": _object(
        "acknowledged silences history", reason={"type": ["string", "null"]}, acknowledged=_list(OBJECT),
        silences=_list(_ref("Silence")), history=_list(_object("at actor action", at=NUMBER, actor=TEXT, action=TEXT)),
    ),
}  # fmt: skip
CALLS = (
    Call("get", "/api/status", "All that the server knows now.", ("range", "to"), _ref("Status")),
    Call("get", "/api/models", "Every model and its state, the worst first.", (), _object(
        "models", models=_list(_object("name version state word href", name=TEXT, version=TEXT, state=TEXT, word=TEXT,
                                       href=TEXT)))),
    Call("get", "/api/alerts", "Alerts, their evaluation, and what people did about them.", ("model",), _object(
        "firing alerts", firing=COUNT, alerts=_list(_ref("Alert")), evaluation=MAYBE,
        handling={"anyOf": [_ref("Handling"), {"type": "null"}]})),
    Call("get", "/api/slos", "How the objectives stand.", ("model",), _object("models", models=OBJECT)),
    Call("get", "/api/quality", "What labels say of a model.", ("model",), _object(
        "model quality", **_NAMED, quality=MAYBE, estimate=MAYBE)),
    Call("get", "/api/drift", "How inputs and answers have moved.", ("model", "feature"), _object(
        "model drift", **_NAMED, drift=MAYBE)),
    Call("get", "/api/monitor", "The state of modelwatch itself.", (), _object(
        "monitor", monitor=MAYBE, workers=MAYBE)),
    Call("get", "/api/settings", "The configuration as it was understood; of a secret only whether it is set.", (),
         _object("versions models", versions=OBJECT, models=_list(OBJECT))),
    Call("get", "/api/openapi.json", "This document.", (), OBJECT),
    Call("get", "/api/review", "The sample that a reviewer holds.", ("model", "reviewer"), _object(
        "model sample waiting", model=TEXT, sample=MAYBE, waiting=COUNT, more_waiting={"type": "boolean"},
        csrf=TEXT)),
    Call("get", "/api/review/history", "What was said and done about a sample.", ("request_id", "reviewer"), _object(
        "history", history=_list(OBJECT))),
    Call("post", "/api/review/name", "Give the name of the reviewer.", (), _SAID, _object(
        "name", name=TEXT, csrf=TEXT)),
    Call("post", "/api/review/label", "Say what the truth is.", (), _REVIEWED, _object(
        "request_id label", request_id=TEXT, label={}, note=TEXT, **_REVIEW)),
    Call("post", "/api/review/skip", "Leave a sample to somebody else.", (), _REVIEWED, _object(
        "request_id", request_id=TEXT, note=TEXT, **_REVIEW)),
    Call("post", "/api/review/undo", "Take the last label back.", (), _REVIEWED, _object("", **_REVIEW)),
    Call("post", "/api/review/peek", "Ask for the answer of the model.", (), _REVIEWED, _object(
        "request_id", request_id=TEXT, **_REVIEW)),
    Call("post", "/api/alerts/acknowledge", "Say that somebody looks after what fires.", (), _object(
        "state acknowledged", state=TEXT, acknowledged=COUNT),
        _object("alert", alert=TEXT, model=TEXT, by=TEXT, csrf=TEXT)),
    Call("post", "/api/alerts/silence", "Tell nobody of some alerts for a while.", (), _object(
        "state silence", state=TEXT, silence=_ref("Silence")),
        _object("matches for", matches={"type": "object", "additionalProperties": TEXT}, note=TEXT, by=TEXT, csrf=TEXT,
                **{"for": TEXT})),
    Call("post", "/api/alerts/unsilence", "End a silence.", (), _SAID, _object("id", id=TEXT, by=TEXT, csrf=TEXT)),
)  # fmt: skip
_PICKS = {
    "model": "Name of a model; the first one, or all, without it.",
    "feature": "Name of a feature.",
    "range": "How far the history goes back: 1h, 6h, 24h or 7d.",
    "to": "Where the history ends: Unix time; now without it.",
    "reviewer": "Who reviews; the cookie of the page without it.",
    "request_id": "Id of a prediction, as the sample has it.",
}
_FAULTS = {
    "400": "The body cannot be read.", "401": "No token, and no session.", "403": "The wrong role, or no form of ours.",
    "404": "There is no such thing.", "413": "The body is over 64 KiB.", "415": "The body is no JSON.",
    "422": "A value cannot be taken.", "503": "It cannot be told now.",
}  # fmt: skip


def document(base: str = "") -> Schema:
    """Return the document, for a server that is mounted under `base`."""
    paths: dict[str, Schema] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method] = _operation(call)
    error = {"description": "An error.", "content": {"application/json": {"schema": _ref("Error")}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "modelwatch", "version": version("modelwatch"), "description": _ABOUT},
        "servers": [{"url": base or "/"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {f"Error{code}": {**error, "description": told} for code, told in _FAULTS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "modelwatch_login"},
            },
        },
        "security": [{"bearer": []}, {"session": []}, {}],
    }


_ABOUT = (
    "What the pages show, as JSON. Numbers that are not known are null, never 0. Errors have one shape. Without tokens "
    "in its configuration a server asks for none."
)


def _operation(call: Call) -> Schema:
    changes = call.method == "post"
    codes = ("400", "401", "403", "404", "413", "415", "422", "503") if changes else ("401", "403", "404", "503")
    if "request_id" in call.picks:
        codes = (*codes, "422")
    found: Schema = {
        "summary": call.summary,
        "operationId": f"{call.method}{call.path.removesuffix('.json').replace('/', '_')}",
        "description": f"Asks for the role {role_needed(call.method.upper(), call.path)}.",
        "parameters": [_parameter(name) for name in call.picks],
        "responses": {
            "200": {"description": "What was asked for.", "content": {"application/json": {"schema": call.answer}}},
            **{code: {"$ref": f"#/components/responses/Error{code}"} for code in codes},
        },
    }
    if call.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": call.body}}}
    return found


def _parameter(name: str) -> Mapping[str, Any]:
    schema = {"enum": ["1h", "6h", "24h", "7d"]} if name == "range" else NUMBER if name == "to" else TEXT
    return {"name": name, "in": "query", "description": _PICKS[name], "schema": schema}
