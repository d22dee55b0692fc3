"""The page of alerts, the runbooks, and the first page with the state of the alerts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from modelwatch.catalogue import ALERTS
from modelwatch.server.alertspage import SHOWN_LINES, alerts_fragments, alerts_page
from modelwatch.server.pages import health_fragments
from modelwatch.server.runbookpage import markdown, runbook_page, steps
from modelwatch.server.standing import TITLES, standing_of
from server.test_pages import HOSTILE, Reader, replaced, served, told
from server.watched import MODEL, alert, alerts, silent

Sample = Callable[..., dict[str, Any]]
FIRES = alert("HighErrorRate", "warning", "firing")


def test_what_fires_is_told_with_its_numbers_and_what_to_do(sample: Sample) -> None:
    """Value, limit, since, culprits, the steps of the runbook, and both ways on."""
    parts = alerts_fragments(sample(**alerts(FIRES, alert("HighLatencyP95"))))
    assert told(parts["verdict"]) == "Warning – too many requests fail 1 warning. 2 checks ran 4 s ago."
    text = told(parts["firing"])
    assert "WarningToo many requests failHighErrorRate 4.2 % of the requests failed" in text
    assert "now4.2 %" in text
    assert "firesover 2 %" in text
    assert "since14:29 UTC (3 min)" in text
    assert "Most errors: ModelTimeout (571)." in text
    assert "What to doCheck recent error logs: kubectl logs" in text
    links = [held["href"] for tag, held in Reader(parts["firing"]).tags if tag == "a"]
    assert links == ["/", "/runbooks/HighErrorRate"]


def test_critical_comes_first_and_gives_the_page_its_state(sample: Sample) -> None:
    """One critical among warnings: the band is red, and its card is on top."""
    critical = alert("LowModelAccuracy", "critical", "firing", since=None)
    parts = alerts_fragments(sample(**alerts(FIRES, critical)))
    assert 'class="verdict s-crit"' in parts["verdict"]
    assert told(parts["verdict"]).startswith("Critical – accuracy is too low, and 1 more")
    assert re.findall(r'class="card alert s-(\w+)"', parts["firing"]) == ["crit", "warn"]


def test_nothing_fires(sample: Sample) -> None:
    """It says so with how many checks ran and when, and that all of them have an answer."""
    parts = alerts_fragments(sample(**alerts(alert("HighErrorRate"), alert("HighLatencyP95"))))
    assert told(parts["verdict"]) == "Quiet – nothing is firing 2 checks ran 4 s ago. All of them have an answer."
    assert parts["firing"] == ""
    assert 'class="verdict s-ok"' in parts["verdict"]


def test_information_wakes_nobody(sample: Sample) -> None:
    """An alert of severity info is shown, and changes no state."""
    parts = alerts_fragments(sample(**alerts(alert("LatencyTrend", "info", "firing"))))
    assert 'class="verdict s-ok"' in parts["verdict"]
    assert "1 notice, which wakes nobody." in told(parts["verdict"])
    assert 'class="card alert s-info"' in parts["firing"]


def test_what_waits_says_how_long_still(sample: Sample) -> None:
    """Three of ten minutes: seven more."""
    parts = alerts_fragments(sample(**alerts(alert("HighErrorRate", "warning", "pending"))))
    text = told(parts["pending"])
    assert "Fires in 7 min if it stays so: it has held for 3 min of 10 min." in text
    assert "4.2 %, fires over 2 %" in text
    assert "1 check ran 4 s ago. 1 waits below." in told(parts["verdict"])


def test_what_cannot_be_told_is_no_all_clear(sample: Sample) -> None:
    """A state of its own with the reason, and the remedy where nobody asks the service."""
    held = alerts(alert("HighErrorRate"), silent("DataDriftDetected", "version 2 is new: judged in 4 hours"),
                  silent("ServiceDown", "no replicas in this window"))  # fmt: skip
    parts = alerts_fragments(sample(**held))
    assert told(parts["verdict"]).startswith("Cannot tell – nothing is firing, but 2 of 3 checks have no answer")
    text = told(parts["silent"])
    assert "version 2 is new: judged in 4 hours" in text
    assert "Set service.health_url" in text
    assert text.count("Set service.health_url") == 1
    assert "HighErrorRate" not in text


def test_an_alert_that_says_that_it_cannot_tell_has_that_colour(sample: Sample) -> None:
    """CannotTell is a warning, and violet: on its card, on the page, and on the first page."""
    status = sample(**alerts(alert("CannotTell", "warning", "firing", labels={"what": "drift"})))
    parts = alerts_fragments(status)
    assert 'class="card alert s-unk"' in parts["firing"]
    assert 'class="verdict s-unk"' in parts["verdict"]
    assert told(health_fragments(status)["verdict"]).startswith("Cannot tell – drift cannot be told")


def test_the_quiet_ones_are_one_line_an_alert(sample: Sample) -> None:
    """Severities of one alert share a line with what was seen and where it would fire."""
    held = [alert("HighErrorRate", s, value=0.0009, limit=v) for s, v in (("critical", 0.05), ("warning", 0.02))]
    text = told(
        alerts_fragments(sample(**alerts(*held, alert("MissingValues", labels={"feature_name": "age"}))))["quiet"]
    )
    assert "0.09 %, fires over 5 % (critical), over 2 % (warning)" in text
    assert "MissingValuesage" in text
    assert text.startswith("Quiet2")


def test_quiet_beyond_its_limit_says_that_more_is_needed(sample: Sample) -> None:
    """Severe drift is critical only with a bad accuracy: the line does not read as if it should fire."""
    held = alert(
        "DataDriftDetected", "critical", value=0.34, limit=0.25, op=">=", unit="score", labels={"feature_name": "age"}
    )
    text = told(alerts_fragments(sample(**alerts(held)))["quiet"])
    assert "0.340, fires at 0.250 (critical, with more that does not hold)" in text


def test_a_feature_is_called_by_its_own_name(sample: Sample) -> None:
    """The first letter of a name is not changed, that of a sentence is large."""
    held = [alert("DataDriftDetected", state="firing", labels={"feature_name": "age", "drift": "severe"}), FIRES]
    text = told(alerts_fragments(sample(**alerts(*held)))["firing"])
    assert "age has drifted, severely" in text
    assert "Too many requests fail" in text


def test_what_another_says_already_is_not_told_twice(sample: Sample) -> None:
    """A silenced alert is no card; it is named with the one that speaks for it."""
    parts = alerts_fragments(
        sample(**alerts(FIRES, alert("LowModelAccuracy", state="firing", silenced_by="ServiceDown")))
    )
    assert "accuracy" not in told(parts["firing"])
    assert "fires, but ServiceDown says it already" in told(parts["pending"])


@pytest.mark.parametrize(
    ("age_s", "reason", "said"),
    [
        (None, None, "No evaluation has been made yet."),
        (None, "another process evaluates for this store", "Another process evaluates for this store."),
        (3600.0, "live.db: is locked", "The last evaluation was 60 min ago: live.db: is locked."),
    ],
)
def test_an_evaluation_that_stands_still_proves_nothing(
    sample: Sample, age_s: float | None, reason: str | None, said: str
) -> None:
    """Old verdicts are not green, here and on the first page."""
    status = sample(**alerts(alert("HighErrorRate"), age_s=age_s, reason=reason))
    page = alerts_fragments(status)["verdict"]
    assert told(page).startswith("Cannot tell – the alerts are not evaluated")
    assert said in told(page)
    assert told(health_fragments(status)["verdict"]).startswith("Cannot tell – the alerts are not evaluated")


def test_without_an_evaluation_it_says_how_to_have_one(sample: Sample) -> None:
    """A page of the service alone judges no alert, and does not pretend to."""
    parts = alerts_fragments(sample())
    assert told(parts["verdict"]).startswith("Not evaluated")
    assert "modelwatch serve" in told(parts["firing"])
    assert standing_of(sample(), None) is None


def test_alerts_of_other_models_stay_there(sample: Sample) -> None:
    """The page of one model has its alerts and those of the service."""
    other = alert("HighErrorRate", "critical", "firing", model="other")
    service = alert("ServiceDown", "critical", "firing", model="")
    text = told(alerts_fragments(sample(**alerts(other, service)))["firing"])
    assert "HighErrorRate" not in text
    assert "ServiceDown" in text


def test_hundreds_of_lines_are_bounded_and_counted(sample: Sample) -> None:
    """What is not shown is said."""
    held = [alert("MissingValues", labels={"feature_name": f"f{i}"}) for i in range(SHOWN_LINES + 5)]
    text = told(alerts_fragments(sample(**alerts(*held)))["quiet"])
    assert text.endswith("5 more are not shown.")


# ---- one state a signal


def test_the_first_page_has_the_state_of_the_alerts(sample: Sample) -> None:
    """A critical alert: Failing, on the band, the panel, the tab and the menu's state."""
    parts = health_fragments(sample("degraded", **alerts(alert("HighErrorRate", "critical", "firing"))))
    assert told(parts["verdict"]).startswith("Failing – too many requests fail 4.2 % of the requests failed")
    assert ("a", {"href": "/runbooks/HighErrorRate"}) in Reader(parts["verdict"]).tags
    assert "Since 14:29 UTC3 minOpen the runbook" in told(parts["verdict"])
    assert 'class="card big s-crit k-errors"' in parts["errors"]
    assert "Alerts: Critical: too many requests fail" in told(parts["tabs"]).replace("Alerts1", "Alerts")


def test_beyond_a_limit_but_not_long_enough_is_no_warning(sample: Sample) -> None:
    """The reading is over its limit, its alert only waits: information, and the page is not degraded."""
    parts = health_fragments(sample("degraded", **alerts(alert("HighErrorRate", "warning", "pending"))))
    assert 'class="card big s-info k-errors"' in parts["errors"]
    assert told(parts["verdict"]).startswith("Healthy")
    assert told(parts["verdict"]).endswith("1 alert was checked; all have an answer.")


def test_what_is_said_aloud_has_no_number_that_changes(sample: Sample) -> None:
    """The sentence for the ear is the same while only the values change."""
    first, later = (sample(**alerts(alert("HighErrorRate", state="firing", value=v))) for v in (0.04, 0.05))
    for fragments in (health_fragments, alerts_fragments):
        assert fragments(first)["said"] == fragments(later)["said"]


def test_every_alert_has_a_title() -> None:
    """No alert of the catalogue is called by its rule's name only."""
    assert set(TITLES) == set(ALERTS)


# ---- runbooks


@pytest.mark.parametrize("name", ALERTS)
def test_every_runbook_is_a_page(name: str) -> None:
    """All of Markdown that they use becomes HTML, and nothing is left over."""
    page = runbook_page(name, base="/watch", model="a b")
    text = told(page)
    assert "Meaning" in text
    assert "##" not in text
    assert "```" not in text
    assert ("a", {"href": "/watch/runbooks?model=a%20b"}) in Reader(page).tags
    assert name == "Watchdog" or "<li>" in steps(name)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_markdown_is_text_but_for_its_few_marks(hostile: str) -> None:
    """Tags, attributes and links in a runbook are shown, not run."""
    for line in (
        hostile,
        f"# {hostile}",
        f"- {hostile}",
        f"1. `{hostile}`",
        f"```\n{hostile}\n```",
        f"[x]({hostile})",
        f"{hostile} `x` {hostile}",
    ):
        tags = {tag for tag, held in Reader(str(markdown(line)).encode("utf-8", "replace").decode()).tags}
        assert tags <= {"p", "h1", "ul", "ol", "li", "code", "pre"}


def test_runbooks_are_served_and_others_are_not(sample: Sample) -> None:
    """A page for each alert; for what is no alert 404 with a way out, and no file of ours."""
    client = served(sample())
    assert "HighErrorRate" in told(client.get("/runbooks/HighErrorRate").text)
    for name in ("none", "..%2fpages.py", "<b>"):
        answer = client.get(f"/runbooks/{name}")
        assert answer.status_code == 404
        assert "<b>" not in answer.text


# ---- hostile text, and the document


@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_never_becomes_markup(sample: Sample, hostile: str) -> None:
    """Summaries, labels, culprits, reasons and names are text; the tags are those of a harmless page."""
    held = alerts(
        alert("DataDriftDetected", state="firing", labels={"feature_name": "a"}), alert("SegmentAccuracyLow", labels={"segment": "a"}),
        silent("MissingValues", "a"), alert("HighErrorRate", state="pending"), reason="a",
    )  # fmt: skip
    pages = []
    for text in ("a", hostile):
        status = sample(**held)
        status["alerts"]["alerts"] = [
            {**one, **{k: replaced(v, text) for k, v in one.items() if k not in {"alert", "state", "severity", "outcome", "model", "op", "unit"}}}
            for one in held["alerts"]["alerts"]
        ]  # fmt: skip
        status["evaluation"] = replaced(held["evaluation"], text)
        pages.append(Reader(alerts_page(status)))
    assert [tag for tag, _ in pages[1].tags] == [tag for tag, _ in pages[0].tags]
    assert not any(name.startswith("on") or name == "style" for _, h in pages[1].tags for name in h)
    assert not any(h.get("href", "").startswith("javascript") for _, h in pages[1].tags)


def test_page_and_fragments_are_the_same_text_in_their_boxes(sample: Sample) -> None:
    """The first refresh changes nothing, and every part has a box."""
    status = sample(**alerts(FIRES, silent("ServiceDown", "no replicas")))
    page, parts = alerts_page(status, model=MODEL), alerts_fragments(status, model=MODEL)
    assert all(html in page for html in parts.values())
    assert {h["data-part"] for _, h in Reader(page).tags if "data-part" in h} == set(parts)


def test_the_application_serves_it(sample: Sample) -> None:
    """Page, fragments, and 404 for a model that there is not."""
    client = served(sample(**alerts(FIRES)))
    assert client.get("/alerts").status_code == 200
    assert client.get("/fragments/alerts").json() == alerts_fragments(sample(**alerts(FIRES)))
    assert client.get("/alerts", model="x").status_code == 404
