"""Foreign labels and logs: feedback over HTTP, files of labels, ids of requests, and rows of logs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fuzz.foreign import VALUES, changed, taken, torn
from modelwatch import Monitor
from modelwatch.batch.logs import open_logs
from modelwatch.groundtruth.exchange import COLUMNS, read
from modelwatch.groundtruth.feedback import Feedback
from modelwatch.groundtruth.ids import LENGTH, Signer
from modelwatch.labelcommands import import_labels

CONFIG = """
service: {name: api}
models: {m: {version: "1", task: TASK, ground_truth: {sampling_rate: 1}}}
store: sqlite:///truth.db
live: live.db
"""
SIGNER = Signer(bytes(16))
KNOWN = SIGNER.sign("ab" * 16, 1_700_000_000.0)


@pytest.fixture(scope="module", params=["classification, classes: [a, b]", "regression"])
def monitor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitor]:
    """A monitor that takes labels, for each task."""
    folder = tmp_path_factory.mktemp("labels")
    (folder / "modelwatch.yaml").write_text(CONFIG.replace("TASK", request.param))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MODELWATCH_FEEDBACK_TOKEN", raising=False)
        made = Monitor.from_config(folder / "modelwatch.yaml")
        yield made
        made.close()


# -- over HTTP ---------------------------------------------------------------------------------------------------------

SAID = {"request_id": KNOWN, "true_label": "a", "reviewer": "ann"}


@settings(max_examples=100)
@given(st.builds(lambda tree: json.dumps(tree).encode(), changed(SAID)) | torn(json.dumps(SAID).encode()) | st.just(b""), st.text(max_size=20) | st.just("request_id=a&true_label=b"))  # fmt: skip
@example(json.dumps({**SAID, "true_label": 10**400}).encode(), "")
@example(json.dumps({**SAID, "request_id": "\ud800", "true_label": "\ud800", "reviewer": "\ud800"}).encode(), "")
@example(b'{"request_id": "' + KNOWN.encode() + b'", "true_label": NaN}', "")
def test_any_feedback(monitor: Monitor, body: bytes, query: str) -> None:
    """Whatever is posted has an answer that is JSON; it is the client's fault, never ours."""
    answer = Feedback(monitor, rate=1e9).answer(body, query, "", "client")
    assert answer.status in {200, 400, 404, 422}
    assert json.loads(json.dumps(answer.content, allow_nan=False)) == answer.content


@settings(max_examples=100)
@given(VALUES, VALUES)
def test_any_label_for_a_known_request(monitor: Monitor, label: Any, reviewer: Any) -> None:
    """With an id that was handed out, so that the label itself is judged, and stored where it can be."""
    assert monitor.review is not None
    given = {"request_id": monitor.review.sign("cd" * 16), "true_label": label, "reviewer": reviewer}
    answer = Feedback(monitor, rate=1e9).answer(json.dumps(given).encode(), "", "", "client")
    assert answer.status in {200, 400, 422}


@settings(max_examples=200)
@given(st.text(max_size=LENGTH) | torn(KNOWN.encode()).map(lambda data: data.decode("latin-1")) | VALUES)
def test_any_request_id(given: Any) -> None:
    """Only what was signed is known."""
    found = SIGNER.verify(given)
    assert (found is None) == (given != KNOWN)


# -- files -------------------------------------------------------------------------------------------------------------

TASKS: Any = [
    {
        "data": {"request_id": "ab" * 16},
        "annotations": [
            {
                "result": [{"value": {"choices": ["a"]}}],
                "completed_by": {"email": "ann@example.org"},
                "updated_at": "2026-01-01T00:00:00Z",
                "was_cancelled": False,
            },
            {"result": [{"value": {"number": 1.5}}], "completed_by": 1, "created_at": "2026-01-01T00:00:00+02:00"},
        ],
    },
    {"request_id": "cd" * 16, "label": "b", "annotator": 7, "updated_at": "2026-01-01T00:00:00.123456Z"},
]
CSV = f'{",".join((*COLUMNS, "at"))}\n{"ab" * 16},m,1,/,2026-01-01T00:00:00Z,a,0.5,s,"one\ntwo",b,ann,note,2026-01-01\n'


def put(folder: Any, name: str, data: bytes) -> Path:
    """Write a file for one example."""
    path = Path(folder.getbasetemp()) / name
    path.write_bytes(data)
    return path


@settings(max_examples=150)
@given(st.builds(lambda tree: json.dumps(tree).encode(), changed(TASKS)) | torn(json.dumps(TASKS).encode()))
@example(b"[" * 100_000)
@example(json.dumps(TASKS).replace("2026-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59").encode())
def test_any_export_of_label_studio(tmp_path_factory: Any, data: bytes) -> None:
    """Each entry is a label with an id, or a sentence of what is wrong with it; or the file is refused."""
    found = taken(lambda: read(put(tmp_path_factory, "labels.json", data)))
    for label in found.labels if found is not None else ():
        assert type(label.request_id) is str
        assert type(label.value) in {str, int, float}
        assert label.reviewer is None or type(label.reviewer) is str


@settings(max_examples=150)
@given(torn(CSV.encode()))
@example(CSV.replace("note", "n" * 200_000).encode())
@example(b"r" * 200_000)
@example(b"\x00")
def test_any_csv_of_labels(tmp_path_factory: Any, data: bytes) -> None:
    """The same of CSV, of which a spreadsheet may have made anything."""
    found = taken(lambda: read(put(tmp_path_factory, "labels.csv", data)))
    for label in found.labels if found is not None else ():
        assert label.request_id
        assert label.value


@settings(max_examples=12)
@given(label=VALUES, request_id=st.sampled_from(["ab" * 16, KNOWN, "\ud800", "\x00", "x" * 5000]))
@example(label=10**400, request_id="ab" * 16)
@example(label="\ud800", request_id="\ud800")
def test_any_label_of_a_file_is_stored_or_told(tmp_path_factory: Any, label: Any, request_id: str) -> None:
    """Down to the store: a file is imported, and each of its entries is counted, or told."""
    folder = Path(tmp_path_factory.getbasetemp()) / "imported"
    folder.mkdir(exist_ok=True)
    (folder / "modelwatch.yaml").write_text(CONFIG.replace("TASK", "classification, classes: [a]"))
    (folder / "labels.json").write_text(json.dumps([{"request_id": request_id, "label": label}]))
    states, problems = import_labels(folder / "modelwatch.yaml", None, folder / "labels.json")
    assert sum(states.values()) + len(problems) == 1


# -- logs --------------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> list[Any]:
    """Read all rows of a log."""
    return [batch for part in open_logs(path).parts for batch in part.read(part.columns)]


ROW = {"timestamp": 1_700_000_000, "prediction": "a", "features": {"x": 1.5, "c": "d"}}


@settings(max_examples=100)
@given(st.builds(lambda tree: json.dumps(tree).encode(), changed(ROW)) | torn(json.dumps(ROW).encode()))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"a":' * 500 + b"1" + b"}" * 500)
def test_any_row_of_a_log(tmp_path_factory: Any, data: bytes) -> None:
    """A line is a row, or the file is refused with the number of the line."""
    path = put(tmp_path_factory, "log.jsonl", json.dumps(ROW).encode() + b"\n" + data + b"\n")
    taken(lambda: rows_of(path))


@settings(max_examples=60)
@given(torn(gzip.compress(json.dumps(ROW).encode() * 3, mtime=0)))
def test_any_log_that_is_packed(tmp_path_factory: Any, data: bytes) -> None:
    """One that is cut off, or damaged, is refused."""
    taken(lambda: rows_of(put(tmp_path_factory, "log.jsonl.gz", data)))


@settings(max_examples=60)
@given(torn(b'timestamp,prediction,x\n1700000000,a,1.5\n1700000001,"b",\n'))
@example(b"")
@example(b"\x00")
def test_any_log_as_csv(tmp_path_factory: Any, data: bytes) -> None:
    """The same of CSV."""
    taken(lambda: rows_of(put(tmp_path_factory, "log.csv", data)))
