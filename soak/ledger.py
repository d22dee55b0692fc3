"""What a scenario found: figures beside their bars, verdicts, and the conservation of events."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Finding:
    """What was measured of one statement. `holds` is None where it could not be measured, or not well enough to tell."""

    statement: int
    what: str
    bar: str
    measured: str
    holds: bool | None

    @property
    def verdict(self) -> str:
        """The word for it."""
        return {True: "holds", False: "FAILS", None: "cannot tell"}[self.holds]


@dataclass
class Ledger:
    """Every event that went in is counted, given up and counted as such, or lost with a process, within what is allowed."""

    sent: int = 0
    counted: int = 0
    abandoned: int = 0
    lost: int = 0
    allowed: float = 0.0

    def balances(self) -> bool:
        """Tell whether nothing is missing but what a killed process may take along, and nothing is doubled."""
        missing = self.sent - self.counted - self.abandoned
        return 0 <= missing == self.lost <= self.allowed

    def add(self, other: Ledger) -> None:
        """Add another scenario's events."""
        self.sent += other.sent
        self.counted += other.counted
        self.abandoned += other.abandoned
        self.lost += other.lost
        self.allowed += other.allowed

    def line(self) -> str:
        """Return the ledger as a sentence."""
        return (
            f"in {self.sent:,} = counted {self.counted:,} + given up and counted as such {self.abandoned:,}"
            f" + lost with ended processes {self.lost:,} (allowed {self.allowed:,.0f})"
        )


@dataclass
class Report:
    """The findings of one scenario."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def check(self, statement: int, what: str, bar: str, measured: str, *, holds: bool | None) -> None:
        """Note a finding and print it beside its bar."""
        finding = Finding(statement, what, bar, measured, None if holds is None else bool(holds))
        self.findings.append(finding)
        sys.stdout.write(f"  {finding.verdict:<11} {statement:>2} {what}: {measured}  [bar: {bar}]\n")
        sys.stdout.flush()


def percentile(values: Sequence[float], q: float) -> float:
    """Return a percentile of measured seconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def paired(these: Sequence[float], those: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of the differences of pairs, and the ends of its interval: all but one at each side.

    With nine pairs the interval covers the true median in 96 % of cases, whatever the noise is like.
    """
    ordered = sorted(a - b for a, b in zip(these, those, strict=True))
    return percentile(ordered, 0.5), ordered[1], ordered[-2]


def rss_mib() -> float:
    """Return the resident memory of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def wait_until(condition: Callable[[], bool], timeout: float, every: float = 0.1) -> bool:
    """Poll a condition."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(every)
    return condition()
