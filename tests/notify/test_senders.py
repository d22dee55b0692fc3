"""What each kind of receiver is sent, against its documentation; and what becomes of markup in every field."""

from __future__ import annotations

import email
import email.policy
import json
import ssl
import time
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from modelwatch.configalerting import Alerting, Receiver
from modelwatch.errors import ConfigError
from modelwatch.notify.alert import Alert, Group, Kind, Notice, notice_of
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Delivered, Refused, Retry
from modelwatch.notify.senders import Sender, sender_of, senders_of
from notify.receivers import Post, post_office, web

SECRET = "S3CR3T-routing-key"
GROUP = Group("oncall", "HighErrorRate", "sentiment")
ERRORS = Alert(
    "HighErrorRate", "critical", "sentiment", "1.4.2", {"endpoint": "/predict"}, "Errors are 12 %",
    "12 % of 400 requests failed in 5 minutes.\nMost are ValueError.", "https://example.com/runbooks/HighErrorRate",
    "https://example.com/?model=sentiment", 1_700_000_000.0,
)  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script> <!channel> @channel @here <http://evil.example|click> [click](http://evil.example) "
    "*bold* {{ .x }} \"'>& www.evil.example\r\nBcc: all@evil.example\x00\ud800"
)


def notice(kind: Kind = "firing", alerts: tuple[Alert, ...] = (ERRORS,)) -> Notice:
    """Return a notice."""
    if kind == "resolved":
        return notice_of(GROUP, 2, kind, 1_700_000_600.0, (), [alert.ended(1_700_000_500.0) for alert in alerts])
    return notice_of(GROUP, 1, kind, 1_700_000_060.0, alerts)


def made(config: dict[str, Any]) -> Sender:
    """Return the sender of a receiver as it is configured."""
    return sender_of("oncall", Alerting.model_validate({"receivers": {"oncall": config}}).receivers["oncall"])


def hostile() -> Notice:
    """Return a notice with markup in every field."""
    alert = Alert(
        HOSTILE, "critical", HOSTILE, HOSTILE, {HOSTILE: HOSTILE}, HOSTILE, HOSTILE, "javascript:alert(1)",
        "https://example.com/?a=<b>|c", 1_700_000_000.0,
    )  # fmt: skip
    group = Group("oncall", alert.name, alert.model)
    return notice_of(group, 1, "firing", 1_700_000_060.0, [alert])


def test_pagerduty_triggers_acknowledges_and_resolves_one_incident() -> None:
    """Events API v2: required fields, allowed values and one dedup key, over the life of an incident."""
    with web(lambda request: 202) as server:
        sender = made({"pagerduty": {"routing_key": SECRET, "url": server.url}})
        for kind in ("firing", "escalated", "acknowledged", "resolved"):
            assert sender.send(notice(kind), Client()) == Delivered()
    bodies = [request.body for request in server.requests]
    assert [body["event_action"] for body in bodies] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert {body["routing_key"] for body in bodies} == {SECRET}
    assert len({body["dedup_key"] for body in bodies}) == 1
    assert len(bodies[0]["dedup_key"]) <= 255
    payload = bodies[0]["payload"]
    assert set(payload) == {
        "summary",
        "source",
        "severity",
        "timestamp",
        "component",
        "group",
        "class",
        "custom_details",
    }
    assert payload["summary"] == "[CRITICAL] HighErrorRate of sentiment: Errors are 12 %"
    assert (payload["severity"], payload["source"]) == ("critical", "sentiment")
    assert payload["timestamp"] == "2023-11-14T22:13:20.000000Z"
    assert payload["custom_details"]["alerts"][0]["Endpoint"] == "/predict"
    assert bodies[0]["links"] == [
        {"href": "https://example.com/runbooks/HighErrorRate", "text": "Runbook"},
        {"href": "https://example.com/?model=sentiment", "text": "Dashboard"},
    ]


@pytest.mark.parametrize(
    ("severity", "expected"), [("critical", "critical"), ("warning", "warning"), ("info", "info"), ("none", "info")]
)
def test_pagerduty_knows_its_own_severities(severity: str, expected: str) -> None:
    """Whatever ours are."""
    with web(lambda request: 202) as server:
        sender = made({"pagerduty": {"routing_key": SECRET, "url": server.url}})
        sender.send(notice(alerts=(ERRORS.at_severity(severity),)), Client())
    assert server.requests[0].body["payload"]["severity"] == expected


def test_pagerduty_refuses_a_wrong_key_without_showing_it() -> None:
    """Its words are in the reason, the key is not."""
    with web(lambda request: 400) as server:
        server.words = json.dumps({"status": "invalid event", "errors": [f"routing_key {SECRET} is unknown"]})
        outcome = made({"pagerduty": {"routing_key": SECRET, "url": server.url}}).send(notice(), Client())
    assert isinstance(outcome, Refused)
    assert "invalid event" in outcome.reason
    assert SECRET not in outcome.reason


def texts(value: Any) -> list[str]:
    """Return every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in values for text in texts(one)]


def test_slack_is_sent_blocks_within_its_limits() -> None:
    """A header of 150 characters, sections of 3000, ten fields of 2000, fifty blocks, a text for the notification."""
    many = tuple(
        Alert("DataDriftDetected", "warning", "m" * 300, "v", {f"label{i}": "x" * 300 for i in range(30)}, "s" * 300, "d" * 3000, started_at=n)
        for n in range(40)
    )  # fmt: skip
    with web() as server:
        sender = made({"slack": {"url": f"{server.url}/services/T1/B1/xyz", "channel": "#alerts"}})
        assert sender.send(notice(alerts=many), Client()) == Delivered()
        assert sender.send(notice(), Client()) == Delivered()
    large, small = (request.body for request in server.requests)
    assert len(large["blocks"]) <= 50
    for block in large["blocks"]:
        if block["type"] == "header":
            assert 0 < len(block["text"]["text"]) <= 150
        if block["type"] == "section":
            assert 0 < len(block["text"]["text"]) <= 3000
            assert len(block.get("fields", ())) <= 10
            assert all(0 < len(one["text"]) <= 2000 for one in block.get("fields", ()))
    assert "and 30 more" in texts(large)
    assert small["channel"] == "#alerts"
    assert small["text"] == "[CRITICAL] HighErrorRate of sentiment"
    assert [block["type"] for block in small["blocks"]] == ["header", "context", "section", "section", "section"]
    assert small["blocks"][-1]["text"] == {
        "type": "mrkdwn", "verbatim": True,
        "text": "<https://example.com/runbooks/HighErrorRate|Runbook>  <https://example.com/?model=sentiment|Dashboard>",
    }  # fmt: skip


def test_slack_calls_nobody_and_links_nowhere() -> None:
    """Markup in every field: values are plain_text only, the notification's text is escaped, only our links are links."""
    with web() as server:
        assert made({"slack": server.url}).send(hostile(), Client()) == Delivered()
    body = server.requests[0].body
    kinds = {block["text"]["type"] for block in body["blocks"] if "text" in block}
    assert kinds == {"plain_text"}
    assert "<" not in body["text"]
    assert "<script>" not in body["text"]
    assert not any("@channel" in text or "@here" in text or "http://" in text for text in texts(body))
    assert not any("www.evil" in text for text in texts(body))
    assert (body["link_names"], body["mrkdwn"], body["unfurl_links"]) == (False, False, False)


def test_a_webhook_is_sent_what_alertmanager_sends() -> None:
    """Version 4: every documented field, of its documented type; the token in a header."""
    with web() as server:
        sender = made({"webhook": {"url": f"{server.url}/hook", "token": SECRET}})
        other = Alert(
            "HighErrorRate", "critical", "sentiment", "1.4.2", {"endpoint": "/batch"}, started_at=1_700_000_009.0
        )
        assert sender.send(notice(alerts=(ERRORS, other)), Client()) == Delivered()
        assert sender.send(notice("resolved"), Client()) == Delivered()
    firing, resolved = (request.body for request in server.requests)
    assert server.requests[0].headers["Authorization"] == f"Bearer {SECRET}"
    assert firing["version"] == "4"
    assert {name: type(value) for name, value in firing.items() if name not in ("kind", "notice")} == {
        "version": str, "groupKey": str, "truncatedAlerts": int, "status": str, "receiver": str, "groupLabels": dict,
        "commonLabels": dict, "commonAnnotations": dict, "externalURL": str, "alerts": list,
    }  # fmt: skip
    assert (firing["status"], resolved["status"], firing["receiver"]) == ("firing", "resolved", "oncall")
    assert firing["groupLabels"] == {"alertname": "HighErrorRate", "model": "sentiment"}
    assert firing["commonLabels"] == {
        "alertname": "HighErrorRate", "model": "sentiment", "severity": "critical", "version": "1.4.2",
    }  # fmt: skip
    alert = firing["alerts"][0]
    assert alert == {
        "status": "firing", "fingerprint": ERRORS.fingerprint, "generatorURL": "https://example.com/?model=sentiment",
        "labels": {**firing["commonLabels"], "endpoint": "/predict"}, "startsAt": "2023-11-14T22:13:20.000000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "annotations": {
            "summary": "Errors are 12 %", "description": ERRORS.description,
            "runbook_url": ERRORS.runbook_url, "dashboard_url": ERRORS.dashboard_url,
        },
    }  # fmt: skip
    assert resolved["alerts"][0]["endsAt"] == "2023-11-14T22:21:40.000000Z"
    assert firing["groupKey"] == resolved["groupKey"]


def test_a_webhook_is_sent_markup_as_it_is() -> None:
    """JSON needs no other escaping; a receiver that shows it escapes it for its own medium."""
    with web() as server:
        assert made({"webhook": server.url}).send(hostile(), Client()) == Delivered()
    assert "<script>alert(1)</script>" in server.requests[0].body["alerts"][0]["annotations"]["description"]


def test_every_try_has_the_same_key() -> None:
    """A receiver can tell that it has a notice already."""
    with web() as server:
        for config in (
            {"webhook": server.url},
            {"slack": server.url},
            {"pagerduty": {"routing_key": "k", "url": server.url}},
        ):
            for _ in range(2):
                made(config).send(notice(), Client())
    assert set(server.ids()) == {notice().id}


def mailer(post: Post, **options: Any) -> Sender:
    """Return a sender to a mail server."""
    return made({"email": {"to": "ann@example.com, bob@example.com", "from": "Watch <watch@example.com>",
                           "smarthost": f"127.0.0.1:{post.port}", **options}})  # fmt: skip


def read(post: Post) -> EmailMessage:
    """Return the last message that came."""
    found = email.message_from_bytes(post.messages[-1][2], policy=email.policy.default)
    assert isinstance(found, EmailMessage)
    return found


def test_a_mail_is_plain_text_and_html() -> None:
    """To everybody, in one thread an incident, marked as made by a machine; the id of the notice is its Message-ID."""
    with post_office() as post:
        assert mailer(post).send(notice(), Client()) == Delivered()
    sender, to, _ = post.messages[0]
    assert (sender, to) == ("<watch@example.com>", ["<ann@example.com>", "<bob@example.com>"])
    message = read(post)
    assert message["Subject"] == "[CRITICAL] HighErrorRate of sentiment"
    assert message["To"] == "ann@example.com, bob@example.com"
    assert message["Message-ID"] == f"<{notice().id}@modelwatch.invalid>"
    assert message["References"] == f"<{GROUP.key}@modelwatch.invalid>"
    assert message["Auto-Submitted"] == "auto-generated"
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    text = plain.get_content().replace("\r\n", "\n")
    assert "Endpoint: /predict\nSeverity: CRITICAL\nSince: 2023-11-14 22:13:20 UTC" in text
    assert "Runbook: https://example.com/runbooks/HighErrorRate" in text
    assert "12 % of 400 requests failed in 5 minutes.<br>Most are ValueError." in html.get_content()


class Tags(HTMLParser):
    """Collects the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag and the values of its attributes."""
        self.tags.add(tag)
        self.links += [value for name, value in attrs]


def test_a_mail_with_markup_in_every_field() -> None:
    """No header is added, no tag is made, no link leads elsewhere, no address of a value can be clicked."""
    with post_office() as post:
        assert mailer(post).send(hostile(), Client()) == Delivered()
        assert mailer(post).send(notice(), Client()) == Delivered()
    assert [sorted(to) for _, to, _ in post.messages] == [["<ann@example.com>", "<bob@example.com>"]] * 2
    message = email.message_from_bytes(post.messages[0][2], policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert message["Bcc"] is None
    html, plain = message.get_body(("html",)), message.get_body(("plain",))
    assert html is not None
    assert plain is not None
    found = Tags()
    found.feed(html.get_content())
    assert found.tags <= {"html", "body", "h2", "h3", "p", "table", "tr", "td", "br", "a"}
    assert found.links == []
    assert "http://" not in plain.get_content()
    assert "www.evil" not in plain.get_content()


@pytest.mark.parametrize(
    ("replies", "expected"),
    [({"RCPT": "550 no such user"}, Refused), ({"RCPT": "450 try later"}, Retry), ({"MAIL": "451 busy"}, Retry),
     ({"DATA": "554 no"}, Refused), ({".": "554 spam"}, Refused), ({".": "452 full"}, Retry), ({"HELLO": "421 closing"}, Retry),
     ({"HELLO": "554 no service"}, Refused), ({"QUIT": "500 what"}, Delivered)],
)  # fmt: skip
def test_what_a_mail_server_may_answer(replies: dict[str, str], expected: type) -> None:
    """4xx is tried again, 5xx is for good, and what comes after the message is no matter."""
    with post_office(None, **replies) as post:
        assert isinstance(mailer(post).send(notice(), Client()), expected)


@pytest.mark.parametrize("command", ["HELLO", "EHLO", "DATA", "."])
@pytest.mark.parametrize("behaviour", ["hang", "drip"])
def test_a_mail_server_that_hangs_costs_the_wall_time_at_most(command: str, behaviour: str) -> None:
    """Wherever it does; the message may have arrived only where it was sent."""
    with post_office(None, **{command: behaviour}) as post:
        began = time.monotonic()
        outcome = mailer(post).send(notice(), Client(wall_s=0.5))
        assert time.monotonic() - began < 1.5
    assert isinstance(outcome, Retry)
    assert outcome.maybe_told == (command in ("DATA", "."))


def test_a_password_is_sent_by_tls_only(pem: Path) -> None:
    """STARTTLS where it is offered, to a server with the right certificate; without TLS the password stays here."""
    login = {"username": "watch", "password": SECRET}
    trusting = Client(tls=ssl.create_default_context(cafile=str(pem)))
    with post_office() as plain:
        outcome = mailer(plain, **login).send(notice(), trusting)
        assert isinstance(outcome, Refused)
        assert plain.logins == []
        assert mailer(plain, **login, tls=False).send(notice(), trusting) == Delivered()
        assert len(plain.logins) == 1
    with post_office(tls=pem) as secure:
        assert mailer(secure, **login).send(notice(), trusting) == Delivered()
        assert (secure.secure, len(secure.logins)) == ([True], 1)
        outcome = mailer(secure, **login).send(notice(), Client())
        assert isinstance(outcome, Retry)
        assert len(secure.logins) == 1
    with post_office(tls=pem, AUTH=f"535 {SECRET} is wrong") as wrong:
        outcome = mailer(wrong, **login).send(notice(), trusting)
        assert outcome == Refused("it answered 535: *** is wrong")


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_whatever_else_by_apprise() -> None:
    """A real HTTP server, spoken to by apprise; what fails is tried again, and its address is in no log."""
    pytest.importorskip("apprise")
    with web() as server:
        address = server.url.replace("http:", "json:")
        sender = made({"apprise": address})
        assert sender.send(notice(), Client()) == Delivered()
        assert server.requests[0].body["title"] == "[CRITICAL] HighErrorRate of sentiment"
        assert "Errors are 12 %" in server.requests[0].body["message"]
        server.answer = lambda request: 500
        assert isinstance(sender.send(notice(), Client()), Retry)
        server.answer = lambda request: "hang"
        began = time.monotonic()
        assert isinstance(sender.send(notice(), Client(wall_s=0.5)), Retry)
        assert time.monotonic() - began < 1.5


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_addresses_that_cannot_be_used_are_told_at_the_start() -> None:
    """Before anything is to be sent."""
    with pytest.raises(ConfigError, match=r"alerting.receivers.oncall.email.smarthost: port is 'x'; expected"):
        made({"email": {"to": "a@b", "smarthost": "mail:x"}})
    pytest.importorskip("apprise")
    with pytest.raises(ConfigError, match="apprise"):
        made({"apprise": "nonsense://x"})


def test_no_secret_is_in_a_representation() -> None:
    """Of any sender, as a log or a traceback may show it."""
    receivers = {
        "a": {"pagerduty": SECRET}, "b": {"slack": f"https://hooks.slack.com/{SECRET}"},
        "c": {"webhook": {"url": f"https://example.com/{SECRET}", "token": SECRET}},
        "d": {"email": {"to": "a@b", "username": SECRET, "password": SECRET}},
    }  # fmt: skip
    found: dict[str, Receiver] = dict(Alerting.model_validate({"receivers": receivers}).receivers)
    assert SECRET not in repr(senders_of(found))
    assert SecretStr(SECRET).get_secret_value() == SECRET
