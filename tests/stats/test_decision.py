"""The rule of drift: constants, what it says of quiet and of moved data, and when it cannot tell."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelwatch.catalogue import KS, PSI
from modelwatch.statistics import (
    Chance,
    by_window,
    chi_square,
    combined,
    decide_categories,
    decide_ks,
    decide_ks_score,
    decide_missing,
    decide_psi,
    design_effect,
    effective_chi_square,
    ks_counts,
    noise,
    psi,
    smallest_sample,
    total_variation,
    variance,
)
from modelwatch.statistics.chance import _dispersion

EVEN, MOVED = (25, 25, 25, 25), (10, 20, 30, 40)
COUNTS = st.integers(2, 8).flatmap(
    lambda bins: st.tuples(*(st.lists(st.integers(0, 400), min_size=bins, max_size=bins).filter(any) for _ in range(2)))
)


def test_golden_constants() -> None:
    """alpha, z and the chi-square limits of the statistics page."""
    chance = Chance(series=50)
    assert chance.alpha == pytest.approx(2.3148e-7, rel=1e-4)
    assert chance.chi_square_limit(20) == pytest.approx(67.576222, abs=1e-6)
    assert chance.chi_square_limit(10) == pytest.approx(48.228491, abs=1e-6)
    assert chance.chi_square_limit(20) == pytest.approx(stats.chi2.isf(chance.alpha, 19), rel=1e-12)
    by_series = {1: 2.456, 10: 2.680, 50: 2.826, 200: 2.946, 1000: 3.080}
    assert {series: round(Chance(series).z, 3) for series in by_series} == by_series
    assert Chance(50, 8_640).z == pytest.approx(2.680, abs=5e-4)


@pytest.mark.parametrize(
    ("n", "m", "expected"),
    [(200, 1_000, 0.219), (200, 10_000, 0.202), (600, 1_000, 0.146), (600, 10_000, 0.119), (3_600, 10_000, 0.055)],
)
def test_golden_smallest_ks(n: int, m: int, expected: float) -> None:
    """The smallest KS that is surely told from chance, as printed on the statistics page."""
    assert decide_ks_score(0.0, m, n).smallest == pytest.approx(expected, abs=5e-4)


def test_golden_noise() -> None:
    """Four bins of 100 against 100: PSI 0.06 by chance, so that 0.1682 of 0.2282 is excess."""
    found = noise(EVEN, MOVED)
    assert found is not None
    assert found.psi == pytest.approx(0.06, rel=1e-12)
    assert (psi(EVEN, MOVED) or 0) - found.psi == pytest.approx(0.1682, abs=5e-5)
    assert found.jensen_shannon == pytest.approx(0.06 / (8 * math.log(2)), rel=1e-12)
    assert found.hellinger == pytest.approx(math.sqrt(0.06 / 8), rel=1e-12)
    assert found.total_variation == pytest.approx(2 * math.sqrt(2 * 0.25 * 0.75 * 0.02 / math.pi), rel=0.05)
    two = noise([50, 50], [50, 50])
    assert two is not None
    assert two.total_variation == pytest.approx(math.sqrt(2 * 0.25 * 0.02 / math.pi), rel=1e-12)
    assert noise([0], [1]) is None


def test_noise_is_what_quiet_data_show() -> None:
    """The mean score of windows without drift is the formula's: PSI within 5 %, TV within 5 %."""
    rng = np.random.default_rng(1)
    bins, m, n = 20, 10_000, 1_000
    reference = rng.multinomial(m, [1 / bins] * bins, size=400)
    current = rng.multinomial(n, [1 / bins] * bins, size=400)
    pairs = list(zip(reference, current, strict=True))
    expected = noise([1000] * bins, [100] * bins)
    assert expected is not None
    v = variance(m, n)
    assert np.mean([psi(*pair) for pair in pairs]) == pytest.approx((bins - 1) * v, rel=0.05)
    by_formula = [found.total_variation for pair in pairs if (found := noise(*pair))]
    assert np.mean([total_variation(*pair) for pair in pairs]) == pytest.approx(np.mean(by_formula), rel=0.05)


@given(COUNTS)
def test_independent_requests_have_pearsons_statistic(pair: tuple[list[int], list[int]]) -> None:
    """With a design effect of 1 it is chi-square; with more it is smaller."""
    plain, effective = chi_square(*pair), effective_chi_square(*pair)
    assert plain is not None and effective is not None
    assert effective == pytest.approx(plain.statistic, rel=1e-9, abs=1e-9)
    wide = effective_chi_square(*pair, deff=4.0)
    assert wide is not None
    assert wide <= effective + 1e-9


def test_golden_design_effect() -> None:
    """The page's window has 0.8333, used as 1; sessions of one user are dependent; too little has none."""
    assert _dispersion(np.array([[4.0, 1.0], [2.0, 3.0], [6.0, 4.0]])) == pytest.approx(0.833333, abs=1e-6)
    assert design_effect([[4, 1], [2, 3], [6, 4]]) == 1
    rng = np.random.default_rng(2)
    assert design_effect(rng.multinomial(60, [0.1] * 10, size=60)) == pytest.approx(1, abs=0.2)
    assert design_effect(8 * rng.multinomial(8, [0.1] * 10, size=60)) == pytest.approx(8, rel=0.2)
    nothing: list[Any] = [[], [[4, 1]], [[4, 1], [0, 0]], [[4, 0], [3, 0]]]
    assert [design_effect(minutes) for minutes in nothing] == [None] * 4


def quantile_counts(rng: np.random.Generator, m: int, n: int, shift: float) -> tuple[list[int], list[int]]:
    """Return the counts of normal values on the 20 quantile bins of the reference."""
    reference, current = rng.normal(size=m), rng.normal(shift, 1, n)
    edges = np.quantile(reference, np.arange(1, 20) / 20)
    one, other = (np.bincount(np.searchsorted(edges, side), minlength=20).tolist() for side in (reference, current))
    return one, other


@pytest.mark.parametrize(
    ("shift", "level"), [(0.0, None), (0.2, None), (0.32, "info"), (0.5, "warning"), (1.0, "severe")]
)
def test_ks_levels(shift: float, level: str | None) -> None:
    """A shift fires at the highest threshold that it passes, and says by how much."""
    reference, current = quantile_counts(np.random.default_rng(3), 10_000, 3_600, shift)
    found = decide_ks(reference, current)
    assert found.level == level
    assert found.outcome == ("firing" if level else "ok")
    assert found.score == found.excess == ks_counts(reference, current)
    assert (found.m, found.n) == (10_000, 3_600)
    threshold = KS[{"severe": "critical"}.get(level or "", level or "info")]
    if level:
        assert found.reason == f"{found.score:.2f} is above {threshold:.2f}, and chance alone stays below 0.05"
    else:
        assert found.reason == "no drift larger than 0.10"


def test_few_values_cannot_tell() -> None:
    """5 of 1 000 never fire, however far they are; what could be told is said."""
    for n in (1, 5, 7):
        found = decide_ks([500] * 20, [0] * 19 + [n])
        assert (found.outcome, found.level) == ("cannot_tell", None)
        values = "1 value" if n == 1 else f"{n} values"
        assert found.reason == f"with {values} a window no drift can be told from chance; 0.95 was seen"
    hour = decide_ks_score(0.05, 10_000, 212, window="an hour")
    assert hour.outcome == "cannot_tell"
    assert hour.reason == "with 212 values an hour only drifts above 0.20 can be told from chance; 0.05 was seen"
    assert decide_ks_score(0.21, 10_000, 212).level == "warning"


def test_no_data_cannot_tell() -> None:
    """No values, no reference: no score, and the reason."""
    for decide in (decide_ks, decide_psi, decide_categories):
        quiet, blind = decide([5, 5], [0, 0], window="an hour"), decide([0, 0], [5, 5])
        assert (quiet.outcome, quiet.score, quiet.reason) == ("cannot_tell", None, "no values in an hour")
        assert (blind.outcome, blind.score, blind.reason) == ("cannot_tell", None, "the reference is empty")
    assert decide_categories({}, {"a": 3}).n == 3


def test_exact_scores_are_judged_instead() -> None:
    """Where raw values are at hand, their KS is what is judged."""
    assert decide_ks([500] * 20, [50] * 20, exact=0.3).level == "severe"


@pytest.mark.parametrize(
    ("shift", "level"), [(0.0, None), (0.2, None), (0.38, "info"), (0.48, "warning"), (1.0, "severe")]
)
def test_psi_levels(shift: float, level: str | None) -> None:
    """PSI less its noise is judged, on the bins as they are."""
    reference, current = quantile_counts(np.random.default_rng(4), 10_000, 3_600, shift)
    found = decide_psi(reference, current)
    assert found.level == level
    assert found.score == psi(reference, current)
    assert found.excess == pytest.approx(max((found.score or 0) - 19 * variance(10_000, 3_600), 0))


def test_psi_and_categories_need_25_a_cell() -> None:
    """499 of 500 values cannot tell; 500 fire. A design effect asks for as many times more."""
    assert smallest_sample(20) == 500
    assert smallest_sample(20, 8.0) == 4_000
    for decide in (decide_psi, decide_categories):
        few, enough = decide([500] * 20, [0] * 19 + [499]), decide([500] * 20, [0] * 19 + [500])
        assert few.outcome == "cannot_tell"
        assert few.reason == "499 of 500 values in a window: 25 for each of 20 cells are needed"
        assert enough.level == "severe"
        assert decide([500] * 20, [0] * 19 + [500], deff=2.0).outcome == "cannot_tell"


def test_a_design_effect_widens_every_bound() -> None:
    """Requests in sessions of 8 say as little as an eighth of them."""
    loose, wide = decide_ks_score(0.12, 10_000, 3_600), decide_ks_score(0.12, 10_000, 3_600, deff=8.0)
    assert (loose.level, wide.level) == ("info", None)
    assert (wide.smallest or 0) == pytest.approx(Chance().z * math.sqrt(8 / 3_600 + 1 / 10_000))
    reference, current = [500] * 20, [220] * 10 + [140] * 10
    assert decide_psi(reference, current, {"info": 0.01}).level == "info"
    assert decide_psi(reference, current, {"info": 0.01}, deff=7.0).level is None


def test_categories() -> None:
    """Total variation is judged; unseen categories are one cell; declared ones without values are none."""
    reference = {"en": 8_000, "de": 2_000, "never": 0}
    moved = {"en": 600, "de": 200, **{f"new{i}": 10 for i in range(20)}}
    found = decide_categories(reference, moved)
    assert found.score == pytest.approx(0.2)
    assert found.level == "warning"
    assert decide_categories(reference, {"en": 800, "de": 200}).outcome == "ok"
    assert decide_psi(reference, moved).level == "severe"
    assert decide_psi(reference, {"en": 60, "de": 10, "new": 4}).reason.startswith("74 of 75 values")


def test_one_category_for_ever() -> None:
    """A reference and a window of one and the same value are no drift."""
    found = decide_categories({"a": 1_000}, {"a": 1_000})
    assert (found.outcome, found.score) == ("ok", 0)


def test_levels_can_be_switched_off() -> None:
    """A threshold of None never fires; the others still do. Slight and severe drift are judged over their own windows."""
    assert decide_ks_score(0.5, 10_000, 3_600, {"info": 0.1, "warning": None, "critical": None}).level == "info"
    assert decide_ks_score(0.5, 10_000, 3_600, {"critical": 0.25}).level == "severe"
    off = decide_ks_score(0.5, 10_000, 3_600, {})
    assert (off.outcome, off.reason) == ("ok", "no drift larger than 0.05")


@pytest.mark.parametrize(
    ("invalid", "valid", "usual", "outcome"),
    [(0, 0, 0.0, "cannot_tell"), (0, 100, 0.0, "ok"), (1, 9, 0.0, "ok"), (10, 0, 0.0, "firing"), (60, 940, 0.0, "ok"),
     (90, 910, 0.0, "firing"), (300, 700, 0.0, "firing"), (300, 700, 0.28, "ok"), (400, 600, 0.28, "firing")],
)  # fmt: skip
def test_missing_values(invalid: int, valid: int, usual: float, outcome: str) -> None:
    """Surely five points more than usual fire; few values, and as many as usual, do not."""
    found = decide_missing(invalid, valid, usual)
    assert found.outcome == outcome
    assert found.level == ("warning" if outcome == "firing" else None)
    assert (found.score is None) == (invalid + valid == 0)
    assert decide_missing(invalid, valid, usual, 1.0).level is None


def test_two_windows() -> None:
    """Slight and moderate drift over the day, severe over the hour; an hour of few values hides nothing of the day."""
    day, hour = by_window(KS)
    assert (set(day), set(hour)) == ({"info", "warning"}, {"critical"})

    def decided(over_day: float, over_hour: float, n: int = 3_600) -> tuple[str, str | None]:
        long = decide_ks_score(over_day, 10_000, 24 * n, day, window="a day")
        found = combined(long, decide_ks_score(over_hour, 10_000, n, hour, window="an hour"))
        return found.outcome, found.level

    assert decided(0.05, 0.2) == ("ok", None)
    assert decided(0.5, 0.2) == ("firing", "warning")
    assert decided(0.05, 0.3) == ("firing", "severe")
    assert decided(0.12, 0.3, n=60) == ("firing", "info")
    assert decided(0.05, 0.9, n=5)[0] == "cannot_tell"


def test_the_bound_of_total_variation_is_sure() -> None:
    """Any way to move a share of `smallest` is beyond the chi-square limit."""
    rng = np.random.default_rng(6)
    for _ in range(200):
        cells = int(rng.integers(2, 12))
        reference = rng.integers(1, 500, cells)
        current = rng.integers(1, 500, cells) * 20
        found = decide_categories(reference, current, {"info": 0.0, "warning": 1.0})
        assert found.smallest is not None and found.score is not None
        if found.score > found.smallest:
            limit = Chance().chi_square_limit(cells)
            assert (effective_chi_square(reference, current) or 0) > limit


def test_quiet_months_are_quiet() -> None:
    """10 200 windows without drift by KS and 1 800 by PSI and TV, with small references: none alerts."""
    rng = np.random.default_rng(7)
    fired = 0
    for m, n in ((1_000, 600), (10_000, 600), (10_000, 3_600)):
        shares = np.full(20, 0.05)
        current = rng.multinomial(n, shares, size=3_400)
        references = rng.multinomial(m, shares, size=3_400)
        gaps = np.abs(np.cumsum(current / n - references / m, axis=1)).max(axis=1)
        fired += sum(decide_ks_score(gap, m, n).level is not None for gap in gaps.tolist())
        for reference, window in zip(references[:300], current[:300], strict=True):
            fired += decide_psi(reference, window).level in ("warning", "severe")
            fired += decide_categories(reference, window).level in ("warning", "severe")
    assert fired == 0


def test_thresholds_are_those_of_the_catalogue() -> None:
    """By default the levels of the configuration."""
    assert {name: decide_ks_score(t or 0, 10**6, 10**6).level for name, t in KS.items()} == {
        "info": "info", "warning": "warning", "critical": "severe",
    }  # fmt: skip
    assert PSI == {"info": 0.10, "warning": 0.20, "critical": 0.25}
