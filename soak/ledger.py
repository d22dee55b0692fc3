"""What a scenario found: figures, verdicts, and the conservation of events."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field


@dataclass
class Finding:
    """One statement and what was measured of it."""

    statement: str
    holds: bool
    measured: str


@dataclass
class Ledger:
    """Every event that went in is counted, given up and counted as such, or still waiting."""

    sent: int = 0
    counted: int = 0
    abandoned: int = 0
    lost_by_kill: int = 0
    allowed_by_kill: float = 0.0

    def balances(self) -> bool:
        """Tell whether nothing is missing but what a killed process may take along, and nothing is doubled."""
        missing = self.sent - self.counted - self.abandoned
        return 0 <= missing == self.lost_by_kill <= max(self.allowed_by_kill, 0)

    def add(self, other: Ledger) -> None:
        """Add another scenario's events."""
        self.sent += other.sent
        self.counted += other.counted
        self.abandoned += other.abandoned
        self.lost_by_kill += other.lost_by_kill
        self.allowed_by_kill += other.allowed_by_kill

    def line(self) -> str:
        """Return the ledger as a sentence."""
        return (
            f"in {self.sent:,} = counted {self.counted:,} + abandoned {self.abandoned:,} + lost with killed workers "
            f"{self.lost_by_kill:,} (allowed {self.allowed_by_kill:,.0f})"
        )


@dataclass
class Report:
    """The findings of one scenario."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def check(self, statement: str, holds: bool, measured: str) -> None:
        """Note a finding and print it."""
        self.findings.append(Finding(statement, bool(holds), measured))
        sys.stdout.write(f"  {'holds' if holds else 'FAILS':<6} {statement}: {measured}\n")
        sys.stdout.flush()


def percentile(values: list[float], q: float) -> float:
    """Return a percentile of measured seconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def rss_mib() -> float:
    """Return the resident memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def wait_until(condition, timeout: float) -> bool:
    """Poll a condition."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return condition()
