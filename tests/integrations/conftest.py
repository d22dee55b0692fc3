"""What the tests of the integrations share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelwatch.record.monitor import Monitor
from modelwatch.schema import ModelSchema


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor with a file of its own."""
    made = Monitor("asgi", "1", ModelSchema(classes=("a", "b")), live=tmp_path / "live.db")
    yield made
    made.close()
