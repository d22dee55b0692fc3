"""Who is told of what and when: by hand-made times, without a store or a network."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelwatch.config import load_config
from modelwatch.notify.alert import Alert, Group, Notice
from modelwatch.notify.grouping import Known, Policy, Silence, Told, plan

POLICY = Policy(
    ("oncall", "team", "backup"),
    {"critical": ("oncall", "team"), "warning": ("team",), "info": ()},
    escalate_to="backup",
    acknowledges=frozenset(["oncall"]),
)
HOUR = 3600.0


@dataclass
class World:
    """Alerts over time, looked at every few seconds."""

    policy: Policy = POLICY
    now: float = 1_000_000.0
    known: dict[str, Known] = field(default_factory=dict)
    told: dict[Group, Told] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def fire(self, alert: Alert) -> None:
        """Let an alert fire from now on."""
        before = self.known.get(alert.fingerprint)
        same = before is not None and before.alert.severity == alert.severity
        self.known[alert.fingerprint] = (
            replace(before, alert=replace(alert, ended_at=None)) if before and same else Known(alert, self.now)
        )

    def end(self, alert: Alert) -> None:
        """Let it be over."""
        known = self.known[alert.fingerprint]
        self.known[alert.fingerprint] = replace(known, alert=known.alert.ended(self.now))

    def acknowledge(self, by: str = "ann") -> None:
        """Acknowledge all."""
        self.known = {name: replace(known, acknowledged_by=by) for name, known in self.known.items()}

    def look(self) -> list[Notice]:
        """Look once; return what is new."""
        found = plan(self.known.values(), self.told, self.silences, self.policy, self.now)
        for group, told in found.told.items():
            if told is None:
                self.told.pop(group, None)
            else:
                self.told[group] = told
        self.notices += found.notices
        return found.notices

    def wait(self, seconds: float, step: float = 5.0) -> list[Notice]:
        """Let time pass; return what is new."""
        before, end = len(self.notices), self.now + seconds
        while self.now < end:
            self.now += step
            self.look()
        return self.notices[before:]


def errors(severity: str = "critical", model: str = "sentiment", **labels: str) -> Alert:
    """Return an alert."""
    return Alert("HighErrorRate", severity, model, labels=labels)


def said(notices: list[Notice]) -> list[tuple[str, str]]:
    """Return who was told what."""
    return sorted((notice.group.receiver, notice.kind) for notice in notices)


def test_the_first_notice_waits_for_the_group() -> None:
    """Alerts of one name and model that fire within the group wait are one notice a receiver, after it and not before."""
    world = World()
    for segment in ("books", "music", "films"):
        world.fire(errors(segment=segment))
        assert world.wait(8) == []
    notices = world.wait(20)
    assert said(notices) == [("oncall", "firing"), ("team", "firing")]
    assert {notice.firing for notice in notices} == {3}


def test_severities_go_to_their_routes() -> None:
    """A warning goes to the team alone; info, which has no route, to nobody."""
    world = World()
    world.fire(errors("warning"))
    world.fire(errors("info", model="other"))
    assert said(world.wait(60)) == [("team", "firing")]


def test_a_change_waits_for_the_interval() -> None:
    """A second alert of a group that was told is told five minutes after the first, not sooner."""
    world = World()
    world.fire(errors(segment="books"))
    world.wait(40)
    world.fire(errors(segment="music"))
    assert world.wait(250) == []
    assert [notice.firing for notice in world.wait(60)] == [2, 2]


def test_what_does_not_change_is_repeated_after_four_hours() -> None:
    """And not before."""
    world = World()
    world.fire(errors("warning"))
    world.wait(40)
    assert world.wait(4 * HOUR - 60) == []
    assert said(world.wait(120)) == [("team", "firing")]


def test_an_end_is_told_once() -> None:
    """To everybody who heard of the beginning; then the group is forgotten."""
    world = World()
    world.fire(errors())
    world.wait(600)
    world.end(errors())
    assert said(world.wait(HOUR)) == [("oncall", "resolved"), ("team", "resolved")]
    assert world.told == {}


def test_what_is_over_before_it_was_told_is_never_told() -> None:
    """An alert of ten seconds pages nobody."""
    world = World()
    world.fire(errors())
    world.wait(10)
    world.end(errors())
    assert world.wait(HOUR) == []
    assert world.told == {}


@pytest.mark.parametrize("period", [15.0, 30.0, 45.0])
def test_a_flapping_value_is_two_notices_an_hour(period: float) -> None:
    """An alert that comes and goes every thirty seconds for an hour: one notice that it fires, one of its end."""
    world = World()
    for turn in range(int(HOUR / period)):
        if turn % 2:
            world.end(errors("warning"))
        else:
            world.fire(errors("warning"))
        world.wait(period)
    world.end(errors("warning"))
    world.wait(HOUR)
    assert [notice.kind for notice in world.notices] == ["firing", "resolved"]


def test_a_storm_is_a_notice_a_model_and_receiver() -> None:
    """500 features of 20 models within a minute: one notice an alert, model and receiver in each interval, with counts."""
    world = World()
    for feature in range(500):
        for model in range(20):
            world.fire(Alert("DataDriftDetected", "warning", f"model-{model}", labels={"feature": f"f{feature}"}))
        if feature % 100 == 0:
            assert len(world.wait(12, step=12)) <= 20
    first = world.notices + world.wait(240, step=30)
    assert len(first) == 20
    assert all(notice.firing > 0 and len(notice.alerts) <= 20 for notice in first)
    second = world.wait(300, step=30)
    assert len(second) <= 20
    assert all(notice.firing == 500 for notice in second)


def test_critical_that_nobody_acknowledges_goes_to_the_backup() -> None:
    """After fifteen minutes, once; the backup hears of the end, too."""
    world = World()
    world.fire(errors())
    assert "backup" not in {receiver for receiver, _ in said(world.wait(14 * 60))}
    assert said(world.wait(120)) == [("backup", "escalated")]
    assert world.wait(HOUR) == []
    world.end(errors())
    assert ("backup", "resolved") in said(world.wait(HOUR))


def test_an_acknowledgement_stops_escalation_and_repetition() -> None:
    """PagerDuty is told who has acknowledged; the backup hears nothing; nothing is repeated; the end is told."""
    world = World()
    world.fire(errors())
    world.wait(60)
    world.acknowledge()
    notices = world.wait(24 * HOUR, step=30)
    assert [(notice.group.receiver, notice.kind, notice.by) for notice in notices] == [
        ("oncall", "acknowledged", "ann")
    ]
    world.end(errors())
    assert said(world.wait(HOUR)) == [("oncall", "resolved"), ("team", "resolved")]


def test_the_backup_stays_informed_after_an_acknowledgement() -> None:
    """Whoever was told by escalation is not told that it is over because somebody else has acknowledged it."""
    world = World()
    world.fire(errors())
    world.wait(20 * 60)
    world.acknowledge()
    assert [kind for receiver, kind in said(world.wait(2 * HOUR)) if receiver == "backup"] == []
    world.end(errors())
    assert [kind for receiver, kind in said(world.wait(HOUR)) if receiver == "backup"] == ["resolved"]


def test_a_warning_is_never_escalated() -> None:
    """However long it fires."""
    world = World()
    world.fire(errors("warning"))
    world.wait(24 * HOUR, step=60)
    assert {notice.group.receiver for notice in world.notices} == {"team"}


def test_one_that_becomes_critical_pages_and_one_that_becomes_milder_ends_there() -> None:
    """The pager hears of the critical part only; the team of both, as one incident."""
    world = World()
    world.fire(errors("warning"))
    world.wait(600)
    world.fire(errors("critical"))
    assert said(world.wait(60)) == [("oncall", "firing"), ("team", "firing")]
    world.wait(600)
    world.fire(errors("warning"))
    ended = world.wait(600)
    assert said(ended) == [("oncall", "resolved")]
    assert (ended[0].alerts[0].severity, ended[0].alerts[0].status) == ("critical", "resolved")
    world.end(errors("warning"))
    assert said(world.wait(600)) == [("team", "resolved")]


def test_an_escalation_goes_on_and_does_not_end() -> None:
    """A burn that becomes critical over another window is one alert: its receiver hears that it is worse, and of no end."""
    burn = Alert("SLOBurnRate", "warning", "m", labels={"slo": "latency", "window": "1440m"})
    world = World()
    world.fire(burn)
    assert [(notice.group.receiver, notice.severity) for notice in world.wait(60)] == [("team", "warning")]
    world.fire(replace(burn, severity="critical", labels={"slo": "latency", "window": "60m"}))
    told = world.wait(400)
    assert {(notice.group.receiver, notice.kind, notice.severity) for notice in told} == {
        ("oncall", "firing", "critical"),
        ("team", "firing", "critical"),
    }
    assert [(notice.firing, notice.resolved) for notice in told] == [(1, 0), (1, 0)]
    assert burn.fingerprint != replace(burn, labels={"slo": "error_rate", "window": "1440m"}).fingerprint


def test_a_silence_keeps_quiet_while_it_lasts() -> None:
    """What fires under it is told when it ends; what was told before is not repeated, but its end is told."""
    world = World()
    world.silences = [Silence("1", "ann", "deploy", world.now, world.now + HOUR, {"model": "sentiment"})]
    world.fire(errors())
    assert world.wait(HOUR - 60) == []
    assert said(world.wait(120)) == [("backup", "escalated"), ("oncall", "firing"), ("team", "firing")]
    world.silences = [Silence("2", "ann", "known", world.now, world.now + 9 * HOUR, {"alertname": "HighErrorRate"})]
    assert world.wait(8 * HOUR, step=30) == []
    world.end(errors())
    assert {kind for _, kind in said(world.wait(1800))} == {"resolved"}


def test_a_silence_covers_what_it_matches_only() -> None:
    """Every matcher must hold."""
    world = World()
    matches = {"alertname": "HighErrorRate", "segment": "books"}
    world.silences = [Silence("1", "ann", "", world.now, world.now + HOUR, matches)]
    world.fire(errors(segment="books"))
    world.fire(errors(segment="music"))
    notices = world.wait(60)
    assert [[alert.labels["segment"] for alert in notice.alerts] for notice in notices] == [["music"], ["music"]]


def test_a_service_that_is_down_says_it_for_the_others() -> None:
    """What depends on it is not told while it is down; what still fires afterwards is."""
    world = World()
    down = Alert("ServiceDown", "critical")
    world.fire(down)
    world.fire(errors())
    world.fire(Alert("MonitorUnhealthy", "warning", labels={"receiver": "team"}))
    names = {notice.group.name for notice in world.wait(600)}
    assert names == {"ServiceDown", "MonitorUnhealthy"}
    world.end(down)
    assert "HighErrorRate" in {notice.group.name for notice in world.wait(600)}


def test_a_model_that_is_down_mutes_no_other_model() -> None:
    """A ServiceDown that names a model speaks for that model."""
    world = World()
    world.fire(Alert("ServiceDown", "critical", "sentiment"))
    world.fire(errors(model="sentiment"))
    world.fire(errors(model="churn"))
    assert {notice.group.model for notice in world.wait(60) if notice.group.name == "HighErrorRate"} == {"churn"}


def test_a_broken_receiver_is_told_of_by_another_one() -> None:
    """Never through itself; where its severity has no other receiver, through any other."""
    world = World()
    world.fire(Alert("MonitorUnhealthy", "warning", labels={"receiver": "team"}))
    assert {notice.group.receiver for notice in world.wait(60)} == {"oncall", "backup"}


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    """Nor one that is set forward: what fires goes on to be told, and its end as well."""
    world = World()
    world.fire(errors("warning", segment="books"))
    world.wait(60)
    world.now -= 24 * HOUR
    world.fire(errors("warning", segment="music"))
    assert [notice.firing for notice in world.wait(60)] == [2]
    world.now += 48 * HOUR
    world.wait(60)
    world.end(errors(segment="books"))
    world.end(errors(segment="music"))
    assert [notice.kind for notice in world.wait(600)] == ["resolved"]


def test_looking_twice_at_one_moment_says_nothing_new() -> None:
    """And a notice has the same id however often it is planned from the same state."""
    world = World()
    world.fire(errors())
    world.wait(25)
    world.now += 10
    once = plan(world.known.values(), world.told, [], POLICY, world.now)
    again = plan(world.known.values(), world.told, [], POLICY, world.now)
    assert [notice.id for notice in once.notices] == [notice.id for notice in again.notices]
    assert len(world.look()) == 2
    assert world.look() == []


def test_a_notice_survives_its_json() -> None:
    """Whatever is in it."""
    world = World()
    world.fire(Alert("A", "critical", "m\x00", "v", {"a\n": "\ud800"}, "<b>", "x" * 5000, "http://r", "", 5.0))
    notice = world.wait(60)[0]
    assert Notice.loaded(notice.dumped()) == notice
    assert len(notice.alerts[0].description) == 2000


def test_a_configuration_becomes_a_policy(tmp_path: Path) -> None:
    """Every time is divided by time_scale; without routes the backup is told by escalation only."""
    path = tmp_path / "modelwatch.yaml"
    path.write_text(
        'service: {name: s}\nmodels: {m: {version: "1", task: regression}}\ntime_scale: 60\nalerting:\n'
        "  receivers: {oncall: {pagerduty: k}, team: {slack: https://a/b}, backup: {pagerduty: k}}\n"
        "  escalate: {after: 15m, to: backup}\n"
    )
    assert Policy.of(load_config(path)) == Policy(
        ("oncall", "team", "backup"), {"critical": ("oncall", "team"), "warning": ("oncall", "team"), "info": ()},
        0.5, 5.0, 240.0, 1.0, "backup", 15.0, frozenset(["oncall", "backup"]), 2.0,
    )  # fmt: skip
