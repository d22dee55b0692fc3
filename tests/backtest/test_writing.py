"""Thresholds put into a configuration: only their lines change, comments stay, and what is not safe is refused."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from backtest.logs import TEXT
from modelwatch.backtest.writing import with_thresholds, write_thresholds
from modelwatch.config import load_config
from modelwatch.errors import ConfigError

PROPOSED = {"HighErrorRate": {"critical": 0.1, "warning": 0.04, "info": 0.01}, "MissingValues": {"warning": 0.075}}
ALERTS = TEXT.partition("    alerts:\n")[2]
HEAD = TEXT.partition("    alerts:\n")[0]
FORMS = {
    "one line": TEXT,
    "no alerts": HEAD,
    "no alerts, no last line": HEAD.rstrip("\n"),
    "levels by the line": f"{HEAD}    alerts:\n      HighErrorRate:\n        critical: 0.05  # pages\n        info: 0.01\n",
    "all in braces": f"{HEAD}    alerts: {{HighErrorRate: {{critical: 0.05}}, LatencyTrend: null}}\n",
    "empty": f"{HEAD}    alerts: {{}}\n",
    "another alert": f"{HEAD}    alerts:\n      # ours\n      LatencyTrend: null\n",
    "two models": TEXT
    + "  other:\n    version: '2'\n    task: regression\n    alerts: {HighErrorRate: {critical: 0.07}}\n",
    "of Windows": TEXT.replace("\n", "\r\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_only_thresholds_change(tmp_path: Path, form: str) -> None:
    """Whatever way they were written: every comment and line that has none of them stays, and they are what is read."""
    file, text = tmp_path / "modelwatch.yaml", FORMS[form]
    file.write_bytes(text.encode())
    file.chmod(0o640)
    write_thresholds(file, "churn", PROPOSED)
    new = file.read_bytes().decode()
    for line in text.splitlines():
        if not any(word in line for word in ("HighErrorRate", "critical", "alerts: {")):
            assert line in new.splitlines()
    for line in text.splitlines():
        assert line.partition("#")[2] in new
    assert new.count("\r\n") in (0, new.count("\n"))
    alerts = load_config(file).model("churn").alerts
    for name, levels in PROPOSED.items():
        thresholds = alerts[name]
        assert thresholds is not None
        assert {level: getattr(thresholds, level) for level in levels} == levels
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [file]


REFUSED = {
    "all in one line": "{service: {name: s}, models: {churn: {version: '1', task: regression}}}",
    "an anchor that others use": (
        "service: {name: s}\nmodels:\n  other:\n    version: '1'\n    task: regression\n"
        "    alerts: &ours {HighErrorRate: {critical: 0.05}}\n"
        "  churn:\n    version: '1'\n    task: regression\n    alerts: *ours\n"
    ),
    "a variable": f"{HEAD}    alerts: {{HighErrorRate: {{critical: '${{LIMIT}}'}}}}\n",
    "no value": f"{HEAD}    alerts:\n",
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_is_not_safe_is_refused(tmp_path: Path, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written; one line says what to write by hand."""
    monkeypatch.setenv("LIMIT", "0.05")
    file = tmp_path / "modelwatch.yaml"
    file.write_text(REFUSED[why])
    with pytest.raises(
        ConfigError, match=r"Write by hand, under models\.churn\.alerts: HighErrorRate: \{critical: 0\.1"
    ) as caught:
        write_thresholds(file, "churn", PROPOSED)
    assert "\n" not in str(caught.value)
    assert file.read_text() == REFUSED[why]
    assert list(tmp_path.iterdir()) == [file]


def test_thresholds_of_drift_in_two_places_are_refused(tmp_path: Path) -> None:
    """What is written under `drift:` would say something else."""
    file = tmp_path / "modelwatch.yaml"
    file.write_text(f"{HEAD}    drift: {{ks: {{warning: 0.16}}}}\n")
    with pytest.raises(ConfigError, match=r"thresholds are not written \(.*drift\.ks\.warning"):
        write_thresholds(file, "churn", {"DataDriftDetected": {"info": 0.1, "warning": 0.2, "critical": 0.25}})


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A line, and the file as it was; links are followed."""
    file, link = tmp_path / "real.yaml", tmp_path / "modelwatch.yaml"
    file.write_text(TEXT)
    link.symlink_to(file)
    write_thresholds(link, "churn", PROPOSED)
    assert link.is_symlink()
    assert "0.075" in file.read_text()
    assert with_thresholds(file.read_text(), "churn", PROPOSED) == file.read_text()  # again: nothing to change
