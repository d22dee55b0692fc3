"""What an alert is: a condition, how long it must hold, and the words that it is told in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modelwatch.alerts.conditions import Condition
from modelwatch.config import ModelConfig

Severity = Literal["critical", "warning", "info", "none"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info", "none")

MINUTE_S = 60.0
KEEP_S = 5 * MINUTE_S  # an alert resolves when its condition did not hold for so long
KEEP_DRIFT_S = 15 * MINUTE_S
FEWEST_BAD = 5  # bad requests below which a share of them is no incident
SLOW_SHARE = 0.05  # of requests, that "P95" leaves
RISE = 4.0  # standard errors of a rise of an hour that is hardly chance, though it is looked at every minute
SOON_RISE = 5.0  # of a rise of ten minutes, of which there are six times as many
BAD_OF_HALF = 3  # bad requests of each half of ten minutes: what one hiccup of seconds cannot be
BUSY_HOUR = 60  # requests of an hour after which ten minutes without one are no chance
KEPT_FOR_REVIEW = 30


@dataclass(frozen=True)
class Rule:
    """An alert at one severity.

    name, severity : "one name over its severities".
    model : empty for those of the service.
    for_s, keep_s : how long the condition must hold, and not hold any more.
    labels : fixed ones that tell rules of one name and severity apart.
    urgency : among rules of one name and severity; while the most urgent fires the others are not told.
    summary, description : templates with {model}, {value}, {limit}, {window}, {samples} and the names of the labels.
    """

    name: str
    severity: Severity
    model: str
    condition: Condition
    summary: str
    description: str
    for_s: float = 0.0
    keep_s: float = KEEP_S
    labels: Mapping[str, str] = field(default_factory=dict)
    urgency: float = 0.0

    @property
    def key(self) -> str:
        """Name, severity and fixed labels, as one text."""
        fixed = ",".join(f"{name}={value}" for name, value in self.labels.items())
        return f"{self.model}/{self.name}/{self.severity}/{fixed}"

    @property
    def runbook(self) -> str:
        """Name of its page."""
        return f"{self.name}.md"

    def windows(self) -> set[tuple[float, float]]:
        """Return the (length, offset) of all windows that it looks at, in seconds."""
        return {(clause.window_s, clause.offset_s) for clause in self.condition.clauses()}


def level_of(model: ModelConfig, name: str, level: str) -> float | None:
    """Return a threshold of an alert; None where it is off."""
    thresholds = model.alerts.get(name)
    return None if thresholds is None else getattr(thresholds, level)
