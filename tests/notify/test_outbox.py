"""What the store keeps of alerts and notices, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from modelwatch.errors import StoreUnavailable
from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import KEPT_S, Outbox
from modelwatch.notify.outboxrows import CLAIM_S, Claim
from modelwatch.notify.outcome import Delivered, Refused, Retry
from modelwatch.testing import StuckStore
from notify.conftest import AT_ONCE

ERRORS = Alert("HighErrorRate", "critical", "sentiment", labels={"segment": "books"}, started_at=1000.0)
NOW = 1000.0


def claimed(outbox: Outbox, receiver: str, now: float) -> Claim:
    """Return the notice that is to be sent now; there must be one."""
    claim = outbox.claim(receiver, now)
    assert claim is not None
    return claim


def told(outbox: Outbox, now: float, receiver: str = "oncall") -> list[str]:
    """Plan, and deliver all that a receiver is to be told; return the kinds."""
    outbox.plan(now)
    kinds: list[str] = []
    while (claim := outbox.claim(receiver, now)) is not None:
        outbox.mark(claim, Delivered(), now)
        kinds.append(claim.notice.kind)
    return kinds


def test_what_fires_is_told_and_its_end_as_well(either: Database) -> None:
    """One notice of each, whichever process looks; a second that knows the store says nothing twice."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW)
    assert told(outbox, NOW) == ["firing"]
    other = Outbox(either, AT_ONCE)
    other.transition([ERRORS], NOW + 15)
    assert told(other, NOW + 15) == []
    other.transition([ERRORS.ended(NOW + 30)], NOW + 30)
    assert told(outbox, NOW + 31) == ["resolved"]
    assert told(other, NOW + 32) == []


def test_of_one_alert_at_two_severities_the_worst_that_fires_counts(either: Database) -> None:
    """Whatever order they come in, and an end of the one is no end of the other."""
    outbox = Outbox(either, AT_ONCE)
    for alerts in ([ERRORS, ERRORS.at_severity("warning")], [ERRORS.at_severity("warning"), ERRORS]):
        outbox.transition(alerts, NOW)
        assert [known.alert.severity for known in outbox.known()] == ["critical"]
    outbox.transition([ERRORS.ended(NOW + 9), ERRORS.at_severity("warning")], NOW + 9)
    assert [(known.alert.severity, known.alert.status) for known in outbox.known()] == [("warning", "firing")]


def test_a_complete_list_ends_what_is_not_in_it(either: Database) -> None:
    """After a restart with fewer rules, say; what the notifier itself has to say stays."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS, Alert("MonitorUnhealthy", "warning", labels={"receiver": "team"})], NOW)
    outbox.transition([], NOW + 15)
    assert {known.alert.status for known in outbox.known()} == {"firing"}
    outbox.transition([], NOW + 30, complete=True)
    assert {known.alert.name: known.alert.status for known in outbox.known()} == {
        "HighErrorRate": "resolved", "MonitorUnhealthy": "firing",
    }  # fmt: skip


def test_a_service_that_is_down_ends_nothing(either: Database) -> None:
    """An evaluator that says ServiceDown in the place of all others does not say that they are over."""
    outbox = Outbox(either, AT_ONCE)
    down = Alert("ServiceDown", "critical")
    outbox.transition([ERRORS], NOW, complete=True)
    assert told(outbox, NOW) == ["firing"]
    outbox.transition([down], NOW + 15, complete=True)
    assert told(outbox, NOW + 15) == ["firing"]
    assert {known.alert.status for known in outbox.known()} == {"firing"}
    outbox.transition([], NOW + 30, complete=True)
    assert told(outbox, NOW + 30) == ["resolved", "resolved"]


def test_a_receiver_that_has_nothing_to_fail_at_is_not_broken_for_ever(either: Database) -> None:
    """An hour later it is forgotten; at the next start at once."""
    outbox = Outbox(either, AT_ONCE)
    for again in range(2):
        now = NOW + again * 1e5
        outbox.transition([ERRORS], now)
        outbox.plan(now)
        outbox.mark(claimed(outbox, "oncall", now), Refused("it answered 404"), now)
        outbox.transition([ERRORS.ended(now + 1)], now + 1)
        outbox.plan(now + 1)
        broken = {known.alert.name: known.alert.status for known in outbox.known()}
        assert broken["MonitorUnhealthy"] == "firing"
        if again:
            outbox.retry_refused(now + 2)
        else:
            outbox.prune(now + 60)
            assert {known.alert.status for known in outbox.known() if known.alert.name == "MonitorUnhealthy"} == {
                "firing"
            }
            outbox.prune(now + 3700)
        assert "firing" not in {
            known.alert.status for known in outbox.known() if known.alert.name == "MonitorUnhealthy"
        }


def test_one_notice_is_under_way_to_a_receiver_at_a_time(either: Database) -> None:
    """Of two dispatchers one sends; when it is gone, the other sends the same notice with the same key."""
    first, second = Outbox(either, AT_ONCE), Outbox(either, AT_ONCE)
    first.transition([ERRORS, Alert("ServiceDown", "critical")], NOW)
    first.plan(NOW)
    claim = claimed(first, "oncall", NOW)
    assert second.claim("oncall", NOW + CLAIM_S - 1) is None
    assert second.claim("team", NOW) is not None
    again = claimed(second, "oncall", NOW + CLAIM_S)
    assert (again.notice.id, again.tries, again.maybe_told) == (claim.notice.id, 2, True)


def test_a_try_that_failed_comes_again_in_time(either: Database) -> None:
    """Not sooner; meanwhile other notices to the receiver go on."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW)
    outbox.plan(NOW)
    claim = claimed(outbox, "oncall", NOW)
    outbox.mark(claim, Retry(30.0, "it answered 503"), NOW)
    assert outbox.claim("oncall", NOW + 29) is None
    outbox.transition([Alert("ServiceDown", "critical")], NOW + 1)
    outbox.plan(NOW + 1)
    assert claimed(outbox, "oncall", NOW + 1).notice.group.name == "ServiceDown"


def test_a_clock_set_back_does_not_keep_a_notice_waiting(either: Database) -> None:
    """Nor a claim that was made by the clock before."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW + 1e6)
    outbox.plan(NOW + 1e6)
    claimed(outbox, "oncall", NOW + 1e6)
    assert claimed(outbox, "oncall", NOW).tries == 2


def test_after_an_outage_the_present_is_told_and_not_the_past(either: Database) -> None:
    """What has ended meanwhile is not told at all; what still fires is one notice."""
    outbox = Outbox(either, AT_ONCE)
    other = Alert("ServiceDown", "critical", "churn")
    outbox.transition([ERRORS, other], NOW)
    for minute in range(60):
        now = NOW + 60 * minute
        outbox.plan(now)
        while (claim := outbox.claim("oncall", now)) is not None:
            outbox.mark(claim, Retry(50.0, "no connection"), now)
        if minute == 30:
            outbox.transition([other.ended(now)], now)
        outbox.transition([Alert("HighErrorRate", "critical", "sentiment", labels={"minute": str(minute)})], now)
    outbox.plan(NOW + 3600)
    claims = []
    while (claim := outbox.claim("oncall", NOW + 3600)) is not None:
        outbox.mark(claim, Delivered(), NOW + 3600)
        claims.append(claim.notice)
    firing = [notice for notice in claims if notice.group.name == "HighErrorRate"]
    assert [(notice.kind, notice.firing) for notice in firing] == [("firing", 61)]
    assert {notice.group.name for notice in claims} <= {"HighErrorRate", "MonitorUnhealthy"}


def test_an_end_is_told_when_the_beginning_may_have_arrived(either: Database) -> None:
    """A try without an answer, or one whose dispatcher died, may have paged somebody: the end is told."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW)
    outbox.plan(NOW)
    outbox.mark(claimed(outbox, "oncall", NOW), Retry(5.0, "no answer", maybe_told=True), NOW)
    claimed(outbox, "team", NOW)  # and dies
    outbox.transition([ERRORS.ended(NOW + 10)], NOW + 10)
    outbox.plan(NOW + 10)
    assert claimed(outbox, "oncall", NOW + 60).notice.kind == "resolved"
    kinds = []
    for turn in range(2):
        claim = claimed(outbox, "team", NOW + 60)
        outbox.mark(claim, Delivered(), NOW + 60)
        kinds.append(claim.notice.kind)
    assert kinds == ["firing", "resolved"]


def test_a_refusal_is_told_through_another_receiver(either: Database) -> None:
    """With the reason and what was not told; it is over when the receiver takes something again."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW)
    outbox.plan(NOW)
    outbox.mark(claimed(outbox, "oncall", NOW), Refused("it answered 401: bad key"), NOW)
    assert outbox.claim("oncall", NOW + 1e5) is None
    outbox.plan(NOW + 1)
    outbox.mark(claimed(outbox, "team", NOW + 1), Delivered(), NOW + 1)
    notice = claimed(outbox, "team", NOW + 1).notice
    assert (notice.group.name, notice.alerts[0].labels) == ("MonitorUnhealthy", {"receiver": "oncall"})
    assert (
        notice.alerts[0].description
        == "The notice of HighErrorRate of sentiment did not reach oncall: it answered 401: bad key."
    )
    assert outbox.retry_refused(NOW + 2) == 1
    outbox.mark(claimed(outbox, "oncall", NOW + 2), Delivered(), NOW + 2)
    assert {known.alert.name: known.alert.status for known in outbox.known()}["MonitorUnhealthy"] == "resolved"


def test_a_receiver_that_is_away_for_two_minutes_is_told_of(either: Database) -> None:
    """By another one, and not before: a hiccup is nobody's business."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW)
    outbox.plan(NOW)
    for after, names in ((60.0, {"HighErrorRate"}), (AT_ONCE.unhealthy_after_s, {"HighErrorRate", "MonitorUnhealthy"})):
        outbox.mark(claimed(outbox, "oncall", NOW + after), Retry(1.0, "no connection"), NOW + after)
        assert {known.alert.name for known in outbox.known()} == names


def test_what_became_of_notices_can_be_read(either: Database) -> None:
    """State, tries, time and reason of each."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS], NOW)
    outbox.plan(NOW)
    outbox.mark(claimed(outbox, "oncall", NOW), Retry(5.0, "it answered 503"), NOW)
    outbox.mark(claimed(outbox, "team", NOW), Delivered(), NOW + 1)
    found = {sent.notice.group.receiver: sent for sent in outbox.sent(NOW)}
    assert found["oncall"][1:] == ("waiting", 1, None, "it answered 503")
    assert found["team"][1:] == ("delivered", 1, NOW + 1, "")
    assert outbox.sent(NOW + 1) == []


def test_an_acknowledgement_ends_with_the_alert(either: Database) -> None:
    """The next time that it fires nobody has acknowledged it; one that gets worse, neither."""
    outbox = Outbox(either, AT_ONCE)
    warning = ERRORS.at_severity("warning")
    outbox.transition([warning], NOW)
    assert outbox.acknowledge("HighErrorRate", "other", "ann", NOW) == 0
    assert outbox.acknowledge("HighErrorRate", "sentiment", "ann", NOW) == 1
    assert outbox.known()[0].acknowledged_by == "ann"
    outbox.transition([ERRORS], NOW + 1)
    assert outbox.known()[0].acknowledged_by == ""
    outbox.acknowledge("HighErrorRate", "sentiment", "ann", NOW)
    outbox.transition([ERRORS.ended(NOW + 2)], NOW + 2)
    outbox.transition([ERRORS], NOW + 3)
    assert outbox.known()[0].acknowledged_by == ""


def test_silences_begin_and_end(either: Database) -> None:
    """With author, note and an audit row each."""
    outbox = Outbox(either, AT_ONCE)
    made = outbox.silence({"model": "sentiment"}, "ann", "deploy", NOW, NOW + 600)
    assert outbox.silences(NOW) == [made]
    outbox.transition([ERRORS], NOW)
    assert told(outbox, NOW + 10) == []
    assert (outbox.end_silence(made.id, "bob", NOW + 20), outbox.end_silence(made.id, "bob", NOW + 21)) == (True, False)
    assert told(outbox, NOW + 30) == ["firing"]
    rows = either.read(lambda c: c.exec_driver_sql("SELECT actor, action FROM audit ORDER BY id").all())
    expected = [("ann", "silence"), ("modelwatch", "began"), ("bob", "end silence")]
    assert [tuple(row) for row in rows] == expected


def test_the_history_tells_what_began_changed_and_ended(either: Database) -> None:
    """The latest first, once each however often it is said, beside what people did; the watchdog is not in it."""
    outbox = Outbox(either, AT_ONCE)
    always = Alert("Watchdog", "none", started_at=NOW)
    for second in range(3):
        outbox.transition([ERRORS, always], NOW + second, complete=True)
    outbox.transition([ERRORS.at_severity("warning"), always], NOW + 10, complete=True)
    outbox.acknowledge(ERRORS.name, ERRORS.model, "ann", NOW + 11)
    outbox.transition([always], NOW + 20, complete=True)
    outbox.transition([always], NOW + 30, complete=True)
    found = outbox.history(NOW - 1)
    assert [(one["at"] - NOW, one["action"], one["actor"]) for one in found] == [
        (20, "ended", "modelwatch"), (11, "acknowledge", "ann"), (10, "severity", "modelwatch"),
        (0, "began", "modelwatch"),
    ]  # fmt: skip
    assert {one["alertname"] for one in found} == {ERRORS.name}
    assert outbox.history(NOW + 15) == found[:1]
    assert outbox.history(NOW - 1, 2) == found[:2]


def test_what_is_old_is_removed_and_what_is_told_is_kept(either: Database) -> None:
    """An alert that somebody still has to be told of stays, however old."""
    outbox = Outbox(either, AT_ONCE)
    outbox.transition([ERRORS, ended := Alert("A", "critical")], NOW)
    outbox.plan(NOW)
    outbox.transition([ERRORS.ended(NOW + 1)], NOW + 1)
    outbox.prune(NOW + KEPT_S)
    assert {known.alert.name for known in outbox.known()} == {"A", "HighErrorRate"}
    outbox.plan(NOW + KEPT_S)
    outbox.prune(NOW + 2 * KEPT_S + 1)
    assert [known.alert for known in outbox.known()] == [ended]
    assert outbox.waiting() == 0


def test_a_store_that_is_locked_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    """The evaluator hears of it and says the same again at its next look."""
    path = tmp_path / "store.db"
    outbox = Outbox(Database(f"sqlite:///{path}", busy_s=0.1), AT_ONCE)
    assert outbox.known() == []
    with StuckStore(path), pytest.raises(StoreUnavailable):
        outbox.transition([ERRORS], NOW)
    outbox.transition([ERRORS], NOW + 15)
    assert told(outbox, NOW + 15) == ["firing"]
    outbox.database.close()


def test_markup_and_odd_characters_are_kept_as_they_can_be(either: Database) -> None:
    """NUL, halves of characters and SQL in every field break neither engine."""
    odd = "'; DROP TABLE notices; -- \x00\ud800<b>"
    outbox = Outbox(either, Policy(("oncall",), {"critical": ("oncall",)}, 0.0, 0.0))
    alert = Alert(odd, "critical", odd, odd, {odd: odd}, odd, odd, odd, odd, NOW)
    outbox.transition([alert], NOW)
    outbox.acknowledge(odd, odd, odd, NOW)
    outbox.plan(NOW)
    outbox.silence({odd: odd}, odd, odd, NOW, NOW + 1)
    assert claimed(outbox, "oncall", NOW).notice.alerts == (alert,)


def test_a_storm_is_kept_whole_and_told_in_few_words(outbox_of: Callable[[Policy], Outbox]) -> None:
    """500 features of 20 models at one evaluation, in the store: one notice a model and receiver, with counts; then none."""
    outbox = outbox_of(replace(AT_ONCE, group_interval_s=300.0))
    storm = [
        Alert("DataDriftDetected", "warning", f"model-{model}", labels={"feature_name": f"f{feature}"}, started_at=NOW)
        for model in range(20)
        for feature in range(500)
    ]
    outbox.transition(storm, NOW, complete=True)
    assert outbox.plan(NOW) == 20
    outbox.transition(storm, NOW + 15, complete=True)
    assert outbox.plan(NOW + 15) == 0
    seen = []
    while (claim := outbox.claim("team", NOW + 15)) is not None:
        seen.append((claim.notice.group.model, claim.notice.firing, len(claim.notice.alerts)))
        outbox.mark(claim, Delivered(), NOW + 15)
    assert sorted(seen) == sorted((f"model-{model}", 500, 20) for model in range(20))
    assert outbox.claim("oncall", NOW + 15) is None
