"""A report in a real browser: light, dark and on a phone, without a script, a request or a complaint."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelwatch.report import report
from report import reported
from server.conftest import Browser


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (1440, True), (390, False)])
def test_a_report_is_shown_as_it_is(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:  # noqa: FBT001
    """Nothing is asked for, blocked or wider than the screen; links lead to their cards."""
    log, training = reported.rows(3000), reported.rows(3000, 2, broken=False)
    path = tmp_path / "report.html"
    path.write_text(report(log, training, model=reported.model()).to_html(), encoding="utf-8")
    browser.open(path.as_uri(), width, dark=dark, scripts=False)
    assert browser.problems == []
    assert browser.see("document.documentElement.scrollWidth") <= width
    assert browser.see("performance.getEntriesByType('resource').length") == 0
    assert browser.see("document.querySelectorAll('main .card').length") > 8
    wide = "[...document.querySelectorAll('main .card')].filter(c => c.scrollWidth > c.clientWidth + 1).length"
    assert browser.see(wide) == 0
    dead = "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.querySelector(a.hash)).length"
    assert browser.see(dead) == 0
