"""Notices on their way: receivers that do not depend on each other, back-off, two dispatchers, a store that is away."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.client import Client
from modelwatch.notify.dispatcher import Dispatcher
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.senders.webhook import Webhook
from modelwatch.testing import StuckStore
from notify.conftest import AT_ONCE
from notify.receivers import Web, web

ERRORS = Alert("HighErrorRate", "critical", "sentiment", started_at=1.0)
Starter = Callable[..., Dispatcher]


@pytest.fixture
def started(database: Database) -> Iterator[Starter]:
    """Start dispatchers to receivers by their name; they are stopped after the test."""
    with ExitStack() as stack:

        def start(policy: Policy = AT_ONCE, wall_s: float = 5.0, **receivers: Web) -> Dispatcher:
            senders = {name: Webhook(SecretStr(receiver.url)) for name, receiver in receivers.items()}
            made = Dispatcher(Outbox(database, policy), senders, Client(wall_s=wall_s), chance=random.Random(1))
            made.start()
            stack.callback(made.stop)
            return made

        yield start


def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def statuses(server: Web) -> list[str]:
    """Return what a receiver was told, in order."""
    return [request.body["status"] for request in server.requests]


def test_what_fires_reaches_everybody_and_so_does_its_end(started: Starter) -> None:
    """Once each, with different keys."""
    with web() as oncall, web() as team:
        dispatcher = started(oncall=oncall, team=team)
        dispatcher.outbox.transition([ERRORS], time.time())
        dispatcher.wake()
        assert dispatcher.flush(20)
        dispatcher.outbox.transition([ERRORS.ended(time.time())], time.time())
        assert dispatcher.flush(20)
        assert dispatcher.stop()
        assert statuses(oncall) == statuses(team) == ["firing", "resolved"]
        assert len(set(oncall.ids() + team.ids())) == 4


@pytest.mark.parametrize("behaviour", ["hang", "drip", "reset"])
def test_a_receiver_that_hangs_delays_no_other(started: Starter, behaviour: str) -> None:
    """Its own tries end, too, and go on."""
    with web(lambda request: behaviour) as oncall, web() as team:
        dispatcher = started(oncall=oncall, team=team, wall_s=1.0)
        began = time.monotonic()
        dispatcher.outbox.transition([ERRORS], time.time())
        dispatcher.wake()
        until(lambda: len(team.requests) == 1)
        assert team.requests[0].at - began < 2.0
        until(lambda: len(oncall.requests) >= 2)
        assert len(set(oncall.ids())) == 1


def test_it_is_tried_again_until_it_is_taken(started: Starter) -> None:
    """After 500 and 503, with pauses that grow, as the same notice; and not once more."""
    answers = iter([500, 503, 200])
    with web(lambda request: next(answers, 200)) as oncall, web() as team:
        dispatcher = started(oncall=oncall, team=team)
        dispatcher.outbox.transition([ERRORS], time.time())
        assert dispatcher.flush(20)
        time.sleep(0.3)
        assert len(oncall.requests) == 3
        assert len(set(oncall.ids())) == 1
        first, second = (b.at - a.at for a, b in zip(oncall.requests, oncall.requests[1:], strict=False))
        assert first >= 0.5
        assert second >= 1.0


def test_retry_after_is_obeyed_by_all_that_goes_to_the_receiver(started: Starter) -> None:
    """A notice of another group waits as well: it is the receiver that asks."""
    answers = iter([(429, {"Retry-After": "2"})])
    with web(lambda request: next(answers, 200)) as oncall, web() as team:
        dispatcher = started(oncall=oncall, team=team)
        dispatcher.outbox.transition([ERRORS, Alert("ServiceDown", "critical", "churn")], time.time())
        assert dispatcher.flush(20)
        assert len(oncall.requests) == 3
        assert oncall.requests[1].at - oncall.requests[0].at >= 2.0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_what_a_receiver_refuses_is_told_through_another(started: Starter, status: int) -> None:
    """It is not tried again by this process; the next one tries once."""
    with web(lambda request: status) as oncall, web() as team:
        dispatcher = started(oncall=oncall, team=team)
        dispatcher.outbox.transition([ERRORS], time.time())
        until(lambda: len(team.requests) == 2)
        told = {request.body["groupLabels"]["alertname"]: request.body for request in team.requests}
        assert told["MonitorUnhealthy"]["commonLabels"]["receiver"] == "oncall"
        assert str(status) in told["MonitorUnhealthy"]["commonAnnotations"]["description"]
        assert len(oncall.requests) == 1
        assert dispatcher.stop()
        oncall.answer = lambda request: 200
        started(oncall=oncall, team=team)
        until(lambda: len(oncall.requests) == 2)
        assert len(set(oncall.ids())) == 1


def test_two_dispatchers_of_one_store_send_once(started: Starter) -> None:
    """However many alerts there are."""
    with web() as oncall, web() as team:
        first, second = (started(oncall=oncall, team=team) for _ in range(2))
        alerts = [Alert(f"Alert{i}", "critical", "sentiment") for i in range(25)]
        first.outbox.transition(alerts, time.time())
        second.wake()
        assert first.flush(60)
        assert second.flush(60)
        assert len(oncall.requests) == len(team.requests) == 25
        assert len(set(oncall.ids())) == 25


def test_a_store_that_is_locked_for_a_while_delays_and_loses_nothing(tmp_path: Path) -> None:
    """What was sent before it could be marked is not sent again by the same dispatcher."""
    path = tmp_path / "store.db"
    database = Database(f"sqlite:///{path}", busy_s=0.1)
    stuck = StuckStore(path)

    def lock(request: object) -> int:
        if not lock_once:
            lock_once.append(True)
            stuck.__enter__()
        return 200

    lock_once: list[bool] = []
    policy = Policy(("oncall",), {"critical": ("oncall",)}, 0.0, 0.0, settle_s=0.0)
    with web(lock) as oncall:
        outbox = Outbox(database, policy)
        dispatcher = Dispatcher(outbox, {"oncall": Webhook(SecretStr(oncall.url))})
        dispatcher.start()
        outbox.transition([ERRORS], time.time())
        until(lambda: bool(lock_once))
        assert not dispatcher.flush(1.0)
        stuck.release()
        assert dispatcher.flush(20)
        assert dispatcher.stop()
        assert len(oncall.requests) == 1
    database.close()


def test_a_store_that_is_deleted_under_us_is_filled_again(tmp_path: Path) -> None:
    """The evaluator says what fires, and it is told."""
    path = tmp_path / "store.db"
    database = Database(f"sqlite:///{path}")
    policy = Policy(("oncall",), {"critical": ("oncall",)}, 0.0, 0.0, settle_s=0.0)
    with web() as oncall:
        dispatcher = Dispatcher(Outbox(database, policy), {"oncall": Webhook(SecretStr(oncall.url))})
        dispatcher.start()
        dispatcher.outbox.transition([ERRORS], time.time())
        assert dispatcher.flush(20)
        for file in tmp_path.iterdir():
            file.unlink()
        dispatcher.outbox.transition([ERRORS, Alert("ServiceDown", "critical", "churn")], time.time())
        assert dispatcher.flush(20)
        assert dispatcher.stop()
        names = [request.body["groupLabels"]["alertname"] for request in oncall.requests]
        assert sorted(names) == ["HighErrorRate", "HighErrorRate", "ServiceDown"]
    database.close()


def test_an_end_without_an_answer_is_still_an_end(started: Starter) -> None:
    """A stop while a receiver hangs takes no longer than its try; what is not sent stays in the outbox."""
    with web(lambda request: "hang") as oncall, web() as team:
        dispatcher = started(oncall=oncall, team=team, wall_s=1.0)
        dispatcher.outbox.transition([ERRORS], time.time())
        until(lambda: len(oncall.requests) == 1)
        began = time.monotonic()
        assert dispatcher.stop()
        assert time.monotonic() - began < 2.5
        assert dispatcher.outbox.waiting("oncall") == 1


def test_a_mistake_in_a_sender_stops_nobody(database: Database) -> None:
    """It is tried again, and the others are told."""

    class Broken:
        tries = 0

        def send(self, notice: object, client: object) -> object:
            self.tries += 1
            raise ZeroDivisionError

    broken = Broken()
    with web() as team:
        senders = {"oncall": broken, "team": Webhook(SecretStr(team.url))}
        dispatcher = Dispatcher(Outbox(database, AT_ONCE), senders)  # type: ignore[arg-type]
        dispatcher.start()
        dispatcher.outbox.transition([ERRORS], time.time())
        until(lambda: broken.tries >= 2 and len(team.requests) == 1)
        assert dispatcher.stop()
