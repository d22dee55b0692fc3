"""The simulations behind the documents: they run, hold what the documents say, and the documents have their output."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from support import script

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    """The script of the page on ground truth."""
    return script("simulations/hajek_coverage.py")


@pytest.mark.parametrize("design", ["uncertainty", "stratified"])
def test_weighted_intervals_cover_and_plain_ones_do_not(coverage: ModuleType, design: str) -> None:
    """In 150 months of the calibrated model at 1 000 labels: Hájek's in at least 90 %, the plain mean's in under half."""
    row = coverage.run("calibrated", design, 1000, 150)
    assert row.covered >= 0.9
    assert row.plain_covered < 0.5
    assert abs(row.bias) < 0.003
    assert row.plain_bias < -0.02


def test_the_page_has_what_the_script_says(coverage: ModuleType) -> None:
    """Every row is there, of 1 000 months; each design that is offered covers in 90 %; no plain mean of theirs does."""
    text = (ROOT / "docs" / "ground-truth.md").read_text(encoding="utf-8")
    written = text.partition(coverage.BEGIN)[2].partition(coverage.END)[0]
    assert written.strip().startswith(
        f"{coverage.MONTHS:,} months of {coverage.PREDICTIONS:,} predictions a row, seed {coverage.SEED};"
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in written.splitlines() if " % |" in line]
    expected = [
        [model, design, str(n)] for model in coverage.MODELS for n in coverage.LABELS for design in coverage.DESIGNS
    ]
    assert [row[:3] for row in rows] == expected
    for row in rows:
        if row[1] != coverage.NOT_OFFERED:
            assert float(row[4].removesuffix(" %")) >= 90
        if row[1] in ("uncertainty", "stratified"):
            assert float(row[7].removesuffix(" %")) < 90


@pytest.mark.slow
def test_the_page_is_up_to_date(coverage: ModuleType) -> None:
    """The script writes what is there, to the last digit."""
    text = (ROOT / "docs" / "ground-truth.md").read_text(encoding="utf-8")
    rows = [
        coverage.run(model, design, n, coverage.MONTHS)
        for model in coverage.MODELS
        for n in coverage.LABELS
        for design in coverage.DESIGNS
    ]
    assert coverage.table(rows, coverage.MONTHS) in text
