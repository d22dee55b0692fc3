"""What people get wrong with the commands: each mistake is one line that says what to do, and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelwatch.cli import main

CONFIG = """\
service: {name: shop}
models:
  churn: {version: "1", task: classification, classes: [stays, leaves], slos: {error_rate: {objective: 0.9}}}
store: sqlite:///%s
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a configuration, one whose store cannot be made, a text file and some data."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG % "modelwatch.db")
    (tmp_path / "nowhere.yaml").write_text(CONFIG % "text/modelwatch.db")
    (tmp_path / "text").write_text("no database, and no folder")
    (tmp_path / "header.csv").write_text("age,prediction\n")
    (tmp_path / "data.csv").write_text("age,target\n1,yes\nnan,no\n,\n")
    return tmp_path


def said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, code: int
) -> list[str]:
    """Run a command in the folder, and return the lines that it said; an error is one line, after any progress."""
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MODELWATCH_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["modelwatch", *command.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if ": pass " not in line]
    assert (ended.value.code, len(lines)) == (code, 1 if code else 0), err
    return lines or out.splitlines()


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("slo --live text", 1, "file is not a database"),
        ("alerts --live .", 1, "Name it with --live."),
        ("alerts --live absent.db", 2, "Start the service, or name its file with --live."),
        ("slo --month --period 7d", 2, "Leave one of them out."),
        ("slo --period=", 2, "Write --period 30d."),
        ("alerts acknowledge HighErrorRate", 1, "See `modelwatch alerts`."),
        ("profile data.csv -o text/profile.json", 2, "Name a file in a folder of yours."),
        ("profile header.csv -o profile.json", 2, "header.csv: has no rows; expected the training data."),
        ("report header.csv -o report.html --no-config", 2, "header.csv: has no rows; expected predictions."),
        ("profile absent.csv -o profile.json", 2, "absent.csv: cannot be read (no file is there)"),
        ("init absent.parquet -o new.yaml", 2, "absent.parquet: cannot be read (no file is there)"),
        ("deploy --config nowhere.yaml", 2, "See who may write there"),
        ("generate stack --grafana-url grafana:3000", 2, "Write the whole address."),
        ("deploy --version=", 2, "Write --version 1.2.3."),
        ("label export -o text/tasks.csv", 2, "cannot be written (Not a directory). Name another file."),
        ("load http://127.0.0.1:9/ --objective 95", 2, "Write 0.95."),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    code: int,
    told: str,
) -> None:
    """The last line of what is said has what to do; 2 is usage, 1 what could not be done."""
    assert told in said(folder, monkeypatch, capsys, command, code)[-1]


def test_a_stack_in_no_folder_runs_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`stack down` of a path that is a file stops nothing, and says so."""
    assert said(folder, monkeypatch, capsys, "stack down --state text", 0) == ["stopped: nothing was running"]


def test_what_nobody_foresaw_is_a_line_too(folder: Path) -> None:
    """A fault of ours is named in a line with the way to its traceback, which --debug shows."""
    broken = (
        "import sys, modelwatch.cli as cli\n"
        "@cli.app.command()\n"
        "def broken() -> None: raise KeyError('what')\n"
        "sys.argv = ['modelwatch', *sys.argv[1:]]\n"
        "cli.main()"
    )
    asked = [sys.executable, "-c", broken]
    done = subprocess.run([*asked, "broken"], capture_output=True, text=True, timeout=60, cwd=folder)
    assert done.returncode == 1
    assert done.stderr == "modelwatch: KeyError: 'what'. Run `modelwatch --debug …` to see where, and report it.\n"
    shown = subprocess.run([*asked, "--debug", "broken"], capture_output=True, text=True, timeout=60, cwd=folder)
    assert "Traceback" in shown.stderr


def test_a_profile_stays_in_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model called like a path of another folder has its profile beside the others."""
    said(folder, monkeypatch, capsys, "init data.csv --model ../up -o new.yaml", 0)
    assert [path.name for path in (folder / "reference").iterdir()] == ["up.json"]
