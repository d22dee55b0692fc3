"""Hands alerts over to an Alertmanager, which sends them: posted again and again, as Prometheus does it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from modelwatch.clock import SteadyClock
from modelwatch.errors import ModelwatchError
from modelwatch.notify.client import Client
from modelwatch.notify.grouping import Known
from modelwatch.notify.outbox import Outbox
from modelwatch.notify.outcome import Delivered, Outcome
from modelwatch.notify.senders.webhook import annotations_of, labels_of
from modelwatch.notify.words import rfc3339

POST_S = 30.0  # between two posts of what fires
LASTS_S = 4 * POST_S  # an alert that is not posted again is over
RESOLVED_S = 900.0  # how long an end is posted: Alertmanager may have been away
RETRY_S = 5.0
BATCH = 256


class Handover:
    """Posts what fires to an Alertmanager until it is stopped.

    Parameters
    ----------
    outbox : what fires; nothing else of it is used.
    url : of the Alertmanager, without /api; may hold a name and a password.
    client : sends requests. The host of the Alertmanager may be private: it is a part of the same installation.
    """

    def __init__(
        self, outbox: Outbox, url: str, client: Client | None = None, clock: SteadyClock | None = None
    ) -> None:
        self.outbox, self._url = outbox, SecretStr(f"{url.rstrip('/')}/api/v2/alerts")
        client, host = client or Client(), urlsplit(url).hostname or ""
        self.client, self.clock = replace(client, private_hosts=(*client.private_hosts, host)), clock or SteadyClock()
        self.last: Outcome | None = None  # what became of the last post
        self._stopping, self._look = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._post_for_ever, name="modelwatch-alertmanager", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Post at once: something has changed."""
        self._look.set()

    def stop(self, timeout_s: float = 6.0) -> bool:
        """End the thread; return whether it has ended. What fires goes on to fire there for two minutes."""
        self._stopping.set()
        self._look.set()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def post(self, now: float) -> bool:
        """Post what fires, and what has ended lately; return whether all of it was taken.

        Raises
        ------
        StoreUnavailable   what fires cannot be read.
        """
        for batch in _batches(alerts_for(self.outbox.known(), now)):
            self.last = self.client.post(self._url.get_secret_value(), json.dumps(batch).encode(), {})
            if not isinstance(self.last, Delivered):
                return False
        return True

    def _post_for_ever(self) -> None:
        while not self._stopping.is_set():
            taken = False
            try:
                taken = self.post(self.clock.now())
            except ModelwatchError:
                pass  # the store is away: what fires lasts for a while over there
            self._look.wait(POST_S if taken else RETRY_S)
            self._look.clear()


def alerts_for(known: Iterable[Known], now: float) -> list[dict[str, Any]]:
    """Return alerts in the form of Alertmanager's API, version 2.

    References
    ----------
    https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
    """
    found = []
    for one in known:
        alert = one.alert
        if alert.ended_at is not None and now - alert.ended_at > RESOLVED_S:
            continue
        ends_at = now + LASTS_S if alert.ended_at is None else max(alert.ended_at, alert.started_at)
        found.append({
            "labels": labels_of(alert), "annotations": annotations_of(alert), "generatorURL": alert.dashboard_url,
            "startsAt": rfc3339(alert.started_at), "endsAt": rfc3339(ends_at),
        })  # fmt: skip
    return found


def _batches(alerts: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(alerts), BATCH):
        yield alerts[start : start + BATCH]
