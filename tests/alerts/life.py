"""A model minute by minute: what happens goes into rows of workers, windows, looks and evaluations; no clock, no disk."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelwatch import names
from modelwatch.alerts import AlertState, Evaluation, Rule, dumped, evaluate, loaded
from modelwatch.events import LabelCount
from modelwatch.kernel import Kernel
from modelwatch.reference import CategoricalProfile, NumericProfile, NumericSums, Reference, profile_numeric
from modelwatch.schema import CONFIDENCE_EDGES, FINE_CONFIDENCE_EDGES, ModelSchema, latency_edges
from modelwatch.signals import Facts, Look, Objectives
from modelwatch.signals.service import MINUTE_TABLES
from modelwatch.store.live import MINUTE, Key, Row
from modelwatch.store.reader import Changes
from modelwatch.store.windows import Windows
from modelwatch.tally import Tally

START = 1_700_000_040
MODEL = "sentiment"
DAY = 86_400


@dataclass(frozen=True)
class Minute:
    """What happens in one minute.

    events, labels : of the service.  slices : {(objective, outcome): minutes}.  replica_s : seconds of replicas.
    answers : of the replicas.  reporting : whether the service renews its counts.  faults : internal errors.
    """

    events: Sequence[tuple[Any, ...]] = ()
    labels: Sequence[LabelCount] = ()
    slices: Mapping[tuple[str, str], int] = field(default_factory=dict)
    replica_s: int = 0
    answers: Mapping[str, bool] = field(default_factory=dict)
    reporting: bool | None = True
    faults: int = 0


def reference_of(chance: random.Random) -> Reference:
    """Return a profile of 5 000 rows: two numbers, a category, classes and confidences."""
    confidence = NumericSums(np.array(FINE_CONFIDENCE_EDGES))
    confidence.add(np.array([0.5 + 0.5 * chance.random() for _ in range(5000)]))
    length = profile_numeric([chance.gauss(100, 20) for _ in range(5000)])
    return Reference(
        {
            "length": NumericProfile(length.edges, length.exported, length.counts, invalid={"missing": 50}),
            "stars": profile_numeric([float(chance.randrange(1, 6)) for _ in range(5000)]),
        },
        {"language": CategoricalProfile({"en": 4000, "de": 900, "fr": 100})},
        5000,
        CategoricalProfile({"negative": 2000, "neutral": 500, "positive": 2500}),
        confidence.profile(CONFIDENCE_EDGES),
    )


REFERENCE = reference_of(random.Random(1))
SCHEMA = ModelSchema(
    latency=latency_edges([0.5]),
    classes=("negative", "neutral", "positive"),
    numeric={name: (profile.edges, profile.exported) for name, profile in REFERENCE.numeric.items()},
    categorical={"language": ("en", "de", "fr")},
    reviewed=True,
)


def requests(
    n: int,
    *,
    seed: int = 0,
    failed: int = 0,
    slow: int = 0,
    slow_s: float = 2.5,
    endpoint: str = "/predict",
    shift: float = 0.0,
    missing: float = 0.0,
    languages: Sequence[float] = (0.8, 0.18, 0.02),
    classes: Sequence[float] = (0.4, 0.1, 0.5),
    low: float = 0.4,
    error: str = "TimeoutError",
) -> list[tuple[Any, ...]]:
    """Return n requests; the first `failed` fail, the last `slow` take `slow_s`. `low`: share of low confidence."""
    chance = random.Random(seed)
    events = []
    for i in range(n):
        features = {
            "length": None if chance.random() < missing else chance.gauss(100 + shift, 20),
            "stars": float(chance.randrange(1, 6)),
            "language": chance.choices(("en", "de", "fr"), languages)[0],
        }
        answer = chance.choices(("negative", "neutral", "positive"), classes)[0]
        confidence = 0.5 + 0.2 * chance.random() if chance.random() < low else 0.7 + 0.3 * chance.random()
        duration = slow_s if i >= n - slow else 0.05
        name = error if i < failed else None
        events.append((endpoint, duration, name, "books", None if name else answer, confidence, features))
    return events


def labels(right: int, wrong: int, segment: str | None = "books", kept: int = 0) -> list[LabelCount]:
    """Return labels of predictions that were kept with a probability of 0.1."""
    found = [LabelCount("matched", segment, 0.1, True)] * right + [LabelCount("matched", segment, 0.1, False)] * wrong
    return [*found, LabelCount(kept=kept)] if kept else found


class Life:
    """A model that lives: each minute is counted by the worker that is alive, and evaluated.

    Parameters
    ----------
    rules : those of interest.
    objectives : of the model.
    version : of what runs; `deploy` changes it.
    """

    def __init__(self, rules: Sequence[Rule], objectives: Objectives, version: str = "1") -> None:
        self.rules, self.objectives, self.version = list(rules), objectives, version
        spans = {pair for rule in self.rules for pair in rule.windows()}
        seconds = {int(s) for window, offset in spans for s in (window + offset, offset) if s}
        seconds |= {int(window) + DAY for window, _ in spans if window <= 3600}
        self.windows = Windows(tuple(sorted(seconds | {DAY, DAY + 3600, 3600, 7200, 3900})))
        self.states: Mapping[str, AlertState] = {}
        self.now, self.workers = float(START), 1
        self.began: dict[str, float] = {version: self.now - 10 * DAY}
        self.evaluation = Evaluation((), {})
        self.look: Look | None = None
        self.reference: Reference | None = REFERENCE
        self.schema = SCHEMA

    def restart(self) -> None:
        """Kill the worker and the monitor: counts go on in rows of another one, states come back from where they are kept."""
        self.workers += 1
        self.states = loaded(dumped(self.states))

    def deploy(self, version: str) -> None:
        """Start another version."""
        self.workers += 1
        self.version = version
        self.began[version] = self.now

    def pass_time(self, seconds: float) -> None:
        """Let time pass in which nobody looks."""
        self.now += seconds

    def live(self, minute: Minute) -> Evaluation:
        """Let one minute happen, and evaluate at its end."""
        kernel = Kernel(self.schema)
        if minute.events:
            kernel.fold(list(minute.events))
        if minute.labels:
            kernel.fold_labels(list(minute.labels))
        tally = kernel.tally
        if minute.faults:
            tally.tables[names.INTERNAL_ERRORS.name].count(("fold",), minute.faults)
        tally.add(Tally(MINUTE_TABLES))
        for (slo, outcome), n in minute.slices.items():
            tally.tables[names.SLICES.name].count((slo, outcome), n)
        if minute.replica_s:
            tally.tables[names.REPLICA_SECONDS.name].count((), minute.replica_s)
        row = Row(Key(MODEL, self.version), int(self.now), MINUTE, f"w{self.workers}", tally.dump())
        self.now += MINUTE
        self.windows.apply(Changes(again=False, rows=(row,)), self.now, {})
        facts = Facts(minute.answers, minute.reporting, {v: self.now - began for v, began in self.began.items()})
        references = {} if self.reference is None else dict.fromkeys(self.began, self.reference)
        self.look = Look(
            MODEL, self.now, self._window, dict.fromkeys(self.began, self.schema), self.objectives,
            references=references, facts=facts, began=START,
        )  # fmt: skip
        self.evaluation = evaluate(self.rules, self.look, self.states)
        self.states = self.evaluation.states
        return self.evaluation

    def _window(self, version: str, began_s: float, ended_s: float) -> Tally:
        key = Key(MODEL, version)
        total = self.windows.sum(key, int(began_s)).copy()
        if ended_s:
            total.add(self.windows.sum(key, int(ended_s)), -1)
        return total

    def until(self, made: Callable[[int], Minute], minutes: int) -> int | None:
        """Live until one of the rules fires; return after how many minutes, None if none did."""
        for minute in range(minutes):
            if self.live(made(minute)).firing:
                return minute + 1
        return None
