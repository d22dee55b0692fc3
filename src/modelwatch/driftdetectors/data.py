"""Data drift: each numeric feature against its training values, by the exact KS statistic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from modelwatch.catalogue import KS
from modelwatch.driftdetectors.judging import (
    SEVERITY,
    Closed,
    DriftAlert,
    Judges,
    OnAlert,
    Window,
    missing_values,
    number_of,
    whole_size,
)
from modelwatch.errors import NotEnoughData, fault
from modelwatch.explain import explain
from modelwatch.kernel import numbers
from modelwatch.reference import profile_numeric
from modelwatch.statistics import Chance, Decision, Sorted, decide_ks_score, ks
from modelwatch.statistics.counts import stats

_DATA_DRIFT = """\
DATA DRIFT DETECTED
Model: {model}
Feature: {feature}
Severity: {severity}
KS Statistic: {statistic:.3f}
P-value: {p_value:.4f}

{account}

Interpretation:
- KS < 0.1: No significant drift
- KS 0.1-0.15: Slight shift (monitor)
- KS 0.15-0.25: Moderate drift (investigate)
- KS > 0.25: Severe drift (retrain recommended)

Action:
1. Review recent input examples
2. Check for data source changes
3. Compare distributions visually
4. Consider retraining if accuracy dropping
"""


class FeatureDrift(TypedDict):
    """What is known of one feature; None is not known, never 0.

    ks_statistic, p_value : of the values that are numbers.
    severity : info, warning, critical, or None.
    outcome : ok, firing or cannot_tell.
    reason : why, in words.
    samples : numbers judged.
    missing_ratio : share of samples without a number, of the last window.
    """

    ks_statistic: float | None
    p_value: float | None
    severity: str | None
    outcome: str
    reason: str
    samples: int
    missing_ratio: float | None


class _Feature:
    """One feature: its reference, and its window."""

    def __init__(self, name: str, given: Any) -> None:
        column, _, missing, wrong = numbers(given if isinstance(given, np.ndarray) else list(given))
        self.reference = Sorted(column)
        finite = column[np.isfinite(column)]
        if not len(finite):
            where, remedy = f"reference_data: {name}", "Give its values in training, or leave it out."
            raise NotEnoughData(fault(where, "number of values", 0, "at least one number", remedy))
        invalid = missing + wrong + int(np.isnan(column).sum())
        self.usual = invalid / (invalid + len(self.reference))
        self.profile = profile_numeric(finite)
        self.window = Window()


class DataDriftDetector:
    """Compares each numeric feature with its training values by the exact KS statistic, a window at a time.

    A window of a feature is its last `window_size` numbers: a feature that is often missing is judged later, and holds
    back no other. A shift alerts when it passes a threshold and is beyond what chance shows in so few numbers. Missing
    values alert on their own, `window_size` samples at a time.

    Parameters
    ----------
    reference_data : {feature name: values in training}.
    window_size : numbers of a feature that are judged together.
    on_alert : called with a `DriftAlert`, in a thread of the detector; without, alerts are logged as warnings.

    Attributes
    ----------
    thresholds : KS statistic of each severity; may be changed.
    results : {feature name: what was last judged}.
    alerts : how often each (feature name, severity) alerted.

    Raises
    ------
    NotEnoughData   a feature has no number in training, or there is no feature.
    MissingExtra   SciPy is not installed.

    Examples
    --------
    >>> detector = DataDriftDetector("m", {"length": range(1000)}, window_size=200, on_alert=lambda alert: None)
    >>> for i in range(200):
    ...     detector.add_sample({"length": i})
    >>> detector.check_drift()["length"]["severity"]
    'critical'
    """

    def __init__(
        self,
        model_name: str,
        reference_data: Mapping[str, Sequence[float] | npt.NDArray[Any]],
        window_size: int = 1000,
        *,
        on_alert: OnAlert | None = None,
    ) -> None:
        stats("DataDriftDetector")  # says at the start, and not in a request, that SciPy is missing
        if not reference_data:
            raise NotEnoughData(
                fault("reference_data", "number of features", 0, "at least one", "Give the training data.")
            )
        self.model_name, self.window_size = model_name, whole_size(window_size)
        self.thresholds: dict[str, float | None] = dict(KS)
        self.results: dict[str, FeatureDrift] = {}
        self.alerts: Counter[tuple[str, str]] = Counter()
        self._features = {name: _Feature(name, values) for name, values in reference_data.items()}
        self._judges = Judges(self._judge, on_alert)

    @property
    def skipped(self) -> int:
        """Windows that were not judged, since too many waited."""
        return self._judges.skipped

    def add_sample(self, features: Mapping[str, Any]) -> None:
        """Take in the features of one request; raises nothing, waits for nothing.

        A feature that is absent, None, NaN or no number is missing. Names that the reference does not have are left
        alone.
        """
        size, closed = self.window_size, []
        for name, feature in self._features.items():
            try:
                value, gap = number_of(features.get(name))
            except Exception:  # noqa: BLE001  # no mapping, or a key's own code
                value, gap = 0.0, "type"
            feature.window.take(value, gap)
            if feature.window.is_full(size):
                closed += self._judges.close(name, feature.window, size)
        if closed:
            self._judges.put(closed)

    def check_drift(self) -> dict[str, FeatureDrift]:
        """Judge what each feature has now and return it by feature; where that is nothing, what was last judged.

        Each call alerts of what it finds.
        """
        open_ones = [(name, feature.window) for name, feature in self._features.items()]
        self._judges.settle([Closed(name, list(window.values), list(window.gaps)) for name, window in open_ones])
        return {name: self.results.get(name) or _unknown() for name in self._features}

    def flush(self) -> None:
        """Judge the windows that are full, here and now."""
        self._judges.settle()

    def _judge(self, closed: Closed) -> None:
        name, feature = closed.key, self._features[closed.key]
        found: dict[str, Any] = {**(self.results.get(name) or _unknown())}
        alerts: list[DriftAlert | None] = []
        if closed.gaps:
            found["missing_ratio"] = (len(closed.gaps) - closed.gaps.count("")) / len(closed.gaps)
            alerts.append(missing_values(self.model_name, name, closed.gaps, feature.usual))
        column = np.array(closed.values)
        score = ks(feature.reference, column)
        if score is not None:
            chance = Chance(len(self._features))
            decision = decide_ks_score(score.statistic, score.m, score.n, self.thresholds, chance=chance)
            severity = SEVERITY[decision.level] if decision.level else None
            found |= {"ks_statistic": score.statistic, "p_value": score.p_value, "severity": severity}
            found |= {"outcome": decision.outcome, "reason": decision.reason, "samples": score.n}
            if severity:
                alerts.append(self._drift(name, feature, column, decision, severity, score.p_value))
        self.results[name] = found  # type: ignore[assignment]  # the keys of a FeatureDrift
        for alert in filter(None, alerts):
            self.alerts[name, alert.severity] += 1
            self._judges.alert(alert)

    def _drift(
        self,
        name: str,
        feature: _Feature,
        column: npt.NDArray[np.float64],
        decision: Decision,
        severity: str,
        p_value: float,
    ) -> DriftAlert:
        edges = feature.profile.edges
        counts = np.bincount(np.searchsorted(edges, column), minlength=len(edges) + 1)
        mean = float(column.mean()) if np.isfinite(column).all() else None
        account = explain(name, feature.profile, counts, decision, mean=mean)
        statistic = decision.score or 0.0
        message = _DATA_DRIFT.format(
            model=self.model_name,
            feature=name,
            severity=severity.upper(),
            statistic=statistic,
            p_value=p_value,
            account="\n".join([account.summary, *account.details]),
        )
        return DriftAlert("data_drift", self.model_name, name, severity, statistic, message)


def _unknown() -> FeatureDrift:
    return {
        "ks_statistic": None,
        "p_value": None,
        "severity": None,
        "outcome": "cannot_tell",
        "reason": "no values yet",
        "samples": 0,
        "missing_ratio": None,
    }
