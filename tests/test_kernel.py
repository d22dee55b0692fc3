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
                elif not 0 <= seconds <= 86_400:
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


def folded(*events: tuple[Any, ...], schema: ModelSchema = SCHEMA) -> dict[str, Any]:
    """Return the tables of these events."""
    kernel = Kernel(schema)
    kernel.fold(events)
    return kernel.tally.as_dict()


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (-INF, 0), (-1e308, 0), (math.nextafter(-1.0, -INF), 0), (-1.0, 0), (math.nextafter(-1.0, INF), 1), (-5e-324, 1), (-0.0, 1), (0.0, 1),
        (5e-324, 2), (1, 2), (2.5, 2), (math.nextafter(2.5, INF), 3), (1e308, 3), (INF, 3),
    ],
)  # fmt: skip
def test_buckets_are_closed_above(value: float, bucket: int) -> None:
    """(previous, upper], the outer ones open: the same alone, beside others, in a column, and for values and confidences."""
    wanted = [0, 0, 0, 0]
    wanted[bucket] = 1
    event = ("/p", None, None, None, None, None, {"x": value, "y": 0.0, "none": 0.0})
    assert folded(event)[names.FEATURE_VALUE.name]["x",][0] == wanted
    many = folded(event, *[("/p", None, None, None, None, None, {"x": 0.0, "y": 0.0, "none": None})] * 9)
    assert many[names.FEATURE_VALUE.name]["x",][0] == [n + 9 * (i == 1) for i, n in enumerate(wanted)]
    kernel = Kernel(SCHEMA)
    kernel.fold_columns({}, {"x": np.array([value])}, 1)
    assert kernel.tally.as_dict()[names.FEATURE_VALUE.name]["x",][0] == wanted
    schema = ModelSchema(classes=None, value_edges=EDGES["x"][0])
    found = folded(("/p", None, None, None, value, None, None), schema=schema)
    if math.isfinite(value):
        assert found[names.PREDICTION_VALUE.name][()][0] == wanted
    else:
        assert found[names.REFUSED.name] == {("prediction", "inf"): ([1], 0)}


def test_narrow_features_leave_the_last_columns_empty() -> None:
    """Features of 3, 1 and no edges in one table: each counts all of its values, in its own first columns."""
    rows = [{"x": v, "y": v, "none": v} for v in (-2.0, -0.5, 1.0, 2.0, 9.0, INF, -INF)]
    found = folded(*[("/p", None, None, None, None, None, row) for row in rows])[names.FEATURE_VALUE.name]
    assert {labels[0]: cells for labels, (cells, _) in found.items()} == {
        "x": [2, 1, 2, 2],
        "y": [4, 3, 0, 0],
        "none": [7, 0, 0, 0],
    }


@pytest.mark.parametrize("constant", [0.0, 3.0, -7.5])
def test_anything_but_a_constant_is_seen(constant: float) -> None:
    """A reference that was always one value: below, equal and above are apart, to the last bit."""
    profile = profile_numeric([constant] * 50)
    schema = ModelSchema(numeric={"k": (profile.edges, profile.exported)})
    values = [math.nextafter(constant, -INF), constant, constant, math.nextafter(constant, INF), INF]
    found = folded(*[("/p", None, None, None, None, None, {"k": v}) for v in values], schema=schema)
    assert found[names.FEATURE_VALUE.name]["k",][0] == [1, 2, 2]


def test_sums_take_what_a_counter_may_hold() -> None:
    """On edges from 0 up a value below counts as 0 in the sum, in every path; on other edges as itself."""
    schema = ModelSchema(numeric={"up": ((0.0, 1.0), (1.0,)), "both": ((-1.0, 1.0), (1.0,)), "free": ((), ())})
    rows = [{"up": v, "both": v, "free": v} for v in (2.0, -3.0, 0.5)]
    plain = folded(*[("/p", None, None, None, None, None, row) for row in rows], schema=schema)
    mixed = folded(*[("/p", None, None, None, None, None, row) for row in [*rows, {"up": None}]], schema=schema)
    columns = Kernel(schema)
    columns.fold_columns({}, {name: np.array([2.0, -3.0, 0.5]) for name in schema.numeric}, 3)
    for found in (plain, mixed, columns.tally.as_dict()):
        sums = {labels[0]: total for labels, (_, total) in found[names.FEATURE_VALUE.name].items()}
        assert sums == {"up": 2.5, "both": -0.5, "free": 2.5}
    for edges, total in (((0.0,), 2.5), ((-1.0,), -0.5)):
        regression = ModelSchema(classes=None, value_edges=edges)
        found = folded(*[("/p", None, None, None, v, None, None) for v in (2.0, -3.0, 0.5)], schema=regression)
        assert found[names.PREDICTION_VALUE.name][()][1] == total


class Key:
    """A key that has the hash of a feature and does not like to be compared."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, _other: object) -> bool:
        raise ZeroDivisionError


@pytest.mark.parametrize("name", ["x", "c"])
def test_a_key_costs_only_its_own_request(name: str) -> None:
    """A row that has a hostile key in the place of a feature lacks the feature; the other rows of the chunk count."""
    good = ("/p", 0.2, None, None, "a", 0.9, {"x": 1.0, "y": 1.0, "none": 1.0, "c": "red"})
    bad = (*good[:6], {Key(name): 1.0})
    found = folded(good, bad, good)
    assert sum(found[names.FEATURE_VALUE.name]["x",][0]) == 2
    assert found[names.FEATURE_CATEGORY.name] == {("c", "red"): ([2], 0)}
    assert found[names.FEATURE_INVALID.name][name, "missing"] == ([1], 0)
    assert found[names.REFUSED.name] == {("feature", "unknown"): ([1], 0)}
    assert found[names.EVENTS.name] == {(): ([3], 0)}


def test_labels_that_look_like_ours() -> None:
    """A value with the text of a mark is not lost: the totals hold."""
    marks = (names.INVALID, names.OTHER, "")
    found = folded(*[(m, 0.1, m, m, m, 0.9, {"c": m}) for m in marks])
    for metric in (names.REQUESTS, names.FAILED, names.ERRORS, names.SEGMENTS, names.PREDICTIONS):
        assert sum(cells[0] for cells, _ in found[metric.name].values()) == 3, metric
    counted = sum(cells[0] for cells, _ in found[names.FEATURE_CATEGORY.name].values())
    refused = found[names.FEATURE_INVALID.name]["c", "type"][0][0]
    assert (counted, refused) == (2, 1)
    assert found[names.REFUSED.name] == {("feature", "type"): ([1], 0)}


def test_cancelled_requests_stay_apart_above_the_cap() -> None:
    """However many kinds of error there are, a client that went away is no failure."""
    schema = ModelSchema(cap=5)
    events = [("/p", 0.1, f"Error{i}", None, None, None, None) for i in range(20)]
    found = folded(*events, ("/p", 0.1, "CancelledError", None, None, None, None), schema=schema)
    assert found[names.CANCELLED.name] == {("/p",): ([1], 0)}
    assert found[names.FAILED.name] == {("/p",): ([20], 0)}
    assert sum(cells[0] for cells, _ in found[names.ERRORS.name].values()) == 20
    assert len(found[names.ERRORS.name]) <= 6
    assert found[names.OVERFLOW.name] == {(names.ERRORS.name, "error_type"): ([15], 0)}


def test_an_error_counts_once_as_overflow() -> None:
    """The table of errors has a cap of its own: endpoints times types do not multiply."""
    schema = ModelSchema(cap=4)
    events = [(f"/{i % 3}", 0.1, f"Error{i // 3}", None, None, None, None) for i in range(30)]
    found = folded(*events, schema=schema)
    rows = found[names.ERRORS.name]
    assert sum(cells[0] for cells, _ in rows.values()) == 30
    assert len(rows) <= 5
    own = sum(cells[0] for labels, (cells, _) in rows.items() if names.OTHER not in labels)
    assert found[names.OVERFLOW.name][names.ERRORS.name, "error_type"][0][0] == 30 - own


def test_known_values_do_not_count_towards_the_cap() -> None:
    """The configured classes are always told apart; of the unknown ones as many as the cap."""
    schema = ModelSchema(cap=2, classes=("a", "b", "c"))
    labels = ["u", "v", "w", "x", "a", "b", "c", "u"]
    found = folded(*[("/p", None, None, None, label, None, None) for label in labels], schema=schema)
    rows = {labels[0]: cells[0] for labels, (cells, _) in found[names.PREDICTIONS.name].items()}
    assert rows == {"a": 1, "b": 1, "c": 1, "u": 2, "v": 1, names.OTHER: 2}
    assert found[names.OVERFLOW.name] == {(names.PREDICTIONS.name, "predicted_class"): ([2], 0)}


def test_caps_hold_over_workers() -> None:
    """What another worker has counted already is known here: both together keep to the cap."""
    schema = ModelSchema(cap=3, categorical={"c": ()})
    first, second = Kernel(schema), Kernel(schema)
    first.fold([(f"/{i}", 0.1, f"E{i}", f"s{i}", f"p{i}", None, {"c": f"c{i}"}) for i in range(3)])
    second.adopt(first.tally)
    second.fold([(f"/{i}", 0.1, f"E{i}", f"s{i}", f"p{i}", None, {"c": f"c{i}"}) for i in range(2, 5)])
    total = first.tally.copy()
    total.add(second.tally)
    for metric in (names.REQUESTS, names.SEGMENTS, names.PREDICTIONS, names.ERRORS):
        assert total.tables[metric.name].total() == 6, metric
        assert len([row for row in total.tables[metric.name].rows if names.OTHER not in row]) == 3, metric


@pytest.mark.parametrize(
    ("duration", "refused"),
    [
        (0, None), (-0.0, None), (5e-324, None), (86_400.0, None), (math.nextafter(86_400.0, INF), "range"), (-5e-324, "range"), (-1, "range"),
        (INF, "range"), (-INF, "range"), (math.nan, "nan"), ("1", "type"), (10**400, "type"), (1_700_000_000_000_000_000, "range"),
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_durations_are_seconds_of_a_request(duration: Any, refused: str | None) -> None:
    """From 0 to a day; anything else is refused and leaves the sum whole. The request counts."""
    found = folded(("/p", duration, None, None, None, None, None), ("/p", 0.25, None, None, None, None, None))
    assert found[names.REQUESTS.name] == {("/p",): ([2], 0)}
    counted = found[names.DURATION.name]["/p",]
    if refused is None:
        assert names.REFUSED.name not in found
        assert sum(counted[0]) == 2
        assert counted[1] == 250_000_000 + round(duration * 1e9)
    else:
        assert found[names.REFUSED.name] == {("duration", refused): ([1], 0)}
        assert counted == ([0, 1, 0], 250_000_000)


def test_the_longest_durations_do_not_overflow() -> None:
    """A chunk of the longest that are taken still has an exact, positive sum."""
    found = folded(*[("/p", 86_400.0, None, None, None, None, None)] * 512)
    assert found[names.DURATION.name]["/p",] == ([0, 0, 512], 512 * 86_400 * 10**9)


def test_gaps_are_no_errors() -> None:
    """Neither None nor pandas' NA among the errors is a failed request."""
    found = folded(*[("/p", 0.1, error, None, None, None, None) for error in (None, pd.NA, "E")])
    assert found[names.FAILED.name] == {("/p",): ([1], 0)}
    assert found[names.ERRORS.name] == {("/p", "E"): ([1], 0)}


@given(st.lists(EVENT, min_size=1, max_size=25), st.data())
def test_chunks_add_up(events: list[Any], data: st.DataObject) -> None:
    """However a stream is cut into chunks, and over how many kernels, the counts are the same."""
    whole, parts, others = Kernel(SCHEMA), Kernel(SCHEMA), Kernel(SCHEMA)
    whole.fold(events)
    at = 0
    while at < len(events):
        size = data.draw(st.integers(1, len(events)))
        data.draw(st.sampled_from([parts, others])).fold(events[at : at + size])
        at += size
    parts.tally.add(others.tally)
    assert counted(parts) == counted(whole)
    assert parts.tally.tables[names.DURATION.name].as_dict() == whole.tally.tables[names.DURATION.name].as_dict()


@given(st.lists(EVENT, min_size=1, max_size=25))
def test_columns_count_as_a_plain_loop(events: list[Any]) -> None:
    """The fields as columns, and features that every row has: every table equals the naive one."""
    events = [(*event[:6], {name: (event[6] or {}).get(name) if type(event[6]) is dict else None for name in (*EDGES, "c")}) for event in events]  # fmt: skip
    kernel, naive = Kernel(SCHEMA), Naive()
    fields = ("endpoint", "duration", "error", "segment", "prediction", "confidence")
    columns = {name: [event[i] for event in events] for i, name in enumerate(fields)}
    kernel.fold_columns(columns, {name: [event[6][name] for event in events] for name in (*EDGES, "c")}, len(events))
    for event in events:
        naive.event(event)
    counts, histograms = counted(kernel)
    assert counts == +naive.counts
    assert histograms == +naive.histograms


def test_answers_without_a_request() -> None:
    """Predictions and confidences alone count as those of requests do, each against its own threshold; no request counts."""
    answers = [("a", 0.65, None), ("b", 0.65, 0.6), ("new", math.nan, 0.6), (None, "x", math.nan), (b"", 0.5, 0.7)]
    kernel, requests = Kernel(SCHEMA), Kernel(SCHEMA)
    kernel.fold_answers(answers)
    requests.fold([("/p", None, None, None, label, confidence, None) for label, confidence, _ in answers])
    found, wanted = kernel.tally.as_dict(), requests.tally.as_dict()
    assert found[names.LOW_CONFIDENCE.name] == {("0.7",): ([2], 0)}
    for name in (names.PREDICTIONS.name, names.CONFIDENCE.name, names.REFUSED.name, names.EVENTS.name):
        assert counted_of(kernel.tally)[name] == counted_of(requests.tally)[name]
    assert wanted.keys() - found.keys() == {names.REQUESTS.name}
    values = Kernel(ModelSchema(classes=None, value_edges=(0.0, 1.0)))
    values.fold_answers([(0.5, None, None), ("text", None, None)])
    assert values.tally.tables[names.PREDICTION_VALUE.name].as_dict() == {(): ([0, 1, 0], 0.5)}


def test_thresholds_have_a_cap() -> None:
    """As every label: the rest is `__other__`, and told."""
    kernel = Kernel(ModelSchema(cap=3))
    kernel.fold_answers([("a", 0.0, i / 100) for i in range(1, 11)])
    table = kernel.tally.tables[names.LOW_CONFIDENCE.name]
    assert list(table.rows) == [("0.7",), ("0.01",), ("0.02",), (names.OTHER,)]
    assert table.total() == 10
    assert kernel.tally.tables[names.OVERFLOW.name].value((names.LOW_CONFIDENCE.name, "threshold")) == 8


def test_categories_have_a_cap_each() -> None:
    """Features share the cap fairly; what they cannot hold is `__other__`, and told once for all of them."""
    schema = ModelSchema(cap=40, categorical={"c": ("red",), "d": ()})
    events = [("/p", None, None, None, None, None, {"c": f"c{i}", "d": "same"}) for i in range(50)]
    found = folded(*events, schema=schema)
    rows = found[names.FEATURE_CATEGORY.name]
    assert rows["d", "same"] == ([50], 0)
    assert rows["c", names.OTHER] == ([30], 0)
    assert len(rows) == 22
    assert found[names.OVERFLOW.name] == {(names.FEATURE_CATEGORY.name, "category"): ([30], 0)}


def test_features_that_are_not_configured_are_refused() -> None:
    """A model without numeric features, or a tally with others, takes nothing from them."""
    schema = ModelSchema(categorical={"c": ()})
    kernel = Kernel(schema)
    other = Kernel(ModelSchema(categorical={"elsewhere": ()}))
    other.fold([("/p", None, None, None, None, None, {"elsewhere": "v"})])
    kernel.adopt(other.tally)
    kernel.fold_columns({}, {"c": ["red", "red"], "x": [1.0, 2.0]}, 2)
    kernel.fold([("/p", None, None, None, None, None, {"c": "red", "x": 1.0})])
    found = kernel.tally.as_dict()
    assert found[names.FEATURE_CATEGORY.name] == {("c", "red"): ([3], 0)}
    assert found[names.REFUSED.name]["feature", "unknown"] == ([3], 0)
