"""The commands: exit codes and one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modelwatch import Monitor

CONFIG = """\
service: {name: shop, owner: team}
models:
  churn:
    version: "1"
    task: classification
    classes: [stays, leaves]
    slos: {error_rate: {objective: 0.9}, latency: {threshold: 100ms}}
"""


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of ours in a folder."""
    command = [sys.executable, "-m", "modelwatch", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)


def test_check_says_valid_or_every_problem(tmp_path: Path) -> None:
    """`check` exits 0 on a valid file, 2 with a line a problem on another, and 2 with one line when there is none."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    done = run("check", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "modelwatch.yaml: valid" in done.stdout
    (tmp_path / "modelwatch.yaml").write_text(
        CONFIG.replace("0.9", "99.9").replace("churn", "churn\n").replace("churn\n", "churn")
    )
    done = run("check", cwd=tmp_path)
    assert done.returncode == 2
    assert "models.churn.slos.error_rate.objective" in done.stderr
    assert "Write 0.999" in done.stderr
    done = run("check", "missing.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_status_without_counts_is_one_line(tmp_path: Path) -> None:
    """`status` where no service ever ran says which file is missing and what to do."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    done = run("status", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "live.db" in done.stderr
    assert "Start the service" in done.stderr


@pytest.mark.parametrize(("failing", "code", "outcome"), [(1, 0, "ok"), (10, 1, "firing")])
def test_status_exit_code_follows_the_objective(tmp_path: Path, failing: int, code: int, outcome: str) -> None:
    """`status` exits 1 when a signal is beyond its objective, 0 when none is; the JSON says which."""
    config = tmp_path / "modelwatch.yaml"
    config.write_text(CONFIG)
    monitor = Monitor.from_config(config)
    for i in range(40):
        monitor.record("/predict", duration=0.01, prediction="stays", error="ValueError" if i < failing else None)
    assert monitor.flush(5)
    mine = monitor.status()["models"][0]
    assert monitor.close()
    done = run("status", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["models"][0]["readings"][1]["value"] == mine["readings"][1]["value"] == failing / 40
    assert done.returncode == code, done.stderr
    state = json.loads(done.stdout)
    assert (state["service"], state["owner"]) == ("shop", "team")
    (reading,) = [r for r in state["models"][0]["readings"] if r["signal"] == "error_ratio"]
    assert reading["outcome"] == outcome
    assert reading["value"] == failing / 40
    assert reading["samples"] == 40
    assert state["models"][0]["details"]["errors_by_type"] == [["ValueError", failing]]
    text = run("status", cwd=tmp_path).stdout
    assert f"{100 * failing / 40:.2f} %" in text


def test_import_is_light() -> None:
    """`import modelwatch` loads nothing heavier than numpy, and no framework ever."""
    heavy = (
        "pandas",
        "scipy",
        "fastapi",
        "starlette",
        "pydantic",
        "prometheus_client",
        "sqlalchemy",
        "jinja2",
        "httpx",
    )
    code = f"import sys, modelwatch; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    code = f"import sys, modelwatch; modelwatch.Monitor; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_unknown_name_is_an_attribute_error() -> None:
    """The lazy facade refuses names that it does not have."""
    import modelwatch

    with pytest.raises(AttributeError, match="no attribute 'Monitro'"):
        modelwatch.Monitro  # noqa: B018


def test_version(tmp_path: Path) -> None:
    """`--version` is one line with the version of the package."""
    from modelwatch import __version__

    assert run("--version", cwd=tmp_path).stdout == f"modelwatch {__version__}\n"
