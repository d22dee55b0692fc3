"""What several tests need: binaries that must be there, free ports, scripts as modules."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def require(name: str) -> str:
    """Return the path of a program; where it is missing the test is skipped, and fails under CI."""
    found = shutil.which(name)
    if found is not None:
        return found
    packages = {"promtool": "prometheus", "amtool": "prometheus-alertmanager", "vmalert": "victoria-metrics"}
    package = packages.get(name, name)
    reason = f"{name} is not installed; run: apt-get install {package}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shared_data(name: str) -> Path:
    """Return a file of the public data sets that may lie beside the repository; the test is skipped without them."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not there: it is one of the public data sets, which are no part of the project")
    return path


def needed(name: str) -> Any:
    """Return a module of the dev extra; without it the test is skipped, and fails under CI."""
    try:
        return importlib.import_module(name)
    except ImportError:
        reason = f"{name} is not installed; run: pip install 'modelwatch[dev]'"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def script(path: str) -> ModuleType:
    """Return a script of the repository as a module."""
    file = Path(__file__).resolve().parents[1] / path
    spec = importlib.util.spec_from_file_location(f"script_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
