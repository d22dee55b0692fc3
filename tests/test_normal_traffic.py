"""Normal traffic: the golden, learning, missing hours, holidays, and how often normal hours are called unusual."""

from __future__ import annotations

import math

import numpy as np
import pytest

from modelwatch.signals.normal import WEEK_H, judged, pooled_scale, traffic_normal


def weeks_of(n: int, base: float, seed: int = 1, noise: float = 0.1) -> dict[int, int]:
    """Return hours of n weeks with a shape of day and week."""
    chance = np.random.default_rng(seed)
    hours = np.arange(n * WEEK_H)
    shape = np.exp(0.8 * np.sin(2 * np.pi * (hours % 24) / 24) - 0.5 * (hours % WEEK_H // 24 >= 5))
    counts = chance.poisson(base * shape * np.exp(chance.normal(0, noise, len(hours))))
    return dict(zip(hours.tolist(), counts.tolist(), strict=True))


def test_golden() -> None:
    """99 is normal, 30 is 7.88 scales below it, the band is 54 to 181."""
    found = judged(30, [99, 109, 89, 99], 0.15)
    assert found.normal == pytest.approx(99)
    assert found.scales == pytest.approx(-7.8829, abs=1e-4)
    assert math.log(30.5 / 99.5) == pytest.approx(-1.182431, abs=1e-6)
    assert (found.state, found.side) == ("unusual", "low")
    assert (round(found.low or 0), round(found.high or 0)) == (54, 181)
    assert judged(180, [99, 109, 89, 99], 0.15).state == "normal"
    assert judged(182, [99, 109, 89, 99], 0.15).side == "high"


def test_the_poisson_floor() -> None:
    """At little traffic the counts themselves vary: 3 of an expected 9 is nothing."""
    assert judged(3, [9, 9, 9, 9], 0.0).state == "normal"
    assert judged(300, [900] * 4, 0.0).state == "unusual"


def test_learning() -> None:
    """No verdict in the first week; a factor of three in the second; five scales until four weeks are known."""
    hours = weeks_of(5, 100)
    assert (
        traffic_normal({at: n for at, n in hours.items() if at < 80}, 79).words
        == "learning what is normal: 3 of 7 days"
    )
    early = {at: n for at, n in hours.items() if at <= 200}
    assert traffic_normal(early | {200: 0}, 200).state == "unusual"
    assert traffic_normal(early | {200: hours[200 - 168] * 2}, 200).state == "normal"
    at = 3 * WEEK_H + 40
    middle = {hour: n for hour, n in hours.items() if hour <= at}
    scale = max(pooled_scale(middle, at), math.sqrt(1.35 / traffic_normal(middle, at).normal), 0.05)  # type: ignore[operator]
    usual = traffic_normal(middle, at).normal
    assert usual is not None
    for scales, expected in ((4.6, "normal"), (5.6, "unusual")):
        n = round((usual + 0.5) * math.exp(scales * scale) - 0.5)
        assert traffic_normal(middle | {at: n}, at).state == expected


def test_what_is_missing_is_not_zero() -> None:
    """A gap of the monitor is neither judged nor learned; a silent hour is 0, and unusual."""
    hours = weeks_of(5, 100)
    at = 4 * WEEK_H + 30
    gone = {hour: n for hour, n in hours.items() if hour <= at and hour != at}
    assert traffic_normal(gone, at).state == "cannot_tell"
    assert traffic_normal(gone | {at: 0}, at).side == "low"
    usual = traffic_normal(hours, at).normal
    holes = {hour: n for hour, n in hours.items() if hour != at - WEEK_H}
    assert usual is not None
    assert traffic_normal(holes, at).normal == pytest.approx(usual, rel=0.3)


def test_holidays_are_neither_judged_nor_learned() -> None:
    """A silent holiday says nothing, and does not make the next week's normal lower."""
    hours = weeks_of(6, 100)
    at = 5 * WEEK_H + 34
    holiday = (at - WEEK_H) // 24
    quiet = {hour: 0 if hour // 24 == holiday else n for hour, n in hours.items()}
    assert traffic_normal(quiet, at - WEEK_H, [holiday]).state == "cannot_tell"
    judged_after = traffic_normal(quiet, at, [holiday])
    assert judged_after.state == "normal"
    assert judged_after.normal is not None
    assert judged_after.normal > 50


@pytest.mark.parametrize(("base", "most"), [(5, 0.015), (50, 0.005), (1000, 0.003)])
def test_normal_hours_are_hardly_ever_unusual(base: float, most: float) -> None:
    """Of 500 normal hours at most one in two hundred, at each level of traffic; four values alone called 18 % unusual."""
    hours = weeks_of(9, base)
    found = [traffic_normal(hours, at).state for at in range(5 * WEEK_H, 8 * WEEK_H)]
    assert found.count("unusual") / len(found) <= most
    assert found.count("normal") + found.count("unusual") == len(found)


def test_an_hour_that_was_never_counted_is_learned() -> None:
    """After a week, and after weeks, with gaps at this very hour: no judgement, and why."""
    week = {0: 10, 8 * 24: 12}
    assert traffic_normal(week, 8 * 24).words == "this hour was not counted before"
    weeks = {0: 10, 20 * 24 + 5: 12}
    assert traffic_normal(weeks, 20 * 24 + 5).words == "this hour of the week was not counted before"
