"""Alerts and objectives of a host that are worked out when a page asks."""

from __future__ import annotations

from pathlib import Path

from modelwatch.config import load_config
from modelwatch.sources.standing import ALERTS_EVERY_S, SLOS_EVERY_S, StandingSource
from modelwatch.testing import FakeClock

CONFIG = """
service: {name: shop}
models:
  churn:
    version: "1"
    task: classification
    classes: [stays, leaves]
    slos: {latency: {threshold: 200ms, objective: 0.95}}
"""


def _source(folder: Path, clock: FakeClock) -> StandingSource:
    path = folder / "modelwatch.yaml"
    path.write_text(CONFIG)
    return StandingSource(load_config(path, secrets=False), folder / "live.db", clock)


def test_a_host_that_counted_nothing_has_checks_without_answers(tmp_path: Path) -> None:
    """All alerts are there, none fires, and the objective cannot be told."""
    found = _source(tmp_path, FakeClock()).read()
    assert found["evaluation"]["reason"] is None
    assert {one["alert"] for one in found["alerts"]["alerts"]} >= {"HighErrorRate", "HighLatencyP95"}
    assert all(one["unit"] is not None and one["for_s"] >= 0 for one in found["alerts"]["alerts"])
    assert found["slos"]["models"]["churn"][0]["state"] == "cannot_tell"


def test_it_is_worked_out_again_only_after_a_while(tmp_path: Path) -> None:
    """Within 15 seconds alerts are the same object, objectives within a minute; then both are new."""
    clock = FakeClock()
    source = _source(tmp_path, clock)
    first = source.read()
    clock.advance(ALERTS_EVERY_S - 1)
    again = source.read()
    assert again["alerts"] is first["alerts"]
    assert again["evaluation"]["evaluated_s_ago"] == ALERTS_EVERY_S - 1
    clock.advance(2)
    later = source.read()
    assert later["alerts"] is not first["alerts"]
    assert later["slos"] is first["slos"]
    clock.advance(SLOS_EVERY_S)
    assert source.read()["slos"] is not first["slos"]


def test_a_file_that_cannot_be_read_is_told_and_tried_again(tmp_path: Path) -> None:
    """No exception, a reason for both; once it can be read there are answers."""
    (tmp_path / "live.db").write_bytes(b"no database" * 100)
    source = _source(tmp_path, FakeClock())
    found = source.read()
    assert found["evaluation"]["reason"]
    assert found["slos"]["reason"]
    (tmp_path / "live.db").unlink()
    assert source.read()["evaluation"]["reason"] is None
