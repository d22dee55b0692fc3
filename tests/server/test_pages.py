"""The health page and its application: verdicts, panels, hostile names, missing values, errors and headers."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from modelwatch.errors import ModelwatchError
from modelwatch.server.guards import CONTENT_SECURITY_POLICY
from modelwatch.server.pages import health_fragments, health_page
from modelwatch.server.quality import quality_fragments, quality_page
from modelwatch.server.resourcespage import resources_fragments
from modelwatch.server.web import STATIC, pages_app

Sample = Callable[..., dict[str, Any]]
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "{% raw %}",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</title><svg onload=alert(1)>",
    "a\N{REPLACEMENT CHARACTER}b",
    "\ud800",
    "\u202egnp.exe",
    "x" * 5000,
]
SPACE = "\N{NO-BREAK SPACE}"


class Reader(HTMLParser):
    """What a browser would see: text, the tags with their attributes, and whether they nest."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag without content."""
        self.tags.append((tag, {k: v or "" for k, v in attrs}))

    def handle_endtag(self, tag: str) -> None:
        """Check that tags nest."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join("".join(self.words).replace(SPACE, " ").split())


def told(html: str) -> str:
    """Return the text of a page or fragment."""
    return Reader(html).text


# ---- the verdict


def test_healthy_says_so_with_evidence(sample: Sample) -> None:
    """Every check is ok: the word, and the numbers that it rests on."""
    text = told(health_fragments(sample())["verdict"])
    assert text.startswith("Healthy – nothing is firing")
    assert "14,940 requests in the last 5 min, 0.09 % failed, 95 % answered within 61 ms" in text
    assert "All 6 checks have an answer." in text


def test_degraded_names_what_fires_and_what_still_works(sample: Sample) -> None:
    """A firing check wins over all; its counts and its limit are in the sentence."""
    text = told(health_fragments(sample("degraded"))["verdict"])
    assert text.startswith("Degraded – error rate is beyond its limit")
    assert "628 of 14,940 requests failed in the last 5 min (4.20 %). Limit: 1 %." in text
    assert "Still OK: request rate, latency and prediction mix." in text


def test_silence_is_not_health(sample: Sample) -> None:
    """No requests: cannot tell, never 0 and never healthy; the last values carry their age."""
    parts = health_fragments(sample("silent"))
    assert told(parts["verdict"]).startswith("Cannot tell – no requests in the last 5 min")
    assert "Silence is not health" in told(parts["verdict"])
    assert "Last value 58 ms, 8 min ago." in told(parts["latency"])
    assert "No data" in told(parts["errors"])
    assert "0.00" not in told(parts["errors"])


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        (["ok", "ok", "ok"], "Healthy"),
        (["ok", "cannot_tell", "ok"], "Cannot tell"),
        (["firing", "cannot_tell", "ok"], "Degraded"),
        (["ok", "something new", "ok"], "Cannot tell"),
        ([], "Cannot tell"),
    ],
)
def test_the_order_of_precedence(sample: Sample, outcomes: list[str], word: str) -> None:
    """Firing before cannot tell before ok; an outcome that is not known, and no check at all, cannot tell."""
    status = sample()
    held = status["models"][0]["readings"][: len(outcomes)]
    for reading, outcome in zip(held, outcomes, strict=True):
        reading["outcome"] = outcome
    status["models"][0]["readings"] = held
    assert health_fragments(status)["said"].startswith(f"{word}: ")


@pytest.mark.parametrize(
    ("place", "changes", "said"),
    [
        (0, {"value": 0.4, "limit": 1.0}, "0.40 req/s are finished. Limit: 1.0 req/s."),
        (2, {"value": 0.31}, "31.0 % of requests are slower than 200 ms. Limit: 5 %."),
        (5, {"value": 0.97, "limit": 0.9}, "97.0 % of the answers are positive. Limit: 90 %."),
        (1, {"signal": "psi", "title": "Drift of text_length", "value": 0.31}, "Drift of text_length: 0.31."),
    ],
)
def test_each_signal_has_its_sentence(sample: Sample, place: int, changes: dict[str, Any], said: str) -> None:
    """What fires is told with its number and its limit, also for a signal that this page does not know yet."""
    status = sample()
    status["models"][0]["readings"][place] |= {"outcome": "firing", **changes}
    assert said in told(health_page(status))


def test_limits_are_told_where_the_panel_judges(sample: Sample) -> None:
    """A rate or a latency with a limit of its own says so beside the number."""
    status = sample()
    held = status["models"][0]["readings"]
    held[0]["limit"] = 1.0
    held[2]["limit"] = 0.2
    parts = health_fragments(status)
    assert "Limit: 1.0 req/s." in told(parts["rate"])
    assert "Limit: 20 %." in told(parts["latency"])


def test_one_state_a_signal(sample: Sample) -> None:
    """The panel's chip, the verdict and the tab's icon come from the same reading."""
    page = health_page(sample("slow"))
    assert "<title>Degraded · sentiment_classifier · modelwatch</title>" in page
    assert "Warning" in told(health_fragments(sample("slow"))["latency"])
    assert "OK" in told(health_fragments(sample("slow"))["errors"])


def test_counts_that_cannot_be_read_are_not_health(sample: Sample) -> None:
    """The last readings were ok, but they are of the past: cannot tell, with the reason."""
    text = told(health_page(sample(live={"path": "live.db", "kept": False, "reason": "disk I/O error"})))
    assert "Cannot tell – the counts cannot be read" in text
    assert "The numbers below may be old: disk I/O error." in text


def test_what_is_said_aloud_has_no_number_that_changes(sample: Sample) -> None:
    """The live region repeats only when the state does, not every two seconds."""
    one, two = sample("degraded"), sample("degraded")
    two["models"][0]["details"]["failed"] += 1
    two["models"][0]["readings"][1]["value"] += 0.001
    assert health_fragments(one)["said"] == health_fragments(two)["said"]
    assert health_fragments(one)["verdict"] != health_fragments(two)["verdict"]


# ---- panels and cards


def test_every_large_number_has_unit_window_and_comparison(sample: Sample) -> None:
    """Value, unit, window, and what it is compared with, for each of the four panels."""
    parts = {k: told(v) for k, v in health_fragments(sample()).items()}
    assert "50req/s5 min" in parts["rate"].replace(" req/s", "req/s")
    assert "14 of 14,940 requests failed in the last 5 min. Limit: 1 %." in parts["errors"]
    assert "0.2 % of requests are slower than 200 ms. Objective: 95 % within 200 ms." in parts["latency"]
    assert "P95 lies in50–75 ms" in parts["latency"]
    assert "No labels are kept. What is missing" in parts["right"]


def test_one_picture_a_class_with_its_change(sample: Sample) -> None:
    """Small multiples, named, on one scale."""
    html = quality_fragments(sample())["history"]
    assert html.count('<svg class="chart"') == 3
    assert re.search(r"positive\s*65\.2 %\s*[+\N{MINUS SIGN}]\d\.\d points", told(html))


def test_many_classes_are_bounded_and_the_rest_is_counted(sample: Sample) -> None:
    """Forty classes: the six most frequent are drawn, and how many are not is said."""
    status = sample()
    one = status["models"][0]
    share = next(r for r in one["readings"] if r["signal"] == "prediction_share")
    names = [f"class {i}" for i in range(40)]
    one["readings"] = [{**share, "labels": {"predicted_class": n}, "value": 1 / 40} for n in names]
    one["history"]["share"] = {n: [1 / 40] * 60 for n in names}
    parts = quality_fragments(status)
    assert parts["history"].count('<svg class="chart"') == 6
    assert "34 not shown" in told(parts["history"])


def test_a_regression_has_no_mix(sample: Sample) -> None:
    """The page on quality leaves the classifier's cards out."""
    assert "Prediction mix over time" in quality_page(sample())
    assert "Prediction mix over time" not in quality_page(sample("regression"))
    assert "Error of the answers" in told(health_page(sample("regression")))


def test_the_last_bucket_has_no_upper_edge(sample: Sample) -> None:
    """A P95 above the last bucket is told as more than its edge, never as a number."""
    status = sample()
    status["models"][0]["details"] |= {"p95_s": None, "p95_bracket_s": [10.0, None]}
    assert "over 10s" in told(health_fragments(status)["latency"])


def test_empty_cards_say_whether_that_is_good(sample: Sample) -> None:
    """No error is good; no request is not."""
    status = sample()
    status["models"][0]["details"] |= {"errors_by_type": [], "failed": 0}
    assert "No request failed: 14,940 were answered in the last 5 min." in told(resources_fragments(status)["types"])
    assert "That is not a sign of health." in told(resources_fragments(sample("silent"))["types"])


def test_the_monitor_tells_of_its_own_faults(sample: Sample) -> None:
    """Dead workers, refused values and counts that are not kept are named with what they mean."""
    status = sample(
        workers={"alive": 1, "died": 2}, live={"path": "live.db", "kept": False, "reason": "the disk is full"}
    )
    status["models"][0]["details"]["refused"] = 7
    text = told(health_fragments(status)["monitor"])
    assert "1 reporting, 2 died" in text
    assert "7, their counts are missing here" in text
    assert "not kept: the disk is full" in text
    assert "Yes" in told(health_fragments(sample())["monitor"])


def test_the_last_deploy_is_told_with_its_author_and_note(sample: Sample) -> None:
    """Who changed what, and when, beside the numbers that may have moved by it; nothing where nobody has told."""
    status = sample()
    deploy = {"version": "1.4.2", "at": status["now"] - 7200, "by": "ana", "note": "<b>faster</b> tokenizer"}
    assert "Last deploy" not in told(health_fragments(status)["monitor"])
    status["models"][0]["quality"] = {"state": "unavailable", "reason": "x", "deploys": [deploy]}
    text = told(health_fragments(status)["monitor"])
    assert "Last deploy2 h ago What1.4.2 · <b>faster</b> tokenizerWho, whenana, 23 Nov 2026, 12:32 UTC" in text


def test_notes_and_the_scale_of_time_are_on_the_page(sample: Sample) -> None:
    """Whoever looks at a demo is told that its time runs faster."""
    text = told(health_fragments(sample("degraded", time_scale=60.0))["strip"])
    assert "time runs 60 times faster" in text
    assert "incident 'errors' is on since 14:23" in text


def test_several_models_have_a_menu_worst_first(sample: Sample, sample_model: Sample) -> None:
    """Each model is a link with its state in words."""
    models = [sample_model("good"), sample_model("a&b c", "silent"), sample_model("bad", "degraded")]
    html = health_fragments(sample(models=models), base="/watch", model="a&b c")["menu"]
    links = [a["href"] for tag, a in Reader(html).tags if tag == "a"]
    assert links == ["/watch/?model=bad", "/watch/?model=a%26b%20c", "/watch/?model=good"]
    assert "1 degraded" in told(html)


def test_no_model_is_told_in_words(sample: Sample) -> None:
    """A server without a model is not healthy, and the page says what to do."""
    text = told(health_page(sample(models=[])))
    assert "Cannot tell no model has reported yet" in text


# ---- hostile and missing input


def replaced(value: Any, text: str) -> Any:
    """Return a status in which every text that can come from outside is `text`."""
    fixed = {"signal", "outcome", "task", "unit"}
    if isinstance(value, Mapping):
        return {
            k: v if k in fixed else {text: v["positive"]} if k == "share" else replaced(v, text)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [replaced(v, text) for v in value]
    return text if isinstance(value, str) else value


@pytest.mark.parametrize("state", ["healthy", "degraded", "silent"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_foreign_text_never_becomes_markup(sample: Sample, state: str, hostile: str) -> None:
    """Names, versions, classes, error types, notes and reasons are text; the tags are those of a harmless page."""
    status = sample(state, notes=["a"])
    plain, page = Reader(health_page(replaced(status, "a"))), Reader(health_page(replaced(status, hostile)))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(a) for _, a in page.tags] == [sorted(a) for _, a in plain.tags]
    assert not any(name.startswith("on") or name == "style" for _, held in page.tags for name in held)
    assert page.open == []


def test_empty_names_are_named_empty(sample: Sample) -> None:
    """A class or a model without a name still has something to read."""
    status = replaced(sample(models=[*sample()["models"], *sample()["models"]]), "")
    page = told(health_page(status)) + told(quality_page(status))
    assert "(empty)" in page
    assert "(no name)" in page


def test_braces_are_text(sample: Sample) -> None:
    """A name that looks like a template is shown, not run."""
    assert "{{7*7}}" in told(health_page(replaced(sample(), "{{7*7}}")))


def test_long_names_are_cut_with_an_ellipsis(sample: Sample, sample_model: Sample) -> None:
    """Five thousand letters do not reach the page as text; the address still carries the whole name."""
    page = health_page(sample(models=[sample_model("x" * 5000)]))
    assert "x" * 119 + "\N{HORIZONTAL ELLIPSIS}" in page
    assert "x" * 121 not in page


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the place of every number of a status."""
    if isinstance(value, Mapping):
        return [p for k, v in value.items() for p in paths(v, (*at, k))]
    if isinstance(value, list):
        return [p for i, v in enumerate(value[:2]) for p in paths(v, (*at, i))]
    return [at] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf"), -1.0, 10**400, "text"])
@pytest.mark.parametrize("state", ["healthy", "degraded"])
def test_any_number_may_be_missing(sample: Sample, state: str, bad: Any) -> None:
    """Each number in turn is missing or absurd: the page is whole, and says neither NaN nor None."""
    status = sample(state)
    for path in paths(status):
        broken = copy.deepcopy(status)
        holder: Any = broken
        for step in path[:-1]:
            holder = holder[step]
        holder[path[-1]] = bad
        page = Reader(health_page(broken))
        everything = page.text + " ".join(v for _, held in page.tags for k, v in held.items() if k != "href")
        assert not re.search(r"\b(nan|inf|None)\b", everything), path


def test_an_empty_model_is_a_page(sample: Sample) -> None:
    """A model of which only the name is known has a page that cannot tell."""
    page = health_page(sample(models=[{"name": "bare", "version": "", "task": "classification"}]))
    assert "Cannot tell – nothing is checked" in told(page)


def test_an_empty_history_is_hatched(sample: Sample) -> None:
    """Fresh start: numbers without a past have charts that say no data."""
    status = sample()
    status["models"][0]["history"] = {"step_s": 60, "start": [], "request_rate": [], "share": {}}
    parts = health_fragments(status)
    assert "no data" in told(parts["rate"])
    assert "No class has been predicted yet." in told(quality_fragments(status)["history"])


def test_a_young_history_is_not_squeezed_into_the_corner(sample: Sample) -> None:
    """Minutes before the first request take no room: the picture begins where counting began."""
    status = sample()
    held = status["models"][0]["history"]
    for values in [v for k, v in held.items() if k not in {"start", "step_s", "share"}] + list(held["share"].values()):
        values[:48] = [None] * 48
    html = health_fragments(status)["rate"]
    assert "in the last 12 min." in told(html)
    assert len(re.findall(r"no data", html)) == 0


# ---- the document


def test_page_and_fragments_are_the_same_text(sample: Sample) -> None:
    """The first refresh of an unchanged status changes nothing."""
    page, parts = health_page(sample("degraded")), health_fragments(sample("degraded"))
    assert all(html in page for html in parts.values())


@pytest.mark.parametrize("state", ["healthy", "regression"])
def test_every_fragment_has_its_box(sample: Sample, state: str) -> None:
    """A page has exactly the boxes that its refresh fills."""
    boxes = {held["data-part"] for _, held in Reader(health_page(sample(state))).tags if "data-part" in held}
    assert boxes == set(health_fragments(sample(state)))


def test_landmarks_and_one_heading(sample: Sample) -> None:
    """Skip link, header, main, one h1, a live region, and a sentence for every chart."""
    tags = Reader(health_page(sample())).tags
    names = [tag for tag, _ in tags]
    assert names.count("h1") == names.count("main") == 1
    assert ("a", {"class": "skip", "href": "#main"}) in tags
    assert any(held.get("aria-live") == "polite" for _, held in tags)
    charts = [held for tag, held in tags if held.get("class") == "chart"]
    assert len(charts) == 3
    assert all(held["role"] == "img" and held["aria-label"].endswith(".") for held in charts)


def test_all_of_it_is_small(sample: Sample) -> None:
    """Page, style and script together are at most 100 KB, and a refresh is less than the page."""
    page = health_page(sample("degraded")).encode()
    static = sum(len(p.read_bytes()) for p in STATIC.iterdir())
    assert len(page) + static <= 100_000
    assert len(json.dumps(health_fragments(sample("degraded")))) <= 60_000


# ---- the application


class Client:
    """Asks an application without a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def get(self, path: str, **params: str) -> httpx.Response:
        """Return the answer to a GET."""
        return self.ask("GET", path, params)

    def ask(self, method: str, path: str, params: dict[str, str] | None = None) -> httpx.Response:
        """Return the answer to any method."""

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, params=params or None)

        return anyio.run(once)


def served(status: Any) -> Client:
    """Return a client of the application that knows this status, or raises it."""

    def read() -> Mapping[str, Any]:
        if isinstance(status, Exception):
            raise status
        return status  # type: ignore[no-any-return]

    return Client(pages_app(read))


def test_every_answer_has_the_strict_headers(sample: Sample) -> None:
    """Pages, JSON, static files, unknown paths and failures alike."""
    for client, paths_of in (
        (
            served(sample()),
            ["/", "/api/status", "/fragments", "/static/modelwatch.css", "/static/none", "/none", "/?model=x"],
        ),
        (served(RuntimeError("x")), ["/", "/api/status", "/fragments"]),
    ):
        for path in paths_of:
            answer = client.get(path)
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY, path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "cache-control" in answer.headers


def test_page_status_fragments_and_static(sample: Sample) -> None:
    """Each route answers with its kind."""
    client = served(sample())
    assert client.get("/").headers["content-type"] == "text/html; charset=utf-8"
    assert client.get("/api/status").json()["models"][0]["name"] == "sentiment_classifier"
    assert client.get("/fragments").json() == health_fragments(sample())
    assert client.get("/static/modelwatch.js").headers["content-type"].startswith("text/javascript")
    assert client.get("/static/../web.py").status_code == 404
    assert client.get("/static/%2e%2e/web.py").status_code == 404


def test_status_json_has_null_where_there_is_no_number(sample: Sample) -> None:
    """JSON has no NaN; a lone surrogate is carried as an escape."""
    status = sample(data_age_s=float("nan"), owner="\ud800")
    answer = served(status).get("/api/status")
    assert b"NaN" not in answer.content
    assert answer.json()["data_age_s"] is None


@pytest.mark.parametrize(
    "error", [ModelwatchError("live.db: is locked. Try again."), RuntimeError("secret"), KeyError("k")]
)
def test_what_cannot_be_read_cannot_be_told(error: Exception) -> None:
    """503 with a plain page and one shape of JSON; only our own errors show their words."""
    client = served(error)
    page = client.get("/")
    assert page.status_code == 503
    assert "Cannot tell" in told(page.text)
    for path in ("/api/status", "/fragments"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"code", "message"}
        assert answer.json()["error"]["code"] == "cannot_tell"
        assert "secret" not in answer.text
    assert ("live.db: is locked" in page.text) == isinstance(error, ModelwatchError)


def test_a_status_that_cannot_be_drawn_is_a_503() -> None:
    """A status of a wrong shape is an error of the server, told as one that cannot tell."""
    client = served({"models": [3]})
    assert client.get("/").status_code == 503
    assert client.get("/fragments").json()["error"]["code"] == "cannot_tell"


def test_an_unknown_model_is_a_404_with_a_way_out(sample: Sample) -> None:
    """The page names the models that there are."""
    client = served(sample())
    page = client.get("/", model="<b>")
    assert page.status_code == 404
    assert "sentiment_classifier" in told(page.text)
    assert "<b>" not in page.text
    assert client.get("/fragments", model="x").json()["error"]["code"] == "not_found"


def test_unknown_paths_and_methods_have_the_one_shape(sample: Sample) -> None:
    """404 and 405 in the same JSON as every other error."""
    client = served(sample())
    assert client.get("/none").json()["error"]["code"] == "not_found"
    answer = client.ask("POST", "/")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert "GET" in answer.headers["allow"]


def test_links_follow_the_mount(sample: Sample) -> None:
    """Under /watch every address of the page begins with /watch, and they work."""
    app = Starlette(routes=[Mount("/watch", pages_app(sample))])
    client = Client(app)
    tags = Reader(client.get("/watch/?model=sentiment_classifier").text).tags
    addresses = [v for _, held in tags for k, v in held.items() if k in {"href", "src", "data-refresh"}]
    local = [a for a in addresses if not a.startswith(("data:", "#"))]
    assert local
    assert all(a.startswith("/watch/") for a in local)
    assert all(client.get(a).status_code == 200 for a in local)
