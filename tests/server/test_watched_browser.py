"""Alerts, drift and objectives in a real browser: no complaint, no sideways scroll, dark, links and refresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.types import ASGIApp

from modelwatch.server.web import pages_app
from server.test_browser import SHIFTS, Eyes, Source
from server.watched import alert, alerts, drift, objectives, row, silent, slo, unknown

Sample = Callable[..., dict[str, Any]]
Serve = Callable[[ASGIApp], str]
LONG = "a_name_that_does_not_end_" * 8


@pytest.fixture
def full(sample: Sample) -> Sample:
    """Return the maker of a status in which something of everything is said."""

    def make(name: str = "age") -> dict[str, Any]:
        labels = {"feature_name": name}
        held = [
            alert("HighErrorRate", "critical", "firing", culprits=[name]), alert("LatencyTrend", "info", "firing"),
            alert("DataDriftDetected", "warning", "firing", labels=labels), alert("HighLatencyP95", "warning", "pending"),
            silent("ServiceDown", "no replicas in this window"), alert("MissingValues", labels=labels),
        ]  # fmt: skip
        slos = [slo("accuracy", "broken"), slo("latency"), slo("availability", "cannot_tell", reason=name)]
        status = sample(**alerts(*held), **objectives(*slos))
        cells = [{"cell": name, "reference": 0.9, "current": 0.6}, {"cell": "es", "reference": 0.1, "current": 0.4}]
        status["models"][0]["drift"] = drift(
            row(name, "warning"), row("language", "info", statistic="TV", cells=cells), unknown("price", name),
            row("classes", answer=True, statistic="PSI"), missing=[row(name, "warning", reason=name)],
        )  # fmt: skip
        return status

    return make


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", ["/alerts", "/drift", "/drift?feature=language", "/slos", "/runbooks/HighErrorRate"])
def test_the_browser_has_nothing_to_complain_about(
    browser: Eyes, serve: Serve, full: Sample, path: str, dark: bool
) -> None:
    """No blocked script or style, no exception, no missing file."""
    browser.open(f"{serve(pages_app(Source(full())))}{path}", dark=dark)
    browser.wait("document.querySelector('h1') !== null")
    assert browser.problems == []
    back = browser.see("getComputedStyle(document.querySelector('.card')).backgroundColor")
    assert back == ("rgb(21, 28, 38)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("width", [1440, 1100, 899, 641, 390, 320])
@pytest.mark.parametrize("path", ["/alerts", "/drift", "/drift?feature=language", "/slos"])
def test_it_never_scrolls_sideways(browser: Eyes, serve: Serve, full: Sample, path: str, width: int) -> None:
    """From a wide screen to a phone, with names that do not end, nothing is wider than the screen."""
    browser.open(f"{serve(pages_app(Source(full(LONG))))}{path}", width, 844)
    assert browser.see("document.documentElement.scrollWidth") <= width


def test_a_row_leads_to_its_feature(browser: Eyes, serve: Serve, full: Sample) -> None:
    """A click on a row shows that feature; the refresh stays with it."""
    source = Source(full())
    browser.open(f"{serve(pages_app(source))}/drift")
    browser.wait("document.querySelector('[data-part=detail] h2')?.textContent === 'age'")
    browser.see("document.querySelectorAll('.moved a')[1].click()")
    browser.wait("document.querySelector('[data-part=detail] h2')?.textContent === 'language'")
    browser.wait("document.documentElement.classList.contains('scripts')")
    reads = source.reads
    browser.wait("performance.now() > 3000")
    assert source.reads > reads
    assert browser.see("document.querySelector('[data-part=detail] h2').textContent") == "language"
    assert browser.problems == []


def test_it_refreshes_without_moving(browser: Eyes, serve: Serve, full: Sample) -> None:
    """A new value of an alert arrives by itself and shifts nothing."""
    source = Source(full())
    browser.open(f"{serve(pages_app(source))}/alerts")
    browser.wait("document.documentElement.classList.contains('scripts')")
    later = full()
    later["alerts"]["alerts"][0]["value"] = 0.057
    source.status = later
    browser.wait("document.querySelector('.alert').textContent.includes('5.7')")
    assert browser.see(SHIFTS) == 0
    assert browser.problems == []


def test_hostile_text_does_nothing(browser: Eyes, serve: Serve, full: Sample) -> None:
    """A script in a summary, a label and a feature is text, on load and in the links."""
    evil = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    for path in ("/alerts", "/drift", "/slos"):
        browser.open(f"{serve(pages_app(Source(full(evil))))}{path}")
        browser.wait("document.documentElement.classList.contains('scripts')")
        assert browser.see("document.querySelectorAll('img, main script').length") == 0
        assert "owned" not in browser.see("document.title").split(" · ")[0]
        assert browser.problems == []
