"""How often the rule of drift is wrong, and how late it is: exactly the form that alerts, on 50 features a model.

Slight and moderate drift are judged over the last 24 hours, severe drift over the last hour, once a minute, on the 20
exported bins as they are; the constants are those of `statistics.Chance`, and an alarm holds for five minutes before it
is one, as alerts do. KS is that of 50 numbers, total variation that of 50 categories, PSI that of the answers, of which
a model has two. Run `python simulations/drift.py` for the tables; `--write` puts them into docs/drift.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri
from scipy.stats import chi2

from modelwatch.catalogue import KS, PSI
from modelwatch.statistics import Chance, decide_categories, decide_ks, decide_psi, smallest_sample
from modelwatch.statistics.distances import FLOOR

PAGE = Path(__file__).resolve().parents[1] / "docs" / "drift.md"
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"
BINS, FEATURES, ANSWERS, MINUTES, DAY, HOUR = 20, 50, 2, 43_200, 1440, 60
FOR, KEEP = 5, 15  # minutes that an alert must hold before it is told, and not hold before it has ended
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
    Traffic("features correlated by 0.5", 600, 10_000, "correlated"),
    Traffic("70 % one value", 600, 10_000, "ties"),
    Traffic("sessions of 8, a design effect of 13", 3_600, 10_000, "sessions"),
    Traffic("sessions of 8, which the rule is told", 3_600, 10_000, "sessions", 13.0),
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


@dataclass(frozen=True)
class Requests:
    """The requests of a month and of the day before it: in which minute each comes, and what its features share."""

    minute: npt.NDArray[np.intp]
    common: Floats

    @classmethod
    def of(cls, rng: np.random.Generator, per_hour: int) -> Requests:
        """Draw them."""
        minute = np.repeat(np.arange(MINUTES + DAY), rng.poisson(per_hour / 60, MINUTES + DAY))
        return cls(minute, rng.normal(size=len(minute)))

    def feature(self, rng: np.random.Generator, shares: Floats) -> Counts:
        """Return the counts by minute of a feature that is correlated with each other one by 0.5."""
        values = (self.common + rng.normal(size=len(self.common))) / np.sqrt(2)
        bins = np.searchsorted(ndtri(np.cumsum(shares)[:-1]), values)
        return np.bincount(self.minute * BINS + bins, minlength=(MINUTES + DAY) * BINS).reshape(-1, BINS)


def month_of(rng: np.random.Generator, traffic: Traffic, requests: Requests | None = None) -> tuple[Counts, Counts]:
    """Return (counts of the training data, counts by minute of a month and a day before it) of one feature."""
    minutes, rate = MINUTES + DAY, traffic.per_hour / 60
    tied = np.append(0.7, np.full(BINS - 1, 0.3 / (BINS - 1)))
    training, shares = training_of(rng, traffic.training, tied if traffic.kind == "ties" else None)
    if requests is not None:
        return training, requests.feature(rng, shares)
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


def fired(training: Counts, minutes: Counts, level: str, deff: float, *, check: bool = False) -> tuple[Bools, ...]:
    """Return per minute, from the first full window on, whether KS, total variation and PSI hold at a level."""
    threshold, window = LEVELS[level]
    upto = np.concatenate([np.zeros((1, BINS), np.int64), np.cumsum(minutes, axis=0)])
    counts = upto[window:] - upto[:-window]
    n, m = np.maximum(counts.sum(axis=1), 1), int(training.sum())
    v = deff / n + 1 / m
    q, s = training / m, counts / n[:, None]
    gap = np.abs(np.cumsum(s - q, axis=1)).max(axis=1)
    by_ks = (gap >= (KS[threshold] or 0)) & (gap >= CHANCE.z * np.sqrt(v))
    pooled = (s * (n / deff)[:, None] + q * m) / (n / deff + m)[:, None]
    sure = ((s - q) ** 2 / np.maximum(pooled, 1e-12)).sum(axis=1) / v > CHANCE.chi_square_limit(BINS)
    sure &= n >= smallest_sample(BINS, deff)
    noise = np.sqrt(2 * pooled * (1 - pooled) * v[:, None] / np.pi).sum(axis=1)
    by_tv = sure & ((np.abs(s - q).sum(axis=1) - noise) / 2 >= (KS[threshold] or 0))
    floored, of_training = np.maximum(s, FLOOR), np.maximum(q, FLOOR)
    excess = ((floored - of_training) * np.log(floored / of_training)).sum(axis=1) - (BINS - 1) * v
    by_psi = sure & (excess >= (PSI[threshold] or 0))
    if check:
        compare_with_rule(training, counts, threshold, deff, (by_ks, by_tv, by_psi))
    return by_ks, by_tv, by_psi


def compare_with_rule(training: Counts, counts: Counts, threshold: str, deff: float, found: tuple[Bools, ...]) -> None:
    """Raise where what was found is not what the rule itself says of the same counts."""
    names = [f"c{i}" for i in range(BINS)]
    before = dict(zip(names, training.tolist(), strict=True))
    for i in np.linspace(0, len(counts) - 1, CHECKED).astype(int).tolist():
        now = dict(zip(names, counts[i].tolist(), strict=True))
        decisions = (
            decide_ks(training, counts[i], {threshold: KS[threshold]}, chance=CHANCE, deff=deff),
            decide_categories(before, now, {threshold: KS[threshold]}, chance=CHANCE, deff=deff),
            decide_psi(training, counts[i], {threshold: PSI[threshold]}, chance=CHANCE, deff=deff),
        )
        if [one.outcome == "firing" for one in decisions] != [bool(each[i]) for each in found]:
            raise AssertionError("the simulation is not of the rule")


def held(firing: Bools) -> Bools:
    """Return per minute whether it has fired for as long as an alert must hold."""
    upto = np.concatenate([[0], np.cumsum(firing)])
    through: Bools = np.zeros(len(firing), bool)
    through[FOR:] = upto[FOR + 1 :] - upto[: -FOR - 1] == FOR + 1
    return through


def alarms(firing: Bools) -> int:
    """Return how many alerts are told: those that hold, one again where it was gone for as long as one ends after."""
    at = np.flatnonzero(held(firing))
    return int(1 + (np.diff(at) > KEEP).sum()) if len(at) else 0


def false_alarms(traffic: Traffic, months: int) -> dict[str, list[int]]:
    """Return {level: false alarms by KS, total variation and PSI in so many months}, of 50 features each."""
    rng = np.random.default_rng([SEED, TRAFFICS.index(traffic)])
    found = {level: [0, 0, 0] for level in LEVELS}
    for _ in range(months):
        requests = Requests.of(rng, traffic.per_hour) if traffic.kind == "correlated" else None
        for feature in range(FEATURES):
            training, minutes = month_of(rng, traffic, requests)
            for level, (_, window) in LEVELS.items():
                each = fired(training, minutes[DAY - window :], level, traffic.deff, check=feature == 0)
                found[level] = [n + alarms(one) for n, one in zip(found[level], each, strict=True)]
    return found


def delays(change: str, per_hour: int, runs: int) -> dict[str, tuple[float | None, float]]:
    """Return {level: (median minutes until KS or PSI is told after the change, share of runs that do within 48 h)}."""
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
            by_ks, _, by_psi = fired(training, minutes[DAY - window :], level, 1.0)
            at = np.flatnonzero((held(by_ks) | held(by_psi))[1:])
            found[level].append(float(at[0] + 1) if len(at) else np.inf)
    return {level: (_median(times), float(np.isfinite(times).mean())) for level, times in found.items()}


def _median(times: list[float]) -> float | None:
    reached = [time for time in times if np.isfinite(time)]
    return float(np.median(reached)) if reached else None


# -- the tables --------------------------------------------------------------------------------------------------------


def tables(months: int, runs: int) -> Iterator[str]:
    """Yield the lines of both tables, as they come."""
    yield (
        f"False alarms a model-month ({months} months a row, seed {SEED}), by KS of {FEATURES} numbers, "
        f"total variation of {FEATURES} categories, PSI of {ANSWERS} answers; below, the 95 % interval of each."
    )
    yield ""
    yield "| requests | an hour | training rows | info, 24 h | warning, 24 h | severe, 1 h |"
    yield "|---|---|---|---|---|---|"
    for traffic in TRAFFICS:
        found = false_alarms(traffic, months)
        cells = " | ".join(_rates(counted, months) for counted in found.values())
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


def _rates(counted: list[int], months: int) -> str:
    """Return alarms a month with their exact intervals, of 50 features and of the answers of a model."""
    each, between = [], []
    for n, series in zip(counted, (FEATURES, FEATURES, ANSWERS), strict=True):
        share = series / FEATURES / months
        low = chi2.ppf(0.025, 2 * n) / 2 * share if n else 0.0
        each.append(f"{n * share:.2f}")
        between.append(f"{low:.2f}–{chi2.ppf(0.975, 2 * n + 2) / 2 * share:.2f}")
    return f"{' / '.join(each)}<br>({' / '.join(between)})"


def _time(minutes: float | None) -> str:
    if minutes is None:
        return "–"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def main() -> int:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--months", type=int, default=6)
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
