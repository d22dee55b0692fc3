"""SLOTracker, alone: measurements of objectives counted by the hour, so that a record costs the same for ever."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict
from weakref import WeakKeyDictionary, WeakSet

from modelwatch import names
from modelwatch.errors import fault

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

PERIOD_S = 30 * 24 * 3600
SLICE_S = 3600  # measurements leave by the hour
MEETING, VIOLATING, UNKNOWN = "✓ MEETING SLO", "✗ VIOLATING SLO", "? NO DATA"


class Target(TypedDict):
    """What one measurement must reach (`target`), and which share of them must (`threshold`, 0 to 1)."""

    target: float
    threshold: float


#: The brief's objectives, and the three that it promises beside them. Latencies in seconds, cost per 1000 requests.
DEFAULTS: dict[str, Target] = {
    "latency_p95": {"target": 0.5, "threshold": 0.95},
    "error_rate": {"target": 0.01, "threshold": 0.95},
    "accuracy": {"target": 0.85, "threshold": 0.95},
    "availability": {"target": 0.995, "threshold": 1.0},
    "latency": {"target": 0.5, "threshold": 0.95},
    "throughput": {"target": 1000.0, "threshold": 0.95},
    "cost": {"target": 0.05, "threshold": 0.95},
}
_MADE = itertools.count()
LOWER_IS_BETTER = frozenset({"latency", "latency_p95", "error_rate", "cost"})


class _Counts:
    """Good and all measurements of one objective: by the hour, and their running sums."""

    __slots__ = ("good", "hours", "total")

    def __init__(self) -> None:
        self.hours: deque[list[int]] = deque()  # [hour, good, all]
        self.good = self.total = 0

    def add(self, hour: int, good: int) -> None:
        last = self.hours[-1] if self.hours else None
        if last is None or hour > last[0]:  # a clock that was set back counts into the last hour
            last = [hour, 0, 0]
            self.hours.append(last)
        last[1] += good
        last[2] += 1
        self.good += good
        self.total += 1

    def forget(self, oldest: int) -> None:
        while self.hours and self.hours[0][0] < oldest:
            _, good, total = self.hours.popleft()
            self.good -= good
            self.total -= total


class _Exported:
    """The gauge of all trackers of one registry, worked out when it is read; whoever is gone is not in it any more.

    Of two trackers of one model and type the later one is exported.
    """

    of: ClassVar[WeakKeyDictionary[CollectorRegistry, _Exported]] = WeakKeyDictionary()
    making = threading.Lock()

    def __init__(self) -> None:
        self.trackers: WeakSet[SLOTracker] = WeakSet()

    @classmethod
    def add(cls, registry: CollectorRegistry, tracker: SLOTracker) -> None:
        with cls.making:
            found = cls.of.get(registry)
            if found is None:
                found = cls.of[registry] = cls()
                registry.register(found)
            found.trackers.add(tracker)

    def describe(self) -> list[GaugeMetricFamily]:
        from prometheus_client.core import GaugeMetricFamily

        return [GaugeMetricFamily(names.COMPLIANCE.name, names.COMPLIANCE.help, labels=("model_name", "slo_type"))]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        (family,) = self.describe()
        found = {}
        for tracker in sorted(self.trackers, key=lambda tracker: tracker.made):
            for slo in tracker.slos:
                compliance = tracker.calculate_compliance(slo)
                if compliance is not None:
                    found[tracker.model_name, slo] = 100 * compliance
        for labels, value in found.items():
            family.add_metric(labels, value)
        yield family


class SLOTracker:
    """Which share of measurements met their objective in the last 30 days. Threads may share it.

    A measurement costs the same however many there were: what is kept is two numbers an hour and objective. The gauge
    `ml_slo_compliance_percentage` (0 to 100) is worked out when the registry is read, not with every record.

    Parameters
    ----------
    model_name : whose objectives these are.
    slos : {type: {"target": …, "threshold": …}}, instead of the brief's or beside them.
    clock : Unix time; tests pass their own.
    registry : of prometheus_client, that exports the compliance of what was measured; None exports nothing. The gauge
        is of this process alone; of a service with several workers `modelwatch serve` has it.

    Examples
    --------
    >>> tracker = SLOTracker("sentiment_classifier", clock=lambda: 0.0)
    >>> for seconds in (0.2, 0.45, 0.9, 0.3):
    ...     tracker.record_measurement("latency_p95", seconds)
    >>> tracker.calculate_compliance("latency_p95")
    0.75
    >>> tracker.check_slo_status()["latency_p95"]["status"]
    '✗ VIOLATING SLO'
    """

    def __init__(
        self,
        model_name: str,
        slos: Mapping[str, Target] | None = None,
        clock: Callable[[], float] = time.time,
        registry: CollectorRegistry | None = None,
    ) -> None:
        self.model_name = model_name
        self.slos: dict[str, Target] = {**DEFAULTS, **(slos or {})}
        self.refused = 0
        self._clock, self._lock = clock, threading.Lock()
        self._counts = {slo: _Counts() for slo in self.slos}
        self._targets = {slo: (one["target"], slo in LOWER_IS_BETTER) for slo, one in self.slos.items()}
        self.made = next(_MADE)
        if registry is not None:
            _Exported.add(registry, self)

    def record_measurement(self, slo_type: str, value: float) -> None:
        """Count one measurement: a latency in seconds, a ratio of 0 to 1, requests per second, or a cost.

        What is no finite number is refused, and counted in `refused`: it is neither good nor bad.

        Raises
        ------
        ValueError   no objective of this type.
        """
        counts = self._counts.get(slo_type)
        if counts is None:
            known = f"one of {', '.join(self.slos)}"
            raise ValueError(fault("record_measurement", "slo_type", slo_type, known, "Name one of them."))
        try:
            finite = math.isfinite(value)
        except (TypeError, OverflowError):
            finite = False
        if not finite:
            self.refused += 1
            return
        target, lower = self._targets[slo_type]
        good = value <= target if lower else value >= target
        hour = int(self._clock() // SLICE_S)
        with self._lock:
            counts.add(hour, good)
            if len(counts.hours) * SLICE_S > PERIOD_S:
                counts.forget(hour - PERIOD_S // SLICE_S + 1)

    def calculate_compliance(self, slo_type: str) -> float | None:
        """Return the share of measurements of the last 30 days that met their target, 0 to 1; None without any."""
        good, total = self._sums(slo_type)
        return good / total if total else None

    def _sums(self, slo_type: str) -> tuple[int, int]:
        counts = self._counts[slo_type]
        with self._lock:
            counts.forget(int(self._clock() // SLICE_S) - PERIOD_S // SLICE_S + 1)
            return counts.good, counts.total

    def check_slo_status(self) -> dict[str, dict[str, Any]]:
        """Return {type: {"compliance", "threshold", "status"}}; compliance is None where nothing was measured."""
        status: dict[str, dict[str, Any]] = {}
        for slo, one in self.slos.items():
            compliance = self.calculate_compliance(slo)
            words = UNKNOWN if compliance is None else MEETING if compliance >= one["threshold"] else VIOLATING
            status[slo] = {"compliance": compliance, "threshold": one["threshold"], "status": words}
        return status
