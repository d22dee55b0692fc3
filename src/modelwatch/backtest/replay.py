"""Replays counts through the rules, look by look, and keeps what would have been told, and what was not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from modelwatch.alerts import ALWAYS_ON, SEVERITIES, Rule, Severity, Verdict, evaluate, message
from modelwatch.alerts.state import AlertState
from modelwatch.backtest.cumulated import Cumulated
from modelwatch.explain import History
from modelwatch.notify.alert import RUNGS
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema
from modelwatch.signals import Counts, Facts, Look, Objectives
from modelwatch.slo.burn import DAY_S
from modelwatch.sources.drift import Compared
from modelwatch.sources.driftsince import Pieces
from modelwatch.store.live import DAY
from modelwatch.tally import Tally

LONGEST_S = 400 * DAY  # of a log: days are kept no longer, and times that are wrong would be replayed for hours

_Subject = tuple[str, Severity, tuple[tuple[str, str], ...]]  # alert, severity, labels


@dataclass
class Told:
    """An alert that somebody would have been told of, at one severity.

    labels : what tells it from others of its name: the feature, the objective.
    began, ended : Unix time; `ended` is None where it goes on at the end of the log.
    eased : it goes on from a worse severity: nobody is told anew, and it finds nothing.
    """

    name: str
    severity: Severity
    labels: Mapping[str, str]
    began: float
    summary: str = ""
    description: str = ""
    culprits: tuple[str, ...] = ()
    ended: float | None = None
    eased: bool = False

    @property
    def words(self) -> str:
        """Its name and labels."""
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.labels.items())])


@dataclass
class Blind:
    """For how long an alert could not be told at all, in seconds, and why, as last seen."""

    seconds: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class Watched:
    """A model as its counts are looked at.

    first : Unix time at which the version was seen first; None: it is old.
    facts : from Unix time to what is known beside the counts; of a log nothing.
    """

    model: str
    version: str
    schema: ModelSchema
    objectives: Objectives
    reference: Reference | None = None
    first: float | None = None
    time_scale: float = 1.0
    drift_s: float = DAY_S
    facts: Callable[[float], Facts] | None = None

    def at(self, counts: Cumulated, now: float) -> Look:
        """Return the look at one moment."""

        def window(_version: str, began_s: float, ended_s: float) -> Tally:
            return counts.window(now, began_s, ended_s)

        def histories(version: str) -> Mapping[Compared, History]:
            if self.reference is None:
                return {}
            return Pieces(self.drift_s).read(
                now,
                lambda since: counts.minutes(now, since),
                lambda tally: Counts(tally, self.schema, 1.0, self.objectives, version, self.reference),
            )

        ages = {} if self.first is None else {self.version: (now - self.first) * self.time_scale}
        facts = Facts(ages=ages) if self.facts is None else self.facts(now)
        references = {} if self.reference is None else {self.version: self.reference}
        return Look(
            self.model, now, window, {self.version: self.schema}, self.objectives, references=references, facts=facts,
            began=float(counts.began), histories=histories,
        )  # fmt: skip


@dataclass
class Watch:
    """One set of rules over time.

    words : whether what is told is put into words, with what is behind it.
    """

    rules: list[Rule]
    words: bool = True
    told: list[Told] = field(default_factory=list)
    blind: dict[tuple[str, Severity], Blind] = field(default_factory=dict)
    _states: Mapping[str, AlertState] = field(default_factory=dict)
    _open: dict[_Subject, Told] = field(default_factory=dict)

    def see(self, look: Look, passed_s: float) -> None:
        """Evaluate once. `passed_s`: seconds since the last look."""
        evaluation = evaluate(self.rules, look, self._states)
        self._states = evaluation.states
        firing: dict[_Subject, Verdict] = {}
        for verdict in evaluation.firing:
            firing.setdefault(_subject(verdict), verdict)
        before = {(name, labels): severity for name, severity, labels in self._open}
        for key in [key for key in self._open if key not in firing]:
            self._open.pop(key).ended = look.now
        for key, verdict in firing.items():
            if key not in self._open:
                self._open[key] = told = self._tell(verdict, look)
                worse = before.get((key[0], key[2]), told.severity)
                told.eased = SEVERITIES.index(worse) < SEVERITIES.index(told.severity)
        self._count_blind(evaluation.verdicts, passed_s)

    def _tell(self, verdict: Verdict, look: Look) -> Told:
        told = Told(verdict.rule.name, verdict.rule.severity, dict(_labels(verdict)), look.now)
        if self.words:
            said = message(verdict, look)
            told.summary, told.description, told.culprits = said.summary, said.description, said.culprits
        self.told.append(told)
        return told

    def _count_blind(self, verdicts: Iterable[Verdict], passed_s: float) -> None:
        known: dict[tuple[str, Severity], str | None] = {}
        for verdict in verdicts:
            key = verdict.rule.name, verdict.rule.severity
            if verdict.rule.name == ALWAYS_ON:
                continue
            if verdict.outcome != "cannot_tell":
                known[key] = None
            elif known.get(key, "") is not None:
                known[key] = verdict.truth.reason
        for key, reason in known.items():
            blind = self.blind.setdefault(key, Blind())
            if reason is not None:
                blind.seconds += passed_s
                blind.reason = reason


def _labels(verdict: Verdict) -> Iterator[tuple[str, str]]:
    for name, value in {**verdict.rule.labels, **verdict.labels}.items():
        if name not in RUNGS and name != "kind":
            yield name, value


def _subject(verdict: Verdict) -> _Subject:
    """Return what an alert is about at its severity, whatever the window or the level: it goes on as the same one."""
    return verdict.rule.name, verdict.rule.severity, tuple(sorted(_labels(verdict)))


def replay(
    counts: Cumulated,
    groups: Sequence[tuple[Watched, Sequence[Watch]]],
    every_s: int | None = None,
    since: float | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Let watches see the counts from the first minute to the last; return the number of looks.

    groups : those of a group share each look: every window is summed, and every signal measured, once.
    every_s : seconds from one look to the next, whole minutes of the counts; None: one.
    since : Unix time from which they look; None: from the first minute on.
    progress : called with (looks so far, looks in all), now and then.
    """
    step = every_s or counts.span
    skipped = 0 if since is None else max(int(since - counts.began) // step, 0)
    total = max(-(-(counts.ended - counts.began) // step) - skipped, 1)
    for i in range(1, total + 1):
        now = float(counts.began + (skipped + i) * step)
        for watched, watches in groups:
            look = watched.at(counts, now)
            for watch in watches:
                watch.see(look, float(step))
        if progress is not None and i % 64 == 0:
            progress(i, total)
    return total


def worst_first(told: Iterable[Told]) -> list[Told]:
    """Return in the order of time, of one moment the worst first."""
    return sorted(told, key=lambda one: (one.began, SEVERITIES.index(one.severity), one.name))
