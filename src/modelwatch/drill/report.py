"""What a drill found out, for a terminal, a script and a browser."""

from __future__ import annotations

import html
from datetime import datetime, timezone
from typing import Any

from modelwatch import __version__
from modelwatch.drill.run import Drill, Trial
from modelwatch.drill.watching import LOOK_S

STEPS = ("moved", "pending", "firing", "delivered", "removed", "resolved", "ended")
WORDS = {
    "moved": "signal moved", "pending": "pending", "firing": "firing", "delivered": "on the wire",
    "removed": "fault off", "resolved": "end on the wire", "ended": "over",
}  # fmt: skip


def clock(at: float | None) -> str | None:
    """Return a Unix time as text; None for none."""
    return None if at is None else datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="milliseconds")


def as_json(drill: Drill) -> dict[str, Any]:
    """Return all of it as plain values.

    `faults` has an entry a fault and mode: `fired`, `delivered`, `resolved`, `passed`; `at`, when each step was seen;
    `told`, when each receiver got it; `alerts`, from when to when each severity and culprit fired. `apart` says by how
    many seconds `serve` was later than Prometheus where both watched.
    """
    return {
        "passed": drill.passed, "time_scale": drill.time_scale, "began": clock(drill.began),
        "seconds": round(drill.seconds, 1), "version": __version__,
        "faults": [_trial(trial) for trial in drill.trials],
        "apart": {
            "allowed_s": drill.allowed_s,
            "alerts": [
                {
                    "fault": one.fault, **one.alert._asdict(), "fired_s": round(one.fired_s, 2),
                    "resolved_s": None if one.ended_s is None else round(one.ended_s, 2),
                }
                for one in drill.apart()
            ],
        },
    }  # fmt: skip


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.fault.name, "fired": trial.firing is not None, "delivered": trial.delivered is not None,
        "resolved": trial.resolved is not None, "passed": trial.passed, "mode": trial.mode, "alert": trial.fault.alert,
        "why": trial.why or None,
        "told": {
            name: {"delivered": clock(told.delivered), "resolved": clock(told.resolved)}
            for name, told in trial.told.items()
        },
        "at": {"injected": clock(trial.injected), **{step: clock(getattr(trial, step)) for step in STEPS}},
        "alerts": [
            {
                "alert": span.alert.name, "severity": span.alert.severity, "about": span.alert.about or None,
                "fired": clock(span.firing), "resolved": clock(span.ended),
            }
            for span in trial.spans
            if span.firing is not None
        ],
    }  # fmt: skip


def after(trial: Trial, step: str) -> str:
    """Return how long after the fault a step was seen."""
    at = getattr(trial, step)
    return "-" if at is None or trial.injected is None else f"{max(at - trial.injected, 0.0):.1f} s"


def verdict(drill: Drill) -> str:
    """Return the outcome as a sentence."""
    good = sum(trial.passed for trial in drill.trials)
    scale = f"; time runs {drill.time_scale:g} times as fast" if drill.time_scale != 1 else ""
    return f"{good} of {len(drill.trials)} passed in {drill.seconds:.0f} s{scale}"


def print_table(drill: Drill) -> None:
    """Print it for people.

    Raises
    ------
    MissingExtra   rich is not installed.
    """
    from modelwatch.errors import MissingExtra

    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        raise MissingExtra("drill: rich is not installed. Run: pip install 'modelwatch[server]'") from None
    table = Table("fault", "mode", "alert", *WORDS.values(), "outcome", title="Seconds after the fault")
    for trial in drill.trials:
        outcome = "[green]passed[/]" if trial.passed else "[red]failed[/]"
        steps = [after(trial, step) for step in WORDS]
        table.add_row(trial.fault.name, trial.mode, trial.fault.alert, *steps, outcome)
    console = Console()
    console.print(table)
    if rows := _apart(drill):
        apart = Table(*APART, title=apart_words(drill))
        for row in rows:
            apart.add_row(*row)
        console.print(apart)
    for trial in drill.trials:
        if trial.why:
            console.print(f"{trial.fault.name} ({trial.mode}): {trial.why}", markup=False)
    console.print(verdict(drill), markup=False)


APART = ("fault", "alert", "severity", "about", "began to fire", "ended")


def apart_words(drill: Drill) -> str:
    """Return what the table of differences says."""
    return (
        f"Seconds by which serve was later than Prometheus; one evaluation and one scrape are {drill.allowed_s:.1f} s, "
        f"between two looks lie {LOOK_S:g} s"
    )


def _apart(drill: Drill) -> list[tuple[str, ...]]:
    return [
        (one.fault, *one.alert, f"{one.fired_s:+.1f}", "not seen" if one.ended_s is None else f"{one.ended_s:+.1f}")
        for one in drill.apart()
    ]


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}"
    "th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #ddd}td.n{text-align:right}"
    ".yes{color:#176f3a}.no{color:#b3261e;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}"
    ".yes{color:#6fcf97}.no{color:#ff8a80}}"
)


def as_html(drill: Drill) -> str:
    """Return one page that needs nothing else."""
    head = "".join(f"<th>{word}</th>" for word in ("fault", "mode", "alert", *WORDS.values(), "outcome"))
    rows = "".join(_row(trial) for trial in drill.trials)
    fired = "".join(
        f"<tr><td>{_e(span.alert.name)}</td><td>{_e(span.alert.severity)}</td><td>{_e(span.alert.about)}</td>"
        f"<td>{trial.mode}</td><td>{clock(span.firing)}</td><td>{clock(span.ended) or 'not seen'}</td></tr>"
        for trial in drill.trials
        for span in trial.spans
        if span.firing is not None
    )
    apart = "".join(f"<tr>{''.join(f'<td>{_e(cell)}</td>' for cell in row)}</tr>" for row in _apart(drill))
    if apart:
        named = "".join(f"<th>{_e(word)}</th>" for word in APART)
        apart = f"<h2>{_e(apart_words(drill))}</h2><table><thead><tr>{named}</tr></thead><tbody>{apart}</tbody></table>"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Drill</title><style>{_STYLE}</style></head>'
        f"<body><h1>Drill: {_e(verdict(drill))}</h1><p>Begun {clock(drill.began)}; modelwatch {_e(__version__)}. "
        "Seconds after the fault was turned on:</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "<h2>When each alert fired and resolved</h2><table><thead><tr><th>alert</th><th>severity</th><th>about</th>"
        f"<th>mode</th><th>fired</th><th>resolved</th></tr></thead><tbody>{fired}</tbody></table>{apart}</body></html>\n"
    )


def _row(trial: Trial) -> str:
    steps = "".join(f'<td class="n">{after(trial, step)}</td>' for step in WORDS)
    mark, word = ("yes", "passed") if trial.passed else ("no", _e(trial.why or "failed"))
    return (
        f'<tr><td title="{_e(trial.fault.words)}">{_e(trial.fault.name)}</td><td>{trial.mode}</td>'
        f'<td>{_e(trial.fault.alert)}</td>{steps}<td class="{mark}">{word}</td></tr>'
    )


def _e(text: str) -> str:
    return html.escape(text, quote=True)
