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

from modelwatch import names
from modelwatch.events import LabelCount
from modelwatch.exposition import GaugeValue, Page, Source
from modelwatch.kernel import Kernel
from modelwatch.reference import Reference
from modelwatch.referenceseries import inclusion_series, reference_series
from modelwatch.schema import ModelSchema
from modelwatch.signals import Facts, Look, Objectives, Reading, Signal
from modelwatch.signals.service import MINUTE_TABLES, availability_minute
from modelwatch.store.live import MINUTE, Key, Row
from modelwatch.store.reader import Changes
from modelwatch.store.windows import Windows
from modelwatch.tally import Tally
from modelwatch.testing import Prometheus, running_prometheus

STEP_S = 15
START = 1_700_000_040  # on a minute: windows of whole minutes and ranges of scrapes then cover the same time
MODEL, JOB, MONITOR = "replayed", "service", "monitor"

Events = Callable[[int, int, random.Random], list[tuple[Any, ...]]]  # (second, replica, chance) -> events of a step
Labels = Callable[[int, int, random.Random], list[LabelCount]]


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
    labels : what reviewers say in a step.
    reference : profile of the training data, exported by every replica.
    silent : {replica: (first second, last second) in which it does not answer}; it still counts, as one behind a broken
        network does.
    """

    def __init__(
        self,
        schema: ModelSchema,
        events: Events,
        seconds: int,
        versions: tuple[str, ...],
        restarts: Mapping[int, int],
        seed: int,
        *,
        labels: Labels = lambda _second, _replica, _chance: [],
        reference: Reference | None = None,
        silent: Mapping[int, tuple[int, int]] | None = None,
    ) -> None:
        self.schema, self.seconds, self.reference, self.versions = schema, seconds, reference, versions
        self.answers: dict[int, dict[str, bool]] = {}
        minutes = Tally(MINUTE_TABLES)  # counted by the monitor, of the replicas
        minutes_before = minutes.copy()
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
                for name in (names.LABELS.name, names.LABELS_BY_INCLUSION.name, names.FEATURE_CATEGORY.name):
                    for row in replicas[gone].kernel.tally.tables[name].rows:  # series do not end and begin again
                        fresh.tally.tables[name].row(row)
                # what the old process counted in this minute stays counted: live.db holds its rows
                uncommitted, before[gone] = replicas[gone].kernel.tally.minus(before[gone]), fresh.tally.copy()
                before[gone].add(uncommitted, -1)
                replicas[gone].kernel = fresh
            for i, replica in enumerate(replicas):
                happened = events(second, i, chance) if second else []
                if happened:
                    replica.kernel.fold(happened)
                said = labels(second, i, chance) if second else []
                if said:
                    replica.kernel.fold_labels(said)
                self._scrape(replica, START + second)
                if second and second % MINUTE == 0:
                    delta = replica.kernel.tally.minus(before[i])
                    start = START + second - MINUTE
                    self.rows[START + second].append(
                        Row(Key(MODEL, replica.version), start, MINUTE, f"{replica.name}", delta.dump())
                    )
                    before[i] = replica.kernel.tally.copy()
            absent = {i for i, (first, last) in (silent or {}).items() if first <= second <= last}
            answers = {replica.name: i not in absent for i, replica in enumerate(replicas)}
            for name, up in answers.items():
                self.samples["up"].append((START + second, f'instance="{name}",job="{JOB}"', float(up)))
            if second % MINUTE == 0:
                self.answers[START + second] = answers
            if second and second % MINUTE == 0:
                minutes.tables[names.SLICES.name].count(("availability", availability_minute(answers)))
                outcome = names.BAD if 50 * MINUTE < second <= 75 * MINUTE else names.GOOD
                minutes.tables[names.SLICES.name].count(("throughput", outcome))
                minutes.tables[names.REPLICA_SECONDS.name].count((), MINUTE * sum(answers.values()))
                start = START + second - MINUTE
                delta = minutes.minus(minutes_before)
                self.rows[START + second].append(Row(Key(MODEL, versions[-1]), start, MINUTE, MONITOR, delta.dump()))
                minutes_before = minutes.copy()
            self._show(MONITOR, [Source(MODEL, versions[-1], schema, minutes)], [], self._monitor, START + second)

    _monitor = Page()

    def _scrape(self, replica: Replica, at: int) -> None:
        model = (MODEL, replica.version)
        gauges = [GaugeValue(names.MODEL_INFO, 1, {"model_name": MODEL, "model_version": replica.version})]
        gauges += inclusion_series(*model, replica.kernel.tally)
        if self.reference is not None:
            gauges += reference_series(*model, self.reference)
        sources = [Source(*model, self.schema, replica.kernel.tally)]
        self._show(replica.name, sources, gauges, replica.page, at)

    def _show(self, instance: str, sources: list[Source], gauges: list[GaugeValue], page: Page, at: int) -> None:
        for line in page.render(sources, gauges).decode().splitlines():
            if line.startswith("#"):
                continue
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.rstrip("}").partition("{")
            self.samples[name].append((at, f'{labels}{"," if labels else ""}instance="{instance}"', float(value)))

    def openmetrics(self) -> Iterator[str]:
        """The scrapes as text that `promtool tsdb create-blocks-from openmetrics` reads."""
        for name, samples in self.samples.items():
            yield f"# TYPE {name} unknown\n"
            for at, labels, value in sorted(samples, key=lambda sample: (sample[1], sample[0])):
                yield f"{name}{{{labels}}} {value!r} {at}\n"
        yield "# EOF\n"

    def looks(self, windows_s: tuple[int, ...], objectives: Objectives) -> Iterator[tuple[int, Look]]:
        """Our side: (minute, what is known then); `windows_s` are the windows, and the offsets, that will be asked for."""
        windows = Windows(windows_s)
        for end in range(START + MINUTE, START + self.seconds + 1, MINUTE):
            windows.apply(Changes(again=False, rows=tuple(self.rows[end])), end, {})

            def window(version: str, began_s: float, ended_s: float) -> Tally:
                key = Key(MODEL, version)
                total = windows.sum(key, int(began_s)).copy()
                if ended_s:
                    total.add(windows.sum(key, int(ended_s)), -1)
                return total

            versions = dict.fromkeys(self.versions)
            references = {} if self.reference is None else dict.fromkeys(versions, self.reference)
            facts = Facts(self.answers[end], reporting=True, ages=dict.fromkeys(versions, float(end - START)))
            yield (
                end,
                Look(
                    MODEL,
                    end,
                    window,
                    dict.fromkeys(versions, self.schema),
                    objectives,
                    references=references,
                    facts=facts,
                ),
            )

    def readings(self, signal: Signal, window_s: int, objectives: Objectives) -> dict[int, list[Reading]]:
        """Our side: {minute: readings over all versions, or of each}."""
        return {
            end: readings_of(signal, look, window_s)
            for end, look in self.looks((window_s, 86_400, 86_400 + window_s), objectives)
        }


def readings_of(signal: Signal, look: Look, window_s: int) -> list[Reading]:
    """Return what a look reads of a signal."""
    counts = [look.counts(window_s, version=version) for version in (look.schemas if signal.by_version else [""])]
    return [reading for one in counts if one is not None for reading in signal.read(one)]


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
    known_s: int = 0,
) -> list[str]:
    """Compare a signal's values, samples and firing minutes on both sides; return what differs, in words.

    Minutes before the window is full, or `known_s` are over, are left out: Prometheus extrapolates there.
    """
    window = f"{window_s}s"
    expression = signal.promql("", window, objectives)
    assert expression is not None
    first, last = START + max(window_s, known_s), START + replay.seconds
    theirs = _by_labels(server.query_range(expression, first, last, MINUTE), signal)
    counted = _by_labels(server.query_range(signal.samples_promql("", window), first, last, MINUTE), signal)
    found = []
    compared = 0
    for at, readings in replay.readings(signal, window_s, objectives).items():
        if at < first:
            continue
        for reading in readings:
            key = tuple(reading.labels.values())
            value = theirs.get(key, {}).get(at)
            n = counted.get(key, counted.get((), {})).get(at, 0.0)
            where = f"{signal.name} {window} {key} at +{at - START}s"
            if reading.value is None:
                undefined = [
                    values[at] for labels, values in theirs.items() if at in values and labels[: len(key)] == key
                ]
                if undefined:
                    found.append(f"{where}: ours is undefined, theirs {undefined}")
            elif value is None or abs(value - reading.value) > tolerance * max(1.0, abs(reading.value)):
                found.append(f"{where}: ours {reading.value!r}, theirs {value!r}")
            if not signal.of_service and (reading.samples or n) and abs(n - reading.samples) > 1e-6:
                found.append(f"{where}: samples ours {reading.samples}, theirs {n}")
            fires = value is not None and reading.limit is not None and value > reading.limit and n >= signal.smallest
            if fires != (reading.outcome == "firing"):
                found.append(f"{where}: ours {reading.outcome}, theirs {'firing' if fires else 'not firing'}")
            compared += value is not None
    if not compared:
        found.append(f"{signal.name} {window}: nothing was compared")
    return found


def _by_labels(
    series: Mapping[tuple[tuple[str, str], ...], Mapping[float, float]], signal: Signal
) -> dict[tuple[str, ...], Mapping[float, float]]:
    found = {}
    for labels, values in series.items():
        named = dict(labels)
        assert named.pop("model_name", MODEL) == MODEL
        found[tuple(named[name] for name in signal.labels if name in named)] = values
    return found
