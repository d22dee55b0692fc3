"""`modelwatch check`: the series that it predicts are those that a service shows."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelwatch import Monitor
from modelwatch.cli import app, main
from modelwatch.config import load_config
from modelwatch.onboarding.footprint import Footprint, footprint
from modelwatch.record.monitor import schema_of
from modelwatch.reference import Reference

DEMO = Path(__file__).parents[2] / "src" / "modelwatch" / "demo" / "modelwatch.yaml"


def of_demo(folder: Path) -> tuple[Footprint, Path]:
    """Return what is predicted of the demo's model, and its configuration in a folder."""
    for name in ("modelwatch.yaml", "reference.json"):
        (folder / name).write_bytes((DEMO.parent / name).read_bytes())
    config = load_config(folder / "modelwatch.yaml")
    model = config.model()
    assert model.reference is not None
    reference = Reference.load(model.reference)
    return footprint(config, model, schema_of(model, reviewed=True, reference=reference), reference), folder


def series(page: bytes) -> int:
    """Count the series of models."""
    return len(re.findall(rb"^[^#\n].*model_name=", page, re.MULTILINE))


def test_the_prediction_is_what_a_service_shows(tmp_path: Path) -> None:
    """Series with one endpoint, and those that another endpoint, a type of error and a segment add, are exact."""
    predicted, folder = of_demo(tmp_path)
    monitor = Monitor.from_config(folder / "modelwatch.yaml")
    try:
        features = {"text_length": 3, "exclamations": 1, "sentiment_score": 0.5, "language": "en"}
        told: dict[str, Any] = {"duration": 0.01, "prediction": "positive", "confidence": 0.9, "features": features}
        seen = []
        for change in ({}, {"endpoint": "/other"}, {"error": "ValueError"}, {"segment": "books"}):
            monitor.record(**{"endpoint": "/predict", **told, **change})
            assert monitor.flush(5)
            seen.append(series(monitor.metrics()))
    finally:
        monitor.close()
    assert seen[0] == predicted.series
    assert seen[1] - seen[0] == predicted.an_endpoint
    assert seen[2] - seen[1] == predicted.an_error
    assert 0 < seen[3] - seen[2] <= predicted.a_segment  # those of labels come with the first label


def test_replicas_multiply(tmp_path: Path) -> None:
    """Series of all replicas, what Prometheus keeps of them, and the price are products of what one shows."""
    predicted, _ = of_demo(tmp_path)
    three = Footprint(**{**predicted.__dict__, "replicas": 3})
    assert three.fleet == 3 * predicted.series
    assert three.prometheus_bytes == 3 * predicted.series * 2 * 15 * 86_400 // 15
    assert three.to_dict(8.0)["cost_a_month"] == round(8 * 3 * predicted.series / 1000, 2)
    assert any("3 replicas" in line for line in three.lines())


def test_a_row_is_about_as_large_as_predicted(tmp_path: Path) -> None:
    """The rows of live.db are predicted within a factor of three of what a minute with traffic takes."""
    predicted, folder = of_demo(tmp_path)
    monitor = Monitor.from_config(folder / "modelwatch.yaml")
    try:
        for i in range(2000):
            features = {"text_length": i % 500, "exclamations": i % 4, "sentiment_score": i / 2000, "language": "en"}
            monitor.record("/predict", duration=i / 1000, prediction="positive", confidence=i / 2000, features=features)
        assert monitor.flush(5)
        size = len(monitor.recorder.kernel.tally.dump())
    finally:
        monitor.close()
    assert size / 3 < predicted.live_bytes / 2680 < size * 3


def test_json_has_what_the_lines_say(tmp_path: Path) -> None:
    """`check --json` is one document with a row a model."""
    predicted, folder = of_demo(tmp_path)
    done = CliRunner().invoke(app, ["check", str(folder / "modelwatch.yaml"), "--json", "--price", "8"])
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.output)["models"]
    assert row["series"] == predicted.series
    assert row["alert_rules"] > 20


def test_a_profile_of_another_model_is_told(tmp_path: Path) -> None:
    """Features that the profile lacks are a note, since their drift is told by nobody."""
    _, folder = of_demo(tmp_path)
    path = folder / "modelwatch.yaml"
    path.write_text(path.read_text().replace("exclamations: numeric", "shouting: numeric"))
    done = CliRunner().invoke(app, ["check", str(path)])
    assert "has no profile of shouting" in done.output


@pytest.mark.parametrize("command", ["check", "doctor", "status", "alerts", "slo"])
def test_what_reads_says_its_failure_as_json(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json the output is JSON, also where there is nothing to read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["modelwatch", command, "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code
    assert "modelwatch.yaml: file is missing" in json.dumps(json.loads(capsys.readouterr().out))
