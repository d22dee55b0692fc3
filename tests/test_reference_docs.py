"""docs/reference/ says what the code says: commands, configuration, metrics, signals, the Python API."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

import support

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that makes the pages."""
    return support.script("scripts/reference.py")


def test_the_pages_are_what_the_code_says(script: ModuleType, request: pytest.FixtureRequest) -> None:
    """Each page equals what the script makes of the code; `--update-golden` writes them anew."""
    if request.config.getoption("--update-golden"):
        assert script.main([]) == 0
    stale = [path.name for path, text in script.pages().items() if not path.exists() or path.read_text("utf-8") != text]
    assert not stale, "run `make docs`"


def test_nothing_public_is_left_out(script: ModuleType) -> None:
    """Every command, metric, alerting signal, section of the configuration and public name is on its page."""
    from modelwatch import __all__ as public
    from modelwatch.signals import ALERTING

    pages = {path.stem: text for path, text in script.pages().items()}
    for command in ("init", "check", "doctor", "demo", "status", "slo", "alerts", "serve", "generate", "label export"):
        assert f"## modelwatch {command}\n" in pages["commands"]
    for name in ALERTING:
        assert f"## {name}\n" in pages["signals"]
    for name in ("ml_requests_total", "ml_feature_reference_cdf", "modelwatch_labels_total"):
        assert f"| `{name}` |" in pages["metrics"]
    for section in ("models.NAME.drift.ks", "models.NAME.slos.latency", "alerting.receivers.NAME", "alerting.routes"):
        assert f"## {section}\n" in pages["configuration"]
    for name in public:
        assert name == "__version__" or f"### {name}\n" in pages["api"]


def test_pages_hold_nothing_of_this_machine(script: ModuleType) -> None:
    """No address of an object, no path of a home folder: the pages are the same wherever they are made."""
    for path, text in script.pages().items():
        assert "0x" not in text, path
        assert str(ROOT) not in text, path
