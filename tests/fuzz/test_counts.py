"""Foreign counts: stored tallies, the rows of a live.db, and the answers of a Prometheus."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import sqlite3
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzz.foreign import VALUES, changed, taken, torn
from modelwatch import Monitor, names
from modelwatch.errors import DamagedData, ModelwatchError
from modelwatch.schema import ModelSchema
from modelwatch.signals.core import VERSION
from modelwatch.sources.prometheus import Client
from modelwatch.sources.prometheus.tallies import TABLE, Answers, schemas_of
from modelwatch.store.reader import LiveReader, Totals
from modelwatch.tally import Tally

CONFIG = """
service: {name: api}
models: {m: {version: "1", task: classification, classes: [a, b], features: {x: numeric, c: categorical}}}
live: live.db
"""
SCHEMA = ModelSchema(classes=("a", "b"), numeric={"x": ((1.0,), (1.0,))}, categorical={"c": ("d",)})


def some_counts() -> Tally:
    """Return the counts of a few requests."""
    tally = Tally(SCHEMA.tables)
    for name, table in tally.tables.items():
        table.count(("/p", *("v" for _ in range(20)))[: len(labels_of(name))], 3)
    return tally


def labels_of(name: str) -> tuple[str, ...]:
    """Return the labels of a table."""
    return next(table.labels for table in SCHEMA.tables if table.name == name)


SOUND = some_counts().dump()
RAW = zlib.decompress(SOUND)
END = 4 + int.from_bytes(RAW[:4], "little")
HEAD: Any = json.loads(RAW[4:END])


def usable(tally: Tally) -> None:
    """Add, and write, what was read: as with any other tally."""
    total = Tally()
    total.add(tally)
    assert Tally.load(total.dump()).as_dict() == tally.as_dict() or not total.as_dict() == total.as_dict()  # NaN


@settings(max_examples=150)
@given(torn(SOUND))
def test_a_tally_with_bytes_changed(data: bytes) -> None:
    """Is refused as damaged: the sum of the deflated bytes does not hold."""
    found = taken(lambda: Tally.load(data))
    assert found is None or found.as_dict() == some_counts().as_dict()


@settings(max_examples=200)
@given(changed(HEAD) | VALUES, torn(RAW[END:]))
def test_a_tally_with_another_head(head: Any, numbers: bytes) -> None:
    """Deflated soundly, so that only its own checks can refuse it: it is refused, or adds up as any other."""
    top = json.dumps(head).encode()
    found = taken(lambda: Tally.load(zlib.compress(len(top).to_bytes(4, "little") + top + numbers, 1)))
    if found is not None:
        usable(found)


# -- live.db -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A live.db of a service that lives, copied while it did."""
    folder = tmp_path_factory.mktemp("sound")
    (folder / "modelwatch.yaml").write_text(CONFIG)
    monitor = Monitor.from_config(folder / "modelwatch.yaml")
    for i in range(5):
        monitor.record("/p", duration=0.01, prediction="a", confidence=0.8, features={"x": i, "c": "d"})
    assert monitor.flush(5)
    copied = folder / "copied.db"
    with (
        contextlib.closing(sqlite3.connect(folder / "live.db")) as db,
        contextlib.closing(sqlite3.connect(copied)) as to,
    ):
        db.backup(to)
    monitor.close()
    return copied


COLUMNS = [
    ("counts", "model"), ("counts", "version"), ("counts", "start"), ("counts", "span"), ("counts", "worker"),
    ("counts", "tally"), ("counts", "seq"), ("models", "model"), ("models", "schema"), ("models", "revision"),
    ("workers", "worker"), ("workers", "seen"), ("workers", "gauges"), ("state", "value"), ("state", "name"),
]  # fmt: skip
CELLS = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8) | st.binary(max_size=8) | st.just(SOUND)
GAUGES = st.builds(
    json.dumps,
    changed(
        {"models": {"m": {"in_flight": 1}}, "process": {"cpu": 1.0}, "gpus": [{"index": 0, "name": "g", "values": {}}]}
    ),
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(COLUMNS), CELLS | GAUGES)
@example(("workers", "gauges"), "[" * 100_000)
@example(("state", "value"), float("inf"))
@example(("workers", "seen"), "soon")
def test_a_live_file_with_a_cell_replaced(sound: Path, tmp_path: Path, where: tuple[str, str], cell: Any) -> None:
    """Is damaged, in the words that all who read it know, or its rows add up without those that cannot be read."""
    path = tmp_path / "live.db"
    shutil.copy(sound, path)
    table, column = where
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE workers SET seen = 1.0")
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(f"UPDATE {table} SET {column} = ?", (cell,))
    reader = LiveReader(path, monotonic=lambda: 1.0)
    try:
        changes, host = reader.poll()
        totals = Totals(lambda: 1.0)
        totals.apply(changes, host.schemas)
        assert totals.damaged <= len(changes.rows)
    except (sqlite3.Error, OSError, ModelwatchError):
        pass
    finally:
        reader.close()


# -- Prometheus --------------------------------------------------------------------------------------------------------


class Saying(http.server.ThreadingHTTPServer):
    """A web server that answers every question with the same bytes."""

    body = b""


@pytest.fixture(scope="module")
def saying() -> Iterator[Saying]:
    """Run one for all examples."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(server.body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = Saying(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


ANSWER: Any = {
    "status": "success",
    "data": {
        "resultType": "vector",
        "result": [
            {"metric": {VERSION: "1", TABLE: names.REQUESTS.name, "endpoint": "/p"}, "value": [1.5, "3"]},
            {"metric": {VERSION: "1", TABLE: names.DURATION.name, "le": "+Inf"}, "value": [1.5, "3"]},
            {
                "metric": {VERSION: "1", TABLE: names.FEATURE_VALUE.name, "feature_name": "x", "le": "1"},
                "value": [1.5, "3"],
            },
        ],
    },
}


@settings(max_examples=100)
@given(st.builds(lambda tree: json.dumps(tree).encode(), changed(ANSWER)) | torn(json.dumps(ANSWER).encode()))
@example(b"[" * 100_000)
@example(json.dumps(ANSWER).replace("1.5", "9" * 400).encode())
@example(json.dumps(ANSWER).replace("+Inf", "soon").encode())
@example(json.dumps(ANSWER).replace('"x"', '"gone"').encode())
@example(json.dumps(ANSWER).replace('"3"', '"1e300"').encode())
@example(json.dumps(ANSWER).replace('"3"', '"1e400"').encode())
def test_any_answer_of_a_prometheus(saying: Saying, body: bytes) -> None:
    """Is refused in one line, or its series make counts."""
    saying.body = body
    client = Client(f"http://127.0.0.1:{saying.server_address[1]}", wall_s=20)
    found = taken(lambda: client.query("up"))
    if found is not None:
        taken(lambda: schemas_of(SCHEMA, found, ["1"]))
        answers = Answers(found, {"1": SCHEMA})
        for moment in {at for one in found for at in one.values}:
            taken(partial(answers.tally, "1", moment))


@settings(max_examples=100)
@given(st.text(max_size=30) | st.builds("http://{}".format, st.text(max_size=20)))
@example("http://[")
@example("http://a:b@\x00:99999999")
def test_any_address_of_a_prometheus(url: str) -> None:
    """Is refused in one line, or kept."""
    taken(lambda: Client(url))


def test_what_is_refused_is_told_apart() -> None:
    """The check of these tests can fail: an error of another kind goes through it."""
    assert taken(lambda: Tally.load(b"")) is None
    with pytest.raises(ZeroDivisionError):
        taken(lambda: 1 // 0)
    with pytest.raises(AssertionError):
        taken(lambda: (_ for _ in ()).throw(DamagedData("two\x00parts")))
