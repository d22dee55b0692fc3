"""What the catalogue finds in PetShop: 26 injected incidents of a real service at low traffic, and two normal days.

    python simulations/petshop.py petshop_low_traffic.parquet petshop_low_traffic_issues.json [--write]

The data set (amazon-science/petshop-root-cause-analysis, low traffic) has five-minute rows of requests, availability
and latency quantiles of the front end. Each row is spread evenly over its minutes; failed requests are the part that
was not available; the latency buckets are read from the quantiles, on straight lines between them. An incident is
found when an alert of its kind, of any severity, fires from its onset until 45 minutes later, after 26 hours of the
normal days, of which the minutes of an outage (41 % available) are left out. The rows are of five minutes: an onset
is known no better.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from blocks import ALERTS_PAGE, Block

from modelwatch import names
from modelwatch.alerts import SEVERITIES, AlertState, Rule, evaluate, objectives_for, rules_of
from modelwatch.backtest.cumulated import Cumulated
from modelwatch.backtest.replay import Watched
from modelwatch.config import parse_config
from modelwatch.schema import ModelSchema, latency_edges
from modelwatch.signals import Facts
from modelwatch.tally import Tally

MODEL, NODE = "PetSite", "PetSite"
T = 0.35  # seconds: 95 % of the requests of the normal days are within it
KINDS = {
    "availability": {"HighErrorRate", "SLOBurnRate/error_rate", "SLOBudgetExhausted/error_rate"},
    "latency": {"HighLatencyP95", "LatencyTrend", "SLOBurnRate/latency", "SLOBudgetExhausted/latency"},
}
THRESHOLDS = {
    "default": "",
    "own": "alerts: {HighErrorRate: {info: 0.006, warning: 0.012, critical: 0.03}, "
    "HighLatencyP95: {warning: 1, critical: 1.5}}",
}
WARM_UP_S = 26 * 3600
FOUND_S = 2700
OUTAGE = 0.05  # failed share of a minute of the normal days that is none
Rows = dict[int, dict[str, float]]
Numbers = npt.NDArray[np.float64]
SCHEMA = ModelSchema(latency=latency_edges([T]), classes=None)


def read(path: Path) -> dict[str, Rows]:
    """Return {issue: {Unix time: {metric_stat: value}}} of the front end."""
    table = pq.read_table(path).to_pylist()
    found: dict[str, Rows] = defaultdict(lambda: defaultdict(dict))
    for row in table:
        if row["service"] == NODE:
            found[row["issue"]][row["ts"]][f"{row['metric']}_{row['stat']}"] = row["value"]
    return found


def minutes_of(rows: Rows) -> dict[int, Numbers]:
    """Return {start of the minute: [requests, failed, buckets…]}."""
    found = {}
    for ts, row in sorted(rows.items()):
        n = row.get("requests_Sum", 0.0)
        if not n or "latency_p50" not in row:
            continue
        known = [row[f"latency_p{q}"] for q in (50, 90, 95, 99)]
        times = np.maximum.accumulate([0.0, *known, 1.3 * known[-1]])
        upto = np.interp(SCHEMA.latency, times, [0.0, 0.5, 0.9, 0.95, 0.99, 1.0])
        failed = n * (1 - row.get("availability_Average", 100.0) / 100)
        buckets = n * np.diff([0.0, *upto, 1.0])
        for minute in range(5):
            found[ts + 60 * minute] = np.array([n, failed, *buckets]) / 5
    return found


def counts_of(minutes: dict[int, Numbers]) -> Cumulated:
    """Return whole counts by the minute; a minute without a row has none. What is rounded is the sum so far."""
    zero = np.zeros(2 + len(SCHEMA.latency) + 1)
    starts = range(min(minutes), max(minutes) + 60, 60)
    upto = np.round(np.cumsum([zero, *(minutes.get(at, zero) for at in starts)], axis=0))
    return Cumulated((at, tally_of(row)) for at, row in zip(starts, np.diff(upto, axis=0), strict=True))


def tally_of(row: Numbers) -> Tally:
    """Return the counts of a minute."""
    tally = SCHEMA.empty()
    whole = row.astype(np.int64)
    tally.tables[names.REQUESTS.name].count(("/",), int(whole[0]))
    tally.tables[names.FAILED.name].count(("/",), int(whole[1]))
    table = tally.tables[names.DURATION.name]
    table.counts[table.row(("/",))] = whole[2:]
    return tally


def watched(text: str) -> Watched:
    """Return the service with these thresholds."""
    return Watched(MODEL, "1", SCHEMA, objectives_for(config_of(text), MODEL), facts=lambda _now: Facts())


def fired(minutes: dict[int, Numbers], rules: list[Rule], text: str) -> list[tuple[float, str, str]]:
    """Return (Unix time, alert, severity) of all that fired."""
    counts, service = counts_of(minutes), watched(text)
    states: Mapping[str, AlertState] = {}
    found = []
    for now in range(counts.began + 60, counts.ended + 60, 60):
        evaluation = evaluate(rules, service.at(counts, float(now)), states)
        states = evaluation.states
        for verdict in evaluation.verdicts:
            if verdict.change == "fired" and verdict.rule.severity != "none":
                slo = verdict.rule.labels.get("slo")
                found.append((float(now), verdict.rule.name + (f"/{slo}" if slo else ""), verdict.rule.severity))
    return found


def config_of(text: str):  # noqa: ANN201 - the configuration
    """Return the configuration with these thresholds."""
    return parse_config(
        f"""
service: {{name: petshop}}
models:
  {MODEL}:
    version: "1"
    task: regression
    slos: {{latency: {{threshold: {round(1000 * T)}ms}}, error_rate: {{objective: 0.995}}}}
    {text}
""",
        environ={},
    )


def rules_for(text: str) -> list[Rule]:
    """Return the rules that see what the data set has: failed and slow requests."""
    seen = set().union(*KINDS.values())
    return [
        rule for rule in rules_of(config_of(text), MODEL) if {rule.name, f"{rule.name}/{rule.labels.get('slo')}"} & seen
    ]


def after_normal_days(normal: dict[int, Numbers], rows: dict[int, Numbers]) -> dict[int, Numbers]:
    """Return the minutes of an incident after 26 hours of the normal days, without their outage."""
    first = min(normal)
    shift = min(rows) - WARM_UP_S - first
    history = {at: row for at, row in normal.items() if at < first + WARM_UP_S and row[1] < OUTAGE * row[0]}
    return {at + shift: row for at, row in history.items()} | rows


def report(block: Block, data: dict[str, Rows], issues: list[dict[str, str | int]], text: str) -> None:
    """Say what is found with these thresholds, what is missed and why, and the false alarms."""
    rules, normal = rules_for(text), minutes_of(data["none"])
    first = min(normal)
    reached: Counter[str] = Counter()
    for issue in sorted(issues, key=lambda one: str(one["target_metric"])):
        kind, onset = str(issue["target_metric"]), int(issue["target_timestamp"])
        rows = minutes_of(data[str(issue["issue"])])
        lived = after_normal_days(normal, rows)
        hits = [
            hit
            for hit in fired(lived, rules, text)
            if onset - 300 <= hit[0] <= onset + FOUND_S and hit[1] in KINDS[kind]
        ]
        inside = np.sum([row for at, row in rows.items() if onset - 60 <= at < onset + 600], axis=0)
        reached[kind] += bool(hits)
        block.say(f"{issue['issue']} {kind}: {_words(hits, onset, inside, kind)}")
    for kind in KINDS:
        block.say(f"{kind}: {reached[kind]} of {sum(one['target_metric'] == kind for one in issues)} found")
    block.say(f"alarms in {(max(normal) - first) / 86_400:.1f} normal days:")
    for at, name, severity in fired(normal, rules, text):
        hour = np.sum([row for minute, row in normal.items() if at - 3600 <= minute < at], axis=0)
        block.say(
            f"  at {(at - first) / 3600:.1f} h: {severity} {name} ({hour[1] / hour[0]:.1%} failed in the hour before)"
        )


def _words(hits: list[tuple[float, str, str]], onset: int, inside: Numbers, kind: str) -> str:
    """Return what found an incident first, and the worst of it; what it did where nothing found it."""
    if kind == "availability":
        what = f"{inside[1] / inside[0]:.1%} failed over ten minutes"
    else:
        shares = (1 - inside[2 : 3 + SCHEMA.latency.index(edge)].sum() / inside[0] for edge in (T, 2 * T))
        what = "{:.1%} slower than {:g} s, {:.1%} than {:g} s over ten minutes".format(
            *(each for pair in zip(shares, (T, 2 * T), strict=True) for each in pair)
        )
    if not hits:
        return f"MISSED, {what}"
    at, name, severity = hits[0]
    worst = min(hits, key=lambda hit: SEVERITIES.index(hit[2]))  # type: ignore[arg-type]
    then = "" if worst[2] == severity else f", {worst[2]} {worst[1]} after {(worst[0] - onset) / 60:.0f} min"
    return f"{severity} {name} after {(at - onset) / 60:.0f} min{then} ({what})"


def main() -> None:
    """Report with the default thresholds, or with some that fit the service."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("issues", type=Path)
    options.add_argument("--thresholds", choices=THRESHOLDS, default="default", help="of the alerts")
    options.add_argument("--write", action="store_true", help=f"put the result into {ALERTS_PAGE.name}")
    given = options.parse_args()
    block = Block("petshop")
    report(block, read(given.data), json.loads(given.issues.read_text()), THRESHOLDS[given.thresholds])
    if given.write:
        block.write(ALERTS_PAGE)


if __name__ == "__main__":
    main()
