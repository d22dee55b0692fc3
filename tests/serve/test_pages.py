"""The pages of `modelwatch serve`: they show the alerts and objectives that it evaluates itself."""

from __future__ import annotations

import json

from integrations.calling import call
from modelwatch.serve.run import app_of
from serve.conftest import House

HERE = (b"host", b"localhost:8080")


def test_the_pages_show_the_evaluation(house: House) -> None:
    """Before the first round nobody can tell; after it the checks are on the page, and objectives beside them."""
    parts = house.serve()
    app = app_of(parts)
    before = call(app, "/alerts", headers=[HERE]).body.decode()
    assert "the alerts are not evaluated" in before
    assert parts.evaluator.round()
    status = json.loads(call(app, "/api/status", headers=[HERE]).body)
    assert {one["alert"] for one in status["alerts"]["alerts"]} >= {"HighErrorRate", "Watchdog"}
    assert set(status["slos"]["models"]) == set(parts.config.models)
    assert status["evaluation"]["reason"] is None
    after = call(app, "/alerts", headers=[HERE]).body.decode()
    assert "the alerts are not evaluated" not in after
