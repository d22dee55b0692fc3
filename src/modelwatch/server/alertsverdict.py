"""The one state of all alerts of a model, with its evidence, for the page of alerts and for its tab."""

from __future__ import annotations

from modelwatch.server import words
from modelwatch.server.health import Verdict
from modelwatch.server.standing import Standing
from modelwatch.server.words import plural

WORDS = {"crit": "Critical", "warn": "Warning", "unk": "Cannot tell", "info": "Info"}


def alerts_verdict(standing: Standing | None) -> Verdict:
    """Return the one state of all alerts of a model."""
    if standing is None:
        told = "These pages of the service evaluate no alert. Run modelwatch serve: it evaluates all, and shows them."
        return Verdict("none", "Not evaluated", "nobody looks at the alerts here", told)
    if standing.reason:
        told = (
            f"{standing.reason[:1].upper()}{standing.reason[1:]}. What stands below may be old. Silence is not health."
        )
        return Verdict("unk", "Cannot tell", "the alerts are not evaluated", told)
    counts = {state: sum(a.state == state for a in standing.firing) for state in WORDS}
    nouns = {"crit": ("critical alert", "critical alerts"), "warn": ("warning", "warnings")}
    nouns |= {
        "unk": ("check says that it cannot tell", "checks say that they cannot tell"),
        "info": ("notice", "notices"),
    }
    named = [plural(n, *nouns[state]) for state, n in counts.items() if n]
    after, silent, waiting = _when(standing), len(standing.silent), len(standing.pending)
    after += f" {waiting} {'waits' if waiting == 1 else 'wait'} below." if waiting else ""
    if standing.worst in {"crit", "warn"}:
        titles = list(dict.fromkeys(alert.title for alert in standing.firing if alert.state in {"crit", "warn"}))
        clause = titles[0] + (f", and {len(titles) - 1} more" if len(titles) > 1 else "")
        missing = f" {plural(silent, 'check has', 'checks have')} no answer." if silent else ""
        return Verdict(standing.worst, f"{'Critical' if standing.worst == 'crit' else 'Warning'}", clause,
                       f"{words.listed(named)}. {after}{missing}")  # fmt: skip
    noted = f" {words.listed(named)}{', which wakes nobody' if standing.worst == 'ok' else ''}." if named else ""
    if standing.worst == "unk" or silent or not standing.count:
        clause = f"nothing is firing, but {silent} of {standing.count} checks have no answer"
        if standing.worst == "unk":
            clause = "a check says that it has no answer"
        elif not standing.count:
            clause = "there is no check for this model"
        return Verdict("unk", "Cannot tell", clause, f"{after}{noted} What is missing stands below.")
    return Verdict("ok", "Quiet", "nothing is firing", f"{after}{noted} All of them have an answer.")


def _when(standing: Standing) -> str:
    ran = f"{plural(standing.count, 'check', 'checks')} ran"
    return f"{ran} {words.age(standing.age_s)} ago." if standing.age_s is not None else f"{ran}."


def alerts_tab(standing: Standing | None) -> tuple[str, str, str]:
    """Return what the tab says of the alerts: state, words, and how many fire."""
    said = alerts_verdict(standing)
    n = len(standing.firing) if standing is not None else 0
    return said.state, f"{said.word}: {said.clause}", words.number(n) if n else ""
