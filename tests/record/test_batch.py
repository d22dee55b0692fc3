"""A batch in any form counts what `record` counts row by row."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import threading

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelwatch import Monitor, names
from modelwatch.errors import ModelwatchError
from modelwatch.kernel import Kernel
from modelwatch.record.batch import columns_of
from modelwatch.record.monitor import BATCH_CHUNK
from modelwatch.schema import ModelSchema

EDGES = (-1.0, 0.0, 0.25, 0.5, 1.0)
SCHEMA = ModelSchema(
    classes=("a", "b"), numeric={"x": (EDGES, EDGES), "y": ((0.5,), (0.5,))}, categorical={"c": ("red", "blue")}
)
FEATURES = ("x", "y", "c")
FIELDS = ("endpoint", "duration", "error", "segment", "prediction", "confidence")
EXACT = st.integers(-64, 192).map(lambda k: k / 64)  # sums of these are exact in any order


def row_by_row(columns, schema=SCHEMA):
    """Return the tally of one event a row."""
    kernel = Kernel(schema)
    n = len(next(iter(columns.values())))
    features = [name for name in FEATURES if name in columns]
    absent = [None] * n
    events = [
        (
            *(columns.get(name, ["batch"] * n if name == "endpoint" else absent)[i] for name in FIELDS),
            {name: columns[name][i] for name in features} if features else None,
        )
        for i in range(n)
    ]
    for i in range(0, n, 7):
        kernel.fold(events[i : i + 7])
    return kernel.tally.as_dict()


def batched(frame, schema=SCHEMA):
    """Return the tally of a batch."""
    kernel = Kernel(schema)
    columns, features, n = columns_of(frame, "batch", FEATURES, classes=schema.classes is not None)
    kernel.fold_columns(columns, features, n)
    return kernel.tally.as_dict()


def rows(n):
    """Return columns of n rows, with gaps where a table may have them."""
    gap = lambda values: st.lists(st.none() | values, min_size=n, max_size=n)  # noqa: E731
    full = lambda values: st.lists(values, min_size=n, max_size=n)  # noqa: E731
    return st.fixed_dictionaries(
        {},
        optional={
            "endpoint": full(st.sampled_from(["/p", "/q"])), "duration": gap(EXACT), "error": gap(st.sampled_from(["ValueError", "CancelledError"])),
            "segment": gap(st.sampled_from(["books", "é\n"])), "prediction": gap(st.sampled_from(["a", "b", "new"])), "confidence": gap(EXACT),
            "x": gap(EXACT), "y": gap(st.integers(-2, 3)), "c": gap(st.sampled_from(["red", "green"])), "unheard_of": full(st.integers(0, 9)),
        },
    )  # fmt: skip


COLUMNS = st.integers(1, 20).flatmap(rows).filter(len)


@settings(max_examples=60)
@given(COLUMNS)
def test_every_form_counts_as_row_by_row(columns):
    """A dict of lists, an Arrow table or record batch, and pandas with Arrow's types: the same tables to the bit."""
    expected = row_by_row(columns) if len(columns.keys() - {"unheard_of"}) else None
    table = pa.table(columns)
    forms = [
        columns,
        table,
        table.combine_chunks().to_batches()[0],
        pa.concat_tables([table.slice(0, 1), table.slice(1)]),
    ]
    forms.append(table.to_pandas(types_mapper=pd.ArrowDtype))
    forms.append({name: tuple(values) for name, values in columns.items()})
    for form in forms:
        if expected is None:
            assert batched(form) == {}
        else:
            assert batched(form) == expected


@settings(max_examples=60)
@given(COLUMNS)
def test_pandas_and_arrays_write_gaps_as_nan(columns):
    """In a column of numbers a gap is NaN there, and refused as that; in a column of labels it is: not given."""
    frame = pd.DataFrame(columns)
    seen = {}
    for name, values in columns.items():
        is_float = frame[name].dtype.kind == "f"
        seen[name] = [math.nan if v is None and is_float else v for v in values]
    if not columns.keys() - {"unheard_of"}:
        return
    expected = row_by_row(seen)
    assert batched(frame) == expected
    assert batched({name: frame[name] for name in frame}) == expected
    arrays = {name: frame[name].to_numpy() for name in frame if frame[name].dtype.kind in "fi" and name != "unheard_of"}
    if arrays:
        assert batched(arrays) == row_by_row({name: seen[name] for name in arrays})


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", ">f8", "<i4", "longdouble"]
)
def test_arrays_of_every_number(dtype):
    """Each kind of number in an array counts as its items do."""
    array = np.array([0, 1, 1, 0, 1]).astype(dtype)
    columns = {"duration": array, "confidence": array, "x": array}
    items = {name: list(values) for name, values in columns.items()}
    for form in (
        columns,
        pd.DataFrame({"duration": array, "confidence": array, "x": array}) if dtype[0] not in "l>" else columns,
    ):
        assert batched(form) == row_by_row(items)
    assert batched({"x": array[::2], "duration": array[::-2]}) == row_by_row(
        {"x": array[::2].tolist(), "duration": array[::-2].tolist()}
    )


@pytest.mark.parametrize(
    "kind",
    ["Int8", "Int64", "UInt32", "Float32", "Float64", "boolean", "int64[pyarrow]", "double[pyarrow]", "bool[pyarrow]", "decimal128(5,2)[pyarrow]"],
)  # fmt: skip
def test_pandas_types_with_gaps(kind):
    """A gap of a type that has its own is missing, not NaN."""
    values = [1, None, 0, None, 1]
    if "decimal" in kind:
        values = [None if v is None else decimal.Decimal(v) for v in values]
    frame = pd.DataFrame(
        {"x": pd.array(values, dtype=pd.ArrowDtype(pa.decimal128(5, 2)) if "decimal" in kind else kind)}
    )
    found = batched(frame)
    assert found[names.FEATURE_INVALID.name] == {
        ("x", "missing"): ([2], 0),
        ("y", "missing"): ([5], 0),
        ("c", "missing"): ([5], 0),
    }
    assert names.REFUSED.name not in found
    assert sum(found[names.FEATURE_VALUE.name]["x",][0]) == 3


@pytest.mark.parametrize("kind", ["str", "object", "string", "category", "string[pyarrow]", "large", "dictionary"])
def test_text_columns_with_gaps(kind):
    """A category that is not given is missing, and a class is not counted, whatever the column writes there."""
    values = ["red", None, "green", "red", None]
    if kind in ("large", "dictionary"):
        array = pa.array(values, pa.large_string() if kind == "large" else pa.dictionary(pa.int32(), pa.string()))
        frame = pa.table({"c": array, "prediction": array, "error": array, "segment": array})
    else:
        column = pd.Series(values, dtype=kind)
        frame = pd.DataFrame({"c": column, "prediction": column, "error": column, "segment": column})
    found = batched(frame)
    assert found[names.FEATURE_CATEGORY.name] == {("c", "red"): ([2], 0), ("c", "green"): ([1], 0)}
    assert found[names.FEATURE_INVALID.name]["c", "missing"] == ([2], 0)
    assert found[names.PREDICTIONS.name] == {("red",): ([2], 0), ("green",): ([1], 0)} == found[names.SEGMENTS.name]
    assert found[names.FAILED.name] == {("batch",): ([3], 0)}
    assert names.REFUSED.name not in found


def test_labels_may_be_numbers():
    """Classes as whole numbers, booleans or floats have the labels that their items have."""
    for array in (np.array([0, 1, 1]), np.array([True, False, True]), np.array([0.5, 1.0, 0.5]), np.array([0.5], "f4")):
        columns = {"prediction": array, "segment": array}
        assert batched(columns) == row_by_row({name: list(values) for name, values in columns.items()})
        assert batched(pd.DataFrame(columns)) == batched(pa.table(columns)) == batched(columns)


def test_masked_values_are_missing():
    """What a mask hides is no value, in numbers, features and labels."""
    masked = np.ma.array([0.25, 9.0, 0.5], mask=[False, True, False])
    found = batched(
        {"x": masked, "confidence": masked, "prediction": np.ma.array(["a", "z", "b"], mask=[False, True, False])}
    )
    assert found == row_by_row(
        {"x": [0.25, None, 0.5], "confidence": [0.25, None, 0.5], "prediction": ["a", None, "b"]}
    )
    assert ("z",) not in found[names.PREDICTIONS.name]


ODD = [math.nan, math.inf, -math.inf, "7", b"7", [1], (1,), {"k": 1}, {1}, object(), 10**400, 1j, True, np.float32(0.5), np.int8(1),
       np.array(0.5), np.array([1, 2]), decimal.Decimal("0.5"), dt.datetime(2026, 1, 1), pd.NA, pd.NaT, pd.Timestamp(0), None]  # fmt: skip


def test_odd_values_in_lists_and_object_columns():
    """Whatever stands in a column is judged like the value alone; only NaN among labels is: not given."""
    numbers = {"duration": ODD, "confidence": ODD, "x": ODD}
    assert batched(numbers) == row_by_row(numbers)
    labels = {"endpoint": ODD, "error": ODD, "segment": ODD, "prediction": ODD}
    plain = [None if type(v) is float and math.isnan(v) else v for v in ODD]
    assert batched(labels) == row_by_row(dict.fromkeys(labels, plain))
    assert batched({"c": ODD}) == row_by_row({"c": ODD})
    objects = np.empty(len(ODD), object)
    objects[:] = ODD
    for form in ({"x": objects}, pd.DataFrame({"x": pd.Series(ODD, dtype=object)})):
        assert batched(form) == row_by_row({"x": ODD})


@pytest.mark.parametrize("dtype", ["M8[ns]", "M8[D]", "m8[s]", "S3", "U3", "c16", "V3"])
def test_arrays_of_no_numbers(dtype):
    """Times, bytes, texts and complex numbers are judged as their items are."""
    array = np.zeros(3, dtype)
    columns = {"x": array, "confidence": array}
    assert batched(columns) == row_by_row({name: list(values) for name, values in columns.items()})


def test_rows_of_a_matrix_are_no_values():
    """A two-dimensional column is refused value by value; the other columns count."""
    found = batched({"x": np.zeros((3, 2)), "prediction": np.ones((3, 2)), "confidence": [0.5, 0.5, 0.5]})
    assert found[names.REFUSED.name] == {("feature", "type"): ([3], 0), ("prediction", "type"): ([3], 0)}
    assert sum(found[names.CONFIDENCE.name][()][0]) == 3


def test_regressions_take_numbers():
    """Predictions of a regression are values; NaN is refused, a gap is not given."""
    schema = ModelSchema(classes=None, value_edges=(0.0, 1.0), numeric=SCHEMA.numeric, categorical=SCHEMA.categorical)
    values = [0.0, 0.5, None, math.nan, "text", 2.0]
    assert batched({"prediction": values}, schema) == row_by_row({"prediction": values}, schema)
    assert batched(pa.table({"prediction": [0.5, None, 2.0]}), schema) == row_by_row(
        {"prediction": [0.5, None, 2.0]}, schema
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"x": [1], "y": [1, 2]}, r"lengths of the columns are \[1, 2\]; expected one\. Give a value for every row\."),
        ({"endpoint": "/predict", "x": [1]}, r"lengths of the columns are \[1, 8\]"),
        (None, "type of the batch is 'NoneType'; expected a DataFrame, an Arrow table or a dict of arrays. Convert it."),
        ([1], "type of the batch is 'list'"),
        ("x", "type of the batch is 'str'"),
    ],
)  # fmt: skip
def test_what_is_no_batch_is_refused(frame, message):
    """Columns of several lengths and things that are no table: one line that says what to do."""
    with pytest.raises(ModelwatchError, match=message) as caught:
        columns_of(frame, "batch", FEATURES)
    assert "\n" not in str(caught.value)


def test_nothing_is_no_rows():
    """An empty table, or one of other columns only, counts nothing and is no fault."""
    for frame in ({}, pd.DataFrame(), pa.table({}), {"unheard_of": [1, 2]}, {"x": []}, pd.DataFrame({"x": []})):
        assert columns_of(frame, "batch", FEATURES)[2] == 0


class Raises:
    """An object whose every attribute raises."""

    def __init__(self, error):
        object.__setattr__(self, "error", error)

    def __getattribute__(self, name):
        raise object.__getattribute__(self, "error")


@pytest.fixture
def monitor(tmp_path):
    """A monitor with a live.db of its own."""
    monitor = Monitor("batch", "1", SCHEMA, live=tmp_path / "live.db")
    yield monitor
    monitor.close()


BROKEN = {
    "raises": lambda: Raises(ValueError()), "exits": lambda: Raises(KeyboardInterrupt()), "column raises": lambda: {"x": Raises(ValueError())},
    "number": lambda: {"x": 7}, "array of no dimension": lambda: {"x": np.array(7.0)}, "lengths": lambda: {"x": [1], "y": []},
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_no_batch_raises_into_the_host(monitor, name):
    """It counts nothing at all, and a fault; the next batch counts."""
    assert monitor.record_batch(BROKEN[name]()) == 0
    assert monitor.recorder.faults.pending
    assert monitor.record_batch({"x": [0.5]}) == 1
    assert monitor.recorder.kernel.tally.tables[names.EVENTS.name].total() == 1


def test_long_batches_are_counted_in_chunks(monitor):
    """Every row once, across the borders of the chunks, from many threads at once."""
    n = 2 * BATCH_CHUNK + 5
    frame = {"prediction": ["a", *["b"] * (n - 1)], "x": np.arange(n) / 64, "confidence": np.full(n, 0.5)}
    counted = []
    threads = [threading.Thread(target=lambda: counted.append(monitor.record_batch(frame))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == [n] * 3
    tables = monitor.recorder.kernel.tally.tables
    assert tables[names.PREDICTIONS.name].as_dict() == {("a",): ([3], 0), ("b",): ([3 * (n - 1)], 0)}
    assert tables[names.FEATURE_VALUE.name].value(("x",)) == tables[names.CONFIDENCE.name].value(()) == 3 * n
