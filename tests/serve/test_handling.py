"""Acknowledge and silence on the page, by the API and by the command: one store, and what becomes of it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from alerts.life import requests
from integrations.calling import Answer, call
from modelwatch.notify.commands import acknowledge, end_silence, silence
from modelwatch.notify.outbox import Outbox
from modelwatch.serve.run import Parts, app_of
from modelwatch.server.access import OPERATE, VIEW, Access
from modelwatch.server.forms import REVIEWER, SESSION
from modelwatch.testing import StuckStore
from serve.conftest import CONFIG, URL, House

HERE, ORIGIN = (b"host", b"localhost:8080"), (b"origin", b"http://localhost:8080")
FORM, JSON = (b"content-type", b"application/x-www-form-urlencoded"), (b"content-type", b"application/json")
ALERT, MODEL = "ServiceDown", "sentiment"


def outbox(parts: Parts) -> Outbox:
    """Return the outbox of a `serve` that tells."""
    assert parts.notifier is not None
    return parts.notifier.outbox


class Person:
    """Somebody with a browser on the page of the alerts."""

    def __init__(self, app: Any) -> None:
        self.app, self.cookies = app, dict[str, str]()
        self.page = ""

    def headers(self, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Return what the browser sends along."""
        held = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [HERE, *more, *([(b"cookie", held.encode())] if held else [])]

    def open(self, path: str = "/alerts", query: str = "") -> str:
        """Open a page and keep its cookies."""
        answer = call(self.app, path, query_string=query.encode(), headers=self.headers())
        assert answer.status == 200, answer.body
        self.take(answer)
        self.page = answer.body.decode()
        return self.page

    def take(self, answer: Answer) -> None:
        """Keep the cookie of an answer."""
        if "set-cookie" in answer.headers:
            name, _, rest = answer.headers["set-cookie"].partition("=")
            self.cookies[name] = rest.partition(";")[0]

    def form(self, action: str) -> list[tuple[str, str]]:
        """Return the hidden fields of a form of the page."""
        found = re.search(rf'<form method="post" action="/alerts/{action}"[^>]*>(.*?)</form>', self.page, re.S)
        assert found, f"no form {action}"
        return re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', found[1])

    def press(self, action: str, **fields: str) -> Answer:
        """Send a form of the page."""
        body = urlencode([*self.form(action), *fields.items()]).encode()
        answer = call(self.app, f"/alerts/{action}", method="POST", headers=self.headers(FORM, ORIGIN), body=body)
        self.take(answer)
        return answer


@pytest.fixture
def parts(house: House) -> Parts:
    """Return a `serve` whose service has been down until it was told of."""
    made = house.serve()
    house.happen(*requests(30))
    house.answers = False
    assert house.rounds(made, 12, lambda: (ALERT, "critical") in told(made))
    return made


def told(parts: Parts) -> set[tuple[str, str]]:
    """Return (name, severity) of what fires."""
    return {(v.rule.name, v.rule.severity) for one in parts.evaluator.found.values() for v in one.evaluation.firing}


def test_an_alert_is_acknowledged_and_who_did_it_stands_there(parts: Parts, house: House) -> None:
    """By a form, with a name that is asked for once; the store that the command uses knows of it."""
    ann = Person(app_of(parts))
    page = ann.open()
    assert 'name="by" required' in page
    done = ann.press("acknowledge", by="ann")
    assert (done.status, done.headers["location"]) == (303, f"/alerts?model={MODEL}&said=acknowledged")
    page = ann.open("/alerts", f"model={MODEL}&said=acknowledged")
    assert "Acknowledged: it is neither repeated nor escalated." in page
    assert "<b>ann</b> looks after it" in page
    assert "began to fire" in page
    assert ann.cookies[REVIEWER] == "ann"
    (known,) = [one for one in outbox(parts).known() if one.alert.name == ALERT]
    assert known.acknowledged_by == "ann"
    assert acknowledge(house.folder / "modelwatch.yaml", ALERT, MODEL, "bob") == 1  # the command, and the page sees it
    assert "<b>bob</b> looks after it" in ann.open()


def test_a_silence_has_an_end_an_author_and_a_note_and_can_be_ended(parts: Parts, house: House) -> None:
    """It stands beside the alert and in the list of silences; the command ends it, or the page ends that of the command."""
    ann = Person(app_of(parts))
    ann.open()
    assert ann.press("silence", by="ann", note="we <b>know</b>", **{"for": "2h"}).status == 303
    page = ann.open()
    assert "Silent</b> until" in page
    assert "(2\N{NO-BREAK SPACE}h left)" in page
    assert "we &lt;b&gt;know&lt;/b&gt;" in page
    (held,) = outbox(parts).silences(house.clock.now())
    assert (held.author, held.ends_at - held.starts_at) == ("ann", 7200)
    assert held.matches == {"alertname": ALERT, "model": MODEL}
    assert ann.press("unsilence").headers["location"].endswith("said=ended")
    assert "Silences" not in ann.open()
    made = silence(house.folder / "modelwatch.yaml", [f"model={MODEL}"], "876000h", "bob", "the command's")
    page = ann.open()
    assert "<b>bob</b>: the command&#39;s" in page
    end_silence(house.folder / "modelwatch.yaml", made.id, "bob")


def test_the_api_does_the_same(parts: Parts) -> None:
    """A program with a token needs no form; what it did is in the same history; nothing to do is 404."""
    app = app_of(parts, Access([(OPERATE, "op"), (VIEW, "see")]))
    by = [HERE, JSON, (b"authorization", b"Bearer op")]

    def post(action: str, body: dict[str, Any], headers: list[tuple[bytes, bytes]] = by) -> Answer:
        return call(app, f"/api/alerts/{action}", method="POST", headers=headers, body=json.dumps(body).encode())

    done = post("acknowledge", {"alert": ALERT, "model": MODEL, "by": "robot"})
    assert json.loads(done.body) == {"state": "acknowledged", "acknowledged": 1}
    assert post("acknowledge", {"alert": "Nothing", "model": MODEL}).status == 404
    made = json.loads(post("silence", {"matches": {"alertname": ALERT}, "for": "30m", "note": "x"}).body)["silence"]
    assert (made["author"], made["ends_at"] - made["starts_at"]) == ("operate", 1800)
    assert post("unsilence", {"id": made["id"], "by": "robot"}).status == 200
    assert post("unsilence", {"id": made["id"]}).status == 404
    for bad in (
        {},
        {"matches": {}, "for": "1h"},
        {"matches": {"a": 1}, "for": "1h"},
        {"matches": {"a": "b"}, "for": "soon"},
    ):
        assert post("silence", bad).status == 422
    assert (
        post("silence", {"matches": {"a": "b"}, "for": "1h"}, [HERE, JSON, (b"authorization", b"Bearer see")]).status
        == 403
    )
    handling = json.loads(call(app, "/api/alerts", headers=by).body)["handling"]
    acts = [(one["action"], one["actor"]) for one in handling["history"]]
    assert acts[:3] == [("end silence", "robot"), ("silence", "operate"), ("acknowledge", "robot")]
    assert ("began", "modelwatch") in acts


def test_a_form_from_elsewhere_or_of_another_session_does_nothing(parts: Parts) -> None:
    """No origin, a foreign one, no token, that of somebody else; somebody who may only see has no forms at all."""
    app = app_of(parts)
    ann, eve = Person(app), Person(app)
    ann.open()
    eve.open()
    stolen = dict(eve.form("acknowledge"))["csrf"]
    fields = {**dict(ann.form("acknowledge")), "by": "ann"}

    def post(given: dict[str, str], *more: tuple[bytes, bytes]) -> int:
        body, headers = urlencode(given).encode(), ann.headers(FORM, *more)
        return int(call(app, "/alerts/acknowledge", method="POST", headers=headers, body=body).status)

    assert post(fields) == 403
    assert post(fields, (b"origin", b"http://evil.example")) == post(fields, (b"origin", b"null")) == 403
    assert post({**fields, "csrf": stolen}, ORIGIN) == post({**fields, "csrf": ""}, ORIGIN) == 403
    ann.cookies.pop(SESSION)
    assert post(fields, ORIGIN) == 403
    assert not [one for one in outbox(parts).known() if one.acknowledged_by]
    access = Access([(VIEW, "see")])
    page = call(app_of(parts, access), "/alerts", headers=[HERE, (b"authorization", b"Bearer see")]).body.decode()
    assert ALERT in page
    assert "<form" not in page


def test_the_end_of_an_alert_is_in_the_history(parts: Parts, house: House) -> None:
    """With how long it lasted; the page of a model shows only what is of it."""
    house.answers = True
    assert house.rounds(parts, 80, lambda: (ALERT, "critical") not in told(parts))
    page = Person(app_of(parts)).open()
    assert re.search(r"ended</span>.*?after \d+", page, re.S)
    assert "ServiceDown" in page


def test_a_store_that_is_stuck_leaves_the_page_and_says_so(parts: Parts, house: House) -> None:
    """The alert is still shown; who looks after it cannot be told; a form says that nothing was saved."""
    ann = Person(app_of(parts))
    ann.open()
    fields: Callable[[], bytes] = lambda: urlencode([*ann.form("acknowledge"), ("by", "ann")]).encode()
    body = fields()
    with StuckStore(house.folder / "truth.db"):
        page = ann.open()
        assert ALERT in page
        answer = call(ann.app, "/alerts/acknowledge", method="POST", headers=ann.headers(FORM, ORIGIN), body=body)
        assert answer.status == 503
        assert "doing it again does no harm" in answer.body.decode()
    assert (
        call(ann.app, "/alerts/acknowledge", method="POST", headers=ann.headers(FORM, ORIGIN), body=body).status == 303
    )


def test_the_credentials_of_the_health_check_are_told_nobody(house: House) -> None:
    """Neither a page, nor the API, nor the exposition, nor a notice has what stands in its address besides the place."""
    secret = "planted-secret"
    house.write(CONFIG.replace(URL, f"http://user:{secret}@127.0.0.1:9/healthz?key={secret}"))
    parts = house.serve()
    house.happen(*requests(30))
    house.answers = False
    assert house.rounds(parts, 12, lambda: (ALERT, "critical") in told(parts))
    app = app_of(parts)
    for path in ("/", "/alerts", "/settings", "/monitor", "/api/status", "/api/settings", "/api/alerts", "/metrics"):
        answer = call(app, path, headers=[HERE])
        assert (path, answer.status, secret in answer.body.decode()) == (path, 200, False)
    assert URL in call(app, "/alerts", headers=[HERE]).body.decode()
    assert secret not in repr([known.alert for known in outbox(parts).known()])
