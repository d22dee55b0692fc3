"""Feedback over HTTP: every way to send a label, and every way to send it wrong."""

from __future__ import annotations

import json

import pytest

from modelwatch.groundtruth.feedback import CLIENTS, MOST_BYTES, Feedback, Limiter
from modelwatch.record.monitor import Monitor
from modelwatch.testing import StuckStore

CONFIG = """
service: {name: api}
models: {m: {version: "1", task: classification, classes: [a, b], ground_truth: {sampling_rate: 1}}}
store: sqlite:///truth.db
"""


@pytest.fixture
def monitor(tmp_path, monkeypatch):
    """A monitor with a store, and no token in the environment."""
    monkeypatch.delenv("MODELWATCH_FEEDBACK_TOKEN", raising=False)
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    made = Monitor.from_config(tmp_path / "modelwatch.yaml")
    yield made
    made.close()


@pytest.fixture
def request_id(monitor):
    """The id of a request that is kept for review."""
    with monitor.request("/p") as request:
        request.predicted("a", confidence=0.9)
    return request.id


def body(**given):
    """Return JSON as a client sends it."""
    return json.dumps(given).encode()


def test_a_label_is_recorded(monitor, request_id):
    """JSON, the brief's two query parameters, and the states that are no first label."""
    take = Feedback(monitor).answer
    recorded = {"status": "recorded", "state": "matched"}
    assert take(body(request_id=request_id, true_label="a", reviewer="ann")) == (200, recorded)
    assert take(b"", f"request_id={request_id}&true_label=a") == (200, {"status": "recorded", "state": "duplicate"})
    assert take(body(request_id=request_id, true_label="b")) == (200, {"status": "recorded", "state": "conflict"})
    never = monitor.review.sign("ab" * 16)
    assert take(body(request_id=never, true_label="b")).content["state"] == "matched"  # its sample may yet come


@pytest.mark.parametrize(
    ("given", "query", "status", "code"),
    [
        (b"{", "", 400, "bad_json"),
        (b"\xff\xfe", "", 400, "bad_json"),
        (b"[" * 50_000, "", 400, "bad_json"),
        (b"[]", "", 400, "bad_request"),
        (b"null", "", 400, "bad_request"),
        (b"", "", 400, "bad_request"),
        (b"", "&".join("a=1" for _ in range(100)), 400, "bad_request"),
        (b'{"request_id": 7, "true_label": "a"}', "", 400, "bad_request"),
        (b'{"request_id": "x"}', "", 400, "bad_request"),
        (b'{"request_id": "x", "true_label": "a", "reviewer": 7}', "", 400, "bad_request"),
        (b'{"request_id": "x", "true_label": "a", "reviewer": "' + b"x" * 129 + b'"}', "", 400, "bad_request"),
        (b" " * (MOST_BYTES + 1), "", 413, "too_large"),
        (b'{"request_id": "x", "true_label": "c"}', "", 422, "unknown_label"),
        (b'{"request_id": "x", "true_label": {"a": 1}}', "", 422, "unknown_label"),
        (b'{"request_id": "x", "true_label": "a"}', "", 404, "unknown_id"),
        (b'{"request_id": "' + b"0" * 72 + b'", "true_label": "a"}', "", 404, "unknown_id"),
        ('{"request_id": "é", "true_label": "a"}'.encode(), "", 404, "unknown_id"),
    ],
)
def test_what_is_refused(monitor, given, query, status, code):
    """One form of error; an id that nobody was given says so in `state`, too."""
    answer = Feedback(monitor).answer(given, query)
    assert (answer.status, answer.content["error"]["code"]) == (status, code)
    assert answer.content["error"]["message"].endswith(".")
    assert answer.content.get("state") == ("unknown_id" if status == 404 else None)


def test_a_token_is_required_where_there_is_one(monitor, request_id, monkeypatch):
    """Given or from the environment; a wrong one is told nothing about ids."""
    given = body(request_id=request_id, true_label="a")
    monkeypatch.setenv("MODELWATCH_FEEDBACK_TOKEN", "from the environment")
    for feedback, token in ((Feedback(monitor, "sésame"), "sésame"), (Feedback(monitor), "from the environment")):
        for wrong in ("", "Bearer ", "Bearer wrong", token, f"Basic {token}"):
            assert feedback.answer(given, authorization=wrong).status == 401
        assert feedback.answer(given, authorization=f"bearer {token}").status == 200


def test_a_client_is_limited(monitor):
    """The second over its rate answers 429; another client goes on."""
    feedback = Feedback(monitor, rate=2)
    given = body(request_id="x", true_label="a")
    assert [feedback.answer(given, client="one").status for _ in range(3)] == [404, 404, 429]
    assert feedback.answer(given, client="two").status == 404


def test_the_limiter_fills_again_and_forgets():
    """A bucket fills at its rate, up to a second's worth, and only so many clients are remembered."""
    now = [0.0]
    limiter = Limiter(10, lambda: now[0])
    assert sum(limiter.allows("a") for _ in range(20)) == 10
    now[0] = 0.25
    assert sum(limiter.allows("a") for _ in range(20)) == 2
    now[0] = 100
    assert sum(limiter.allows("a") for _ in range(20)) == 10
    for client in range(CLIENTS):
        limiter.allows(str(client))
    assert limiter.allows("a")  # forgotten, so its bucket is full again


def test_without_a_store(tmp_path):
    """503, whatever is sent."""
    monitor = Monitor("m", live=tmp_path / "live.db")
    answer = Feedback(monitor).answer(b"{")
    assert (answer.status, answer.content["error"]["code"]) == (503, "no_store")
    monitor.close()


def test_what_cannot_be_made_durable_is_not_acknowledged(monitor, request_id, tmp_path):
    """A locked store answers 503; the same label is taken once the store is free."""
    feedback, given = Feedback(monitor), body(request_id=request_id, true_label="a")
    monitor.flush(5)
    with StuckStore(tmp_path / "truth.db"):
        answer = feedback.answer(given)
        assert (answer.status, answer.content["error"]["code"]) == (503, "store_unavailable")
        assert "truth.db" not in answer.content["error"]["message"]
    assert feedback.answer(given).status == 200
    assert monitor.review.writer.store.rows("m").labels.tolist() == ["a"]
