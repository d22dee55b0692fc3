"""Nothing that a service hands over raises into it, or shows as NaN: every bad value costs only itself, and is counted."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelwatch import names
from modelwatch.record.monitor import Monitor
from modelwatch.reference import profile_numeric
from modelwatch.schema import ModelSchema

PROFILE = profile_numeric(range(100))
SCHEMA = ModelSchema(
    classes=("a", "b"), numeric={"x": (PROFILE.edges, PROFILE.exported)}, categorical={"c": ("red",)}
)  # fmt: skip


class Raises:
    """An object whose methods raise."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def fail(self, *_: Any) -> Any:
        """Raise."""
        raise self.error

    __str__ = __repr__ = __float__ = __index__ = __eq__ = __bool__ = __len__ = __iter__ = __getattr__ = fail
    __hash__ = fail


class Liar(str):
    """Text whose methods raise."""

    __slots__ = ()
    __str__ = __hash__ = __eq__ = encode = Raises.fail


class Color(str, enum.Enum):
    """A label as an enumeration."""

    RED = "red"


class Whole(int):
    """A number whose text raises."""

    __str__ = __repr__ = Raises.fail


def recursive() -> dict[str, Any]:
    """A dict that contains itself."""
    made: dict[str, Any] = {}
    made["me"] = made
    return made


def corpus() -> list[Any]:
    """More than 300 values that no model should answer, and some that look odd and are right."""
    errors = [
        ValueError("v"),
        KeyError("k"),
        RecursionError(),
        SystemExit(3),
        KeyboardInterrupt(),
        MemoryError(),
        GeneratorExit(),
    ]
    values: list[Any] = [
        None, math.nan, math.inf, -math.inf, 10**400, -(10**400), 10**5000, 0, -1, -0.0, 1e308, 5e-324, True, False, "", " ", "a", "NaN",
        "1", "\ud800", "x\udfffy", "\0", "\n", "\r\n", '"', "\\", "{{ template }}", "%s %d %", "\u2028", "\u202e", "é", "🙂", "<script>",
        "x" * 10_000_000, b"", b"bytes", bytearray(b"b"), memoryview(b"m"), [], [1], (), (1, 2), {}, {"x": 1}, recursive(), set(), frozenset(),
        object(), object, int, type, len, lambda: 1, Ellipsis, NotImplemented, 1j, decimal.Decimal("1.5"), decimal.Decimal("NaN"),
        decimal.Decimal("sNaN"), fractions.Fraction(1, 3), dt.datetime(2026, 1, 1), dt.date(2026, 1, 1), dt.timedelta(1),
        pd.NA, pd.NaT, pd.Timestamp("2026-01-01"), pd.Timedelta("1s"), np.float64("nan"), np.float32("inf"), np.float16(1.5), np.int8(-3),
        np.uint64(2**63), np.bool_(True), np.str_("n"), np.bytes_(b"n"), np.datetime64("NaT"), np.array(1.5), np.array([1.5]),
        np.array([1, 2]), np.array("text"), np.array([[1.0]]), np.ma.masked, np.ma.array([1], mask=[True]), np.void(b"v"), Color.RED, Whole(3),
        Liar("liar"), (one for one in ""), iter([]), range(3), slice(1), open, Exception("e"), pytest, math,
    ]  # fmt: skip
    values += [Raises(error) for error in errors]
    values += [float(10.0**k) for k in range(-320, 309, 7)]
    values += [chr(code) * 3 for code in range(0, 160, 2)]
    values += [2**k for k in range(0, 2000, 60)]
    return values


CORPUS = corpus()
FIELDS = ("endpoint", "duration", "prediction", "confidence", "features", "segment", "error", "request_id", "input")
GOOD: dict[str, Any] = {
    "endpoint": "/p",
    "duration": 0.1,
    "prediction": "a",
    "confidence": 0.9,
    "features": {"x": 5.0, "c": "red"},
    "segment": "s",
}


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    """A monitor with a file of its own."""
    made = Monitor("hostile", "1", SCHEMA, live=tmp_path / "live.db")
    yield made
    made.close()


def page(monitor: Monitor) -> dict[tuple[str, ...], float]:
    """Return {(name, label values): value}; the page parses and has no NaN."""
    assert monitor.flush(10)
    text = monitor.metrics().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert math.isfinite(sample.value), sample
            key = (sample.name, *[v for k, v in sample.labels.items() if k not in ("model_name", "model_version")])
            found[key] = sample.value
    return found


def test_corpus_is_large() -> None:
    """The corpus has more than 300 values."""
    assert len(CORPUS) >= 300


@pytest.mark.parametrize("field", FIELDS)
def test_no_value_raises_and_every_event_counts(monitor: Monitor, field: str) -> None:
    """Every value of the corpus in every field of `record`: nothing is raised, all events count, no internal error, no NaN."""
    for value in CORPUS:
        monitor.record(**{**GOOD, field: value})
    found = page(monitor)
    total = sum(n for key, n in found.items() if key[0] == "ml_requests_total")
    assert total == len(CORPUS)
    assert not [key for key in found if key[0] == "modelwatch_internal_errors_total"]
    if field != "confidence":
        assert found["ml_prediction_confidence_count",] == len(CORPUS)
    if field != "features":
        assert found["ml_feature_category_total", "c", "red"] == len(CORPUS)


@pytest.mark.parametrize("name", ["x", "c", "unknown"])
def test_no_feature_value_raises(monitor: Monitor, name: str) -> None:
    """Every value of the corpus as one feature: the other features count as if it were not there."""
    for value in CORPUS:
        monitor.record(**{**GOOD, "features": {"x": 5.0, "c": "red", name: value}})
    found = page(monitor)
    n = len(CORPUS)
    assert not [key for key in found if key[0] == "modelwatch_internal_errors_total"]
    invalid = sum(
        v for key, v in found.items() if key[0] == "ml_feature_invalid_total" and key[1] == name and key[2] != "inf"
    )
    if name == "x":
        assert found["ml_feature_category_total", "c", "red"] == n
        assert found["ml_feature_value_bucket", "x", "+Inf"] + invalid == n
    elif name == "c":
        assert found["ml_feature_value_bucket", "x", "+Inf"] == n
        assert sum(v for key, v in found.items() if key[:2] == ("ml_feature_category_total", "c")) + invalid == n
    else:
        assert found["modelwatch_values_refused_total", "feature", "unknown"] == n


def test_other_calls_do_not_raise(monitor: Monitor) -> None:
    """`request`, `predicted`, `endpoint`'s returned values and `record_batch` take the corpus, too."""
    say_everything(monitor)  # the values must not meet the test runner, which would ask for their text
    found = page(monitor)
    assert found["ml_requests_total", "/r"] == len(CORPUS)
    assert found["ml_requests_total", "/said"] == len(CORPUS)
    generators = sum(isinstance(value, types.GeneratorType) for value in CORPUS)  # a watched one is watched to its end
    assert found["ml_requests_total", "/watched"] == len(CORPUS) - generators


def assert_is(answer: Any, value: Any) -> None:
    """Compare without a text of either."""
    same = answer is value
    del answer, value
    assert same


def say_everything(monitor: Monitor) -> None:
    """Hand the corpus to every call but `record`."""
    current: list[Any] = [None]
    watched = monitor.endpoint("/watched")(lambda: current[0])
    said = monitor.endpoint("/said")(lambda: {"label": current[0], "confidence": current[0], "features": current[0]})
    for value in CORPUS:
        with monitor.request("/r", segment=value) as request:
            request.predicted(value, confidence=value, features=value, input=value)
        current[0] = value
        answer = watched()
        if not isinstance(value, types.GeneratorType):  # which is watched to its end
            assert_is(answer, value)
        said()
        monitor.record_batch(value)
        monitor.record_batch({"prediction": [value], "confidence": [value], "x": [value]})


def test_refused_values_are_counted_exactly(monitor: Monitor) -> None:
    """Of the confidences of the corpus, exactly those that are no finite number are refused, each by its kind."""
    expected = {"type": 0, "nan": 0, "inf": 0, "none": 0, "good": 0}
    for value in CORPUS:
        monitor.record("/p", confidence=value)
        if value is None or value is pd.NA:
            expected["none"] += 1
            continue
        try:
            number = None if isinstance(value, (str, bytes, bytearray)) else float(value)
        except BaseException:
            number = None
        if isinstance(value, np.ndarray) and value.ndim and number is not None:
            number = float(value.item())
        kind = "type" if number is None else "nan" if math.isnan(number) else "inf" if math.isinf(number) else "good"
        expected[kind] += 1
    found = page(monitor)
    for kind in ("type", "nan", "inf"):
        assert found["modelwatch_values_refused_total", "confidence", kind] == expected[kind], kind
    assert found["ml_prediction_confidence_count",] == expected["good"]
    assert names.REFUSED.name == "modelwatch_values_refused_total"
