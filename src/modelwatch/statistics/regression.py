"""MAE, RMSE, R² and bias of a regression model, from mergeable sums."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from modelwatch.errors import SchemaMismatch, fault
from modelwatch.statistics.accuracy import Z95, weights_of

ROUNDING = 64 * float(np.finfo(np.float64).eps)


class RegressionQuality(NamedTuple):
    """Errors e = truth - prediction, in the unit of the target; `r2` is None where the truth is constant or n < 2."""

    n: int
    mae: float
    mae_low: float
    mae_high: float
    rmse: float
    bias: float
    r2: float | None


@dataclass(frozen=True)
class RegressionSums:
    """Sums over labels, weighted by w = 1/π. Mergeable where the shift is the same.

    shift : about the mean of the truth, of the reference; without one, R² of large values loses its digits.
    n, w, w2 : labels, Σw, Σw². error, absolute, square : Σw e, Σw|e|, Σw e². target, target2 : Σw y', Σw y'² with
    y' = y - shift. absolute_w2, square_w2 : Σw²|e|, Σw² e².
    """

    shift: float = 0.0
    n: int = 0
    w: float = 0.0
    w2: float = 0.0
    error: float = 0.0
    absolute: float = 0.0
    square: float = 0.0
    target: float = 0.0
    target2: float = 0.0
    absolute_w2: float = 0.0
    square_w2: float = 0.0

    @classmethod
    def of(
        cls,
        truth: npt.ArrayLike,
        prediction: npt.ArrayLike,
        inclusion: npt.ArrayLike | None = None,
        shift: float = 0.0,
    ) -> RegressionSums:
        """Sum up labels.

        Parameters
        ----------
        truth, prediction : finite, shape (n,).
        inclusion : π of each; None: all alike.
        shift : about the mean of the truth.

        Raises
        ------
        ValueError   a value is not finite.
        """
        y, yhat = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
        e = y - yhat
        if not bool(np.all(np.isfinite(e))):
            raise ValueError(
                fault("RegressionSums", "a value", float("nan"), "finite numbers", "Leave out rows without a number.")
            )
        w = weights_of(inclusion, len(y), "RegressionSums")
        w2, a, y = w * w, np.abs(e), y - shift
        parts = (w, w2, w * e, w * a, w * e * e, w * y, w * y * y, w2 * a, w2 * e * e)
        return cls(shift, len(y), *(float(part.sum()) for part in parts))

    def __add__(self, other: RegressionSums) -> RegressionSums:
        """Return the sums of both together.

        Raises
        ------
        SchemaMismatch   their shifts differ.
        """
        if self.shift != other.shift:
            raise SchemaMismatch(
                fault("RegressionSums", "shift", other.shift, repr(self.shift), "Sum up both with the same shift.")
            )
        mine, theirs = self.__dict__.items(), other.__dict__
        return RegressionSums(**{name: value + (theirs[name] if name != "shift" else 0) for name, value in mine})

    def quality(self, z: float = Z95) -> RegressionQuality | None:
        """Return the quality with the interval of the MAE; None without labels.

        Examples
        --------
        >>> found = RegressionSums.of([1, 2, 3, 4], [1.5, 2, 2.5, 4]).quality()
        >>> found.mae, round(found.rmse, 9), round(found.r2, 9)
        (0.25, 0.353553391, 0.9)

        References
        ----------
        Chan, Golub, LeVeque (1983).
        """
        if not self.n:
            return None
        mae = self.absolute / self.w
        spread = self.square_w2 - 2 * mae * self.absolute_w2 + mae * mae * self.w2
        half = z * math.sqrt(max(spread, 0.0)) / self.w
        return RegressionQuality(
            self.n,
            mae,
            max(mae - half, 0.0),
            mae + half,
            math.sqrt(self.square / self.w),
            self.error / self.w,
            self._r2(),
        )

    def _r2(self) -> float | None:
        moved = self.target * self.target / self.w
        total = self.target2 - moved
        # what is left of a constant truth is rounding alone
        if self.n < 2 or total <= ROUNDING * max(self.target2, moved):
            return None
        r2 = 1 - self.square / total
        return r2 if math.isfinite(r2) else None
