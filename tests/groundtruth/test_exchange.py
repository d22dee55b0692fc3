"""Samples out and labels in, by file: Label Studio's forms, CSV, and what people do to both."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import datetime, timezone

import pytest

from modelwatch.errors import ModelwatchError
from modelwatch.groundtruth.exchange import Incoming, export, read
from modelwatch.groundtruth.store import Sample
from modelwatch.record.monitor import Monitor

CONFIG = """
service: {name: api}
models: {m: {version: "1", task: classification, classes: [a, "=b"], ground_truth: {sampling_rate: 1}}}
store: sqlite:///truth.db
"""
AT = datetime(2026, 3, 1, 12, 30, tzinfo=timezone.utc).timestamp()
SAMPLE = Sample("0" * 32, "m", "1", "/p", AT, "=b", 0.75, "@books", 0.5, '=1+1, a\n"text"', {"x": 1.5})


def annotated(request_id, choice, **more):
    """Return a task as Label Studio exports it, trimmed to what matters and a little that does not."""
    result = {"id": "x", "type": "choices", "value": {"choices": [choice]}, "to_name": "text", "from_name": "label"}
    annotation = {
        "id": 7, "completed_by": {"id": 1, "email": "ann@example.org"}, "result": [result], "was_cancelled": False,
        "created_at": "2026-03-01T12:00:00.000000Z", "updated_at": "2026-03-01T12:30:00.000000Z", "lead_time": 3.2, **more,
    }  # fmt: skip
    return {"id": 1, "annotations": [annotation], "data": {"request_id": request_id, "text": "t"}, "predictions": []}


def test_tasks_are_what_label_studio_reads():
    """The answer of the model is a prediction of the task; the id and the text are in its data."""
    (task,) = json.loads(export([SAMPLE], "label-studio"))
    assert task["data"]["request_id"] == "0" * 32
    assert task["data"]["text"] == SAMPLE.input
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("1", 0.75)
    assert prediction["result"] == [
        {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["=b"]}}
    ]
    number = Sample("1" * 32, "m", "1", "/p", AT, 2.5)
    assert json.loads(export([number], "label-studio"))[0]["predictions"][0]["result"][0]["value"] == {"number": 2.5}


def test_csv_runs_nothing_in_a_spreadsheet():
    """No cell begins as a formula does; numbers stay numbers; whoever reads it gets the text back."""
    (row,) = csv.DictReader(io.StringIO(export([SAMPLE], "csv"), newline=""))
    assert not any(value.startswith(("=", "+", "-", "@")) for value in row.values())
    assert row["input"] == "'" + SAMPLE.input
    assert (row["prediction"], row["segment"], row["true_label"]) == ("'=b", "'@books", "")
    negative = Sample("1" * 32, "m", "1", "/p", AT, -2.5)
    assert "-2.5" in export([negative], "csv")


def test_annotations_come_back(tmp_path):
    """JSON: the choice, who and when; one that was cancelled is no label, two annotations are two."""
    file = tmp_path / "tasks.json"
    both = annotated("2" * 32, "a")
    both["annotations"].append({**both["annotations"][0], "completed_by": 5, "updated_at": None})
    number = {"annotations": [{"result": [{"value": {"number": 3}}]}], "data": {"request_id": "3" * 32}}
    untouched = {"data": {"request_id": "4" * 32}}
    file.write_text(
        json.dumps([annotated("0" * 32, "a"), annotated("1" * 32, "a", was_cancelled=True), both, number, untouched])
    )
    found = read(file)
    assert found.problems == []
    assert found.labels == [
        Incoming("0" * 32, "a", "ann@example.org", AT, None, 1),
        Incoming("2" * 32, "a", "ann@example.org", AT, None, 3),
        Incoming("2" * 32, "a", "5", AT - 1800, None, 3),
        Incoming("3" * 32, 3.0, None, None, None, 4),
    ]


def test_the_short_form_comes_back(tmp_path):
    """JSON-MIN: one flat object a task."""
    file = tmp_path / "min.json"
    flat = {
        "id": 1,
        "request_id": "0" * 32,
        "text": "t",
        "label": "a",
        "annotator": 3,
        "updated_at": "2026-03-01T12:30:00Z",
    }
    file.write_text(json.dumps([flat]))
    assert read(file).labels == [Incoming("0" * 32, "a", "3", AT, None, 1)]


def test_what_is_no_label_is_told_and_the_rest_is_taken(tmp_path):
    """Every broken entry costs only itself."""
    file = tmp_path / "broken.json"
    broken = [
        7, {"annotations": [{"result": []}], "data": {"request_id": "x"}}, {"annotations": [], "data": {}},
        {"annotations": [{"result": [{"value": {"choices": ["a", "b"]}}]}], "data": {"request_id": "x"}},
        {"annotations": None, "data": {"request_id": "x"}}, {"label": "a"}, {"request_id": "x", "label": None},
        {"request_id": "x", "label": True}, {"annotations": [7], "data": {"request_id": "x"}}, annotated("0" * 32, "a"),
        {"annotations": [{"result": [{"value": {"number": 10**400}}]}], "data": {"request_id": "x"}},
    ]  # fmt: skip
    file.write_text(json.dumps(broken))
    found = read(file)
    assert [label.request_id for label in found.labels] == ["0" * 32]
    assert [problem.split(":")[0] for problem in found.problems] == [f"task {n}" for n in (1, 2, 3, 4, 6, 7, 8, 11)]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.json", b"{", "is no JSON"),
        ("x.json", b"{}", "is no list of tasks"),
        ("x.csv", b"a,b\n1,2\n", "expected request_id and true_label"),
        ("x.csv", b"", "expected request_id and true_label"),
        ("x.csv", b"request_id,true_label,text\nx,a," + b"z" * 200_000, "cannot be read after line 1"),
        ("x.json", b"\xff\xfe\x00", "cannot be read"),
        ("missing.json", None, "cannot be read"),
    ],
)
def test_a_file_that_is_none(tmp_path, name, content, words):
    """One line that says what to do."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelwatchError, match=words) as raised:
        read(tmp_path / name)
    assert "\n" not in str(raised.value)


def command(folder, *arguments):
    """Run a command of ours."""
    return subprocess.run(
        [sys.executable, "-m", "modelwatch", "label", *arguments, "--config", str(folder / "modelwatch.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_out_and_in_again(tmp_path):
    """Samples leave as CSV, somebody fills the column, and the labels come back, once, and are counted."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    monitor = Monitor.from_config(tmp_path / "modelwatch.yaml")
    for i in range(20):
        monitor.record(
            "/p", prediction="=b" if i % 2 else "a", request_id=f"order {i}", input=f"=text {i}", segment="s"
        )
    assert monitor.flush(10)
    file = tmp_path / "out.csv"
    done = command(tmp_path, "export", "-o", str(file), "--limit", "15")
    assert (done.returncode, done.stdout) == (0, f"{file}: 15 samples without a label, 5 more wait\n"), done.stderr
    rows = list(csv.DictReader(io.StringIO(file.read_text(), newline="")))
    for row in rows[:10]:
        row["true_label"], row["reviewer"] = "'=b", "ann"
    rows[10]["true_label"] = "nonsense"
    rows.append({**rows[0], "request_id": "f" * 32})
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = command(tmp_path, "import", str(file))
    assert done.returncode == 1
    assert done.stdout == f"{file}: matched 10, unknown_id 1\n"
    assert "true_label is 'nonsense'; expected one of a, =b" in done.stderr
    again = command(tmp_path, "import", str(file))
    assert again.stdout == f"{file}: duplicate 10, unknown_id 1\n"
    assert monitor.flush(10)
    right = [line for line in monitor.metrics().decode().splitlines() if line.startswith("ml_labels_total{")]
    assert {line.split(",", 2)[2]: line for line in right}.keys() == {
        'segment="s",outcome="wrong"} 5', 'segment="s",outcome="correct"} 5',
    }  # fmt: skip
    monitor.close()


def test_commands_say_what_to_do(tmp_path):
    """No store, no such ending, no such folder: a line, and exit code 2."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG)
    for output, words in (("x.txt", "expected .json or .csv"), ("no/such/x.csv", "cannot be written")):
        done = command(tmp_path, "export", "-o", str(tmp_path / output))
        assert (done.returncode, words in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
    (tmp_path / "modelwatch.yaml").write_text(CONFIG.replace("store:", "# store:"))
    for arguments in (("export", "-o", str(tmp_path / "x.csv")), ("import", str(tmp_path / "modelwatch.yaml"))):
        done = command(tmp_path, *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
