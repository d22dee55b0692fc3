"""How many predictions are kept for review, labelled, and since when the others wait: counts, signals and store agree."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from modelwatch import Monitor
from modelwatch.config import load_config
from modelwatch.serve.looks import LiveLooks
from modelwatch.signals.quality import LABELS, SAMPLES
from modelwatch.sources.quality import QualitySource
from modelwatch.statistics.maturity import HOUR

PREDICTIONS, LABELLED, OLDEST_S = 200, 37, 1800.0


def test_coverage_and_age_of_labels(tmp_path: Path) -> None:
    """Labels that come twice, change, or are of nobody move neither; the oldest that waits is as old as it is."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(
        "service: {name: api}\nstore: sqlite:///truth.db\nlive: live.db\nmodels:\n  m: {version: '1', task:"
        " classification, classes: [a, b], ground_truth: {sampling_rate: 1.0}}\n"
    )
    monitor = Monitor.from_config(path)
    ids = [f"{i:032x}" for i in range(PREDICTIONS)]
    for request_id in ids:
        monitor.record("/p", duration=0.01, prediction="a", confidence=0.9, request_id=request_id, input="x")
    assert monitor.flush(10)
    for i in range(LABELLED):
        monitor.label(ids[i], "a" if i % 3 else "b")
        monitor.label(ids[i], "a" if i % 2 else "b")  # some again, some anew
    for i in range(20):
        monitor.label(f"{10**6 + i:032x}", "a")
    assert monitor.flush(10)
    config = load_config(path)
    looks = LiveLooks(config, Path(config.live))
    counts = looks.take({})["m"].counts(3600.0)
    looks.close()
    assert counts is not None
    assert LABELS.measure(counts) == {(): (LABELLED, LABELLED)}
    assert SAMPLES.measure(counts) == {(): (PREDICTIONS, PREDICTIONS)}

    source = QualitySource.from_config(config)
    assert source is not None
    rows = source.store.rows("m", unlabelled=True)
    oldest = min(at for at, label in zip(rows.predicted_at, rows.labels, strict=True) if label is None)
    source.clock = lambda: float(oldest) + OLDEST_S
    found = source.read("m")
    assert found is not None
    assert (found["labelled"], found["waiting"]) == (LABELLED, PREDICTIONS - LABELLED)
    assert found["oldest_waiting_s"] == pytest.approx(OLDEST_S, abs=1e-6)
    delays = [at - since for at, since in zip(rows.labelled_at, rows.predicted_at, strict=True) if at == at]
    assert len(delays) == LABELLED
    assert all(0 <= delay < time.time() - oldest < HOUR for delay in delays)
    source.close()
    monitor.close()
