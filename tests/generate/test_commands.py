"""`modelwatch generate` and `modelwatch stack`, as commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from generate.stacks import WHOLE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a configuration."""
    (tmp_path / "modelwatch.yaml").write_text(WHOLE)
    return tmp_path


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of modelwatch."""
    command = [sys.executable, "-m", "modelwatch", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment})


def test_generate_diff_and_force(folder: Path) -> None:
    """Written, shown, refused where somebody changed a file, and overwritten when told to."""
    parts = ("--only", "prometheus", "--only", "compose")
    first = run("generate", "out", *parts, folder=folder)
    assert (first.returncode, first.stdout) == (0, "out: 3 files written, 0 as they were\n")
    assert run("generate", "out", *parts, "--diff", folder=folder).stdout == "out: nothing would change\n"
    changed = run("generate", "out", *parts, "--diff", "--discovery", "file", folder=folder)
    assert changed.returncode == 1 and "+  file_sd_configs:" in changed.stdout
    (folder / "out" / "prometheus.yml").write_text("mine\n")
    refused = run("generate", "out", *parts, folder=folder)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert run("generate", "out", *parts, "--force", folder=folder).returncode == 0


def test_links(folder: Path) -> None:
    """Alerts link to the addresses that people use."""
    run("generate", "out", "--only", "rules", "--pages-url", "https://w.example.org/", folder=folder)
    assert "runbook_url: https://w.example.org/runbooks/ServiceDown" in (folder / "out/rules/service.yml").read_text()


def test_unknown_part(folder: Path) -> None:
    """One line and exit code 2."""
    done = run("generate", "out", "--only", "grafanna", folder=folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "part is 'grafanna'" in done.stderr


def test_stack_that_was_never_started(folder: Path) -> None:
    """Status says so with exit code 1; down has nothing to do."""
    assert run("stack", "status", folder=folder).returncode == 1
    assert run("stack", "down", folder=folder).stdout == "stopped: nothing was running\n"


def test_stack_without_programs(folder: Path) -> None:
    """What to install is one line, with exit code 2."""
    done = run("stack", "up", folder=folder, PATH=str(folder))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "apt-get install prometheus prometheus-alertmanager" in done.stderr
