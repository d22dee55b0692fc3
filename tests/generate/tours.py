"""The demo on real Prometheus and Alertmanager, with receivers that keep what they are told: what its tests share."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelwatch.testing.forms import PAGERDUTY, SLACK
from modelwatch.testing.receivers import Receiver, running_receiver
from modelwatch.testing.servers import Prometheus
from support import free_port, require

ALERTING = """
alerting:
  receivers:
    oncall: {{pagerduty: {{routing_key: "${{TOUR_KEY}}", url: "{base}/pagerduty"}}}}
    team: {{slack: "${{TOUR_SLACK}}"}}
    alive: {{webhook: "{base}/alive"}}
  routes: {{critical: [oncall, team], warning: [team], info: [team]}}
  deadman: alive
"""
SEED = "3"


@dataclass
class Tour:
    """A demo that runs on the stack."""

    folder: Path
    url: str
    web: Receiver
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def prometheus(self) -> Prometheus:
        """Its Prometheus."""
        (line,) = (each for each in self.lines if each.startswith("prometheus "))
        return Prometheus(line.split()[1].removesuffix("/alerts"))

    def pages(self, *words: str) -> list[float]:
        """Return when events that have these words came in the form of PagerDuty."""
        return self._told("/pagerduty", words, PAGERDUTY.faults)

    def messages(self, *words: str) -> list[float]:
        """Return when messages that have these words came in the form of Slack."""
        return self._told("/slack", words, SLACK.faults)

    def beats(self) -> list[float]:
        """Return when Watchdog came to the dead-man's receiver."""
        return self._told("/alive", ("Watchdog", "firing"), lambda body: {"alerts", "status", "receiver"} - set(body))

    def _told(self, path: str, words: tuple[str, ...], faults: Callable[[Any], Collection[str]]) -> list[float]:
        found = []
        for each in list(self.web.requests):
            text = json.dumps(each.body)
            if each.path.startswith(path) and all(word in text for word in words):
                assert not faults(each.body), f"{path} got another form, {faults(each.body)}: {text[:300]}"
                found.append(each.at)
        return found

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 60.0) -> float:
        """Wait for something; return when it was seen. It fails in the words of `what`."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what} within {seconds:g} s"
            assert self.process.poll() is None, "the demo ended"
            time.sleep(0.25)
        return time.monotonic()

    def answers(self) -> bool:
        """Tell whether the service answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
            return True
        return False

    def stop_prometheus(self) -> float:
        """End the Prometheus; return when."""
        pid, _ = json.loads((self.folder / "stack" / "processes.json").read_text())["prometheus"]
        os.kill(pid, signal.SIGTERM)
        return time.monotonic()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of modelwatch with the configuration of the demo."""
        told = [sys.executable, "-m", "modelwatch", *arguments, "--config", str(self.folder / "modelwatch.yaml")]
        return subprocess.run(told, capture_output=True, text=True, timeout=60)


@contextlib.contextmanager
def touring(folder: Path, incident: str, seconds: float, time_scale: float) -> Iterator[Tour]:
    """Run the demo with an incident on the stack until the block ends."""
    require("prometheus")
    require("prometheus-alertmanager")
    with running_receiver() as web:
        (folder / "alerting.yaml").write_text(ALERTING.format(base=web.url))
        port = free_port()
        command = [
            sys.executable, "-m", "modelwatch", "demo", "--stack", "--alerting", str(folder / "alerting.yaml"),
            "--incident", incident, "--seconds", f"{seconds:g}", "--port", str(port), "--data", str(folder),
            "--seed", SEED, "--time-scale", f"{time_scale:g}",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "TOUR_KEY": "routing-key",
            "TOUR_SLACK": f"{web.url}/slack",
            "PYTHONUNBUFFERED": "1",
        }
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        tour = Tour(folder, f"http://127.0.0.1:{port}", web, process)
        try:
            assert process.stdout is not None
            while not tour.lines or "Runs for" not in tour.lines[-1]:
                line = process.stdout.readline()
                assert line, "the demo ended"
                tour.lines.append(line)
            yield tour
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def shortest_window_s(rules: Path) -> float:
    """Return the shortest range that a rule looks at, in seconds."""
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
    text = "".join(path.read_text() for path in rules.glob("*.yml"))
    return min(float(n) * units[unit] for n, unit in re.findall(r"\[(\d+)(ms|s|m|h|d)[\]:]", text))
