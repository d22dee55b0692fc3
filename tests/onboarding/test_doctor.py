"""`modelwatch doctor`: every ailment is named, with what to do, on a real service, Prometheus and Alertmanager."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modelwatch import Monitor
from modelwatch.cli import app
from modelwatch.groundtruth.store import Store
from modelwatch.onboarding.doctor import _disk_of, _labels, examine
from modelwatch.onboarding.finding import Finding
from modelwatch.onboarding.outside import Places, _clocks
from modelwatch.sources.kept import EVALUATOR
from modelwatch.testing.receivers import running_receiver
from modelwatch.testing.servers import running_prometheus
from support import free_port, require

CONFIG = """\
service: {name: shop%s}
models:
  churn: {version: "1", task: classification, classes: [stays, leaves], features: {age: numeric}%s}
store: sqlite:///modelwatch.db
live: live.db
alerting:
  receivers: {team: {slack: "${DOCTOR_TEST_SLACK}"}}
"""


def configured(folder: Path, service: str = "", model: str = "") -> Path:
    """Write a configuration."""
    path = folder / "modelwatch.yaml"
    path.write_text(CONFIG % (service, model))
    return path


def states(path: Path, places: Places | None = None) -> dict[str, Finding]:
    """Return the worst finding of each check."""
    worst: dict[str, Finding] = {}
    for finding in examine(path, places or Places()):
        if finding.check not in worst or finding.state != "ok":
            worst[finding.check] = finding
    return worst


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[Path]:
    """A process that counts, and its configuration."""
    path = configured(tmp_path)
    monitor = Monitor.from_config(path)
    monitor.record("/predict", duration=0.01, prediction="stays", confidence=0.9)
    assert monitor.flush(5)
    yield path
    monitor.close()


def test_a_new_installation_lacks_what_it_lacks(tmp_path: Path) -> None:
    """Before the service has run: no live.db, no store, no reference, an unset secret; each says what to do."""
    found = states(configured(tmp_path))
    assert found["live.db"].state == "failure"
    assert "Start the service" in found["live.db"].remedy
    assert found["store"].says == "is not made yet."
    assert found["reference of churn"].state == "warning"
    assert "DOCTOR_TEST_SLACK" in found["secrets"].says
    assert not (tmp_path / "modelwatch.db").exists(), "looking makes nothing"


def test_a_configuration_that_cannot_be_read_is_the_only_finding(tmp_path: Path) -> None:
    """A wrong field is told as by `check`, and nothing else is looked at."""
    path = configured(tmp_path, model=", verison: 2")
    (finding,) = examine(path, Places())
    assert finding.state == "failure"
    assert "verison" in finding.says


def test_workers_that_count_are_seen(counting: Path) -> None:
    """A living worker is ok; its end is a failure."""
    assert states(counting)["workers"].state == "ok"


def test_a_service_that_has_ended(tmp_path: Path) -> None:
    """A live.db that nobody writes any more is a failure, with the old traffic told."""
    path = configured(tmp_path)
    monitor = Monitor.from_config(path)
    monitor.close()
    assert "no process counts" in states(path)["workers"].says


def test_whether_anybody_evaluates(counting: Path) -> None:
    """Without a `modelwatch serve` nobody is told, which is a warning, unless a Prometheus is said to do it."""
    with contextlib.closing(Store(f"sqlite:///{counting.parent / 'modelwatch.db'}")) as store:
        idle = states(counting)["evaluation"]
        assert idle.state == "warning"
        assert "Start it" in idle.remedy
        assert "evaluation" not in states(counting, Places(prometheus="http://127.0.0.1:1"))
        assert store.lease(EVALUATOR, "a serve", 60.0)
        assert states(counting)["evaluation"].state == "ok"


def test_addresses_at_which_nobody_is(counting: Path) -> None:
    """What is no address is told apart from one at which nobody listens."""
    wrong = states(counting, Places(prometheus="localhost", metrics=f"http://127.0.0.1:{free_port()}/metrics"))
    assert wrong["Prometheus"].says == "'localhost' is no address."
    assert wrong["/metrics"].says.startswith("nobody listens on 127.0.0.1:")


def test_a_damaged_live_db_is_a_finding_and_no_crash(counting: Path) -> None:
    """Garbage in place of the file is one finding; the checks after it still run."""
    other = counting.parent / "other"
    other.mkdir()
    (other / "live.db").write_bytes(b"garbage" * 1000)
    found = states(configured(other))
    assert found["live.db"].state in {"failure", "unknown"}
    assert "store" in found


def test_a_store_of_a_newer_version_is_told(counting: Path) -> None:
    """A store that a newer modelwatch has made is a failure with its own words."""
    deadline = time.monotonic() + 10
    store = counting.parent / "modelwatch.db"
    while not store.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with sqlite3.connect(store) as db:
        db.execute("UPDATE modelwatch_store SET value = '999' WHERE name = 'layout'")
    db.close()
    found = states(counting)["store"]
    assert found.state == "failure", found
    assert "newer" in found.says or "Upgrade" in found.says


def test_labels_that_do_not_come() -> None:
    """Waiting predictions without a label for a week are a warning; no samples at all is none."""
    now = 1_800_000_000.0
    assert _labels("churn", 0, None, now).state == "ok"
    assert _labels("churn", 5, None, now).state == "warning"
    assert _labels("churn", 5, now - 8 * 86_400, now).state == "warning"
    assert _labels("churn", 5, now - 3600, now).state == "ok"


def test_an_old_reference_and_a_feature_without_a_profile(tmp_path: Path) -> None:
    """A profile of half a year ago, and one that lacks a feature, are warnings."""
    (tmp_path / "train.csv").write_text("income,label\n" + "\n".join(f"{i},stays" for i in range(50)))
    assert (
        CliRunner().invoke(app, ["profile", str(tmp_path / "train.csv"), "-o", str(tmp_path / "r.json")]).exit_code == 0
    )
    path = configured(tmp_path, model=", reference: r.json")
    assert "age" in states(path)["reference of churn"].says
    old = time.time() - 200 * 86_400
    os.utime(tmp_path / "r.json", (old, old))
    found = [f for f in examine(path, Places()) if f.check == "reference of churn"]
    assert any("200 days" in f.says for f in found)


def test_clocks() -> None:
    """A difference above five seconds, beyond what a Date header can tell, is a failure that names its direction."""
    assert _clocks("x", 5.5, 1.0).state == "ok"
    assert "ahead" in _clocks("x", 60).says
    assert "behind" in _clocks("x", -60).says


def test_network_disks_are_known(tmp_path: Path) -> None:
    """The file system of a path is that of the longest mount point above it."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda1 / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    assert _disk_of(tmp_path / "live.db", mounts) == "nfs4"
    assert _disk_of(Path("/usr/x"), mounts) == "ext4"
    assert _disk_of(tmp_path, tmp_path / "none") == ""


def test_a_service_that_does_not_answer(tmp_path: Path) -> None:
    """A closed port is a failure of the service and of /metrics, in one line each."""
    path = configured(tmp_path, f', health_url: "http://127.0.0.1:{free_port()}/healthz"')
    found = states(path)
    assert found["service"].state == found["/metrics"].state == "failure"


def test_something_else_answers(tmp_path: Path) -> None:
    """A server that is neither service, Prometheus nor Alertmanager is told as such."""
    with running_receiver() as other:
        url = other.url.rsplit("/", 1)[0] if other.url.count("/") > 2 else other.url
        found = states(configured(tmp_path), Places(f"{url}/metrics", url, url))
    for check in ("/metrics", "Prometheus", "Alertmanager"):
        assert found[check].state == "failure", found[check]


def test_a_prometheus_without_the_rules(counting: Path) -> None:
    """A real Prometheus that knows neither the job nor the rules nor an Alertmanager: three failures, clocks agree."""
    require("prometheus")
    (counting.parent / "prometheus").mkdir()
    with running_prometheus(counting.parent / "prometheus", [f"127.0.0.1:{free_port()}"]) as prometheus:
        found = states(counting, Places(prometheus=prometheus.url))
    assert found["clock of Prometheus"].state == "ok"
    assert found["scrape"].state == "failure"
    assert "not loaded" in found["rules"].says
    assert "no Alertmanager" in found["Prometheus"].says


def test_json_and_exit_code(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doctor --json` is one document; the exit code is 1 exactly when something fails."""
    done = CliRunner().invoke(app, ["doctor", "--config", str(counting), "--json"])
    told = json.loads(done.output)
    assert done.exit_code == 1
    assert not told["healthy"]
    monkeypatch.setenv("DOCTOR_TEST_SLACK", "https://hooks.slack.com/services/a")
    done = CliRunner().invoke(app, ["doctor", "--config", str(counting), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["healthy"]
