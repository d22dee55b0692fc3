"""More distances of a feature than alerts look at: on all kept bins, on merged ones, and by other measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelwatch import names
from modelwatch.reference import NumericProfile, Profile
from modelwatch.signals import Counts
from modelwatch.signals.drift import Sides
from modelwatch.statistics import (
    chi_square,
    hellinger,
    jensen_shannon,
    ks_bracket,
    merged,
    psi,
    total_variation,
    wasserstein,
)
from modelwatch.statistics.counts import Cells


def views(one: Sides, counts: Counts, feature: str | None) -> dict[str, Any]:
    """Return what is shown beside the score; nothing here alerts.

    Parameters
    ----------
    feature : name of a numeric feature, of which finer bins are kept; None for what has no others.

    Returns
    -------
    `bins` : how many of them, `total_variation`, `psi`, `jensen_shannon` (divergence in bits), `hellinger`, of all that
    are kept. `ks` : the bracket of the exact KS of the raw values, of numbers; `wasserstein` in standard deviations of
    the training data. `merged` : `bins`, `psi` and `chi_square` on bins put together until each may hold 25 values of
    the window, or None where fewer than two are left.
    """
    profile, shown = one
    before, now, mean = _finest(profile, shown, counts, feature)
    found: dict[str, Any] = {
        "bins": len(before),
        "total_variation": total_variation(before, now),
        "psi": psi(before, now),
        "jensen_shannon": jensen_shannon(before, now),
        "hellinger": hellinger(before, now),
    }
    if isinstance(profile, NumericProfile) and not (isinstance(before, Mapping) or isinstance(now, Mapping)):
        found["ks"] = ks_bracket(before, now)
        if len(profile.means) == len(before) and profile.deviation:
            found["wasserstein"] = wasserstein(
                before, now, profile.means, profile.deviation, reference_mean=profile.mean, current_mean=mean
            )
    few = merged(before, now)
    found["merged"] = None if few is None else {"bins": len(few[0]), "psi": psi(*few), "chi_square": _statistic(few)}
    return found


def _statistic(few: tuple[Cells, Cells]) -> float | None:
    found = chi_square(*few)
    return None if found is None else found.statistic


def _finest(profile: Profile, shown: Cells, counts: Counts, feature: str | None) -> tuple[Cells, Cells, float | None]:
    """Return both sides on all bins that are kept, and the mean of the window."""
    if not isinstance(profile, NumericProfile):
        return profile.counts, shown, None
    table = counts.table(names.FEATURE_VALUE)
    row = None if table is None or feature is None else table.rows.get((feature,))
    if table is None or row is None or counts.schema.numeric.get(feature or "", ((), ()))[0] != profile.edges:
        return profile.shown_counts, shown, None
    now = table.counts[row, : len(profile.counts)].tolist()
    total = sum(now)
    return profile.counts, now, float(table.sums[row]) / total if total else None
