"""One evaluates: alerts begin and end, states outlive it, another one takes over, and no fault stops it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from alerts.life import requests
from counting import commit
from modelwatch.notify.alert import Alert
from modelwatch.serve.run import Parts
from modelwatch.testing import StuckStore, running_receiver
from serve.conftest import URL, House, firing

CRITICAL = ("HighErrorRate", "critical")
SCALED = f"""
service: {{name: api, health_url: "{URL}"}}
time_scale: 600
models:
  m:
    version: "1"
    task: regression
    slos: {{throughput: {{objective: 9}}, availability: {{objective: 0.9}}, latency: {{threshold: 500ms, objective: 0.9}}}}
"""


def since(parts: Parts) -> float:
    """Return when the critical error rate began to fire."""
    states = parts.evaluator.found["sentiment"].evaluation.states
    (found,) = (s for key, s in states.items() if "/HighErrorRate/critical/" in key and s.phase == "firing")
    return found.since


def test_errors_fire_within_an_evaluation_and_end_after_them(house: House) -> None:
    """Five minutes of errors fire at the next evaluation; when they are out of the window, the alert ends."""
    parts = house.serve()
    told: list[list[Alert]] = []
    parts.evaluator.tell = lambda alerts, _now: told.append(list(alerts))
    house.rounds(parts, 4)
    assert firing(parts) == set()
    assert {alert.name for alert in told[-1]} == {"Watchdog"}
    fails_from = house.clock.now()

    def fail() -> bool:
        house.happen(*requests(30, failed=15))
        return CRITICAL in firing(parts)

    assert house.rounds(parts, 40, fail)
    assert 300 <= house.clock.now() - fails_from <= 300 + 2 * 15
    (alert,) = (alert for alert in told[-1] if alert.name == "HighErrorRate")
    assert (alert.severity, alert.model, alert.started_at) == ("critical", "sentiment", since(parts))
    assert recovers(house, parts)
    assert "critical" not in {alert.severity for alert in told[-1] if alert.name == "HighErrorRate"}


def recovers(house: House, parts: Parts) -> bool:
    """Serve without errors; return whether the alert ends within half an hour."""

    def serve() -> bool:
        house.happen(*requests(30))
        return CRITICAL not in firing(parts)

    return house.rounds(parts, 120, serve)


def test_a_service_that_does_not_answer_is_down(house: House) -> None:
    """After a minute without an answer ServiceDown fires, and nothing else says it too; it ends with an answer."""
    parts = house.serve()
    house.rounds(parts, 4)
    house.answers = False
    assert house.rounds(parts, 6, lambda: bool(firing(parts)))
    assert firing(parts) == {("ServiceDown", "critical")}
    house.answers = True
    assert house.rounds(parts, 40, lambda: not firing(parts))


@pytest.mark.parametrize("restarts", [False, True])
def test_an_alert_that_a_dead_service_silences_has_not_ended(house: House, restarts: bool) -> None:  # noqa: FBT001
    """What was told before ServiceDown goes on being told, over a restart too; what begins under it is not."""
    parts = failing(house)
    told: list[dict[str, str]] = []

    def tell(alerts: Sequence[Alert], _now: float) -> None:
        told.append({alert.name: alert.severity for alert in alerts})

    parts.evaluator.tell = tell
    house.answers = False
    assert house.rounds(parts, 10, lambda: ("ServiceDown", "critical") in firing(parts))
    if restarts:
        house.clock.advance(46)
        parts = house.serve()
        parts.evaluator.tell = tell
    house.rounds(parts, 40)
    assert all(one["HighErrorRate"] == "critical" for one in told)
    assert told[-1].keys() == {"HighErrorRate", "SLOBurnRate", "ServiceDown", "Watchdog"}
    others = {v.rule.name for v in parts.evaluator.found["sentiment"].evaluation.verdicts if v.phase == "firing"}
    assert others - told[-1].keys() >= {"TrafficStopped"}
    assert firing(parts) == {("ServiceDown", "critical")}


def failing(house: House) -> Parts:
    """Return a `serve` that has seen errors for five minutes."""
    parts = house.serve()

    def fail() -> bool:
        house.happen(*requests(30, failed=15))
        return CRITICAL in firing(parts)

    assert house.rounds(parts, 60, fail)
    return parts


def test_a_restart_changes_no_state(house: House) -> None:
    """One that is killed leaves its states: the next goes on with them, and nothing fires a second time."""
    first = failing(house)
    house.clock.advance(46)  # its lease is over
    second = house.serve()
    house.rounds(second, 1)
    assert CRITICAL in firing(second)
    assert since(second) == since(first)
    assert second.evaluator.fired == {}
    assert first.evaluator.fired["sentiment", "HighErrorRate", "", "critical"] == 1


def test_one_leads_and_the_other_waits_for_its_lease(house: House) -> None:
    """The second evaluates when the first has been silent for three intervals; the first then reads what it missed."""
    first, second = failing(house), house.serve()
    assert not second.evaluator.round()
    assert second.evaluator.why_not == "another process evaluates for this store"
    assert second.evaluator.known() == {}
    house.clock.advance(46)
    assert recovers(house, second)
    assert not first.evaluator.round()
    assert firing(first) == set()
    house.clock.advance(46)
    house.rounds(first, 1)
    assert CRITICAL not in firing(first)  # not what it knew when it led


def test_a_lease_that_is_given_back_is_free_at_once(house: House) -> None:
    """One that is asked to end lets the next begin."""
    first, second = house.serve(), house.serve()
    first.prober.ask()
    assert first.evaluator.round()
    first.evaluator.stop()
    first.evaluator.run()
    assert second.evaluator.round()


@pytest.mark.parametrize(
    "kept", ["{", "[]", '{"sentiment": {"a": 7}}', '{"sentiment": {"a": [1, 2, 3, 4, 5, 6]}}', "null"]
)
def test_states_that_cannot_be_read_begin_anew(house: House, kept: str) -> None:
    """Whatever is in the store, it is evaluated, and then there are states again."""
    house.happen()  # its counts are in a file
    parts = house.serve()
    parts.store.set_value("alert_states", kept)
    assert parts.evaluator.round(), parts.evaluator.why_not
    assert json.loads(parts.store.value("alert_states") or "").keys() == {"sentiment"}


def test_a_clock_that_was_set_back_keeps_no_alert(house: House) -> None:
    """States from a time to come are those of now: the alert ends as it would have."""
    first = failing(house)
    began = since(first)
    house.clock.step(-7200)
    for _ in range(3):  # it is believed after a minute
        house.clock.now()
        house.clock.advance(61)
    second = house.serve()
    house.rounds(second, 1)
    assert since(second) <= house.clock.now() < began
    assert recovers(house, second)


def test_a_fault_is_said_once_and_tried_again(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is locked, an error of whoever tells, a live.db that is none: each fails its rounds only."""
    parts = house.serve()
    house.rounds(parts, 1)
    tell, caplog.clear, records = parts.evaluator.tell, caplog.clear, caplog.records  # type: ignore[method-assign]

    def fails(_alerts: object, _now: float) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.WARNING, "modelwatch"):
        parts.evaluator.tell = fails
        assert [parts.evaluator.round() for _ in range(3)] == [False] * 3
        assert "ZeroDivisionError" in parts.evaluator.why_not
        assert len(records) == 1
        parts.evaluator.tell = tell
        assert parts.evaluator.round()
        with StuckStore(house.folder / "truth.db"):
            assert not parts.evaluator.round()
            assert "locked" in parts.evaluator.why_not
        assert parts.evaluator.round()
        assert parts.evaluator.why_not == ""


def test_without_its_store_alerts_are_shown_and_nobody_is_told(house: House) -> None:
    """A dead service is seen while the store is away; it is told, and kept, once the store is back."""
    parts = house.serve()
    told: list[set[str]] = []
    parts.evaluator.tell = lambda alerts, _now: told.append({alert.name for alert in alerts})
    house.rounds(parts, 4)
    house.answers, said = False, len(told)
    with StuckStore(house.folder / "truth.db"):
        for _ in range(8):
            parts.prober.ask()
            assert not parts.evaluator.round()
            house.clock.advance(15)
        assert ("ServiceDown", "critical") in firing(parts)
        assert parts.evaluator.known() == {}
        assert len(told) == said
    assert house.rounds(parts, 8, lambda: "ServiceDown" in told[-1])


def test_what_is_not_counted_as_a_minute_is_evaluated(house: House) -> None:
    """A live.db that others have locked can be read: alerts go on, and the minute is counted when it is free."""
    parts = house.serve()
    house.rounds(parts, 1)
    with StuckStore(house.folder / "live.db"):
        assert parts.evaluator.round(), parts.evaluator.why_not
    assert parts.evaluator.round()


@pytest.mark.parametrize("what", ["deleted", "no database"])
def test_a_live_db_that_is_gone_or_broken(house: House, what: str) -> None:
    """It is evaluated again as soon as there is another one."""
    parts = failing(house)
    live = house.folder / "live.db"
    if what == "deleted":
        for file in house.folder.glob("live.db*"):
            file.unlink()
    else:
        live.write_bytes(b"this is no database" * 1000)
    parts.evaluator.round()
    house.happen(*requests(30))
    assert recovers(house, parts)


def test_what_was_found_long_ago_is_not_known_now(house: House) -> None:
    """After three intervals without an evaluation nothing is known."""
    parts = house.serve()
    house.rounds(parts, 1)
    assert parts.evaluator.known().keys() == {"sentiment"}
    house.clock.advance(31)
    assert parts.evaluator.known() == {}


@pytest.mark.parametrize(
    "config",
    [
        'service: {name: api}\nmodels: {m: {version: "1", task: classification, classes: [a, b]}}\n',
        'service: {name: api}\nmodels: {m: {version: "1", task: regression}, n: {version: "2", task: regression}}\n',
        SCALED,
    ],
)
def test_the_smallest_configurations(tmp_path: Path, config: str) -> None:
    """Without a store, a health check, features or counts there is an evaluation, and nothing fires."""
    house = House(tmp_path)
    house.write(config)
    parts = house.serve()
    assert house.rounds(parts, 3) is False
    assert firing(parts) == set()
    house.close()


def test_time_that_is_scaled_is_evaluated_more_often(house: House) -> None:
    """Fifteen seconds of scaled time, but never more often than once a second."""
    assert house.serve().evaluator.every_s == 15
    house.write(f"{(house.folder / 'modelwatch.yaml').read_text()}time_scale: 5\n")
    assert house.serve().evaluator.every_s == 3
    house.write((house.folder / "modelwatch.yaml").read_text().replace("time_scale: 5", "time_scale: 600"))
    assert house.serve().evaluator.every_s == 1


def test_an_alert_of_scaled_time_ends_when_its_window_has(house: House) -> None:
    """Sixty times as fast: five minutes are five seconds, and the alert ends within them, its `keep`, and an evaluation."""
    house.write((house.folder / "modelwatch.yaml").read_text() + "time_scale: 60\n")
    house.worker.scale(60)
    parts = house.serve()

    def second(failed: int) -> bool:
        house.happen(*requests(30, failed=failed))
        commit(house.worker)
        assert parts.evaluator.round(), parts.evaluator.why_not
        house.clock.advance(1)
        return CRITICAL in firing(parts)

    assert not any(second(0) for _ in range(5))
    fired_after = next(n for n in range(1, 30) if second(15))
    assert 5 <= fired_after <= 5 + 2
    ended_after = next(n for n in range(1, 60) if not second(0))
    assert ended_after <= 5 + 5 + 2


def test_the_heartbeat_stops_where_nothing_is_evaluated(house: House) -> None:
    """A store that is away for a minute: the process runs, nobody is told of anything, and its heartbeat is missed."""
    with running_receiver() as snitch:
        hook = f'alerting: {{receivers: {{snitch: {{webhook: "{snitch.url}"}}}}, deadman: snitch}}\n'
        house.write((house.folder / "modelwatch.yaml").read_text() + hook)
        parts = house.serve()
        assert parts.heartbeat is not None
        assert not parts.heartbeat.beat()  # nothing was evaluated yet
        house.rounds(parts, 2)
        assert parts.heartbeat.beat()
        with StuckStore(house.folder / "truth.db"):
            for _ in range(4):
                assert not parts.evaluator.round()
                house.clock.advance(15)
            assert not parts.heartbeat.beat()
        house.rounds(parts, 1)
        assert parts.heartbeat.beat()
        assert [request.body["commonLabels"]["alertname"] for request in snitch.requests] == ["Watchdog"] * 2
