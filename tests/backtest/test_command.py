"""`modelwatch backtest` as people call it: output, exit codes, and one line for whatever is wrong with the input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from backtest.logs import DAY, HOUR, REFERENCE, TEXT, config_of, log_of
from modelwatch.backtest import Incident, backtest
from modelwatch.cli import app
from modelwatch.errors import ConfigError, ModelwatchError

ONE: dict[str, list[Any]] = {"timestamp": [DAY], "prediction": ["stay"], "length": [80.0], "language": ["en"]}


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder, as a process of its own."""
    command = [sys.executable, "-m", "modelwatch", "backtest", *options]
    environ = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300)


def call(folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> Result:
    """Call the command in a folder, in this process."""
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, ["backtest", *options])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of 25 hours that has noise, a configuration, a reference and incidents."""
    folder = tmp_path_factory.mktemp("backtest")
    log = log_of(25, [(4.0, 5.0, 0.08), (10.0, 11.0, 0.4)], every_s=4)
    pq.write_table(pa.table(dict(log)), folder / "log.parquet")
    (folder / "reference.json").write_text(REFERENCE.to_json())
    (folder / "modelwatch.yaml").write_text(TEXT.replace("    slos:", "    reference: reference.json\n    slos:"))
    (folder / "incidents.csv").write_text("name,start,end\ndeploy,2026-01-01 10:00,2026-01-01 11:00\n")
    return folder


def test_a_budget_written_into_the_configuration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeline as JSON and as a page; --write changes the thresholds, and a second run proposes nothing more."""
    options = ("log.parquet", "--incidents", "incidents.csv", "--every", "10m", "--tune", "max 1 page/month", "--json")
    before = (folder / "modelwatch.yaml").read_text()
    done = call(folder, monkeypatch, *options, "-o", "timeline.html")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tuned"]["before"]["pages_a_month"] > 1
    assert list(found["tuned"]["proposed"]) == ["HighErrorRate"]
    (incident,) = found["incidents"]
    assert (incident["name"], incident["state"], incident["first"]["alert"]) == ("deploy", "found", "HighErrorRate")
    assert 0 < incident["delay_s"] <= 1200
    assert {"alert", "severity", "labels", "from", "to", "culprits"} <= set(found["timeline"][0])
    assert "deploy" in (folder / "timeline.html").read_text()
    assert (folder / "modelwatch.yaml").read_text() == before
    written = run(folder, *options, "--write")
    assert written.stderr.strip() == "modelwatch.yaml: thresholds of HighErrorRate written"
    after = (folder / "modelwatch.yaml").read_text()
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == 1
    assert changed[0].endswith("# as agreed in spring")
    again = json.loads(call(folder, monkeypatch, *options).stdout)
    assert again["tuned"]["proposed"] == {}
    assert again["tuned"]["before"]["pages_a_month"] == found["tuned"]["after"]["pages_a_month"]


def test_a_missed_incident_is_exit_code_1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For pipelines; the tables say which."""
    (folder / "quiet.csv").write_text("name,start,end\nnobody saw it,2026-01-01 20:00,2026-01-01 20:30\n")
    done = call(folder, monkeypatch, "log.parquet", "--incidents", "quiet.csv", "--every", "30m")
    assert done.exit_code == 1
    assert "0 of 1 found; missed: nobody saw it." in done.stdout
    assert "Cannot tell" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["log.parquet", "--write"], "--write: --tune is None; expected a budget"),
        (["log.parquet", "-o", "a.pdf"], "--output: ending is '.pdf'; expected one of .html, .json, .md"),
        (["log.parquet", "--every", "soon"], "--every: duration is 'soon'; expected a duration such as 5m"),
        (["log.parquet", "--every", "90s"], "every: seconds is 90; expected a multiple of 60"),
        (["nowhere.parquet"], "nowhere.parquet"),
        (["log.parquet", "--config", "nowhere.yaml"], "nowhere.yaml: file is missing"),
    ],
)
def test_wrong_options(folder: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str) -> None:
    """One line; `modelwatch` prints it and ends with 2."""
    error = call(folder, monkeypatch, *options).exception
    assert isinstance(error, ConfigError)
    assert message in str(error)
    assert "\n" not in str(error)


AN_INCIDENT = [Incident("x", DAY + 100 * HOUR, DAY + 101 * HOUR)]


@pytest.mark.parametrize(
    ("log", "incidents", "message"),
    [
        ({name: [] for name in ONE}, (), "log: has no rows; expected predictions with their times"),
        ({name: column for name, column in ONE.items() if name != "timestamp"}, (), "log: has no column of times"),
        ({**ONE, "timestamp": ["soon"]}, (), "log: no row has a time that can be used (type 1)"),
        ({**ONE, "timestamp": [4_000_000_000]}, (), "log: no row has a time that can be used (future 1)"),
        ({name: 2 * column for name, column in ONE.items()} | {"timestamp": [0, DAY]}, (), "expected at most 400 days"),
        (ONE, AN_INCIDENT, "log: none of 1 incidents lies in the log, which goes from 2026-01-01T00:00:00Z to"),
    ],
)  # fmt: skip
def test_bad_logs(log: Mapping[str, Any], incidents: Sequence[Incident], message: str) -> None:
    """What cannot be replayed is one line."""
    with pytest.raises(ModelwatchError) as caught:
        backtest(log, config_of(), reference=REFERENCE, incidents=incidents)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_awkward_logs() -> None:
    """One row; times as texts in a zone; rows without a time, or in the future, are left out and counted in words."""
    one = backtest(ONE, config_of(), reference=REFERENCE)
    assert (one.looks, one.told, one.pages_a_month) == (1, [], None)
    texts = {name: 3 * column for name, column in ONE.items()}
    texts["timestamp"] = ["2026-01-01T01:00:00+01:00", None, "2999-01-01"]
    found = backtest(texts, config_of(), reference=REFERENCE)
    assert found.began == DAY
    assert found.notes == [
        "1 rows are left out of the replay: their time is missing.",
        "1 rows are left out of the replay: their time is in the future.",
    ]
