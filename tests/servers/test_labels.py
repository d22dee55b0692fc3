"""Four real workers: a prediction on one, its label on another, and an accuracy that is the truth."""

from __future__ import annotations

import http.client
import json
import os
import random
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelwatch.config import load_config
from modelwatch.sources.quality import QualitySource
from modelwatch.testing import running_service

CONFIG = """
service: {name: api}
models:
  m: {version: "1", task: classification, classes: [a, b], segment: category, ground_truth: {sampling_rate: 1.0}}
store: sqlite:///truth.db
live: live.db
"""


class Caller:
    """Asks over a connection that stays with one worker."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.pid = int(self.ask("GET", "/whoami"))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer."""
        self._connection.request(method, path, None if body is None else json.dumps(body))
        return json.loads(self._connection.getresponse().read())


@pytest.fixture
def callers(port: int) -> Iterator[list[Caller]]:
    """Connections to at least two workers."""
    deadline, found = time.monotonic() + 20, list[Caller]()
    while len({caller.pid for caller in found}) < 2 or len(found) < 6:
        assert time.monotonic() < deadline, "one worker answers everything"
        found.append(Caller(port))
    yield found
    for caller in found:
        caller.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the configuration."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def port(folder: Path) -> Iterator[int]:
    """The port of the service with four workers."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {"REVIEWED_CONFIG": str(folder / "modelwatch.yaml"), "PYTHONPATH": path}
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "reviewed:app",
        "--port",
        "{port}",
        "--workers",
        "4",
        "--timeout-keep-alive",
        "120",
        "--log-level",
        "error",
    ]
    with running_service(command, environment=environment) as service:
        yield service.port


def test_labels_on_other_workers(folder: Path, port: int, callers: list[Caller]) -> None:
    """150 predictions and their labels, each at another worker; twice, wrongly and for made-up ids, too.

    The counts, the view of the store and its segments are the truth, to the last one.
    """
    chance, sent = random.Random(3), list[tuple[str, str, str, str, int]]()
    for i in range(150):
        caller = chance.choice(callers)
        answer, segment = chance.choice("ab"), f"s{i % 3}"
        told = caller.ask("GET", f"/predict?answer={answer}&segment={segment}")
        sent.append((told["id"], answer, chance.choice("ab"), segment, caller.pid))
    elsewhere, states = 0, Counter[str]()
    for request_id, _, label, _, pid in sent:
        caller = chance.choice([one for one in callers if one.pid != pid])
        elsewhere += caller.pid != pid
        said = {"request_id": request_id, "true_label": label, "reviewer": "ann"}
        states[caller.ask("POST", "/feedback", said)["state"]] += 1
        if chance.random() < 0.2:
            states[chance.choice(callers).ask("POST", "/feedback", said)["state"]] += 1
    for _ in range(50):
        made_up = {"request_id": chance.randbytes(36).hex(), "true_label": "a"}
        states[chance.choice(callers).ask("POST", "/feedback", made_up)["state"]] += 1
    assert elsewhere == 150
    assert (states["matched"], states["unknown_id"]) == (150, 50)
    assert sum(states.values()) - 200 == states["duplicate"] > 0
    truth = Counter((segment, "correct" if answer == label else "wrong") for _, answer, label, segment, _ in sent)
    time.sleep(2)
    with_labels: Counter[tuple[str, str]] = Counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answered:
        page = answered.read().decode()
    for line in page.splitlines():
        if line.startswith("ml_labels_total{"):
            names = dict(part.split("=") for part in line[line.index("{") + 1 : line.index("}")].split(","))
            with_labels[names["segment"].strip('"'), names["outcome"].strip('"')] = int(line.split()[-1])
    assert with_labels == truth
    source = QualitySource.from_config(load_config(folder / "modelwatch.yaml"))
    assert source
    found = source.read("m")
    assert found
    view = found["views"]["last"][-1]
    source.close()
    right = sum(n for (_, outcome), n in truth.items() if outcome == "correct")
    assert (view["n"], view["accuracy"]["right"], view["accuracy"]["value"]) == (150, right, right / 150)
    assert {s["name"]: (s["n"], s["right"]) for s in view["segments"]} == {
        name: (truth[name, "correct"] + truth[name, "wrong"], truth[name, "correct"]) for name in ("s0", "s1", "s2")
    }
