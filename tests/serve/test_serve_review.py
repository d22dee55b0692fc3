"""The page Review of `modelwatch serve`: what the service kept is labelled there, and counted once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.calling import call
from modelwatch import Monitor
from modelwatch.config import load_config
from modelwatch.serve.run import Parts, app_of
from modelwatch.server.access import REVIEW, VIEW, Access
from server.test_review import CONFIG, Browser


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Monitor]:
    """Return the monitor of a service whose three answers wait for review."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(CONFIG.format(task="classification", classes="classes: [negative, positive]"))
    monitor = Monitor.from_config(path)
    for text in ("one", "two", "three"):
        monitor.record(
            "/predict", duration=0.01, prediction="positive", confidence=0.8, request_id=f"{text}-id", input=text
        )
    assert monitor.flush(5)
    yield monitor
    monitor.close()


@pytest.fixture
def parts(service: Monitor, tmp_path: Path) -> Iterator[Parts]:
    """Return a `serve` beside the service, which does not evaluate by itself."""
    made = Parts.of(load_config(tmp_path / "modelwatch.yaml"))
    yield made
    assert made.reviews is not None
    made.evaluator.minutes.close()
    made.reviews.close()
    made.looks.close()
    made.status.close()
    made.store.close()


def counted(monitor: Monitor) -> int:
    """Return how many labels the service shows to Prometheus."""
    assert monitor.flush(5)
    lines = [line for line in monitor.metrics().decode().splitlines() if line.startswith("ml_labels_total{")]
    return sum(int(line.rpartition(" ")[2]) for line in lines)


def test_a_label_of_serve_is_counted_once_and_no_worker_is_added(service: Monitor, parts: Parts) -> None:
    """By the service's own metrics; it is neither one worker more nor does it use what `serve` uses."""
    ana = Browser(app_of(parts), "ana")
    assert ana.sample in {"one", "two", "three"}
    assert ana.press("label", label="negative").status_code == 303
    assert ana.api("label", model="m", request_id=ana.fields()["request_id"], label="positive").json() == {
        "state": "matched"
    }
    assert parts.reviews is not None
    assert parts.reviews.worker.flush(5)
    assert counted(service) == 2
    status = parts.status.read()
    assert status["workers"] == {"alive": 1, "died": 0}
    ana.get("/review")
    assert ana.press("undo").status_code == 303  # a view changes, a counter does not
    assert parts.reviews.worker.flush(5)
    assert counted(service) == 2


def test_two_browsers_get_two_samples_and_one_of_them_is_labelled_twice(service: Monitor, parts: Parts) -> None:
    """Nobody gets the sample that another one holds; a label that comes for it all the same is a conflict, counted once."""
    app = app_of(parts)
    ana, ben = Browser(app, "ana"), Browser(app, "ben")
    assert ana.sample != ben.sample
    mine = ana.fields()["request_id"]
    assert ana.press("label", label="negative").status_code == 303
    assert ben.api("label", model="m", request_id=mine, label="positive").json() == {"state": "conflict"}
    assert parts.reviews is not None
    assert parts.reviews.worker.flush(5)
    assert counted(service) == 1


def test_a_program_with_a_token_reviews_without_a_browser(service: Monitor, parts: Parts) -> None:
    """It names its reviewer; without a name, or with the token of a lower role, nothing is given out."""
    app = app_of(parts, Access([(REVIEW, "lab"), (VIEW, "see")]))
    by = [(b"host", b"localhost"), (b"authorization", b"Bearer lab"), (b"content-type", b"application/json")]
    assert call(app, "/api/review", headers=by).status == 403
    seen = [by[0], (b"authorization", b"Bearer see")]
    assert call(app, "/api/review", query_string=b"reviewer=robot", headers=seen).status == 403
    turn = json.loads(call(app, "/api/review", query_string=b"model=m&reviewer=robot", headers=by).body)
    said = {"model": "m", "reviewer": "robot", "request_id": turn["sample"]["request_id"], "label": "negative"}
    done = call(app, "/api/review/label", method="POST", headers=by, body=json.dumps(said).encode())
    assert json.loads(done.body) == {"state": "matched"}
    assert parts.reviews is not None
    assert parts.reviews.worker.flush(5)
    assert counted(service) == 1
