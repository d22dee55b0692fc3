"""What a drill breaks: each fault with the alert that must follow, and how a service is told to be broken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from modelwatch.errors import ConfigError, fault

Mode = Literal["embedded", "stack"]
MODES: tuple[Mode, ...] = ("embedded", "stack")


@dataclass(frozen=True)
class Fault:
    """One way to break a service.

    Parameters
    ----------
    words : what is broken, for people.
    alert : the alert that must fire.
    pages : it must page, so it reaches PagerDuty as well as Slack.
    kinds : what the hooks in the service break (`modelwatch.integrations.faulthooks.KINDS`).
    stops_traffic, wrong_labels : what the traffic of the drill does.
    kills_service, locks_counts : what is done to the service from outside.
    breaks_receiver, kills_evaluator : what is done to the monitoring itself.
    """

    name: str
    words: str
    alert: str
    kinds: frozenset[str] = frozenset()
    pages: bool = False
    stops_traffic: bool = False
    wrong_labels: bool = False
    kills_service: bool = False
    locks_counts: bool = False
    breaks_receiver: bool = False
    kills_evaluator: bool = False


FAULTS: dict[str, Fault] = {
    one.name: one
    for one in (
        # the first: after anything worse the budget burns for hours
        Fault("slow-burn", "three requests in a hundred fail", "SLOBurnRate", frozenset({"few_errors"})),
        Fault("errors", "two requests in five fail", "HighErrorRate", frozenset({"errors"}), pages=True),
        Fault(
            "slow-requests", "every second request takes 1.2 s longer", "HighLatencyP95", frozenset({"slow"}),
            pages=True,
        ),
        Fault("service-down", "no replica answers", "ServiceDown", pages=True, kills_service=True),
        Fault("drift", "the features are not as in training", "DataDriftDetected", frozenset({"drift"})),
        Fault(
            "wrong-labels", "reviewers say that the answers are wrong", "LowModelAccuracy", pages=True,
            wrong_labels=True,
        ),
        Fault(
            "low-confidence", "the model is unsure of all it says", "HighLowConfidencePredictions",
            frozenset({"low_confidence"}),
        ),
        Fault("missing-values", "most requests lack a feature", "MissingValues", frozenset({"missing_values"})),
        Fault("traffic-stop", "no requests come any more", "TrafficStopped", pages=True, stops_traffic=True),
        Fault(
            "scrape-broken", "the service answers, but its counts do not come", "MetricsAbsent", frozenset({"metrics"}),
            pages=True, locks_counts=True,
        ),
        Fault(
            "receiver-down", "PagerDuty answers 503 while requests fail", "HighErrorRate", frozenset({"errors"}),
            pages=True, breaks_receiver=True,
        ),
        Fault("serve-killed", "whoever evaluates is killed (kill -9)", "Watchdog", kills_evaluator=True),
    )
}  # fmt: skip
# what may be broken at once, since the alerts are told apart, and what needs the service for itself
TOGETHER = (
    "errors", "slow-requests", "drift", "wrong-labels", "low-confidence", "missing-values", "receiver-down",
)  # fmt: skip


def chosen(names: Iterable[str]) -> list[Fault]:
    """Return the faults of these names; all of them without any.

    Raises
    ------
    ConfigError   there is none of a name.
    """
    wanted = list(names) or list(FAULTS)
    for name in wanted:
        if name not in FAULTS:
            raise ConfigError(fault("--fault", "fault", name, f"one of {', '.join(FAULTS)}", "Name one of them."))
    return [FAULTS[name] for name in FAULTS if name in wanted]
