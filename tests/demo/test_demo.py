"""The demo as a user runs it: a real service, real traffic, and a summary that compares the two."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelwatch.demo.incidents import FAULTS, NOTHING, SCRIPTS
from modelwatch.demo.model import language_of, predict
from modelwatch.demo.run import Summary, program
from modelwatch.demo.run import free_port as demo_port
from modelwatch.demo.traffic import DAY_S, RATE, Sent, rate_at, read_other_texts, read_texts
from modelwatch.errors import ModelwatchError
from support import free_port, require

MODELWATCH = [sys.executable, "-m", "modelwatch"]


def run(*arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command of ours."""
    return subprocess.run([*MODELWATCH, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)


def get(url: str) -> str:
    """Read a page."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read(), "utf-8")


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """The demo for eight seconds, with errors from the first second on."""
    data = tmp_path_factory.mktemp("demo")
    return run("demo", "--port", "0", "--seconds", "8", "--data", data), data


def test_bounded_run_counts_exactly_what_was_sent(bounded: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """A bounded run ends by itself with exit 0, about 50 requests a second, every one of them counted."""
    done, _ = bounded
    assert done.returncode == 0, done.stdout + done.stderr
    sent = re.search(r"sent +([\d,]+) requests", done.stdout)
    counted = re.search(r"counted +([\d,]+) by /metrics on /predict: exactly what was sent", done.stdout)
    assert sent and counted, done.stdout
    assert sent[1] == counted[1]
    assert 200 <= int(sent[1].replace(",", "")) <= 800
    assert not done.stderr, done.stderr


def test_status_shows_what_the_demo_counted(bounded: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """`modelwatch status` reads the file of the demo: the same total, no internal error, no worker left, none died."""
    done, data = bounded
    shown = run("status", "--live", data / "live.db", "--json")
    assert shown.returncode == 0, shown.stderr
    state = json.loads(shown.stdout)
    assert state["workers"] == {"alive": 0, "died": 0}
    (model,) = state["models"]
    sent = re.search(r"sent +([\d,]+) requests", done.stdout)
    assert sent
    assert model["details"]["requests"] == int(sent[1].replace(",", ""))
    assert model["details"]["internal_errors"] == 0
    assert model["details"]["refused"] == 0
    shares = [r["value"] for r in model["readings"] if r["signal"] == "prediction_share"]
    assert len(shares) == 3
    assert sum(shares) == pytest.approx(1)
    text = run("status", "--live", data / "live.db").stdout
    assert "Request rate" in text
    assert "nan" not in text.lower()


def test_running_demo_serves_page_api_and_metrics_and_ends_on_interrupt(tmp_path: Path) -> None:
    """While it runs, /, /api/status and /metrics answer and agree; Ctrl-C ends it with the summary; watching is not counted."""
    port = free_port()
    demo = subprocess.Popen(
        [*MODELWATCH, "demo", "--port", str(port), "--data", str(tmp_path), "--incident", "latency"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        assert demo.stdout is not None
        while "Ctrl-C" not in (line := demo.stdout.readline()):
            assert line, "the demo ended"
        time.sleep(3)
        page, url = get(f"http://127.0.0.1:{port}/"), f"http://127.0.0.1:{port}"
        assert "sentiment_classifier" in page
        status = json.loads(get(f"{url}/api/status"))
        assert status["workers"]["alive"] == 2
        assert "latency" in status["notes"][0]
        metrics = get(f"{url}/metrics")
        endpoints = {
            sample.labels["endpoint"]
            for family in text_string_to_metric_families(metrics)
            for sample in family.samples
            if sample.name == "ml_requests_total" and sample.value
        }
        assert endpoints == {"/predict"}
        check = subprocess.run([require("promtool"), "check", "metrics"], input=metrics, capture_output=True, text=True)
        assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
        demo.send_signal(signal.SIGINT)
        out, _ = demo.communicate(timeout=20)
    finally:
        demo.kill()
    assert "exactly what was sent" in out, out
    assert demo.returncode == 0


def test_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """A taken port names the port and what to do, exit 2, no traceback."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("demo", "--port", str(port), "--seconds", "1")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(port) in done.stderr
    assert "--port" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--incident", "flood"],
            "expected one of none, errors, latency, drift, accuracy, outage, slow-burn, traffic-stop, failing-outage, tour",
        ),
        (["--texts", "missing.csv"], "cannot be read"),
        (["--port", "70000"], "0 to 65535"),
        (["--alerting", "alerting.yml"], "Add --stack, or leave it out."),
        (["--log", f"{__file__}/demo.jsonl"], "expected a file that can be written (Not a directory)"),
    ],
)
def test_wrong_options_are_one_clear_line(arguments: list[str], words: str) -> None:
    """Every wrong option is one line with what was expected, exit 2."""
    done = run("demo", "--seconds", "1", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_own_texts(tmp_path: Path) -> None:
    """A CSV of the user's own is read with its quotes and line breaks; a missing column and an empty file are said."""
    good = tmp_path / "good.csv"
    good.write_text('text,label,category\n"fine,\nreally\u2028fine",positive,books\n', encoding="utf-8")
    assert read_texts(good) == [("fine,\nreally\u2028fine", "positive", "books")]
    bad = tmp_path / "bad.csv"
    bad.write_text("text,label\nx,y\n")
    with pytest.raises(ModelwatchError, match=r"expected text, label, category\. Add \['category'\]"):
        read_texts(bad)
    bad.write_text("text,label,category\n")
    with pytest.raises(ModelwatchError, match="has no rows"):
        read_texts(bad)


def test_traffic_has_a_daily_rhythm() -> None:
    """The rate swings around its average over the demo's day and is never zero."""
    rates = [rate_at(second) for second in range(int(DAY_S))]
    assert sum(rates) / len(rates) == pytest.approx(RATE, rel=0.01)
    assert min(rates) > 0.5 * RATE
    assert max(rates) > 1.2 * RATE


def test_incidents_begin_end_and_come_again() -> None:
    """An incident is on for its length in every period, and says so."""
    script = SCRIPTS["errors"]
    assert script.at(script.first_s - 1) is NOTHING
    assert script.at(script.first_s).name == "errors"
    assert script.at(script.first_s + script.lasts_s) is NOTHING
    assert script.at(script.first_s + script.every_s).name == "errors"
    assert "is on" in (script.note(script.first_s) or "")
    assert "No incident now" in (script.note(0) or "")
    assert SCRIPTS["none"].note(0) is None


def test_tour_runs_through_every_incident() -> None:
    """The tour has every fault once, in turn, with a rest between them; the outage takes the service down and up again."""
    tour = SCRIPTS["tour"]
    seen = [tour.at(second) for second in range(int(tour.first_s + len(FAULTS) * tour.every_s))]
    assert [one.name for one in dict.fromkeys(seen) if one is not NOTHING] == [fault.name for fault in FAULTS]
    begin = tour.first_s + [fault.name for fault in FAULTS].index("outage") * tour.every_s
    assert not tour.is_down(begin)
    assert tour.is_down(begin + tour.lasts_s / 2)
    assert not tour.is_down(begin + tour.lasts_s)


def test_incident_traffic_has_its_own_texts() -> None:
    """The drift and accuracy incidents have reviews of their own kinds, with true labels."""
    for fault in FAULTS:
        texts = read_other_texts(fault.kinds)
        assert bool(texts) == bool(fault.share)
        assert {text.label for text in texts} <= {"negative", "neutral", "positive"}


def test_model_answers_in_its_classes_with_a_confidence() -> None:
    """The model knows a good from a bad review, its confidence is 0.5 to 1, its features are those of the configuration."""
    good, bad = predict("I love it, it is wonderful!"), predict("Terrible. I hate it.")
    assert (good.label, bad.label) == ("positive", "negative")
    for answer in (good, bad, predict("It is a box.")):
        assert 0.5 <= answer.confidence <= 1
        assert set(answer.features) == {"text_length", "exclamations", "sentiment_score", "language"}
    assert [language_of(t) for t in ("das ist nicht gut", "la caja es muy bonita", "it is the box", "xyz")] == [
        "de",
        "es",
        "en",
        "other",
    ]


def test_summary_says_when_counts_differ() -> None:
    """A summary of differing counts says NOT, and is not exact."""
    sent = Sent(sent=10, answers=Counter({"200": 10}))
    assert not Summary(sent, 9, 1.0).is_exact
    assert "NOT what was sent" in Summary(sent, 9, 1.0).lines()[3]
    assert "no answer" in Summary(sent, None, 1.0).lines()[3]


def test_the_command_that_it_names_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that has not activated the environment is told the path; one that has, the name."""
    here = Path(sys.executable).with_name("modelwatch")
    monkeypatch.setenv("PATH", "/usr/bin")
    assert Path(program()).absolute() == here
    monkeypatch.setenv("PATH", str(here.parent))
    assert program() == "modelwatch"


def test_free_port_zero_is_a_real_port() -> None:
    """Port 0 becomes a port that can be listened on."""
    assert demo_port(0) > 1023
