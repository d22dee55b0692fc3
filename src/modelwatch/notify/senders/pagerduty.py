"""PagerDuty, by its Events API v2: trigger, acknowledge and resolve an incident by its dedup key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from modelwatch.notify.alert import Notice
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Outcome
from modelwatch.notify.words import rfc3339, title_of, words_of

EVENTS = "https://events.pagerduty.com/v2/enqueue"
LONGEST_SUMMARY = 1024
_ACTIONS = {"resolved": "resolve", "acknowledged": "acknowledge"}
_SEVERITIES = {"critical": "critical", "warning": "warning"}


@dataclass(frozen=True)
class PagerDuty:
    """A service of PagerDuty.

    References
    ----------
    https://developer.pagerduty.com/docs/send-alert-event
    """

    routing_key: SecretStr
    url: SecretStr

    def send(self, notice: Notice, client: Client) -> Outcome:
        """Send a notice; the incident of its group is the same for ever."""
        key = self.routing_key.get_secret_value()
        body = json.dumps({"routing_key": key, **event(notice)}).encode()
        headers = {"Idempotency-Key": notice.id}
        return client.post(self.url.get_secret_value(), body, headers, (key,))


def event(notice: Notice) -> dict[str, Any]:
    """Return an event without its routing key."""
    action = _ACTIONS.get(notice.kind, "trigger")
    head = {"event_action": action, "dedup_key": f"modelwatch-{notice.group.key}"}
    if action != "trigger":
        return head
    words = words_of(notice)
    lead = notice.alerts[0] if notice.alerts else None
    summary = f"{title_of(notice)}: {words.entries[0].headline}" if words.entries else title_of(notice)
    payload = {
        "summary": summary[:LONGEST_SUMMARY],
        "source": notice.group.model or "modelwatch",
        "severity": _SEVERITIES.get(notice.severity, "info"),
        "timestamp": rfc3339(lead.started_at if lead else notice.made_at),
        "component": notice.group.model or "service",
        "group": notice.group.name,
        "class": notice.group.name,
        "custom_details": {
            "firing": notice.firing,
            "resolved": notice.resolved,
            "notice": notice.id,
            "alerts": [
                {"summary": entry.headline, "description": entry.text, **dict(entry.facts)} for entry in words.entries
            ],
            **({"more": words.more} if words.more else {}),
        },
    }
    links = [{"href": url, "text": name} for name, url in words.links]
    return {**head, "payload": payload, "links": links, "client": "modelwatch"}
