"""Review and Quality in a real browser: by keyboard, without scripts, on a phone, under their own policy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.types import ASGIApp

from modelwatch.groundtruth import queue
from modelwatch.server.web import pages_app
from server.test_browser import SHIFTS, Eyes, Source, size
from server.test_review import Host

Sample = Callable[..., dict[str, Any]]
Serve = Callable[[ASGIApp], str]
TEXT = "document.querySelector('.sample')?.textContent"
KEYS = {"1": 49, "2": 50, "s": 83, "u": 85, "p": 80, "n": 78, "Escape": 27, "Enter": 13}


class Hands(Eyes, Protocol):
    """What these tests do with the browser besides looking."""

    def write(self, text: str) -> None:
        """Type a text."""

    def click(self, selector: str) -> None:
        """Click an element."""

    def forget(self) -> None:
        """Forget all cookies."""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Return a service whose three answers wait for review."""
    made = Host(tmp_path)
    made.ask(["one", "two", "three"], features={"length": 3.0}, segment="books")
    yield made
    made.monitor.close()


def sees(browser: Hands, text: str) -> None:
    """Wait until the page shows this sample."""
    browser.wait(f"{TEXT} === {text!r} && document.readyState === 'complete'")


def press(browser: Hands, key: str) -> None:
    """Press a key by its name."""
    browser.press(key, KEYS[key])


def test_three_samples_by_keyboard(browser: Hands, serve: Serve, host: Host) -> None:
    """Name, label, look, note, skip, undo: never a mouse, never a reload, nothing to complain about."""
    browser.forget()
    browser.open(f"{serve(host.app)}/review")
    browser.write("ana")
    press(browser, "Enter")
    sees(browser, "one")
    browser.wait("document.documentElement.classList.contains('scripts')")
    browser.see("window.kept = true")
    press(browser, "2")
    sees(browser, "two")
    assert "Model said" in browser.see("document.querySelector('.facts.two').textContent")
    assert "0.80" not in browser.see("document.querySelector('.facts.two').textContent")
    press(browser, "p")
    browser.wait("document.querySelector('.facts.two')?.textContent.includes('0.80')")
    press(browser, "n")
    browser.write("2 stars")
    press(browser, "1")  # typed, not said
    assert browser.see("document.activeElement.id") == "note"
    press(browser, "Escape")
    press(browser, "1")
    sees(browser, "three")
    press(browser, "s")
    browser.wait("document.querySelector('[data-idle]')")
    assert "skipped" in browser.see("document.getElementById('spoken').textContent").lower()
    press(browser, "u")
    sees(browser, "two")
    press(browser, "u")
    sees(browser, "one")
    press(browser, "1")
    sees(browser, "two")
    assert browser.see("window.kept")
    asked = browser.see("performance.getEntriesByType('resource').map(e => e.name).join(' ')")
    assert asked.count("/api/review/") == 7, "one request a key"
    assert "item=1" not in asked, "the answer brings the next sample along"
    assert browser.problems == []
    found = host.store.rows("m")
    assert found.labels.tolist() == ["negative"]
    request_id = browser.see("document.querySelector('[name=request_id]').value")
    notes = [entry["detail"].get("note") for entry in host.desk.history(request_id)]
    assert "2 stars\n(looked at the model's answer first)" in notes
    assert host.label_counts() == {"correct": 1, "wrong": 1}  # of the first labels of "one" and "two"


def test_three_samples_without_scripts(browser: Hands, serve: Serve, host: Host) -> None:
    """The same with plain forms and a mouse: the same labels, and no way back that sends a form twice."""
    browser.forget()
    browser.open(f"{serve(host.app)}/review", scripts=False)
    browser.click("#who")
    browser.write("ana")
    browser.click("form.ask button")
    sees(browser, "one")
    assert browser.see("getComputedStyle(document.querySelector('kbd')).display") == "none"
    browser.click("button[value=positive]")
    sees(browser, "two")
    browser.click("button[formaction$=peek]")
    browser.wait("document.querySelector('.facts.two')?.textContent.includes('0.80')")
    browser.click("button[formaction$=skip]")
    sees(browser, "three")
    browser.click("#note")
    browser.write("no doubt")
    browser.click("button[value=negative]")
    browser.wait("document.querySelector('[data-idle]') && document.readyState === 'complete'")
    browser.click("button[data-key=u]")
    sees(browser, "three")
    browser.click("button[value=negative]")
    browser.wait("document.querySelector('[data-idle]')")
    assert sorted(host.store.rows("m").labels.tolist()) == ["negative", "positive"]
    assert host.label_counts() == {"correct": 1, "wrong": 1}
    assert browser.problems == []


def test_a_regression_by_keyboard(browser: Hands, serve: Serve, tmp_path: Path) -> None:
    """The field has the focus after each value, so that a number and Enter are enough."""
    host = Host(tmp_path, "regression", "")
    try:
        host.ask(["flat", "house"], prediction=40.0)
        browser.forget()
        browser.open(f"{serve(host.app)}/review")
        browser.write("ana")
        press(browser, "Enter")
        sees(browser, "flat")
        browser.wait("document.documentElement.classList.contains('scripts')")
        for value, after in (("41.5", "house"), ("39", None)):
            assert browser.see("document.activeElement.id") == "truth"
            browser.write(value)
            press(browser, "Enter")
            if after:
                sees(browser, after)
        browser.wait("document.querySelector('[data-idle]')")
        assert sorted(host.store.rows("m").labels.tolist()) == [39.0, 41.5]
        assert browser.problems == []
    finally:
        host.monitor.close()


def test_the_refresh_leaves_the_reviewer_alone(browser: Hands, serve: Serve, host: Host) -> None:
    """While somebody writes, the head is refreshed and the sample, the note and the focus stay."""
    browser.forget()
    browser.open(f"{serve(host.app)}/review")
    browser.write("ana")
    press(browser, "Enter")
    sees(browser, "one")
    browser.wait("document.documentElement.classList.contains('scripts')")
    press(browser, "n")
    browser.write("half a thou")
    time.sleep(4.5)  # two refreshes
    browser.write("ght")
    assert browser.see("document.getElementById('note').value") == "half a thought"
    assert browser.see(TEXT) == "one"
    assert browser.problems == []


def test_a_new_sample_comes_by_itself(browser: Hands, serve: Serve, tmp_path: Path) -> None:
    """Whoever waits at an empty queue gets the next sample without a hand."""
    host = Host(tmp_path)
    try:
        browser.forget()
        browser.open(f"{serve(host.app)}/review")
        browser.write("ana")
        press(browser, "Enter")
        browser.wait("document.querySelector('[data-idle]')")
        host.ask(["late"])
        sees(browser, "late")
    finally:
        host.monitor.close()


def test_hostile_samples_do_nothing(browser: Hands, serve: Serve, tmp_path: Path) -> None:
    """Markup in the text, the features, the segment and the notes is shown, with scripts and without."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    host = Host(tmp_path)
    try:
        host.ask([evil], features={evil: evil}, segment=evil)
        host.desk.turn("m", "ben")
        host.desk.skip(host.desk.turn("m", "ben").sample.request_id, "ben", evil)  # type: ignore[union-attr]
        url = serve(host.app)
        for scripts in (True, False):
            browser.forget()
            browser.open(f"{url}/review", scripts=scripts)
            browser.click("#who")
            browser.write("ana")
            browser.click("form.ask button")
            sees(browser, evil)
            assert "owned" not in browser.see("document.title")
            assert browser.see("document.querySelectorAll('img, main script').length") == 0
            assert evil in browser.see("document.querySelector('.remarks').textContent")
            assert browser.problems == []
    finally:
        host.monitor.close()


OPENERS = ["", '">', "'>", "</textarea>", "</title>", "-->", "]]>", "</script>", "{{7*7}}", "</div></svg>"]
VECTORS = [
    "<script>owned=1</script>",
    "<img src=x onerror=owned=1>",
    "<svg onload=owned=1>",
    "<a href=javascript:owned=1>x</a>",
    '<iframe srcdoc="<script>parent.owned=1</script>">',
    "<body onload=owned=1>",
    "<details open ontoggle=owned=1>",
    "<input autofocus onfocus=owned=1>",
    'x" onmouseover="owned=1" autofocus onfocus="owned=1',
    "<style>@import 'javascript:owned=1'</style>",
]
PAYLOADS = [opener + vector for opener in OPENERS for vector in VECTORS]


def test_a_hundred_payloads_run_nothing(
    browser: Hands, serve: Serve, tmp_path: Path, sample: Sample, sample_quality: Sample
) -> None:
    """As text, feature, segment, class, note, reviewer, reason and model: not one is markup, not one is even blocked."""
    assert len(set(PAYLOADS)) == 100
    host = Host(tmp_path)
    status = sample()
    host.app = pages_app(lambda: status, host.desk)
    url = serve(host.app)
    try:
        for start in range(0, 100, 20):
            some = PAYLOADS[start : start + 20]
            host.ask(["\n".join(some)], some[0], features={one: one for one in some}, segment=some[1])
            turn = host.desk.turn("m", some[2])
            assert turn.sample is not None
            for one in some[:5]:
                queue.note(host.store, turn.sample.request_id, one, one)
            host.desk.skip(turn.sample.request_id, some[2], some[3])
            quality = sample_quality(60)
            for i, segment in enumerate(quality["views"]["last"][-1]["segments"]):
                segment["name"] = some[i]
            quality["views"]["last"][-1]["confusion"]["classes"] = some[5:8]
            status["models"] = [sample()["models"][0] | {"name": some[4], "quality": quality}]
            browser.forget()
            browser.open(f"{url}/review?model=m")
            browser.write(some[9][:64])
            press(browser, "Enter")
            sees(browser, "\n".join(some))
            press(browser, "p")
            browser.wait("document.querySelector('.facts.two')?.textContent.includes('0.80')")
            assert browser.see("window.owned") is None
            assert (
                browser.see("document.querySelectorAll('main :is(img, script, iframe, style, details, body)').length")
                == 0
            )
            assert browser.problems == []
            browser.click("button[value=negative]")
            shown = json.dumps("\n".join(some))
            browser.wait(f"document.querySelector('.sample')?.textContent !== {shown}")
            until = time.monotonic() + 20
            while host.store.counts("m").labelled <= start // 20:  # the next page would break the request off
                assert time.monotonic() < until, "the label is not stored"
                time.sleep(0.05)
            for page in ("/", "/quality", "/monitor"):
                browser.open(url + page)
                assert browser.see("window.owned") is None
                assert browser.problems == []
    finally:
        host.monitor.close()


@pytest.mark.parametrize("width", [1440, 1100, 641, 390, 320])
def test_the_review_fits_the_screen(browser: Hands, serve: Serve, tmp_path: Path, width: int) -> None:
    """Endless words and names are broken or cut; on a phone every class is a large target."""
    classes = [f"class_{i}_" + "x" * 60 for i in range(11)]
    host = Host(tmp_path, classes=f"classes: [{', '.join(classes)}]")
    try:
        host.ask(["x" * 3000], "class", features={"f" * 80: "v" * 300}, segment="s" * 100)
        browser.forget()
        browser.open(f"{serve(host.app)}/review", width, 844)
        browser.write("a" * 64)
        press(browser, "Enter")
        browser.wait("document.querySelector('.sample')")
        assert browser.see("document.documentElement.scrollWidth") <= width
        assert browser.see("Math.min(...[...document.querySelectorAll('.choice')].map(c => c.offsetHeight))") >= 52
        assert browser.see("document.querySelectorAll('.choice kbd').length") == 9
    finally:
        host.monitor.close()


# ---- the page on quality


@pytest.fixture
def qualities(sample: Sample, sample_quality: Sample) -> dict[str, dict[str, Any]]:
    """Return statuses by what is known from labels."""
    found = {
        "below": sample_quality(),
        "fine": sample_quality(objective=0.7),
        "few": sample_quality(12),
        "away": {"state": "unavailable", "reason": "store: 'x' is locked. Try again."},
        "none": None,
    }
    statuses = {name: sample("healthy") for name in found}
    for name, quality in found.items():
        statuses[name]["models"][0]["quality"] = quality
    statuses["regression"] = sample("regression")
    statuses["regression"]["models"][0]["quality"] = sample_quality(task="regression", objective=None)
    return statuses


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["below", "few", "away", "none", "regression"])
def test_the_quality_page_obeys_its_own_policy(
    browser: Eyes, serve: Serve, qualities: dict[str, Any], tmp_path: Path, name: str, dark: bool
) -> None:
    """No blocked style or script, no exception, no missing file; a picture of the size asked."""
    browser.open(f"{serve(pages_app(Source(qualities[name])))}/quality", dark=dark)
    browser.wait("document.documentElement.classList.contains('scripts')")
    assert browser.problems == []
    png = browser.picture()
    (tmp_path / f"{name}.png").write_bytes(png)
    assert size(png) == (1440, 1000)


@pytest.mark.parametrize("width", [1440, 1281, 1100, 900, 641, 390, 320])
@pytest.mark.parametrize("name", ["below", "few", "none", "regression"])
def test_the_quality_page_never_scrolls_sideways(
    browser: Eyes, serve: Serve, qualities: dict[str, Any], name: str, width: int
) -> None:
    """Long names of segments and classes included."""
    status = qualities[name]
    status["notes"] = ["a note that is long " * 20]
    views = (status["models"][0]["quality"] or {}).get("views") or {"last": []}
    for view in views["last"]:
        for segment in view["segments"]:
            segment["name"] = "segment_" * 12
        if view["confusion"]:
            view["confusion"]["classes"] = [f"class_{i}_" * 12 for i in range(3)]
    browser.open(f"{serve(pages_app(Source(status)))}/quality", width, 844)
    assert browser.see("document.documentElement.scrollWidth") <= width


def test_the_quality_page_refreshes_without_moving(browser: Eyes, serve: Serve, qualities: dict[str, Any]) -> None:
    """From fine to below its objective by itself, in title and words, and nothing shifts."""
    source = Source(qualities["fine"])
    browser.open(f"{serve(pages_app(source))}/quality")
    browser.wait("document.querySelector('h1').textContent.includes('OK')")
    source.status = qualities["below"]
    browser.wait("document.querySelector('h1').textContent.includes('Below objective')")
    assert browser.see("document.title") == "Below objective · Quality · sentiment_classifier · modelwatch"
    assert browser.see(SHIFTS) == 0
    assert browser.problems == []


def test_dots_stand_where_their_numbers_are(browser: Eyes, serve: Serve, qualities: dict[str, Any]) -> None:
    """In the drawn page: the dot of 66 % is left of that of 79 %, which is left of the objective, on one scale."""
    browser.open(f"{serve(pages_app(Source(qualities['below'])))}/quality")
    dots = browser.see(
        "[...document.querySelectorAll('[data-part=segments] .dot')].map(d => d.getBoundingClientRect().x)"
    )
    limit = browser.see("document.querySelector('[data-part=segments] .limit').getBoundingClientRect().x")
    assert dots == sorted(dots)
    assert dots[1] < limit < dots[2]
