"""A log counts what the service would have counted live, bucket by bucket."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from batch.logged import DAY, NOW, REFERENCE, by_events, counted, model_of
from modelwatch import names
from modelwatch.batch import analyze, outcomes
from modelwatch.batch import counting as counting_module
from modelwatch.events import LabelCount
from modelwatch.kernel import Kernel
from modelwatch.store.live import Key
from modelwatch.store.reader import Totals

FEATURES = ("x", "y", "c")
EXACT = st.integers(-64, 192).map(lambda k: k / 64)  # sums of these are exact in any order


def rows(n):
    """Return columns of n rows, with gaps where a table may have them."""
    gap = lambda values: st.lists(st.none() | values, min_size=n, max_size=n)  # noqa: E731
    full = lambda values: st.lists(values, min_size=n, max_size=n)  # noqa: E731
    return st.fixed_dictionaries(
        {"x": gap(EXACT), "y": gap(st.integers(-2, 3)), "c": gap(st.sampled_from(["red", "blue", "green"]))},
        optional={
            "timestamp": gap(st.integers(DAY, DAY + 600)), "endpoint": full(st.sampled_from(["/p", "/q"])),
            "duration": gap(EXACT), "error": gap(st.sampled_from(["ValueError", "CancelledError"])),
            "segment": gap(st.sampled_from(["books", "é\n"])), "prediction": gap(st.sampled_from(["a", "b", "new"])),
            "confidence": gap(EXACT), "unheard_of": full(st.integers(0, 9)),
        },
    )  # fmt: skip


COLUMNS = st.integers(1, 20).flatmap(rows)


@settings(max_examples=80)
@given(COLUMNS, st.sampled_from([60, 3600]), st.sampled_from([3, 32_768]))
def test_a_frame_counts_as_its_events(columns, span, chunk):
    """tally(frame) == fold(events), in every bucket, for a table, one in chunks, and a dict of lists."""
    table = pa.table(columns)
    expected = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting_module, "CHUNK", chunk)
        for form in (columns, table, pa.concat_tables([table.slice(0, 1), table.slice(1)])):
            found = analyze(form, REFERENCE, model=model_of(), span=span, now=NOW)
            expected = expected or by_events(columns, found.schema, FEATURES, span)
            assert counted(found) == expected
    assert found.rows == len(columns["x"])


@settings(max_examples=40)
@given(COLUMNS, st.data())
def test_any_cut_into_parts_adds_up(columns, data):
    """Files, threads and batches change no count."""
    table = pa.table(columns)
    cut = data.draw(st.integers(0, len(table)))
    whole = analyze(table, REFERENCE, model=model_of(), now=NOW)
    parts = [analyze(part, REFERENCE, model=model_of(), now=NOW) for part in (table.slice(0, cut), table.slice(cut))]
    total = whole.schema.empty()
    for part in parts:
        total.add(part.total)
    assert total.as_dict() == whole.total.as_dict()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "new", None]), st.sampled_from(["a", "b", None]),
                          st.sampled_from(["books", None])), min_size=1, max_size=30))  # fmt: skip
def test_labels_count_as_the_first_labels_of_predictions(found):
    """Right and wrong by segment, as fold_labels counts them; what is no prediction or no class is refused."""
    predictions, labels, segments = (list(column) for column in zip(*found, strict=True))
    got = analyze(
        {"prediction": predictions, "label": labels, "segment": segments, "x": [0.0] * len(found)},
        REFERENCE, model=model_of().model_copy(update={"features": {}}), now=NOW,
    ).total.tables  # fmt: skip
    kernel = Kernel(analyze({"prediction": ["a"]}, model=model_of().model_copy(update={"features": {}})).schema)
    for prediction, label, segment in found:
        if label is not None and prediction is not None:
            kernel.fold_labels([LabelCount("matched", segment, 1.0, label == prediction)])
    for metric in (names.LABELS, names.LABELS_BY_INCLUSION, names.LABEL_STATES):
        assert got[metric.name].as_dict() == kernel.tally.tables[metric.name].as_dict()
    pairs = [(label, prediction) for prediction, label, _ in found if None not in (label, prediction)]
    confusion = {pair: pairs.count(pair) for pair in pairs}
    assert {pair: n[0] for pair, (n, _) in got[outcomes.CONFUSION.name].as_dict().items()} == confusion


def test_an_analysis_is_read_as_live_db_is():
    """Windows and totals take its rows; undated rows are in the total and in no window."""
    found = analyze(
        {"timestamp": [DAY, DAY + 61, DAY + 3600, None], "prediction": list("abaa"), "x": [0.5] * 4, "y": [1] * 4, "c": ["red"] * 4},
        REFERENCE, model=model_of(), now=NOW,
    )  # fmt: skip
    assert found.key == Key("m", "1")
    assert [start for start, _ in found.tallies()] == [DAY, DAY + 60, DAY + 3600]
    assert (found.began, found.ended) == (DAY, DAY + 3660)
    windows = found.windows(DAY + 3660.0, (3600, 86_400))
    assert windows.sum(found.key, 3600).tables[names.REQUESTS.name].total() == 2
    assert windows.sum(found.key, 86_400).tables[names.REQUESTS.name].total() == 3
    totals = Totals()
    totals.apply(found.changes(), found.schemas)
    assert totals.tallies[found.key].as_dict() == found.total.as_dict()
    assert found.requests == 4
    assert found.refused == {("timestamp", "missing"): 1}


ZONED = dt.datetime(2026, 1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1)))


@pytest.mark.parametrize(
    ("column", "zone"),
    [
        ([DAY], "UTC"), ([DAY * 1000], "UTC"), ([DAY * 10**6], "UTC"), ([DAY * 10**9], "UTC"), ([float(DAY) + 0.9], "UTC"),
        (["2026-01-01T00:00:00Z"], "Europe/Berlin"), (["2026-01-01 01:00:00+01:00"], "UTC"), (["2026-01-01T01:00:00"], "Europe/Berlin"),
        (["2026-01-01"], "UTC"), ([str(DAY)], "UTC"), ([ZONED], "UTC"), ([dt.datetime(2026, 1, 1)], "UTC"), ([dt.date(2026, 1, 1)], "UTC"),
        (pa.array([dt.datetime(2026, 1, 1, 1)], pa.timestamp("ns")), "Europe/Berlin"),
        (pa.array([DAY * 1000], pa.timestamp("ms", tz="America/New_York")), "UTC"),
        (pd.Series(pd.to_datetime(["2026-01-01T00:00:00Z"])), "UTC"), (np.array(["2026-01-01"], "M8[ns]"), "UTC"),
        (pa.array(["2026-01-01T00:00:00Z"]).dictionary_encode(), "UTC"), (["2026-01-01T00:00:00Z", None][:1], "UTC"),
    ],
)  # fmt: skip
def test_times_in_every_form(column, zone):
    """Seconds to nanoseconds, texts, dates, zones: the same bucket."""
    model = model_of(f"    logs: {{time_zone: {zone}}}\n").model_copy(update={"features": {}})
    found = analyze({"timestamp": column, "prediction": ["a"]}, model=model, now=NOW)
    assert [start for start, _ in found.tallies()] == [DAY]
    assert not found.refused


def test_times_that_are_none_are_counted_as_refused():
    """Nothing, nonsense, the future and the time before 1970: the rows count, in no bucket of time."""
    times = [None, "soon", "", NOW + 61, -1, float("nan"), float("inf"), NOW + 59, [1]]
    found = analyze(
        {"timestamp": times, "prediction": ["a"] * 9}, model=model_of().model_copy(update={"features": {}}), now=NOW
    )
    assert found.refused == {
        ("timestamp", "missing"): 2, ("timestamp", "type"): 4, ("timestamp", "future"): 1, ("timestamp", "range"): 1,
    }  # fmt: skip
    assert (found.requests, [start for start, _ in found.tallies()]) == (9, [int(NOW) // 60 * 60])


def test_buckets_that_do_not_fit_are_packed(monkeypatch):
    """Rows of many buckets in any order: what was packed is added to what comes later."""
    monkeypatch.setattr(counting_module, "OPEN_BYTES", 0)
    times = [DAY + 60 * (i % 7) for i in range(700)]
    table = pa.table({"timestamp": times, "prediction": ["a"] * 700})
    found = analyze(table.to_reader(90), model=model_of().model_copy(update={"features": {}}), now=NOW)
    assert {start: tally.tables[names.REQUESTS.name].total() for start, tally in found.tallies()} == {
        DAY + 60 * i: 100 for i in range(7)
    }


def test_threads_and_row_groups_change_nothing(tmp_path, monkeypatch):
    """A file of many row groups, several files, one and many threads: the same bytes."""
    monkeypatch.setattr("modelwatch.batch.logs.PART_ROWS", 100)
    table = pa.table({"timestamp": [DAY + i for i in range(1000)], "prediction": ["a", "b"] * 500, "x": [i / 64 for i in range(1000)],
                      "y": [1] * 1000, "c": ["red", None] * 500})  # fmt: skip
    parquet.write_table(table.slice(0, 700), tmp_path / "one.parquet", row_group_size=50)
    parquet.write_table(table.slice(700), tmp_path / "two.parquet", row_group_size=70)
    expected = counted(analyze(table, REFERENCE, model=model_of(), now=NOW))
    for threads in (1, 3):
        seen = []
        found = analyze(
            str(tmp_path / "*.parquet"), REFERENCE, model=model_of(), threads=threads, now=NOW, progress=lambda n, of: seen.append((n, of))
        )  # fmt: skip
        assert counted(found) == expected
        assert seen[-1] == (1000, 1000)
        assert len(seen) > 5


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64()])
@pytest.mark.parametrize("categories", [2, 127])
def test_dictionaries_of_any_width(kind, categories):
    """Categories as Arrow's dictionaries, whose positions may have one byte and no room for that of a gap."""
    names_of = ["red", "blue", *(f"c{i}" for i in range(categories - 2))]
    at = pa.array([*range(categories), None, 0], kind)
    column = pa.DictionaryArray.from_arrays(at, names_of)
    model = model_of().model_copy(update={"features": {"c": "categorical"}})
    expected = {"c": column.to_pylist()}
    assert counted(analyze({"c": column}, REFERENCE, model=model, now=NOW)) == counted(
        analyze(expected, REFERENCE, model=model, now=NOW)
    )
