"""The demo on the real stack: Prometheus, Alertmanager and `modelwatch serve` run beside it, from its configuration."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from modelwatch import stack
from modelwatch.errors import ModelwatchError, fault

STACK_CONFIG, STATE = "stack.yaml", "stack"
READY_S, STOP_S = 30.0, 10.0


class OnStack(NamedTuple):
    """Where the parts answer, and the directory in which `modelwatch stack` finds them."""

    state: Path
    config: Path
    prometheus: str
    alertmanager: str
    pages: str


@contextlib.contextmanager
def on_stack(
    config: Path, free_port: Callable[[int], int], *, alerting: Path | None = None, say: Callable[[str], object] = print
) -> Iterator[OnStack]:
    """Run the stack of a configuration until the block ends; the rules alert, `serve` only asks, counts and shows.

    Parameters
    ----------
    config : of the demo; its folder takes the files of the stack.
    free_port : from a wanted port, or 0, to one that can be used; raises where it is taken.
    alerting : a file that has the section `alerting`: whom Alertmanager tells; None: nobody.

    Raises
    ------
    MissingExtra   Prometheus or Alertmanager is not on the PATH.
    ModelwatchError   a part does not start, or `alerting` cannot be read.
    """
    folder = config.parent
    told = folder / STACK_CONFIG
    told.write_text(config.read_text("utf-8") + _section(alerting), encoding="utf-8")
    ports = {name: _port(free_port, wanted) for name, wanted in stack.PORTS.items()}
    pages = free_port(0)
    url, state = f"http://127.0.0.1:{pages}", folder / STATE
    command = [sys.executable, "-m", "modelwatch", "serve", "--config", str(config), "--port", str(pages)]
    with (folder / "serve.log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        _await(server, url, folder / "serve.log")
        stack.up(told, state, say=lambda _line: None, docker=False, ports=ports, pages=f"127.0.0.1:{pages}")
        at = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        found = OnStack(state, told, at["prometheus"], at["alertmanager"], url)
        say(f"prometheus {found.prometheus}/alerts")
        say(f"alerts to  {found.alertmanager}")
        say(f"pages      {found.pages}/")
        yield found
    finally:
        stack.down(state)
        server.terminate()
        try:
            server.wait(STOP_S)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _port(free_port: Callable[[int], int], wanted: int) -> int:
    """Return the usual port, or another where somebody has it."""
    try:
        return free_port(wanted)
    except ModelwatchError:
        return free_port(0)


def _section(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        remedy = "Give a YAML file with `alerting:` and its receivers."
        raise ModelwatchError(fault("--alerting", "file", str(path), "a file that can be read", remedy)) from None
    if not re.search(r"(?m)^alerting:", text):
        remedy = "Begin it with `alerting:`, as in modelwatch.yaml."
        raise ModelwatchError(fault("--alerting", "file", str(path), "the section `alerting`", remedy))
    return f"\n{text}"


def _await(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and server.poll() is None:
        with (
            contextlib.suppress(OSError, urllib.error.URLError),
            urllib.request.urlopen(f"{url}/healthz", timeout=2),  # noqa: S310 - a server of our own
        ):
            return
        time.sleep(0.2)
    said = (log.read_text("utf-8", errors="replace").strip().splitlines() or ["nothing"])[-1]
    raise ModelwatchError(fault("demo", "modelwatch serve", said, "a server that gets ready", f"See {log.name}."))
