"""The page in a real browser: it obeys its own policy, refreshes without moving, survives its server, fits a phone."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest
from starlette.types import ASGIApp

from modelwatch.errors import ModelwatchError
from modelwatch.server.web import pages_app

Sample = Callable[..., dict[str, Any]]
Serve = Callable[[ASGIApp], str]
SHIFTS = """new Promise(done => { let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(e => sum += e.value))
    .observe({type: "layout-shift", buffered: true});
  setTimeout(() => done(sum), 300); })"""


class Eyes(Protocol):
    """What the tests ask of the browser."""

    problems: list[str]

    def open(
        self, url: str, width: int = 1440, height: int = 1000, *, dark: bool = False, scripts: bool = True
    ) -> None:
        """Open a page."""

    def see(self, script: str) -> Any:
        """Return the value of an expression."""

    def wait(self, condition: str, timeout_s: float = 20.0) -> None:
        """Wait for a condition."""

    def picture(self, *, whole: bool = False) -> bytes:
        """Return a PNG."""

    def press(self, key: str, code: int) -> None:
        """Press a key."""


class Source:
    """A status that a test changes while the page looks on."""

    def __init__(self, status: Mapping[str, Any]) -> None:
        self.status, self.fails, self.reads = status, False, 0

    def __call__(self) -> Mapping[str, Any]:
        """Return the status, as `read_status` does."""
        self.reads += 1
        if self.fails:
            raise ModelwatchError("live.db: file is locked; expected a readable file. Check the disk.")
        return self.status


def size(png: bytes) -> tuple[int, int]:
    """Return width and height of a PNG whose first chunk is intact."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert zlib.crc32(png[12:29]) == struct.unpack(">I", png[29:33])[0]
    width, height = struct.unpack(">II", png[16:24])
    return width, height


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("state", ["healthy", "degraded", "silent"])
def test_the_page_obeys_its_own_policy(
    browser: Eyes, serve: Serve, sample: Sample, tmp_path: Path, state: str, dark: bool
) -> None:
    """No blocked script or style, no exception, no missing file; styled, charts drawn, a picture of the size asked."""
    browser.open(serve(pages_app(Source(sample(state)))), dark=dark)
    browser.wait("document.documentElement.classList.contains('scripts')")
    assert browser.problems == []
    background = browser.see("getComputedStyle(document.documentElement).backgroundColor")
    assert background == ("rgb(13, 18, 24)" if dark else "rgb(243, 245, 248)")
    assert browser.see("[...document.querySelectorAll('svg.chart')].every(s => s.getBoundingClientRect().height > 80)")
    png = browser.picture()
    (tmp_path / f"{state}.png").write_bytes(png)
    assert size(png) == (1440, 1000)


@pytest.mark.parametrize("width", [1440, 1281, 1100, 900, 641, 640, 390, 320])
@pytest.mark.parametrize("state", ["degraded", "silent"])
def test_no_page_scrolls_sideways(browser: Eyes, serve: Serve, sample: Sample, state: str, width: int) -> None:
    """From a wide screen to a phone, hostile names included, nothing is wider than the screen."""
    status = sample(state, notes=["a note that is long " * 20], service="service_" * 30)
    status["models"][0]["name"] = "a_very_long_name_" * 8
    browser.open(serve(pages_app(Source(status))), width, 844)
    assert browser.see("document.documentElement.scrollWidth") <= width


def test_all_of_it_fits_one_screen(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """At 1440 by 1000 nothing needs scrolling."""
    browser.open(serve(pages_app(Source(sample("degraded")))))
    assert browser.see("document.documentElement.scrollHeight") <= 1000


def test_on_a_phone_the_worst_panel_is_first(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """One column, the firing panel right below the verdict, the others one line without a chart."""
    browser.open(serve(pages_app(Source(sample("slow")))), 390, 844)
    panels, row = "[...document.querySelectorAll('.big')]", "getBoundingClientRect().top"
    top = f"{panels}.sort((a, b) => a.{row} - b.{row})"
    assert browser.see(f"{top}[0].querySelector('h2').textContent") == "Latency P95"
    assert browser.see(f"{top}[1].querySelector('h2').textContent") == "Model accuracy"
    assert browser.see(f"{top}[2].querySelector('.ch').offsetHeight") == 0
    assert browser.see("document.querySelector('.k-latency').getBoundingClientRect().top") < 400


def test_it_refreshes_without_moving(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """New numbers arrive by themselves, through a change of state, and nothing shifts by a pixel."""
    source = Source(sample("healthy"))
    browser.open(serve(pages_app(source)))
    browser.wait("document.querySelector('h1').textContent.includes('Healthy')")
    source.status = sample("degraded")
    browser.wait("document.querySelector('h1').textContent.includes('Degraded')")
    assert browser.see("document.title").startswith("Degraded")
    assert "Degraded" in browser.see("document.querySelector('[aria-live]').textContent")
    source.status = sample("silent")
    browser.wait("document.querySelector('h1').textContent.includes('Cannot tell')")
    assert browser.see(SHIFTS) == 0
    assert browser.problems == []


def test_the_first_model_appears_by_itself(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """A page opened before any model reported becomes that model's page, without a hand."""
    source = Source(sample(models=[]))
    browser.open(serve(pages_app(source)))
    browser.wait("document.querySelector('h1').textContent.includes('no model')")
    source.status = sample("regression")
    browser.wait("document.querySelectorAll('.big').length === 4")
    time.sleep(2.5)
    assert browser.see("performance.getEntriesByType('navigation')[0].type") == "reload"
    assert browser.see("performance.now()") > 2000


def test_pause_stops_it_and_the_age_counts_on(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """While paused no request is made, but the page does not pretend to be fresh."""
    source = Source(sample("healthy"))
    browser.open(serve(pages_app(source)))
    browser.wait("document.documentElement.classList.contains('scripts')")
    browser.see("document.getElementById('pause').click()")
    reads = source.reads
    browser.wait("/^[3-9]/.test(document.querySelector('[data-age]').textContent)")
    assert source.reads <= reads + 1
    assert browser.see("document.getElementById('pause').textContent") == "Resume"
    reads = source.reads
    browser.see("document.getElementById('pause').click()")
    browser.wait("document.getElementById('pause').textContent === 'Pause'")
    until = time.monotonic() + 10
    while source.reads == reads:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_lost_server_is_told_and_forgiven(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """After ten seconds without an answer a banner says so and the page is grey; one answer mends it."""
    source = Source(sample("healthy"))
    browser.open(serve(pages_app(source)))
    source.fails = True
    browser.wait("!document.getElementById('lost').hidden", 30)
    assert "live.db: file is locked" in browser.see("document.getElementById('lost').textContent")
    assert browser.see("document.body.classList.contains('offline')")
    assert "Healthy" in browser.see("document.querySelector('h1').textContent")
    source.fails = False
    browser.see("document.getElementById('again').click()")
    browser.wait("document.getElementById('lost').hidden")
    assert not browser.see("document.body.classList.contains('offline')")


def test_it_reads_without_scripts(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """Numbers, states and charts are in the HTML; the button that needs scripts is not shown."""
    url = serve(pages_app(Source(sample("degraded"))))
    browser.open(url, scripts=False)
    assert "Degraded" in browser.see("document.querySelector('h1').textContent")
    assert browser.see("document.querySelectorAll('svg.chart').length") == 3
    assert browser.see("getComputedStyle(document.getElementById('pause')).visibility") == "hidden"


def test_the_keyboard_reaches_everything_and_shows_where(
    browser: Eyes, serve: Serve, sample: Sample, sample_model: Sample
) -> None:
    """Tab: the skip link, the mark, the menu of models, Pause; each with a visible outline."""
    models = [sample_model("one"), sample_model("two", "silent")]
    browser.open(serve(pages_app(Source(sample(models=models)))))
    browser.wait("document.documentElement.classList.contains('scripts')")
    found = []
    for _ in range(4):
        browser.press("Tab", 9)
        found.append(browser.see("document.activeElement.className || document.activeElement.tagName"))
        assert browser.see("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    assert found == ["skip", "brand", "SUMMARY", "btn scripted"]


def test_the_value_under_the_pointer(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """The pointer over a chart shows the time and the value of the nearest step."""
    browser.open(serve(pages_app(Source(sample()))))
    browser.wait("document.documentElement.classList.contains('scripts')")
    browser.see("""(() => { const b = document.querySelector('.k-errors svg.chart').getBoundingClientRect();
      document.dispatchEvent(new PointerEvent('pointermove', {clientX: b.right - 12, clientY: b.top + 60})); })()""")
    assert browser.see("document.querySelector('.tip').textContent").startswith("14:32 · 0.")


def test_hostile_names_do_nothing(browser: Eyes, serve: Serve, sample: Sample) -> None:
    """A script in a name is text in the page, on load and on refresh."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    status = sample("degraded", service=evil, notes=[evil])
    one = status["models"][0]
    one["name"] = evil
    one["details"]["errors_by_type"] = [[evil, 3]]
    one["history"]["share"] = {evil: [0.5] * 60}
    source = Source(status)
    browser.open(serve(pages_app(source)))
    reads = source.reads
    until = time.monotonic() + 15
    while source.reads < reads + 2:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "owned" not in browser.see("document.title").split(" · ")[0]
    assert browser.see("document.querySelectorAll('img, main script').length") == 0
    assert browser.problems == []
