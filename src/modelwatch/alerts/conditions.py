"""Conditions of alerts: comparisons of signals, joined by labels; true, false, or cannot be told; and as PromQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Literal, NamedTuple, Protocol

from modelwatch.signals import Look, Measure, Objectives, Signal
from modelwatch.signals.core import MODEL

Op = Literal[">", ">=", "<", "<="]
Key = tuple[tuple[str, str], ...]  # labels as pairs, in the order of the signal
COMPARE = {">": gt, ">=": ge, "<": lt, "<=": le}


class Truth(NamedTuple):
    """What a condition says of one set of labels.

    holds : None where it cannot be told.
    value, limit, samples : of the comparison that leads.
    reason : why some of it cannot be told; empty otherwise.
    """

    holds: bool | None
    value: float | None
    limit: float | None
    samples: int
    reason: str


class Condition(Protocol):
    """What an alert fires on."""

    @property
    def lead(self) -> Clause:
        """Return the comparison whose value is shown."""

    def evaluate(self, look: Look) -> Mapping[Key, Truth]:
        """Return what it says, by labels; {(): …} where there is nothing to compare."""

    def promql(self, selector: str, objectives: Objectives) -> str | None:
        """Return the expression that has a result where it holds; None without an objective that it needs."""

    def clauses(self) -> Sequence[Clause]:
        """Return all comparisons."""


@dataclass(frozen=True)
class Clause:
    """A comparison of one signal over one window, which ended `offset_s` ago.

    enough : it asks whether there is enough to judge by. Where there is not, it cannot be told: an alert that fires
        does not end because its traffic becomes less.
    """

    signal: Signal
    window_s: float
    op: Op
    limit: float
    offset_s: float = 0.0
    enough: bool = False

    @property
    def lead(self) -> Clause:
        """Return itself."""
        return self

    def clauses(self) -> Sequence[Clause]:
        """Return itself alone."""
        return (self,)

    def evaluate(self, look: Look) -> Mapping[Key, Truth]:
        """Return what it says, by labels."""
        signal = self.signal
        measured = look.measure(signal, self.window_s, self.offset_s)
        if not measured:
            return {(): self._truth(Measure(None, 0))}
        return {
            tuple(zip(signal.labels, values, strict=False)): self._truth(found) for values, found in measured.items()
        }

    def _truth(self, found: Measure | tuple[float | None, int]) -> Truth:
        outcome, reason = self.signal.judge(found)
        value, samples = found[0], found[1]
        if outcome == "cannot_tell" or value is None:
            return Truth(None, value, self.limit, samples, reason)
        holds = COMPARE[self.op](value, self.limit)
        if self.enough and not holds:
            return Truth(
                None, value, self.limit, samples, f"{value:,.0f} of {self.limit:g} {self.signal.title.lower()}"
            )
        return Truth(holds, value, self.limit, samples, "")

    def promql(self, selector: str, objectives: Objectives) -> str | None:
        """Return the comparison as PromQL, with its smallest sample."""
        window = f"{max(round(self.window_s), 1)}s" + (
            f" offset {max(round(self.offset_s), 1)}s" if self.offset_s else ""
        )
        value = self.signal.promql(selector, window, objectives)
        if value is None:
            return None
        compared = f"({value}) {self.op} {self.limit!r}"
        if self.signal.smallest <= 1:
            return f"({compared})"
        labels = ", ".join((MODEL, *self.signal.labels))
        enough = f"({self.signal.samples_promql(selector, window)}) >= {self.signal.smallest}"
        return f"(({compared}) and on ({labels}) ({enough}))"


@dataclass(frozen=True)
class _Parts:
    """Conditions that are joined to one."""

    parts: tuple[Condition, ...]

    @property
    def lead(self) -> Clause:
        """Return that of the first part."""
        return self.parts[0].lead

    def clauses(self) -> Sequence[Clause]:
        """Return those of all parts."""
        return [clause for part in self.parts for clause in part.clauses()]


@dataclass(frozen=True)
class All(_Parts):
    """Every part holds. The first part gives the labels; the others are joined on those that they share with it."""

    def evaluate(self, look: Look) -> Mapping[Key, Truth]:
        """Return what it says by the labels of the first part: false where any part is, whatever cannot be told."""
        first, *others = (part.evaluate(look) for part in self.parts)
        joins = [(_names(part), other) for part, other in zip(self.parts[1:], others, strict=True)]
        found = {}
        for key, truth in first.items():
            every = [truth]
            for names, other in joins:
                shared = key if names == self._labels else tuple(pair for pair in key if pair[0] in names)
                every.append(other.get(shared) or other.get((), _NOTHING))
            found[key] = _joined(truth, every)
        return found

    @property
    def _labels(self) -> tuple[str, ...]:
        return _names(self.parts[0])

    def promql(self, selector: str, objectives: Objectives) -> str | None:
        """Return the parts joined by `and`."""
        expressions = [part.promql(selector, objectives) for part in self.parts]
        if None in expressions:
            return None
        first, *others = (str(each) for each in expressions)
        for part, expression in zip(self.parts[1:], others, strict=True):
            shared = [name for name in self._labels if name in _names(part)]
            of_service = self.lead.signal.of_service
            first = f"{first} and on ({', '.join(([] if of_service else [MODEL]) + shared)}) {expression}"
        return f"({first})"


@dataclass(frozen=True)
class AnyOf(_Parts):
    """At least one part holds, of the same labels."""

    def evaluate(self, look: Look) -> Mapping[Key, Truth]:
        """Return what it says, by labels."""
        found: dict[Key, Truth] = {}
        for part in self.parts:
            for key, truth in part.evaluate(look).items():
                known = found.get(key)
                if known is None or _rank(truth) > _rank(known):
                    found[key] = truth
        return found

    def promql(self, selector: str, objectives: Objectives) -> str | None:
        """Return the parts joined by `or`; those whose objective is not there are left out."""
        expressions = [part.promql(selector, objectives) for part in self.parts]
        known = [each for each in expressions if each is not None]
        return f"({' or '.join(known)})" if known else None


_NOTHING = Truth(None, None, None, 0, "nothing was counted")


def _names(condition: Condition) -> tuple[str, ...]:
    return condition.lead.signal.labels


def _rank(truth: Truth) -> int:
    return 2 if truth.holds else 1 if truth.holds is None else 0


def _joined(lead: Truth, every: Sequence[Truth]) -> Truth:
    """Return the truth of all of them, with the value of the first and the first reason that there is.

    Where the first is false there is no doubt, whatever else cannot be told.
    """
    if lead.holds is False:
        return lead
    holds: bool | None = True
    reason = ""
    for truth in every:
        reason = reason or truth.reason
        if truth.holds is False:
            holds = False
        elif truth.holds is None and holds:
            holds = None
    return Truth(holds, lead.value, lead.limit, lead.samples, reason)
