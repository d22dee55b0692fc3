"""The pages in a real browser: weight and first paint of Health, a label until the next sample, five hundred features."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bench.harness import ROOT, Effort, Gate, Row

sys.path.insert(0, str(ROOT / "tests"))  # the browser and the frozen service of the tests

FEATURES = 500
PAINT, ROUND_TRIP = Gate("at most", 0.3), Gate("at most", 0.05)
WEIGHT = Gate("at most", 150)
PAINTED = """new Promise(done => requestAnimationFrame(() => setTimeout(
  () => done(performance.getEntriesByType("paint")[0]?.startTime ?? 0), 50)))"""
WHOLE = """[...performance.getEntriesByType("resource"), performance.getEntriesByType("navigation")[0]]
  .filter(e => !e.name.startsWith("data:")).reduce((n, e) => n + e.decodedBodySize, 0)"""
#: Presses the key of a class and returns the milliseconds until another sample stands there.
LABELLED = """new Promise(done => {{ const began = performance.now(), item = document.querySelector("[data-part=item]");
  const sample = item.querySelector("[name=request_id]").value;
  const watch = new MutationObserver(() => {{ const next = item.querySelector("[name=request_id]");
    if (next && next.value !== sample) {{ watch.disconnect(); done(performance.now() - began); }} }});
  watch.observe(item, {{ childList: true, subtree: true }});
  document.body.dispatchEvent(new KeyboardEvent("keydown", {{ key: "{}", bubbles: true }})); }})"""


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the pages; without Chromium, that it was not run."""
    from server.conftest import Browser, Served, chromium
    from server.frozen import DEGRADED, frozen, reviewed

    program = chromium()
    if program is None:
        return [Row("Health, first paint", None, "Chromium", None, note="it is not installed")]
    with TemporaryDirectory(prefix="modelwatch-bench-") as name:
        folder = Path(name)
        app, monitor = reviewed(folder, frozen)
        labels = min(20, max(5, effort.few * 2))
        for i in range(labels + 5):
            monitor.record(
                "/predict",
                duration=0.01,
                prediction="positive",
                confidence=0.6,
                request_id=f"more-{i}",
                input=f"sample {i}",
            )
        monitor.flush(5)
        wide = _many_features(frozen)
        served, drifted = Served(app), Served(wide)
        browser = Browser(program, folder / "chromium")
        try:
            browser.call("Network.setCacheDisabled", cacheDisabled=True)
            at = f"{served.url}/?model={DEGRADED}"
            paint, whole = _painted(browser, at, effort.few), float(browser.see(WHOLE)) / 1e3
            features = _painted(browser, f"{drifted.url}/drift?model={DEGRADED}", effort.few)
            refresh = _asked(browser, f"/fragments/drift?model={DEGRADED}", effort.few)
            trip = _labelled(browser, f"{served.url}/review?model={DEGRADED}", labels)
        finally:
            browser.close()
            served.close()
            drifted.close()
            monitor.close()
    return [
        Row("Health: page, style and script together", whole, gate=WEIGHT, unit="KB"),
        Row("Health: first paint", paint, gate=PAINT),
        Row(f"Drift of {FEATURES} features: first paint", features, gate=PAINT),
        Row(f"Drift of {FEATURES} features: one refresh", refresh),
        Row("Review: from the key to the next sample", trip, gate=ROUND_TRIP),
    ]


def _many_features(frozen: Callable[[], dict[str, Any]]) -> Any:
    """Return the pages of a service whose first model has many features, one in ten of them drifted."""
    from modelwatch.server.web import pages_app
    from server.watched import row

    status = frozen()
    rows = [row(f"feature_{i}", "warning" if i % 10 == 0 else None) for i in range(FEATURES)]
    status["models"][0]["drift"]["rows"] = rows
    return pages_app(lambda: status)


def _painted(browser: Any, url: str, rounds: int) -> float:
    """Return the seconds until something stands on the screen, the best of some rounds."""
    found = []
    for _ in range(rounds):
        browser.open(url)
        found.append(float(browser.see(PAINTED)) / 1000)
    return min(known for known in found if known > 0)


def _asked(browser: Any, path: str, rounds: int) -> float:
    """Return the seconds of one refresh, the best of some rounds."""
    script = f"(async () => {{ const t = performance.now(); await (await fetch('{path}')).json(); return performance.now() - t; }})()"
    return min(float(browser.see(script)) for _ in range(rounds)) / 1000


def _labelled(browser: Any, url: str, labels: int) -> float:
    """Return the median seconds from the key of a class to the next sample, the labels durable."""
    browser.open(url)
    browser.see("document.querySelector('#who').value = 'ana'; document.querySelector('form.ask').submit()")
    browser.wait("document.querySelector('.sample') && document.documentElement?.classList.contains('scripts')")
    times = []
    for i in range(labels):
        began = perf_counter()
        times.append(min(float(browser.see(LABELLED.format(1 + i % 3))) / 1000, perf_counter() - began))
    return sorted(times)[len(times) // 2]
