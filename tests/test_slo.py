"""Objectives: the goldens of burn rates and forecasts, good events of each kind, sums before division, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from alerts.life import MODEL, START, Life, Minute, labels, requests
from modelwatch import names
from modelwatch.alerts import objectives_for, rules_of
from modelwatch.config import Config, parse_config
from modelwatch.errors import ConfigError
from modelwatch.generate import compose
from modelwatch.generate.context import Context
from modelwatch.generate.rules import recordings
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema, latency_edges
from modelwatch.signals import Counts, Look, Objectives
from modelwatch.signals.service import MINUTE_TABLES, availability_minute, throughput_minute
from modelwatch.slo import (
    Period,
    burn_rules,
    forecast,
    held_up_to,
    slo_document,
    slo_lines,
    slo_status,
    slo_statuses,
    slos_of,
)
from modelwatch.slo.burn import LEAST_BAD
from modelwatch.slo.objectives import burn_notes
from modelwatch.sources.evaluated import slo_table
from modelwatch.tally import Tally

DAY, HOUR = 86_400.0, 3600.0


def config_of(slos: str, more: str = "") -> Config:
    """Return a configuration with these objectives."""
    return parse_config(
        f"""
service: {{name: api, owner: ml-platform}}
models:
  sentiment:
    version: "1.4.2"
    task: classification
    classes: [negative, neutral, positive]
    features: {{length: numeric}}
    slos: {slos}
    {more}
""",
        environ={},
    )


ALL = "{latency: {}, availability: {}, error_rate: {}, accuracy: {}, throughput: {}, cost: {hourly: 1.2}}"


# -- burn rates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "factors"), [(30, [14.4, 6.0, 3.0, 1.0]), (28, [13.44, 5.6, 2.8, 1.0]), (90, [43.2, 18.0, 9.0, 3.0])]
)
def test_factors_of_a_period(days: int, factors: list[float]) -> None:
    """F P / L; what is a little below 1 is taken as 1."""
    rules = burn_rules(0.001, days * DAY)
    assert [round(rule.factor, 6) for rule in rules] == factors
    assert [rule.severity for rule in rules] == ["critical", "critical", "warning", "warning"]
    assert [rule.short_s for rule in rules] == [300, 1800, 7200, 21600]


def test_a_week_loses_both_warnings_and_has_another() -> None:
    """3.36 and 1.4 stay; 0.7 and 0.233 would never spend the budget: a fifth of it in a day is a warning instead."""
    rules = burn_rules(0.01, 7 * DAY)
    assert [(rule.severity, round(rule.factor, 6), rule.long_s) for rule in rules] == [
        ("critical", 3.36, HOUR),
        ("critical", 1.4, 6 * HOUR),
        ("warning", 1.4, DAY),
    ]


@pytest.mark.parametrize(
    ("period", "days", "factors"),
    [("7d", 7, [3.36, 1.4, 1.4]), ("week", 7, [3.36, 1.4, 1.4]), ("28d", 28, [13.44, 5.6, 2.8, 1.0]),
     ("month", 30, [14.4, 6.0, 3.0, 1.0]), ("90d", 90, [43.2, 18.0, 9.0, 3.0])],
)  # fmt: skip
def test_the_period_of_the_configuration_holds_everywhere(period: str, days: int, factors: list[float]) -> None:
    """Burn rates, the alert of a spent budget, what Prometheus records, how long it keeps, the table, the document."""
    slos = f"{{period: {period}, error_rate: {{objective: 0.999}}}}"
    config = config_of(slos)
    model, rules = config.models[MODEL], rules_of(config, MODEL)
    burning = [rule for rule in rules if rule.name == "SLOBurnRate"]
    assert [round(rule.urgency, 6) for rule in burning] == factors
    assert all(f"budget of {days} days lasts" in rule.description for rule in burning)
    (spent,) = (rule for rule in rules if rule.name == "SLOBudgetExhausted")
    assert spent.condition.lead.window_s == days * DAY
    context = Context(config, "1")
    recorded = {
        rule["record"]: rule["expr"] for group in recordings(context, MODEL) for rule in group["rules"]
        if rule.get("labels", {}).get("slo_type") == "error_rate"
    }  # fmt: skip
    assert f"[{round(days * DAY)}s]" in recorded[names.BUDGET_LEFT.name]
    assert f"retention.time={days + 15}d" in compose.files(context)["docker-compose.yml"]
    look = looked([(1000, 1)] * 120, slos)
    status = slo_status(slos_of(model)[0], look, Period.of_model(model))
    assert status.period in slo_table({MODEL: [status]})[0]
    if period.endswith("d"):
        assert (status.period, status.valid) == (f"last {days} days", days * 1000)
    assert f"Period: {status.period}\n" in slo_document(config, model)


def test_an_unreachable_factor_is_rescaled_and_said() -> None:
    """14.4 times 15 % is more than everything: half of all over 4.32 hours instead."""
    rule = burn_rules(0.15)[0]
    assert rule.factor == pytest.approx(3.3333, abs=1e-4)
    assert rule.long_s == pytest.approx(4.32 * HOUR)
    assert rule.short_s == pytest.approx(0.36 * HOUR)
    assert "216% of bad events" in rule.note
    assert burn_rules(0.15)[1].note == ""  # 6 times 15 % is just reachable


def test_a_period_of_hours_has_no_warning() -> None:
    """In half a day no slow burn spends a fifth of the budget before the period ends: only pages are left, or nothing."""
    assert not [rule for rule in burn_rules(0.01, period_s=DAY / 2) if rule.severity == "warning"]


def test_an_objective_too_low_to_page_is_refused() -> None:
    """An error objective of 0.3: half of the budget is the usual state. The message names the field."""
    config = config_of("{error_rate: {objective: 0.3}}")
    with pytest.raises(ConfigError, match=r"models.sentiment.slos.error_rate.objective: objective is 0.3; expected"):
        rules_of(config, MODEL)


def test_a_model_that_is_often_wrong_has_an_objective() -> None:
    """An accuracy objective of 0.3: no budget that burns, but the accuracy is watched."""
    config = config_of("{accuracy: {objective: 0.3}}", "alerts: {LowModelAccuracy: {critical: 0.2, catastrophic: 0.1}}")
    names = [rule.name for rule in rules_of(config, MODEL)]
    assert "LowModelAccuracy" in names
    assert "SLOBurnRate" not in names
    assert burn_notes(config.model(MODEL)) == [
        "models.sentiment.slos.accuracy: no burn rate: 0.3 is too often wrong to burn; the accuracy itself alerts"
    ]


# -- forecasts ---------------------------------------------------------------------------------------------------------


def test_forecast_goldens() -> None:
    """60 % left, three times too fast: six days. Not at a rate of 1; spent when nothing is left."""
    found = forecast(0.6, 3.0, 30 * DAY)
    assert found.expected_s == pytest.approx(6 * DAY)
    assert forecast(0.6, 1.0, 30 * DAY).words == "not at this rate"
    assert forecast(0.6, None, 30 * DAY).expected_s is None
    assert forecast(-0.1, 0.5, 30 * DAY).words == "spent"
    assert forecast(0.01, 10.0, 30 * DAY).words == "in 43 minutes"


def test_forecast_has_a_range() -> None:
    """30 bad of 1 000 at a budget of 1 %: the Wilson bounds give four to nine days; few bad events leave it open."""
    found = forecast(0.6, 3.0, 30 * DAY, 30, 1000, 0.01)
    assert found.words == "in 4 days to 9 days"
    assert found.soonest_s is not None
    assert found.latest_s is not None
    assert found.soonest_s < 6 * DAY < found.latest_s
    assert forecast(0.6, 2.0, 30 * DAY, 2, 100, 0.01).words == "in 3 days or later"


# -- good events -------------------------------------------------------------------------------------------------------

SCHEMA = ModelSchema(latency=latency_edges([0.5]), classes=("a", "b"))
OBJECTIVES = Objectives(0.5, 0.95, 0.99, throughput=10.0, cost=0.05, hourly=1.2)


def counts_of(
    events: list[tuple[Any, ...]], slices: dict[tuple[str, str], int] | None = None, replica_s: int = 0
) -> Counts:
    """Return counts of events, of minutes, and of seconds of replicas."""
    kernel = Kernel(SCHEMA)
    if events:
        kernel.fold(events)
    tally = kernel.tally
    tally.add(Tally(MINUTE_TABLES))
    for key, n in (slices or {}).items():
        tally.tables[names.SLICES.name].count(key, n)
    tally.tables[names.REPLICA_SECONDS.name].count((), replica_s)
    return Counts(tally, SCHEMA, 60.0, OBJECTIVES)


def slo_of(kind: str) -> Any:
    """Return one of the six objectives."""
    return next(slo for slo in slos_of(config_of(ALL).models[MODEL]) if slo.kind == kind)


def test_good_event_of_each_kind() -> None:
    """At the threshold is fast; a client's error and a cancelled request are not ours; minutes nobody saw are apart."""
    ok, slow, bad = ("/p", 0.5, None), ("/p", 0.51, None), ("/p", 0.1, "ValueError")
    cancelled = ("/p", 9.0, "CancelledError")
    rest = (None, "a", 0.9, None)
    events = [(*event, *rest) for event in [ok] * 6 + [slow] * 2 + [bad] * 2 + [cancelled] * 5]
    minutes = {("availability", "good"): 7, ("availability", "bad"): 2, ("availability", "unknown"): 1}
    counts = counts_of(events, {**minutes, ("throughput", "bad"): 1, ("throughput", "good"): 3}, replica_s=7200)
    assert slo_of("latency").spent(counts)[:2] == (2, 10)
    assert slo_of("error_rate").spent(counts)[:2] == (2, 10)
    assert slo_of("availability").spent(counts)[:3] == (2, 9, 1)
    assert slo_of("throughput").spent(counts)[:2] == (1, 4)
    assert slo_of("cost").spent(counts)[:2] == (2.4, 0.05 * 15 / 1000)


def test_accuracy_is_weighted() -> None:
    """A label of a prediction that had one chance in ten stands for ten."""
    from modelwatch.events import LabelCount

    kernel = Kernel(SCHEMA)
    kernel.fold_labels([LabelCount("matched", None, 0.1, False), *[LabelCount("matched", None, 0.5, True)] * 5])
    spent = slo_of("accuracy").spent(Counts(kernel.tally, SCHEMA, 60.0, OBJECTIVES))
    assert spent.bad == pytest.approx(10)
    assert spent.valid == pytest.approx(20)
    assert spent.events == 1


def test_a_minute_of_availability() -> None:
    """One replica is enough; all silent is bad; when nobody asked it is not known."""
    assert availability_minute({"a": True, "b": False}) == "good"
    assert availability_minute({"a": False, "b": False}) == "bad"
    assert availability_minute({}) == "bad"
    assert availability_minute(None) == "unknown"


@pytest.mark.parametrize(
    ("n", "slow", "failed", "offered", "expected"),
    [
        (0, 0, 0, 0.0, None),  # no requests: no slice
        (600, 30, 6, 10.0, "good"),  # at both limits
        (600, 31, 0, 10.0, "bad"),  # broken at what should be held
        (600, 0, 7, 10.0, "bad"),
        (601, 601, 0, 10.02, None),  # more was offered than is promised
        (19, 19, 19, 0.3, "good"),  # too few to say
    ],
)  # fmt: skip
def test_a_minute_of_throughput(n: int, slow: int, failed: int, offered: float, expected: str | None) -> None:
    """Held; broken at or below the objective; above it a broken minute says nothing."""
    assert throughput_minute(n, slow, failed, offered=offered, objectives=OBJECTIVES) == expected


def test_held_up_to() -> None:
    """The busiest minute that held latency and errors, in requests per second."""
    fast = [("/p", 0.1, None, None, "a", 0.9, None)]
    slow = [("/p", 0.9, None, None, "a", 0.9, None)]
    minutes = [counts_of(fast * 60), counts_of(fast * 120 + slow * 6), counts_of(fast * 200 + slow * 40)]
    assert held_up_to(minutes) == pytest.approx(126 / 60)
    assert held_up_to(minutes[::-1]) == pytest.approx(126 / 60)
    assert held_up_to([counts_of([])]) is None


# -- how they stand ----------------------------------------------------------------------------------------------------


def looked(days: list[tuple[int, int]], slos: str = "{error_rate: {objective: 0.99}}") -> Look:
    """Return a look on days of (requests, failed), the oldest first."""
    life = Life([], objectives_for(config_of(slos), MODEL))
    tallies = []
    for n, failed in days:
        kernel = Kernel(life.schema)
        if n:
            kernel.fold(requests(n, failed=failed))
        tallies.append(kernel.tally)

    def window(_version: str, began_s: float, ended_s: float) -> Tally:
        total = Tally()
        for age, tally in enumerate(reversed(tallies)):
            if ended_s <= age * DAY < began_s:
                total.add(tally)
        return total

    return Look(MODEL, START + 30 * DAY, window, {"1": life.schema}, life.objectives)


def test_sums_before_division() -> None:
    """A quiet day of 20 % errors and a busy one without: 0.04 %, not the mean of the two ratios."""
    look = looked([(10, 2), (4990, 0)])
    (slo,) = slos_of(config_of("{error_rate: {objective: 0.99}}").models[MODEL])
    status = slo_status(slo, look)
    assert status.compliance == pytest.approx(1 - 2 / 5000)
    assert status.remaining == pytest.approx(1 - 0.04)
    assert status.state == "meeting"
    assert list(status.by_day[-2:]) == pytest.approx([0.04, 0.0])
    assert status.by_day[0] is None
    assert len(status.by_day) == 30


def test_a_throughput_says_what_was_held() -> None:
    """The busiest minute of the last hour that held latency and errors; another objective has none."""
    config = config_of("{throughput: {}, latency: {threshold: 500ms}, error_rate: {objective: 0.99}}")
    minutes = []
    for n, slow in ((1800, 900), (1200, 0), (600, 0)):
        kernel = Kernel(Life([], Objectives()).schema)
        kernel.fold(requests(n, slow=slow))
        kernel.tally.add(Tally(MINUTE_TABLES))
        kernel.tally.tables[names.SLICES.name].count(("throughput", "good"))
        minutes.append(kernel.tally)

    def window(_version: str, began_s: float, ended_s: float) -> Tally:
        total = Tally()
        for age, tally in enumerate(minutes):
            if ended_s <= age * 60 < began_s:
                total.add(tally)
        return total

    look = Look(MODEL, START, window, {"1": kernel.schema}, objectives_for(config, MODEL))
    by_kind = {one.kind: one for one in slos_of(config.models[MODEL])}
    assert slo_status(by_kind["throughput"], look).held == pytest.approx(1200 / 60)
    assert slo_status(by_kind["error_rate"], look).held is None


def test_spent_budget_is_negative_and_broken() -> None:
    """Three times the budget: −200 % left, and the days add up to it."""
    (slo,) = slos_of(config_of("{error_rate: {objective: 0.99}}").models[MODEL])
    status = slo_status(slo, looked([(1000, 60), (1000, 0)]))
    assert status.state == "broken"
    assert status.remaining == pytest.approx(-2)
    assert sum(day or 0 for day in status.by_day) == pytest.approx(3)
    assert status.burn_day == 0.0
    assert status.forecast.words == "spent"
    assert "BROKEN" in "\n".join(slo_lines([status]))


def test_nothing_is_no_number() -> None:
    """Without events there is no compliance, and it is no zero: a week without labels, nobody who looked."""
    look = looked([(0, 0)], ALL)
    for status in slo_statuses(slos_of(config_of(ALL).models[MODEL]), look):
        assert status.state == "cannot_tell"
        assert status.compliance is None
        assert status.reason.startswith("no ")


def test_minutes_unknown_cannot_tell() -> None:
    """More than 5 % of the minutes unseen: no verdict on the availability; 5 % is still one."""
    for unknown, expected in ((6, "cannot_tell"), (5, "meeting")):
        slices = {("availability", "good"): 95, ("availability", "unknown"): unknown}
        counts = counts_of([], slices)
        look = Look(MODEL, START + DAY, lambda *_: counts.tally, {"1": SCHEMA}, OBJECTIVES)
        assert slo_status(slo_of("availability"), look).state == expected


def test_cost_over_the_whole_period() -> None:
    """Idle nights cost, too: spend over allowance of the period, and what is left of it."""
    counts = counts_of(requests(2000), replica_s=300)
    look = Look(MODEL, START + DAY, lambda *_: counts.tally, {"1": SCHEMA}, OBJECTIVES)
    status = slo_status(slo_of("cost"), look)
    assert status.state == "meeting"
    assert status.compliance == 1.0
    assert status.remaining == pytest.approx(0.0)
    dear = counts_of(requests(2000), replica_s=600)
    look = Look(MODEL, START + DAY, lambda *_: dear.tally, {"1": SCHEMA}, OBJECTIVES)
    status = slo_status(slo_of("cost"), look)
    assert status.state == "broken"
    assert status.compliance == pytest.approx(0.5)


def test_calendar_period() -> None:
    """Half of the month is over and half of its budget is allowed to be: as much is left as the month gives."""
    period = Period("month")
    since_s, length_s = period.window(START)  # 14 November 2023, 22:14
    assert length_s == 30 * DAY
    assert since_s == pytest.approx(13 * DAY + 22 * HOUR + 14 * 60, abs=60)
    assert Period("week").window(START)[1] == 7 * DAY
    counts = counts_of(requests(1000, failed=10))
    look = Look(MODEL, START, lambda *_: counts.tally, {"1": SCHEMA}, OBJECTIVES)
    status = slo_status(slo_of("error_rate"), look, period)
    assert status.remaining == pytest.approx(1 - since_s / length_s)
    assert status.state == "meeting"


@pytest.mark.parametrize("text", ["", "d", "0d", "401d", "30", "30h", "-7d", "٣d", "month ", "1" * 5000 + "d"])
def test_a_period_that_is_none_is_refused(text: str) -> None:
    """The message names the option, what was given and what is possible."""
    with pytest.raises(ConfigError, match="--period: period is .*expected month, week, or 1d to 400d"):
        Period.of(text)


@pytest.mark.parametrize(
    ("text", "period"), [("7d", Period("rolling", 7 * DAY)), ("month", Period("month")), ("week", Period("week"))]
)
def test_a_period_is_read(text: str, period: Period) -> None:
    """Rolling days and the calendar's month and week; the budget of a week is what a week allows."""
    assert Period.of(text) == period
    look = looked([(1000, 30)] + [(1000, 5)] * 6)
    assert slo_status(slo_of("error_rate"), look, Period.of("7d")).remaining == pytest.approx(1 - 60 / 7000 / 0.01)


def test_document_is_filled_in() -> None:
    """The brief's template: service, version, owner, six numbered objectives with measurement, budget and current state."""
    config = config_of(ALL)
    model = config.models[MODEL]
    look = looked([(1000, 5)], ALL)
    text = slo_document(config, model, slo_statuses(slos_of(model), look))
    assert "Service: api  \nVersion: 1.4.2  \nOwner: ml-platform" in text
    for number, title in enumerate(("Latency", "Availability", "Error rate", "Accuracy", "Throughput", "Cost"), 1):
        assert f"## {number}. {title}\n" in text
    assert "3.6 hours in 30 days" in text
    assert "99.5000%, 50% of the budget left" in text
    assert "No objectives are configured" in slo_document(config_of("{}"), config_of("{}").models[MODEL])


def test_few_labels_burn_nothing() -> None:
    """Accuracy is burning only on 30 labels in the long and in the short window."""
    config = config_of("{accuracy: {}}")
    rules = [rule for rule in rules_of(config, MODEL) if rule.name == "SLOBurnRate"]
    life = Life(rules, objectives_for(config, MODEL))
    assert life.until(lambda _: Minute(requests(5), labels(0, 1)), 25) is None
    assert life.evaluation.verdicts[0].outcome == "cannot_tell"


# -- quiet services ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "per_hour"), [(0.999, 10), (0.999, 100), (0.999, 1000), (0.99, 10), (0.99, 100)])
def test_quiet_services_are_not_paged(objective: float, per_hour: int) -> None:
    """Steady errors of half the budget, looked at every minute for ten months: no page, at any traffic.

    Without the five bad events that are needed it would page up to five times a month.
    """
    chance = np.random.default_rng(9)
    minutes = 43_200
    rules = [rule for rule in burn_rules(round(1 - objective, 12)) if rule.severity == "critical"]
    with_five = without = 0
    for _ in range(10):
        n = chance.poisson(per_hour / 60, minutes)
        bad = chance.binomial(n, (1 - objective) / 2)

        def window(counts: Any, seconds: float) -> Any:
            total = np.cumsum(counts)
            width = round(seconds / 60)
            return total - np.concatenate((np.zeros(width, int), total[:-width]))

        for rule in rules:
            limit = rule.factor * (1 - objective)
            burning = np.ones(minutes, bool)
            for seconds in (rule.long_s, rule.short_s):
                burning &= window(bad, seconds) > limit * window(n, seconds)
            without += int(burning.sum())
            with_five += int((burning & (window(bad, rule.long_s) >= LEAST_BAD)).sum())
    assert with_five == 0
    if per_hour == 10:
        assert without > 0
