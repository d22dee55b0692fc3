"""A log through the rules: the windows and verdicts of the live store, what is told, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from backtest.logs import DAY, HOUR, REFERENCE, TEXT, config_of, log_of
from modelwatch.alerts import AlertState, evaluate, objectives_for, rules_of
from modelwatch.backtest import Backtest, backtest
from modelwatch.backtest.backtesting import watched_of
from modelwatch.backtest.cumulated import Cumulated
from modelwatch.backtest.replay import Watch, replay
from modelwatch.batch import Analysis, analyze
from modelwatch.signals import Facts, Look
from modelwatch.sources.evaluated import windows_of
from modelwatch.store.live import Spans
from modelwatch.store.reader import Changes
from modelwatch.store.windows import Windows
from modelwatch.tally import Tally

BROKEN = ((25.0, 26.5, 0.3), (30.0, 30.5, 2.0))


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    """The counts of a log with an hour of errors and half an hour without requests."""
    return analyze(log_of(31, BROKEN), REFERENCE, model=config_of().model())


def later(analysis: Analysis, since: float, now: float) -> Changes:
    """Return what a live store gets between two times: the rows that have begun."""
    rows = tuple(row for row in analysis.store_rows() if since <= row.start < now)
    return Changes(again=since == 0, rows=rows)


def test_windows_are_those_of_the_live_store(analysis: Analysis) -> None:
    """Any length at any time, on the minute and within it: equal to the last count, rows at 0 included."""
    counts = Cumulated(analysis.tallies())
    chance = np.random.default_rng(3)
    lengths = (60, 300, 3600, 7200, 86_400)
    windows = Windows(lengths)
    before = 0.0
    for now in sorted((DAY + chance.uniform(60, 31 * HOUR, 12)).tolist() + [DAY + 25.5 * HOUR]):
        windows.apply(later(analysis, before, now), now, analysis.schemas)
        before = now
        for length in lengths:
            live = windows.sum(analysis.key, length)
            mine = counts.window(now, length)
            expected = {name: table.as_dict() for name, table in live.tables.items() if table.as_dict()}
            found = {name: table.as_dict() for name, table in mine.tables.items() if table.as_dict()}
            for name, rows in expected.items():
                for labels, (cells, total) in rows.items():
                    assert found[name][labels][0] == cells
                    assert found[name][labels][1] == pytest.approx(total, rel=1e-9, abs=1e-3)
            assert {name: set(rows) for name, rows in found.items()} == {n: set(rows) for n, rows in expected.items()}


def test_verdicts_are_those_of_the_windows_of_the_live_store(analysis: Analysis) -> None:
    """Every alert at every look: phase, outcome, value and samples are those that the windows of `live.db` give."""
    config = config_of()
    rules, objectives = rules_of(config, "churn", REFERENCE), objectives_for(config, "churn", REFERENCE)
    counts = Cumulated(analysis.tallies())
    watched = watched_of(config, analysis, counts)
    windows = Windows(tuple(sorted(windows_of(rules))))
    mine: Mapping[str, AlertState] = {}
    theirs: Mapping[str, AlertState] = {}
    compared, before = 0, 0
    for now in range(DAY + 600, DAY + 31 * 3600, 1800):
        windows.apply(later(analysis, before, now), now, analysis.schemas)
        before = now

        def window(_version: str, began_s: float, ended_s: float) -> Tally:
            whole = windows.sum(analysis.key, int(began_s)).copy()
            if ended_s:
                whole.add_matching(windows.sum(analysis.key, int(ended_s)), -1)
            return whole

        look = Look(
            "churn", float(now), window, {"1": analysis.schema}, objectives, references={"1": REFERENCE},
            facts=Facts(ages={"1": float(now - DAY)}), began=float(DAY),
        )  # fmt: skip
        one, other = evaluate(rules, watched.at(counts, float(now)), mine), evaluate(rules, look, theirs)
        mine, theirs = one.states, other.states
        for left, right in zip(one.verdicts, other.verdicts, strict=True):
            assert (left.key, left.phase, left.outcome) == (right.key, right.phase, right.outcome)
            assert left.truth == right.truth
            compared += left.phase != "inactive"
    assert compared > 20


@pytest.fixture(scope="module")
def found() -> Backtest:
    """The same log, replayed every five minutes."""
    return backtest(log_of(31, BROKEN), config_of(), reference=REFERENCE, every_s=300)


def test_what_would_have_been_told(found: Backtest) -> None:
    """Errors page within minutes, name what fails and end; silence is told; nothing before it."""
    (page,) = [one for one in found.told if one.name == "HighErrorRate" and one.severity == "critical"]
    assert 0 < page.began - (DAY + 25 * HOUR) <= 900
    assert page.ended is not None
    assert 0 < page.ended - (DAY + 26.5 * HOUR) < HOUR
    assert "Timeout" in " ".join(page.culprits)
    (stopped,) = [one for one in found.told if one.name == "TrafficStopped"]
    assert 600 <= stopped.began - (DAY + 30 * HOUR) <= 900
    assert min(one.began for one in found.told) >= DAY + 25 * HOUR
    begun = [one.began for one in found.told]
    assert begun == sorted(begun)
    pages = found.counts()["critical"]
    assert found.pages_a_month == pytest.approx(pages * 30 * 24 / 31, rel=0.01)


def test_a_burn_over_another_window_is_the_same_alert(found: Backtest) -> None:
    """A budget that burns over one window and then over another is told once."""
    burns = [one for one in found.told if one.name == "SLOBurnRate" and one.severity == "critical"]
    assert len(burns) == 1
    assert burns[0].labels == {"slo": "error_rate"}


def test_what_becomes_less_severe_is_no_news(found: Backtest) -> None:
    """An alert that goes on from critical to warning is marked, and not counted."""
    eased = [one for one in found.told if one.eased]
    assert eased
    for one in eased:
        assert any(
            worse.ended == one.began and worse.name == one.name and worse.severity != "info" for worse in found.told
        )
    assert sum(found.counts().values()) == len(found.told) - len(eased)


def test_for_how_long_nothing_could_be_told(found: Backtest) -> None:
    """What a log does not know is blind for all of it, with the reason; what it knows is not."""
    whole = found.looks * found.every_s
    for name in ("ServiceDown", "MetricsAbsent", "LowModelAccuracy"):
        blind = found.blind[name, "critical"]
        assert blind.seconds == whole
        assert blind.reason
    assert found.blind["HighErrorRate", "critical"].seconds < 0.2 * whole
    assert found.blind["LatencyTrend", "info"].seconds >= 24 * HOUR  # it compares with the day before


def test_scaled_time_is_the_same_day_faster(found: Backtest) -> None:
    """With a time_scale of 60 the same log in a 60th of the time tells the same, as far into its day."""
    config = config_of(f"{TEXT}time_scale: 60\n")
    fast = backtest(log_of(31, BROKEN, scale=60), config, reference=REFERENCE, every_s=5)
    assert Spans.of(60).minute == 1
    told = [(one.severity, one.words, 60 * (one.began - DAY)) for one in fast.told]
    assert told == [(one.severity, one.words, one.began - DAY) for one in found.told]
    assert fast.pages_a_month == found.pages_a_month


def test_looks_may_begin_late(analysis: Analysis) -> None:
    """What is replayed from a later time on has the counts of before, and no state of it."""
    config, counts = config_of(), Cumulated(analysis.tallies())
    watch = Watch([rule for rule in rules_of(config, "churn", REFERENCE) if rule.name == "HighErrorRate"])
    looks = replay(counts, [(watched_of(config, analysis, counts), [watch])], since=DAY + 25 * HOUR)
    assert looks == 6 * 60
    assert watch.told[0].began > DAY + 25 * HOUR
