"""What is told: an alert as the notifier knows it, and a notice of several of them. Plain values, to and from JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

Kind = Literal["firing", "escalated", "acknowledged", "resolved", "test"]

SEVERITIES = ("critical", "warning", "info", "none")
LONGEST = 2000  # characters of a text
MOST_LABELS = 30
MOST_ALERTS = 20  # of a notice; the others are counted
# labels that tell the rules of one alert apart: it is the same alert, at another severity or over another window
RUNGS = frozenset({"severity", "level", "window", "drift", "trend"})


def clean(text: object, longest: int = LONGEST) -> str:
    r"""Return a text that every store and medium takes: no control characters, no halves of characters, not too long.

    Examples
    --------
    >>> clean("a\x00b\ud800\n")
    'a b?\n'
    """
    plain = str(text)[:longest]
    if plain.replace("\n", " ").isprintable():
        return plain
    plain = plain.encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() or character == "\n" else " " for character in plain)


@dataclass(frozen=True)
class Alert:
    """An alert that fires, or has ended.

    Parameters
    ----------
    name, severity : as in its rule; severity is critical, warning, info or none.
    model, version : empty where it is of the whole service.
    labels : what tells it from others of its name and model, such as the feature.
    summary, description : in words, for people.
    runbook_url, dashboard_url : where to look; empty for none.
    started_at, ended_at : Unix time; `ended_at` is None while it fires.

    Examples
    --------
    >>> alert = Alert("HighErrorRate", "critical", "sentiment", started_at=1_700_000_000)
    >>> alert.status, alert.fingerprint == alert.at_severity("warning").fingerprint
    ('firing', True)
    """

    name: str
    severity: str
    model: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    summary: str = ""
    description: str = ""
    runbook_url: str = ""
    dashboard_url: str = ""
    started_at: float = 0.0
    ended_at: float | None = None

    def __post_init__(self) -> None:
        for name in ("name", "model", "version", "summary", "runbook_url", "dashboard_url"):
            object.__setattr__(self, name, clean(getattr(self, name), 300).replace("\n", " "))
        object.__setattr__(self, "description", clean(self.description))
        pairs = sorted(self.labels.items())[:MOST_LABELS]
        object.__setattr__(self, "labels", {clean(name, 100): clean(value, 300) for name, value in pairs})
        if self.severity not in SEVERITIES:
            object.__setattr__(self, "severity", "warning")

    @property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits of name, model, version and those labels that no escalation changes.

        A warning that becomes critical, and a burn that another window shows, go on: they do not end and begin.
        """
        labels = {name: value for name, value in self.labels.items() if name not in RUNGS}
        return digest(self.name, self.model, self.version, json.dumps(labels, sort_keys=True))

    @property
    def status(self) -> Literal["firing", "resolved"]:
        """Whether it fires."""
        return "firing" if self.ended_at is None else "resolved"

    def at_severity(self, severity: str) -> Alert:
        """Return the same alert, as severe as that."""
        return replace(self, severity=severity)

    def ended(self, now: float) -> Alert:
        """Return the same alert, over."""
        return replace(self, ended_at=now)


def digest(*parts: str) -> str:
    """Return sixteen hexadecimal digits that stand for texts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def rank(severity: str) -> int:
    """Return 0 for the worst."""
    return SEVERITIES.index(severity)


class Group(NamedTuple):
    """What a receiver hears of together."""

    receiver: str
    name: str
    model: str

    @property
    def key(self) -> str:
        """One text for it, the same for ever: what an incident is found by at the receiver."""
        return digest(*self)


@dataclass(frozen=True)
class Notice:
    """One message to one receiver about the alerts of one name and model.

    Parameters
    ----------
    id : the idempotency key; the same at every try.
    kind : escalated is firing that nobody has acknowledged.
    severity : the worst of what fires; of a resolved one, of what has fired.
    alerts : at most 20, firing ones first, then those that have ended.
    firing, resolved : how many there are.
    by : who acknowledged it.
    """

    id: str
    group: Group
    kind: Kind
    severity: str
    alerts: tuple[Alert, ...]
    firing: int
    resolved: int
    made_at: float
    by: str = ""

    def dumped(self) -> str:
        """Return it as JSON."""
        return json.dumps({**vars(self), "group": list(self.group), "alerts": [vars(alert) for alert in self.alerts]})

    @classmethod
    def loaded(cls, text: str) -> Notice:
        """Read `dumped` back."""
        values: dict[str, Any] = json.loads(text)
        alerts = tuple(Alert(**alert) for alert in values.pop("alerts"))
        return cls(group=Group(*values.pop("group")), alerts=alerts, **values)


def notice_of(
    group: Group,
    number: int,
    kind: Kind,
    now: float,
    firing: Iterable[Alert] = (),
    resolved: Iterable[Alert] = (),
    by: str = "",
) -> Notice:
    """Return the notice of a group; the worst alerts stand in it, the others are counted."""
    first = sorted(firing, key=lambda alert: (rank(alert.severity), alert.started_at, alert.fingerprint))
    then = sorted(resolved, key=lambda alert: (rank(alert.severity), alert.started_at, alert.fingerprint))
    shown = (first + then)[:MOST_ALERTS]
    severity = min((alert.severity for alert in first or then), key=rank, default="none")
    name = digest(group.key, str(number), kind, repr(now))
    return Notice(name, group, kind, severity, tuple(shown), len(first), len(then), now, by)
