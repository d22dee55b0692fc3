"""The forms of PagerDuty and Slack: what is sent has them, and what has not is refused as the services refuse it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from modelwatch.notify.alert import Alert, Group, Kind, notice_of
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Delivered, Refused
from modelwatch.notify.senders.pagerduty import PagerDuty
from modelwatch.notify.senders.slack import Slack
from modelwatch.testing.forms import PAGERDUTY, SLACK, Form
from modelwatch.testing.receivers import running_receiver

ALERT = Alert(
    "HighErrorRate", "critical", "shop", "1", {"endpoint": "/predict"}, "shop: 12 % of requests fail", "One in eight.",
    "https://example.com/runbooks/HighErrorRate", "https://example.com/?model=shop", 1_700_000_000.0,
)  # fmt: skip
KEY = SecretStr("0123456789abcdef0123456789abcdef")
SENDERS: dict[str, Callable[[str], Any]] = {
    "pagerduty": lambda url: PagerDuty(KEY, SecretStr(url)),
    "slack": lambda url: Slack(SecretStr(url)),
}


@pytest.mark.parametrize("form", [PAGERDUTY, SLACK], ids=lambda form: form.name)
@pytest.mark.parametrize(("kind", "status"), [("firing", "firing"), ("escalated", "firing"), ("resolved", "resolved")])
def test_what_is_sent_has_the_form(form: Form, kind: Kind, status: str) -> None:
    """Every message of modelwatch is taken, and says of itself what it is; an incident of PagerDuty keeps its key."""
    with running_receiver(form.answer) as receiver:
        sender = SENDERS[form.name](receiver.url)
        notice = notice_of(Group("r", ALERT.name, ALERT.model), 1, kind, 1_700_000_060.0, [ALERT])
        assert sender.send(notice, Client()) == Delivered()
        said = form.says(receiver.requests[0].body)
    assert said.status == status
    assert bool(said.key) == (form is PAGERDUTY)
    assert ("HighErrorRate" in said.words) or (form is PAGERDUTY and kind == "resolved")


EVENT: dict[str, Any] = {
    "routing_key": "k", "event_action": "trigger", "dedup_key": "a",
    "payload": {"summary": "down", "source": "shop", "severity": "critical"},
    "links": [{"href": "https://example.com", "text": "Dashboard"}],
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "text": "down",
    "blocks": [{"type": "section", "text": {"type": "plain_text", "text": "down"}}],
    "attachments": [{"title": "FIRING: a", "fallback": "a", "color": "danger", "title_link": "https://example.com"}],
}
WRONG: list[tuple[Form, tuple[Any, ...], Any]] = [
    (PAGERDUTY, ("routing_key",), ""),
    (PAGERDUTY, ("event_action",), "fire"),
    (PAGERDUTY, ("dedup_key",), "a" * 256),
    (PAGERDUTY, ("payload",), None),
    (PAGERDUTY, ("payload", "summary"), "a" * 1025),
    (PAGERDUTY, ("payload", "source"), ""),
    (PAGERDUTY, ("payload", "severity"), "page"),
    (PAGERDUTY, ("payload", "class"), 3),
    (PAGERDUTY, ("payload", "custom_details"), "text"),
    (PAGERDUTY, ("links", 0, "href"), "javascript:alert(1)"),
    (SLACK, ("blocks",), [MESSAGE["blocks"][0]] * 51),
    (SLACK, ("blocks", 0, "type"), "paragraph"),
    (SLACK, ("blocks", 0, "text", "text"), "a" * 3001),
    (SLACK, ("blocks", 0, "text", "text"), ""),
    (SLACK, ("blocks", 0, "text", "type"), "html"),
    (SLACK, ("attachments", 0, "fallback"), ""),
    (SLACK, ("attachments", 0, "color"), "red"),
    (SLACK, ("attachments", 0, "title_link"), "nowhere"),
]


@pytest.mark.parametrize(("form", "path", "value"), WRONG)
def test_what_has_not_the_form_is_refused(form: Form, path: tuple[Any, ...], value: Any) -> None:
    """One value that the documentation does not allow, in a message that is taken without it."""
    body = copy.deepcopy(EVENT if form is PAGERDUTY else MESSAGE)
    assert form.faults(body) == []
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert form.faults(body) != []
    with running_receiver(form.answer) as receiver:
        assert isinstance(Client().post(receiver.url, json.dumps(body).encode(), {}), Refused)


def test_a_message_of_nothing_is_refused() -> None:
    """An event that ends no incident, a message without a word, and no object at all."""
    assert PAGERDUTY.faults({"routing_key": "k", "event_action": "resolve"}) == ["dedup_key is None"]
    assert SLACK.faults({"text": "", "blocks": []}) == ["there is no text, no block and no attachment"]
    assert PAGERDUTY.faults([]) == SLACK.faults(None) == ["it is no object"]
