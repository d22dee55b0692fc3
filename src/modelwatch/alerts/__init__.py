"""Alerts: the catalogue as data, one evaluation of it as a pure function, and the life of an alert."""

from modelwatch.alerts.conditions import All, AnyOf, Clause, Condition, Truth
from modelwatch.alerts.evaluation import (
    ALWAYS_ON,
    Evaluation,
    Message,
    Verdict,
    evaluate,
    message,
    verdict_dict,
    why_quiet,
)
from modelwatch.alerts.rule import SEVERITIES, Rule, Severity
from modelwatch.alerts.rules import objectives_for, rules_of
from modelwatch.alerts.state import AlertState, dumped, loaded, step

__all__ = [
    "ALWAYS_ON",
    "SEVERITIES",
    "AlertState",
    "All",
    "AnyOf",
    "Clause",
    "Condition",
    "Evaluation",
    "Message",
    "Rule",
    "Severity",
    "Truth",
    "Verdict",
    "dumped",
    "evaluate",
    "loaded",
    "message",
    "objectives_for",
    "rules_of",
    "step",
    "verdict_dict",
    "why_quiet",
]
