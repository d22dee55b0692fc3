"""The API of `modelwatch serve`, asked by its own document: values that fit it, and values that do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from alerts.life import requests
from modelwatch.serve.run import app_of
from modelwatch.server.access import OPERATE, Access
from modelwatch.server.openapi import CALLS, Call
from serve.conftest import House
from support import needed

TOKEN = "fuzz-token-of-this-test"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document of a whole `serve`, with an alert that fires, a store for labels and whom it asks for a token."""
    schemathesis = needed("schemathesis")
    house = House(tmp_path_factory.mktemp("served"))
    try:
        parts = house.serve()
        house.happen(*requests(30))
        house.answers = False
        house.rounds(parts, 6)
        app = app_of(parts, Access([(OPERATE, TOKEN)]))
        yield schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=HEADERS)
    finally:
        house.close()


ASKED = [
    (one, mode) for one in CALLS for mode in ("positive", "negative") if mode == "positive" or one.picks or one.body
]


@pytest.mark.parametrize(("one", "mode"), ASKED, ids=[f"{one.path}-{mode}" for one, mode in ASKED])
def test_every_answer_is_one_that_the_document_knows(described: Any, one: Call, mode: str) -> None:
    """Never a 5xx, nor a status, a type or a shape that is not in the document, whatever is sent."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    known = [
        not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
        checks.response_schema_conformance,
    ]  # fmt: skip
    told = set()

    @settings(max_examples=8, suppress_health_check=list(HealthCheck), database=None)
    @given(described[one.path][one.method.upper()].as_strategy(GenerationMode(mode)))
    def ask(case: Any) -> None:
        told.add(case.call_and_validate(headers=HEADERS, checks=known).status_code)

    ask()
    assert told
    assert 401 not in told
