"""Statement 32: how seldom the alert of accuracy is wrong, and how many labels it needs to be right."""

from __future__ import annotations

import statistics

import numpy as np
import numpy.typing as npt

from modelwatch.statistics import alert_z, wilson
from soak.ledger import Report

WINDOW = 500  # labels
TARGET, BROKEN = 0.85, 0.60
LABELS_A_MONTH = 10_000
MONTHS, DROPS = 1000, 2000  # that are simulated at scale 1
MOST_LABELS = 150


def labels(report: Report, scale: float) -> None:
    """Months of a model that is exactly as good as it should be, and drops from there, judged at every label."""
    chance = np.random.default_rng(32)
    fires_at = next(k for k in range(WINDOW, -1, -1) if _is_surely_low(k))
    months, drops = max(30, int(MONTHS * scale)), max(100, int(DROPS * scale))
    pages = 0
    for _ in range(months):
        low = _rolling(chance.random(LABELS_A_MONTH + WINDOW) < TARGET) <= fires_at
        pages += int(np.count_nonzero(low[1:] & ~low[:-1]) + low[0])
    needed = []
    for _ in range(drops):
        right = np.concatenate([chance.random(WINDOW) < TARGET, chance.random(4 * WINDOW) < BROKEN])
        needed.append(int(np.argmax(_rolling(right) <= fires_at)))
    ordered = sorted(needed)
    report.check(
        32, "false pages of accuracy", "fewer than 1 in 30 days at the target",
        f"{pages / months:.2f} a month, each crossing counted: {pages} in {months:,} months of {LABELS_A_MONTH:,} labels at an accuracy of {TARGET}",
        holds=pages / months < 1,
    )  # fmt: skip
    report.check(
        32, f"labels until a drop from {TARGET} to {BROKEN} is told", f"a median of {MOST_LABELS} in a window of {WINDOW}",
        f"median {statistics.median(needed):.0f}, 95 % within {ordered[int(0.95 * drops)]}, {drops:,} drops",
        holds=statistics.median(needed) <= MOST_LABELS,
    )  # fmt: skip


def _is_surely_low(right: int) -> bool:
    interval = wilson(right, WINDOW, alert_z(LABELS_A_MONTH))
    return interval is not None and interval.high < TARGET


def _rolling(right: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return how many of the last `WINDOW` labels are right, after each label since the first window is full."""
    total = np.concatenate([[0], np.cumsum(right, dtype=np.int64)])
    return np.asarray(total[WINDOW:] - total[:-WINDOW], np.int64)
