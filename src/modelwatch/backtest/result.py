"""What a back-test found: the timeline, pages a month, delays, what was missed, and for how long nothing was known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from modelwatch.alerts import Severity
from modelwatch.backtest.incidents import Found
from modelwatch.backtest.replay import Blind, Told
from modelwatch.backtest.tuning import Tuned
from modelwatch.store.live import DAY

MONTH_S = 30 * DAY
SHORTEST_S = DAY  # of a log from which a month is told
PAGE = "critical"


@dataclass(frozen=True)
class Backtest:
    """What would have been told.

    began, ended : of the log, Unix time.
    time_scale : that divides every window and delay.
    looks, every_s : how often the rules were evaluated.
    told : in the order of time, of one moment the worst first.
    blind : {(alert, severity): for how long it could not be told}; every alert is there.
    incidents, false_alarms : empty where no incidents are labelled.
    notes : what to know about the log, one sentence each.
    """

    log: str
    model: str
    version: str
    rows: int
    began: float
    ended: float
    time_scale: float
    looks: int
    every_s: int
    told: Sequence[Told]
    blind: Mapping[tuple[str, Severity], Blind]
    incidents: Sequence[Found] = ()
    false_alarms: Sequence[Told] = ()
    notes: Sequence[str] = ()
    tuned: Tuned | None = None

    @property
    def seconds(self) -> float:
        """Length of the log, as its windows count it."""
        return (self.ended - self.began) * self.time_scale

    def a_month(self, severity: str = PAGE) -> float | None:
        """Return how often a month of 30 days was told at a severity; None for a log of less than a day."""
        if self.seconds < SHORTEST_S:
            return None
        return self.counts()[severity] * MONTH_S / self.seconds

    @property
    def pages_a_month(self) -> float | None:
        """Critical alerts a month of 30 days; None for a log of less than a day."""
        return self.a_month()

    @property
    def missed(self) -> list[str]:
        """Names of the incidents in the log that nobody was told of."""
        return [one.incident.name for one in self.incidents if one.missed]

    def counts(self) -> dict[str, int]:
        """Return {severity: how often it was told}."""
        found = Counter(one.severity for one in self.told if not one.eased)
        return {severity: found[severity] for severity in ("critical", "warning", "info")}

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values; times are ISO 8601, spans are seconds of the log."""
        found: dict[str, Any] = {
            "log": self.log, "model": self.model, "version": self.version, "rows": self.rows,
            "from": when(self.began), "to": when(self.ended), "time_scale": self.time_scale, "looks": self.looks,
            "every_s": self.every_s, "told": self.counts(),
            "a_month": {severity: self.a_month(severity) for severity in ("critical", "warning", "info")},
            "pages_a_month": self.pages_a_month,
            "timeline": [told_dict(one) for one in self.told],
            "cannot_tell": [
                {"alert": name, "severity": severity, "seconds": blind.seconds,
                 "share": blind.seconds / (self.looks * self.every_s), "reason": blind.reason or None}
                for (name, severity), blind in self.blind.items()
            ],
            "incidents": [_incident_dict(one) for one in self.incidents],
            "missed": self.missed,
            "false_alarms": [told_dict(one) for one in self.false_alarms],
            "notes": list(self.notes),
        }  # fmt: skip
        if self.tuned is not None:
            found["tuned"] = self.tuned.to_dict()
        return found


def when(at: float | None) -> str | None:
    """Return a Unix time as ISO 8601 in UTC.

    Examples
    --------
    >>> when(1_767_225_600.0), when(None)
    ('2026-01-01T00:00:00Z', None)
    """
    if at is None:
        return None
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def told_dict(one: Told) -> dict[str, Any]:
    """Return one entry of the timeline as plain values."""
    return {
        "alert": one.name, "severity": one.severity, "labels": dict(one.labels), "from": when(one.began),
        "to": when(one.ended), "summary": one.summary, "description": one.description, "culprits": list(one.culprits),
        "eased": one.eased,
    }  # fmt: skip


def _incident_dict(found: Found) -> dict[str, Any]:
    one = found.incident
    first = found.told[0] if found.told else None
    return {
        "name": one.name, "start": when(one.start), "end": when(one.end),
        "state": "outside" if not found.inside else "missed" if found.missed else "found",
        "first": None if first is None else {"alert": first.name, "severity": first.severity},
        "delay_s": found.delay_s(), "page_delay_s": found.delay_s(PAGE),
        "told": [told_dict(each) for each in found.told], "firing_before": list(found.before),
    }  # fmt: skip
