"""docs/reliability.md: every promise with its tests, and the figures of one soak."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from soak.ledger import Finding, Ledger
from soak.statements import STATEMENTS

INTRODUCTION = """\
What is promised, how each promise is proved, and what the last soak measured. A test of the
suite stands for a promise whatever the machine is doing: none of them fails on a time. Times and rates are measured
here, by faults under load; on a machine that does other things as well they move, and a figure that misses its bar is
left as it is. The numbers of the promises are those that the tests name.

A process that ends by `os._exit`, by `kill -9` or by a signal that nobody handles runs no exit handlers: call
`monitor.flush(timeout)` before. Web servers that are told to stop do it by themselves."""


class Run(NamedTuple):
    """How a soak was run: its scale, how long it took, and the load of the machine when it began."""

    scale: float
    seconds: float
    load: float


def render(findings: Sequence[Finding], ledger: Ledger, run: Run) -> str:
    """Return the page."""
    measured = [finding for finding in findings if finding.holds is not None]
    failed = [finding for finding in measured if not finding.holds]
    verdict = f"{len(measured) - len(failed)} of {len(measured)} figures hold"
    if len(measured) < len(findings):
        verdict += f", {len(findings) - len(measured)} cannot be told"
    return "\n".join(
        [
            "# Reliability",
            "",
            INTRODUCTION,
            "",
            f"**{verdict}.**" + (" These do not:" if failed else ""),
            "",
            *[f"- {finding.statement}, {finding.what}: {finding.measured}; bar: {finding.bar}" for finding in failed],
            *([""] if failed else []),
            *_facts(run),
            f"- Conservation: {ledger.line()}",
            "",
            "| | promise | proved by | figures of the soak, beside their bars |",
            "| --- | --- | --- | --- |",
            *[_row(number, findings) for number in STATEMENTS],
            "",
        ]
    )


def _facts(run: Run) -> list[str]:
    today = datetime.now(timezone.utc).date()
    command = 'soak-full ARGS="' if run.scale == 1 else f'soak ARGS="--scale {run.scale:g} '
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}"
    return [
        f"- When: {today}, {run.seconds / 60:.0f} min; load of the machine at the start: {run.load:.1f}",
        f"- Scale: {run.scale:g} of the counts and times of the promises (1 is whole: `make soak-full`)",
        f'- Command: `make {command}--write docs/reliability.md"`',
        f"- Machine: {machine}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}",
    ]


def _row(number: int, findings: Sequence[Finding]) -> str:
    statement = STATEMENTS[number]
    proofs = [_link(test) for test in statement.tests]
    figures = [
        f"{finding.what}: {finding.measured} *(bar: {finding.bar}; {finding.verdict})*".replace("|", "\\|")
        for finding in findings
        if finding.statement == number
    ]
    proofs += [statement.beside] if statement.beside else []
    proofs += ["soak"] if figures else []
    return f"| {number} | {statement.words} | {', '.join(proofs)} | {'<br>'.join(figures)} |"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{path}](../tests/{path})" + (f" `{name}`" if name else "")
