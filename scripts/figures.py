"""Writes what README and docs quote of docs/benchmarks.md into them: `make bench` runs it, a test compares.

A quotation stands between <!-- figures NAME --> and <!-- /figures -->; its words are here, its numbers the page's.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/drift.md", "docs/ground-truth.md")
PASSAGE = re.compile(r"(<!-- figures (\w+) -->).*?(<!-- /figures -->)", re.DOTALL)
SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
LABEL, BARE = "label() until durable, {}, 10 000 000 stored samples", "bare durable insert"
LOAD = "FastAPI (uvicorn), requests only: requests per CPU second lost, median"

COST = """\
A watched function costs {watched} a call, one event with ten features {event} of CPU
  until it is committed. A FastAPI endpoint that does nothing else answers {lost} fewer requests per CPU second, where
  the Prometheus exporters lose {instrumentator} and {exporter}; the aim of {aim} is {verdict}."""
RULES = """\
one PromQL evaluation of KS over 100 features, 20 buckets and 10 replicas takes {ks} of
processor time, and all rules of both windows {rules} once a minute ({share} of one core)."""
LABELS = """

| | median | for |
|---|---|---|
| a bare durable insert | {bare} | the wait for the disk, two pages |
| the statements of a label by the driver alone | {driver}, {driver_ratio} the insert beside it \
| is the sample there, who said what when, the label of the sample; five pages, so that views need not search |
| the store, without the thread | {store}, {store_ratio} \
| what becomes of it: matched, duplicate, conflict, late; the same code for SQLite and PostgreSQL; \
whether the file that was written still lies at its path |
| `label()` | {label}, {label_ratio} \
| who writes it: its caller, who waits anyway, where a file has nothing else to do; else the thread that writes, \
and callers at once share one commit |

It does not grow with what is stored, but for the pages that are not in memory: {small} with a few thousand samples.
A label beside others costs less: four processes with four callers each store {together} a second.
"""


class Row(NamedTuple):
    """A row of the page."""

    what: str
    ours: str
    peer: str
    ratio: str
    gate: str
    verdict: str


def rows_of(page: str) -> list[Row]:
    """Return the rows of the tables of docs/benchmarks.md."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| what", "| ---"))]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def row_of(rows: list[Row], what: str, peer: str = "") -> Row:
    """Return the first row of a name, and of a peer where it matters."""
    for row in rows:
        if row.what.startswith(what) and row.peer.startswith(peer):
            return row
    raise SystemExit(
        f"docs/benchmarks.md: has no row {what!r}; expected what scripts/figures.py quotes. Mend its name there."
    )


def _time(cell: str, unit: str, digits: int) -> str:
    """Return a time in a unit, rounded: the last digits move from run to run."""
    number, given = cell.rpartition(": ")[2].split(" ")
    return f"{float(number) * SECONDS[given] / SECONDS[unit]:.{digits}f} {unit}"


def _percent(cell: str) -> str:
    return f"{float(cell.rpartition(': ')[2].removesuffix(' %')):.0f} %"


def passages(rows: list[Row]) -> dict[str, str]:
    """Return the text of each quotation by its name."""
    load = row_of(rows, LOAD, "prometheus-fastapi-instrumentator")
    ks = row_of(rows, "PromQL: KS over 100 features").ours
    every = _time(row_of(rows, "all drift rules of both windows").ours, "s", 2)
    driver = row_of(rows, "… of it, its statements by the driver alone, p50")
    store = row_of(rows, "… of it, without the writer's thread, p50")
    label = row_of(rows, LABEL.format("p50"), BARE)
    bare = sorted(round(float(_time(row.peer, "µs", 0).split(" ")[0])) for row in (driver, store, label))
    together = row_of(rows, "4 processes × 4 callers on SQLite: time for one label").what
    cost = COST.format(
        watched=_time(row_of(rows, "watched function (RED)").ours, "µs", 1),
        event=_time(row_of(rows, "record() + fold + commit, 10 features, two threads, 10 000").ours, "µs", 1),
        lost=_percent(load.ours), instrumentator=_percent(load.peer), aim=_percent(load.gate.removeprefix("≤ ")),
        exporter=_percent(row_of(rows, LOAD, "starlette-exporter").peer),
        verdict="reached" if load.verdict == "holds" else "missed",
    )  # fmt: skip
    rules = RULES.format(
        ks=_time(ks, "s", 2), rules=every, share=f"{float(every.split(' ')[0]) / 60:.1%}".replace("%", " %")
    )
    labels = LABELS.format(
        bare=f"{bare[0]} to {bare[-1]} µs",
        driver=_time(driver.ours, "µs", 0), driver_ratio=driver.ratio.removesuffix(" it"),
        store=_time(store.ours, "µs", 0), store_ratio=store.ratio.removesuffix(" it"),
        label=_time(label.ours, "µs", 0), label_ratio=label.ratio.removesuffix(" it"),
        small=_time(row_of(rows, LABEL.format("p50"), "with ").peer, "µs", 0),
        together=f"{int(re.findall(r'[0-9]+(?= a second)', together)[0]):,}",
    )  # fmt: skip
    return {"cost": cost, "rules": rules, "labels": labels}


def quoted(text: str, found: dict[str, str]) -> str:
    """Return a page with its quotations as they should be."""
    return PASSAGE.sub(lambda match: f"{match[1]}{found[match[2]]}{match[3]}", text)


def main() -> None:
    """Write the pages."""
    found = passages(rows_of((ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")))
    for name in PAGES:
        page = ROOT / name
        page.write_text(quoted(page.read_text(encoding="utf-8"), found), encoding="utf-8")
    sys.stdout.write(f"Written: what {', '.join(PAGES)} quote of docs/benchmarks.md\n")


if __name__ == "__main__":
    main()
