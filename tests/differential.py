"""The differential harness: the same counts through our windows and signals, and through a real Prometheus; every value must agree.

Counts are replayed as scrapes every 15 seconds with timestamps in the past, which Prometheus imports, so hours take no time.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import subprocess
import time
import urllib.parse
import urllib.request
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


class Prometheus:
    """A real server over imported blocks."""

    def __init__(self, url: str) -> None:
        self.url = url

    def range(self, expression: str, start: int, end: int) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
        """Evaluate an expression every minute: {labels: {time: value}}."""
        arguments = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": MINUTE})
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range?{arguments}", timeout=30) as answer:  # noqa: S310
            result = json.load(answer)["data"]["result"]
        return {
            tuple(sorted(series["metric"].items())): {int(at): float(value) for at, value in series["values"]}
            for series in result
        }


@contextlib.contextmanager
def prometheus_of(replay: Replay, folder: Path, prometheus: str, promtool: str) -> Iterator[Prometheus]:
    """Import a replay and serve it."""
    text, data, config = folder / "replay.om", folder / "data", folder / "prometheus.yml"
    text.write_text("".join(replay.openmetrics()))
    data.mkdir()
    config.write_text("global: {}\n")
    subprocess.run(
        [promtool, "tsdb", "create-blocks-from", "openmetrics", "-q", text, data], check=True, capture_output=True
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        prometheus, f"--config.file={config}", f"--storage.tsdb.path={data}", "--storage.tsdb.retention.time=50y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    server = subprocess.Popen(command)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"{url}/-/ready", timeout=2):  # noqa: S310
                    break
            except OSError:
                if time.monotonic() > deadline or server.poll() is not None:
                    raise
                time.sleep(0.1)
        yield Prometheus(url)
    finally:
        server.terminate()
        server.wait(10)


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
    theirs = _by_labels(server.range(expression, first, last), signal)
    samples = {
        at: n
        for values in server.range(signal.samples_promql("", window), first, last).values()
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
    series: Mapping[tuple[tuple[str, str], ...], Mapping[int, float]], signal: Signal
) -> dict[tuple[str, ...], Mapping[int, float]]:
    found = {}
    for labels, values in series.items():
        named = dict(labels)
        assert named.pop("model_name") == MODEL
        found[tuple(named[name] for name in signal.labels)] = values
    return found
