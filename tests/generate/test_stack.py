"""The stack on this machine: real programs that start, read the generated files, and stop."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from generate.stacks import WHOLE
from modelwatch import stack
from modelwatch.errors import ConfigError, MissingExtra, ModelwatchError
from support import free_port, require

SECRETS = {
    "PAGERDUTY_ROUTING_KEY": "key", "SLACK_WEBHOOK_URL": "http://127.0.0.1:9/slack", "LOG_TOKEN": "token",
    "BACKUP_ROUTING_KEY": "other", "DEADMAN_URL": "http://127.0.0.1:9/alive",
}  # fmt: skip
TEXT = WHOLE.replace('"http://127.0.0.1:9/alive"', '"${DEADMAN_URL}"')


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file and the secrets that it names."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "modelwatch.yaml"
    path.write_text(TEXT)
    return path


@contextlib.contextmanager
def running(config: Path, state: Path) -> Iterator[dict[str, str]]:
    """The stack on free ports, as {part: address}."""
    require("prometheus")
    require("prometheus-alertmanager")
    ports = {"prometheus": free_port(), "alertmanager": free_port()}
    said: list[str] = []
    try:
        yield {part.name: part.url for part in stack.up(config, state, say=said.append, docker=False, ports=ports)}
    finally:
        stack.down(state)


def _read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"] if "/api/v1/" in url else json.load(answer)


def test_up_status_down(config: Path, tmp_path: Path) -> None:
    """Both answer with the generated rules and routes; up again reads the files anew; down ends both."""
    state = tmp_path / "state"
    with running(config, state) as urls:
        assert [part.answers for part in stack.status(state)] == [True, True]
        groups = _read(f"{urls['prometheus']}/api/v1/rules")["groups"]
        assert {"alerts service", "alerts sentiment requests"} <= {group["name"] for group in groups}
        told = _read(f"{urls['prometheus']}/api/v1/alertmanagers")["activeAlertmanagers"]
        assert told == [] or told[0]["url"].startswith(urls["alertmanager"])
        with urllib.request.urlopen(f"{urls['alertmanager']}/api/v2/receivers", timeout=10) as answer:
            assert {each["name"] for each in json.load(answer)} >= {"oncall", "team", "alive"}
        before = json.loads((state / stack.PROCESSES).read_text())
        said: list[str] = []
        stack.up(config, state, say=said.append, docker=False)
        assert json.loads((state / stack.PROCESSES).read_text()) == before
        assert said == ["the stack runs already; it has read its files again"]
    assert stack.status(state) == []
    assert stack.down(state) == []


def test_secrets_are_private(config: Path, tmp_path: Path) -> None:
    """Their files, and the directory, are for this user alone."""
    state = tmp_path / "state"
    with running(config, state):
        assert state.stat().st_mode & 0o777 == 0o700
        assert (state / "secrets" / "PAGERDUTY_ROUTING_KEY").read_text() == "key"
        assert (state / "secrets" / "PAGERDUTY_ROUTING_KEY").stat().st_mode & 0o777 == 0o600


def test_nothing_is_installed(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an engine and without the programs it says what to install, and downloads nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="apt-get install prometheus prometheus-alertmanager"):
        stack.up(config, tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_port_that_is_taken(config: Path, tmp_path: Path) -> None:
    """It is named before anything starts."""
    require("prometheus")
    require("prometheus-alertmanager")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"prometheus": taken.getsockname()[1], "alertmanager": free_port()}
        with pytest.raises(ConfigError, match=f"port of prometheus is {ports['prometheus']}; expected a port"):
            stack.up(config, tmp_path / "state", docker=False, ports=ports)
    assert stack.status(tmp_path / "state") == []


def test_a_secret_that_is_missing(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is named, and nothing runs."""
    require("prometheus")
    require("prometheus-alertmanager")
    monkeypatch.delenv("LOG_TOKEN")
    ports = {"prometheus": free_port(), "alertmanager": free_port()}
    with pytest.raises(ConfigError, match="LOG_TOKEN"):
        stack.up(config, tmp_path / "state", docker=False, ports=ports)


def test_a_program_that_does_not_start(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words are in the message, and what had started is stopped again."""
    for name in ("prometheus", "prometheus-alertmanager"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ports = {"prometheus": free_port(), "alertmanager": free_port()}
    with pytest.raises(ModelwatchError, match="alertmanager is 'no such thing'; expected a program that gets ready"):
        stack.up(config, tmp_path / "state", docker=False, ports=ports)
    assert stack.status(tmp_path / "state") == []


def test_a_process_of_somebody_else(tmp_path: Path) -> None:
    """A number that another process has by now is left alone."""
    (tmp_path / stack.PROCESSES).write_text(
        json.dumps({"prometheus": [os.getpid(), 9090], "alertmanager": [2**22 - 1, 1]})
    )
    assert stack.status(tmp_path) == []
    assert stack.down(tmp_path) == []
