"""What a signal is: one number an on-call reads, defined as a value of counts and as PromQL, with three outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from modelwatch.names import Metric
from modelwatch.reference import CategoricalProfile, NumericProfile, Reference
from modelwatch.schema import ModelSchema
from modelwatch.statistics import Chance
from modelwatch.tally import Labels, Table, Tally

if TYPE_CHECKING:
    from modelwatch.config import ModelConfig

T = TypeVar("T")

Outcome = Literal["ok", "firing", "cannot_tell"]


class Measure(NamedTuple):
    """A value with its number of samples; how many of them it needs, where that differs; why it cannot be told."""

    value: float | None
    samples: int
    needed: int = 0
    reason: str = ""


Measured = Mapping[Labels, "Measure | tuple[float | None, int]"]  # by the values of the signal's labels

MODEL, VERSION = "model_name", "model_version"


@dataclass(frozen=True)
class Objectives:
    """What the configuration promises of one model, and the constants of its rules. None: nothing promised.

    throughput : requests per second.  cost : currency per 1000 requests; hourly : price of one replica.
    chance : what chance alone may do to the model's drift scores.
    cells : how many cells a comparison of categories, classes or confidences of the model may have.
    job : the service, as Prometheus names what it scrapes.
    """

    latency_threshold_s: float | None = None
    latency_objective: float | None = None
    error_objective: float | None = None
    accuracy_objective: float | None = None
    availability_objective: float | None = None
    throughput: float | None = None
    cost: float | None = None
    hourly: float | None = None
    chance: Chance = field(default_factory=Chance)
    drift_warning: float = 0.15
    cells: tuple[int, ...] = ()
    job: str = ""

    @classmethod
    def of(cls, model: ModelConfig, job: str = "", reference: Reference | None = None) -> Objectives:
        """Return what the configuration promises of a model."""
        slos = model.slos
        return cls(
            slos.latency.threshold_s if slos.latency else None,
            slos.latency.objective if slos.latency else None,
            slos.error_rate.objective if slos.error_rate else None,
            slos.accuracy.objective if slos.accuracy else None,
            slos.availability.objective if slos.availability else None,
            slos.throughput.objective if slos.throughput else None,
            slos.cost.objective if slos.cost else None,
            slos.cost.hourly if slos.cost else None,
            Chance(
                series=len(model.features) + 2, deff=model.drift.design_effect
            ),  # confidence or value, and the mix of classes
            model.drift.ks.warning or 1.0,
            cells_of(reference),
            job,
        )


def cells_of(reference: Reference | None) -> tuple[int, ...]:
    """Return how many cells the comparisons with a reference may have: one more where something unseen comes."""
    if reference is None:
        return ()
    known = [len([n for n in profile.counts.values() if n]) for profile in reference.categorical.values()]
    if isinstance(reference.prediction, CategoricalProfile):
        known.append(len([n for n in reference.prediction.counts.values() if n]))
    bins = [
        len(profile.exported) + 1
        for profile in (reference.prediction, reference.confidence)
        if isinstance(profile, NumericProfile)
    ]
    return tuple(sorted({*known, *(n + 1 for n in known), *bins}))


@dataclass(frozen=True)
class Facts:
    """What is known beside the counts, of asking the replicas and of the monitor itself.

    answers : {replica: whether it answered when it was asked last}; empty where nobody is asked.
    reporting : whether the service still renews its counts; None where nobody can tell.
    ages : {version: seconds since it was seen first}; one that is not named is old.
    """

    answers: Mapping[str, bool] = field(default_factory=dict)
    reporting: bool | None = None
    ages: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """What a signal is measured on: the counts of a window of `covered_s` seconds, and how they were counted.

    version : "" where several versions are summed.
    reference : profile of the training data; None without one.
    earlier : from seconds to the counts of a window of the same length that ended so long before; None: not kept.
    before : from seconds to the counts of the time of that length that ended when this window began; None: not kept.
    """

    tally: Tally
    schema: ModelSchema
    covered_s: float
    objectives: Objectives = field(default_factory=Objectives)
    version: str = ""
    reference: Reference | None = None
    facts: Facts = field(default_factory=Facts)
    earlier: Callable[[float], Counts | None] = lambda _seconds: None
    before: Callable[[float], Counts | None] = lambda _seconds: None
    _known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, function: Callable[[Counts], T]) -> T:
        """Return what a function makes of these counts; two signals that ask share the work."""
        if function not in self._known:
            self._known[function] = function(self)
        found: T = self._known[function]
        return found

    def table(self, metric: Metric) -> Table | None:
        """Return the table of a metric, None when nothing was counted."""
        return self.tally.tables.get(metric.name)

    def total(self, metric: Metric) -> int:
        """Return the count of a metric over all its series."""
        table = self.table(metric)
        return 0 if table is None else table.total()


@dataclass(frozen=True)
class Reading:
    """One value of a signal: `value` is None when it is undefined, `reason` says why it cannot be told."""

    signal: str
    title: str
    words: str
    unit: str
    labels: Mapping[str, str]
    value: float | None
    samples: int
    outcome: Outcome
    reason: str
    limit: float | None


@dataclass(frozen=True)
class Signal:
    """A number that an on-call reads.

    Parameters
    ----------
    name, title, words, unit : for machines, for panels, for sentences; a ratio is 0 to 1.
    measure : from counts to {label values: (value, samples)}.
    promql : from (selector, window, objectives) to the expression that gives the same numbers; None where it needs
        an objective that is not there. It has no result where the value is undefined.
    samples_promql : from (selector, window) to the expression that gives the number of samples.
    smallest : fewer samples cannot tell.
    labels : of its values, beside the model's.
    limit : from objectives to the value above which it fires; None: it never does.
    counted : what its samples are, for sentences.
    by_version : each version is measured alone; `model_version` is then the first of the labels.
    of_service : it is of the service, not of a model.
    """

    name: str
    title: str
    words: str
    unit: str
    measure: Callable[[Counts], Measured]
    promql: Callable[[str, str, Objectives], str | None]
    samples_promql: Callable[[str, str], str]
    smallest: int = 1
    labels: tuple[str, ...] = ()
    limit: Callable[[Objectives], float | None] = lambda _objectives: None
    counted: str = "requests"
    by_version: bool = False
    of_service: bool = False

    def read(self, counts: Counts) -> list[Reading]:
        """Return the readings of a window.

        One that cannot tell where there is nothing to read, none without the objective it needs.
        """
        if self.promql("", "5m", counts.objectives) is None:
            return []
        limit = self.limit(counts.objectives)
        measured = self.measure(counts) or {(): (None, 0)}
        readings = []
        for values, found in measured.items():
            value, samples = found[0], found[1]
            outcome, reason = self.judge(found)
            if outcome == "ok" and limit is not None and value is not None and value > limit:
                outcome = "firing"
            labels = dict(zip(self.labels, values, strict=False))
            readings.append(
                Reading(self.name, self.title, self.words, self.unit, labels, value, samples, outcome, reason, limit)
            )
        return readings

    def judge(self, found: Measure | tuple[float | None, int]) -> tuple[Outcome, str]:
        """Return whether a value can be told ("ok") or not, and why not."""
        value, samples, needed, reason = Measure(*found)
        if reason:
            return "cannot_tell", reason
        needed = max(needed, self.smallest)
        if samples < needed and samples:
            return "cannot_tell", f"{samples:,} of {needed:,} {self.counted} that are needed"
        if value is None:
            return "cannot_tell", "these counts cannot tell it" if samples else f"no {self.counted} in this window"
        if samples < needed:
            return "cannot_tell", f"no {self.counted} in this window"
        return "ok", ""


# -- PromQL ------------------------------------------------------------------------------------------------------------


def quoted(value: str) -> str:
    r"""Return a text as PromQL writes it.

    Examples
    --------
    >>> print(quoted('a "b"'))
    "a \"b\""
    """
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def matcher(label: str, value: str) -> str:
    """Return the matcher of a label."""
    return f"{label}={quoted(value)}"


def joined(*parts: str) -> str:
    """Return matchers as one selector; empty ones are left out."""
    return ",".join(part for part in parts if part)


def span(window: str) -> str:
    """Return a window as a range: "1h" as `[1h]`, "1h offset 1d" as `[1h] offset 1d`."""
    length, _, offset = window.partition(" ")
    return f"[{length}] {offset}".rstrip()


def increase(name: str, selector: str, window: str, by: str = MODEL) -> str:
    """Return the expression that sums the increase of a counter that exists from the start, at 0."""
    return f"sum by ({by}) (increase({name}{{{selector}}}{span(window)}))"


def increase_from_birth(name: str, selector: str, window: str, by: str = MODEL) -> str:
    """Return the increase of a counter whose series begin with their first count, which `increase` does not see.

    A series that begins and is reset within one window counts from the reset.
    """
    series = f"{name}{{{selector}}}"
    grown = f"increase({series}[{window}]) and {series} offset {window}"
    born = f"last_over_time({series}[{window}]) unless {series} offset {window}"
    return f"sum by ({by}) (({grown}) or ({born}))"


# -- events ------------------------------------------------------------------------------------------------------------

Promql = Callable[[str, str, Objectives], "str | None"]


@dataclass(frozen=True)
class Events:
    """Events of one kind, and those of them that are bad, on both sides.

    name, bad, counted : for machines; what the bad ones, and all of them, are, for sentences.
    count : from counts to (bad, all); bad is None where these counts cannot tell.
    bad_promql, all_promql : as `Signal.promql`; the second has a result above 0, or none.
    """

    name: str
    bad: str
    counted: str
    count: Callable[[Counts], tuple[float | None, int]]
    bad_promql: Promql
    all_promql: Promql
    by_version: bool = False

    def ratio(
        self,
        name: str,
        title: str,
        words: str,
        smallest: int = 20,
        limit: Callable[[Objectives], float | None] = lambda _objectives: None,
    ) -> Signal:
        """Return the signal of the share of bad events."""

        def measure(counts: Counts) -> Measured:
            bad, n = self.count(counts)
            return {(): (None if bad is None or n <= 0 else bad / n, n)}

        def promql(selector: str, window: str, objectives: Objectives) -> str | None:
            bad, every = self.bad_promql(selector, window, objectives), self.all_promql(selector, window, objectives)
            return None if bad is None or every is None else f"({bad}) / ({every})"

        return Signal(
            name, title, words, "ratio", measure, promql, self.samples_promql, smallest, limit=limit,
            counted=self.counted,
        )  # fmt: skip

    def bad_count(self) -> Signal:
        """Return the signal of the number of bad events; 0 is a value."""

        def measure(counts: Counts) -> Measured:
            bad, n = self.count(counts)
            return {(): (None if n <= 0 else bad, n)}

        def promql(selector: str, window: str, objectives: Objectives) -> str | None:
            bad, every = self.bad_promql(selector, window, objectives), self.all_promql(selector, window, objectives)
            return None if bad is None or every is None else f"({bad}) and ({every})"

        words = f"How many {self.counted} are {self.bad}"
        return Signal(
            f"{self.name}_bad", f"{self.bad.capitalize()} {self.counted}", words, self.counted, measure, promql,
            self.samples_promql, counted=self.counted,
        )  # fmt: skip

    def samples_promql(self, selector: str, window: str) -> str:
        """Return the expression of the number of events."""
        return self.all_promql(selector, window, Objectives()) or ""
