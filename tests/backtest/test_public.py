"""Public data with labelled changes: what the page of back-tests says of NAB and PetShop is what the script finds."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support import shared_data

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "backtest.md"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script behind the page."""
    sys.path.insert(0, str(ROOT / "simulations"))
    try:
        yield importlib.import_module("backtest_public")
    finally:
        sys.path.remove(str(ROOT / "simulations"))


def test_an_incident_of_petshop_is_told_of(script: ModuleType) -> None:
    """Errors of a real service, after a day of its normal traffic: found within a quarter of an hour."""
    data = script.petshop.read(shared_data("petshop_low_traffic.parquet"))
    issues = json.loads(shared_data("petshop_low_traffic_issues.json").read_text())
    onset = next(float(one["target_timestamp"]) for one in issues if one["issue"] == "test_14")
    normal = script.petshop.minutes_of(data["none"])
    lived = script.petshop.after_normal_days(normal, script.petshop.minutes_of(data["test_14"]))
    told = script.told_of(lived, script.petshop.THRESHOLDS["default"], onset - 3600)
    assert {one.name for one in told} >= {"HighErrorRate"}
    assert min(one.began for one in told if one.began >= onset) - onset <= 900
    assert any(one.severity == "critical" and 0 <= one.began - onset <= 900 for one in told)


def test_the_page_has_the_figures_of_nab(script: ModuleType) -> None:
    """Published detectors stand on the page with the windows, delays and alarms that their published alarms give."""
    alarms = json.loads(shared_data("nab_detector_alarms.json").read_text())
    text = PAGE.read_text(encoding="utf-8").partition("realAWSCloudwatch (")[2].partition("realAdExchange (")[0]
    for detector in ("numenta", "windowedGaussian", "random"):
        theirs = [one for one in alarms if one["detector"] == detector and "realAWSCloudwatch/" in one["series"]]
        score = script._summed(map(script._published, theirs))
        assert f"{detector:<18}{score.words()}" in text
    assert "  modelwatch " in text


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_page_is_what_the_script_says(script: ModuleType, tmp_path: Path) -> None:
    """Both blocks, to the last figure."""
    folder = shared_data("nab.parquet").parent
    copy = tmp_path / "backtest.md"
    copy.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    for name, work in (("nab", script.nab), ("petshop-backtest", script.pets)):
        block = script.Block(name)
        work(block, folder)
        block.write(copy)
    assert copy.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
