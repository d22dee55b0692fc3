"""Statistics as pure functions of arrays and counts. What is undefined is None, never 0 and never NaN."""

from modelwatch.statistics.quantiles import Quantile, histogram_quantile

__all__ = ["Quantile", "histogram_quantile"]
