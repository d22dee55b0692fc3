"""How often the rule of drift is wrong, and how late it is: exactly the form that alerts, on 50 features a model.

Slight and moderate drift are judged over the last 24 hours, severe drift over the last hour, once a minute, on the 20
exported bins as they are; the constants are those of `statistics.Chance`. Run `python simulations/drift.py` for the
tables; `--write` puts them into docs/drift.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from modelwatch.catalogue import KS, PSI
from modelwatch.statistics import Chance, decide_ks, decide_psi, smallest_sample
from modelwatch.statistics.distances import FLOOR

PAGE = Path(__file__).resolve().parents[1] / "docs" / "drift.md"
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"
BINS, FEATURES, MINUTES, DAY, HOUR, GAP = 20, 50, 43_200, 1440, 60, 60
LEVELS = {"info": ("info", DAY), "warning": ("warning", DAY), "severe": ("critical", HOUR)}  # (threshold, window)
CHANCE = Chance(FEATURES)
CHECKED = 40  # evaluations of each feature that are compared with the rule itself
SEED = 20_261_124

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Traffic:
    """Requests without drift: how many, and in which way they are not independent."""

    words: str
    per_hour: int
    training: int
    kind: str = "independent"
    deff: float = 1.0  # that the rule is told of


TRAFFICS = (
    Traffic("independent", 600, 10_000),
    Traffic("independent", 600, 1_000),
    Traffic("independent", 3_600, 10_000),
    Traffic("independent", 3_600, 1_000),
    Traffic("70 % one value", 600, 10_000, "ties"),
    Traffic("sessions of 8, deff 1 as by default", 3_600, 10_000, "sessions"),
    Traffic("sessions of 8, deff 13 given", 3_600, 10_000, "sessions", 13.0),
    Traffic("the mean wanders by 0.1 sd within half an hour", 3_600, 10_000, "wander"),
    Traffic("the mean follows the hour by ± 0.3 sd", 3_600, 10_000, "daily"),
)
#: Words -> (mean, deviation, share stuck at one value, share stuck at the least) after; before, a standard normal.
CHANGES = {
    "mean +0.25 sd (KS 0.10)": (0.25, 1.0, 0.0, 0.0),
    "mean +0.4 sd (0.16)": (0.4, 1.0, 0.0, 0.0),
    "mean +0.5 sd (0.20)": (0.5, 1.0, 0.0, 0.0),
    "mean +1 sd (0.38)": (1.0, 1.0, 0.0, 0.0),
    "sd × 2 (0.17)": (0.0, 2.0, 0.0, 0.0),
    "20 % stuck at one value (0.10)": (0.0, 1.0, 0.2, 0.0),
    "50 % stuck at one value (0.25)": (0.0, 1.0, 0.5, 0.0),
    "30 % stuck at the least (0.29)": (0.0, 1.0, 0.0, 0.3),
}


# -- counts of minutes -------------------------------------------------------------------------------------------------


def training_of(rng: np.random.Generator, m: int, shares: Floats | None = None) -> tuple[Counts, Floats]:
    """Return (counts of the training data, true shares of its bins): edges at its quantiles err as such edges do."""
    if shares is not None:
        return rng.multinomial(m, shares), shares
    return np.full(BINS, m // BINS), rng.dirichlet(np.full(BINS, m / BINS))


def month_of(rng: np.random.Generator, traffic: Traffic) -> tuple[Counts, Counts]:
    """Return (counts of the training data, counts by minute of a month and a day before it) of one feature."""
    minutes, rate = MINUTES + DAY, traffic.per_hour / 60
    tied = np.append(0.7, np.full(BINS - 1, 0.3 / (BINS - 1)))
    training, shares = training_of(rng, traffic.training, tied if traffic.kind == "ties" else None)
    if traffic.kind == "sessions":
        begun = rng.poisson(rate / 8 * shares, (minutes, BINS))
        return training, begun + np.where(begun > 0, rng.negative_binomial(np.maximum(begun, 1), 1 / 8), 0)
    if traffic.kind in {"wander", "daily"}:
        mean = wandering(rng, minutes) if traffic.kind == "wander" else daily(rng, minutes)
        grid = np.linspace(-6, 6, 4001)
        of_days = ndtr(grid[:, None] - mean[None, :: len(mean) // 500]).mean(axis=1)  # as the training data are
        edges = np.interp(np.cumsum(shares)[:-1], of_days, grid)
        upto = ndtr(edges - mean[:, None])
        each = np.diff(np.concatenate([np.zeros((minutes, 1)), upto, np.ones((minutes, 1))], axis=1), axis=1)
        return training, rng.poisson(rate * each.clip(0))
    return training, rng.poisson(rate * shares, (minutes, BINS))


def wandering(rng: np.random.Generator, minutes: int) -> Floats:
    """Return an autoregressive mean of sd 0.1 and a time constant of 30 minutes."""
    keep = np.exp(-1 / 30)
    steps = rng.normal(0, 0.1 * np.sqrt(1 - keep**2), minutes)
    mean = np.empty(minutes)
    last = 0.0
    for i, step in enumerate(steps.tolist()):
        last = keep * last + step
        mean[i] = last
    return mean


def daily(rng: np.random.Generator, minutes: int) -> Floats:
    """Return a mean that swings over the day."""
    phase: Floats = np.arange(minutes) / DAY + rng.random()
    return 0.3 * np.sin(2 * np.pi * phase)


# -- the rule, over all minutes at once --------------------------------------------------------------------------------


def fired(training: Counts, minutes: Counts, level: str, deff: float, *, check: bool = False) -> tuple[Bools, Bools]:
    """Return per minute, from the first full window on, whether KS and whether PSI fire at a level."""
    threshold, window = LEVELS[level]
    upto = np.concatenate([np.zeros((1, BINS), np.int64), np.cumsum(minutes, axis=0)])
    counts = upto[window:] - upto[:-window]
    n, m = np.maximum(counts.sum(axis=1), 1), int(training.sum())
    v = deff / n + 1 / m
    q, s = training / m, counts / n[:, None]
    gap = np.abs(np.cumsum(s - q, axis=1)).max(axis=1)
    by_ks = (gap >= (KS[threshold] or 0)) & (gap >= CHANCE.z * np.sqrt(v))
    floored, of_training = np.maximum(s, FLOOR), np.maximum(q, FLOOR)
    excess = ((floored - of_training) * np.log(floored / of_training)).sum(axis=1) - (BINS - 1) * v
    pooled = (s * (n / deff)[:, None] + q * m) / (n / deff + m)[:, None]
    statistic = ((s - q) ** 2 / np.maximum(pooled, 1e-12)).sum(axis=1) / v
    by_psi = (excess >= (PSI[threshold] or 0)) & (statistic > CHANCE.chi_square_limit(BINS))
    by_psi &= n >= smallest_sample(BINS, deff)
    if check:
        levels = {"info": None, "warning": None, "critical": None}
        for i in np.linspace(0, len(counts) - 1, CHECKED).astype(int).tolist():
            one = decide_ks(training, counts[i], {**levels, threshold: KS[threshold]}, chance=CHANCE, deff=deff)
            other = decide_psi(training, counts[i], {**levels, threshold: PSI[threshold]}, chance=CHANCE, deff=deff)
            if (one.outcome == "firing", other.outcome == "firing") != (by_ks[i], by_psi[i]):
                raise AssertionError("the simulation is not of the rule")
    return by_ks, by_psi


def episodes(firing: Bools) -> int:
    """Return how often it begins to fire; pauses of up to an hour are none."""
    at = np.flatnonzero(firing)
    return int(1 + (np.diff(at) > GAP).sum()) if len(at) else 0


def false_alarms(traffic: Traffic, months: int) -> dict[str, tuple[float, float]]:
    """Return {level: false alarms a model-month by KS and by PSI}, over all features."""
    rng = np.random.default_rng([SEED, TRAFFICS.index(traffic)])
    found = {level: np.zeros(2) for level in LEVELS}
    for _ in range(months):
        for feature in range(FEATURES):
            training, minutes = month_of(rng, traffic)
            for level, (_, window) in LEVELS.items():
                pair = fired(training, minutes[DAY - window :], level, traffic.deff, check=feature == 0)
                found[level] += [episodes(each) for each in pair]
    return {level: (float(each[0]) / months, float(each[1]) / months) for level, each in found.items()}


def delays(change: str, per_hour: int, runs: int) -> dict[str, tuple[float | None, float]]:
    """Return {level: (median minutes until KS or PSI fires after the change, share of runs that do within 48 h)}."""
    rng = np.random.default_rng([SEED, list(CHANGES).index(change), per_hour])
    mean, deviation, stuck, least = CHANGES[change]
    found: dict[str, list[float]] = {level: [] for level in LEVELS}
    for _ in range(runs):
        training, shares = training_of(rng, 10_000)
        edges = ndtri(np.cumsum(shares)[:-1])
        upto = np.concatenate([[0.0], ndtr((edges - mean) / deviation), [1.0]])
        after = np.diff(upto) * (1 - stuck - least)
        after[rng.integers(BINS)] += stuck
        after[0] += least
        rate = per_hour / 60
        minutes = np.concatenate([rng.poisson(rate * shares, (DAY, BINS)), rng.poisson(rate * after, (2 * DAY, BINS))])
        for level, (_, window) in LEVELS.items():
            by_ks, by_psi = fired(training, minutes[DAY - window :], level, 1.0)
            at = np.flatnonzero((by_ks | by_psi)[1:])
            found[level].append(float(at[0] + 1) if len(at) else np.inf)
    return {level: (_median(times), float(np.isfinite(times).mean())) for level, times in found.items()}


def _median(times: list[float]) -> float | None:
    reached = [time for time in times if np.isfinite(time)]
    return float(np.median(reached)) if reached else None


# -- the tables --------------------------------------------------------------------------------------------------------


def tables(months: int, runs: int) -> Iterator[str]:
    """Yield the lines of both tables, as they come."""
    yield f"False alarms a model-month of {FEATURES} features ({months} months a row, seed {SEED}): KS / PSI."
    yield ""
    yield "| requests | an hour | training rows | info, 24 h | warning, 24 h | severe, 1 h |"
    yield "|---|---|---|---|---|---|"
    for traffic in TRAFFICS:
        found = false_alarms(traffic, months)
        cells = " | ".join(f"{by_ks:.1f} / {by_psi:.1f}" for by_ks, by_psi in found.values())
        yield f"| {traffic.words} | {traffic.per_hour} | {traffic.training} | {cells} |"
    yield ""
    yield f"Time from an abrupt change to the first of KS and PSI, median (share within 48 h) of {runs} runs."
    yield ""
    yield "| change | an hour | info, 24 h | warning, 24 h | severe, 1 h |"
    yield "|---|---|---|---|---|"
    for change in CHANGES:
        for per_hour in (600, 3_600):
            found_after = delays(change, per_hour, runs)
            cells = " | ".join(f"{_time(median)} ({share:.0%})" for median, share in found_after.values())
            yield f"| {change} | {per_hour} | {cells} |"


def _time(minutes: float | None) -> str:
    if minutes is None:
        return "–"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=2)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/drift.md")
    options = parser.parse_args()
    lines = []
    for line in tables(options.months, options.runs):
        lines.append(line)
        print(line, flush=True)
    if options.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, _, tail = rest.partition(END)
        text = "\n".join(lines)
        PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
