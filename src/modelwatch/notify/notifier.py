"""All of it together, as a configuration wants it: alerts in, notices out, or alerts handed over to an Alertmanager."""

from __future__ import annotations

from collections.abc import Iterable

from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.groundtruth.database import Database
from modelwatch.notify.alert import Alert
from modelwatch.notify.alertmanager import Handover
from modelwatch.notify.client import Client
from modelwatch.notify.dispatcher import Dispatcher
from modelwatch.notify.grouping import Policy
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.senders import senders_of


class Notifier:
    """Tells who is to be told. Called with all that fires at every evaluation; it finds out what has changed.

    Parameters
    ----------
    config : with its secrets.
    database : the store, where everything is kept before it is sent.
    clock : tests pass their own.

    Raises
    ------
    ConfigError, MissingExtra   a receiver cannot be used.
    """

    def __init__(self, config: Config, database: Database, clock: SteadyClock | None = None) -> None:
        alerting = config.alerting
        client = Client(alerting.private_hosts)
        self.outbox = Outbox(database, Policy.of(config))
        self.sender: Handover | Dispatcher
        if alerting.alertmanager is not None:
            self.sender = Handover(self.outbox, alerting.alertmanager, client, clock)
        else:
            self.sender = Dispatcher(self.outbox, senders_of(alerting.receivers), client, clock)

    def __call__(self, alerts: Iterable[Alert], now: float) -> None:
        """Keep all alerts that fire; those that are missing have ended. On the disk when this returns.

        Raises
        ------
        StoreUnavailable   they are not kept; saying it again at the next evaluation is enough.
        """
        self.outbox.transition(alerts, now, complete=True)
        self.sender.wake()

    def start(self) -> None:
        """Begin to send."""
        self.sender.start()

    def stop(self, timeout_s: float = 6.0) -> bool:
        """End it; return whether it has ended in time. What is not sent stays in the store."""
        return self.sender.stop(timeout_s)
