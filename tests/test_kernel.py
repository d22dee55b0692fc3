"""The kernel counts what a plain loop over the events would count, for good values and bad ones."""

from __future__ import annotations

import bisect
import math
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch import names
from modelwatch.kernel import Kernel
from modelwatch.labels import LONGEST, LabelCodes, label_text
from modelwatch.record.monitor import Monitor
from modelwatch.reference import Reference, profile_numeric
from modelwatch.schema import ModelSchema

INF = math.inf
EDGES = {"x": ((-1.0, 0.0, 2.5), (0.0,)), "y": ((1.0,), (1.0,)), "none": ((), ())}
SCHEMA = ModelSchema(latency=(0.1, 0.5), threshold=0.7, classes=("a", "b"), numeric=EDGES, categorical={"c": ("red",)})
BAD = [
    math.nan,
    INF,
    -INF,
    "7",
    None,
    10**400,
    b"x",
    [1],
    {},
    1 + 2j,
    np.float32(2.5),
    np.int64(3),
    True,
    -0.0,
    5e-324,
    1e308,
]
NUMBERS = st.one_of(st.floats(-5, 5), st.sampled_from(BAD))
CATEGORIES = st.sampled_from(["red", "blue", None, 3, math.nan, b"x", "\ud800", True])
FEATURES = st.one_of(
    st.none(),
    st.just("no dict"),
    st.dictionaries(st.sampled_from(["x", "y", "none", "c", "unknown"]), NUMBERS, max_size=5).map(
        lambda row: row | ({"c": "red"} if len(row) % 2 else {})
    ),
)
EVENT = st.tuples(
    st.sampled_from(["/p", "/q", None, 7, b"z"]),
    st.one_of(st.floats(-1, 2), st.sampled_from(BAD)),
    st.sampled_from([None, None, None, "ValueError", "CancelledError", b"x"]),
    st.sampled_from([None, "books", math.nan]),
    st.sampled_from([None, "a", "b", "other", 1, True, 1.5, np.int64(1), object]),
    st.one_of(st.floats(-0.5, 1.5), st.sampled_from(BAD)),
    FEATURES,
)


def number(value: Any) -> float | str:
    """What the rule says of a value as a number: itself, or missing, or type."""
    if value is None:
        return "missing"
    if isinstance(value, (str, bytes, list, dict, complex, type)):
        return "type"
    try:
        return float(value)
    except OverflowError:
        return "type"


class Naive:
    """The same counts by a plain loop."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.histograms: Counter[tuple[Any, ...]] = Counter()

    def refuse(self, where: str, kind: str) -> None:
        """Note a refused value."""
        self.counts[names.REFUSED.name, where, kind] += 1

    def label(self, where: str, value: Any) -> str:
        """Return the label of a value."""
        text, refused = label_text(value)
        if refused:
            self.refuse(where, refused)
        return text

    def bucket(self, table: str, labels: tuple[str, ...], edges: tuple[float, ...], value: float) -> None:
        """Put a value into its bucket: (previous, upper]."""
        at = (table, *labels, bisect.bisect_left(edges, value))
        self.histograms[at] += 1

    def event(self, event: tuple[Any, ...]) -> None:
        """Count one event."""
        endpoint, duration, error, segment, prediction, confidence, features = event
        self.counts[names.EVENTS.name,] += 1
        if endpoint is None:
            self.refuse("endpoint", "type")
            endpoint = names.INVALID
        else:
            endpoint = self.label("endpoint", endpoint)
        self.counts[names.REQUESTS.name, endpoint] += 1
        kind = None if error is None else self.label("error", error)
        seconds = number(duration)
        if seconds == "type":
            self.refuse("duration", "type")
        if kind == "CancelledError":
            self.counts[names.CANCELLED.name, endpoint] += 1
        else:
            if kind is not None:
                self.counts[names.FAILED.name, endpoint] += 1
                self.counts[names.ERRORS.name, endpoint, kind] += 1
            if isinstance(seconds, float):
                if math.isnan(seconds):
                    self.refuse("duration", "nan")
                elif not 0 <= seconds <= 1e8:
                    self.refuse("duration", "range")
                else:
                    self.bucket(names.DURATION.name, (endpoint,), SCHEMA.latency, seconds)
        if segment is not None:
            self.counts[names.SEGMENTS.name, self.label("segment", segment)] += 1
        if prediction is not None:
            self.counts[names.PREDICTIONS.name, self.label("prediction", prediction)] += 1
        sure = number(confidence)
        if sure == "type":
            self.refuse("confidence", "type")
        elif isinstance(sure, float):
            if not math.isfinite(sure):
                self.refuse("confidence", "nan" if math.isnan(sure) else "inf")
            else:
                self.bucket(names.CONFIDENCE.name, (), SCHEMA.confidence, sure)
                if sure < SCHEMA.threshold:
                    self.counts[names.LOW_CONFIDENCE.name, "0.7"] += 1
        self.features(features)

    def features(self, row: Any) -> None:
        """Count the features of one event."""
        if row is None:
            return
        if type(row) is not dict:
            self.refuse("feature", "type")
            return
        for name, (edges, _) in EDGES.items():
            value = number(row.get(name))
            if isinstance(value, str):
                self.counts[names.FEATURE_INVALID.name, name, value] += 1
                if value == "type":
                    self.refuse("feature", "type")
            elif math.isnan(value):
                self.counts[names.FEATURE_INVALID.name, name, "nan"] += 1
                self.refuse("feature", "nan")
            else:
                if math.isinf(value):
                    self.counts[names.FEATURE_INVALID.name, name, "inf"] += 1
                self.bucket(names.FEATURE_VALUE.name, (name,), edges, value)
        category = row.get("c")
        text, refused = ("", "missing") if category is None else label_text(category)
        if refused:
            self.counts[names.FEATURE_INVALID.name, "c", refused] += 1
            if refused != "missing":
                self.refuse("feature", refused)
        else:
            self.counts[names.FEATURE_CATEGORY.name, "c", text] += 1
        self.counts[names.REFUSED.name, "feature", "unknown"] += len(row.keys() - {*EDGES, "c"})


def counted(kernel: Kernel) -> tuple[Counter[tuple[str, ...]], Counter[tuple[Any, ...]]]:
    """Return the kernel's counts in the form of the naive ones."""
    counts: Counter[tuple[str, ...]] = Counter()
    histograms: Counter[tuple[Any, ...]] = Counter()
    for name, rows in kernel.tally.as_dict().items():
        for labels, (cells, _) in rows.items():
            if name in (names.DURATION.name, names.CONFIDENCE.name, names.FEATURE_VALUE.name):
                histograms.update({(name, *labels, i): n for i, n in enumerate(cells) if n})
            else:
                at = (name, *labels)
                counts[at] += sum(cells)
    return counts, histograms


@given(st.lists(EVENT, min_size=1, max_size=30))
def test_kernel_counts_as_a_plain_loop(events: list[Any]) -> None:
    """Every table equals the naive one; sums stay finite; the caller's objects are not changed."""
    kernel, naive = Kernel(SCHEMA), Naive()
    kernel.fold(events)
    for event in events:
        naive.event(event)
    counts, histograms = counted(kernel)
    assert counts == +naive.counts
    assert histograms == +naive.histograms
    assert all(np.isfinite(table.sums).all() for table in kernel.tally.tables.values())


@given(
    st.lists(EVENT, min_size=1, max_size=20),
    st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20),
)
def test_bad_neighbours_do_not_change_good_values(bad: list[Any], good: list[tuple[float, float]]) -> None:
    """A good stream counts to the bit the same beside bad events as alone."""
    rows = [("/good", 0.2, None, "good", "a", 0.9, {"x": x, "y": y, "none": 0.0, "c": "red"}) for x, y in good]
    bad = [(b[0] if b[0] != "/good" else "/p", *b[1:]) for b in bad]
    alone, beside, only_bad = Kernel(SCHEMA), Kernel(SCHEMA), Kernel(SCHEMA)
    alone.fold(rows)
    beside.fold([*rows, *bad])
    only_bad.fold(bad)
    for name, table in alone.tally.tables.items():
        for labels in table.rows:
            mine, theirs, both = (k.tally.tables[name] for k in (alone, only_bad, beside))
            row = theirs.rows.get(labels)
            expected = mine.counts[mine.rows[labels]] + (0 if row is None else theirs.counts[row])
            assert (both.counts[both.rows[labels]] == expected).all(), (name, labels)


def test_watched_durations_count_as_events() -> None:
    """Floats of a watched function give the tables that full events of it give."""
    seconds = [0.05, 0.1, 0.10000001, 0.5, 3.0]
    floats, events = Kernel(SCHEMA), Kernel(SCHEMA)
    floats.fold_durations("/p", list(seconds))
    events.fold([("/p", value, None, None, None, None, None) for value in seconds])
    assert floats.tally.as_dict() == events.tally.as_dict()


def frame(n: int = 300) -> dict[str, list[Any]]:
    """A batch with missing and odd values."""
    dice = np.random.default_rng(4)
    return {
        "endpoint": ["/p" if i % 3 else "/q" for i in range(n)],
        "duration": dice.random(n).tolist(),
        "prediction": [None if i % 11 == 0 else "ab"[i % 2] for i in range(n)],
        "confidence": dice.random(n).tolist(),
        "segment": ["books"] * n,
        "error": [("ValueError" if i % 7 == 0 else None) for i in range(n)],
        "x": [math.nan if i % 13 == 0 else float(v) for i, v in enumerate(dice.normal(size=n))],
        "y": dice.integers(0, 3, n).tolist(),
        "c": [None if i % 5 == 0 else "red" for i in range(n)],
    }


@pytest.mark.parametrize("form", ["dict", "arrays", "pandas", "arrow"])
def test_batches_count_as_row_by_row(tmp_path: Any, form: str) -> None:
    """A dict of lists or arrays, a DataFrame and an Arrow table give the counts of `record` row by row."""
    columns = frame()
    forms = {
        "dict": lambda: columns,
        "arrays": lambda: {k: np.array(v, object if None in v else None) for k, v in columns.items()},
        "pandas": lambda: pd.DataFrame(columns),
        "arrow": lambda: pa.table(columns),
    }
    batch = Monitor("batch", "1", SCHEMA, live=tmp_path / "a.db")
    rows = Monitor("rows", "1", SCHEMA, live=tmp_path / "b.db")
    assert batch.record_batch(forms[form]()) == 300
    keys = ("endpoint", "duration", "prediction", "confidence", "segment", "error")
    for i in range(300):
        features = {name: columns[name][i] for name in ("x", "y", "c")}
        rows.record(**{k: columns[k][i] for k in keys}, features=features)
    batch.flush(5)
    rows.flush(5)
    one, two = batch.recorder.kernel.tally, rows.recorder.kernel.tally
    assert counted_of(one) == counted_of(two)
    for table in (names.CONFIDENCE.name, names.DURATION.name):
        assert one.tables[table].sums.sum() == pytest.approx(two.tables[table].sums.sum(), rel=1e-12)
    batch.close()
    rows.close()


def counted_of(tally: Any) -> dict[str, Any]:
    """Return counts only, without what differs by chunk."""
    return {name: {k: c for k, (c, _) in rows.items()} for name, rows in tally.as_dict().items()}


def test_unreadable_batches_are_refused_not_raised(tmp_path: Any) -> None:
    """Columns of different lengths and things that are no table count 0 rows, and a fault."""
    monitor = Monitor("bad", "1", SCHEMA, live=tmp_path / "live.db")
    assert monitor.record_batch({"duration": [1, 2], "confidence": [1]}) == 0
    assert monitor.record_batch(object()) == 0
    assert monitor.record_batch({}) == 0
    assert monitor.flush(5)
    assert (
        b'modelwatch_internal_errors_total{model_name="bad",model_version="1",where="record_batch"} 2'
        in monitor.metrics()
    )
    monitor.close()


def test_label_caps_keep_totals_exact() -> None:
    """200,000 distinct values: the cap holds, the rest is `__other__`, the sum is every event, and it is counted."""
    kernel, n = Kernel(ModelSchema(cap=100)), 200_000
    for start in range(0, n, 500):
        kernel.fold([(f"/{i}", 0.1, f"E{i}", f"s{i}", f"c{i}", None, None) for i in range(start, start + 500)])
    for metric in (names.REQUESTS, names.SEGMENTS, names.PREDICTIONS, names.ERRORS):
        table = kernel.tally.tables[metric.name]
        assert table.total() == n, metric
        assert len(table.rows) <= 102, metric
    overflow = kernel.tally.tables[names.OVERFLOW.name]
    assert overflow.value((names.REQUESTS.name, "endpoint")) == n - 100
    assert overflow.value((names.SEGMENTS.name, "segment")) == n - 100


def test_label_text_is_cut_with_a_hash() -> None:
    """Long values keep 128 characters and stay apart; surrogates are replaced; only known types have a text."""
    long = {label_text("x" * 200 + str(i))[0] for i in range(10_000)}
    assert len(long) == 10_000
    assert all(len(text) == LONGEST for text in long)
    assert label_text("\ud800ok") == ("?ok", "")
    assert label_text(10**5000) == (names.INVALID, "type")
    assert label_text(math.nan) == (names.INVALID, "nan")
    codes = LabelCodes(10)
    assert len({codes.encode_one(value) for value in ("1", 1, np.int64(1))}) == 1
    assert codes.names[codes.encode_one(True)] == "True"
    assert codes.names[codes.encode_one(1.0)] == "1.0"


def test_reference_profile() -> None:
    """Quantile bins of the reference: equal shares, exact for few values, three for a constant; JSON comes back whole."""
    dice = np.random.default_rng(1)
    profile = profile_numeric(dice.normal(size=10_000))
    assert (len(profile.edges), len(profile.exported)) == (99, 19)
    assert set(profile.exported) <= set(profile.edges)
    assert sum(profile.counts) == 10_000
    assert max(profile.counts) - min(profile.counts) <= 1
    assert profile_numeric([1, 2, 2, 3]).counts == (1, 2, 1)
    assert profile_numeric([4.0] * 9).counts == (0, 9, 0)
    reference = Reference({"x": profile})
    assert Reference.from_json(reference.to_json()) == reference
    with pytest.raises(Exception, match="hash"):
        Reference.from_json(
            reference.to_json().replace('"numeric"', '"numeric" ').replace(str(profile.counts[0]), "1", 1)
        )
