"""Back-tests of public data with labelled changes: NAB and PetShop, beside the figures that are published for them.

    python simulations/backtest_public.py FOLDER [--write]

FOLDER holds nab.parquet (series, timestamp, value), nab_windows.json, nab_detector_alarms.json (what the detectors of
NAB's scoreboard alarmed at their published thresholds), petshop_low_traffic.parquet and its _issues.json.

A series of NAB is a feature of a model: its first 15 % (750 rows at most, NAB's probation) are the training data, and
the whole series is the log. A window is found when an alert begins in it; alerts that begin in the probation are left
out, as NAB leaves out those of its detectors. PetShop is replayed as in petshop.py, from an hour before each onset on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import petshop
import pyarrow.parquet as pq
from blocks import Block

from modelwatch.alerts import rules_of
from modelwatch.backtest.backtesting import watched_of
from modelwatch.backtest.cumulated import Cumulated
from modelwatch.backtest.incidents import Incident, compare
from modelwatch.backtest.replay import Told, Watch, replay
from modelwatch.batch import analyze
from modelwatch.batch.profile import profile
from modelwatch.config import parse_config

PAGE = Path(__file__).resolve().parents[1] / "docs" / "backtest.md"
CONFIG = parse_config(
    "service: {name: nab}\nmodels: {m: {version: '1', task: regression, features: {value: numeric}}}", environ={}
)
PROBATION, MOST = 0.15, 750
EVERY_S = 900  # from look to look at NAB, whose rows are of five minutes and more and whose windows are of hours
SEEN = ("DataDriftDetected",)
Rows = list[dict[str, Any]]


class Score(NamedTuple):
    """What one detector did: windows, those it found, their delays in seconds, and its alarms outside."""

    windows: int
    delays: list[float]
    outside: int

    def words(self) -> str:
        """Return it as a line of the table."""
        delay = f"{median(self.delays) / 3600:5.1f} h" if self.delays else "      –"
        return f"{len(self.delays):4} of {self.windows}   {delay}   {self.outside:6}"


def watched(rows: Rows, names: Iterable[str] = SEEN) -> tuple[Watch, tuple[float, float], float]:
    """Return (the rules of these names after a series, its span, the end of its probation); of none all rules."""
    trained = rows[: min(round(PROBATION * len(rows)), MOST)]
    reference = profile({"value": [row["value"] for row in trained]}).reference
    log = {name: [row[name] for row in rows] for name in ("timestamp", "value")}
    analysis = analyze(log, reference, model=CONFIG.model())
    counts = Cumulated(analysis.tallies())
    wanted = set(names)
    watch = Watch([rule for rule in rules_of(CONFIG, "m", reference) if not wanted or rule.name in wanted], words=False)
    replay(counts, [(watched_of(CONFIG, analysis, counts), [watch])], EVERY_S)
    return watch, (counts.began, counts.ended), trained[-1]["timestamp"].timestamp()


def of_series(rows: Rows, windows: Sequence[Sequence[str]]) -> dict[str, Score]:
    """Return {who: how it does on a series}: all alerts, and those that are more than info."""
    watch, span, known = watched(rows)
    incidents = [Incident("window", *map(_unix, window)) for window in windows]
    scores = {}
    for who, quiet in (("modelwatch", {}), ("without info", {"info"})):
        told = [one for one in watch.told if one.began > known and one.severity not in quiet]
        found, outside = compare(incidents, told, span, grace_s=0)
        delays = [delay for one in found if (delay := one.delay_s()) is not None]
        scores[who] = Score(len(windows), delays, len(outside))
    return scores


def _unix(text: str) -> float:
    import datetime as dt

    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.timezone.utc).timestamp()


def nab(block: Block, folder: Path) -> None:
    """Say what is found in NAB, beside the detectors of its scoreboard on the same series."""
    windows = json.loads((folder / "nab_windows.json").read_text())
    series: dict[str, Rows] = defaultdict(list)
    for row in pq.read_table(folder / "nab.parquet").to_pylist():
        series[row["series"]].append(row | {"timestamp": row["timestamp"].tz_localize("UTC")})
    alarms = json.loads((folder / "nab_detector_alarms.json").read_text())
    groups = sorted({name.partition("/")[0] for name in series})
    every, _, _ = watched(series[min(series)], ())
    told = sorted({name for (name, _), one in every.blind.items() if one.seconds < 0.9 * _looked(every)})
    block.say("alerts that can say anything of a series of numbers alone, of all in the catalogue:")
    block.say(f"  {', '.join(told)}")
    for group in groups:
        mine = {name: rows for name, rows in series.items() if name.startswith(f"{group}/")}
        block.say(f"{group} ({len(mine)} series):")
        block.say("  detector            found     delay (median)   alarms outside")
        ours = [of_series(rows, windows[name]["windows"]) for name, rows in mine.items()]
        for who in ours[0]:
            block.say(f"  {who:<18}{_summed(one[who] for one in ours).words()}")
        for detector in sorted({one["detector"] for one in alarms}):
            theirs = [one for one in alarms if one["detector"] == detector and one["series"] in mine]
            if theirs:
                block.say(f"  {detector:<18}{_summed(map(_published, theirs)).words()}")


def _looked(watch: Watch) -> float:
    return max(one.seconds for one in watch.blind.values())


def _published(one: dict[str, Any]) -> Score:
    delays = [delay for delay in one["first_alarm_delay_s_from_window_start"] if delay is not None]
    return Score(one["n_windows"], delays, one["alarms_outside"])


def _summed(scores: Iterable[Score]) -> Score:
    every = list(scores)
    return Score(
        sum(one.windows for one in every), [delay for one in every for delay in one.delays],
        sum(one.outside for one in every),
    )  # fmt: skip


def pets(block: Block, folder: Path) -> None:
    """Say what is told of the incidents of PetShop, with the default thresholds, and of its normal days."""
    data = petshop.read(folder / "petshop_low_traffic.parquet")
    issues = json.loads((folder / "petshop_low_traffic_issues.json").read_text())
    normal, text = petshop.minutes_of(data["none"]), petshop.THRESHOLDS["default"]
    delays: dict[str, list[float]] = defaultdict(list)
    early: Counter[bool] = Counter()
    for issue in issues:
        kind, onset = str(issue["target_metric"]), float(issue["target_timestamp"])
        lived = petshop.after_normal_days(normal, petshop.minutes_of(data[str(issue["issue"])]))
        incident = Incident(str(issue["issue"]), onset - 300, onset)  # the rows are of five minutes
        told = [one for one in told_of(lived, text, onset - 3600) if _of_kind(one, kind)]
        (found,), false = compare([incident], told, (min(lived), max(lived) + 60), petshop.FOUND_S)
        early.update(one.severity == "info" for one in false)
        if found.told:
            delays[kind].append(found.told[0].began - onset)
    for kind in petshop.KINDS:
        n = sum(issue["target_metric"] == kind for issue in issues)
        late = f"{median(delays[kind]) / 60:.0f} min" if delays[kind] else "–"
        block.say(f"{kind}: {len(delays[kind])} of {n} found, median delay {late}")
    block.say(f"alerts of its kind outside, from an hour before each on: {early[True]} info, {early[False]} others")
    quiet = told_of(normal, text, None)
    days = (max(normal) - min(normal)) / 86_400
    for severity in ("critical", "warning", "info"):
        told = [one.words for one in quiet if one.severity == severity]
        each = f"{len(told)} {severity}: {', '.join(told)}"
        block.say(f"in {days:.1f} normal days, which have outages of their own, {each}")


def told_of(minutes: dict[int, petshop.Numbers], text: str, since: float | None) -> list[Told]:
    """Return what would have been told."""
    watch = Watch(petshop.rules_for(text), words=False)
    replay(petshop.counts_of(minutes), [(petshop.watched(text), [watch])], since=since)
    return watch.told


def _of_kind(one: Told, kind: str) -> bool:
    return bool({one.name, f"{one.name}/{one.labels.get('slo')}"} & petshop.KINDS[kind])


def main() -> None:
    """Read the options, and say both."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--write", action="store_true", help=f"put the results into {PAGE.name}")
    given = options.parse_args()
    for name, work in (("nab", nab), ("petshop-backtest", pets)):
        block = Block(name)
        work(block, given.folder)
        if given.write:
            block.write(PAGE)


if __name__ == "__main__":
    main()
