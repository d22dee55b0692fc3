"""The page that shows our numbers beside those of others is the output of its script, and none differs."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from support import script, shared_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def validation() -> ModuleType:
    """The script of the page."""
    return script("simulations/validation.py")


def test_no_number_differs(validation: ModuleType) -> None:
    """All numbers of the car loan, of electricity and of rainfall are those of SciPy, scikit-learn and NannyML."""
    folder = shared_data("nannyml_published_tables.json.gz").parent
    sections = validation.sections_of(folder)
    assert sum(len(one.rows) for one in sections) > 100
    for one in sections:
        assert [row for row in one.rows if row.off > one.allowed] == [], one.title
    told = (ROOT / "docs" / "validation.md").read_text("utf-8")
    for one in sections:
        assert f"## {one.title}" in told
        for row in one.rows:
            assert f"| {row.what} | " in told
            if row.high is None:
                assert f"| {row.what} | {row.ours:.6g} | {row.theirs:.6g} |" in told


def test_a_wrong_number_is_told(validation: ModuleType) -> None:
    """A difference, and a value outside its bracket, count."""
    row = validation.Row
    assert row("a", 1.0, 1.0, "x").off == 0
    assert row("a", 1.1, 1.0, "x").off == pytest.approx(0.1)
    assert row("a", 0.1, 0.15, "x", 0.2).off == 0
    assert row("a", 0.1, 0.25, "x", 0.2).off > 0
