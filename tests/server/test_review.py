"""The review page and its API: one sample at a time, counted labels, and nobody who acts in another one's name."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from modelwatch import Monitor
from modelwatch.errors import StoreUnavailable
from modelwatch.groundtruth import queue
from modelwatch.groundtruth.reviewers import done, hold, waiting
from modelwatch.groundtruth.store import Store
from modelwatch.server.desk import PEEKED, Desk, Turn
from modelwatch.server.forms import REVIEWER, SESSION
from modelwatch.server.web import pages_app
from server.test_pages import HOSTILE, Reader, told

Sample = Callable[..., dict[str, Any]]
CONFIG = """
service: {{name: api}}
models:
  m:
    version: "1"
    task: {task}
    {classes}
    ground_truth: {{sampling_rate: 1.0}}
store: sqlite:///truth.db
live: live.db
"""
ORIGIN = "http://localhost"


class Host:
    """A service with a monitor, samples that wait, and its pages."""

    def __init__(self, folder: Path, task: str = "classification", classes: str = "classes: [negative, positive]"):
        path = folder / "modelwatch.yaml"
        path.write_text(CONFIG.format(task=task, classes=classes))
        self.monitor = Monitor.from_config(path)
        assert self.monitor.review is not None
        self.desk = Desk([self.monitor.review])
        self.store: Store = self.monitor.review.writer.store
        self.app: ASGIApp = pages_app(lambda: {"models": [], "now": 0.0}, self.desk)

    def ask(self, texts: list[str], prediction: Any = "positive", **more: Any) -> None:
        """Let the model answer about each text; all are kept for review."""
        for i, text in enumerate(texts):
            self.monitor.record(
                "/predict", duration=0.01, prediction=prediction, confidence=0.8, request_id=f"{text[:40]!r}-{i}",
                input=text, **more,
            )  # fmt: skip
        assert self.monitor.flush(5)

    def label_counts(self) -> dict[str, int]:
        """Return ml_labels_total by outcome."""
        assert self.monitor.flush(5)
        found = re.findall(rb'ml_labels_total{[^}]*outcome="(\w+)"[^}]*} (\d+)', self.monitor.metrics())
        counts: dict[str, int] = {}
        for outcome, n in found:
            counts[outcome.decode()] = counts.get(outcome.decode(), 0) + int(n)
        return counts


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Return a service whose three answers wait for review."""
    made = Host(tmp_path)
    made.ask(["one", "two", "three"], features={"length": 3, "language": "en"}, segment="books")
    yield made
    made.monitor.close()


class Browser:
    """A person's browser: it keeps cookies, follows redirects, and sends what a page's form holds."""

    def __init__(self, app: ASGIApp, reviewer: str = "", base: str = "") -> None:
        self.app, self.base, self.cookies, self.page = app, base, httpx.Cookies(), ""
        if reviewer:
            self.get("/review")
            self.press("name", name=reviewer)

    def send(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, host: str = ORIGIN, **more: Any
    ) -> httpx.Response:
        """Send one request, without following."""

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url=host, cookies=self.cookies) as client:
                answer = await client.request(method, path, headers=headers, **more)
                self.cookies = client.cookies
                return answer

        return anyio.run(once)

    def get(self, path: str) -> httpx.Response:
        """Open a page and look at it."""
        answer = self.send("GET", self.base + path)
        self.page = answer.text
        return answer

    def fields(self) -> dict[str, str]:
        """Return the hidden fields of the form."""
        tags = [held for tag, held in Reader(self.page).tags if tag == "input" and held.get("type") == "hidden"]
        return {held["name"]: held["value"] for held in tags}

    def press(self, action: str, **fields: str) -> httpx.Response:
        """Submit the form of the page with one of its buttons, and see where it leads."""
        headers = {"origin": ORIGIN}
        answer = self.send("POST", f"{self.base}/review/{action}", headers=headers, data=self.fields() | fields)
        if answer.status_code == 303:
            self.page = self.send("GET", answer.headers["location"]).text
        return answer

    def api(self, action: str, **fields: Any) -> httpx.Response:
        """Send JSON to the API with the token of the page."""
        body = {"csrf": self.fields().get("csrf", "")} | fields
        return self.send("POST", f"{self.base}/api/review/{action}", headers={"origin": ORIGIN}, json=body)

    @property
    def sample(self) -> str:
        """The text of the sample on the page, or nothing."""
        found = re.search(r'<div class="sample"[^>]*>(.*?)</div>', self.page, re.S)
        return found.group(1) if found else ""


def texts_waiting(host: Host) -> int:
    """Return how many samples have no label."""
    return waiting(host.store, "m").samples


# ---- one sample after the other, with plain forms


def test_a_name_is_asked_for_once(host: Host) -> None:
    """First a name, then the sample; the next visit goes straight to it; the name can be changed."""
    browser = Browser(host.app)
    assert "Who is reviewing?" in told(browser.get("/review").text)
    assert browser.sample == ""
    answer = browser.press("name", name="  ana  ")
    assert (answer.status_code, answer.headers["location"]) == (303, "/review?model=m&said=named")
    assert browser.sample == "one"
    assert "as ana change" in told(browser.page)
    browser.get("/review")
    assert browser.sample == "one"
    assert 'value="ana"' in browser.get("/review?rename=1").text


def test_the_whole_queue_with_plain_forms(host: Host) -> None:
    """Label, skip and undo lead to the next sample; what was said is counted once, as right or wrong."""
    browser = Browser(host.app, "ana")
    assert browser.sample == "one"
    assert "0 labelled today · 3 waiting" in told(browser.page)
    assert browser.press("label", label="positive", note="clear").headers["location"].endswith("said=matched")
    assert browser.sample == "two"
    assert "1 labelled today · 2 waiting" in told(browser.page)
    assert "Undo positive" in told(browser.page)
    browser.press("skip", note="no idea")
    assert browser.sample == "three"
    browser.press("label", label="negative")
    assert "Nothing waits for you. You have skipped all 1 sample that wait" in told(browser.page)
    assert host.label_counts() == {"correct": 1, "wrong": 1}
    browser.press("undo")
    assert browser.sample == "three"
    assert "Taken back" in told(browser.page)
    browser.press("undo")
    assert browser.sample == "one"
    assert "Undo" not in told(browser.page)
    assert browser.press("undo").headers["location"].endswith("said=nothing")
    browser.press("label", label="positive")
    assert host.label_counts() == {"correct": 1, "wrong": 1}  # a first label is counted once, whatever is taken back
    rows = host.store.rows("m")
    assert rows.labels.tolist() == ["positive"]


def test_another_reviewer_sees_why_a_sample_was_skipped(host: Host) -> None:
    """The note of a skip is shown to whoever gets the sample next, not to who wrote it."""
    ana = Browser(host.app, "ana")
    ana.press("skip", note="<b>Spanish?</b>")
    ben = Browser(host.app, "ben")
    assert ben.sample == "one"
    assert "ana skipped it: <b>Spanish?</b>" in told(ben.page)
    assert "Spanish" not in ana.page


def test_two_reviewers_never_get_the_same_sample(host: Host) -> None:
    """Each holds another one, however often they look; when all are held, the fourth is told so."""
    people = [Browser(host.app, name) for name in ("ana", "ben", "chi")]
    assert sorted(one.sample for one in people) == ["one", "three", "two"]
    for one in people:
        before = one.sample
        one.get("/review")
        assert one.sample == before
    late = Browser(host.app, "dan")
    assert late.sample == ""
    assert "3 samples are with other reviewers" in told(late.page)
    people[0].press("skip")
    assert people[0].sample == ""
    late.get("/review")
    assert late.sample == "one"


def test_what_is_taken_back_comes_to_hand_only_if_it_is_free(host: Host) -> None:
    """`hold` gives one certain sample and returns the other; what somebody else holds stays theirs."""
    ids = {sample.input: sample.request_id for sample in queue.waiting(host.store, "m")}
    assert hold(host.store, ids["two"], "ana")
    assert host.desk.turn("m", "ana").sample.input == "two"  # type: ignore[union-attr]
    assert not hold(host.store, ids["two"], "ben")
    assert hold(host.store, ids["one"], "ana")
    assert hold(host.store, ids["two"], "ben")
    assert not hold(host.store, "0" * 32, "ben")


def test_the_answer_is_hidden_until_asked_for_and_that_is_written_down(host: Host) -> None:
    """Not in the page, not in the API; after asking in both, in the history and in the note of the label."""
    browser = Browser(host.app, "ana")
    state = browser.send("GET", "/api/review?model=m").json()
    assert "prediction" not in state["sample"]
    assert "confidence" not in state["sample"]
    assert "Model saidhidden" in told(browser.page)
    assert "0.80" not in browser.page
    request_id = browser.fields()["request_id"]
    browser.press("peek")
    assert browser.sample == "one"
    assert re.search(r"Model said</dt><dd><b>positive</b>.*Confidence</dt><dd>0\.80<", browser.page, re.S)
    state = browser.send("GET", "/api/review?model=m").json()
    assert (state["sample"]["prediction"], state["sample"]["peeked"]) == ("positive", True)
    browser.press("peek")
    browser.press("label", label="negative", note="odd")
    history = browser.send("GET", f"/api/review/history?request_id={request_id}").json()["history"]
    assert [(h["actor"], h["action"]) for h in history] == [("ana", "note"), ("ana", "said")]
    assert history[0]["detail"] == {"note": PEEKED}
    assert history[1]["detail"]["note"] == f"odd\n({PEEKED} first)"
    ben = Browser(host.app, "ben")
    assert "Model saidhidden" in told(ben.page)


def test_what_is_no_label_is_said_and_not_saved(host: Host) -> None:
    """A class that the model does not have changes nothing."""
    browser = Browser(host.app, "ana")
    assert browser.press("label", label="so-so").headers["location"].endswith("said=unknown_label")
    assert "Not saved: that is no label of this model" in told(browser.page)
    assert browser.sample == "one"
    assert sum(host.label_counts().values()) == 0


def test_a_late_colleague_is_told_of_a_conflict(host: Host) -> None:
    """Whoever labels what somebody else has labelled otherwise meanwhile learns it; both labels are kept."""
    ana, ben = Browser(host.app, "ana"), Browser(host.app, "ben")
    held = ana.fields()
    ben_answer = ben.api("label", model="m", request_id=held["request_id"], label="negative")
    assert ben_answer.json() == {"state": "matched"}
    ana.press("label", label="positive")
    assert "Somebody had said something else before" in told(ana.page)
    assert done(host.store, "ana", "m", 0.0).labels == 1
    assert done(host.store, "ben", "m", 0.0).labels == 0


def test_a_regression_takes_a_number(tmp_path: Path) -> None:
    """A number field instead of buttons; what is no finite number is refused."""
    host = Host(tmp_path, "regression", "")
    try:
        host.ask(["flat in Berlin"], prediction=41.5)
        browser = Browser(host.app, "ana")
        assert '<input id="truth" name="label" type="number" step="any" required' in browser.page
        for bad in ("", "nan", "inf", "about 40"):
            assert browser.press("label", label=bad).headers["location"].endswith("said=unknown_label")
        assert browser.press("label", label="39.25").headers["location"].endswith("said=matched")
        assert host.store.rows("m").labels.tolist() == [39.25]
        assert "Undo 39.25" in told(browser.page)
    finally:
        host.monitor.close()


# ---- the API


def test_the_api_does_what_the_page_does(host: Host) -> None:
    """Claim, label, skip, undo as JSON; one shape of errors."""
    browser = Browser(host.app, "ana")
    state = browser.send("GET", "/api/review").json()
    assert (state["model"], state["reviewer"], state["task"]) == ("m", "ana", "classification")
    assert state["classes"] == ["negative", "positive"]
    assert state["sample"]["input"] == "one"
    assert state["sample"]["features"] == {"length": 3.0, "language": "en"}
    assert (state["waiting"], state["labelled_today"], state["last_label"]) == (3, 0, None)
    request_id = state["sample"]["request_id"]
    assert browser.api("label", model="m", request_id=request_id, label="negative").json() == {"state": "matched"}
    state = browser.send("GET", "/api/review").json()
    assert (state["waiting"], state["labelled_today"], state["last_label"]) == (2, 1, "negative")
    assert browser.api("skip", model="m", request_id=state["sample"]["request_id"]).json() == {"state": "skipped"}
    assert browser.api("undo", model="m").json() == {"state": "undone"}
    assert browser.send("GET", "/api/review").json()["sample"]["input"] == "one"
    for answer, code, name in (
        *(
            (browser.api("label", model="m", request_id=request_id, label=bad), 422, "unknown_label")
            for bad in (3, None, True, [], {"a": 1}, ["negative"], "", "NEGATIVE", "x" * 9000)
        ),
        (browser.api("label", model="m", request_id="x", label="negative"), 422, "bad_request"),
        (browser.api("label", model="no", request_id=request_id, label="negative"), 404, "not_found"),
        (browser.api("name", name=" "), 422, "no_name"),
        (browser.send("GET", "/api/review?model=no"), 404, "not_found"),
        (browser.send("GET", "/api/review/history?request_id=x"), 422, "bad_request"),
    ):
        assert answer.status_code == code
        assert set(answer.json()) == {"error"}
        assert answer.json()["error"]["code"] == name
    assert browser.api("label", model="m", request_id="0" * 32, label="negative").json() == {"state": "unknown_id"}


def test_an_answer_brings_the_next_sample_along_if_it_is_asked_to(host: Host) -> None:
    """The same as asking for it: as JSON, or as parts of the page; held for one reviewer only; without asking none."""
    ana, ben = Browser(host.app, "ana"), Browser(host.app, "ben")
    mine = ana.send("GET", "/api/review?model=m").json()["sample"]["request_id"]
    ana.api("label", model="m", request_id=mine, label="negative")
    assert waiting(host.store, "m").claimed == 1, "ben's alone"
    answer = ana.api("undo", model="m", next="sample").json()
    assert (answer["state"], answer["next"]["sample"]["input"]) == ("undone", "one")
    answer = ana.api("label", model="m", request_id=mine, label="negative", next="sample").json()
    age = {"oldest_waiting_s": pytest.approx(answer["next"]["oldest_waiting_s"], abs=60)}
    assert answer == {"state": "matched", "next": ana.send("GET", "/api/review?model=m").json() | age}
    assert (answer["next"]["sample"]["input"], answer["next"]["labelled_today"]) == ("three", 1)
    held = answer["next"]["sample"]["request_id"]
    answer = ana.api("peek", model="m", request_id=held, next="sample").json()
    assert (answer["state"], answer["next"]["sample"]["prediction"]) == ("peeked", "positive")
    answer = ana.api("skip", model="m", request_id=held, next="page").json()
    assert "1 sample is with other reviewers" in told(answer["next"]["item"])
    ben.press("skip")
    answer = ana.api("undo", model="m", next="page").json()
    assert set(answer["next"]) == {"item", "why"}
    assert mine in answer["next"]["item"]
    others: list[Any] = ["named", None, 3, {"a": 1}, [], "next"]
    for wanted in others:
        assert ana.api("peek", model="m", request_id=mine, next=wanted).json() == {"state": "peeked"}
    refused = ana.api("label", model="m", request_id=mine, label="so-so", next="sample")
    assert (refused.status_code, set(refused.json())) == (422, {"error"})


def test_an_answer_with_the_next_sample_does_not_read_the_status_again(host: Host) -> None:
    """What the page has read a moment ago will do: to read it all takes longer than to label."""
    reads = []

    def read() -> dict[str, Any]:
        reads.append(1)
        return {"models": [], "now": 0.0}

    browser = Browser(pages_app(read, host.desk), "ana")
    held, before = browser.fields()["request_id"], len(reads)
    answer = browser.api("label", model="m", request_id=held, label="negative", next="page").json()
    assert "two" in answer["next"]["item"]
    assert len(reads) == before
    browser.get("/review")
    assert len(reads) > before


class Blinded(Desk):
    """A desk whose store fails as soon as the label is saved."""

    def turn(self, model: str, reviewer: str) -> Turn:
        """Tell that nothing can be read."""
        raise StoreUnavailable("store: it is away.")


def test_a_label_that_is_saved_is_answered_even_if_the_next_sample_cannot_be_told(host: Host) -> None:
    """The label counts; `next` is null, and the page asks again by itself."""
    browser = Browser(host.app, "ana")
    held = browser.fields()["request_id"]
    browser.app = pages_app(lambda: {"models": [], "now": 0.0}, Blinded(host.desk.reviews))
    answer = browser.api("label", model="m", request_id=held, label="negative", next="sample")
    assert answer.json() == {"state": "matched", "next": None}
    assert host.store.rows("m").labels.tolist() == ["negative"]


def test_nobody_in_particular_gets_nothing(host: Host) -> None:
    """Without a session and a name no sample is handed out, by no address."""
    stranger = Browser(host.app)
    for path in ("/api/review", "/api/review/history?request_id=" + "0" * 32):
        assert stranger.send("GET", path).json()["error"]["code"] == "no_reviewer"
    assert "item" not in stranger.send("GET", "/fragments/review?item=1").json()
    stranger.get("/review")
    assert stranger.sample == ""
    assert waiting(host.store, "m").claimed == 0


# ---- who may not


def test_a_form_of_another_session_is_refused(host: Host) -> None:
    """No token, a made-up one, that of somebody else, no cookie: 403, and nothing changes."""
    ana, eve = Browser(host.app, "ana"), Browser(host.app, "eve")
    mine = ana.fields()
    for token in ("", "0" * 32, eve.fields()["csrf"], "\udcff"):
        sent = mine | {"csrf": token.encode("utf-8", "replace").decode(), "label": "negative"}
        answer = ana.send("POST", "/review/label", headers={"origin": ORIGIN}, data=sent)
        assert answer.status_code == 403
        assert "Open the page again" in told(answer.text)
        assert ana.api("label", **sent).json()["error"]["code"] == "bad_token"
    ana.cookies = httpx.Cookies()
    answer = ana.send("POST", "/review/label", headers={"origin": ORIGIN}, data=mine | {"label": "negative"})
    assert answer.status_code == 403
    assert texts_waiting(host) == 3


@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://localhost.evil.example", "http://localhost:81", "localhost"]
)
@pytest.mark.parametrize("action", ["name", "label", "skip", "undo", "peek"])
def test_a_post_from_elsewhere_is_refused(host: Host, origin: str | None, action: str) -> None:
    """Whatever the cookies and the token: the Origin has to be this host, on every POST."""
    browser = Browser(host.app, "ana")
    fields = browser.fields() | {"label": "negative", "name": "eve"}
    headers = {"origin": origin} if origin is not None else {}
    assert browser.send("POST", f"/review/{action}", headers=headers, data=fields).status_code == 403
    answer = browser.send("POST", f"/api/review/{action}", headers=headers, json=fields)
    assert answer.json()["error"]["code"] == "foreign_origin"
    assert texts_waiting(host) == 3


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:9", True),
        ("http://10.1.2.3", True),
        ("http://ml.example", True),
        ("http://ML.example:81", True),
        ("http://evil.example", False),
        ("http://localhost.evil.example", False),
    ],
)
def test_only_known_names_are_answered(sample: Sample, name: str, known: bool) -> None:
    """A foreign name that points at this address gets nothing, from no route."""
    browser = Browser(pages_app(sample, hosts=["ml.example"]))
    for path in ("/", "/quality", "/review", "/api/status", "/static/modelwatch.css"):
        answer = browser.send("GET", path, host=name)
        assert answer.status_code == (200 if known else 421)
        if not known:
            assert answer.json()["error"]["code"] == "unknown_host"
            assert "content-security-policy" in answer.headers
    assert Browser(pages_app(sample, hosts=["*"])).send("GET", "/", host=name).status_code == 200


def test_cookies_are_for_this_site_alone(host: Host) -> None:
    """Strict, unreadable for scripts, secure under TLS, and only below the mount."""
    app = Starlette(routes=[Mount("/watch", host.app)])
    browser = Browser(app)
    answer = browser.send("GET", "/watch/review", host="https://localhost")
    held = answer.headers["set-cookie"]
    assert held.startswith(f"{SESSION}=")
    assert all(word in held for word in ("HttpOnly", "SameSite=strict", "Secure", "Path=/watch"))
    browser = Browser(app, base="/watch")
    browser.get("/review")
    held = browser.press("name", name="ana; Path=/").headers["set-cookie"]
    assert held.startswith(f"{REVIEWER}=ana%3B%20Path%3D%2F;")
    assert all(word in held for word in ("HttpOnly", "SameSite=strict", "Path=/watch"))
    assert "Secure" not in held
    assert browser.sample == "one"


@pytest.mark.parametrize("junk", ["", "%ff%fe", "%00%0d%0a", "x" * 3000, "%E2%80%AE", ";;==", "%3Cb%3E"])
def test_cookies_may_hold_anything(host: Host, junk: str) -> None:
    """What somebody writes into the cookies is no session and at most a name: never an error, never markup."""
    browser = Browser(host.app)
    cookie = {"cookie": f"{SESSION}={junk}; {REVIEWER}={junk}"}
    answer = browser.send("GET", "/review", headers=cookie)
    assert answer.status_code == 200
    assert SESSION in answer.headers["set-cookie"]
    assert "<b><b>" not in answer.text
    assert Reader(answer.text).open == []
    sent = browser.send("POST", "/review/label", headers=cookie | {"origin": ORIGIN}, data={"csrf": "x"})
    assert sent.status_code == 403


def test_a_link_from_another_site_is_followed_once_more(host: Host) -> None:
    """Strict cookies are not sent with it, so the page asks again instead of forgetting the reviewer."""
    browser = Browser(host.app)
    answer = browser.send("GET", "/review", headers={"sec-fetch-site": "cross-site"})
    assert '<meta http-equiv="refresh" content="0">' in answer.text
    assert "set-cookie" not in answer.headers


def test_bodies_are_limited_and_of_their_kind(host: Host) -> None:
    """Over 64 KiB, no form, no JSON, no object: refused before anything is done."""
    browser = Browser(host.app, "ana")
    fields = browser.fields() | {"label": "negative", "note": "x" * 70_000}
    headers = {"origin": ORIGIN}
    assert browser.send("POST", "/review/label", headers=headers, data=fields).status_code == 413
    assert browser.api("label", **fields).json()["error"]["code"] == "too_large"
    form = browser.send("POST", "/review/label", headers=headers, json=fields | {"note": ""})
    assert form.status_code == 415
    plain = headers | {"content-type": "text/plain"}
    assert browser.send("POST", "/api/review/label", headers=plain, content="{}").status_code == 415
    as_json = headers | {"content-type": "application/json"}
    for bad in ("{", "[]", "[" * 60_000):
        assert browser.send("POST", "/api/review/label", headers=as_json, content=bad).status_code == 400
    many = "&".join(f"a{i}=1" for i in range(30))
    as_form = headers | {"content-type": "application/x-www-form-urlencoded"}
    assert browser.send("POST", "/review/label", headers=as_form, content=many).status_code == 400
    assert texts_waiting(host) == 3


def test_pages_with_forms_may_send_them_home_only(host: Host) -> None:
    """The policy of the other pages, but forms go to this site, which has to be told where they come from."""
    answer = Browser(host.app, "ana").get("/review")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "form-action 'self'" in policy
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "form-action 'none'" in Browser(host.app).get("/quality").headers["content-security-policy"]


# ---- hostile text


@pytest.mark.parametrize("evil", HOSTILE)
def test_hostile_text_is_text_everywhere(tmp_path: Path, evil: str) -> None:
    """Input, features, segment, prediction, class, reviewer and note: shown, never markup."""
    host = Host(tmp_path, classes='classes: [negative, "<script>alert(1)</script>"]')
    try:
        known = {"features": {evil: evil, "x": 1.0}, "segment": evil}
        host.ask([f"{evil}\n{evil}"], "<script>alert(1)</script>", **known)
        ana = Browser(host.app, "ana" + evil[:30].encode("utf-8", "replace").decode())
        ana.press("peek")
        tags = Reader(ana.page).tags
        clean_page = Browser(host.app, "ben")
        assert {tag for tag, _ in tags} <= {
            "html", "head", "meta", "title", "link", "script", "body", "a", "svg", "defs", "pattern", "path", "header",
            "div", "span", "b", "button", "nav", "main", "p", "section", "h1", "h2", "form", "input", "kbd", "label",
            "textarea", "dl", "dt", "dd", "noscript", "rect", "circle",
        }  # fmt: skip
        assert [held.get("src") for tag, held in tags if tag == "script"] == [
            "/static/modelwatch.js",
            "/static/review.js",
        ]
        assert not [k for _, held in tags for k in held if k.startswith("on") or k == "style"]
        ana.press("skip", note=evil.encode("utf-8", "replace").decode())
        clean_page.get("/review")
        assert not [held for tag, held in Reader(clean_page.page).tags if tag in {"img", "style"}]
    finally:
        host.monitor.close()


def test_lines_of_a_text_stay_lines(host: Host) -> None:
    """A review of several lines is read as it was written, without what would change its order."""
    host.ask(["first\nsecond \u202egnp.exe\x00"])
    browser = Browser(host.app, "ana")
    for _ in range(3):
        browser.press("skip")
    assert browser.sample == "first\nsecond \ufffdgnp.exe\ufffd"


# ---- nothing to review


def test_without_a_desk_the_page_says_what_is_missing(sample: Sample) -> None:
    """No store, no samples: what to write into the configuration; the API says so, too."""
    browser = Browser(pages_app(sample))
    assert "Add store: sqlite:///modelwatch.db to modelwatch.yaml" in told(browser.get("/review").text)
    held = sample()
    held["models"][0]["quality"] = {"state": "ok", "views": {}}
    assert "this server only shows pages" in told(Browser(pages_app(lambda: held)).get("/review").text)
    answer = browser.send("POST", "/api/review/label", headers={"origin": ORIGIN}, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_store")
    assert browser.send("GET", "/api/review").json()["error"]["code"] == "no_store"
    assert "set-cookie" not in browser.get("/review").headers


def test_a_desk_has_reviews_of_one_store(host: Host, tmp_path: Path) -> None:
    """Without a review, or with those of several stores, it is refused when the pages are made."""
    with pytest.raises(ValueError, match="reviews is empty"):
        Desk([])
    (tmp_path / "other").mkdir()
    other = Host(tmp_path / "other")
    try:
        assert host.monitor.review is not None
        with pytest.raises(ValueError, match="several stores"):
            Desk([host.monitor.review, *other.desk.reviews])
    finally:
        other.monitor.close()


def test_an_unknown_model_is_a_404(host: Host) -> None:
    """By every address."""
    browser = Browser(host.app, "ana")
    assert browser.send("GET", "/review?model=no").status_code == 404
    assert browser.send("GET", "/fragments/review?model=no").json()["error"]["code"] == "not_found"


def test_a_store_that_is_away_is_a_503_that_promises_nothing(host: Host, tmp_path: Path) -> None:
    """The page cannot tell, the label is not acknowledged, and both say what to do."""
    browser = Browser(host.app, "ana")
    with contextlib.closing(sqlite3.connect(tmp_path / "truth.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = browser.press("label", label="negative")
        assert answer.status_code == 503
        assert "may not be saved; doing it again does no harm" in told(answer.text)
    said = browser.press("label", label="negative").headers["location"].rpartition("=")[2]
    assert said in {"matched", "duplicate"}  # the writer may have come through by itself meanwhile
    assert host.store.rows("m").labels.tolist() == ["negative"]
