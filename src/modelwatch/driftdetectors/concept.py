"""Concept drift, as it is commonly called: predictions against a baseline, by PSI."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from modelwatch.catalogue import PSI
from modelwatch.driftdetectors.judging import (
    SEVERITY,
    Closed,
    DriftAlert,
    Judges,
    OnAlert,
    Window,
    missing_values,
    number_of,
)
from modelwatch.errors import NotEnoughData, fault
from modelwatch.kernel import numbers
from modelwatch.labels import is_missing, label_text
from modelwatch.statistics import Chance, Decision, decide_psi, psi
from modelwatch.statistics.counts import special

FEW_CLASSES = 50  # whole numbers of up to so many values are classes

_CONCEPT_DRIFT = """\
CONCEPT DRIFT DETECTED
Model: {model}
Severity: {severity}
PSI: {psi:.3f}

{reason}

Interpretation:
- PSI < 0.1: No significant change
- PSI 0.1-0.2: Slight change (model behavior shifting)
- PSI > 0.2: Significant change (model may need retraining)

Action:
1. Compare current vs baseline prediction distributions
2. Check if input distribution also changed (data drift?)
3. Validate accuracy on recent samples
4. Consider retraining if accuracy dropping
"""


def _class_of(value: Any) -> tuple[str, str]:
    """Return (the name of a class, "") or ("", why there is none); 1 and 1.0 are one."""
    if is_missing(value):
        return "", "missing"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text, refused = label_text(value)
    return ("", refused) if refused else (text, "")


class ConceptDriftDetector:
    """Compares predictions with a baseline by PSI, a window at a time: probabilities, scores, values or class names.

    Outputs that have moved are not concept drift by themselves: that is what labels show.

    Probabilities have `num_bins` equal bins on [0, 1], open at both ends. A baseline with numbers outside has as many
    bins at its own quantiles, so that logits are told apart. A baseline of texts, or of few whole numbers, has a bin
    for each class, and one for all that it does not have.

    A baseline is only ever set by `set_baseline`: what is in production when a process starts may be broken already.

    Parameters
    ----------
    num_bins : of numbers.
    on_alert : called with a `DriftAlert`, in a thread of the detector; without, alerts are logged as warnings.

    Attributes
    ----------
    thresholds : PSI, less what chance shows, of each severity; may be changed.
    window_size : predictions that are judged together; may be changed.
    baseline_distribution : shares of the bins; None until there is a baseline.
    decision : what was last judged; None until then.
    missing_ratio : share of predictions that are in no bin, of the last window; more than in the baseline alert.
    without_baseline : predictions that were not judged, since there was no baseline.
    alerts : how often each severity alerted.

    Raises
    ------
    MissingExtra   SciPy is not installed.

    Examples
    --------
    >>> detector = ConceptDriftDetector("m", on_alert=lambda alert: None)
    >>> detector.set_baseline([i / 1000 for i in range(1000)])
    >>> for i in range(500):
    ...     detector.track_prediction(i / 1000)
    >>> detector.check_concept_drift() > 1
    True
    """

    def __init__(self, model_name: str, num_bins: int = 10, *, on_alert: OnAlert | None = None) -> None:
        special("ConceptDriftDetector")  # says at the start, and not in a request, that SciPy is missing
        if type(num_bins) is not int or num_bins < 2:
            raise ValueError(fault("num_bins", "num_bins", num_bins, "a whole number from 2 on", "Write 10."))
        self.model_name, self.num_bins, self.window_size = model_name, num_bins, 1000
        self.thresholds: dict[str, float | None] = dict(PSI)
        self.baseline_distribution: npt.NDArray[np.float64] | None = None
        self.decision: Decision | None = None
        self.alerts: Counter[str] = Counter()
        self.missing_ratio: float | None = None
        self.without_baseline = 0
        self._bins: tuple[dict[str, int] | list[int], npt.NDArray[np.float64] | None] | None = None
        self._usual, self._window = 0.0, Window()
        self._judges = Judges(self._judge, on_alert)

    @property
    def skipped(self) -> int:
        """Windows that were not judged, since too many waited."""
        return self._judges.skipped

    def set_baseline(self, predictions: Sequence[Any] | npt.NDArray[Any]) -> None:
        """Set what predictions are compared with: those on training data, or of a week that people have looked at.

        Predictions of before are forgotten.

        Raises
        ------
        NotEnoughData   there is neither a number nor a class name among them.
        """
        self.flush()
        given = predictions.tolist() if isinstance(predictions, np.ndarray) else list(predictions)
        column, _, missing, wrong = numbers(given)
        finite = np.sort(column[np.isfinite(column)])
        baseline: dict[str, int] | list[int]
        whole = len(np.unique(finite)) <= FEW_CLASSES and bool((finite == np.rint(finite)).all())
        if len(finite) and not wrong and not whole:
            edges = self._bin_edges(finite)
            baseline = np.bincount(np.searchsorted(edges, finite), minlength=len(edges) + 1).tolist()
            gaps = missing + int(np.isnan(column).sum())
        else:
            edges = None
            texts = [_class_of(value) for value in given]
            baseline = dict(Counter(text for text, refused in texts if not refused))
            gaps = len(given) - sum(baseline.values())
        if not baseline:
            where, remedy = "set_baseline", "Give the predictions on training data."
            raise NotEnoughData(fault(where, "number of predictions", 0, "probabilities or class names", remedy))
        counts = np.array(list(baseline.values()) if isinstance(baseline, dict) else baseline)
        self.baseline_distribution = counts / counts.sum()
        self._usual, self._window = gaps / len(given), Window()
        self._bins = (baseline, edges)

    def _bin_edges(self, column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if column[0] >= 0 and column[-1] <= 1:
            return np.arange(1, self.num_bins) / self.num_bins
        if column[0] == column[-1]:  # below, equal, above
            return np.array([np.nextafter(column[0], -np.inf), column[0]])
        edges: npt.NDArray[np.float64] = np.unique(column[np.arange(1, self.num_bins) * len(column) // self.num_bins])
        return edges[edges < column[-1]] if edges[0] < column[-1] else np.unique(column)[-2:-1]

    def track_prediction(self, prediction: Any) -> None:
        """Take in one prediction, a probability, a value or a class; raises nothing, waits for nothing."""
        bins, window = self._bins, self._window
        if bins is None:
            self.without_baseline += 1
            return
        value: Any
        try:
            if isinstance(bins[0], dict):
                value, gap = _class_of(prediction)
            else:
                value, gap = number_of(prediction)
        except Exception:  # noqa: BLE001  # a value's own code
            value, gap = None, "type"
        window.take(value, gap)
        if window.is_full(self.window_size):
            closed = self._judges.close("", window, self.window_size)
            if closed:
                self._judges.put(closed)

    def calculate_psi(self, expected: Sequence[float], actual: Sequence[float]) -> float | None:
        """Return the population stability index of two histograms, as counts or shares; None where one is empty.

        - PSI < 0.1: No significant change
        - PSI 0.1-0.2: Slight change (monitor)
        - PSI > 0.2: Significant change (investigate/retrain)
        """
        return psi(expected, actual)

    def check_concept_drift(self) -> float | None:
        """Judge the predictions since the last window and return their PSI; where there are none, the last one.

        None without a baseline, or before any prediction: never 0.
        """
        self._judges.settle([Closed("", list(self._window.values), list(self._window.gaps))])
        return self.decision.score if self.decision else None

    def flush(self) -> None:
        """Judge the windows that are full, here and now."""
        self._judges.settle()

    def _judge(self, closed: Closed) -> None:
        bins = self._bins
        if bins is None:
            return
        alerts = []
        if closed.gaps:
            self.missing_ratio = (len(closed.gaps) - closed.gaps.count("")) / len(closed.gaps)
            alerts.append(missing_values(self.model_name, None, closed.gaps, self._usual))
        if closed.values:
            baseline, edges = bins
            current: Any = Counter(closed.values)
            if edges is not None:
                current = np.bincount(np.searchsorted(edges, closed.values), minlength=len(edges) + 1)
            self.decision = decide_psi(baseline, current, self.thresholds, chance=Chance(1))
            alerts.append(self._drift(self.decision))
        for alert in filter(None, alerts):
            self.alerts[alert.severity] += 1
            self._judges.alert(alert)

    def _drift(self, decision: Decision) -> DriftAlert | None:
        if decision.level is None or decision.score is None:
            return None
        severity = SEVERITY[decision.level]
        message = _CONCEPT_DRIFT.format(
            model=self.model_name, severity=severity.upper(), psi=decision.score, reason=decision.reason
        )
        return DriftAlert("concept_drift", self.model_name, None, severity, decision.score, message)
