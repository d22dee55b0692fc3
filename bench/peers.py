"""Peers that are only ever measured: each in an environment of its own that is made on demand, and in no extra of ours."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.harness import ROOT

INSTALL_S = 900.0


def environment(requirement: str, *beside: str) -> tuple[Path | None, str]:
    """Return the Python that has a peer, made where it is not there yet; or None and why not.

    beside : what it needs and does not ask for.
    """
    folder = ROOT / ".bench" / requirement
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (folder / "installed").exists():
        return python, ""
    print(f"bench: installing {requirement} into an environment of its own", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement, *beside]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        return None, f"{requirement} was not installed within {INSTALL_S:g} s"
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "pip failed")
        return None, f"{requirement}: {last.removeprefix('ERROR: ')}"
    (folder / "installed").touch()
    return python, ""


@contextmanager
def asked(python: Path, script: str) -> Iterator[Callable[[float], float]]:
    """Run a script of this folder in an environment; yields what sends it a number and returns the one it answers."""
    command = [str(python), "-I", str(ROOT / "bench" / script)]  # -I: bench/http.py is not that of Python
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        lines, answers = process.stdin, process.stdout

        def ask(number: float) -> float:
            lines.write(f"{number}\n")
            lines.flush()
            answer = answers.readline()
            if not answer:
                raise AssertionError(f"{script} has ended with {process.wait()}")
            return float(json.loads(answer))

        try:
            yield ask
        finally:
            lines.close()
