"""Nothing stays open after a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from counting import close_everything


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Close what the workers of a test have opened."""
    yield
    close_everything()
