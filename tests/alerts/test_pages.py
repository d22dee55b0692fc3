"""The documents made from the catalogue, and the commands that evaluate it over a real live.db."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alerts.life import MODEL, REFERENCE, requests
from alerts.test_catalogue import CONFIG, TEXT
from modelwatch import Monitor, names
from modelwatch.alerts import rules_of
from modelwatch.alerts.pages import runbook, severity_table
from modelwatch.cli import app
from modelwatch.kernel import Kernel
from modelwatch.record.monitor import schema_of
from modelwatch.signals.service import MINUTE_TABLES
from modelwatch.store.live import Key, connect
from modelwatch.tally import Tally

DOCS = Path(__file__).resolve().parents[2] / "docs" / "alerts.md"


def test_severity_table_of_the_docs(request: pytest.FixtureRequest) -> None:
    """docs/alerts.md is what the catalogue says; `--update-golden` writes it anew."""
    text = severity_table(rules_of(CONFIG, MODEL, REFERENCE))
    head = (
        DOCS.read_text(encoding="utf-8").split("<!-- made from the catalogue", maxsplit=1)[0] if DOCS.exists() else ""
    )
    if request.config.getoption("--update-golden"):
        DOCS.write_text(head + text, encoding="utf-8")
    assert DOCS.read_text(encoding="utf-8") == head + text
    for words in ("15 minutes", "a backup is paged", "next business day", "error rate > 5 % over 5 min"):
        assert words in text


def test_unknown_runbook() -> None:
    """The message names what there is."""
    with pytest.raises(ValueError, match="alert is 'HighErorRate'; expected one of HighErrorRate"):
        runbook("HighErorRate")


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """A configuration, and nothing counted yet."""
    file = tmp_path / "modelwatch.yaml"
    file.write_text(TEXT)
    return file


def run(*arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed."""
    found = CliRunner().invoke(app, list(arguments))
    return found.exit_code, found.stdout


def failing_for(file: Path, minutes: int, failed: int) -> None:
    """Write rows of `minutes` past minutes into the live.db, as a service that ran would have."""
    monitor = Monitor.from_config(file, MODEL)
    monitor.record("/predict", duration=0.01, prediction="positive", confidence=0.9)
    monitor.flush(10)
    monitor.close()
    kernel = Kernel(schema_of(CONFIG.models[MODEL]))
    kernel.fold(requests(100, failed=failed))
    blob = kernel.tally.dump()
    db = connect(file.parent / "live.db", 5.0, create=False)
    last = int(time.time() // 60) * 60
    for minute in range(1, minutes + 1):
        key = Key(MODEL, "1")
        db.execute(
            "INSERT INTO counts VALUES (?, ?, ?, 60, 'past', 'h', (SELECT value + 1 FROM state WHERE name = 'seq'), ?)",
            (*key, last - 60 * minute, blob),
        )
    db.execute("UPDATE state SET value = value + 1 WHERE name = 'seq'")
    db.execute("UPDATE state SET value = ? WHERE name = 'began'", (last - 86_400,))
    db.commit() if db.in_transaction else None
    db.close()


def test_alerts_of_an_empty_store(service: Path) -> None:
    """No live.db at all: nothing fires, exit code 0, and every alert says why it is quiet."""
    code, text = run("alerts", "--config", str(service), "--json")
    assert code == 0
    state = json.loads(text)
    assert state["firing"] == 0
    assert {alert["outcome"] for alert in state["alerts"] if alert["alert"] != "Watchdog"} == {"cannot_tell"}
    assert all(alert["why"] for alert in state["alerts"])
    code, text = run("slo", "--config", str(service), "--json")
    assert code == 0
    assert {one["state"] for one in json.loads(text)["models"][MODEL]} == {"cannot_tell"}


def test_alerts_of_a_failing_service(service: Path) -> None:
    """Half an hour of 30 % errors: it fires, is said once, with endpoint and error type; the objective is broken."""
    failing_for(service, 30, 30)
    code, text = run("alerts", "--config", str(service), "--json")
    state = json.loads(text)
    firing = [alert for alert in state["alerts"] if alert["state"] == "firing" and not alert["silenced_by"]]
    named = {alert["alert"] for alert in firing} - {"Watchdog"}
    assert code == 1
    assert named == {"HighErrorRate", "SLOBurnRate", "SLOBudgetExhausted"}
    (errors,) = (alert for alert in firing if alert["alert"] == "HighErrorRate")
    assert errors["severity"] == "critical"
    assert "/predict" in errors["culprits"][0]
    assert "TimeoutError" in errors["culprits"][1]
    code, text = run("alerts", "--config", str(service))
    assert code == 1
    assert "FIRING      critical  HighErrorRate" in text
    code, text = run("slo", "--config", str(service))
    assert code == 1
    assert "BROKEN" in text
    code, text = run("slo", "--config", str(service), "--document")
    assert "## 3. Error rate" in text


def test_what_a_replay_cannot_say_is_said(service: Path) -> None:
    """Replicas too dear for two hours: the alert waits half a day, and a replay of an hour and a half does not know how long."""
    service.write_text(TEXT.replace("cost: {hourly: 1.2}", "cost: {hourly: 1.2, objective: 0.000001}"))
    failing_for(service, 120, 0)
    db = connect(service.parent / "live.db", 5.0, create=False)
    kernel = Kernel(schema_of(CONFIG.models[MODEL]))
    kernel.fold(requests(100))
    kernel.tally.add(Tally(MINUTE_TABLES))
    kernel.tally.tables[names.REPLICA_SECONDS.name].count((), 60)
    db.execute("UPDATE counts SET tally = ? WHERE worker = 'past'", (kernel.tally.dump(),))
    db.commit() if db.in_transaction else None
    db.close()
    text = run("alerts", "--config", str(service))[1]
    assert (
        "Not known: only the last 1.5 hours are replayed; SLOBurnRate (12 h) may wait for longer already, or fire."
        in text
    )


def test_alerts_of_a_healthy_service(service: Path) -> None:
    """Half an hour without errors: exit code 0 from both commands."""
    failing_for(service, 30, 0)
    code, text = run("alerts", "--config", str(service))
    assert (code, text.splitlines()[0]) == (0, f"{MODEL}: 0 firing (the last 1.5 hours replayed)")
    assert run("slo", "--config", str(service))[0] == 0
    assert run("slo", "--config", str(service), "--month", "--json")[0] == 0
    assert f"{MODEL} (last 7 days)" in run("slo", "--config", str(service), "--period", "7d")[1]
    assert f"{MODEL} (this week)" in run("slo", "--config", str(service), "--period", "week")[1]


def test_check_says_what_was_rescaled_and_refuses_what_cannot_be_alerted_on(service: Path) -> None:
    """An accuracy page that could never happen is rescaled, and said; a factor without a bucket, and 70 % of errors, exit 2."""
    code, text = run("check", str(service))
    assert code == 0
    assert "models.sentiment.slos.accuracy: critical: burning 14.4 times too fast would take 216% of bad events" in text
    for wrong, field in (
        (TEXT.replace("alerts: {", "alerts: {HighLatencyP95: {critical: 3}, "), "alerts.HighLatencyP95.critical"),
        (
            TEXT.replace("error_rate: {}", "error_rate: {objective: 0.3}"),
            "slos.error_rate.objective",
        ),
    ):
        service.write_text(wrong)
        done = subprocess.run(
            [sys.executable, "-m", "modelwatch", "check", str(service)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(f"models.sentiment.{field}: ")
        assert len(done.stderr.splitlines()) == 1
