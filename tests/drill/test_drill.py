"""The drill itself: by real programs, embedded and on a real Prometheus and Alertmanager; and what it makes of what it sees."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modelwatch.cli import app
from modelwatch.demo.incidents import SCRIPTS
from modelwatch.drill import report
from modelwatch.drill.faults import FAULTS, MODES, chosen
from modelwatch.drill.lab import Lab, Place, demo_place, staging_place
from modelwatch.drill.run import (
    SERVICES,
    SHORT_S,
    SHORT_SCALE,
    STACK_SCALE,
    Drill,
    Told,
    Trial,
    long_drill,
    short_drill,
    waves_of,
)
from modelwatch.drill.watching import LOOK_S, Alert, Seen, Span, Watch, get_json, inbox
from modelwatch.errors import ModelwatchError
from modelwatch.generate.context import EVALUATE_S, SCRAPE_S
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Delivered, Outcome, Refused, Retry
from modelwatch.serve.prober import EVERY_S
from modelwatch.testing.forms import PAGERDUTY, SLACK, Form
from support import require

ERRORS, WARNING = Alert("HighErrorRate", "critical", ""), Alert("HighErrorRate", "warning", "")
PATIENCE = 2.5  # times SHORT_S: a busy machine must not fail the test


@pytest.mark.timeout(200)
def test_every_fault_is_told_and_its_end_as_well(tmp_path: Path) -> None:
    """Eleven on the demo: injected, seen, firing, told to Slack and PagerDuty, over, in this order; by real processes."""
    drill = short_drill(chosen([]), tmp_path, lambda _: None, SHORT_S * PATIENCE)
    said = report.as_json(drill)
    brief = [name for name in FAULTS if any(name in names for names in SERVICES)]
    assert [one["name"] for one in said["faults"]] == brief
    assert len(brief) == len(FAULTS) - 1  # the budget burns slowly for minutes
    assert {one["name"]: one["why"] for one in said["faults"] if not one["passed"]} == {}
    assert drill.passed
    for one in said["faults"]:
        at = one["at"]
        assert at["injected"] <= at["delivered"] <= at["resolved"], one
        assert at["injected"] <= at["firing"], one
        assert all(alert["fired"] for alert in one["alerts"])
        kinds = set() if one["name"] == "serve-killed" else {"slack", *(["pagerduty"] * FAULTS[one["name"]].pages)}
        assert {kind for kind, told in one["told"].items() if told["resolved"]} == kinds
    page = report.as_html(drill)
    assert all(name in page for name in brief)
    assert json.loads(json.dumps(said)) == said


INCIDENT = ("errors", "slow-requests", "drift", "service-down", "traffic-stop")


#: The incidents of the demo, and the fault of the drill that is each of them.
DEMO = {
    "errors": "errors", "latency": "slow-requests", "drift": "drift", "accuracy": "wrong-labels",
    "outage": "service-down", "slow-burn": "slow-burn", "traffic-stop": "traffic-stop",
}  # fmt: skip


def test_every_incident_of_the_demo_is_a_fault() -> None:
    """What breaks in the demo's tour is broken by the drill as well, and so proved on the stack."""
    assert [incident.name for incident in SCRIPTS["tour"].incidents] == list(DEMO)
    assert set(DEMO.values()) <= set(FAULTS)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_every_fault_is_told_by_prometheus_and_alertmanager(tmp_path: Path) -> None:
    """All of them on the real programs: told to Slack, what pages to PagerDuty, ended at both; the dead-man's receiver too."""
    require("prometheus")
    require("prometheus-alertmanager")
    place = demo_place(tmp_path / "demo", STACK_SCALE, 40.0)
    drill = long_drill(place, chosen([]), ["stack"], tmp_path, lambda _: None)
    assert {trial.fault.name: trial.why for trial in drill.trials if not trial.passed} == {}
    assert [trial.fault.name for trial in drill.trials] == list(FAULTS)
    for trial in drill.trials:
        kinds = {"slack", *(["pagerduty"] if trial.fault.pages else [])} if not trial.fault.kills_evaluator else set()
        assert set(trial.told) == kinds
        for told in trial.told.values():
            assert told.delivered is not None
            assert told.resolved is not None
            assert trial.removed is not None
            assert told.delivered <= trial.removed <= told.resolved  # while it was broken, it did not end


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_both_modes_tell_the_same_of_one_incident(tmp_path: Path) -> None:
    """One service, watched by `serve` and by Prometheus: the same alerts, severities and culprits, at the same times.

    Times may differ by an evaluation of each, one scrape, and the two looks at them.
    """
    require("prometheus")
    require("prometheus-alertmanager")
    place = demo_place(tmp_path / "demo", STACK_SCALE, 40.0)
    drill = long_drill(place, chosen(INCIDENT), MODES, tmp_path, lambda _: None)
    assert {(trial.fault.name, trial.mode): trial.why for trial in drill.trials if not trial.passed} == {}
    ours, theirs = drill.intervals("embedded"), drill.intervals("stack")
    assert {alert.name for alert in theirs} == {FAULTS[name].alert for name in INCIDENT}
    assert ours.keys() == theirs.keys()
    intervals_s = (EVERY_S / STACK_SCALE, EVALUATE_S / STACK_SCALE, SCRAPE_S / STACK_SCALE)
    allowed_s = sum(max(interval_s, 1.0) for interval_s in intervals_s) + 2 * LOOK_S
    apart = {alert: [abs(a - b) for a, b in zip(ours[alert], theirs[alert], strict=True) if a and b] for alert in ours}
    assert {alert: by for alert, by in apart.items() if max(by) > allowed_s} == {}
    assert all(len(by) == 2 for by in apart.values()), apart


def seen(state: str, alert: Alert = ERRORS, *, beyond: bool = True) -> Seen:
    """Return an alert as it looks now."""
    return Seen(alert, state, beyond)


def test_a_watch_keeps_when_each_step_was_seen() -> None:
    """The value moves, the alert waits, fires and ends; it may fire again, and that is another time."""
    watch = Watch(list)
    looks = ("inactive", "pending", "firing", "firing", None, "pending", "firing", "pending")
    for second, state in enumerate(looks):
        watch.take([] if state is None else [seen(state), seen("pending", WARNING)], 100.0 + second)
    first, *more = [span for span in watch.spans if span.alert == ERRORS]
    assert (first.moved, first.pending, first.firing, first.ended) == (100, 101, 102, 104)
    assert [(span.pending, span.firing, span.ended) for span in more] == [(105, 106, 107)]
    assert [span.pending for span in watch.spans if span.alert == WARNING] == [100, 105]
    assert not watch.is_quiet("HighErrorRate")
    assert watch.of("HighErrorRate", 106.0) == [s for s in watch.spans if s.ended is None or s.ended >= 106]
    watch.take([seen("inactive")], 120.0)
    assert watch.is_quiet("HighErrorRate")


#: What serve and the generated Alertmanager send, less what does not matter here.
TRIGGER = {
    "routing_key": "k", "event_action": "trigger", "dedup_key": "a",
    "payload": {"summary": "[CRITICAL] ServiceDown", "source": "shop", "severity": "critical"},
}  # fmt: skip
RESOLVE = {"routing_key": "k", "event_action": "resolve", "dedup_key": "a"}
POSTED = {"attachments": [{"title": "FIRING: ServiceDown (critical)", "text": "down", "fallback": "down"}]}
OVER = {"text": "[RESOLVED] ServiceDown of shop", "blocks": []}


@pytest.mark.parametrize(
    ("form", "begins", "ends", "says"), [(PAGERDUTY, TRIGGER, RESOLVE, 202), (SLACK, POSTED, OVER, 200)]
)
def test_an_inbox_takes_and_refuses(form: Form, begins: Any, ends: Any, says: int) -> None:
    """What is refused has not arrived; the first message of an alert that says so counts, from a moment on."""
    sender = Client()
    with inbox(form) as box:

        def send(body: Any) -> Outcome:
            return sender.post(box.receiver.url, json.dumps(body).encode(), {})

        box.is_down = True
        assert isinstance(send(begins), Retry)
        assert (box.refused, box.first("ServiceDown", "firing", 0.0)) == (1, None)
        box.is_down = False
        began = time.time()
        assert send(begins) == Delivered()
        at = box.first("ServiceDown", "firing", 0.0)
        assert at is not None
        assert at >= began
        assert box.first("Service", "firing", 0.0) is None  # of another name
        assert box.first("ServiceDown", "resolved", 0.0) is None
        assert box.first("ServiceDown", "firing", at + 1) is None
        assert send(ends) == Delivered()
        assert box.first("ServiceDown", "resolved", at) is not None
        assert form.answer(box.receiver.requests[0])[0] == says
        assert isinstance(send({"text": ""}), Refused)
        assert box.malformed
        assert len(box.taken) == 2


def tried(name: str, without: str = "") -> Trial:
    """Return a fault that was tried, with every step but one."""
    at = {step: None if step == without else 2.0 for step in ("firing", "delivered", "resolved")}
    return Trial(
        FAULTS[name], "embedded", 1.0, firing=at["firing"], delivered=at["delivered"], resolved=at["resolved"]
    )  # fmt: skip


@pytest.mark.parametrize("missing", ["firing", "delivered", "resolved"])
def test_a_step_that_is_missing_fails_the_drill(missing: str) -> None:
    """A drill passes only when every alert fired, was delivered, and resolved; a drill of nothing proves nothing."""
    good, bad = tried("errors"), tried("drift", without=missing)
    assert good.passed
    assert not bad.passed
    assert Drill([good], 1, 0).passed
    assert not Drill([good, bad], 1, 0).passed
    assert not Drill([], 1, 0).passed
    (_, told) = report.as_json(Drill([good, bad], 60.0, 0.0))["faults"]
    assert (told["fired"], told["delivered"], told["resolved"], told["passed"]) == (
        missing != "firing", missing != "delivered", missing != "resolved", False,
    )  # fmt: skip


def test_a_watch_believes_an_evaluator_that_says_since_when() -> None:
    """A look that comes late, on a busy machine, says when it began all the same."""
    watch = Watch(list)
    watch.take([Seen(ERRORS, "pending", beyond=True, since=99.0)], 101.0)
    watch.take([Seen(ERRORS, "firing", beyond=True, since=104.5)], 109.0)
    (span,) = watch.spans
    assert (span.moved, span.pending, span.firing) == (101, 99, 104.5)


def test_an_end_while_it_is_broken_fails_the_drill() -> None:
    """A receiver that is told of an end before the fault is off has been told wrongly, whatever it is told later."""
    good, early, never = (tried("errors") for _ in range(3))
    good.removed, good.told = 3.0, {"slack": Told(2.0, 4.0), "pagerduty": Told(2.0, 3.5)}
    early.removed, early.told = 3.0, {"slack": Told(2.0, 4.0), "pagerduty": Told(2.0, 2.5)}
    never.told = {"slack": Told(2.0, 4.0)}
    assert [trial.passed for trial in (good, early, never)] == [True, False, False]


def test_a_drill_of_both_modes_says_how_far_apart_they_were() -> None:
    """By fault and alert, the first time of each that both saw; positive where `serve` was later; beside what is allowed."""
    spans = {
        "embedded": [Span(ERRORS, 9, 10, 20.5, 40.0), Span(ERRORS, 50, 50, 60.0, 70.0), Span(WARNING, 9, 10, None, 12)],
        "stack": [Span(ERRORS, 9, 10, 19.0, 42.0), Span(WARNING, 9, 10, 30.0, None)],
    }
    trials = [Trial(FAULTS["errors"], mode, 1.0, spans=spans[mode]) for mode in MODES]
    drill = Drill(trials, 30.0, 0.0)
    assert [(one.fault, one.alert, one.fired_s, one.ended_s) for one in drill.apart()] == [
        ("errors", ERRORS, 1.5, -2.0)
    ]
    assert (drill.allowed_s, Drill([], 1.0, 0.0).allowed_s) == (3.0, 75.0)
    (said,) = report.as_json(drill)["apart"]["alerts"]
    assert said == {
        "fault": "errors", "name": "HighErrorRate", "severity": "critical", "about": "", "fired_s": 1.5,
        "resolved_s": -2.0,
    }  # fmt: skip
    assert "<td>+1.5</td><td>-2.0</td>" in report.as_html(drill)
    assert "later than Prometheus" not in report.as_html(Drill(trials[:1], 30.0, 0.0))


def test_a_report_is_inert() -> None:
    """No text of an alert is a tag of the page."""
    trial = Trial(FAULTS["drift"], "embedded", 1.0, why="<script>alert(1)</script>")
    assert "<script>" not in report.as_html(Drill([trial], 1.0, 0.0))


def test_faults_that_can_be_told_apart_are_broken_together() -> None:
    """One at a time by default; every fault is in exactly one wave either way."""
    faults = chosen([])
    alone, together = waves_of(faults, at_once=False), waves_of(faults, at_once=True)
    assert [len(wave) for wave in alone] == [1] * len(FAULTS)
    assert sorted(fault.name for wave in together for fault in wave) == sorted(FAULTS)
    assert len(together) < len(alone)
    assert alone[0] == together[0] == [FAULTS["slow-burn"]]  # before anything worse has burnt the budget


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fault", "fire"], "fault is 'fire'"),
        (["--mode", "cloud"], "mode is 'cloud'"),
        (["--report", "x.pdf"], "ending is '.pdf'"),
        (["--short", "--mode", "stack"], "expected the demo, embedded"),
        (["--short", "--fault", "slow-burn"], "some that show in seconds"),
        (["--url", "http://127.0.0.1:9"], "--i-know-this-breaks-it"),
        (["--url", "http://127.0.0.1:9", "--i-know-this-breaks-it"], "--config, --url and --body"),
        (["--url", "u", "--config", "c", "--body", "{", "--i-know-this-breaks-it"], "expected JSON"),
    ],
)
def test_what_cannot_be_drilled_is_refused(arguments: list[str], words: str) -> None:
    """Nothing is started, and nobody's service is broken without consent; one line says what to do."""
    result = CliRunner().invoke(app, ["drill", *arguments])
    assert isinstance(result.exception, ModelwatchError)
    assert words in str(result.exception)


def test_a_service_of_the_user_keeps_its_receivers_out_of_it(tmp_path: Path) -> None:
    """Its models and windows are its own; one that has no hook is told so, before anything is broken."""
    (tmp_path / "modelwatch.yaml").write_text(
        f'service: {{name: shop}}\nmodels: {{m: {{version: "1", task: classification, classes: [a, b]}}}}\n'
        f'live: {tmp_path / "live.db"}\ntime_scale: 60\n'
        'alerting: {receivers: {oncall: {webhook: "https://example.com/hook"}}}\n'
    )  # fmt: skip
    place: Place = staging_place(tmp_path / "modelwatch.yaml", "http://127.0.0.1:9", "/predict", [{"x": 1}], 5.0)
    assert (place.classes, place.live, place.config["time_scale"]) == (("a", "b"), tmp_path / "live.db", 60)
    assert place.config["service"]["health_url"] == "http://127.0.0.1:9/healthz"
    with pytest.raises(ModelwatchError, match="mount_faults"), Lab(place, ["embedded"], tmp_path / "drill").running():
        pass


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_staging_service_is_broken_by_its_hook(tmp_path: Path) -> None:
    """A service that somebody else has started: its hook fails requests, takes it down, and mends it."""
    demo = demo_place(tmp_path / "demo", SHORT_SCALE, 30.0)
    assert demo.program is not None
    demo.program.start()
    try:
        place = staging_place(tmp_path / "demo" / "modelwatch.yaml", demo.url, "/predict", demo.bodies, 30.0)
        drill = long_drill(place, chosen(["errors", "service-down"]), ["embedded"], tmp_path, lambda _: None)
        assert {trial.fault.name: trial.why for trial in drill.trials if not trial.passed} == {}
        assert drill.passed
        get_json(f"{demo.url}/healthz")
    finally:
        demo.program.stop()
