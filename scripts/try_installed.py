"""Tries an installed modelwatch from outside its checkout: try_installed.py core|server|demo, in an empty folder.

What is proved: it imports, counts and exposes a request; with the server its command runs and its pages have all they
are made of; with the demo it works for a few seconds.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = 'service: {name: api}\nmodels: {m: {version: "1", task: classification, classes: [a, b]}}\nlive: live.db\n'
DEMO_S = 60.0  # for the demo to answer
DATA = {
    "alerts": ("runbooks/HighErrorRate.md",),
    "server": ("templates/frame.html", "static/modelwatch.css", "static/modelwatch.js"),
    "demo": ("modelwatch.yaml", "reference.json", "reviews.csv"),
    "report": ("schema.json",),
}


def counted(folder: Path) -> None:
    """Count one request, and find it in the exposition."""
    from modelwatch import Monitor

    (folder / "modelwatch.yaml").write_text(CONFIG, encoding="utf-8")
    monitor = Monitor.from_config(folder / "modelwatch.yaml")
    with monitor.request("/predict") as request:
        request.predicted("a", confidence=0.9)
    assert monitor.flush(5), "the count was not committed"
    exposed = monitor.metrics().decode()
    monitor.close()
    line = next(line for line in exposed.splitlines() if line.startswith("ml_requests_total{"))
    assert line.endswith((" 1", " 1.0")), line


def installed() -> Path:
    """Return where the package is."""
    return Path(str(importlib.import_module("modelwatch").__file__)).resolve().parent


def complete() -> None:
    """Find the files that are no Python."""
    root = installed()
    assert Path(__file__).resolve().parents[1] not in root.parents or "build" in root.parts, f"{root} is the checkout"
    missing = [f"{part}/{name}" for part, names in DATA.items() for name in names if not (root / part / name).is_file()]
    assert not missing, f"the package lacks {missing}"


def run(*arguments: str, folder: Path) -> str:
    """Run the command; return what it says."""
    command = [sys.executable, "-m", "modelwatch", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"modelwatch {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def commands(folder: Path) -> None:
    """Ask for help, set up a folder, check its configuration and generate its rules."""
    assert "Usage" in run("--help", folder=folder)
    run("init", "--output", "new.yaml", folder=folder)
    assert (folder / "new.yaml").is_file()
    assert run("check", "modelwatch.yaml", folder=folder)
    run("generate", "out", "--only", "prometheus", folder=folder)
    assert any((folder / "out").rglob("*.yml")) or any((folder / "out").rglob("*.yaml"))


def demo(folder: Path) -> None:
    """Let the demo work until its page answers, and five seconds more."""
    import urllib.request

    command = [sys.executable, "-m", "modelwatch", "demo"]
    with (folder / "demo.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            end = time.monotonic() + DEMO_S
            while "http://" not in (folder / "demo.log").read_text(encoding="utf-8"):
                assert process.poll() is None and time.monotonic() < end, (folder / "demo.log").read_text("utf-8")
                time.sleep(0.2)
            said = (folder / "demo.log").read_text(encoding="utf-8")
            url = "http://" + said.split("http://", 1)[1].split()[0].strip("/.,")
            time.sleep(5)
            with urllib.request.urlopen(url, timeout=10) as answer:
                assert b"sentiment" in answer.read()
            assert process.poll() is None
        finally:
            process.terminate()
            process.wait(20)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        complete()
        counted(place)
        if sys.argv[1] != "core":
            commands(place)
        if sys.argv[1] == "demo":
            demo(place)
    print(f"{sys.argv[1]}: works")
