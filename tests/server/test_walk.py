"""A walk through all pages in a real browser: every state, by keyboard only, for everybody's eyes, under attack."""

from __future__ import annotations

import copy
import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pytest

from modelwatch.groundtruth.exchange import export
from modelwatch.groundtruth.store import Sample
from modelwatch.serve.run import Parts, app_of
from modelwatch.server.web import pages_app
from serve.conftest import house  # noqa: F401 - a fixture
from serve.test_handling import parts  # noqa: F401 - a fixture
from server.conftest import Served, make_quality
from server.frozen import DEGRADED, FAILING, HEALTHY, PAGES, STATES, UNSURE, frozen, reviewed
from server.payloads import PAYLOADS
from server.test_review import Host
from server.test_review_browser import Hands
from server.watched import alert, row

AXE = Path(__file__).resolve().parents[2] / "build/node/node_modules/axe-core/axe.min.js"
#: The serious findings of a run in words; that it has looked at nothing is one of them.
SERIOUS = """r => r.passes.length === 0 ? ["axe saw nothing"] : r.violations
  .filter(v => ["serious", "critical"].includes(v.impact))
  .flatMap(v => v.nodes.slice(0, 3).map(n => `${v.id}: ${n.target} ${n.failureSummary}`))"""
CODES = {" ": 32, "Enter": 13, "Escape": 27, "Tab": 9}
READ = {
    (HEALTHY, "health"): "Nothing is firing", (HEALTHY, "quality"): "OK", (HEALTHY, "drift"): "No drift",
    (HEALTHY, "slos"): "all objectives are met", (HEALTHY, "alerts"): "alerts",
    (DEGRADED, "health"): "accuracy is too low", (DEGRADED, "quality"): "Below objective",
    (DEGRADED, "drift"): "18 %", (DEGRADED, "slos"): "43 % over budget", (DEGRADED, "alerts"): "Raise the sampling rate",
    (UNSURE, "health"): "No data", (UNSURE, "quality"): "12 of 30 labels", (UNSURE, "drift"): "Cannot tell",
    (UNSURE, "slos"): "no requests in this period", (UNSURE, "alerts"): "the error rate cannot be told",
    (FAILING, "health"): "too many requests fail", (FAILING, "alerts"): "ModelTimeout", (FAILING, "resources"): "ModelTimeout",
}  # fmt: skip


class Walker(Hands, Protocol):
    """What this walk does with a browser."""

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of the service with four models in four states."""
    app, monitor = reviewed(tmp_path_factory.mktemp("walk"), frozen)
    served = Served(app)
    yield served.url
    served.close()
    monitor.close()


def press(browser: Walker, *keys: str) -> None:
    """Press keys one after the other."""
    for key in keys:
        browser.press(key, CODES.get(key, ord(key[0].upper())))


def at(url: str, path: str, model: str) -> str:
    """Return the address of a page of a model."""
    return f"{url}{path}{'&' if '?' in path else '?'}model={quote(model, safe='')}"


def text(browser: Walker, selector: str = "body") -> str:
    """Return what a person reads there, with plain spaces."""
    found: str = browser.see(f"document.querySelector({json.dumps(selector)}).innerText")
    return " ".join(found.split())


@pytest.mark.parametrize("model", STATES)
def test_every_page_in_every_state(browser: Walker, url: str, model: str) -> None:
    """The verdict is a word, what is said can be read, nothing is complained about, and nothing is asked elsewhere."""
    for page, path in PAGES.items():
        browser.open(at(url, path, model))
        browser.wait("document.documentElement?.classList.contains('scripts')")
        if page == "health":
            assert text(browser, "h1").startswith(STATES[model])
        assert READ.get((model, page), "").lower() in text(browser).lower(), page
        assert browser.see("document.querySelectorAll('h1').length") == 1
        assert not {"NaN", "undefined", "null"} & set(text(browser).split())
        loaded: list[str] = browser.see("performance.getEntriesByType('resource').map(e => e.name)")
        assert all(name.startswith((url, "data:")) for name in loaded)
        assert browser.problems == []


def test_a_hand_on_the_mouse(browser: Walker, url: str) -> None:
    """From Health to another model, to a longer history, to a feature and its details, and on to the runbook."""
    browser.open(at(url, "/", DEGRADED))
    browser.wait("document.documentElement?.classList.contains('scripts')")
    browser.click("details.models summary")
    browser.click(f".drop a[href*={HEALTHY}]")
    browser.wait(
        f"document.querySelector('h1')?.innerText.startsWith('Healthy') && location.search.includes('{HEALTHY}')"
    )
    browser.click(".ranges a:nth-child(3)")
    browser.wait(
        "location.search.includes('range=24h') && document.querySelector('.ranges [aria-current]')?.innerText.startsWith('24')"
    )
    assert f"model={HEALTHY}" in browser.see("location.search")
    browser.click(".tabs a[href*='/drift']")
    browser.wait("location.pathname === '/drift' && document.querySelector('.moved a')")
    assert "range=24h" in browser.see("location.search")
    browser.click(".moved a[href*='feature=hour_of_day']")
    browser.wait("document.querySelector('[data-part=detail] h2')?.innerText === 'hour_of_day'")
    browser.open(at(url, "/", FAILING))
    browser.click(".verdict .side a")
    browser.wait("location.pathname === '/runbooks/HighErrorRate' && document.querySelector('.runbook')")
    assert "Diagnosis" in text(browser)
    assert browser.problems == []


def test_all_of_it_by_keyboard(browser: Walker, url: str) -> None:
    """Pages, rows, the menu, help, pause, a runbook, a label and its undoing: no mouse."""
    browser.forget()
    browser.open(at(url, "/", DEGRADED))
    browser.wait("document.documentElement?.classList.contains('scripts')")
    for key, path in (("q", "/quality"), ("r", "/resources"), ("s", "/slos"), ("b", "/runbooks"), ("d", "/drift")):
        press(browser, "g", key)
        browser.wait(f"location.pathname === '{path}' && document.documentElement?.classList.contains('scripts')")
    press(browser, "j", "j")
    name = browser.see("document.activeElement.innerText")
    assert browser.see("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    press(browser, "Enter")
    browser.wait(
        f"location.search.includes('feature={name}') && document.documentElement?.classList.contains('scripts')"
    )
    press(browser, "?")
    assert "acknowledge it" in text(browser, "dialog")
    press(browser, "Escape")
    browser.wait("!document.querySelector('dialog[open]')")
    press(browser, " ")
    browser.wait("document.getElementById('pause').innerText === 'Resume'", 2)
    press(browser, "m")
    assert browser.see("document.activeElement.closest('.drop') !== null")
    press(browser, "Enter")  # the worst is the first
    browser.wait(f"!location.search.includes('{DEGRADED}') && document.documentElement?.classList.contains('scripts')")
    press(browser, "g", "a")
    browser.wait("location.pathname === '/alerts' && document.documentElement?.classList.contains('scripts')")
    press(browser, "j", "o")
    browser.wait("location.pathname.startsWith('/runbooks/') && document.querySelector('.runbook')")
    browser.open(at(url, "/", DEGRADED))
    browser.wait("document.documentElement?.classList.contains('scripts')")
    press(browser, "g", "v")
    browser.wait("document.querySelector('#who')")
    browser.write("ana")
    press(browser, "Enter")
    browser.wait("document.querySelector('.sample') && document.documentElement?.classList.contains('scripts')")
    first = text(browser, ".sample")
    press(browser, "1")
    browser.wait(f"document.querySelector('.sample')?.innerText.trim() !== {json.dumps(first)}")
    press(browser, "u")
    browser.wait(f"document.querySelector('.sample')?.innerText.trim() === {json.dumps(first)}")
    assert browser.problems == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_keeps_anybody_from_using_it(browser: Walker, url: str, dark: bool) -> None:
    """axe-core finds nothing serious on any page; in the dark its eyes are on the colours."""
    if not AXE.exists():
        reason = "axe-core is not installed; run: bash scripts/setup.sh test"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    rules = '{runOnly: ["color-contrast"]}' if dark else "{}"
    found: dict[str, list[str]] = {}
    for page, path in {**PAGES, "review": "/review", "runbook": "/runbooks/HighErrorRate"}.items():
        for model in (DEGRADED, UNSURE) if page == "health" else (DEGRADED,):
            browser.open(at(url, path, model), dark=dark)
            browser.see(f"{AXE.read_text(encoding='utf-8')}; true")
            told: list[str] = browser.see(f"axe.run(document, {rules}).then({SERIOUS})")
            assert browser.see("document.querySelectorAll('main *').length") > 5
            if told:
                found[f"{page} {model}"] = told
    assert found == {}


def test_somebody_takes_an_alert_and_silences_it(browser: Walker, parts: Parts) -> None:  # noqa: F811
    """On the pages of a real serve whose service is down: acknowledged by a click, silenced with a reason, both by name."""
    served = Served(app_of(parts))
    try:
        browser.forget()
        browser.open(f"{served.url}/alerts")
        browser.wait("document.documentElement?.classList.contains('scripts')")
        browser.click("form[action$=acknowledge] [name=by]")
        browser.write("ann")
        press(browser, "Enter")
        browser.wait("document.querySelector('.by')?.innerText.includes('ann looks after it')")
        press(browser, "j", "x")
        assert browser.see("document.activeElement.name") == "for"
        browser.click("details.silence [name=note]")
        browser.write("the rack is being moved")
        press(browser, "Enter")
        browser.wait("document.body?.innerText.includes('the rack is being moved')")
        read = text(browser)
        assert "Silent until" in read
        assert "Silences 1" in read
        assert browser.problems == []
    finally:
        served.close()


def hostile() -> dict[str, Any]:
    """Return a status in which every name that comes from outside is one of the payloads."""
    status = frozen()
    one = status["models"][0]
    quality = make_quality(400)
    segments = quality["views"]["last"][-1]["segments"]
    for view in quality["views"]["last"]:
        view["segments"] = [{**copy.deepcopy(segments[0]), "name": name} for name in PAYLOADS]
    one["quality"] = quality
    one["drift"]["rows"] = [row(name, "warning") for name in PAYLOADS]
    one["history"]["share"] = dict.fromkeys(PAYLOADS, one["history"]["share"]["positive"])
    one["details"]["errors_by_type"] = [[name, 3] for name in PAYLOADS]
    status["notes"] = list(PAYLOADS)
    status["models"] = [{**one, "name": name, "version": name} for name in PAYLOADS]
    status["alerts"]["alerts"] = [
        alert("DataDriftDetected", "warning", "firing", model=name, labels={"feature_name": name}, summary=name,
              description=name, culprits=[name])
        for name in PAYLOADS
    ]  # fmt: skip
    status["service"] = status["owner"] = PAYLOADS[0]
    return status


def test_a_hundred_payloads_do_nothing(browser: Walker) -> None:
    """As models, features, segments, answers, errors and notes: no script runs, none is even tried, none is an element."""
    assert len(set(PAYLOADS)) == 100
    status = hostile()
    served = Served(pages_app(lambda: status))
    try:
        for i, path in enumerate([*PAGES.values()][:-1]):
            browser.open(at(served.url, path.partition("?")[0], PAYLOADS[i]))
            browser.see(
                "new Promise(done => setTimeout(done, 2300))" if i == 0 else "true"
            )  # the refresh puts HTML, too
            assert browser.see("window.owned === undefined && !document.title.startsWith('owned')")
            assert (
                browser.see("document.querySelectorAll('main img, main script, iframe, object, embed, video').length")
                == 0
            )
            assert browser.see("[...document.links].every(a => !a.href.startsWith('javascript:'))")
            assert browser.problems == []
            assert "alert(1)" in text(browser) or path == "/resources" or path.startswith("/runbooks")
    finally:
        served.close()


def test_payloads_under_review_do_nothing(browser: Walker, tmp_path: Path) -> None:
    """As the text, the segment and the answer of a sample, and as the note of the reviewer, by keyboard."""
    host = Host(tmp_path)
    shown = PAYLOADS[::12]
    for i, payload in enumerate(shown):
        host.monitor.record(
            "/p", duration=0.01, prediction=payload, confidence=0.5, request_id=f"x-{i}", input=payload, segment=payload
        )
    assert host.monitor.flush(5)
    served = Served(host.app)
    try:
        browser.forget()
        browser.open(f"{served.url}/review")
        browser.write("ana")
        press(browser, "Enter")
        browser.wait("document.querySelector('.sample') && document.documentElement?.classList.contains('scripts')")
        for _ in shown:
            here = browser.see("document.querySelector('[name=request_id]').value")
            assert text(browser, ".sample") in {" ".join(payload.split()) for payload in shown}
            press(browser, "p")
            browser.wait("document.querySelector('.facts.two')?.innerText.includes('0.50')")
            assert (
                browser.see("document.querySelectorAll('main img, main script, main iframe, main svg[onload]').length")
                == 0
            )
            press(browser, "n")
            browser.write(shown[0])
            press(browser, "Escape", "1")
            browser.wait(f"document.querySelector('[name=request_id]')?.value !== {json.dumps(here)}")
        assert browser.see("window.owned === undefined")
        assert browser.problems == []
    finally:
        served.close()
        host.monitor.close()


def test_payloads_are_no_formulas_of_a_table() -> None:
    """Exported for review as CSV: each is one cell that no spreadsheet takes for a formula, and can be read back."""
    samples = [Sample(f"{i:032x}", "m", "1", "/p", 0.0, p, 0.5, p, 0.5, p, {}) for i, p in enumerate(PAYLOADS)]
    rows = list(csv.reader(io.StringIO(export(samples, "csv"))))
    assert len(rows) == len(PAYLOADS) + 1
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert [row[8].removeprefix("'") if row[8].startswith("'=") else row[8] for row in rows[1:]] == list(PAYLOADS)


def test_the_health_page_is_light(browser: Walker, url: str) -> None:
    """Page, style and script together, nothing of it from a cache: at most 150 KB."""
    browser.call("Network.setCacheDisabled", cacheDisabled=True)
    browser.open(at(url, "/", DEGRADED))
    browser.wait("document.documentElement?.classList.contains('scripts')")
    sizes = "[...performance.getEntriesByType('resource'), performance.getEntriesByType('navigation')[0]]"
    whole = browser.see(f"{sizes}.filter(e => !e.name.startsWith('data:')).reduce((n, e) => n + e.decodedBodySize, 0)")
    browser.call("Network.setCacheDisabled", cacheDisabled=False)
    assert 60_000 < whole <= 150_000


def test_on_paper_there_are_no_buttons(browser: Walker, url: str) -> None:
    """Numbers and states are printed, what can only be clicked is not."""
    browser.open(at(url, "/", DEGRADED))
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        hidden = "getComputedStyle(document.querySelector('{}')).display"
        assert browser.see(hidden.format("#pause")) == browser.see(hidden.format(".under nav")) == "none"
        assert "Degraded" in text(browser, "h1")
        assert len(browser.call("Page.printToPDF", printBackground=True)["data"]) > 10_000
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
