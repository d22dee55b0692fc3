"""Thresholds for a budget of pages: what is proposed does what it says when the log is replayed with it."""

from __future__ import annotations

import pytest

from backtest.logs import DAY, HOUR, REFERENCE, config_of, log_of
from modelwatch.backtest import Backtest, Incident, backtest
from modelwatch.backtest.show import as_html, as_markdown
from modelwatch.backtest.tuning import budget_of, changed, variants
from modelwatch.errors import ConfigError, NotEnoughData

NOISE = [(hour, hour + 1.0, 0.08) for hour in (4.0, 9.0, 14.0)]  # what nobody calls an incident
LOG = log_of(26, [*NOISE, (20.0, 21.5, 0.5)], every_s=4)
INCIDENTS = [
    Incident("deploy", DAY + 20 * HOUR, DAY + 21.5 * HOUR),
    Incident("later", DAY + 90 * HOUR, DAY + 91 * HOUR),
]


@pytest.fixture(scope="module")
def found() -> Backtest:
    """Three hours of noise that page today, and an incident that has to be found."""
    return backtest(LOG, config_of(), reference=REFERENCE, incidents=INCIDENTS, budget=1.0, every_s=300)


def test_the_proposal_keeps_the_budget_and_finds_the_incident(found: Backtest) -> None:
    """Only what pages too often is made stricter, and no further than it must be."""
    tuned = found.tuned
    assert tuned is not None
    assert tuned.before.pages_a_month > 50
    assert tuned.kept
    assert (tuned.after.pages_a_month, tuned.after.missed) == (0, 0)
    assert list(tuned.proposed) == ["HighErrorRate"]
    grid = [point for point in tuned.grid if point.alert == "HighErrorRate"]
    pages = [point.pages_a_month for point in grid]
    assert pages == sorted(pages, reverse=True)
    enough = next(point for point in grid if point.pages_a_month <= 1)
    assert tuned.proposed["HighErrorRate"] == enough.levels
    assert all(point.found == 1 for point in grid if point.strictness <= 2)
    assert found.missed == []
    assert [one.inside for one in found.incidents] == [True, False]


def test_it_is_what_a_replay_with_the_proposal_says(found: Backtest) -> None:
    """Pages outside of incidents, and the delay, are those of the log under the new configuration."""
    tuned = found.tuned
    assert tuned is not None
    config = changed(config_of(), "churn", tuned.proposed)
    again = backtest(LOG, config, reference=REFERENCE, incidents=INCIDENTS, every_s=300)
    pages = sum(one.severity == "critical" for one in again.false_alarms)
    assert pages * 30 * 24 / 26 == pytest.approx(tuned.after.pages_a_month, rel=0.01)
    assert again.incidents[0].delay_s() == tuned.after.delay_s


def test_variants_can_be_configured() -> None:
    """Factors of the latency are edges, ratios at most 1, today is there once, and no two are the same."""
    every = variants(config_of(), "churn", REFERENCE)
    names = {one.alert for one in every}
    assert {"HighErrorRate", "HighLatencyP95", "LowModelAccuracy", "DataDriftDetected", "MissingValues"} <= names
    assert not {"SLOBurnRate", "TrafficStopped"} & names
    for name in names:
        mine = [one for one in every if one.alert == name]
        assert sum(one.strictness == 1 for one in mine) == 1
        assert len({tuple(one.levels.values()) for one in mine}) == len(mine)
    accuracy = [one.levels["critical"] for one in every if one.alert == "LowModelAccuracy"]
    assert accuracy == sorted(accuracy, reverse=True)  # it fires below: the stricter, the smaller
    assert max(accuracy) <= 1


def test_it_is_shown(found: Backtest) -> None:
    """Markdown and HTML have the incident, the proposal and today's point; what comes from outside is escaped."""
    for text in (as_markdown(found), as_html(found)):
        for word in ("deploy", "outside the log", "proposed", "today", "Timeout", "1 of 1 found", "Cannot tell"):
            assert word in text
    bad = backtest(
        LOG, config_of(), reference=REFERENCE, every_s=3600, incidents=[Incident("<b>|x", DAY, DAY + HOUR)]
    )  # fmt: skip
    assert "&lt;b&gt;" in as_html(bad)
    assert "<b>" not in as_html(bad)
    assert "<b>\\|x" in as_markdown(bad)


def test_budgets() -> None:
    """A budget is pages in a day, week or month; anything else is one line; an hour has no month."""
    assert budget_of("max 2 pages per week") == pytest.approx(60 / 7)
    for bad in ("1 page", "max -1 page/month", "max 1 page/year", ""):
        with pytest.raises(ConfigError, match=r"--tune: budget is .*; expected a budget such as 'max 1 page/month'"):
            budget_of(bad)
    with pytest.raises(NotEnoughData, match=r"log: is 2 hours long; --tune needs a day at least"):
        backtest(log_of(2), config_of(), reference=REFERENCE, budget=1.0)
