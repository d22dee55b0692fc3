"""A back-test for people: the same tables on the terminal, in Markdown and as a page that needs nothing else."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from modelwatch.backtest.replay import Told
from modelwatch.backtest.result import PAGE, Backtest, when
from modelwatch.backtest.tuning import Point, Tuned
from modelwatch.errors import MissingExtra

WIDE = 180  # columns where there is no terminal
LONGEST_WHY = 160  # characters of what is behind an alert
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1b1b1b}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;margin-bottom:1.5rem}"
    "th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid #ddd}"
    "@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}}"
)


class Section(NamedTuple):
    """A heading with a table, or with sentences alone."""

    title: str
    lines: Sequence[str]
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def lasting(seconds: float | None) -> str:
    """Return a span of time.

    Examples
    --------
    >>> lasting(12), lasting(660), lasting(10_080), lasting(200_000), lasting(None)
    ('12 s', '11 min', '2.8 h', '2.3 d', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def moment(at: float | None) -> str:
    """Return a Unix time for people, in UTC; its seconds where it has any.

    Examples
    --------
    >>> moment(1_767_225_600.0), moment(1_767_225_612.0), moment(None)
    ('2026-01-01 00:00', '2026-01-01 00:00:12', 'still on')
    """
    if at is None:
        return "still on"
    return str(when(at)).rstrip("Z").replace("T", " ").removesuffix(":00")


def a_month(value: float | None) -> str:
    """Return how often something comes a month.

    Examples
    --------
    >>> a_month(0.0), a_month(2.14), a_month(240.4), a_month(None)
    ('0', '2.1', '240', 'unknown')
    """
    if value is None:
        return "unknown"
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def sections(found: Backtest) -> Iterator[Section]:
    """Yield what is shown, in order."""
    yield Section(f"Back-test of {found.model} {found.version}", _summary(found))
    if found.incidents:
        rows = [_incident(found, i) for i in range(len(found.incidents))]
        head = ("incident", "from", "to", "first told", "after", "paged after", "firing before")
        yield Section("Incidents", _false_alarms(found), head, rows)
    rows = [_entry(one) for one in found.told]
    lines = [] if rows else ["Nothing would have been told."]
    yield Section("Timeline", lines, ("from", "to", "severity", "alert", "what is behind it"), rows)
    blind = [
        (name, severity, lasting(one.seconds), f"{one.seconds / (found.looks * found.every_s):.0%}", one.reason)
        for (name, severity), one in found.blind.items()
        if one.seconds
    ]
    yield Section("Cannot tell", [], ("alert", "severity", "for", "of the log", "why, as last seen"), blind)
    if found.tuned is not None:
        yield from _tuned(found.tuned)


def _summary(found: Backtest) -> list[str]:
    counts = ", ".join(f"{n} {severity}" for severity, n in found.counts().items())
    pages = f"{a_month(found.pages_a_month)} pages a month"
    if found.pages_a_month is None:
        pages = "a log of less than a day says nothing of a month"
    scaled = f" Time is scaled: {found.time_scale:g} minutes pass in one." if found.time_scale != 1 else ""
    span = f"{found.rows:,} rows from {moment(found.began)} to {moment(found.ended)} UTC"
    return [
        f"{found.log}: {span}, looked at {found.looks:,} times, every {lasting(found.every_s)}.{scaled}",
        f"{counts}; {pages}.",
        *found.notes,
    ]


def _false_alarms(found: Backtest) -> list[str]:
    inside = [one for one in found.incidents if one.inside]
    missed = f"; missed: {', '.join(found.missed)}" if found.missed else ""
    lines = [f"{len(inside) - len(found.missed)} of {len(inside)} found{missed}."]
    each = Counter(f"{one.severity} {one.name}" for one in found.false_alarms)
    words = ", ".join(f"{n} {what}" for what, n in sorted(each.items()))
    return [*lines, f"Outside of all incidents: {words or 'nothing'}."]


def _incident(found: Backtest, i: int) -> Sequence[str]:
    one = found.incidents[i]
    span = one.incident.name, moment(one.incident.start), moment(one.incident.end)
    before = ", ".join(one.before) or "–"
    if not one.told:
        return (*span, "MISSED" if one.inside else "outside the log", "–", "–", before)
    first = one.told[0]
    return (
        *span, f"{first.severity} {first.words}", lasting(one.delay_s()), lasting(one.delay_s(PAGE)), before
    )  # fmt: skip


def _entry(one: Told) -> Sequence[str]:
    behind = " ".join(one.culprits) or one.description
    if len(behind) > LONGEST_WHY:
        behind = behind[: LONGEST_WHY - 1] + "…"
    return (moment(one.began), moment(one.ended), f"{one.severity}{', eased' if one.eased else ''}", one.words, behind)


def _tuned(tuned: Tuned) -> Iterator[Section]:
    """Yield the proposal, and the trade-off of each alert that the log says something of."""
    changes = [f"{alert}: {levels_words(levels)}" for alert, levels in tuned.proposed.items()]
    rest = ", ".join(f"{name} {a_month(pages)}" for name, pages in tuned.others.items() if pages)
    told = "{}: {} pages a month, {} incidents missed, median delay {}."
    now, then = (
        told.format(name, a_month(one.pages_a_month), one.missed, lasting(one.delay_s))
        for name, one in (("Today", tuned.before), ("With the proposal", tuned.after))
    )
    lines = [*(changes or ["Nothing should change."]), now, *([then] if changes else [])]
    if rest:
        lines.append(f"No threshold changes these pages a month: {rest}. Their objectives do.")
    if not tuned.kept:
        lines.append("No thresholds of the grid keep the budget.")
    yield Section(f"Proposal for {a_month(tuned.budget)} pages a month", lines)
    head = ("alert", "thresholds", "pages a month", "warnings a month", "found", "delay", "")
    rows = [_point(point, tuned) for point in tuned.grid if _is_told(point.alert, tuned)]
    quiet = sorted({point.alert for point in tuned.grid if not _is_told(point.alert, tuned)})
    yield Section(
        "Trade-off", [f"Quiet at every threshold: {', '.join(quiet)}."] if quiet else [], head, rows
    )  # fmt: skip


def _is_told(alert: str, tuned: Tuned) -> bool:
    return any(point.told for point in tuned.grid if point.alert == alert)


def _point(point: Point, tuned: Tuned) -> Sequence[str]:
    proposed = tuned.proposed.get(point.alert)
    mark = "proposed" if proposed == point.levels else "today" if point.strictness == 1 else ""
    return (
        point.alert, levels_words(point.levels), a_month(point.pages_a_month), a_month(point.warnings_a_month),
        f"{point.found} of {point.incidents}" if point.incidents else "–", lasting(point.delay_s), mark,
    )  # fmt: skip


def levels_words(levels: object) -> str:
    """Return thresholds as they stand in a configuration.

    Examples
    --------
    >>> levels_words({"critical": 0.05, "warning": 0.02})
    '{critical: 0.05, warning: 0.02}'
    """
    pairs = dict(levels).items()  # type: ignore[call-overload]
    return "{" + ", ".join(f"{level}: {value:g}" for level, value in pairs) + "}"


# -- the three forms ---------------------------------------------------------------------------------------------------


def print_tables(found: Backtest) -> None:
    """Print it on the terminal.

    Raises
    ------
    MissingExtra   rich is not installed.
    """
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        raise MissingExtra("backtest: rich is not installed. Run: pip install 'modelwatch[server]'") from None
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    for part in sections(found):
        console.print(f"\n{part.title}", style="bold", markup=False, highlight=False)
        for line in part.lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if part.rows:
            table = Table(*part.head, box=SIMPLE_HEAD, pad_edge=False)
            for row in part.rows:
                table.add_row(*(text.replace("[", "\\[") for text in row))
            console.print(table)


def as_markdown(found: Backtest) -> str:
    """Return it as Markdown."""
    lines = []
    for level, part in zip(_levels(), sections(found), strict=False):
        lines += [f"{level} {part.title}", "", *part.lines, *([""] if part.lines else [])]
        if part.rows:
            lines += [_row(part.head), _row(["---"] * len(part.head)), *map(_row, part.rows), ""]
    return "\n".join(lines)


def _levels() -> Iterator[str]:
    yield "#"
    while True:
        yield "##"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


def as_html(found: Backtest) -> str:
    """Return one page."""
    parts = []
    for level, part in zip(_levels(), sections(found), strict=False):
        heading = f"h{len(level)}"
        parts.append(f"<{heading}>{html.escape(part.title)}</{heading}>")
        parts += [f"<p>{html.escape(line)}</p>" for line in part.lines]
        if part.rows:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in part.head)
            rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in part.rows)
            body = "".join(f"<tr>{row}</tr>" for row in rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    title = html.escape(f"Back-test of {found.model}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body>{''.join(parts)}</body></html>\n"
    )
