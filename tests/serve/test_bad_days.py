"""What a page says while something is wrong: the store locked or gone, the counts gone, a clock that is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from alerts.life import labels, requests
from integrations.calling import call
from modelwatch.serve.run import Parts, app_of
from modelwatch.server.web import RENDERED
from modelwatch.testing import StuckStore
from serve.conftest import House

HERE = (b"host", b"localhost:8080")
PATHS = ("/", "/quality", "/drift", "/resources", "/alerts", "/slos", "/monitor", "/settings", "/runbooks")
Trouble = Callable[[Path], AbstractContextManager[object]]


def deleted(path: Path) -> AbstractContextManager[None]:
    """Remove a file and what belongs to it, as somebody who makes room."""
    for one in path.parent.glob(f"{path.name}*"):
        one.unlink()
    return nullcontext()


def torn(path: Path) -> AbstractContextManager[None]:
    """Overwrite a file with what is no database."""
    deleted(path)
    path.write_bytes(b"not a database" * 400)
    return nullcontext()


@pytest.fixture
def parts(house: House) -> Parts:
    """Return a `serve` that has seen traffic and labels."""
    made = house.serve()
    house.happen(*requests(200, failed=3), labels=tuple(labels(40, 5)))
    house.rounds(made, 3)
    return made


def test_every_page_is_asked() -> None:
    """A page that is added to the server is asked here, too."""
    assert len(PATHS) == len(RENDERED) + 2  # Alerts and Settings have routes of their own


@pytest.mark.parametrize("trouble", [StuckStore, deleted, torn])
@pytest.mark.parametrize("file", ["truth.db", "live.db"])
def test_every_page_stands_while_a_file_is_stuck_or_gone(
    house: House, parts: Parts, file: str, trouble: Trouble
) -> None:
    """No page fails, none is blank, and none says that all is well: counts that cannot be read prove nothing."""
    app = app_of(parts)
    assert all(call(app, path, headers=[HERE]).status == 200 for path in PATHS)
    with trouble(house.folder / file):
        house.clock.advance(120)
        for path in PATHS:
            answer = call(app, path, headers=[HERE])
            assert (path, answer.status) == (path, 200)
            assert "</html>" in answer.body.decode()
            assert "Traceback" not in answer.body.decode()
        status = json.loads(call(app, "/api/status", headers=[HERE]).body)
        assert status["evaluation"]["evaluated_s_ago"] >= 120
        assert ">Healthy " not in call(app, "/", headers=[HERE]).body.decode()
        assert call(app, "/metrics", headers=[HERE]).status == 200


@pytest.mark.parametrize("step_s", [-90_000.0, -3600.0, 3600.0, 400 * 86_400.0, -1e9])
def test_every_page_stands_when_the_clock_is_wrong(house: House, parts: Parts, step_s: float) -> None:
    """A clock that is set back or ahead: every page is whole, no number is negative time, and the rounds go on."""
    app = app_of(parts)
    house.clock.step(step_s)
    for _ in range(2):
        house.clock.advance(15)
        parts.prober.ask()
        parts.evaluator.round()
    for path in PATHS:
        answer = call(app, path, headers=[HERE])
        assert (path, answer.status) == (path, 200)
        assert "\N{MINUS SIGN}1\N{NO-BREAK SPACE}s ago" not in answer.body.decode()
    evaluated = json.loads(call(app, "/api/alerts", headers=[HERE]).body)["evaluation"]["evaluated_s_ago"]
    assert evaluated is None or evaluated >= 0


QUERIES = (
    "model=%00", "model=%FF%FE", "model=" + "x" * 5000, "model=a&model=b", "range=1y", "range=1h&to=nan",
    "range=24h&to=1e308", "to=-5", "feature=%3Cscript%3E", "range=%3Cscript%3E",
    "model=%3Cscript%3Ealert(1)%3C/script%3E",
)  # fmt: skip


def test_no_address_breaks_a_page(parts: Parts) -> None:
    """Whatever stands behind the question mark: the page, or that there is no such model; never a script of somebody."""
    app = app_of(parts)
    for query in QUERIES:
        for path in (*PATHS, "/review"):
            answer = call(app, path, query_string=query.encode(), headers=[HERE])
            assert (path, query, answer.status in {200, 404}) == (path, query, True)
            assert "<script>" not in answer.body.decode()


def test_the_range_is_in_every_link_and_its_history_in_the_page(parts: Parts) -> None:
    """From a page of another range every page, its refresh and the API are of that range, too."""
    app = app_of(parts)
    page = call(app, "/", query_string=b"model=sentiment&range=6h", headers=[HERE]).body.decode()
    assert 'data-refresh="/fragments?model=sentiment&amp;range=6h"' in page
    assert 'href="/quality?model=sentiment&amp;range=6h"' in page
    status = json.loads(call(app, "/api/status", query_string=b"range=6h", headers=[HERE]).body)
    assert status["models"][0]["history"]["step_s"] == 300
    assert status["range"] == {"range": "6h", "to": None, "reason": None}
