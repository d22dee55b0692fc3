"""What the catalogue says of a simulated service: quiet months raise nothing, incidents the right alerts, which end.

    python simulations/alerts_of_a_month.py                 20 seeds of 30 quiet days, then every incident
    python simulations/alerts_of_a_month.py --seeds 2 --days 7 --every 60
    python simulations/alerts_of_a_month.py --write         the same, and put into docs/alerts.md

Traffic follows the day and the week, wanders and comes in bursts; 0.2 % of requests fail, now and then a dependency
hiccups for seconds; inputs wander and follow the day; a tenth of the answers is kept, and labelled in office hours; one
replica of two is restarted at times. Counts are drawn for each minute, and evaluated by the rules of a real service.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from blocks import ALERTS_PAGE, Block
from scipy.special import ndtr

from modelwatch import names
from modelwatch.alerts import AlertState, evaluate, message, objectives_for, rules_of
from modelwatch.config import parse_config
from modelwatch.reference import CategoricalProfile, NumericProfile, NumericSums, Reference
from modelwatch.schema import CONFIDENCE_EDGES, FINE_CONFIDENCE_EDGES, ModelSchema, latency_edges
from modelwatch.signals import Facts, Look
from modelwatch.signals.service import MINUTE_TABLES
from modelwatch.tally import Table, Tally

START = 1_772_409_600  # a Monday, 00:00
MINUTES_A_DAY = 1440
MODEL = "sentiment"
CONFIG = parse_config(
    """
service: {name: api}
models:
  sentiment:
    version: "1"
    task: classification
    classes: [negative, neutral, positive]
    features: {length: numeric, score: numeric, language: categorical}
    segment: category
    slos:
      {latency: {threshold: 500ms}, availability: {}, error_rate: {}, accuracy: {}, cost: {objective: 2, hourly: 1.2}}
""",
    environ={},
)
ENDPOINTS, CLASSES, LANGUAGES, SEGMENTS = (
    ("/predict", "/batch"),
    ("negative", "neutral", "positive"),
    ("en", "de", "es"),
    ("books", "music", "toys"),
)
QUANTILES = np.linspace(0.05, 0.95, 19)
MIX, SPEECH, WRONG = np.array([0.4, 0.1, 0.5]), np.array([0.9, 0.06, 0.04]), np.array([0.08, 0.10, 0.12])


def _normal_edges() -> tuple[float, ...]:
    from scipy.special import ndtri

    return tuple(round(float(edge), 6) for edge in ndtri(QUANTILES))


EDGES = _normal_edges()
LATENCY = latency_edges([0.5])
SLOWNESS = (np.log(0.12), 0.45)  # of lognormal answers: 0.08 % above half a second


def _reference(chance: np.random.Generator) -> Reference:
    def numeric() -> NumericProfile:
        sums = NumericSums(np.array(EDGES))
        sums.add(chance.normal(size=10_000))
        return sums.profile(EDGES)

    confidence = NumericSums(np.array(FINE_CONFIDENCE_EDGES))
    confidence.add(chance.beta(7, 1.3, 10_000))
    language = dict(zip(LANGUAGES, chance.multinomial(10_000, SPEECH).tolist(), strict=True))
    classes = dict(zip(CLASSES, chance.multinomial(10_000, MIX).tolist(), strict=True))
    return Reference(
        {"length": numeric(), "score": numeric()}, {"language": CategoricalProfile(language)}, 10_000,
        CategoricalProfile(classes), confidence.profile(CONFIDENCE_EDGES),
    )  # fmt: skip


SCHEMA = ModelSchema(
    latency=LATENCY, classes=CLASSES, numeric={"length": (EDGES, EDGES), "score": (EDGES, EDGES)},
    categorical={"language": LANGUAGES}, reviewed=True,
)  # fmt: skip


class Layout:
    """Where each count is in one long row of numbers, so that a window is the difference of two cumulative rows."""

    def __init__(self) -> None:
        tally = SCHEMA.empty()
        tally.add(Tally(MINUTE_TABLES))
        for endpoint in ENDPOINTS:
            for metric in (names.REQUESTS, names.FAILED, names.CANCELLED, names.DURATION):
                tally.tables[metric.name].row((endpoint,))
            tally.tables[names.ERRORS.name].row((endpoint, "TimeoutError"))
        for outcome in (names.CORRECT, names.WRONG):
            tally.tables[names.LABELS_BY_INCLUSION.name].row(("0.1", outcome))
            for segment in SEGMENTS:
                tally.tables[names.LABELS.name].row((segment, outcome))
        for outcome in (names.GOOD, names.BAD):
            tally.tables[names.SLICES.name].row(("availability", outcome))
        tally.tables[names.REPLICA_SECONDS.name].row(())
        self.at: dict[tuple[str, tuple[str, ...]], slice] = {}
        self.parts: list[tuple[str, Table, slice, tuple[int, int]]] = []
        begin = 0
        for name, table in tally.tables.items():
            shape = (len(table.rows), table.counts.shape[1])
            where = slice(begin, begin + shape[0] * shape[1])
            self.parts.append((name, table, where, shape))
            for row, labels in enumerate(table.rows):
                self.at[name, labels] = slice(begin + row * shape[1], begin + (row + 1) * shape[1])
            begin = where.stop
        self.width = begin

    def tally(self, row: np.ndarray) -> Tally:
        """Return a row of numbers as a tally."""
        found = Tally()
        for name, like, where, shape in self.parts:
            table = Table.__new__(Table)
            table.fingerprint, table.sums_kind, table.rows = like.fingerprint, like.sums_kind, like.rows
            table.counts = row[where].reshape(shape)
            table.sums = like.sums
            found.tables[name] = table
        return found


LAYOUT = Layout()


@dataclass(frozen=True)
class Incident:
    """What breaks, in minutes from the start; `expected` is who must be told, `culprit` what the message must name."""

    name: str
    expected: tuple[str, ...]
    culprit: str = ""
    minutes: int = 120
    fail: float = 0.0
    delay_s: float = 0.0
    foreign: float = 0.0
    wrong: float = 0.0
    silent: bool = False
    down: bool = False


INCIDENTS = (
    Incident("errors", ("HighErrorRate",), "TimeoutError", fail=0.125),
    Incident("latency", ("HighLatencyP95", "SLOBurnRate"), "/predict", delay_s=0.7),
    Incident("drift", ("DataDriftDetected",), "language", minutes=360, foreign=0.5),
    Incident("accuracy", ("LowModelAccuracy", "SLOBurnRate"), "books", minutes=1440, wrong=0.5),
    Incident("outage", ("ServiceDown",), "replica-1", minutes=60, down=True),
    Incident("slow-burn", ("HighErrorRate", "SLOBurnRate"), "TimeoutError", minutes=1440, fail=0.03),
    Incident("traffic-stop", ("TrafficStopped",), "", minutes=90, silent=True),
)


def wander(chance: np.random.Generator, n: int, sd: float, minutes: float) -> np.ndarray:
    """Return an AR(1) path with this standard deviation and time constant."""
    from scipy.signal import lfilter

    a = np.exp(-1 / minutes)
    return lfilter([1], [1, -a], chance.normal(size=n) * sd * np.sqrt(1 - a * a))


def rows_of(
    seed: int, days: int, per_hour: float, incident: Incident | None, begin: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (counts of every minute, whether each replica answered)."""
    chance = np.random.default_rng(seed)
    n = days * MINUTES_A_DAY
    minute = np.arange(n)
    day = minute % MINUTES_A_DAY / MINUTES_A_DAY
    weekend = minute // MINUTES_A_DAY % 7 >= 5
    rate = per_hour / 60 * np.exp(0.7 * np.sin(2 * np.pi * (day - 0.35)) - 0.5 * weekend + wander(chance, n, 0.15, 45))
    count = chance.poisson(rate * chance.gamma(8, 1 / 8, n))  # bursts
    on = np.zeros(n, bool)
    if incident:
        on[begin : begin + incident.minutes] = True
    if incident and (incident.silent or incident.down):
        count[on] = 0
    fail = np.full(n, 0.002)
    for at in chance.choice(n, max(days // 3, 1)):  # a dependency that hiccups for seconds
        fail[at] = 0.1
    if incident and incident.fail:
        fail[on] = incident.fail
    up = np.ones((n, 2), bool)
    for at in chance.choice(n - 5, max(days // 2, 1)):  # a restart
        up[at : at + chance.integers(1, 4), chance.integers(2)] = False
    if incident and incident.down:
        up[on] = False
    length = wander(chance, n, 0.1, 30) + 0.1 * np.sin(2 * np.pi * day)
    score = wander(chance, n, 0.05, 60)
    rows = np.zeros((n, LAYOUT.width), np.int64)
    for i in range(n):
        _draw(chance, rows[i], int(count[i]), float(fail[i]), length[i], score[i], incident if on[i] else None)
        _monitor(rows[i], up[i])
        if 9 * 60 <= minute[i] % MINUTES_A_DAY < 18 * 60 and not weekend[i]:
            _review(chance, rows[i], per_hour, incident if on[i] else None)
    return rows, up


def _draw(
    chance: np.random.Generator,
    row: np.ndarray,
    n: int,
    fail: float,
    length: float,
    score: float,
    incident: Incident | None,
) -> None:
    at = LAYOUT.at
    row[at[names.EVENTS.name, ()]] = n
    if not n:
        return
    share = chance.multinomial(n, [0.9, 0.1])
    delay = incident.delay_s if incident else 0.0
    answered = 0
    for endpoint, k in zip(ENDPOINTS, share.tolist(), strict=True):
        failed = int(chance.binomial(k, fail))
        answered += k - failed
        row[at[names.REQUESTS.name, (endpoint,)]] = k
        row[at[names.FAILED.name, (endpoint,)]] = failed
        row[at[names.ERRORS.name, (endpoint, "TimeoutError")]] = failed
        seconds = np.exp(chance.normal(*SLOWNESS, k)) + (delay * chance.gamma(4, 0.25, k) if delay else 0)
        row[at[names.DURATION.name, (endpoint,)]] = np.bincount(
            np.searchsorted(LATENCY, seconds), minlength=len(LATENCY) + 1
        )
    row[at[names.SAMPLES.name, ()]] = chance.binomial(answered, 0.1)
    foreign = incident.foreign if incident else 0.0
    speech = (1 - foreign) * SPEECH + foreign * np.array([0, 0.5, 0.5])
    for language, k in zip(LANGUAGES, chance.multinomial(n, speech).tolist(), strict=True):
        row[at[names.FEATURE_CATEGORY.name, ("language", language)]] = k
    for feature, mean in (("length", length + 1.5 * foreign), ("score", score)):
        upto = ndtr(np.array([*EDGES, np.inf]) - mean)
        row[at[names.FEATURE_VALUE.name, (feature,)]] = chance.multinomial(n, np.diff(upto, prepend=0.0))
    for label, k in zip(CLASSES, chance.multinomial(answered, MIX).tolist(), strict=True):
        row[at[names.PREDICTIONS.name, (label,)]] = k
    confidence = chance.beta(7, 1.3, answered)
    bins = np.searchsorted(SCHEMA.confidence, confidence)
    row[at[names.CONFIDENCE.name, ()]] = np.bincount(bins, minlength=len(SCHEMA.confidence) + 1)
    row[at[names.LOW_CONFIDENCE.name, ("0.7",)]] = int((confidence < 0.7).sum())


def _review(chance: np.random.Generator, row: np.ndarray, per_hour: float, incident: Incident | None) -> None:
    """Reviewers label half of what is kept."""
    wrong = np.minimum(WRONG + (incident.wrong if incident else 0.0), 1.0)
    for segment, share in zip(SEGMENTS, wrong.tolist(), strict=True):
        n = int(chance.poisson(per_hour * 0.1 / 2 / 60 / len(SEGMENTS)))
        bad = int(chance.binomial(n, share))
        for outcome, k in ((names.WRONG, bad), (names.CORRECT, n - bad)):
            row[LAYOUT.at[names.LABELS.name, (segment, outcome)]] += k
            row[LAYOUT.at[names.LABELS_BY_INCLUSION.name, ("0.1", outcome)]] += k


def _monitor(row: np.ndarray, up: np.ndarray) -> None:
    row[LAYOUT.at[names.SLICES.name, ("availability", names.GOOD if up.any() else names.BAD)]] = 1
    row[LAYOUT.at[names.REPLICA_SECONDS.name, ()]] = 60 * int(up.sum())


@dataclass
class Told:
    """One alert that somebody was told of."""

    name: str
    severity: str
    labels: str
    fired: float
    culprits: str
    resolved: float | None = None

    @property
    def subject(self) -> str:
        """What it is about, whatever the window or the level."""
        parts = self.labels.split(",")
        return ",".join(part for part in parts if not part.startswith(("level=", "window=", "drift=")))


def live(rows: np.ndarray, up: np.ndarray, reference: Reference, every: int) -> list[Told]:
    """Evaluate every so many seconds; return what was told, silenced alerts left out."""
    rules, objectives = rules_of(CONFIG, MODEL, reference), objectives_for(CONFIG, MODEL, reference)
    upto = np.concatenate((np.zeros((1, rows.shape[1]), np.int64), rows.cumsum(axis=0)))
    states: dict[str, AlertState] = {}
    told: list[Told] = []
    open_: dict[str, Told] = {}
    step = max(every // 60, 1)
    for i in range(step, len(rows) + 1, step):
        now = START + 60.0 * i

        def window(_version: str, began_s: float, ended_s: float, i: int = i) -> Tally:
            first, last = (max(i - int(s // 60), 0) for s in (began_s, ended_s))
            return LAYOUT.tally(upto[last] - upto[first])

        answers = {f"replica-{k + 1}": bool(value) for k, value in enumerate(up[i - 1])}
        look = Look(
            MODEL, now, window, {"1": SCHEMA}, objectives, references={"1": reference},
            facts=Facts(answers, reporting=True), began=START,
        )  # fmt: skip
        evaluation = evaluate(rules, look, states)
        states = dict(evaluation.states)
        firing = {verdict.key: verdict for verdict in evaluation.firing}
        for key in [key for key in open_ if key not in firing]:
            open_.pop(key).resolved = now
        for key, verdict in firing.items():
            if key not in open_:
                said = message(verdict, look)
                labels = ",".join(
                    f"{k}={v}" for k, v in {**verdict.rule.labels, **verdict.labels}.items() if k != "kind"
                )
                words = " ".join([said.description, *said.culprits])
                open_[key] = Told(verdict.rule.name, verdict.rule.severity, labels, now, words)
                told.append(open_[key])
    return told


def episodes(found: Iterable[Told]) -> list[tuple[str, str]]:
    """Return (name, subject) of what was told, where what goes on within half an hour, at any severity, is one."""
    last: dict[tuple[str, str], float] = {}
    begun = []
    for one in sorted(found, key=lambda one: one.fired):
        key = one.name, one.subject
        if one.fired - last.get(key, 0.0) > 1800:
            begun.append(key)
        last[key] = max(last.get(key, 0.0), one.resolved or float("inf"))
    return begun


def at(seconds: float) -> str:
    """Return a time as day and hour."""
    minutes = int((seconds - START) // 60)
    return f"day {minutes // MINUTES_A_DAY + 1} {minutes % MINUTES_A_DAY // 60:02}:{minutes % 60:02}"


def quiet(block: Block, seeds: int, days: int, per_hour: float, every: int) -> int:
    """Say what quiet months raised, every page and warning by name; return the number of pages."""
    total: dict[tuple[str, str], int] = defaultdict(int)
    for seed in range(seeds):
        began = time.process_time()
        reference = _reference(np.random.default_rng(1000 + seed))
        found = live(*rows_of(seed, days, per_hour, None, 0), reference, every)
        for one in found:
            total[one.severity, one.name] += 1
            if one.severity in {"critical", "warning"}:
                block.say(f"seed {seed}: {one.severity} {one.name} {one.labels} at {at(one.fired)}: {one.culprits}")
        print(f"seed {seed}: {len(found)} alerts ({time.process_time() - began:.0f} CPU s)", flush=True)
    pages = sum(n for (severity, _), n in total.items() if severity == "critical")
    block.say(f"{seeds} seeds of {days} quiet days, {per_hour:g} requests an hour, looked at every {every} s:")
    told = ", ".join(
        f"{n} {severity} {name}" for (severity, name), n in sorted(total.items()) if severity != "critical"
    )
    block.say(f"{pages} pages; {told or 'no other alert'}")
    return pages


def incidents(block: Block, per_hour: float, every: int, only: str | None) -> int:
    """Say what each incident raised, when, and whether it ended; return how many went wrong."""
    wrong = 0
    begin = 3 * MINUTES_A_DAY + 10 * 60
    block.say(f"incidents at {per_hour:g} requests an hour, looked at every {every} s:")
    for incident in INCIDENTS:
        if only not in {None, incident.name}:
            continue
        reference = _reference(np.random.default_rng(5))
        found = live(*rows_of(77, 8, per_hour, incident, begin), reference, every)
        first = START + 60.0 * begin
        told = [one for one in found if one.fired >= first]
        why = _not_expected(incident, told, [one for one in found if one.fired < first and one.severity != "info"])
        wrong += bool(why)
        block.say(f"{incident.name}: {why or 'as expected'}")
        for one in told:
            delay = (one.fired - first) / 60
            lasted = "still on" if one.resolved is None else f"{(one.resolved - one.fired) / 60:.0f} min"
            block.say(f"  after {delay:.0f} min: {one.severity} {one.name} {one.labels} ({lasted})")
    return wrong


def _not_expected(incident: Incident, told: list[Told], early: list[Told]) -> str:
    """Return what is not as it should be of an incident; empty where all is."""
    missed = [name for name in incident.expected if not any(one.name == name for one in told)]
    mine = [one for one in told if one.name in incident.expected]
    named = not incident.culprit or any(incident.culprit in one.culprits for one in mine)
    main = [one for one in told if one.name == incident.expected[0]]
    once = len(episodes(main)) == len({one.subject for one in main})
    ended = all(one.resolved is not None for one in mine if one.severity == "critical")
    if not missed and not early and named and once and ended:
        return ""
    return f"NOT as expected (missed {missed}, before it {len(early)}, named {named}, once {once}, ended {ended})"


def main() -> Iterator[Callable[[], int]]:
    """Read the options; yield what is to be done."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--per-hour", type=float, help="requests; 1 800 in quiet months and 10 000 in incidents")
    options.add_argument("--every", type=int, default=60, help="seconds between two looks, whole minutes")
    options.add_argument("--incident", choices=[incident.name for incident in INCIDENTS], help="only this one")
    options.add_argument("--only", choices=["quiet", "incidents"])
    options.add_argument("--write", action="store_true", help=f"put the results into {ALERTS_PAGE.name}")
    given = options.parse_args()

    def written(name: str, work: Callable[[Block], int]) -> int:
        block = Block(name)
        wrong = work(block)
        if given.write:
            block.write(ALERTS_PAGE)
        return wrong

    if given.only != "quiet":
        per_hour = given.per_hour or 10_000
        yield lambda: written("incidents", lambda block: incidents(block, per_hour, given.every, given.incident))
    if given.only != "incidents":
        rate = given.per_hour or 1800
        yield lambda: written("quiet", lambda block: quiet(block, given.seeds, given.days, rate, given.every))


if __name__ == "__main__":
    sys.exit(min(sum([work() for work in main()]), 1))
