"""The recorded day of the demo, back-tested: it names its incidents with their delays.

`day.parquet`, `day-labels.parquet` and `day-incidents.csv` are what `modelwatch demo --incident tour --seconds 1470 --seed 5 --log
day.jsonl` wrote (times to the second, durations to the millisecond); its day is 24 minutes, a minute of its windows a second.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from modelwatch.backtest import Backtest, backtest, read_incidents
from modelwatch.config import load_config
from modelwatch.demo.log import incidents_beside, labels_beside
from modelwatch.demo.run import run_demo, write_config

HERE = Path(__file__).parent
#: What must be told of an incident, and within how many minutes of its windows.
EXPECTED = {
    "errors": ("HighErrorRate", 15), "latency": ("HighLatencyP95", 20), "drift": ("DataDriftDetected", 70),
    "outage": ("TrafficStopped", 40), "slow-burn": ("HighErrorRate", 30), "traffic-stop": ("TrafficStopped", 25),
}  # fmt: skip


def check(found: Backtest, rounds: int) -> None:
    """Assert that each incident of the tour is told of by its alert in time, in every round."""
    named = [one for one in found.incidents if one.incident.name in EXPECTED]
    assert len(named) >= rounds * len(EXPECTED)
    for one in named:
        alert, minutes = EXPECTED[one.incident.name]
        first = next((each for each in one.told if each.name == alert), None)
        assert first is not None, one
        delay_s = first.began - one.incident.start
        assert 0 < delay_s * found.time_scale / 60 <= minutes, (one.incident, delay_s)
    assert [one for one in found.false_alarms if one.severity == "critical"] == []


def test_the_recorded_day_names_its_incidents(tmp_path: Path) -> None:
    """Two rounds of seven incidents: all found but those of accuracy, whose labels a day's windows dilute; no page else."""
    write_config(tmp_path)
    found = backtest(
        HERE / "day.parquet", load_config(tmp_path / "modelwatch.yaml", secrets=False),
        labels=HERE / "day-labels.parquet", incidents=read_incidents(HERE / "day-incidents.csv"), every_s=2,
    )  # fmt: skip
    check(found, rounds=2)
    assert set(found.missed) <= {"accuracy"}
    assert found.seconds > 86_400
    assert found.pages_a_month is not None
    labelled = found.blind["LowModelAccuracy", "critical"]
    assert labelled.seconds < 120  # its labels are counted


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_tour_that_runs_now(tmp_path: Path) -> None:
    """A real tour of eleven minutes: its log, labels and incidents are files that a back-test takes as they are."""
    log = tmp_path / "day.jsonl"
    run_demo(port=0, incident="tour", seconds=660, data=tmp_path, log=log, seed=5, say=lambda _line: None)
    found = backtest(
        log, load_config(tmp_path / "modelwatch.yaml", secrets=False), labels=labels_beside(log),
        incidents=read_incidents(incidents_beside(log)),
    )  # fmt: skip
    check(found, rounds=1)
