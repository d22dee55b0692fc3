"""What a drill sees from outside: states of alerts as their evaluator tells them, and messages as they arrive."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelwatch.testing.forms import Form, Said
from modelwatch.testing.receivers import Received, Receiver, running_receiver

LOOK_S = 0.4
WAIT_S = 3.0


class Alert(NamedTuple):
    """What tells one alert from another, in either mode: its name, severity and what it is about (its culprit)."""

    name: str
    severity: str
    about: str


@dataclass(frozen=True)
class Seen:
    """An alert at one look: its state, whether its value is beyond its limit, and since when, where that is told."""

    alert: Alert
    state: str
    beyond: bool
    since: float | None = None


@dataclass
class Span:
    """From the first sign of an alert to its end, in Unix seconds."""

    alert: Alert
    moved: float
    pending: float | None = None
    firing: float | None = None
    ended: float | None = None


def get_json(url: str, body: Any = None) -> Any:
    """Return what a server of this machine answers.

    Raises
    ------
    OSError, ValueError   it does not answer in time, or no JSON.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - http, of the caller
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:  # noqa: S310
        return json.loads(answer.read())


def _about(labels: Mapping[str, str]) -> str:
    for name in ("feature_name", "segment", "of", "slo", "receiver"):
        if labels.get(name):
            return str(labels[name])
    return ""


def seen_by_serve(url: str) -> list[Seen]:
    """Return the alerts of a `modelwatch serve` that are not quiet."""
    found = []
    for one in get_json(f"{url}/api/alerts")["alerts"]:
        value, limit = one["value"], one["limit"]
        above = one["op"] in (">", ">=")
        beyond = None not in (value, limit) and (value >= limit if above else value <= limit)
        if one["state"] != "inactive" or beyond:  # what a worse one says already fires all the same
            alert = Alert(one["alert"], one["severity"], _about(one["labels"]))
            found.append(Seen(alert, one["state"], beyond, one["since"]))
    return found


def seen_by_prometheus(url: str) -> list[Seen]:
    """Return the alerts of a Prometheus that are not quiet."""
    alerts = get_json(f"{url}/api/v1/alerts")["data"]["alerts"]
    return [
        Seen(Alert(labels.get("alertname", ""), labels.get("severity", ""), _about(labels)), one["state"], True)
        for one in alerts
        for labels in [one["labels"]]
    ]


class Watch:
    """Asks an evaluator again and again, in a thread, and keeps when each alert began and ended.

    An evaluator that does not answer ends nothing.

    Parameters
    ----------
    look : returns what is not quiet now.
    """

    def __init__(self, look: Callable[[], list[Seen]]) -> None:
        self._look = look
        self.spans: list[Span] = []
        self.answered_at: float | None = None
        self._open: dict[Alert, Span] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="drill-watch", daemon=True)

    def __enter__(self) -> Watch:  # noqa: PYI034 - Self is of Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * WAIT_S)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_S):
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = self._look()
                self.take(found, time.time())

    def take(self, found: list[Seen], now: float) -> None:
        """Take one look in."""
        states: dict[Alert, Seen] = {}
        for one in found:  # rules of one name and severity: the one that has come furthest counts
            before = states.get(one.alert)
            if before is None or _far(one) > _far(before):
                states[one.alert] = one
        with self._lock:
            self.answered_at = now
            for alert, one in states.items():
                span = self._open.get(alert)
                if span is None:
                    span = self._open[alert] = Span(alert, now)
                    self.spans.append(span)
                if one.state in ("pending", "firing"):
                    span.pending = span.pending or one.since or now
                if one.state == "firing":
                    span.firing = span.firing or one.since or now
                elif span.firing is not None:  # it waits to fire again: the former time is over
                    self._close(alert, now)
            for alert in [alert for alert in self._open if alert not in states]:
                self._close(alert, now)

    def _close(self, alert: Alert, now: float) -> None:
        self._open.pop(alert).ended = now

    def of(self, name: str, since: float) -> list[Span]:
        """Return the spans of an alert that began after a moment, or were open then."""
        with self._lock:
            return [span for span in self.spans if span.alert.name == name and (span.ended or since) >= since]

    def is_quiet(self, name: str) -> bool:
        """Tell whether nothing of this alert fires or waits now."""
        with self._lock:
            return not any(alert.name == name and span.pending for alert, span in self._open.items())


def _far(seen: Seen) -> int:
    return ("inactive", "pending", "firing").index(seen.state) * 2 + seen.beyond


@dataclass
class Inbox:
    """A receiver on loopback that takes what is in the form of PagerDuty or Slack; while `is_down` it answers 503."""

    receiver: Receiver
    form: Form
    is_down: bool = False
    taken: list[tuple[float, Said]] = field(default_factory=list)  # Unix time, what it says
    malformed: list[str] = field(default_factory=list)  # what was wrong with those that it refused for that
    refused: int = 0

    def answer(self, request: Received) -> Any:
        """Take a message, or not."""
        if self.is_down:
            self.refused += 1
            return 503, {"Retry-After": "1"}
        faults = self.form.faults(request.body)
        self.malformed += faults
        if not faults:
            self.taken.append((time.time(), self.form.says(request.body)))
        return self.form.answer(request)

    def first(self, name: str, status: str, since: float) -> float | None:
        """Return when the first message came after a moment that says so of an alert; None while none has.

        status : "firing" or "resolved".
        """
        named, keys = re.compile(rf"\b{re.escape(name)}\b"), set[str]()
        for at, said in list(self.taken):
            is_named = bool(named.search(said.words))
            if is_named and said.key:
                keys.add(said.key)  # the end of an incident has its key, and no name
            if at >= since and said.status == status and (is_named or said.key in keys):
                return at
        return None


@contextlib.contextmanager
def inbox(form: Form) -> Iterator[Inbox]:
    """Run a receiver on loopback until the block ends."""
    with running_receiver() as receiver:
        made = Inbox(receiver, form)
        receiver.answer = made.answer
        yield made
