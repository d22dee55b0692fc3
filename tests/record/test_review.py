"""Ground truth through the monitor: what is kept, what a label becomes, and what is counted of both."""

from __future__ import annotations

import functools
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import modelwatch
from counting import query
from hostile import CORPUS
from modelwatch.errors import ConfigError, StoreUnavailable, UnknownLabel
from modelwatch.groundtruth.ids import LENGTH
from modelwatch.groundtruth.sampling import chance
from modelwatch.record.monitor import Monitor
from modelwatch.record.review import raw_id
from modelwatch.record.shown import shown
from modelwatch.testing import StuckStore

CONFIG = """
service: {{name: api}}
models:
  m:
    version: "{version}"
    task: {task}
    {classes}
    ground_truth: {{sampling_rate: {rate}, strategy: {strategy}{more}}}
store: sqlite:///truth.db
live: live.db
"""


def write(folder: Path, rate=1.0, strategy="uniform", version="1", task="classification", more=""):
    """Return the path of a configuration with a store."""
    classes = "classes: [a, b]" if task == "classification" else ""
    path = folder / "modelwatch.yaml"
    path.write_text(CONFIG.format(rate=rate, strategy=strategy, version=version, task=task, classes=classes, more=more))
    return path


@pytest.fixture
def make(tmp_path):
    """Make monitors that are closed in the end."""
    made = []

    def one(**settings):
        monitor = Monitor.from_config(write(tmp_path, **settings))
        made.append(monitor)
        return monitor

    yield one
    for monitor in made:
        monitor.close()


def counts(monitor, metric):
    """Return {labels: value} of a metric, without the names of the model."""
    assert monitor.flush(10)
    found = {}
    for line in monitor.metrics().decode().splitlines():
        if line.startswith(metric + "{"):
            labels = re.findall(r'(\w+)="([^"]*)"', line)
            found[tuple(value for name, value in labels if not name.startswith("model_"))] = float(line.split()[-1])
    return found


def answer(monitor, prediction="a", segment=None, confidence=0.9):
    """Answer one request; return its id as handed out."""
    with monitor.request("/predict", segment=segment) as request:
        request.predicted(prediction, confidence=confidence, input="a text", features={"length": 6})
    return request.id


def test_labels_are_counted_by_segment_and_outcome(make):
    """The first label of each prediction counts, once, whatever comes afterwards."""
    monitor = make()
    ids = [answer(monitor, "a", segment) for segment in ("books", "books", "toys", None)]
    assert [monitor.label(i, label) for i, label in zip(ids, ["a", "b", "a", "a"])] == ["matched"] * 4
    assert monitor.label(ids[0], "a", reviewer="ann") == "duplicate"
    assert monitor.label(ids[0], "b", reviewer="ann") == "conflict"
    assert counts(monitor, "ml_labels_total") == {
        ("books", "correct"): 1, ("books", "wrong"): 1, ("toys", "correct"): 1, ("__none__", "correct"): 1,
    }  # fmt: skip
    assert counts(monitor, "ml_labels_by_inclusion_total") == {("1", "correct"): 3, ("1", "wrong"): 1}
    assert counts(monitor, "modelwatch_labels_total") == {
        ("matched",): 4, ("duplicate",): 1, ("conflict",): 1, ("late",): 0, ("not_sampled",): 0, ("unknown_id",): 0,
    }  # fmt: skip
    assert counts(monitor, "modelwatch_samples_total") == {(): 4}


def test_what_is_kept_is_what_the_id_says(make):
    """Of 400 requests those are kept whose hash is below the rate; the others are not_sampled."""
    monitor = make(rate=0.3)
    ids = [answer(monitor) for _ in range(400)]
    expected = {i for i in ids if chance(raw_id(i)) < 0.3}
    assert counts(monitor, "modelwatch_samples_total") == {(): len(expected)}
    states = {i: monitor.label(i, "a") for i in ids}
    assert {i for i, state in states.items() if state == "matched"} == expected
    assert set(states.values()) == {"matched", "not_sampled"}


def test_an_early_label_is_joined(make, tmp_path):
    """A label that comes while its sample cannot be written counts as soon as both are there."""
    monitor = make()
    monitor.review.writer.flush(5)
    signed = monitor.review.sign("ab" * 16)
    assert monitor.label(signed, "b", reviewer="ann") == "matched"
    assert counts(monitor, "ml_labels_total") == {}
    monitor.record("/predict", 0.1, "a", 0.9, request_id=signed)
    assert counts(monitor, "ml_labels_total") == {("__none__", "wrong"): 1}


def test_ids_of_nobody_move_no_number(make):
    """A hundred made-up ids, signed by somebody else or not at all, change nothing but their own count."""
    monitor = make()
    known = answer(monitor)
    assert monitor.label(known, "a") == "matched"
    made_up = [random.Random(k).randbytes(36).hex() for k in range(50)] + [
        random.Random(k).randbytes(16).hex() for k in range(50)
    ]
    assert len(made_up[0]) == LENGTH
    assert {monitor.label(i, "b", trusted=False) for i in made_up} == {"unknown_id"}
    assert {monitor.label(i, "b") for i in made_up[:3] + made_up[-3:]} == {"unknown_id"}
    assert counts(monitor, "ml_labels_total") == {("__none__", "correct"): 1}
    assert counts(monitor, "modelwatch_labels_total")["unknown_id",] == 106


def test_an_id_of_the_services_own(make):
    """`record` takes any id; a label finds it at once, also right after the call, but not from outside."""
    monitor = make()
    monitor.record("/predict", 0.1, "a", 0.5, request_id="order 17")
    assert monitor.label("order 17", "a") == "matched"
    assert monitor.label("order 18", "a") == "unknown_id"
    assert monitor.label("order 17", "a", trusted=False) == "unknown_id"
    monitor.record("/predict", 0.1, "a", 0.5)
    monitor.record("/predict", 0.1, "a", 0.5, error="ValueError", request_id="failed")
    assert counts(monitor, "modelwatch_samples_total") == {(): 1}


def test_a_label_counts_for_the_version_that_answered(make):
    """After a deploy, labels of the old version's answers are about the old version."""
    old = make(version="1")
    request = answer(old, "a", "books")
    old.flush(10)
    new = make(version="2")
    assert new.label(request, "b") == "matched"
    new.flush(10)
    lines = [line for line in new.metrics().decode().splitlines() if line.startswith("ml_labels_total{")]
    assert lines == ['ml_labels_total{model_name="m",model_version="1",segment="books",outcome="wrong"} 1']


TWO_MODELS = """
service: {name: api}
models:
  first: {version: "1", task: classification, classes: [a, b], features: {x: numeric}, ground_truth: {sampling_rate: 1}}
  other: {version: "1", task: classification, classes: [a, c], features: {y: numeric}, ground_truth: {sampling_rate: 1}}
store: sqlite:///truth.db
"""


def labelled(monitor):
    """Return {(model, outcome): labels} of the page."""
    assert monitor.flush(10)
    page = monitor.metrics().decode()
    found = re.findall(r'^ml_labels_total\{model_name="(\w+)".*outcome="(\w+)"\} (\d+)', page, re.MULTILINE)
    return {(model, outcome): int(n) for model, outcome, n in found}


def test_a_label_of_another_model_of_the_process(tmp_path):
    """It is judged by the classes of the model that answered, and counted for it."""
    (tmp_path / "modelwatch.yaml").write_text(TWO_MODELS)
    first, other = (Monitor.from_config(tmp_path / "modelwatch.yaml", name) for name in ("first", "other"))
    ids = [answer(other) for _ in range(3)]
    assert other.flush(10)
    assert first.label(ids[0], "c", trusted=False) == "matched"
    assert first.label(ids[1], "a", trusted=False) == "matched"
    with pytest.raises(UnknownLabel, match="expected one of a, c"):
        first.label(ids[2], "b", trusted=False)
    assert labelled(other) == {("other", "correct"): 1, ("other", "wrong"): 1}
    first.close()
    other.close()


def test_a_label_of_a_model_of_another_process(tmp_path):
    """It is of no request of this service; nothing is written of the other model."""
    (tmp_path / "modelwatch.yaml").write_text(TWO_MODELS)
    code = (
        "import sys; from modelwatch import Monitor\n"
        f"m = Monitor.from_config({str(tmp_path / 'modelwatch.yaml')!r}, 'other')\n"
        "r = m.request('/p'); r.__enter__(); r.predicted('a'); r.__exit__(None, None, None); print(r.id); m.close()"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    first = Monitor.from_config(tmp_path / "modelwatch.yaml", "first")
    schemas = "SELECT * FROM models WHERE model = 'other'"
    before = query(tmp_path / "live.db", schemas)
    assert first.label(made, "a", trusted=False) == "unknown_id"
    assert labelled(first) == {}
    assert query(tmp_path / "live.db", schemas) == before
    assert len(before) == 1
    assert first.review.writer.store.rows("other").labels.tolist() == []
    first.close()


def test_a_label_of_an_earlier_version_leaves_its_edges(tmp_path):
    """What the version has counted stays comparable: its schema in live.db is not that of the next version."""
    config, live = tmp_path / "modelwatch.yaml", tmp_path / "live.db"
    config.write_text(TWO_MODELS)
    code = (
        "import sys; from modelwatch import Monitor\n"
        f"m = Monitor.from_config({str(config)!r}, 'first')\n"
        "r = m.request('/p'); r.__enter__(); r.predicted('a', features={'x': 1.5}); r.__exit__(None, None, None)\n"
        "print(r.id); m.close()"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    config.write_text(
        TWO_MODELS.replace('first: {version: "1"', 'first: {version: "2"').replace("x: numeric", "z: numeric")
    )
    old = "SELECT schema, revision FROM models WHERE model = 'first' AND version = '1'"
    before = query(live, old)
    new = Monitor.from_config(config, "first")
    assert new.label(made, "b") == "matched"
    assert labelled(new) == {("first", "wrong"): 1}
    assert query(live, old) == before
    assert len(before) == 1
    assert b'ml_feature_value_count{model_name="first",model_version="1",feature_name="x"} 1' in new.metrics()
    new.close()


def test_two_versions_in_one_process_count_an_early_label_once(tmp_path):
    """The label that waited for its prediction is counted by the review that made the prediction."""
    config = write(tmp_path)
    one = Monitor.from_config(config)
    two = Monitor.from_config(write(tmp_path, version="2"))
    signed = one.review.sign("ab" * 16)
    assert one.label(signed, "b") == "matched"
    one.record("/predict", 0.1, "a", 0.9, request_id=signed)
    assert labelled(one) == {("m", "wrong"): 1}
    one.close()
    two.close()


def test_a_store_that_comes_back_signs_ids(make, tmp_path):
    """A service begins without its store: ids are plain and labels refused; once it is there, neither is."""
    (tmp_path / "truth.db").mkdir()
    monitor = make()
    first = answer(monitor)
    assert len(first) == 32
    with pytest.raises(StoreUnavailable):
        monitor.label("0" * LENGTH, "a", trusted=False)
    (tmp_path / "truth.db").rmdir()
    deadline = time.monotonic() + 30
    while len(signed := answer(monitor)) != LENGTH and time.monotonic() < deadline:
        time.sleep(0.05)
    assert monitor.label(signed, "a", trusted=False) == "matched"
    assert monitor.label(first, "a") == "matched"  # it was kept, too


def test_a_secret_signs_for_every_store_that_has_it(make, tmp_path, monkeypatch):
    """One that is long enough; a short one is refused when the service begins."""
    monkeypatch.setenv("MODELWATCH_SECRET", "sixteen letters.")
    signed = answer(make())
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere = Monitor.from_config(write(folder))
    assert elsewhere.review.signer.verify(signed).request_id == signed[:32]
    elsewhere.close()
    monkeypatch.setenv("MODELWATCH_SECRET", "fifteen letters")
    (tmp_path / "short").mkdir()
    with pytest.raises(ConfigError, match="MODELWATCH_SECRET: length is 15; expected at least 16"):
        Monitor.from_config(write(tmp_path / "short"))


def test_hostile_labels_raise_what_is_documented(make):
    """Any value in any place of a label is refused, taken as none, or of nobody: never another exception."""
    monitor = make(rate=0.5)
    known = answer(monitor)
    for case in CORPUS:
        for place in ("request_id", "true_label", "reviewer", "at", "note"):
            arguments = {"request_id": known, "true_label": "a", place: case.make()}
            try:
                monitor.label(**arguments)
            except UnknownLabel as error:
                assert place == "true_label"
                assert len(str(error)) < 300


def test_one_of_two_monitors_is_closed(tmp_path):
    """The other one's ids are signed as before, and those of one that is opened again."""
    config = write(tmp_path)
    one, two = Monitor.from_config(config), Monitor.from_config(config)

    def handed_out(monitor):
        return monitor.endpoint("/p")(lambda: modelwatch.current_request().id)()

    one.close()
    assert len(handed_out(two)) == LENGTH
    two.close()
    assert len(handed_out(two)) == 32
    again = Monitor.from_config(config)
    assert len(handed_out(again)) == LENGTH
    again.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.parametrize("first", [True, False])
def test_a_fork_with_a_store(make, tmp_path, first):
    """As gunicorn --preload does, before the first request and after it: children and parent answer and take labels."""
    code = (
        "import os, sys; from modelwatch import Monitor\n"
        f"m = Monitor.from_config({str(write(tmp_path))!r})\n"
        "def one():\n"
        "    with m.request('/p') as r: r.predicted('a')\n"
        "    return m.label(r.id, 'a', trusted=False)\n"
        f"states = [one()] if {first} else []\n"
        "for _ in range(2):\n"
        "    child = os.fork()\n"
        "    if not child: os._exit(0 if one() == 'matched' and m.flush(10) else 1)\n"
        "    states.append(os.waitpid(child, 0)[1])\n"
        "print([*states, one()]); m.close()"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str([*["matched"] * first, 0, 0, "matched"]), done.stderr
    assert counts(make(), "ml_labels_total") == {("__none__", "correct"): 3 + first}


@pytest.mark.parametrize("label", ["c", "", None, object(), float("nan"), "\ud800"])
def test_a_label_that_is_no_class(make, label):
    """Refused, with the classes in the message."""
    monitor = make()
    with pytest.raises(UnknownLabel, match="expected one of a, b"):
        monitor.label(answer(monitor), label)


def test_a_regression_takes_numbers(make):
    """A true value is stored; it is neither right nor wrong."""
    monitor = make(task="regression")
    request = answer(monitor, 1.5)
    assert monitor.label(request, 2) == "matched"
    assert monitor.label(request, 2.0, reviewer="ann") == "duplicate"
    with pytest.raises(UnknownLabel, match="finite number"):
        monitor.label(request, "much")
    assert counts(monitor, "ml_labels_total") == {}
    rows = monitor.review.writer.store.rows("m")
    assert (rows.predictions.tolist(), rows.labels.tolist()) == ([1.5], [2.0])


def test_hostile_values_are_kept_or_left_out(make):
    """No value in any place of a request that is to be reviewed raises, and the good one beside them is kept."""
    monitor = make()
    for i, case in enumerate(CORPUS):
        value = case.make()
        for given in ({"prediction": value}, {"confidence": value}, {"segment": value}, {"features": {"x": value}},
                      {"features": value}, {"input": value}, {"endpoint": value}):  # fmt: skip
            arguments = {"endpoint": "/p", "prediction": "a", "request_id": f"{i} {next(iter(given))}", **given}
            monitor.record(**arguments)
    monitor.record("/p", prediction="a", request_id="good")
    assert monitor.label("good", "a") == "matched"
    assert counts(monitor, "modelwatch_internal_errors_total").get(("review",), 0) == 0


def test_without_a_store_there_are_no_labels(tmp_path):
    """The error says what to write; ids are plain."""
    monitor = Monitor("m", live=tmp_path / "live.db")
    with monitor.request("/predict") as request:
        request.predicted("a")
    assert len(request.id) == 32
    with pytest.raises(StoreUnavailable, match="Write store: sqlite"):
        monitor.label(request.id, "a")
    monitor.close()


def test_a_store_that_is_locked(make, tmp_path):
    """Requests go on and are counted; labels are refused until the store is free again, and then nothing is missing."""
    monitor = make()
    first = answer(monitor)
    assert monitor.label(first, "a") == "matched"
    with StuckStore(tmp_path / "truth.db"):
        ids = [answer(monitor) for _ in range(50)]
        with pytest.raises(StoreUnavailable):
            monitor.label(ids[0], "a")
    states = [monitor.label(i, "a") for i in ids]
    assert states[0] in ("matched", "duplicate")  # whoever was refused may send it again
    assert states[1:] == ["matched"] * 49
    assert counts(monitor, "ml_labels_total") == {("__none__", "correct"): 51}


def test_a_label_whose_caller_has_gone_away(make, monkeypatch):
    """It is stored a moment too late: nobody was told, and it counts all the same, once."""
    monitor = make()
    request = answer(monitor)
    assert monitor.flush(5)
    writer, go_on = monitor.review.writer, threading.Event()
    write = writer.store.label_many

    def slowly(labels):
        assert go_on.wait(20)
        return write(labels)

    monkeypatch.setattr(writer.store, "label_many", slowly)
    monkeypatch.setattr(writer, "label_many", functools.partial(writer.label_many, timeout_s=0.05))
    with pytest.raises(StoreUnavailable, match="perhaps taken"):
        monitor.label(request, "a")
    go_on.set()
    assert counts(monitor, "ml_labels_total") == {("__none__", "correct"): 1}
    monkeypatch.undo()
    assert monitor.label(request, "a") == "duplicate"
    assert counts(monitor, "ml_labels_total") == {("__none__", "correct"): 1}


def test_a_prediction_here_and_its_label_there(make, tmp_path):
    """Another process with the same configuration takes the label and knows the signature."""
    monitor = make()
    ids = [answer(monitor) for _ in range(5)]
    monitor.flush(10)
    code = (
        "import sys; from modelwatch import Monitor\n"
        f"m = Monitor.from_config({str(tmp_path / 'modelwatch.yaml')!r})\n"
        "print([m.label(i, 'a', trusted=False) for i in sys.argv[1:]]); m.close()"
    )
    found = subprocess.run([sys.executable, "-c", code, *ids], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(["matched"] * 5)
    assert counts(monitor, "ml_labels_total") == {("__none__", "correct"): 5}


def test_strata_follow_the_labels(make):
    """Where the model is often wrong more is kept, an hour after the labels say so; the average rate stays."""
    monitor = make(strategy="stratified", rate=0.5)
    review = monitor.review
    now = [1_700_000_000.0]
    review.clock = review.writer.store.clock = lambda: now[0]
    assert review.design.levels == (0.5,)
    for i in range(300):
        confidence, label = (0.6, "ab"[i % 2]) if i < 150 else (0.99, "a")
        signed = review.sign(f"{i:032x}")
        monitor.record("/p", prediction="a", confidence=confidence, request_id=signed)
        if chance(f"{i:032x}") < 0.5:
            assert monitor.flush(5)
            assert monitor.label(signed, label) == "matched"
    now[0] += 3601
    review.adapt()
    unsure, sure = review.design.of("a", 0.6, None), review.design.of("a", 0.99, None)
    assert unsure > 0.5 > sure > 0.1
    assert 0.4 < (unsure + sure) / 2 < 0.6


def test_a_budget_is_kept(make):
    """Of 100 samples a week the rate is halved until they last, and then none is kept until Monday."""
    monitor = make(more=", weekly_budget: 100")
    review = monitor.review
    monday = 1_700_438_400.0  # 2023-11-20 00:00 UTC
    now = [monday + 3600.0]
    review.clock = review.writer.store.clock = lambda: now[0]
    monitor.flush(5)
    for i in range(50):
        monitor.record("/p", prediction="a", request_id=f"request {i}")
    monitor.flush(5)
    review.adapt()  # 50 in the first hour: 167 hours are to come, and 50 are left
    assert review.design.levels == (0.5**8,)
    now[0] += 600
    for i in range(50):
        review.design = review._full
        monitor.record("/p", prediction="a", request_id=f"more {i}")
    monitor.flush(5)
    review.adapt()
    assert review.design.most == 0
    monitor.record("/p", prediction="a", request_id="too much")
    monitor.flush(5)
    assert len(review.writer.store.rows("m", unlabelled=True)) == 100
    now[0] = monday + 7 * 86_400 + 1
    review.adapt()
    assert review.design.levels == (1.0,)


def test_many_threads_label_the_same(make):
    """Eight threads with the same label of the same requests: each prediction counts once."""
    monitor = make()
    ids, states = [answer(monitor) for _ in range(20)], []

    def label():
        states.extend(monitor.label(i, "a", reviewer="ann") for i in ids)

    threads = [threading.Thread(target=label) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (states.count("matched"), states.count("duplicate")) == (20, 140)
    assert counts(monitor, "ml_labels_total") == {("__none__", "correct"): 20}


def test_the_id_of_a_watched_function_is_signed(make):
    """`current_request().id` in a watched function is the id that feedback takes."""
    monitor = make()

    @monitor.endpoint("/predict")
    def predict(text):
        return {"label": "a", "confidence": 0.9, "id": modelwatch.current_request().id}

    assert monitor.label(predict("x")["id"], "b", trusted=False) == "matched"


def test_what_a_reviewer_is_shown_is_bounded():
    """Text and JSON are cut at 16 384 characters, and only values of plain types are asked for anything."""
    loop = []
    loop.append(loop)
    assert shown("x" * 20_000) == "x" * 16_384
    assert len(shown({"a": list(range(1_000_000))})) == 16_384
    assert shown({"é": [1, None, 2.5, True]}) == '{"é": [1, null, 2.5, true]}'
    assert shown({1: 2, "big": 10**400, "wide": 2**70, "row": (b"x", {"y": object()})}) == (
        '{"big": "<int>", "wide": 1.1805916207174113e+21, "row": ["<bytes>", {"y": "<object>"}]}'
    )
    assert shown(loop) == "[" * 20 + '"<list>"' + "]" * 20
    assert shown(None) is None
