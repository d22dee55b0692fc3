"""When a drift began: the one moment that tells the counts after it from those before it best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from modelwatch.statistics.chance import noise
from modelwatch.statistics.counts import Cells, Floats
from modelwatch.statistics.distances import total_variation

REST = 0.5  # of the distance after: as far may what came before have been, and still not be a part of it


def began(reference: Cells, blocks: Sequence[Cells]) -> int | None:
    """Return the index of the block in which the counts left the reference; 0 where they were away from the start.

    The split is that of the largest chi-square between what is before and what is after it. It counts where what is
    before is at most half as far from the reference, by total variation less its noise. O(blocks x bins).

    Parameters
    ----------
    reference : counts of the training data.
    blocks : counts of equal pieces of time, in their order, on the same bins or of categories.

    Returns
    -------
    None where no block has a value.

    Examples
    --------
    >>> began([50, 50], [[30, 31], [33, 30], [2, 60], [1, 55]])
    2
    >>> began([50, 50], [[2, 60], [1, 55]])
    0

    References
    ----------
    Hawkins (1977), "Testing a sequence of observations for a shift in location", on counts of bins.
    """
    if not blocks:
        return None
    counts = _table(blocks)
    used: list[int] = np.flatnonzero(counts.sum(axis=1)).tolist()
    if not used:
        return None
    upto = np.cumsum(counts[used], axis=0)
    before, after = upto[:-1], upto[-1] - upto[:-1]
    if not len(before):
        return used[0]
    n, m = before.sum(axis=1, keepdims=True), after.sum(axis=1, keepdims=True)
    pooled = np.maximum(upto[-1] / upto[-1].sum(), 1e-12)
    statistic = ((before / n - after / m) ** 2 / pooled).sum(axis=1) / (1 / n + 1 / m)[:, 0]
    at = int(np.argmax(statistic)) + 1
    was, now = _distance(reference, _merged(blocks, used[:at])), _distance(reference, _merged(blocks, used[at:]))
    return used[at] if was <= REST * now else used[0]


def _table(blocks: Sequence[Cells]) -> Floats:
    """Return the counts, shape (blocks, cells)."""
    if any(isinstance(block, Mapping) for block in blocks):
        named = [block if isinstance(block, Mapping) else {} for block in blocks]
        keys = sorted({key for block in named for key in block})
        return np.array([[block.get(key, 0) for key in keys] for block in named], np.float64).reshape(len(blocks), -1)
    return np.array(blocks, np.float64).reshape(len(blocks), -1)


def _merged(blocks: Sequence[Cells], at: Sequence[int]) -> Cells:
    chosen = [blocks[i] for i in at]
    if isinstance(chosen[0], Mapping):
        total: dict[str, float] = {}
        for block in chosen:
            for key, n in block.items() if isinstance(block, Mapping) else ():
                total[key] = total.get(key, 0) + n
        return total
    return [float(n) for n in np.sum(np.array(chosen, np.float64), axis=0)]


def _distance(reference: Cells, current: Cells) -> float:
    distance, by_chance = total_variation(reference, current), noise(reference, current)
    return max((distance or 0.0) - (by_chance.total_variation if by_chance else 0.0), 0.0)
