"""`POST /feedback` in FastAPI and Flask: the id of the header is what a label is for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from flask import Flask

import modelwatch
from integrations.calling import call
from modelwatch.groundtruth.feedback import MOST_BYTES
from modelwatch.integrations import fastapi, flask
from modelwatch.record.monitor import Monitor

CONFIG = """
service: {name: api}
models: {m: {version: "1", task: classification, classes: [a, b], ground_truth: {sampling_rate: 1}}}
store: sqlite:///truth.db
"""
ID = "x-modelwatch-request-id"


@pytest.fixture
def reviewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitor]:
    """A monitor with a store."""
    monkeypatch.delenv("MODELWATCH_FEEDBACK_TOKEN", raising=False)
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    made = Monitor.from_config(tmp_path / "modelwatch.yaml")
    yield made
    made.close()


def test_fastapi(reviewed: Monitor) -> None:
    """The header's id and the body's are the same; its label is recorded; other methods and bodies are refused."""
    app = FastAPI()

    @app.get("/predict")
    def predict() -> dict[str, str]:
        modelwatch.current_request().predicted("a", confidence=0.9)
        return {"id": modelwatch.current_request().id}

    fastapi.instrument(app, reviewed)
    answer = call(app, "/predict")
    handed_out = answer.headers[ID]
    assert json.loads(answer.body) == {"id": handed_out}
    body = json.dumps({"request_id": handed_out, "true_label": "b"}).encode()
    taken = call(app, "/feedback", method="POST", body=body)
    assert (taken.status, json.loads(taken.body)) == (200, {"status": "recorded", "state": "matched"})
    assert call(app, "/feedback").status == 405
    assert call(app, "/feedback", method="POST", body=b"x" * (2 * MOST_BYTES)).status == 413
    assert reviewed.flush(10)
    assert (
        b'ml_labels_total{model_name="m",model_version="1",segment="__none__",outcome="wrong"} 1' in reviewed.metrics()
    )
    assert b'endpoint="/feedback"' not in reviewed.metrics()


def test_flask(reviewed: Monitor) -> None:
    """The same in Flask, with a token."""
    app = Flask("api")

    @app.get("/predict")
    def predict() -> dict[str, str]:
        modelwatch.current_request().predicted("a", confidence=0.9)
        return {"id": modelwatch.current_request().id}

    flask.instrument(app, reviewed, feedback_token="secret")
    client = app.test_client()
    answer = client.get("/predict")
    given = {"request_id": answer.headers[ID], "true_label": "b"}
    assert answer.json == {"id": given["request_id"]}
    assert client.post("/feedback", json=given).status_code == 401
    taken = client.post("/feedback", query_string=given, headers={"authorization": "Bearer secret"})
    assert (taken.status_code, taken.json) == (200, {"status": "recorded", "state": "matched"})
    large = client.post("/feedback", data=b"x" * (2 * MOST_BYTES), headers={"authorization": "Bearer secret"})
    assert large.status_code == 413
