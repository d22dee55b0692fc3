"""Bins put together until each holds enough for PSI and chi-square: for views; alerts take the bins as they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from modelwatch.statistics.counts import Cells, paired
from modelwatch.statistics.decision import PER_BIN

PER_CATEGORY = 5  # effective values of both sides together, below which a category is one of the few
FEW = "__few__"  # the one cell of them


def merged(reference: Cells, current: Cells, deff: float = 1.0) -> tuple[Cells, Cells] | None:
    """Return both sides on fewer cells.

    Neighbouring bins are put together from the left until the window is expected to have 25 effective values in each; a
    short remainder joins the last. All categories that are expected to have fewer than 5 become one.

    Parameters
    ----------
    deff : design effect of the requests.

    Returns
    -------
    None where a side is empty, or fewer than two cells are left.

    Examples
    --------
    >>> merged([10, 10, 40, 30, 10], [20, 30, 60, 50, 40])
    ([20.0, 40.0, 40.0], [50.0, 60.0, 90.0])
    """
    pair = paired("merged", reference, current)
    if pair is None:
        return None
    (m, n), q = pair.totals, pair.shares[0]
    if isinstance(reference, Mapping):
        few = q * (n * m / (n + m)) / deff < PER_CATEGORY
        sides = []
        for side in (pair.reference, pair.current):
            cells = {str(key): float(c) for key, c, is_few in zip(pair.keys, side, few, strict=True) if not is_few}
            sides.append({**cells, FEW: float(side[few].sum())} if few.any() else cells)
        return (sides[0], sides[1]) if len(sides[0]) > 1 else None
    starts, expected = [0], 0.0
    for i, share in enumerate(q.tolist()):
        if expected >= PER_BIN:
            starts.append(i)
            expected = 0.0
        expected += share * n / deff
    if expected < PER_BIN:
        starts.pop()
    if len(starts) < 2:
        return None
    one, other = (np.add.reduceat(side, starts).tolist() for side in (pair.reference, pair.current))
    return one, other
