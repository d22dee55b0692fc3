"""What a service is promised: no file, lock or statistic on its request path, and nothing that raises."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from counting import plain_environment, run_python, total
from modelwatch import Monitor
from modelwatch.errors import ConfigError
from modelwatch.schema import ModelSchema

SCHEMA = ModelSchema(classes=("a", "b"), numeric={"x": ((0.0, 1.0), (0.0, 1.0))}, categorical={"c": ("red",)})


@pytest.fixture
def monitor(tmp_path):
    """A monitor with features and a live.db of its own."""
    monitor = Monitor("m", "1", SCHEMA, live=tmp_path / "live.db")
    yield monitor
    monitor.close()


AUDIT = """
import asyncio, sys, threading
from modelwatch import Monitor, current_request
from modelwatch.schema import ModelSchema

schema = ModelSchema(classes=("a", "b"), numeric={"x": ((0.0, 1.0), (0.0, 1.0))}, categorical={"c": ("red",)})
monitor = Monitor("m", "1", schema, live=sys.argv[1])
asyncio.run(asyncio.sleep(0))
monitor.record("/warm", error=ValueError())

def extract(found): raise KeyError

@monitor.endpoint("/sync")
def sync(): return {"label": "a", "confidence": 0.5, "features": {"x": 1.0, "c": "red"}}
@monitor.endpoint("/bad", extract=extract)
def bad(): return 1
@monitor.endpoint("/fails")
def fails(): raise ValueError
@monitor.endpoint("/async")
async def coroutine(): current_request().predicted("a")
@monitor.endpoint("/stream")
def stream(): yield 1
@monitor.endpoint("/astream")
async def astream(): yield 1

async def drain():
    for _ in range(300):
        await coroutine()
        async for _ in astream(): pass

mine, seen, watching = threading.get_ident(), [], [False]
QUIET = {"array.__new__", "object.__getattr__", "object.__setattr__", "sys._getframe", "gc.get_objects", "time.sleep"}
def hook(name, arguments):
    if watching[0] and threading.get_ident() == mine and name not in QUIET and not name.startswith(("cpython.", "sys.")):
        seen.append((name, str(arguments)[:60]))
sys.addaudithook(hook)

loop = asyncio.new_event_loop()
monitor.recorder.limit = 500          # so that the caller folds, too
watching[0] = True
for i in range(3000):
    monitor.record("/p", duration=0.01, prediction="a", confidence=0.5, features={"x": 0.5, "c": "red"}, segment="s")
    sync(); bad(); list(stream())
    try: fails()
    except ValueError: pass
    with monitor.request("/block") as request:
        request.id
        request.predicted("b", features={"x": float("nan")})
loop.run_until_complete(drain())
monitor.record_batch({"prediction": ["a"] * 100, "x": [0.5] * 100})
watching[0] = False
folded = monitor.recorder.caller_folds
loop.close()
assert folded > 0, folded
print(sorted(set(seen)), "scipy" in sys.modules, "pandas" in sys.modules)
"""


def test_nothing_is_opened_on_the_request_path(tmp_path):
    """Over every way to count, caller folds included: no file, socket, process, import or SQLite call in the caller (RELIABILITY 6)."""
    done = run_python(AUDIT, tmp_path / "live.db")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] False False\n"


def test_a_request_waits_for_no_lock(monitor):
    """With every lock of ours held by somebody else, all calls return."""
    import threading

    watched = monitor.endpoint("/known")(lambda: {"label": "a"})
    locks = monitor.worker.locks()
    ready, release = threading.Event(), threading.Event()

    def hold():
        for lock in locks:
            lock.acquire()
        ready.set()
        release.wait(30)
        for lock in locks:
            lock.release()

    holder = threading.Thread(target=hold)
    holder.start()
    ready.wait(5)
    done = threading.Event()

    def call():
        for _ in range(100):
            watched()
            monitor.record("/p", features={"x": 1.0})
            with monitor.request("/q") as request:
                request.predicted("a")
        done.set()

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    assert done.wait(5)
    release.set()
    holder.join()


HOSTILE = [
    None, float("nan"), float("inf"), 10**400, -1, True, "text", b"bytes", [1], {1: 2}, {}, set(), object(), object,
    np.float64("nan"), np.array(1.0), np.array([1, 2]), np.ma.masked, 1j, "\ud800", "x" * 100_000, "\0", ..., NotImplemented,
    lambda: None, Exception("e"), KeyError,
]  # fmt: skip


class Raising:
    """An object whose every method raises."""

    def _raise(self, *_):
        raise RuntimeError("mine")

    __str__ = __repr__ = __float__ = __hash__ = __eq__ = __len__ = __iter__ = __bool__ = __getattr__ = __index__ = (
        _raise
    )


@pytest.mark.parametrize(
    "argument",
    ["endpoint", "duration", "prediction", "confidence", "features", "segment", "error", "input", "request_id"],
)
def test_no_value_raises(monitor, argument):
    """Any value in any place of `record`, `predicted` and `request`: nothing raises, every event is counted (RELIABILITY 1)."""
    recursive = {}
    recursive["x"] = recursive
    values = [*HOSTILE, Raising(), recursive, {"x": Raising()}, {"c": Raising()}, {Raising: 1}]
    for value in values:
        arguments = {"endpoint": "/p", argument: value}
        monitor.record(**arguments)
        with monitor.request(arguments["endpoint"], segment=arguments.get("segment")) as request:
            said = {name: arguments[name] for name in ("confidence", "features", "input") if name in arguments}
            request.predicted(arguments.get("prediction"), **said)
    assert monitor.flush(10)
    text = monitor.metrics()
    assert total(text, "modelwatch_events_total") == total(text, "ml_requests_total") == 2 * len(values)
    assert b"modelwatch_internal_errors_total{" not in text


def test_a_batch_of_no_form_is_refused(monitor):
    """`record_batch` of something that is no batch counts nothing, raises nothing, and is told."""
    frames = [None, 5, "text", [], [{"x": 1}], {"x": 5}, {"x": [1], "prediction": ["a", "b"]}, object(), Raising()]
    for frame in frames:
        assert monitor.record_batch(frame) == 0
    assert monitor.flush(5)
    assert total(monitor.metrics(), "modelwatch_internal_errors_total", where="record_batch") == len(frames)
    assert total(monitor.metrics(), "modelwatch_events_total") == 0


def test_a_batch_counts_as_its_rows(tmp_path):
    """`record_batch` gives the same counts as `record` row by row, in parts larger than a chunk."""
    one, other = (Monitor(name, "1", SCHEMA, live=tmp_path / f"{name}.db") for name in ("one", "other"))
    n = 10_000
    columns = {
        "prediction": ["ab"[i % 2] for i in range(n)],
        "confidence": np.arange(n) % 10 / 10,
        "duration": np.full(n, 0.25),
        "x": np.arange(n) % 3 - 0.5,
        "c": ["red" if i % 3 else None for i in range(n)],
    }
    assert one.record_batch(columns, "/batch") == n
    for i in range(n):
        row = {name: columns[name][i] for name in ("prediction", "confidence", "duration")}
        other.record("/batch", **row, features={"x": float(columns["x"][i]), "c": columns["c"][i]})
    tallies = []
    for monitor in (one, other):
        assert monitor.flush(10)
        found = monitor.recorder.snapshot().as_dict()
        found.pop("modelwatch_caller_folds_total", None)
        tallies.append({t: {k: (c, round(s, 6)) for k, (c, s) in rows.items()} for t, rows in found.items()})
        assert monitor.close()
    assert tallies[0] == tallies[1]


def test_the_same_model_twice_is_one_model(tmp_path):
    """Two monitors of a version share its counts; other settings need another version."""
    first = Monitor("m", "1", SCHEMA, live=tmp_path / "live.db")
    second = Monitor("m", "1", SCHEMA, live=tmp_path / "live.db")
    first.record("/p")
    second.record("/p")
    assert first.flush(5)
    assert total(second.metrics(), "ml_requests_total") == 2
    with pytest.raises(ConfigError, match="Give the other settings a version of their own"):
        Monitor("m", "1", ModelSchema(), live=tmp_path / "live.db")
    third = Monitor("m", "2", ModelSchema(), live=tmp_path / "live.db")
    for monitor in (first, second, third):
        assert monitor.close()
    assert not first.worker.is_running()


def test_errors_are_named_by_their_class(monitor):
    """An exception, its class and its name are the same error; a cancelled request is none."""
    for error in (ValueError("x"), ValueError, "ValueError"):
        monitor.record("/p", error=error)
    for error in (asyncio.CancelledError(), asyncio.CancelledError, "CancelledError"):
        monitor.record("/p", duration=1.0, error=error)
    monitor.record("/p", error="http_503")
    assert monitor.flush(5)
    text = monitor.metrics()
    assert total(text, "ml_errors_total", error_type="ValueError") == 3
    assert total(text, "ml_errors_total", error_type="http_503") == 1
    assert total(text, "ml_requests_cancelled_total", endpoint="/p") == 3
    assert total(text, "ml_requests_failed_total", endpoint="/p") == 4
    assert total(text, "ml_requests_total", endpoint="/p") == 7
    assert total(text, "ml_request_duration_seconds_count", endpoint="/p") == 0


def test_pages_in_both_formats(monitor):
    """The page is text for Prometheus or OpenMetrics, with what the host has registered itself."""
    from prometheus_client import CollectorRegistry, Counter
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    registry = CollectorRegistry()
    Counter("theirs", "Of the host.", registry=registry).inc()
    monitor.record("/p", duration=0.1)
    assert monitor.flush(5)
    assert total(monitor.metrics(registry=registry), "theirs_total") == 1
    page = monitor.metrics(openmetrics=True, registry=registry).decode()
    names = {family.name for family in text_string_to_metric_families(page)}
    assert {"ml_requests", "theirs"} <= names


def test_importing_starts_nothing(tmp_path):
    """To import modelwatch makes no thread, no file, and loads no configuration library."""
    code = "import sys, threading, modelwatch\nfrom modelwatch import Monitor\nprint(threading.active_count(), 'pydantic' in sys.modules, 'scipy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain_environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1 False False\n"
    assert list(tmp_path.iterdir()) == []


def test_a_store_without_its_extra_is_one_line(tmp_path: Path) -> None:
    """A service that installed the core alone and has a store is told which extra it lacks, when it starts."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(
        'service: {name: s}\nmodels: {m: {version: "1", task: regression}}\nstore: sqlite:///s.db\n', encoding="utf-8"
    )
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\nimport modelwatch\n"
        "try:\n    modelwatch.Monitor.from_config(sys.argv[1])\n"
        "except modelwatch.errors.MissingExtra as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "store: SQLAlchemy is not installed. Run: pip install 'modelwatch[store]'\n", done.stderr
