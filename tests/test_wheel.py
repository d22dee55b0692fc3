"""The wheel, as a user gets it: complete, and it works away from the checkout. `make compat` tries more of it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support import needed

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it from the checkout, without the network."""
    needed("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (made,) = folder.glob("*.whl")
    return made


def test_a_wheel_has_all_that_the_checkout_has(wheel: Path) -> None:
    """Every file of the package, those that are no Python too, and nothing that was made by running it."""
    with zipfile.ZipFile(wheel) as packed:
        names = {name for name in packed.namelist() if name.startswith("modelwatch/")}
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no git checkout, so that nobody knows what belongs to it")
    there = {name.removeprefix("src/") for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    assert there <= names
    assert not [name for name in names if name.endswith((".pyc", ".db")) or "__pycache__" in name]


@pytest.mark.timeout(180)
def test_a_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Imported from the wheel, with the dependencies there are: it counts, and its commands find what they need."""
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    command = [sys.executable, str(ROOT / "scripts" / "try_installed.py"), "server"]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=150, check=False)
    assert (done.returncode, done.stdout) == (0, "server: works\n"), done.stderr
