"""Does a confidence of 90 % mean right in 90 %? Reliability curve, ECE with its noise floor, Brier score."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.errors import SchemaMismatch, fault
from modelwatch.statistics.accuracy import Z95, Floats, SampleSums, Share, Sums, weights_of

BINS = 10
MISCALIBRATED = 2.0  # times the noise floor


class ReliabilityPoint(NamedTuple):
    """One bin of the curve: mean confidence, share of right ones with its interval, number of labels."""

    confidence: float
    right: Share
    n: int


class CalibrationError(NamedTuple):
    """ECE, what a perfectly calibrated model would show by chance, and the excess of the one over the other.

    exact : False where only counts were there: the confidence of a bin is then its centre, ± half a bin.
    """

    ece: float
    noise: float
    excess: float
    miscalibrated: bool
    exact: bool


@dataclass(frozen=True, eq=False)
class CalibrationSums(Sums):
    """Per bin of the confidence, all arrays of shape (bins,). Mergeable.

    n : labels. w, wo, w2, w2o : as in SampleSums. wc, wc2, wco : Σw conf, Σw conf², Σw conf over the right ones.
    noise : Σw² conf(1 - conf). inexact : 1 where the confidences are those of bin centres.
    """

    n: npt.NDArray[np.int64]
    w: Floats
    wo: Floats
    w2: Floats
    w2o: Floats
    wc: Floats
    wc2: Floats
    wco: Floats
    noise: Floats
    inexact: int = field(default=0, kw_only=True)

    @classmethod
    def of(
        cls, confidence: npt.ArrayLike, right: npt.ArrayLike, inclusion: npt.ArrayLike | None = None, bins: int = BINS
    ) -> CalibrationSums:
        """Sum up labels in bins of equal width on 0 to 1, `(lower, upper]`.

        Parameters
        ----------
        confidence : 0 to 1, shape (n,). right : bool. inclusion : π of each; None: all alike.

        Raises
        ------
        ValueError   a confidence is not within 0 and 1: leave such rows out, and say how many they are.
        """
        c, o = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
        if not bool(np.all((c >= 0) & (c <= 1))):
            raise ValueError(
                fault("CalibrationSums", "confidence", confidence, "numbers of 0 to 1", "Leave out rows without one.")
            )
        w = weights_of(inclusion, len(c), "CalibrationSums")
        at = np.clip(np.ceil(c * bins).astype(np.int64) - 1, 0, bins - 1)
        w2 = w * w
        parts = (w, w * o, w2, w2 * o, w * c, w * c * c, w * c * o, w2 * c * (1 - c))
        sums = [np.bincount(at, part, bins).astype(np.float64) for part in parts]
        return cls(np.bincount(at, minlength=bins), *sums)

    @classmethod
    def from_counts(cls, n: npt.ArrayLike, right: npt.ArrayLike) -> CalibrationSums:
        """Take counts of labels and of right ones by equal bins of 0 to 1; a bin's confidence is its centre."""
        labels, hits = np.asarray(n, np.int64), np.asarray(right, np.float64)
        centre = (np.arange(len(labels)) + 0.5) / len(labels)
        w = labels.astype(np.float64)
        return cls(
            labels, w, hits, w, hits, w * centre, w * centre**2, hits * centre, w * centre * (1 - centre), inexact=1
        )

    def __add__(self, other: CalibrationSums) -> CalibrationSums:
        """Return the sums of both together.

        Raises
        ------
        SchemaMismatch   the numbers of bins differ.
        """
        if len(self.n) != len(other.n):
            raise SchemaMismatch(
                fault(
                    "CalibrationSums", "number of bins", len(other.n), str(len(self.n)), "Count both on the same bins."
                )
            )
        return super().__add__(other)

    def curve(self, z: float = Z95) -> tuple[ReliabilityPoint, ...]:
        """Return the reliability curve; bins without labels are absent.

        References
        ----------
        Bröcker, Smith (2007).
        """
        points = []
        for b in np.flatnonzero(self.n).tolist():
            sums = SampleSums(int(self.n[b]), *(float(each[b]) for each in (self.w, self.wo, self.w2, self.w2o)))
            share = sums.interval(z)
            assert share is not None
            points.append(ReliabilityPoint(float(self.wc[b] / self.w[b]), share, sums.n))
        return tuple(points)

    def error(self) -> CalibrationError | None:
        """Return the expected calibration error beside its noise floor; None without labels.

        ECE = Σ|right - Σconf|/n over bins. Of a perfectly calibrated model it is not 0, but about
        Σ√(2 Σconf(1 - conf)/π)/n: 0.089 with 100 labels, 0.028 with 1 000. Miscalibrated is above twice that.

        Examples
        --------
        >>> sums = CalibrationSums.of([0.7] * 50 + [0.84] * 50, [True] * 30 + [False] * 20 + [True] * 45 + [False] * 5)
        >>> round(sums.error().ece, 12)
        0.08

        References
        ----------
        Naeini et al. (2015).
        """
        total = float(self.w.sum())
        if total <= 0:
            return None
        ece = float(np.abs(self.wo - self.wc).sum()) / total
        noise = float(np.sqrt(2 * np.maximum(self.noise, 0.0) / math.pi).sum()) / total
        return CalibrationError(ece, noise, max(ece - noise, 0.0), ece > MISCALIBRATED * noise, not self.inexact)

    def brier(self) -> float | None:
        """Return the Brier score of "the prediction is right": mean (conf - right)²; None without labels."""
        total = float(self.w.sum())
        if total <= 0:
            return None
        return max(float((self.wc2 - 2 * self.wco + self.wo).sum()), 0.0) / total
