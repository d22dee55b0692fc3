"""The differential harness: the same counts through our windows and signals, and through a real Prometheus; every value must agree.

Counts are replayed as scrapes every 15 seconds with timestamps in the past, which Prometheus imports, so hours take no time.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from modelwatch.exposition import Page, Source
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema
from modelwatch.signals import Counts, Objectives, Reading, Signal
from modelwatch.store.live import MINUTE, Key, Row
from modelwatch.store.reader import Changes
from modelwatch.store.windows import Windows
from modelwatch.testing import Prometheus, running_prometheus

STEP_S = 15
START = 1_700_000_040  # on a minute: windows of whole minutes and ranges of scrapes then cover the same time
MODEL = "replayed"

Events = Callable[[int, int, random.Random], list[tuple[Any, ...]]]  # (second, replica, chance) -> events of a step


@dataclass
class Replica:
    """One instance that is scraped: its counts since its last restart."""

    name: str
    version: str
    kernel: Kernel
    page: Page


class Replay:
    """Runs events through the kernel, step by step, for both sides.

    Parameters
    ----------
    schema : of every replica.
    events : what happens in a step.
    seconds : length, a multiple of 60.
    versions : of each replica.
    restarts : {second: replica that begins again at 0}.
    """

    def __init__(
        self,
        schema: ModelSchema,
        events: Events,
        seconds: int,
        versions: tuple[str, ...],
        restarts: Mapping[int, int],
        seed: int,
    ) -> None:
        self.schema, self.seconds = schema, seconds
        self.samples: dict[str, list[tuple[int, str, float]]] = defaultdict(list)  # name -> (time, labels, value)
        self.rows: dict[int, list[Row]] = defaultdict(list)  # end of the minute -> rows
        chance = random.Random(seed)  # noqa: S311
        replicas = [Replica(f"r{i}", version, Kernel(schema), Page()) for i, version in enumerate(versions)]
        for replica in replicas:
            replica.kernel.know_endpoint("/predict")
            replica.kernel.know_endpoint("/batch")
        before = [replica.kernel.tally.copy() for replica in replicas]
        for second in range(0, seconds + STEP_S, STEP_S):
            if second in restarts:
                gone = restarts[second]
                fresh = Kernel(schema)
                fresh.know_endpoint("/predict")
                fresh.know_endpoint("/batch")
                # what the old process counted in this minute stays counted: live.db holds its rows
                uncommitted, before[gone] = replicas[gone].kernel.tally.minus(before[gone]), fresh.tally.copy()
                before[gone].add(uncommitted, -1)
                replicas[gone].kernel = fresh
            for i, replica in enumerate(replicas):
                happened = events(second, i, chance) if second else []
                if happened:
                    replica.kernel.fold(happened)
                self._scrape(replica, START + second)
                if second and second % MINUTE == 0:
                    delta = replica.kernel.tally.minus(before[i])
                    start = START + second - MINUTE
                    self.rows[START + second].append(
                        Row(Key(MODEL, replica.version), start, MINUTE, f"{replica.name}", delta.dump())
                    )
                    before[i] = replica.kernel.tally.copy()

    def _scrape(self, replica: Replica, at: int) -> None:
        text = replica.page.render([Source(MODEL, replica.version, self.schema, replica.kernel.tally)]).decode()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = ",".join(f'{k}="{v}"' for k, v in sorted({**sample.labels, "instance": replica.name}.items()))
                self.samples[sample.name].append((at, labels, sample.value))

    def openmetrics(self) -> Iterator[str]:
        """The scrapes as text that `promtool tsdb create-blocks-from openmetrics` reads."""
        for name, samples in self.samples.items():
            yield f"# TYPE {name} unknown\n"
            for at, labels, value in sorted(samples, key=lambda sample: (sample[1], sample[0])):
                yield f"{name}{{{labels}}} {value!r} {at}\n"
        yield "# EOF\n"

    def readings(self, signal: Signal, window_s: int, objectives: Objectives) -> dict[int, list[Reading]]:
        """Our side: {minute: readings over all versions}."""
        windows = Windows((window_s,))
        found = {}
        for end in range(START + MINUTE, START + self.seconds + 1, MINUTE):
            windows.apply(Changes(again=False, rows=tuple(self.rows[end])), end, {})
            total = self.schema.empty()
            for key in windows.keys():
                total.add(windows.sum(key, window_s))
            found[end] = signal.read(Counts(total, self.schema, window_s, objectives))
        return found


@contextlib.contextmanager
def prometheus_of(replay: Replay, folder: Path, promtool: str) -> Iterator[Prometheus]:
    """Import a replay and serve it."""
    text = folder / "replay.om"
    text.write_text("".join(replay.openmetrics()))
    (folder / "data").mkdir()
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", str(text), str(folder / "data")]
    subprocess.run(command, check=True, capture_output=True)
    with running_prometheus(folder) as server:
        yield server


def differences(
    replay: Replay,
    server: Prometheus,
    signal: Signal,
    window_s: int,
    objectives: Objectives,
    *,
    tolerance: float = 1e-9,
) -> list[str]:
    """Compare a signal's values, samples and firing minutes on both sides; return what differs, in words.

    Minutes before the window is full are left out: Prometheus extrapolates there.
    """
    window = f"{window_s}s"
    expression = signal.promql("", window, objectives)
    assert expression is not None
    first, last = START + window_s, START + replay.seconds
    theirs = _by_labels(server.query_range(expression, first, last, MINUTE), signal)
    samples = {
        at: n
        for values in server.query_range(signal.samples_promql("", window), first, last, MINUTE).values()
        for at, n in values.items()
    }
    found = []
    compared = 0
    for at, readings in replay.readings(signal, window_s, objectives).items():
        if at < first:
            continue
        for reading in readings:
            key = tuple(reading.labels.values())
            value = theirs.get(key, {}).get(at)
            where = f"{signal.name} {window} {key} at +{at - START}s"
            if reading.value is None:
                undefined = [values[at] for values in theirs.values() if at in values]
                if undefined:
                    found.append(f"{where}: ours is undefined, theirs {undefined}")
            elif value is None or abs(value - reading.value) > tolerance * max(1.0, abs(reading.value)):
                found.append(f"{where}: ours {reading.value!r}, theirs {value!r}")
            if abs(samples.get(at, 0.0) - reading.samples) > 1e-6:
                found.append(f"{where}: samples ours {reading.samples}, theirs {samples.get(at)}")
            fires = (
                value is not None
                and reading.limit is not None
                and value > reading.limit
                and samples.get(at, 0) >= signal.smallest
            )
            if fires != (reading.outcome == "firing"):
                found.append(f"{where}: ours {reading.outcome}, theirs {'firing' if fires else 'not firing'}")
            compared += 1
    if not compared:
        found.append(f"{signal.name} {window}: nothing was compared")
    return found


def _by_labels(
    series: Mapping[tuple[tuple[str, str], ...], Mapping[float, float]], signal: Signal
) -> dict[tuple[str, ...], Mapping[float, float]]:
    found = {}
    for labels, values in series.items():
        named = dict(labels)
        assert named.pop("model_name") == MODEL
        found[tuple(named[name] for name in signal.labels)] = values
    return found
