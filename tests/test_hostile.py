"""Nothing that a service hands over raises into it; a bad value costs only itself, and is counted exactly."""

from __future__ import annotations

import gc
import math
import sys
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from counting import page_values, run_python
from hostile import CORPUS, Nameless, keys_of, raising
from modelwatch import Monitor, current_request, names
from modelwatch.kernel import Kernel
from modelwatch.record.request import detached
from modelwatch.schema import ModelSchema
from modelwatch.testing import stream

pytestmark = pytest.mark.filterwarnings("ignore")  # numpy warns of masked values; a warning is not raised in a service

EDGES = tuple(k / 4 for k in range(-8, 9))
NUMERIC = {"x": (EDGES, EDGES[::4]), "y": (EDGES, EDGES[::4])}
SCHEMA = ModelSchema(classes=("a", "b"), numeric=NUMERIC, categorical={"c": ("red",)}, cap=5000)
REGRESSION = ModelSchema(classes=None, value_edges=(0.0, 1.0), numeric=NUMERIC, categorical={"c": ("red",)}, cap=5000)
GOOD = {"endpoint": "/p", "duration": 0.25, "prediction": "a", "confidence": 0.5, "features": {"x": 0.5, "y": 1.0, "c": "red"},
        "segment": "s", "error": None}  # fmt: skip
ORDER = ("endpoint", "duration", "error", "segment", "prediction", "confidence", "features")
FIELDS = (*GOOD, "request_id", "input", "value", "x", "c", "key")


# -- the rule, written down once more ----------------------------------------------------------------------------------


def refusals(field, case, value):
    """Return what must be refused of a value in a field: (where, kind) -> how often."""
    where, kind = field, ""
    if field in ("segment", "prediction", "error", "endpoint", "c"):
        kind = case.label if case.label in ("nan", "type") else ""
        where = "feature" if field == "c" else field
        if field == "endpoint" and case.label == "missing":  # a request has one
            kind = "type"
        if field == "error" and isinstance(case.make, type) and issubclass(case.make, BaseException):
            kind = ""
    elif field in ("confidence", "value"):
        kind = case.number if case.number in ("nan", "inf", "type") else ""
        where = "prediction" if field == "value" else field
    elif field == "duration":
        kind = case.seconds or (case.number if case.number in ("nan", "type") else "")
    elif field == "x":
        where, kind = "feature", case.number if case.number in ("nan", "type") else ""
    elif field == "features":
        keys = keys_of(value)
        if keys is not None:
            return Counter({("feature", "unknown"): keys}) if keys else Counter()
        where, kind = "feature", "" if value is None else "type"
    elif field == "key":
        where, kind = "feature", "unknown"
    return Counter({(where, kind): 1}) if kind else Counter()


def arguments(field, value):
    """Return the arguments of `record`, good but for one; None where the value can be no key of a dict."""
    if field in ("x", "c"):
        return GOOD | {"features": GOOD["features"] | {field: value}}
    if field == "key":
        try:
            return GOOD | {"features": {**GOOD["features"], value: 1.0}}
        except BaseException:
            return None
    return GOOD | {"prediction" if field == "value" else field: value}


def event(given):
    """Return the event of these arguments."""
    return tuple(detached(given[name]) if name == "features" else given[name] for name in ORDER)


def refused_in(tables):
    """Return the refusals that were counted."""
    return Counter({labels: n for labels, ([n], _) in tables.get(names.REFUSED.name, {}).items()})


def refused_of(tally):
    """Return the refusals of a tally."""
    return refused_in(tally.as_dict())


# -- every call --------------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """Makes monitors with a file of their own; none of them may have a fault at the end."""
    made = []

    def monitor(schema=SCHEMA):
        made.append(Monitor("hostile", str(len(made)), schema, live=tmp_path / "live.db"))
        return made[-1]

    monitor.meant = set()  # places whose faults are meant: the worker may have counted them already
    yield monitor
    for each in made:
        assert each.flush(20)
        assert not each.worker.faults.pending
        faults = each.recorder.kernel.tally.tables[names.INTERNAL_ERRORS.name]
        assert not [labels for labels in faults.rows if faults.value(labels) and not monitor.meant.intersection(labels)]
        each.close()


def page_of(monitor):
    """Return the samples of the page, which both parsers read and in which all numbers are finite."""
    assert monitor.flush(20)
    values = page_values(monitor.metrics())
    assert all(map(math.isfinite, values.values()))
    strict = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for family in parse_openmetrics(monitor.metrics(openmetrics=True).decode())
        for s in family.samples
    }
    assert strict.items() <= values.items() | strict.items() - values.items()
    return values


def summed(values, name, **labels):
    """Return the sum over the samples of a name that have these labels."""
    return sum(n for (have, with_), n in values.items() if have == name and labels.items() <= dict(with_).items())


def test_the_corpus_is_what_it_says():
    """More than 400 values of which most are bad, and no two of one name."""
    assert len({case.name for case in CORPUS}) == len(CORPUS) >= 400
    kinds = Counter((case.number, case.label) for case in CORPUS)
    assert kinds["type", "type"] >= 300
    assert min(kinds["ok", "ok"], kinds["type", "ok"], kinds["ok", "type"]) >= 10


@pytest.mark.parametrize("field", FIELDS)
def test_record_takes_everything_and_counts_what_it_refused(make, field):
    """Each value in each place of `record`: nothing is raised, every request counts, and exactly the bad values are refused."""
    monitor = make(REGRESSION if field == "value" else SCHEMA)
    expected, n, bad = Counter(), 0, 0
    for case in CORPUS:
        value = case.make()
        given = arguments(field, value)
        if given is None:
            continue
        monitor.record(**given)
        refused = refusals(field, case, value)
        expected += refused
        bad += bool(refused)
        n += 1
    values = page_of(monitor)
    assert refused_of(monitor.recorder.kernel.tally) == expected
    assert summed(values, names.REFUSED.name) == expected.total()
    assert summed(values, names.REQUESTS.name) == summed(values, names.EVENTS.name) == n
    if field in ("confidence", "x"):
        name = names.CONFIDENCE.name if field == "confidence" else names.FEATURE_VALUE.name
        missing = sum(case.number == "missing" for case in CORPUS)
        labels = {"feature_name": "x"} if field == "x" else {}
        assert summed(values, f"{name}_count", **labels) == n - bad - missing
    if field != "features":
        assert summed(values, f"{names.FEATURE_VALUE.name}_count", feature_name="y") == n
    if field == "error":
        assert summed(values, names.FAILED.name) == n - 2  # None and NA


@pytest.mark.parametrize("classes", [True, False])
def test_requests_take_everything(make, classes):
    """The same of a request as a block, whatever it was told; what its body raised goes on."""
    monitor = make(SCHEMA if classes else REGRESSION)
    expected = Counter()
    for case in CORPUS:
        value = case.make()
        with monitor.request(value, segment=value) as request:
            request.predicted(value, confidence=value, features=value, input=value)
        for field in ("endpoint", "segment", "prediction" if classes else "value", "confidence", "features"):
            if case.number != "missing" or field == "endpoint" or value is not None:
                expected += refusals(field, case, value)
        with monitor.request("/set") as request:
            request.prediction = request.confidence = request.features = request.segment = value
        for field in ("segment", "prediction" if classes else "value", "confidence", "features"):
            expected += refusals(field, case, value)
    values = page_of(monitor)
    assert refused_of(monitor.recorder.kernel.tally) == expected
    assert summed(values, names.REQUESTS.name) == 2 * len(CORPUS)


def test_watched_functions_return_everything(make):
    """What a watched function returns, is told, or is given comes back the same object; its answer is refused, not raised."""
    monitor = make()
    expected = Counter()

    @monitor.endpoint("/identity")
    def identity(value):
        return value

    @monitor.endpoint("/said")
    def said(value):
        return {"label": value, "confidence": value, "features": value}

    @monitor.endpoint("/told")
    def told(value):
        current_request().predicted(value, confidence=value, features=value)
        return value

    @monitor.endpoint(
        "/read", features=lambda value: value, segment=lambda value: value, extract=lambda value: (value, value)
    )
    def read(value):
        return value

    undone = 0
    for case in CORPUS:
        value = case.make()
        if case.name in ("generator", "coroutine"):  # watched until they are done
            undone += 1
            continue
        same = (
            identity(value) is value and said(value)["label"] is value and told(value) is value and read(value) is value
        )
        assert same, case.name
        for fields in (("prediction", "confidence", "features"),) * 2 + (
            ("segment", "features", "prediction", "confidence"),
        ):
            for field in fields:
                expected += refusals(field, case, value)
        if keys_of(value) is not None and type(value) is dict:
            assert set(value) & {"label", "confidence", "features"} == set()
    values = page_of(monitor)
    n = len(CORPUS) - undone
    for path in ("/identity", "/said", "/told", "/read"):
        assert summed(values, names.REQUESTS.name, endpoint=path) == n
    assert refused_of(monitor.recorder.kernel.tally) == expected


def test_batches_take_everything(make):
    """The corpus as columns, and each value as a batch of its own."""
    monitor = make()
    make.meant.add("record_batch")
    values = [case.make() for case in CORPUS]
    expected = Counter()
    for case, value in zip(CORPUS, values, strict=True):
        for field in ("endpoint", "duration", "error", "segment", "prediction", "confidence", "x", "c"):
            nan_in_a_label = case.label == "nan" and isinstance(value, float) and math.isnan(value)
            if nan_in_a_label and field in ("error", "segment", "prediction", "endpoint"):
                if field == "endpoint":  # not given
                    expected["endpoint", "type"] += 1
                continue
            expected += refusals(field, case, value)
    frame = dict.fromkeys(("endpoint", "duration", "error", "segment", "prediction", "confidence", "x", "c"), values)
    assert monitor.record_batch(frame) == len(CORPUS)
    assert refused_of(monitor.recorder.kernel.tally) == expected
    for value in values:
        if keys_of(value) is None:
            assert monitor.record_batch(value) in (0, 1)
    while monitor.worker.faults.pending:  # things that are no batch
        assert monitor.worker.faults.pending.popleft() == "record_batch"
    monitor.worker.faults.drain()


def test_exceptions_are_named_by_their_class(make):
    """As an object or as a class, whatever their own code does; what looks like one is refused."""
    monitor = make()
    rude = type(
        "Rude", (Exception,), {"__str__": raising(KeyError, "__str__"), "__class__": property(raising(KeyError, "x"))}
    )
    hidden = Nameless("Hidden", (Exception,), {})
    for error in (ValueError(), ValueError, KeyboardInterrupt(), rude("x"), hidden("x"), "ValueError"):
        monitor.record("/p", error=error)
    values = page_of(monitor)
    assert summed(values, names.ERRORS.name, error_type="ValueError") == 3
    assert summed(values, names.ERRORS.name, error_type="Rude") == 1
    assert summed(values, names.ERRORS.name, error_type="Hidden") == 1
    assert summed(values, names.FAILED.name) == 6
    monitor.record("/p", error=hidden)  # a class whose class is unknown: not asked
    assert summed(page_of(monitor), names.FAILED.name) == 7


def test_values_that_raise_when_they_go(make, monkeypatch):
    """A `__del__` that raises, or records, while its event is folded."""
    monitor = make()
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)

    class Going:
        def __del__(self):
            monitor.record("/last")
            raise ZeroDivisionError

    for _ in range(300):
        monitor.record(Going(), Going(), Going(), Going(), {"x": Going(), "c": Going(), "?": Going()}, Going(), Going())
    assert monitor.flush(20)
    gc.collect()
    values = page_of(monitor)
    assert len(seen) == 300 * 9
    assert summed(values, names.REQUESTS.name, endpoint="/last") == 300 * 9
    assert summed(values, names.REQUESTS.name, endpoint="__invalid__") == 300


# -- a bad value costs only itself ---------------------------------------------------------------------------------------


def valid(n):
    """Return the arguments of n good requests; sums of their values are exact in any order."""
    made = stream(
        1, n, classes=("a", "b"), numeric=("x", "y"), categories={"c": ("red", "blue")}, error_ratio=0.1
    )  # fmt: skip
    return [prediction._asdict() for prediction in made]


def put(row, field, value):
    """Return the arguments with a value at a field, or None."""
    if field in ("x", "c"):
        return row | {"features": row["features"] | {field: value}}
    return row | {field: value}


def tables_of(rows, chunk=512, schema=SCHEMA):
    """Return every table of these requests, to the bit."""
    kernel = Kernel(schema)
    for start in range(0, len(rows), chunk):
        kernel.fold([event(row) for row in rows[start : start + chunk]])
    return kernel.tally.as_dict()


def without(tables, *left_out):
    """Return the tables without some."""
    return {name: rows for name, rows in tables.items() if name not in {metric.name for metric in left_out}}


def unmarked(rows):
    """Return the rows but those that say of what was refused or is missing."""
    return {labels: n for labels, n in rows.items() if not {names.INVALID, "nan", "type", "missing"} & set(labels)}


@pytest.mark.parametrize(
    "field", ["duration", "prediction", "confidence", "segment", "x", "c", "endpoint", "error", "features"]
)
def test_the_good_stream_counts_to_the_bit(field):
    """Every refused value in place of a good one: all tables are those of a stream that has nothing in these places."""
    as_number = field in ("duration", "confidence", "x")
    bad = [
        case
        for case in CORPUS
        if (case.number if as_number else case.label) in ("nan", "type") and keys_of(case.make()) is None
    ]
    rows = valid(3 * len(bad))
    dirty, clean = list(rows), list(rows)
    for i, case in enumerate(bad):
        dirty[3 * i] = put(rows[3 * i], field, case.make())
        clean[3 * i] = put(rows[3 * i], field, None)
    found, wanted = tables_of(dirty), tables_of(clean)
    of_field = {
        "prediction": [names.PREDICTIONS], "segment": [names.SEGMENTS], "error": [names.FAILED, names.ERRORS],
        "x": [names.FEATURE_INVALID], "c": [names.FEATURE_INVALID],
    }.get(field, [])  # fmt: skip
    assert without(found, names.REFUSED, *of_field) == without(wanted, names.REFUSED, *of_field)
    for metric in of_field:
        if metric is not names.FAILED:  # a refused name of an error is a failure
            assert unmarked(found[metric.name]) == unmarked(wanted.get(metric.name, {}))
    assert refused_in(found).total() == len(bad)


@settings(max_examples=1500)
@given(st.data())
def test_any_mixture_is_counted_exactly(data):
    """Random requests with random bad values, in random chunks: as refused as each of them alone, and every request counts."""
    fields = [f for f in FIELDS if f not in ("request_id", "input", "value", "key")]
    picks = data.draw(
        st.lists(
            st.lists(st.tuples(st.sampled_from(fields), st.integers(0, len(CORPUS) - 1)), max_size=4),
            min_size=1,
            max_size=12,
        )
    )
    kernel, expected, events = Kernel(SCHEMA), Counter(), []
    for pick in picks:
        row = {**GOOD, "features": dict(GOOD["features"])}
        chosen = dict(pick)
        if "features" in chosen:
            chosen = {f: i for f, i in chosen.items() if f not in ("x", "c")}
        for field, i in chosen.items():
            value = CORPUS[i].make()
            row = put(row, field, value)
            expected += refusals(field, CORPUS[i], value)
        events.append(event(row))
    chunk = data.draw(st.integers(1, len(events)))
    for start in range(0, len(events), chunk):
        kernel.fold(events[start : start + chunk])
    assert refused_of(kernel.tally) == expected
    tables = kernel.tally.tables
    assert tables[names.REQUESTS.name].total() == len(events)
    assert sum(t.sums.sum() for t in tables.values()) < math.inf
    again = kernel.tally.load(kernel.tally.dump())
    assert again.as_dict() == kernel.tally.as_dict()


def test_values_that_raise_in_the_threads_of_the_service(make):
    """Many threads record the corpus at once while the buffer is full: the callers fold, nothing is raised, nothing lost."""
    monitor = make()
    monitor.recorder.limit = 600
    raised = []

    def work():
        try:
            for case in CORPUS * 2:
                value = case.make() if case.name != "10 MB" else "x"  # which takes longer than a caller waits
                monitor.record(value, value, value, value, {"x": value, "c": value}, value, value)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    values = page_of(monitor)
    assert monitor.recorder.caller_folds
    assert summed(values, names.REQUESTS.name) + summed(values, names.ABANDONED.name) == 8 * len(CORPUS)


MANY = """
import pathlib, sys
from counting import page_values
from modelwatch import Monitor
from modelwatch.schema import ModelSchema
from modelwatch.testing import stream

monitor = Monitor("m", "1", ModelSchema(categorical={"c": ("red",)}), live=sys.argv[1])
n = int(sys.argv[2])

def peak():
    status = pathlib.Path("/proc/self/status")  # of Linux; ru_maxrss would be that of the parent
    lines = status.read_text().splitlines() if status.exists() else ["VmHWM: 0 kB"]
    return int([line for line in lines if line.startswith("VmHWM")][0].split()[1])

def serve(numbers):
    for i in numbers:
        monitor.record(f"/users/{i}", 0.01, f"class-{i}", 0.5, {"c": f"category-{i}"}, f"segment-{i}", f"Error{i}" if i % 10 == 0 else None)
    assert monitor.flush(60)

serve([0] * 20_000)  # as a service with few values
page_values(monitor.metrics())
before = peak()
serve(range(20_000, n))
text = monitor.metrics()
print((peak() - before) / 1024)
page = page_values(text)
for metric, label in (("ml_requests_total", "endpoint"), ("ml_predictions_by_class_total", "predicted_class"),
                      ("ml_requests_by_segment_total", "segment"), ("ml_feature_category_total", "category"), ("ml_errors_total", "error_type")):
    found = {dict(labels)[label]: value for (name, labels), value in page.items() if name == metric}
    (overflow,) = [v for (name, labels), v in page.items() if name == "modelwatch_label_overflow_total"
                   and {("metric", metric), ("label", label)} <= set(labels)]
    print(metric, len(found), int(sum(found.values())), int(found["__other__"]), int(overflow))
monitor.close()
"""


def test_distinct_values_without_end(tmp_path):
    """150 000 values of every label: the cap and `__other__` hold, the sum is every event, the overflow is told, memory stays."""
    n = 150_000
    done = run_python(MANY, tmp_path / "live.db", n, timeout=100)
    assert done.returncode == 0, done.stderr
    grown, *rows = done.stdout.splitlines()
    assert float(grown) < 20
    for row in rows:
        metric, series, total, other, overflow = row.split()
        assert int(series) <= 1000 + 2, metric
        assert int(total) == (20_000 + (n - 20_000) // 10 if "errors" in metric else n), metric
        assert other == overflow, metric
        assert int(total) - int(other) == 20_000 + 999, metric
