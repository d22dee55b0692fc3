"""What people read about alerts: the runbook pages, and the table of severities that is made from the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files

from modelwatch.alerts.conditions import AnyOf, Clause, Condition
from modelwatch.alerts.rule import SEVERITIES, Rule
from modelwatch.alerts.words import ago, amount
from modelwatch.catalogue import ALERTS
from modelwatch.errors import fault
from modelwatch.signals.service import MUTED_S, SEASONED

#: How soon somebody must look, and who is told when nobody does.
RESPONSE: Mapping[str, tuple[str, str]] = {
    "critical": ("15 minutes", "a backup is paged when nobody acknowledges within 15 minutes"),
    "warning": ("1 hour", "a message to the team"),
    "info": ("next business day", "review on the dashboard"),
    "none": ("–", "the receiver that misses it"),
}
SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation", "False positives")


def runbook(name: str) -> str:
    """Return the runbook page of an alert, as Markdown.

    Raises
    ------
    ValueError   no alert of this name.
    """
    if name not in ALERTS:
        raise ValueError(fault("runbook", "alert", name, f"one of {', '.join(ALERTS)}", "Name one of them."))
    return files("modelwatch.alerts").joinpath("runbooks").joinpath(f"{name}.md").read_text("utf-8")


def severity_table(rules: Sequence[Rule]) -> str:
    """Return the table of severities and their alerts, as Markdown, for the docs."""
    lines = [
        "<!-- made from the catalogue; do not edit -->", "",
        "| severity | respond within | escalation |", "|---|---|---|",
        *(f"| {severity} | {RESPONSE[severity][0]} | {RESPONSE[severity][1]} |" for severity in SEVERITIES), "",
        "| alert | severity | fires when | for |", "|---|---|---|---|",
    ]  # fmt: skip
    rows: dict[str, None] = {}
    for rule in sorted(rules, key=lambda rule: (SEVERITIES.index(rule.severity), list(ALERTS).index(rule.name))):
        marks = ", ".join(f"{name} {value}" for name, value in rule.labels.items() if name != "kind")
        held = ago(rule.for_s) if rule.for_s else "at once"
        page = f"[{rule.name}](../src/modelwatch/alerts/runbooks/{rule.runbook})"
        rows[f"| {page} | {rule.severity}{f' ({marks})' if marks else ''} | {condition_words(rule)} | {held} |"] = None
    return "\n".join([*lines, *rows]) + "\n"


def condition_words(rule: Rule) -> str:
    """Return what an alert fires on, in words."""
    return _words(rule.condition)


def _words(condition: Condition) -> str:
    if isinstance(condition, AnyOf):
        each = [list(part.clauses()) for part in condition.parts]
        common = [clause for clause in each[0] if all(clause in other for other in each)]
        rests = [" and ".join(_clause(clause) for clause in other if clause not in common) for other in each]
        told = [f"({' or '.join(rests)})"] if len(rests) > 1 else []
        return " and ".join([*map(_clause, common), *told])
    return " and ".join(dict.fromkeys(map(_clause, condition.clauses())))


def _clause(clause: Clause) -> str:
    signal, limit = clause.signal, amount(clause.limit, clause.signal.unit)
    if signal.name.endswith("_certainty"):
        return "it is no chance"
    if signal is SEASONED:
        return f"the version is known for {ago(MUTED_S)}"
    offset = f", {ago(clause.offset_s)} before" if clause.offset_s else ""
    enough = f" (of at least {signal.smallest} {signal.counted})" if signal.smallest > 1 else ""
    return f"{signal.title.lower()} {clause.op} {limit} over {ago(clause.window_s)}{offset}{enough}"
