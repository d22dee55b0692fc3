"""Seeded streams: the same predictions everywhere; drift and hostile values change only what they are about."""

from __future__ import annotations

import hashlib
import random
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp, norm

from modelwatch import Monitor, names
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema
from modelwatch.testing import HOSTILE, stream

SCHEMA = ModelSchema(
    classes=("negative", "neutral", "positive"), numeric={"length": ((-1.0, 0.0, 1.0), (0.0,))}, categorical={"language": ("en",)}
)  # fmt: skip
N = 20_000


def test_a_seed_gives_the_same_stream_for_ever() -> None:
    """Two runs are equal, another seed is another stream, and the predictions are those of all versions and machines."""
    assert list(stream(3, 500)) == list(stream(3, 500)) != list(stream(4, 500))
    assert list(stream(3, 500))[:100] == list(stream(3, 100))
    text = repr(list(stream(3, 5000, drift_at=2500, error_ratio=0.1)))
    assert hashlib.sha256(text.encode()).hexdigest().startswith("974a5f5dd902a01e")


def test_shares_are_as_documented() -> None:
    """Classes and segments by 1/k, errors by their ratio, a median duration of 0.03 s, a confidence of 0.875 on average."""
    found = list(stream(1, N))
    counts = Counter(p.segment for p in found)
    assert counts["books"] / N == pytest.approx(6 / 11, abs=0.02)
    assert counts["music"] / N == pytest.approx(2 / 11, abs=0.02)
    good = [p for p in found if p.error is None]
    assert (N - len(good)) / N == pytest.approx(0.02, abs=0.005)
    assert all(p.prediction is p.confidence is None for p in found if p.error is not None)
    assert statistics.median(p.duration for p in found) == pytest.approx(0.03, rel=0.03)
    assert statistics.mean(p.confidence for p in good) == pytest.approx(0.875, abs=0.005)


@pytest.mark.parametrize("drift", [0.25, 1.0])
def test_drift_begins_where_it_is_told_to(drift: float) -> None:
    """Before, nothing has changed; after, features, classes, categories and confidence differ as documented; the rest does not."""
    calm, drifted = list(stream(1, 2 * N)), list(stream(1, 2 * N, drift_at=N, drift=drift))
    assert calm[:N] == drifted[:N]
    before, after = calm[N:], drifted[N:]
    keep = [(p.duration, p.error, p.segment) for p in before]
    assert keep == [(p.duration, p.error, p.segment) for p in after]
    distance = ks_2samp([p.features["length"] for p in before], [p.features["length"] for p in after]).statistic
    assert distance == pytest.approx(2 * norm.cdf(drift / 2) - 1, abs=0.015)
    assert Counter(p.prediction for p in before)["negative"] == Counter(p.prediction for p in after)["positive"]
    languages = [Counter(p.features["language"] for p in part) for part in (before, after)]
    assert languages[0]["en"] == languages[1]["fr"]
    assert statistics.mean(p.confidence for p in after if p.error is None) == pytest.approx(0.75, abs=0.005)


def test_a_hostile_value_is_in_one_field_and_moves_nothing_else() -> None:
    """A tenth of the predictions has one bad field or feature; all others are those of the calm stream."""
    calm, hostile = list(stream(5, N)), list(stream(5, N, hostile=0.1))
    spoiled = [(a, b) for a, b in zip(calm, hostile, strict=True) if a is not b and repr(a) != repr(b)]
    assert len(spoiled) / N == pytest.approx(0.1, abs=0.01)
    seen: Counter[int] = Counter()
    for good, bad in spoiled:
        changed = [(x, y) for x, y in zip(good, bad, strict=True) if repr(x) != repr(y)]
        assert len(changed) == 1
        value = changed[0][1]
        if isinstance(value, dict) and set(value) == {"length", "score", "language"}:
            (value,) = [v for k, v in value.items() if repr(v) != repr(good.features[k])]
        seen[[repr(v) for v in HOSTILE].index(repr(value))] += 1
    assert len(seen) == len(HOSTILE)


def test_a_kernel_counts_any_order_to_the_bit() -> None:
    """Sums of floats too are the same forwards, shuffled and in other chunks; a hostile stream is counted whole."""
    events = list(stream(2, 5000, drift_at=2000))
    mixed = events.copy()
    random.Random(1).shuffle(mixed)
    one, other = Kernel(SCHEMA), Kernel(SCHEMA)
    one.fold(events)
    for start in range(0, len(mixed), 700):
        other.fold(mixed[start : start + 700])
    assert one.tally.as_dict() == other.tally.as_dict()
    spoiled = Kernel(SCHEMA)
    spoiled.fold(list(stream(2, 5000, hostile=0.2)))
    assert spoiled.tally.tables[names.REQUESTS.name].total() == 5000
    assert spoiled.tally.tables[names.REFUSED.name].total() > 100


def test_a_monitor_records_it(tmp_path: Path) -> None:
    """Fields have the names of the arguments of `record`."""
    monitor = Monitor("streamed", "1", SCHEMA, live=tmp_path / "live.db")
    for prediction in stream(1, 300):
        monitor.record(**prediction._asdict())
    assert monitor.flush(5)
    assert b'ml_requests_total{model_name="streamed",model_version="1",endpoint="/predict"} 300\n' in monitor.metrics()
    monitor.close()


def test_names_and_values_are_the_callers() -> None:
    """Classes, features, categories, segments and the endpoint are those that were given; one value is enough."""
    found = list(
        stream(1, 200, endpoint="/rank", classes=["yes"], numeric=[], categories={"plan": ["free"]}, segments=["all"], error_ratio=0)
    )  # fmt: skip
    assert {p[:1] + p[2:5] for p in found} == {("/rank", None, "all", "yes")}
    assert all(p.features == {"plan": "free"} for p in found)
    assert np.isfinite([p.duration for p in found]).all()
