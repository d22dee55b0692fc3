"""The page on modelwatch itself: every count has its words, what is unknown is no 0, hostile text is text, and it obeys its policy."""

from __future__ import annotations

import copy
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from modelwatch import Monitor
from modelwatch.errors import ModelwatchError
from modelwatch.server import itself as page
from modelwatch.server.itself import COUNTS, Line, itself
from modelwatch.server.pages import health_fragments, monitor_fragments, monitor_page
from modelwatch.server.web import pages_app
from modelwatch.sources.itself import COUNTED
from modelwatch.sources.status import StatusSource
from server.test_browser import SHIFTS, Eyes, Source, size
from server.test_pages import HOSTILE, Client, Reader, served, told

Sample = Callable[..., dict[str, Any]]
Serve = Callable[[ASGIApp], str]


def lines(status: dict[str, Any]) -> dict[str, Line]:
    """Return every line of the page by its name."""
    found = itself(status)
    return {line.name: line for line in (*found.counted, *found.kept, *found.used)}


# ---- words


def test_healthy_says_what_it_rests_on(sample: Sample) -> None:
    """All is well: the verdict has the numbers, and every judged line is OK."""
    found = itself(sample())
    assert (found.verdict.word, found.verdict.clause) == ("Healthy", "modelwatch itself is well")
    assert "179,280 events were counted in the last hour, 4,302,720 in 24" in found.verdict.evidence
    assert {line.chip for line in (*found.counted, *found.kept)} == {"OK"}
    assert {line.chip for line in found.used} == {""}


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("Events given up", "warn", ["These requests are in no number", "__str__"]),
        ("Internal errors", "warn", ["the service was not disturbed", "modelwatch: internal fault", "By place: live"]),
        ("Buffer full", "info", ["None in the last hour.", "Nothing is lost", "Run more workers"]),
        ("Values refused", "info", ["its request counts", "feature nan 1,203, duration range 203, and 2 more."]),
        ("Labels over their cap", "info", ["__other__", "max_label_values", "ml_requests_total endpoint 9"]),
        ("Samples dropped", "ok", ["Every prediction chosen for review was kept."]),
        ("Damage", "info", ["Damaged rows are in no count", "Check the disk"]),
        ("GPU 0", "none", ["NVIDIA H100, 3.00 GiB of 80.0 GiB memory, 41 °C, 70 W."]),
    ],
)
def test_each_fault_says_what_it_means_and_what_to_do(sample: Sample, name: str, state: str, words: list[str]) -> None:
    """Plain words, the numbers in them, and the next step."""
    line = lines(sample("degraded"))[name]
    assert line.state == state
    said = line.said.replace("\N{NO-BREAK SPACE}", " ")
    assert [word for word in words if word not in said] == []


def test_every_count_of_ourselves_is_on_the_page() -> None:
    """What the source counts and what the page tells are the same set."""
    assert {count.key for count in COUNTS} | {"events"} == set(COUNTED)


def test_the_verdict_names_what_is_wrong_and_points_there(sample: Sample) -> None:
    """Warnings win; one alone is told in full, several with their figures."""
    status = sample("degraded")
    many = itself(status).verdict
    assert (many.word, many.clause) == ("Degraded", "look at events given up and internal errors")
    assert many.evidence.startswith("Events given up: 12. Internal errors: 3.")
    status["monitor"]["counts"]["abandoned"] = {"hour": 0, "day": 0, "rows": [], "more": 0}
    one = itself(status).verdict
    assert one.clause == "look at internal errors"
    assert "the service was not disturbed" in one.evidence


def test_what_is_over_is_no_warning(sample: Sample) -> None:
    """An error of this morning is shown as such, and the verdict is about now."""
    status = sample()
    status["monitor"]["counts"]["internal_errors"] = {"hour": 0, "day": 5, "rows": [[["fold"], 0, 5]], "more": 0}
    line = lines(status)["Internal errors"]
    assert (line.state, line.value, line.day) == ("info", "0", "5")
    assert line.said.startswith("None in the last hour.")
    said = itself(status).verdict
    assert said.word == "Healthy"
    assert "Worth a look: internal errors." in said.evidence


# ---- cannot tell


def test_counts_that_cannot_be_read_are_no_zeros(sample: Sample) -> None:
    """A file that cannot be read: dashes and "Cannot tell", the reason, and no line that claims to be fine."""
    status = sample(live={"path": "live.db", "kept": False, "reason": "disk I/O error"}, data_age_s=None)
    status["monitor"] |= {"counts": None, "since": None, "damaged_rows": None, "process": {}, "used": {}}
    status["workers"] = {"alive": 0, "died": 0}
    found = itself(status)
    assert (found.verdict.word, found.verdict.clause) == ("Cannot tell", "the counts cannot be read")
    assert "disk I/O error" in found.verdict.evidence
    assert {(line.state, line.value, line.day) for line in found.counted} == {("unk", "–", "–")}
    assert [line.state for line in found.kept] == ["unk", "unk", "unk", "ok", "unk"]
    text = told(monitor_page(status))
    assert "0 0" not in text
    assert "live.db cannot be read: disk I/O error." in text


def test_silence_is_not_health(sample: Sample) -> None:
    """No worker and no event: cannot tell, although nothing is known to be wrong."""
    found = itself(sample("silent"))
    assert found.verdict.word == "Cannot tell"
    assert found.verdict.clause == "no answer on events counted, workers and newest data"
    held = lines(sample("silent"))
    assert held["Events counted"].value == "none"
    assert "Silence is not health" in held["Events counted"].said
    assert held["Processes"].said == "No worker reports, so nobody tells."


@pytest.mark.parametrize("monitor", [{}, None])
def test_a_status_without_its_own_state_cannot_tell(sample: Sample, monitor: Any) -> None:
    """A server of another version sends none of it: the page stands, and claims nothing."""
    status = sample(monitor=monitor)
    assert itself(status).verdict.word == "Cannot tell"
    assert "No GPU reports here" in told(monitor_page(status))


def test_what_nobody_tells_is_named_with_the_remedy(sample: Sample) -> None:
    """Without psutil there is one line that says what to install; a platform that hides one figure hides only that."""
    status = sample()
    status["monitor"]["process"] = {}
    line = lines(status)["Processes"]
    assert (line.value, line.chip) == ("–", "Not told")
    assert "modelwatch[server]" in line.said
    status["monitor"]["process"] = {"resident_bytes": 5e9}
    status["monitor"]["used"] = {}
    held = lines(status)
    assert held["Memory"].value.replace("\N{NO-BREAK SPACE}", " ") == "4.66 GiB"
    assert (held["CPU"].value, held["CPU"].said) == ("–", "This platform does not tell.")
    assert "Disk" not in held


def test_a_gpu_that_tells_little_is_shown_with_what_it_tells(sample: Sample) -> None:
    """A partitioned GPU has no utilization, which is not 0."""
    status = sample()
    status["monitor"]["gpus"] = [{"gpu": "3", "name": "A100", "temperature_celsius": float("nan")}]
    line = lines(status)["GPU 3"]
    assert (line.value, line.said) == ("not told", "A100.")


@pytest.mark.parametrize(
    ("changes", "name", "state", "word"),
    [
        ({"data_age_s": 45.0}, "Newest data", "unk", "cannot write its counts"),
        ({"workers": {"alive": 2, "died": 3}}, "Workers", "info", "3 workers have died since 22"),
        ({"workers": {"alive": 1, "died": 1}}, "Workers", "info", "1 worker has died"),
    ],
)
def test_keeping_has_its_limits(sample: Sample, changes: dict[str, Any], name: str, state: str, word: str) -> None:
    """Old data and dead workers are told."""
    line = lines(sample(**changes))[name]
    assert line.state == state
    assert word in line.said.replace("\N{NO-BREAK SPACE}", " ")


def test_a_disk_that_fills_up_is_a_warning_before_it_is_full(sample: Sample) -> None:
    """Below the limit it warns, with what would happen; an unknown disk cannot tell."""
    status = sample()
    status["monitor"]["file"]["free_bytes"] = page.LEAST_FREE - 1
    assert lines(status)["Free on its disk"].state == "warn"
    assert itself(status).verdict.clause == "look at free on its disk"
    status["monitor"]["file"]["free_bytes"] = None
    assert lines(status)["Free on its disk"].state == "unk"


# ---- the page


def test_the_state_is_the_same_on_both_pages(sample: Sample) -> None:
    """The card of the first page and the tab have the state of this page, with a way to it."""
    for state, word in (("healthy", "Yes"), ("degraded", "No"), ("silent", "Cannot tell")):
        parts = health_fragments(sample(state))
        assert f"Is the monitor itself well? {word}" in told(parts["monitor"]).replace("?Y", "? Y").replace(
            "?N", "? N"
        ).replace("?C", "? C")
        links = [held["href"] for tag, held in Reader(parts["monitor"]).tags if tag == "a"]
        assert links == ["/monitor"]
    assert "Monitor: Degraded" in told(health_fragments(sample("degraded"))["tabs"])
    assert "Monitor: Healthy" in told(health_fragments(sample())["tabs"])


def test_tabs_keep_the_model_and_the_mount(sample: Sample, sample_model: Sample) -> None:
    """Whoever looks at the second model comes back to it, also under another path."""
    status = sample(models=[sample_model("one"), sample_model("two & three")])
    parts = monitor_fragments(status, base="/watch", model="two & three")
    tabs = [held for tag, held in Reader(parts["tabs"]).tags if tag == "a"]
    paths = ["", "quality", "drift", "resources", "alerts", "slos", "review", "runbooks", "monitor", "settings"]
    assert [held["href"] for held in tabs] == [f"/watch/{path}?model=two%20%26%20three" for path in paths]
    assert [path for path, held in zip(paths, tabs, strict=True) if held.get("aria-current")] == ["monitor"]


def test_page_and_fragments_are_the_same_text(sample: Sample) -> None:
    """What the refresh brings is what a reload would show."""
    for state in ("healthy", "degraded", "silent"):
        html = monitor_page(sample(state))
        for name, part in monitor_fragments(sample(state)).items():
            assert part in html, name
        assert Reader(html).open == []


def test_hostile_text_is_text(sample: Sample) -> None:
    """Labels, places, paths, reasons and names of GPUs come from outside; none of them becomes a tag."""
    for evil in HOSTILE:
        status = sample("degraded")
        monitor = status["monitor"]
        for key in ("refused", "overflow", "internal_errors"):
            monitor["counts"][key]["rows"] = [[[evil, evil], 1, 1]]
        monitor["gpus"][0] |= {"name": evil, "gpu": evil}
        status["live"] = {"path": evil, "kept": False, "reason": evil}
        html = monitor_page(status)
        tags = {tag for tag, _ in Reader(html).tags}
        assert "img" not in tags
        assert html.count("<script") == 1
        assert not [held for _, held in Reader(html).tags if any(name.startswith("on") for name in held)]
        html.encode("utf-8", errors="replace")


def test_values_of_every_kind_are_told(sample: Sample) -> None:
    """None, NaN, text or infinities in any place of the state give a page, never "nan"."""

    def spoil(value: Any, with_what: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoil(held, with_what) for key, held in value.items()}
        if isinstance(value, list):
            return [spoil(held, with_what) if isinstance(held, dict) else held for held in value]
        return with_what

    for bad in (None, float("nan"), float("inf"), "text", -1, 10**400):
        status = copy.deepcopy(sample("degraded"))
        status["monitor"] = spoil(status["monitor"], bad)
        text = told(monitor_page(status)).lower().replace("feature nan", "")
        assert "nan " not in text
        assert "none 0" not in text


def test_the_application_serves_it(sample: Sample) -> None:
    """Page, fragments, JSON; an unknown model is a 404, a status that cannot be read a 503 that leads back here."""
    client = served(sample("degraded"))
    answer = client.get("/monitor")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Degraded · Monitor · modelwatch" in answer.text
    assert set(client.get("/fragments/monitor").json()) >= {"verdict", "counted", "kept", "used", "tabs"}
    assert client.get("/api/status").json()["monitor"]["counts"]["refused"]["rows"][0] == [
        ["feature", "nan"],
        200,
        1203,
    ]
    assert client.get("/monitor", model="no").status_code == 404
    assert client.get("/fragments/monitor", model="no").json()["error"]["code"] == "not_found"
    broken = served(ModelwatchError("live.db: is locked. Try again."))
    problem = broken.get("/monitor")
    assert problem.status_code == 503
    assert [held["href"] for tag, held in Reader(problem.text).tags if tag == "a" and "class" not in held] == [
        "/monitor"
    ]
    assert broken.get("/fragments/monitor").json()["error"]["code"] == "cannot_tell"


def test_it_works_under_a_mount_and_without_a_model(sample: Sample) -> None:
    """Before any model reports there already is a monitor; every address of the page works below its mount."""
    client = Client(Starlette(routes=[Mount("/watch", pages_app(lambda: sample(models=[])))]))
    html = client.get("/watch/monitor").text
    addresses = [v for _, held in Reader(html).tags for k, v in held.items() if k in {"href", "src", "data-refresh"}]
    local = [a for a in addresses if not a.startswith(("data:", "#"))]
    assert "/watch/fragments/monitor" in local
    assert all(client.get(a).status_code == 200 for a in local)


# ---- what a host really tells


def test_a_real_host_tells_of_itself(tmp_path: Path) -> None:
    """A monitor that was handed bad values and too many labels: the page has exactly these counts, sizes and figures."""
    pytest.importorskip("psutil", reason="psutil is not installed; pip install 'modelwatch[server]'")
    monitor = Monitor("real", "1", live=tmp_path / "live.db")
    for i in range(1_010):
        monitor.record(f"/{i}", duration=0.01)
    for bad in (float("nan"), "slow", -1):
        monitor.record("/0", duration=bad)
    assert monitor.flush(10)
    time.sleep(1.2)
    monitor.record("/0")
    assert monitor.flush(10)
    source = StatusSource(tmp_path / "live.db")
    try:
        state = source.read()["monitor"]
        status = source.read()
    finally:
        source.close()
        monitor.close()
    counts = state["counts"]
    assert counts["events"]["hour"] == counts["events"]["day"] == 1_014
    assert counts["overflow"]["rows"] == [[["ml_requests_total", "endpoint"], 10, 10]]
    refused = {tuple(labels): hour for labels, hour, _ in counts["refused"]["rows"]}
    assert refused == {("duration", "nan"): 1, ("duration", "type"): 1, ("duration", "range"): 1}
    assert counts["internal_errors"] == {"hour": 0, "day": 0, "rows": [], "more": 0}
    assert state["file"]["bytes"] > 10_000
    assert state["file"]["set_aside"] == 0
    assert state["process"]["resident_bytes"] > 1e7
    assert state["used"]["cpu_s"] > 0
    held = lines(status)
    assert (held["Values refused"].value, held["Labels over their cap"].value) == ("3", "10")
    assert itself(status).verdict.word == "Healthy"


def test_a_damaged_row_is_told_at_once(tmp_path: Path) -> None:
    """A row that cannot be read is named the moment it is read, and no count includes it."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    monitor.record("/p")
    assert monitor.flush(10)
    assert monitor.close()
    db = sqlite3.connect(tmp_path / "live.db")
    db.execute("UPDATE counts SET tally = x'00ff'")
    db.commit()
    db.close()
    source = StatusSource(tmp_path / "live.db")
    try:
        for _ in range(2):
            status = source.read()
            assert status["monitor"]["damaged_rows"] == 1
            assert status["monitor"]["counts"]["events"]["day"] == 0
        assert lines(status)["Damage"].value == "1 row"
    finally:
        source.close()


def test_a_host_that_cannot_be_read_tells_nothing(tmp_path: Path) -> None:
    """Before the first worker, and after its file has become garbage: no count, no figure, the reason."""
    source = StatusSource(tmp_path / "live.db")
    try:
        state = source.read()
        assert (state["monitor"]["counts"], state["monitor"]["process"]) == (None, {})
        assert state["monitor"]["file"]["bytes"] is None
        (tmp_path / "live.db").write_bytes(b"garbage" * 1000)
        state = source.read()
        assert (state["monitor"]["counts"], state["monitor"]["damaged_rows"]) == (None, None)
        assert itself(state).verdict.clause == "the counts cannot be read"
    finally:
        source.close()


# ---- in a browser


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("state", ["healthy", "degraded", "silent"])
def test_the_browser_has_nothing_to_complain_about(
    browser: Eyes, serve: Serve, sample: Sample, tmp_path: Path, state: str, dark: bool
) -> None:
    """No blocked script or style, no exception, no missing file; and a picture of the size asked."""
    browser.open(f"{serve(pages_app(Source(sample(state))))}/monitor", dark=dark)
    browser.wait("document.documentElement.classList.contains('scripts')")
    assert browser.problems == []
    assert browser.see("document.querySelectorAll('table.lines').length") == 3
    png = browser.picture()
    (tmp_path / f"{state}.png").write_bytes(png)
    assert size(png) == (1440, 1000)


@pytest.mark.parametrize("width", [1440, 1100, 641, 390, 320])
def test_it_never_scrolls_sideways(browser: Eyes, serve: Serve, sample: Sample, width: int) -> None:
    """From a wide screen to a phone, with names that do not end, nothing is wider than the screen, or runs into another cell."""
    status = sample("degraded", notes=["a note that is long " * 20], service="service_" * 30)
    status["live"]["path"] = "/a_very_long_folder" * 12
    status["monitor"]["gpus"][0]["name"] = "GPU_" * 40
    status["monitor"]["counts"]["refused"]["rows"] = [[["field_" * 10, "kind_" * 10], 1, 1]] * 6
    browser.open(f"{serve(pages_app(Source(status)))}/monitor", width, 844)
    assert browser.see("document.documentElement.scrollWidth") <= width
    assert browser.see("[...document.querySelectorAll('.lines td.n')].every(c => c.scrollWidth <= c.clientWidth)")


def test_it_refreshes_without_moving_and_follows_the_tabs(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """A new state arrives by itself and shifts nothing; the tabs lead there and back."""
    source = Source(sample("healthy"))
    browser.open(f"{serve(pages_app(source))}/monitor")
    browser.wait("document.querySelector('h1').textContent.includes('Healthy')")
    source.status = sample("degraded")
    browser.wait("document.querySelector('h1').textContent.includes('Degraded')")
    assert browser.see("document.title") == "Degraded · Monitor · modelwatch"
    assert browser.see(SHIFTS) == 0
    browser.see("document.querySelector('.tabs a').click()")
    browser.wait("document.querySelectorAll('.big').length === 4")
    browser.see("document.querySelector('.tabs a[href*=monitor]').click()")
    browser.wait("document.querySelectorAll('table.lines').length === 3")
    assert browser.problems == []


def test_the_first_page_still_fits_one_screen_with_its_tabs(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """The navigation took no line of its own."""
    browser.open(serve(pages_app(Source(sample("degraded")))))
    assert browser.see("document.documentElement.scrollHeight") <= 1000
    assert browser.see("document.querySelector('.tabs a').getBoundingClientRect().height") >= 32
