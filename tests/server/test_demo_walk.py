"""A walk through the running demo in a real browser: what a person reads and does before, in and after an incident."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelwatch.demo.run import CONFIG
from modelwatch.testing.programs import Program
from server.frozen import PAGES
from server.test_walk import Walker, press, text
from support import free_port

LONG_S = 60.0  # a busy machine takes its time; nothing waits longer than it must
EVERY_S = 0.05  # between two requests of the test
READY = "document.documentElement?.classList.contains('scripts')"
MODEL = "sentiment_classifier"


class Town:
    """A demo whose traffic stops by its script, a `serve` beside it, and a caller that goes on while it is asked to."""

    def __init__(self, folder: Path) -> None:
        ports = free_port(), free_port()
        self.demo_url, self.serve_url = (f"http://127.0.0.1:{port}" for port in ports)
        ours = [sys.executable, "-m", "modelwatch"]
        demo = [
            *ours,
            "demo",
            "--port",
            str(ports[0]),
            "--data",
            str(folder),
            "--incident",
            "traffic-stop",
            "--seed",
            "5",
        ]
        serve = [*ours, "serve", "--config", str(folder / CONFIG), "--port", str(ports[1])]
        self.demo = Program(demo, f"{self.demo_url}/healthz", log=folder / "demo.log")
        self.serve = Program(serve, f"{self.serve_url}/healthz", log=folder / "serve.log")
        self._calls, self._end = threading.Event(), threading.Event()
        self._caller = threading.Thread(target=self._call, daemon=True)
        self._caller.start()

    def _call(self) -> None:
        numbers = itertools.count()
        while not self._end.wait(EVERY_S):
            if self._calls.is_set():
                body = json.dumps({"text": f"Book {next(numbers)} is good, I liked it.", "category": "books"}).encode()
                request = urllib.request.Request(f"{self.demo_url}/predict", body, {"content-type": "application/json"})
                with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()

    def start(self) -> None:
        """Start the demo, and hold its traffic as soon as it answers; start a `serve` beside it."""
        self.demo.start()
        self._signal(signal.SIGSTOP)
        self.serve.start(wait=False)

    def goes_on(self) -> None:
        """Let the traffic of the demo come, which its script stops, and that of the test."""
        self._signal(signal.SIGCONT)
        self._calls.set()

    def falls_silent(self) -> None:
        """Let nobody call but the demo, whose script says that nobody does."""
        self._calls.clear()

    def _signal(self, number: int) -> None:
        assert self.demo.process is not None
        os.kill(self.demo.process.pid, number)

    def close(self) -> None:
        """End it all."""
        self._end.set()
        if self.demo.process is not None:
            self._signal(signal.SIGCONT)
        self.demo.stop()
        self.serve.stop()
        self._caller.join(15)


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """Return a running demo and a `serve` of the same configuration."""
    made = Town(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()


def verdict(browser: Walker, url: str, *words: str) -> None:
    """Open Health and wait until the verdict begins with one of these words: the page refreshes itself."""
    browser.open(f"{url}/")
    wanted = json.dumps(words)
    browser.wait(f"{wanted}.some(w => document.querySelector('h1')?.innerText.startsWith(w))", LONG_S)


def walk(browser: Walker, url: str) -> dict[str, str]:
    """Open every page; return what a person reads there. Nothing is complained about, nothing is asked elsewhere."""
    read: dict[str, str] = {}
    for page, path in {**PAGES, "review": "/review"}.items():
        browser.open(f"{url}{path}")
        browser.wait(READY)
        read[page] = text(browser)
        assert browser.see("document.querySelectorAll('h1').length") == 1
        assert not {"NaN", "undefined", "null"} & set(read[page].split()), page
        asked: list[str] = browser.see("performance.getEntriesByType('resource').map(e => e.name)")
        assert all(name.startswith((url, "data:")) for name in asked)
        assert browser.problems == []
    return read


def labels_one(browser: Walker, url: str) -> None:
    """Give a name, label a sample by its key and take it back, while the labellers of the demo work beside."""
    browser.forget()
    browser.open(f"{url}/review")
    browser.write("ana")
    press(browser, "Enter")
    browser.wait(f"document.querySelector('.sample') && {READY}", LONG_S)
    first = text(browser, ".sample")
    press(browser, "1")
    browser.wait("document.body.innerText.includes('1 labelled today')")
    assert text(browser, ".sample") != first
    press(browser, "u")
    browser.wait("document.body.innerText.includes('0 labelled today')")
    assert "Taken back" in text(browser)
    assert text(browser, ".sample") == first
    assert browser.problems == []


def looks_around(browser: Walker, url: str) -> None:
    """See which model it is, pick a longer history, and a feature of Drift: the history stays picked."""
    browser.open(f"{url}/")
    browser.wait(READY)
    assert MODEL in text(browser, "header")
    browser.click(".ranges a:nth-child(2)")
    browser.wait("document.querySelector('.ranges [aria-current]')?.innerText.startsWith('6') && " + READY)
    browser.click(".tabs a[href*='/drift']")
    browser.wait("location.pathname === '/drift' && document.querySelector('.moved a')")
    assert "range=6h" in browser.see("location.search")
    browser.click(".moved a[href*='feature=text_length']")
    browser.wait("document.querySelector('[data-part=detail] h2')?.innerText === 'text_length'")
    assert browser.problems == []


def holds(browser: Walker) -> None:
    """Pause the page, so that nothing moves under the hand."""
    browser.wait(READY)
    press(browser, " ")
    browser.wait("document.getElementById('pause').innerText === 'Resume'")


def takes_the_alert(browser: Walker, url: str) -> None:
    """Acknowledge what fires, by name, and silence it with a reason; both are read on the page."""
    browser.forget()
    browser.open(f"{url}/alerts")
    browser.wait("document.querySelector('form[action$=acknowledge] [name=by]')", LONG_S)
    holds(browser)
    browser.click("form[action$=acknowledge] [name=by]")
    browser.write("ann")
    press(browser, "Enter")
    browser.wait("document.querySelector('.by')?.innerText.includes('ann looks after it')")
    holds(browser)
    press(browser, "j", "x")
    browser.wait("document.activeElement.name === 'for'")
    browser.click("details.silence[open] [name=note]")
    browser.write("the callers are being moved")
    press(browser, "Enter")
    browser.wait("document.body?.innerText.includes('the callers are being moved')")
    assert "Silent until" in text(browser)
    assert browser.problems == []


@pytest.mark.timeout(300)
def test_the_whole_demo_is_walked(browser: Walker, town: Town) -> None:
    """Nothing is known yet, all is well, nobody calls any more, the service is gone: met, read, and acted upon."""
    demo, serve = town.demo_url, town.serve_url
    verdict(browser, demo, "Cannot tell")
    assert "No data" in walk(browser, demo)["health"]
    town.goes_on()
    verdict(browser, demo, "Healthy")
    read = walk(browser, demo)
    assert "OK" in read["health"]
    assert "text_length" in read["drift"]
    assert "of 95 %" in read["slos"]
    looks_around(browser, demo)
    labels_one(browser, demo)
    town.falls_silent()
    verdict(browser, demo, "Failing")
    assert "TrafficStopped" in walk(browser, demo)["alerts"]
    takes_the_alert(browser, serve)
    verdict(browser, demo, "Failing")
    town.demo.stop()
    browser.wait("document.body.classList.contains('offline')", LONG_S)
    assert "The numbers below may be wrong now" in text(browser, "#lost")
    assert "Try again" in text(browser, "#lost")
    browser.open(f"{serve}/")
    browser.wait("document.body.innerText.includes('ServiceDown')", LONG_S)
    assert text(browser, "h1").startswith("Failing")
    assert "ServiceDown" in walk(browser, serve)["alerts"]
