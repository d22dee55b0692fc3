"""How many values are at or below each edge of a histogram, exactly, by sorting: as singles where these decide."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MANY = 2048  # values from which rounding them pays
FEW_TIES = 8  # edges at which comparing the doubles costs less than sorting them


class Edges:
    """Ascending edges of one histogram; several may be equal, or infinite.

    Singles are sorted in half the time of doubles, and rounding never changes an order: of a value and an edge that
    differ as singles, it is known which is larger. Only at an edge that some value equals as a single do doubles
    decide. Where many edges are so, as in a column of prices, doubles are sorted from then on.
    """

    __slots__ = ("_bounded", "_by_doubles", "_doubles", "_singles")

    def __init__(self, edges: Floats) -> None:
        self._doubles, self._singles = edges, _rounded(edges)
        self._bounded = edges < np.inf  # at the others singles decide: what is a number is below them
        self._by_doubles = False

    def upto(self, values: Floats) -> npt.NDArray[np.intp]:
        """Return how many of `values` are <= each edge, NaN above all. The values may be sorted in place."""
        if len(values) >= MANY and not self._by_doubles:
            singles = _rounded(values)
            singles.sort()
            found = singles.searchsorted(self._singles, "right")
            tied = np.flatnonzero((singles.searchsorted(self._singles, "left") < found) & self._bounded).tolist()
            if len(tied) <= FEW_TIES:
                for edge in tied:
                    found[edge] = np.count_nonzero(values <= self._doubles[edge])
                return found
            self._by_doubles = True
        values.sort()
        return values.searchsorted(self._doubles, "right")


def _rounded(values: Floats) -> npt.NDArray[np.float32]:
    with np.errstate(all="ignore"):  # what is too large for a single is infinite
        return values.astype(np.float32)
