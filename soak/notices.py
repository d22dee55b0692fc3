"""Notices over hundreds of deaths: what was to be told is told, and what comes twice has the same key."""

from __future__ import annotations

import random
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from pydantic import SecretStr

from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.dispatcher import Dispatcher
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.senders.webhook import Webhook
from modelwatch.testing import KillAt, Receiver, acknowledge, running_receiver
from soak.ledger import Report

POLICY = Policy(("oncall",), {"critical": ("oncall",)}, 0.0, 0.0, settle_s=0.0)
CLAIM_S = 0.5  # one process lives at a time


def dispatcher_of(url: str, receiver: str) -> Dispatcher:
    """Return a dispatcher to one receiver."""
    return Dispatcher(Outbox(Database(url), POLICY, CLAIM_S), {"oncall": Webhook(SecretStr(receiver))})


def notify_for_ever(url: str, receiver: str, trial: int) -> None:
    """Let alerts fire and end, and tell of each change that is kept."""
    dispatcher = dispatcher_of(url, receiver)
    dispatcher.start()
    for turn in range(100_000):
        alert = Alert(f"Alert-{trial}-{turn}", "critical", started_at=time.time())
        for status, said in (("firing", alert), ("resolved", alert.ended(time.time()))):
            dispatcher.outbox.transition([said], time.time())
            acknowledge([status, alert.name])
            while not dispatcher.flush(5):
                pass


def told(receiver: Receiver) -> dict[str, set[str]]:
    """Return the alerts that a receiver was told of, by their status."""
    found: dict[str, set[str]] = defaultdict(set)
    for request in receiver.requests:
        found[request.body["status"]].add(request.body["groupLabels"]["alertname"])
    return found


def kills(report: Report, scale: float) -> None:
    """Statement 42: killed at random moments between a change, its decision, its sending and its mark."""
    trials, chance = max(20, int(200 * scale)), random.Random(42)
    kept: dict[str, set[str]] = defaultdict(set)
    with tempfile.TemporaryDirectory() as folder, running_receiver() as receiver:
        url = f"sqlite:///{Path(folder, 'store.db')}"
        for trial in range(trials):
            killer = KillAt(after_s=chance.uniform(0.05, 1.0), start_method="forkserver")
            for status, name in killer.run(notify_for_ever, url, receiver.url, trial).acknowledged:
                kept[status].add(name)
        dispatcher = dispatcher_of(url, receiver.url)
        dispatcher.start()
        sent = dispatcher.flush(60)
        dispatcher.stop()
        dispatcher.outbox.database.close()
        found, ids = told(receiver), receiver.ids()
    lost = sum(len(names - found[status]) for status, names in kept.items())
    twice, changes = len(ids) - len(set(ids)), sum(map(len, kept.values()))
    report.check(
        42, f"notices over {trials} killed dispatchers", "0 lost, at most one twice a kill, with the same key",
        f"{lost} lost of {changes:,}, {twice} twice", holds=sent and not lost and twice <= trials and changes > trials,
    )  # fmt: skip
