"""`modelwatch serve` on a clock of its own, beside a worker that counts what a test makes happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alerts.life import REFERENCE, SCHEMA
from counting import commit, worker_at
from modelwatch.config import load_config
from modelwatch.events import LabelCount
from modelwatch.record.worker import Worker
from modelwatch.serve.run import Parts
from modelwatch.store.live import Key
from modelwatch.testing import FakeClock

URL = "http://127.0.0.1:9/healthz"
CONFIG = f"""
service: {{name: api, health_url: "{URL}", replicas: 2}}
models:
  sentiment:
    version: "1"
    task: classification
    classes: [negative, neutral, positive]
    features: {{length: numeric, stars: numeric, language: categorical}}
    reference: reference.json
    slos:
      error_rate: {{objective: 0.99}}
      availability: {{objective: 0.5}}
      cost: {{objective: 0.05, hourly: 1.20}}
      latency: {{threshold: 500ms, objective: 0.9}}
      throughput: {{objective: 10}}
store: sqlite:///truth.db
"""
START = 1_700_000_040.0


class House:
    """A folder with a configuration, a worker of the service, and any number of `serve` beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, FakeClock(wall=START)
        self.answers = True
        self.write(CONFIG)
        (folder / "reference.json").write_text(REFERENCE.to_json())
        self.worker: Worker = worker_at(folder / "live.db", self.clock, Key("sentiment", "1"), SCHEMA)
        self._made: list[Parts] = []

    def write(self, config: str) -> None:
        """Write the configuration."""
        (self.folder / "modelwatch.yaml").write_text(config)

    def serve(self, *, pages_only: bool = False) -> Parts:
        """Return the parts of another `serve`; the test does their rounds."""
        config = load_config(self.folder / "modelwatch.yaml")
        parts = Parts.of(config, clock=self.clock, ask=lambda _: self.answers, pages_only=pages_only)
        parts.store.database.busy_s = 0.1
        self._made.append(parts)
        return parts

    def happen(self, *events: tuple[object, ...], labels: tuple[LabelCount, ...] = ()) -> None:
        """Let the service count."""
        recorder = self.worker.recorders[Key("sentiment", "1")]
        for event in events:
            recorder.put(event)
        recorder.labels.extend(labels)
        assert commit(self.worker)

    def rounds(self, parts: Parts, n: int, then: Callable[[], bool] = lambda: False) -> bool:
        """Ask, evaluate and wait 15 seconds, up to n times; return whether `then` became true."""
        for _ in range(n):
            commit(self.worker)
            parts.prober.ask()
            assert parts.evaluator.round(), parts.evaluator.why_not
            if then():
                return True
            self.clock.advance(15)
        return False

    def close(self) -> None:
        """Close every `serve`."""
        for parts in self._made:
            parts.evaluator.minutes.close()
            if parts.reviews is not None:
                parts.reviews.close()
            parts.looks.close()
            parts.status.close()
            parts.store.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Return a house, closed after the test."""
    made = House(tmp_path)
    yield made
    made.close()


def firing(parts: Parts) -> set[tuple[str, str]]:
    """Return (name, severity) of the alerts that somebody should be told of."""
    found = parts.evaluator.found.values()
    return {(verdict.rule.name, verdict.rule.severity) for one in found for verdict in one.evaluation.firing}
