"""Names of the field's best-known snippets, each usable alone: thin faces on a monitor without a configuration."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from modelwatch.record.monitor import Monitor

Function = TypeVar("Function", bound=Callable[..., Any])

LIVE = "MODELWATCH_LIVE"
WINDOW_S = 60

_monitors: dict[str, Monitor] = {}
_guard = threading.Lock()


def default_monitor(model_name: str) -> Monitor:
    """Return the monitor of a model that has no configuration: one a process.

    Its counts are in `$MODELWATCH_LIVE`, or else in `live.db` in the working directory.
    """
    found = _monitors.get(model_name)
    if found is None:
        with _guard:
            found = _monitors.get(model_name)
            if found is None:
                found = _monitors[model_name] = Monitor(model_name, live=os.environ.get(LIVE, "live.db"))
    return found


def monitor_ml_endpoint(model_name: str, endpoint: str) -> Callable[[Function], Function]:
    """Watch a function that answers requests: rate, errors, duration, requests in progress.

    Sync, async, generator, async generator or method. A returned `{"label": …, "confidence": …}` is counted, too.

    Parameters
    ----------
    model_name, endpoint : labels of the counts.
    """
    return default_monitor(model_name).endpoint(endpoint)


def track_prediction(model_name: str, prediction: Any) -> None:
    """Count one prediction by its class, without a request around it."""
    default_monitor(model_name).recorder.answer(prediction, None, None)


def track_confidence(model_name: str, confidence: float, threshold: float = 0.7) -> None:
    """Count the confidence of one prediction, and whether it is below `threshold`; without a request around it.

    Parameters
    ----------
    confidence : 0 to 1.
    threshold : a confidence below it is low; each threshold is a series of its own.
    """
    default_monitor(model_name).recorder.answer(None, confidence, threshold)


class LatencyTracker:
    """Exact percentiles of the last `window_size` latencies of this process; objectives use a monitor's buckets.

    Examples
    --------
    >>> tracker = LatencyTracker(window_size=3)
    >>> for seconds in (9.0, 0.1, 0.2, 0.3):
    ...     tracker.record(seconds)
    >>> tracker.get_percentiles()["max"]
    0.3
    """

    def __init__(self, window_size: int = 1000) -> None:
        if type(window_size) is not int or window_size < 1:
            raise ValueError(
                f"window_size: window_size is {window_size!r}; expected a whole number from 1 on. Write 1000."
            )
        self._latencies: deque[float] = deque(maxlen=window_size)
        self.refused = 0

    def record(self, latency_seconds: float) -> None:
        """Keep one latency; what is no finite number of seconds from 0 on is refused and counted in `refused`."""
        try:
            seconds = float(latency_seconds)
        except Exception:  # noqa: BLE001 - a value's own __float__
            self.refused += 1
            return
        if 0 <= seconds < float("inf"):
            self._latencies.append(seconds)
        else:
            self.refused += 1

    def get_percentiles(self) -> dict[str, float] | None:
        """Return p50, p95, p99, mean and max in seconds; None when nothing was recorded."""
        values = np.array(self._latencies.copy())
        if not len(values):
            return None
        p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
        return {"p50": p50, "p95": p95, "p99": p99, "mean": float(values.mean()), "max": float(values.max())}


class ThroughputMonitor:
    """Requests a second over the last minute, in sixty counters of a second: a call costs the same for ever.

    What it counts is what `ml_throughput_requests_per_second` shows for the model.

    Parameters
    ----------
    clock : monotonic seconds; tests pass their own.
    """

    def __init__(self, model_name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.model_name = model_name
        self._clock, self._lock = clock, threading.Lock()
        self._counts = [0] * WINDOW_S
        self._seconds = [-WINDOW_S] * WINDOW_S  # which second each counter belongs to
        default_monitor(model_name).recorder.last_minute = self.last_minute

    def record_request(self) -> None:
        """Count one request, now."""
        second = int(self._clock())
        at = second % WINDOW_S
        with self._lock:
            if self._seconds[at] != second:
                self._seconds[at], self._counts[at] = second, 0
            self._counts[at] += 1

    def last_minute(self) -> int:
        """Return the requests of the last 60 seconds."""
        oldest = int(self._clock()) - WINDOW_S
        with self._lock:
            return sum(n for n, second in zip(self._counts, self._seconds, strict=True) if second > oldest)

    def throughput(self) -> float:
        """Return requests a second, averaged over the last 60 seconds."""
        return self.last_minute() / WINDOW_S
