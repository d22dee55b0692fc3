"""`modelwatch alerts test` and its sisters, and the notifier that `serve` runs: from a configuration to a message."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from modelwatch.config import load_config
from modelwatch.errors import ConfigError
from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.alertmanager import Handover
from modelwatch.notify.commands import acknowledge, silence
from modelwatch.notify.notifier import Notifier
from notify.receivers import Web, web

SECRET = "S3CR3T-abcdef"


def written(folder: Path, receivers: str, more: str = "") -> Path:
    """Write a configuration; return its path."""
    path = folder / "modelwatch.yaml"
    path.write_text(
        "service: {name: sentiment-api}\n"
        'models: {sentiment: {version: "1", task: classification, classes: [a, b]}}\n'
        f"store: sqlite:///store.db\ntime_scale: 3000\nalerting:\n  receivers: {receivers}\n{more}"
    )
    return path


def run(*arguments: str, config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `modelwatch alerts …`."""
    command = [sys.executable, "-m", "modelwatch", "alerts", *arguments, "--config", str(config)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )


def told(server: Web) -> list[str]:
    """Return the alerts and states that a webhook was told."""
    return [f"{request.body['groupLabels']['alertname']} {request.body['status']}" for request in server.requests]


def test_a_test_reaches_the_receiver(tmp_path: Path) -> None:
    """A page at PagerDuty is closed again."""
    with web(lambda request: 202) as server:
        config = written(
            tmp_path, '{team: {webhook: "${HOOK}"}, oncall: {pagerduty: {routing_key: "${KEY}", url: "${HOOK}"}}}'
        )
        environment = {"HOOK": server.url, "KEY": SECRET}
        for name in ("team", "oncall"):
            done = run("test", name, config=config, **environment)
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{name}: delivered\n", "")
        assert server.requests[0].body["kind"] == "test"
        assert [request.body["event_action"] for request in server.requests[1:]] == ["trigger", "resolve"]


def test_a_test_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    """Without the secret, with exit code 1; an unknown receiver is 2."""
    with web(lambda request: 404) as server:
        server.words = f"no_service {SECRET}"
        config = written(tmp_path, '{team: {slack: "${HOOK}"}}')
        done = run("test", "team", config=config, HOOK=f"{server.url}/services/{SECRET}")
        assert done.returncode == 1
        assert "it answered 404: no_service ***" in done.stderr
        assert SECRET not in done.stdout + done.stderr
        assert done.stderr.count("\n") == 1
        done = run("test", "taem", config=config, HOOK=server.url)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "Did you mean 'team'?" in done.stderr


def test_acknowledge_and_silence_from_the_shell(tmp_path: Path) -> None:
    """With who it was; what cannot be read is one line."""
    config = written(tmp_path, "{}")
    database = Database(f"sqlite:///{tmp_path / 'store.db'}")
    notifier = Notifier(load_config(config), database)
    notifier([Alert("HighErrorRate", "critical", "sentiment")], time.time())
    done = run("acknowledge", "HighErrorRate", "--model", "sentiment", "--by", "ann", config=config)
    assert (done.returncode, done.stdout) == (0, "HighErrorRate: 1 acknowledged\n")
    assert notifier.outbox.known()[0].acknowledged_by == "ann"
    assert run("acknowledge", "ServiceDown", config=config).returncode == 1
    done = run(
        "silence",
        "model=sentiment",
        "severity=critical",
        "--for",
        "2h",
        "--by",
        "ann",
        "--note",
        "deploy",
        config=config,
    )
    (made,) = notifier.outbox.silences(time.time())
    assert done.stdout == f"{made.id}: silent for 2h\n"
    assert (made.author, made.note, made.matches) == ("ann", "deploy", {"model": "sentiment", "severity": "critical"})
    assert 7190 < made.ends_at - time.time() < 7200
    assert run("unsilence", made.id, config=config).returncode == 0
    assert notifier.outbox.silences(time.time()) == []
    for wrong in (["silence", "model"], ["silence", "model=a", "--for", "soon"], ["unsilence", made.id]):
        done = run(*wrong, config=config)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    database.close()


def test_an_alert_that_there_is_not_is_told(tmp_path: Path) -> None:
    """A name that is misspelt would silence nothing: it is refused, with the one that was meant."""
    config = written(tmp_path, "{}")
    with pytest.raises(ConfigError, match="Did you mean 'HighErrorRate'"):
        silence(config, ["alertname=HighErorRate"], "1h", "ann", "")
    with pytest.raises(ConfigError, match="Did you mean 'HighErrorRate'"):
        acknowledge(config, "HighErorRate", "", "ann")


def test_a_notifier_does_what_the_configuration_says(tmp_path: Path) -> None:
    """Routes, times divided by time_scale, the beginning and the end; told by what fires, evaluation by evaluation."""
    with web() as oncall, web() as team:
        config = load_config(
            written(
                tmp_path,
                f'{{oncall: {{webhook: "{oncall.url}"}}, team: {{webhook: "{team.url}"}}}}',
                "  routes: {critical: [oncall, team], warning: [team]}\n",
            )
        )
        database = Database(str(config.store))
        notifier = Notifier(config, database)
        notifier.start()
        critical, warning = (
            Alert("HighErrorRate", "critical", "sentiment"),
            Alert("LabelStarvation", "warning", "sentiment"),
        )
        for fires in ([critical, warning], [critical, warning], [critical], []):
            notifier(fires, time.time())
            time.sleep(0.4)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and (len(oncall.requests) < 2 or len(team.requests) < 4):
            time.sleep(0.05)
        assert notifier.stop()
        database.close()
    assert told(oncall) == ["HighErrorRate firing", "HighErrorRate resolved"]
    assert sorted(told(team)) == sorted(
        ["HighErrorRate firing", "HighErrorRate resolved", "LabelStarvation firing", "LabelStarvation resolved"]
    )


def test_one_mode_sends_at_a_time(tmp_path: Path) -> None:
    """With an Alertmanager configured nothing is sent to the receivers."""
    with web() as team, web() as manager:
        config = load_config(
            written(tmp_path, f'{{team: {{webhook: "{team.url}"}}}}', f"  alertmanager: {manager.url}\n")
        )
        database = Database(str(config.store))
        notifier = Notifier(config, database)
        assert isinstance(notifier.sender, Handover)
        notifier.start()
        notifier([Alert("HighErrorRate", "critical", "sentiment")], time.time())
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not manager.requests:
            time.sleep(0.05)
        assert notifier.stop()
        database.close()
    assert manager.requests[0].path == "/api/v2/alerts"
    assert team.requests == []


def test_a_receiver_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    """Not at the first alert."""
    config = load_config(written(tmp_path, '{team: {email: {to: a@b, smarthost: "mail:x"}}}'))
    with pytest.raises(ConfigError, match="smarthost"):
        Notifier(config, Database(str(config.store)))
