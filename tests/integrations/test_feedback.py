"""`POST /feedback` in FastAPI and Flask: the id of the header is what a label is for."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask

import modelwatch
from integrations.calling import acall, call
from modelwatch.groundtruth.feedback import MOST_BYTES
from modelwatch.integrations import fastapi, flask
from modelwatch.integrations.feedback import feedback_app
from modelwatch.record.monitor import Monitor
from modelwatch.testing import StuckStore

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


def test_a_stuck_store_holds_up_few(reviewed: Monitor, tmp_path: Path) -> None:
    """While the store takes nothing, eight requests wait for it and all others are refused at once, to be sent again."""
    assert reviewed.flush(10)
    app = feedback_app(reviewed)
    with reviewed.request("/p") as request:
        request.predicted("a")
    body = json.dumps({"request_id": request.id, "true_label": "a"}).encode()

    async def many() -> Counter[str]:
        ways = [acall(app, "/feedback", method="POST", body=body) for _ in range(40)]
        answers = await asyncio.gather(*ways)
        assert {answer.status for answer in answers} == {503}
        return Counter(json.loads(answer.body)["error"]["message"].split(";")[0] for answer in answers)

    assert reviewed.review
    with StuckStore(tmp_path / "truth.db"):
        while reviewed.review.writer.kept is not False:
            reviewed.review.writer.flush(0.1)
        told = asyncio.run(many())
    assert told == {"The label may not be stored": 8, "Too many labels wait for the store": 32}
    assert json.loads(call(app, "/feedback", method="POST", body=body).body)["state"] in ("matched", "duplicate")


def test_those_that_wait_for_a_store_do_not_add_up_their_waits(reviewed: Monitor, tmp_path: Path) -> None:
    """A store that is locked when forty labels are under way: one wait for eight of them, then a refusal for the rest."""
    assert reviewed.flush(10)
    app = feedback_app(reviewed)
    with reviewed.request("/p") as request:
        request.predicted("a")
    body = json.dumps({"request_id": request.id, "true_label": "a"}).encode()
    assert reviewed.flush(10)

    async def many() -> Counter[str]:
        answers = await asyncio.gather(*(acall(app, "/feedback", method="POST", body=body) for _ in range(40)))
        return Counter(json.loads(answer.body)["error"]["message"].split(";")[0] for answer in answers)

    with StuckStore(tmp_path / "truth.db"):
        assert asyncio.run(many()) == {"The label may not be stored": 8, "Too many labels wait for the store": 32}


def test_a_hundred_clients_at_once(reviewed: Monitor) -> None:
    """Each has a rate of its own, and with a store that works nobody is refused."""
    app = feedback_app(reviewed)
    ids = []
    for _ in range(100):
        with reviewed.request("/p") as request:
            request.predicted("a")
        ids.append(request.id)

    async def many() -> list[int]:
        bodies = [json.dumps({"request_id": each, "true_label": "a"}).encode() for each in ids]
        answers = await asyncio.gather(
            *(
                acall(app, "/feedback", method="POST", body=body, client=(f"10.0.0.{i}", 1))
                for i, body in enumerate(bodies)
                for _ in range(3)
            )
        )
        return [answer.status for answer in answers]

    assert set(asyncio.run(many())) == {200}
    assert reviewed.review
    assert len(reviewed.review.writer.store.rows("m")) == 100


def test_a_body_in_many_pieces_is_bounded(reviewed: Monitor) -> None:
    """What comes in pieces is put together up to 64 KiB, and not read any further."""
    app, left = feedback_app(reviewed), [b"x" * 1000] * 10_000
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": left.pop(), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def ask() -> None:
        await app(scope, receive, send)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/feedback",
        "headers": [],
        "query_string": b"",
        "client": None,
    }
    asyncio.run(ask())
    assert sent[0]["status"] == 413
    assert len(left) == 10_000 - 66


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
