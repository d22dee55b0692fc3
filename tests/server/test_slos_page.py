"""The page of objectives: states, budgets, forecasts, one state with the alerts, hostile text."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from modelwatch.server.budgets import budget_bar, day_bars
from modelwatch.server.slospage import slos_fragments, slos_page
from server.test_pages import HOSTILE, Reader, replaced, served, told
from server.watched import MODEL, alert, alerts, objectives, slo

Sample = Callable[..., dict[str, Any]]


def test_all_are_met(sample: Sample) -> None:
    """Green, with the one of which the least is left."""
    parts = slos_fragments(sample(**objectives(slo(), slo("error_rate", remaining=0.2))))
    assert told(parts["verdict"]).startswith(
        "Meeting – all objectives are met The least budget is left of error rate: 20 % left"
    )
    assert re.findall(r'<th scope="row">([\w ]+)', parts["budgets"]) == ["Error rate", "Latency"]


def test_a_row_has_all_its_numbers(sample: Sample) -> None:
    """What is promised, kept, left, how fast it goes, and how long it lasts; units on each."""
    text = told(slos_fragments(sample(**objectives(slo())))["budgets"])
    assert "Latency95 % of requests answered within 200 msMeeting98.3 %of 95 %" in text
    assert "66 % left · 1,530 of 90,000 requests slow" in text
    assert "0.42 × 1 h0.38 × 1 dNot spent at this rate" in text


def test_a_spent_budget_is_first_and_amber(sample: Sample) -> None:
    """Violated before all that is met; red is for a page."""
    parts = slos_fragments(sample(**objectives(slo("latency"), slo("accuracy", "broken"))))
    assert told(parts["verdict"]).startswith(
        "Violated – accuracy is not kept Accuracy: 98.3 % of the promised 95 %, 44 % over budget"
    )
    assert 'class="verdict s-warn"' in parts["verdict"]
    assert re.findall(r'<tr class="s-(\w+)"', parts["budgets"]) == ["warn", "ok"]
    assert "Spent" in told(parts["budgets"])


def test_a_budget_that_burns_has_the_state_of_its_alert(sample: Sample) -> None:
    """Still met, but the critical burn-rate alert fires: red, and told as burning."""
    burns = alert("SLOBurnRate", "critical", "firing", labels={"slo": "latency", "window": "60m"})
    ahead = slo(forecast=[90_000.0, 80_000.0, 200_000.0, "in 22 hours to 2 days"])
    parts = slos_fragments(sample(**objectives(ahead, slo("error_rate")), **alerts(burns)))
    assert told(parts["verdict"]).startswith("Burning – the budget of latency goes too fast")
    assert "Spent in 22 hours to 2 days. Hold risky changes." in told(parts["verdict"])
    assert re.findall(r'<tr class="s-(\w+)"', parts["budgets"]) == ["crit", "ok"]


def test_the_band_speaks_of_the_most_urgent(sample: Sample) -> None:
    """One burns and pages, another is spent: the band is red for the first, and names the second."""
    burns = alert("SLOBurnRate", "critical", "firing", labels={"slo": "error_rate", "window": "60m"})
    parts = slos_fragments(sample(**objectives(slo("accuracy", "broken"), slo("error_rate")), **alerts(burns)))
    assert told(parts["verdict"]).startswith("Burning – the budget of error rate goes too fast")
    assert "Not kept: accuracy." in told(parts["verdict"])
    assert 'class="verdict s-crit"' in parts["verdict"]


def test_what_cannot_be_told_is_hatched_and_has_its_reason(sample: Sample) -> None:
    """No number, no green: the reason stands where the budget would."""
    parts = slos_fragments(sample(**objectives(slo(), slo("availability", "cannot_tell"))))
    assert told(parts["verdict"]).startswith("Cannot tell – 1 of 2 objectives have no answer")
    assert "no requests in this period" in told(parts["budgets"])
    assert "url(#mw-hatch)" in parts["budgets"]
    assert "0 % left" not in told(parts["budgets"])


def test_none_configured_says_how(sample: Sample) -> None:
    """Nothing is promised: what to write where."""
    parts = slos_fragments(sample(**objectives()))
    assert told(parts["verdict"]).startswith("No objectives")
    assert "latency: {threshold: 200ms, objective: 0.95}" in told(parts["todo"])
    assert parts["budgets"] == ""


def test_nobody_keeps_the_account(sample: Sample) -> None:
    """A page of the service alone names the process that does."""
    parts = slos_fragments(sample())
    assert told(parts["verdict"]).startswith("Not evaluated")
    assert "modelwatch serve" in told(parts["todo"])


def test_an_account_that_cannot_be_read_is_told(sample: Sample) -> None:
    """The reason, and no table."""
    parts = slos_fragments(sample(slos={"reason": "live.db: is locked"}))
    assert "Cannot tell – the budgets cannot be read live.db: is locked." in told(parts["verdict"])
    assert parts["budgets"] + parts["todo"] == ""


@pytest.mark.parametrize(
    ("kept", "words"), [(1.0, "100 %"), (0.99999, "> 99.99 %"), (0.9962, "99.62 %"), (0.784, "78.4 %"), (None, "–")]
)
def test_what_is_kept_is_not_rounded_to_all(sample: Sample, kept: float | None, words: str) -> None:
    """One failure in a million is not 100 %."""
    text = told(slos_fragments(sample(**objectives(slo(compliance=kept))))["budgets"])
    assert f"Meeting{words}of 95 %" in text


def test_amounts_are_no_percentages(sample: Sample) -> None:
    """Throughput in requests per second, cost as it was promised."""
    held = objectives(slo("throughput", objective=1000.0, held=1240.0), slo("cost", objective=0.05, bad=3.2, valid=9.0))
    text = told(slos_fragments(sample(**held))["budgets"])
    assert "1,240 req/sof 1,000" in text
    assert "3.20 of 9.00 allowed" in text


@pytest.mark.parametrize(
    ("left", "x", "width"),
    [(1.0, 33.33, 66.67), (0.0, 33.33, 0.0), (0.5, 33.33, 33.33), (-0.25, 16.67, 16.67), (-9.0, 0.0, 33.33)],
)
def test_the_bar_grows_left_of_zero_when_overspent(left: float, x: float, width: float) -> None:
    """Zero is at a third; all of it is the right end, and what is worse than the left end stays inside."""
    found = re.search(r'class="bf s" x="([\d.e-]+)%" width="([\d.e-]+)%"', budget_bar(left))
    assert found is not None
    assert [float(v) for v in found.groups()] == pytest.approx([x, width], abs=0.01)


def test_days_above_their_part_stand_out() -> None:
    """A day that spends more than its fair part has the colour of the state; one without counts is no zero."""
    picture = day_bars([None, 0.1, 0.9, 0.0])
    assert picture.count('class="bf s"') == 1
    assert picture.count('class="bf"') == 2
    assert picture.count('class="bb"') == 1
    assert "Most of the budget that one day spent: 90" in picture
    assert day_bars([]) == ""


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_never_becomes_markup(sample: Sample, hostile: str) -> None:
    """Names, promises, reasons and forecasts are text; the tags are those of a harmless page."""
    held = [slo(), slo("accuracy", "broken"), slo("cost", "cannot_tell")]
    pages = []
    for text in ("a", hostile):
        rows = [{k: v if k == "state" else replaced(v, text) for k, v in one.items()} for one in held]
        pages.append(Reader(slos_page(sample(slos={"models": {MODEL: rows}}))))
    assert [tag for tag, _ in pages[1].tags] == [tag for tag, _ in pages[0].tags]
    assert not any(name.startswith("on") or name == "style" for _, h in pages[1].tags for name in h)


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -1.0, 10**400, "text", []])
def test_any_number_may_be_missing(sample: Sample, bad: Any) -> None:
    """Each field in turn is absurd: the page is whole, and says neither NaN nor None."""
    for key in slo().keys() - {"slo", "good", "reason"}:
        page = Reader(
            slos_page(sample(**objectives(slo(**{key: bad}) if key not in {"slo", "state"} else {**slo(), key: bad})))
        )
        assert "nan" not in page.text.lower()
        assert "None" not in page.text


def test_page_and_fragments_are_the_same_text_in_their_boxes(sample: Sample) -> None:
    """The first refresh changes nothing, every part has a box, and the application serves both."""
    status = sample(**objectives(slo()))
    page, parts = slos_page(status), slos_fragments(status)
    assert all(html in page for html in parts.values())
    assert {h["data-part"] for _, h in Reader(page).tags if "data-part" in h} == set(parts)
    client = served(status)
    assert client.get("/slos").text == page
    assert client.get("/fragments/slos").json() == parts
