"""Which predictions are kept for review: the hash of a request id against a probability that the sample remembers."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import pairwise
from math import sqrt
from types import MappingProxyType
from typing import Any, Literal

from modelwatch.labels import plain_number

Strategy = Literal["uniform", "uncertainty", "stratified"]
Stratum = Literal["confidence", "prediction", "segment"]

LEVELS = 16  # distinct inclusion probabilities at most: their counts are labels of a metric
UNCERTAINTY_EDGES = tuple(k / (LEVELS - 1) for k in range(1, LEVELS - 1))
STRATA_EDGES = (0.5, 0.7, 0.85, 0.95)  # of confidence
FLOOR = 0.1  # least spread of a stratum: what was never seen wrong is looked at, too
DOUBT = 0.5  # mean of 1 - confidence where no reference tells it: the rate is then not exceeded
FEWEST = 30  # labels of a stratum, before its own accuracy counts
_BITS = 53


def chance(request_id: str) -> float:
    """Return a number of [0, 1) that is the same for the same id, on every replica and in every run.

    Examples
    --------
    >>> round(chance("00112233445566778899aabbccddeeff"), 6)
    0.348752
    """
    digest = sha256(request_id.encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[:8], "big") >> (64 - _BITS)) / (1 << _BITS)


@dataclass(frozen=True)
class Design:
    """Probability with which a prediction is kept, by its confidence or by a label.

    Attributes
    ----------
    field : what it depends on.
    edges : of confidence, increasing; a confidence on an edge belongs below it.
    inclusion : one more than the edges.
    by_value : of a label, where `field` is one.
    otherwise : without a confidence, or for another label.
    """

    otherwise: float
    field: Stratum = "confidence"
    edges: tuple[float, ...] = ()
    inclusion: tuple[float, ...] = ()
    by_value: Mapping[str, float] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    @property
    def levels(self) -> tuple[float, ...]:
        """Every probability in use, increasing."""
        return tuple(sorted({self.otherwise, *self.inclusion, *self.by_value.values()}))

    @property
    def most(self) -> float:
        """The highest probability: whatever its id gives above that is never kept."""
        return max(self.otherwise, *self.inclusion, *self.by_value.values(), 0.0)

    def of(self, prediction: Any, confidence: Any, segment: Any) -> float:
        """Return the inclusion probability of a prediction. Never raises for a value of the host's."""
        if self.field != "confidence":
            value = prediction if self.field == "prediction" else segment
            return self.by_value.get(value, self.otherwise) if type(value) is str else self.otherwise
        if not self.inclusion:
            return self.otherwise
        number = plain_number(confidence)
        return self.otherwise if number is None else self.inclusion[bisect_left(self.edges, number)]

    def scaled(self, halvings: int) -> Design:
        """Return the design with every probability halved so often."""
        factor = 0.5**halvings
        return replace(
            self,
            otherwise=self.otherwise * factor,
            inclusion=tuple(p * factor for p in self.inclusion),
            by_value=MappingProxyType({value: p * factor for value, p in self.by_value.items()}),
        )


def uniform(rate: float) -> Design:
    """Every prediction with the same probability."""
    return Design(rate)


def uncertainty(rate: float, doubt: float = DOUBT) -> Design:
    """Half of the sample uniform, half in proportion to 1 - confidence.

    No probability is below half the rate, so no weight is above twice that of a uniform sample (Owen & Zhou 2000 call
    it defensive). More errors are found per label; accuracy becomes hardly sharper.

    Parameters
    ----------
    rate : expected share of predictions that are kept, when `doubt` is right.
    doubt : mean of 1 - confidence.
    """
    edges = (0.0, *UNCERTAINTY_EDGES, 1.0)
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    levels = tuple(min(1.0, rate / 2 + rate / 2 * (1 - middle) / max(doubt, 1e-9)) for middle in middles)
    return Design(rate, edges=UNCERTAINTY_EDGES, inclusion=levels)


def spread(shares: Sequence[float], accuracies: Sequence[float | None], rate: float) -> tuple[float, ...]:
    """Return the inclusion probability of each stratum: in proportion to √(a(1−a)), floored.

    Parameters
    ----------
    shares : of the traffic, by stratum; any scale.
    accuracies : by stratum; None where there are too few labels to tell: taken as 0.5, the widest.
    rate : expected share of all predictions that are kept.

    References
    ----------
    Neyman (1934), optimum allocation.
    """
    widths = [max(FLOOR, 0.5 if a is None else sqrt(max(0.0, a * (1 - a)))) for a in accuracies]
    total = sum(shares)
    mean = sum(share / total * width for share, width in zip(shares, widths, strict=True)) if total > 1e-300 else 0.5
    return tuple(min(1.0, rate * width / mean) for width in widths)


@dataclass(frozen=True)
class Seen:
    """What is known of a stratum: how many predictions its samples stand for, and those with a label."""

    weight: float = 0.0
    labels: int = 0
    labelled_weight: float = 0.0
    right_weight: float = 0.0

    @property
    def accuracy(self) -> float | None:
        """Weighted share of right answers; None with too few labels."""
        return self.right_weight / self.labelled_weight if self.labels >= FEWEST and self.labelled_weight else None


def stratum_of(field: Stratum, prediction: Any, confidence: float, segment: Any) -> Any:
    """Return the stratum of a prediction, None where it is in none; confidence: NaN is none."""
    if field == "confidence":
        return bisect_left(STRATA_EDGES, confidence) if confidence == confidence else None
    return prediction if field == "prediction" else segment


def seen_of(
    field: Stratum,
    predictions: Iterable[Any],
    labels: Iterable[Any],
    confidence: Iterable[float],
    segments: Iterable[Any],
    inclusion: Iterable[float],
) -> dict[Any, Seen]:
    """Return what samples say of their strata; a label of None is none yet."""
    found: dict[Any, list[float]] = {}
    for prediction, label, sure, segment, kept in zip(
        predictions, labels, confidence, segments, inclusion, strict=True
    ):
        sums = found.setdefault(stratum_of(field, prediction, sure, segment), [0.0, 0.0, 0.0, 0.0])
        sums[0] += 1 / kept
        if label is not None:
            sums[1] += 1
            sums[2] += 1 / kept
            sums[3] += (prediction == label) / kept
    return {name: Seen(s[0], int(s[1]), s[2], s[3]) for name, s in found.items() if name is not None}


def stratified(rate: float, seen: Mapping[Any, Seen] | None = None, field: Stratum = "confidence") -> Design:
    """More labels where they say more: each stratum in proportion to the spread of its outcomes.

    Parameters
    ----------
    rate : expected share of predictions that are kept.
    seen : by stratum: the number of the stratum of confidence (0 is the least), or the label.
    field : what the strata are made of.
    """
    seen = seen or {}
    if field == "confidence":
        strata = [seen.get(k, Seen()) for k in range(len(STRATA_EDGES) + 1)]
        levels = spread([s.weight for s in strata], [s.accuracy for s in strata], rate)
        return Design(rate, edges=STRATA_EDGES, inclusion=levels)
    largest = sorted(seen, key=lambda value: (-seen[value].weight, value))[: LEVELS - 1]
    levels = spread([seen[v].weight for v in largest], [seen[v].accuracy for v in largest], rate)
    return Design(rate, field, by_value=MappingProxyType(dict(zip(largest, levels, strict=True))))


def halvings(budget: int, used: int, expected: float) -> int | None:
    """Return how often the rate must be halved to stay within a budget of labels; None: it is used up.

    Parameters
    ----------
    budget : samples a week.
    used : of them, in this week.
    expected : samples in the rest of the week at the full rate.
    """
    left, times = budget - used, 0
    if left <= 0:
        return None
    while expected > left and times < 30:
        expected, times = expected / 2, times + 1
    return times
