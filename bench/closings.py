"""What requests lose while drift windows close: p99.9 of a request whose detector closes windows, less that of one that never does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from itertools import cycle

import numpy as np

from bench.harness import Effort, Gate, Row, feature_rows, monitored, reference_values
from modelwatch import DataDriftDetector

FEATURES, WINDOW, NEVER = 10, 1_000, 1_000_000_000
RATE = 2_000  # requests a second: two windows of each feature close in it
FAR = 3.0  # standard deviations


def measure(effort: Effort) -> list[Row]:
    """Return the rows of quiet and of drifted windows."""
    rows = feature_rows(FEATURES)
    far = [{name: value + FAR for name, value in row.items()} for row in rows]
    training = reference_values(FEATURES)
    told: list[object] = []
    with monitored(FEATURES) as monitor:

        def requests(features: list[dict[str, float]], window: int) -> Callable[[], float]:
            detector = DataDriftDetector("m", training, window, on_alert=told.append)
            feed = cycle(features)

            def request() -> None:
                row = next(feed)
                monitor.record("/predict", duration=0.012, prediction="positive", confidence=0.93, features=row)
                detector.add_sample(row)

            return lambda: p999(request, effort.paced_s * 4)

        kinds = {"none": requests(rows, NEVER), "quiet": requests(rows, WINDOW), "drifted": requests(far, WINDOW)}
        found: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(max(effort.few // 2, 3)):
            for name, run in kinds.items():
                found[name].append(run())
    if not told:
        raise AssertionError("no window has drifted")
    bare = statistics.median(found["none"])
    text = f"request p99.9 while {FEATURES * RATE // WINDOW} windows a second close, moved by"
    return [
        Row(f"{text}: {name}", statistics.median(found[name]) - bare, "p99.9 without", bare, Gate("at most", 1e-3))
        for name in ("quiet", "drifted")
    ]


def p999(request: Callable[[], None], seconds: float) -> float:
    """Return the seconds that all but one in a thousand requests stay below, at a steady pace."""
    took, begin = [], time.perf_counter()
    while (now := time.perf_counter()) < begin + seconds:
        if (now - begin) * RATE > len(took):
            start = time.perf_counter()
            request()
            took.append(time.perf_counter() - start)
        else:
            time.sleep(1 / RATE / 4)
    return float(np.quantile(took, 0.999))
