"""Quantiles read from the buckets of a histogram, with the bounds that they certainly lie between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Quantile(NamedTuple):
    """A quantile read from buckets, in the unit of the edges.

    The interpolated value, and what it certainly lies between.

    `high` is None when it is above the last finite edge.
    """

    value: float
    low: float
    high: float | None


def histogram_quantile(
    edges: Sequence[float], counts: Sequence[int] | npt.NDArray[np.int64], q: float
) -> Quantile | None:
    """Quantile of a histogram, interpolated in its bucket as Prometheus does.

    Parameters
    ----------
    edges : finite upper bounds, increasing, length n.
    counts : per bucket, length n + 1; the last one is above the last edge.
    q : 0 to 1.

    Returns
    -------
    Quantile, or None when there are no observations or no edges.

    Raises
    ------
    ValueError   q is not within 0 and 1.

    Examples
    --------
    >>> histogram_quantile([0.1, 0.5, 1], [20, 60, 15, 5], 0.1)
    Quantile(value=0.05, low=0.0, high=0.1)
    >>> histogram_quantile([0.1, 0.5, 1], [20, 60, 15, 5], 0.99)
    Quantile(value=1, low=1, high=None)

    References
    ----------
    Prometheus documentation, `histogram_quantile`.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"histogram_quantile: q is {q!r}; expected 0 to 1. Give 0.95 for the 95th percentile.")
    upto = np.cumsum(counts)
    total = int(upto[-1])
    if total == 0 or not len(edges):
        return None
    rank = q * total
    bucket = int(np.argmax(upto >= max(rank, 1)))  # the smallest observation is in the first bucket that has any
    if bucket == len(edges):
        return Quantile(edges[-1], edges[-1], None)
    high = edges[bucket]
    if bucket == 0:
        if high <= 0:
            return Quantile(high, float("-inf"), high)
        low, before = 0.0, 0
    else:
        low, before = edges[bucket - 1], int(upto[bucket - 1])
    inside = int(upto[bucket]) - before
    return Quantile(min(low + (high - low) * (rank - before) / inside, high), low, high)
