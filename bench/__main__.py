"""Runs the benchmarks, prints their table, and writes docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from importlib import import_module

from bench.harness import COLUMNS, QUICK, ROOT, Effort, Row, version

GROUPS = {
    "request_path": "Request path: CPU added to one call of a trivial function",
    "fold": "Fold: CPU of one event in all, counting and committing included",
    "middleware": "Middleware: CPU added to one request, without a network",
    "http": "Under load: one small endpoint behind a real server, over a socket",
    "drift": "Drift: one comparison, taking samples in, requests while windows close, and the rules in Prometheus",
    "promises": "Alerts and objectives: one evaluation of many models, one record of SLOTracker",
    "batch": "Logs: a million rows and ten, in memory and from files, beside those that measure the drift of tables",
    "exposition": "Exposition: 10 models x 50 features x 20 buckets",
    "feedback": "Feedback: a label until it is durable",
    "pages": "Pages: in a real browser, of a service with four models",
    "startup": "Start and installation",
}
PAGE = ROOT / "docs" / "benchmarks.md"
LIBRARIES = (
    "numpy", "prometheus-client", "pydantic", "fastapi", "starlette", "scipy", "opentelemetry-sdk",
    "opentelemetry-instrumentation-fastapi", "prometheus-fastapi-instrumentator", "starlette-exporter",
    "prometheus-flask-exporter", "uvicorn", "httptools", "uvloop", "flask", "gunicorn", "pyarrow",
)  # fmt: skip
INTRODUCTION = """\
Ours and its peers, measured side by side in one run: interleaved rounds, the best of each, CPU time. Figures move from
machine to machine and, through cold caches, with what else a machine does; the ratios move less. "× it" is ours over
the peer, "× under" the peer over ours. A gate is what modelwatch must reach. This is a benchmark and no test: nothing
but this page depends on it.

Under load the server's core is not ours alone: requests per second of the wall clock move with what else the machine
does, so the gate is on requests per CPU second of the server, what it would answer with a core of its own.
"""


def main() -> None:
    """Measure what was asked for; always ends with exit status 0."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure modelwatch beside its peers.")
    parser.add_argument("--only", choices=GROUPS, action="append", metavar="NAME", help=f"one of {', '.join(GROUPS)}")
    parser.add_argument("--quick", action="store_true", help="few rounds, to see that it works")
    parser.add_argument("--stored", type=int, metavar="N", help="samples in the store of ground truth")
    given = parser.parse_args()
    effort = QUICK if given.quick else Effort()
    if given.stored:
        effort = replace(effort, stored=given.stored)
    begin, load = time.monotonic(), os.getloadavg()[0]
    tables = {}
    for name in given.only or GROUPS:
        module = import_module(f"bench.{name}")
        measure: Callable[[Effort], list[Row]] = module.measure
        tables[name] = measure(effort)
        print(f"\n{GROUPS[name]}\n")
        print(as_text(tables[name]), flush=True)
    verdict = judged([row for rows in tables.values() for row in rows])
    print(f"\n{verdict}")
    if given.only or given.quick:
        print("docs/benchmarks.md is written by a whole run: without --only and --quick.")
        return
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(tables, verdict, load, time.monotonic() - begin), encoding="utf-8")
    print("Written: docs/benchmarks.md")


def judged(rows: list[Row]) -> str:
    """Return which gates fail, one a line."""
    gated = [row for row in rows if row.gate is not None]
    failed = [row for row in gated if row.holds() is False]
    unknown = sum(row.holds() is None for row in gated)
    words = f"{len(gated) - len(failed) - unknown} of {len(gated)} gates hold, {len(failed)} fail"
    words += f", {unknown} could not be judged, since the peer was not run" if unknown else ""
    lines = [f"- {row.what}: {'; '.join(filter(None, row.cells()[1:5]))}" for row in failed]
    return "\n".join([f"{words}{':' if failed else '.'}", *([""] if failed else []), *lines])


def as_text(rows: list[Row]) -> str:
    """Return a table for the terminal."""
    lines = [COLUMNS, *[row.cells() for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(line.rstrip() for line in padded)


def as_markdown(rows: list[Row]) -> str:
    """Return a table for the page."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *[row.cells() for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> str:
    """Return what was measured on, in general words."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()}, Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}; {libraries}"
    )


def page(tables: dict[str, list[Row]], verdict: str, load: float, seconds: float) -> str:
    """Return docs/benchmarks.md."""
    today = datetime.now(timezone.utc).date()
    facts = (
        f"- When: {today}, {seconds:.0f} s; load of the machine at the start: {load:.1f}\n"
        "- Command: `make bench` (`.venv/bin/python -m bench`)\n"
        f"- Machine: {machine()}\n"
    )
    parts = [
        "# Benchmarks",
        INTRODUCTION,
        f"{verdict}\n",
        facts,
    ]
    parts += [f"## {GROUPS[name]}\n\n{as_markdown(rows)}\n" for name, rows in tables.items()]
    return "\n".join(parts)


if __name__ == "__main__":
    main()
