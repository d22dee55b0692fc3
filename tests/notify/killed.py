"""What the processes do that the tests of notices kill: in a module of its own, since they find it by its name."""

from __future__ import annotations

import time
from collections.abc import Iterable

from pydantic import SecretStr

from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.dispatcher import Dispatcher
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.outboxrows import Claim
from modelwatch.notify.outcome import Outcome
from modelwatch.notify.senders.webhook import Webhook
from modelwatch.testing import acknowledge, reached

POINTS = ("changed", "decided", "claimed", "sent", "marked")
POLICY = Policy(("oncall",), {"critical": ("oncall",)}, 0.0, 0.0, settle_s=0.0)
CLAIM_S = 0.5  # there is one process at a time: nobody takes a claim of a living one


class Points(Outbox):
    """An outbox that tells where it is."""

    def transition(self, alerts: Iterable[Alert], now: float, *, complete: bool = False) -> None:
        """Keep what has changed."""
        super().transition(alerts, now, complete=complete)
        reached("changed")

    def plan(self, now: float) -> int:
        """Decide what is due."""
        made = super().plan(now)
        if made:
            reached("decided")
        return made

    def claim(self, receiver: str, now: float) -> Claim | None:
        """Return what is to be sent."""
        claim = super().claim(receiver, now)
        if claim is not None:
            reached("claimed")
        return claim

    def mark(self, claim: Claim, outcome: Outcome, now: float) -> None:
        """Keep what became of it."""
        reached("sent")
        super().mark(claim, outcome, now)
        reached("marked")


def dispatcher_of(store: str, receiver: str) -> Dispatcher:
    """Return a dispatcher to one receiver."""
    return Dispatcher(Points(Database(store), POLICY, CLAIM_S), {"oncall": Webhook(SecretStr(receiver))})


def notify(store: str, receiver: str, trial: int) -> None:
    """Let one alert after the other fire and end, tell of each change that is kept, and send the notices."""
    dispatcher = dispatcher_of(store, receiver)
    dispatcher.start()
    for turn in range(1000):
        alert = Alert(f"Alert-{trial}-{turn}", "critical", started_at=time.time())
        dispatcher.outbox.transition([alert], time.time())
        acknowledge(["firing", alert.name])
        while not dispatcher.flush(5):
            pass
        dispatcher.outbox.transition([alert.ended(time.time())], time.time())
        acknowledge(["resolved", alert.name])
        while not dispatcher.flush(5):
            pass
