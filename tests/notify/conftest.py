"""Stores, outboxes and receivers for the tests of notices."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelwatch.errors import MissingExtra
from modelwatch.groundtruth.database import Database
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import Outbox
from modelwatch.testing.postgres import Postgres, running_postgres
from notify.receivers import certificate

#: One that tells at once, for tests that do not wait.
AT_ONCE = Policy(
    ("oncall", "team"), {"critical": ("oncall", "team"), "warning": ("team",)}, 0.0, 0.0, 3600.0, settle_s=0.0
)


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


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a store of SQLite."""
    found = Database(f"sqlite:///{tmp_path / 'store.db'}")
    yield found
    found.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Open a store of each engine."""
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path / 'store.db'}")
    else:
        server: Postgres = request.getfixturevalue("postgres")
        found = Database(server.new_database())
    yield found
    found.close()


@pytest.fixture
def outbox_of(database: Database) -> Callable[[Policy], Outbox]:
    """Make outboxes of one store."""
    return lambda policy: Outbox(database, policy)


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a key and a certificate of localhost, which nobody trusts."""
    return certificate(tmp_path_factory.mktemp("tls"))
