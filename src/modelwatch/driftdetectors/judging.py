"""Windows that grow by append alone, and their judgement in a short-lived thread that no request waits for."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from modelwatch.errors import fault
from modelwatch.labels import is_missing
from modelwatch.statistics import decide_missing

logger = logging.getLogger(__name__)

MOST_WAITING = 64  # closed windows; beyond, the oldest is skipped and counted
SEVERITY = {"info": "info", "warning": "warning", "severe": "critical"}  # the detectors' own words

_MISSING_VALUES = """\
MISSING VALUES
Model: {model}
Feature: {feature}
Severity: WARNING
Missing: {share:.1%} of the last {n} samples, {usual:.1%} in the reference

Action:
1. Check the upstream feed of this feature
2. Check what the model does without it
"""


@dataclass(frozen=True)
class DriftAlert:
    """What a detector alerts of.

    kind : data_drift, missing_values or concept_drift.
    feature_name : None for the predictions.
    severity : info, warning or critical.
    score : KS statistic, share of missing values, or PSI.
    """

    kind: str
    model_name: str
    feature_name: str | None
    severity: str
    score: float
    message: str


OnAlert = Callable[[DriftAlert], Any]


def log_alert(alert: DriftAlert) -> None:
    """Log an alert as a warning."""
    logger.warning(
        "modelwatch: drift",
        extra={
            "kind": alert.kind,
            "model": alert.model_name,
            "feature": alert.feature_name,
            "severity": alert.severity,
        },
    )


def whole_size(window_size: int) -> int:
    """Return the size of a window, checked."""
    if type(window_size) is not int or window_size < 1:
        raise ValueError(fault("window_size", "window_size", window_size, "a whole number from 1 on", "Write 1000."))
    return window_size


class Window:
    """What was taken in since the last judgement.

    values : that can be judged.
    gaps : per sample why it has no such value, or "".
    """

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.gaps: list[str] = []

    def take(self, value: Any, gap: str) -> None:
        """Append one sample; an append is atomic."""
        if not gap:
            self.values.append(value)
        self.gaps.append(gap)

    def is_full(self, size: int) -> bool:
        """Whether there is something to close."""
        return len(self.gaps) >= size or len(self.values) >= size


def _cut(kept: list[Any], size: int) -> list[Any]:
    """Take the first `size` items, if there are as many; what others append meanwhile stays."""
    if len(kept) < size:
        return []
    first = kept[:size]
    del kept[:size]
    return first


@dataclass(frozen=True)
class Closed:
    """A window to judge: its values, or its gaps, or both.

    key : what it is of.
    """

    key: str
    values: list[Any]
    gaps: list[str]


class Judges:
    """Judges closed windows in a thread that ends with them; a fault of a judge or of the host's callback stays inside.

    judge : takes a `Closed`.
    on_alert : takes a `DriftAlert`.
    """

    def __init__(self, judge: Callable[[Closed], None], on_alert: OnAlert | None) -> None:
        self.skipped = self.faults = 0
        self._judge, self._on_alert = judge, on_alert or log_alert
        self._waiting: deque[Closed] = deque()
        self._pid = 0
        self._renew()

    def _renew(self) -> None:
        """Have locks of this process: after a fork, who held them may not be in it."""
        if self._pid != os.getpid():
            self._judging, self._closing, self._pid = threading.RLock(), threading.Lock(), os.getpid()

    def close(self, key: str, window: Window, size: int) -> list[Closed]:
        """Return what is full in a window, which goes on with the rest; nothing where another thread was faster."""
        self._renew()
        with self._closing:  # held for four operations on lists
            values, gaps = _cut(window.values, size), _cut(window.gaps, size)
        return [Closed(key, values, gaps)] if values or gaps else []

    def put(self, closed: Sequence[Closed]) -> None:
        """Have windows judged soon; when too many wait, the oldest are skipped and counted."""
        self._waiting.extend(closed)
        while len(self._waiting) > MOST_WAITING:
            try:
                self._waiting.popleft()
            except IndexError:  # another thread was faster
                break
            self.skipped += 1
        try:
            threading.Thread(target=self.settle, name="modelwatch-drift", daemon=True).start()
        except RuntimeError:  # no more threads: the next window, or `flush`, judges this one
            self.faults += 1

    def settle(self, more: Sequence[Closed] = ()) -> None:
        """Judge all that wait, and some more, here and now."""
        self._renew()
        with self._judging:
            self._waiting.extend(more)
            while self._waiting:
                try:
                    self._judge(self._waiting.popleft())
                except Exception:
                    self.faults += 1
                    logger.warning("modelwatch: a window was not judged; the service goes on", exc_info=True)

    def alert(self, alert: DriftAlert) -> None:
        """Hand an alert to the host."""
        try:
            self._on_alert(alert)
        except Exception:
            self.faults += 1
            logger.warning("modelwatch: an alert was not taken; the service goes on", exc_info=True)


def missing_values(model: str, feature: str | None, gaps: Sequence[str], usual: float) -> DriftAlert | None:
    """Return the alert of a window that surely misses more values than usual."""
    found = decide_missing(len(gaps) - gaps.count(""), gaps.count(""), usual)
    if found.level is None or found.score is None:
        return None
    message = _MISSING_VALUES.format(
        model=model, feature=feature or "(prediction)", share=found.score, n=found.n, usual=usual
    )
    return DriftAlert("missing_values", model, feature, found.level, found.score, message)


def number_of(value: Any) -> tuple[float, str]:
    """Return (the double of a value, "") or (0, why it has none); text is never parsed."""
    if type(value) is not float:
        if is_missing(value):
            return 0.0, "missing"
        try:
            value = array("d", (value,))[0]
        except Exception:  # noqa: BLE001  # a value's own __float__
            return 0.0, "type"
    return (value, "") if value == value else (0.0, "nan")
