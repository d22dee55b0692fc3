"""How often a worker commits follows the scale of time."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelwatch.record.worker import COMMIT_EVERY_S, FOLD_EVERY_S, Worker


@pytest.mark.parametrize(
    ("scale", "every_s"), [(1, COMMIT_EVERY_S), (12, COMMIT_EVERY_S), (30, 0.5), (3600, FOLD_EVERY_S)]
)
def test_a_row_of_seconds_does_not_come_late(tmp_path: Path, scale: float, every_s: float) -> None:
    """Once a second, and four times a row where a row is shorter than four seconds; never more often than it folds."""
    worker = Worker(tmp_path / "live.db")
    worker.scale(scale)
    assert worker._commit_every_s() == every_s
