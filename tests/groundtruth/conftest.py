"""Stores on both engines, a real PostgreSQL among them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelwatch.errors import MissingExtra
from modelwatch.groundtruth.store import Store
from modelwatch.testing.postgres import Postgres, running_postgres
from truth import Time


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run one PostgreSQL for all tests; where it is missing they are skipped, and fail under CI."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except MissingExtra as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the address of a store that is not made yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'truth.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_schema()


@pytest.fixture
def time() -> Time:
    """Return the clock of the stores of a test."""
    return Time()


@pytest.fixture
def opened(time: Time) -> Iterator[Callable[[str], Store]]:
    """Open stores, by their address; they are closed after the test."""
    stores: list[Store] = []

    def one(url: str) -> Store:
        stores.append(Store.open(url, clock=time))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


@pytest.fixture
def store(store_url: str, opened: Callable[[str], Store]) -> Store:
    """Return an open, empty store."""
    return opened(store_url)
