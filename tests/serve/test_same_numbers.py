"""Every number of a page is that of the API, of the exposition and of `modelwatch status` at the same instant."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from alerts.life import labels, requests
from counting import page_values, query
from integrations.calling import call
from modelwatch import names
from modelwatch.serve.run import Parts, app_of
from modelwatch.server import words
from modelwatch.sources.render import status_lines
from serve.conftest import START, House
from truth import number, sample

LABELS, RIGHT, WAITING = 40, 31, 7
HERE = (b"host", b"localhost:8080")
MODEL = {"model_name": "sentiment", "model_version": "1"}


class Instant:
    """What a `serve` says at one instant, in all its ways: time stands still while it is asked."""

    def __init__(self, house: House, parts: Parts) -> None:
        self._app = app_of(parts)
        self.status: dict[str, Any] = self.json("/api/status")
        (self.model,) = self.status["models"]
        self.details: dict[str, Any] = self.model["details"]
        self.terminal = "\n".join(status_lines(parts.status.read()))
        self.service = page_values(house.worker.scrape.render(openmetrics=False))
        self.gauges = page_values(call(self._app, "/metrics", headers=[HERE]).body)

    def json(self, path: str) -> Any:
        """Return what an address of the API answers."""
        answer = call(self._app, path, headers=[HERE])
        assert answer.status == 200, answer.body
        found: Any = json.loads(answer.body)
        return found

    def page(self, path: str) -> str:
        """Return the words of a page."""
        text = call(self._app, path, headers=[HERE]).body.decode()
        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text))).replace(words.NBSP, " ")

    def reading(self, signal: str, **more: str) -> dict[str, Any]:
        """Return a reading of the API."""
        readings: list[dict[str, Any]] = self.model["readings"]
        (found,) = [one for one in readings if one["signal"] == signal and more.items() <= one["labels"].items()]
        return found

    def counted(self, metric: names.Metric, of: str = "", **more: str) -> float:
        """Return the sum of a counter of the service over its other labels."""
        wanted = {**MODEL, **more}.items()
        return sum(
            v for (name, held), v in self.service.items() if name == metric.name + of and wanted <= dict(held).items()
        )

    def bucket(self, le: float) -> float:
        """Return how many requests took at most so long, by the histogram."""
        name = f"{names.DURATION.name}_bucket"
        return sum(
            v for (metric, held), v in self.service.items() if metric == name and float(dict(held)["le"]) == float(le)
        )

    def gauge(self, metric: names.Metric, **more: str) -> float:
        """Return a gauge of `serve`."""
        return self.gauges[metric.name, tuple(sorted(more.items()))]

    def drift_gauge(self, name: str, *, answer: bool) -> float:
        """Return what the score of a row is beyond chance, as it is exported."""
        if not answer:
            return self.gauge(names.DRIFT_SCORE, **MODEL, feature_name=name)
        return self.gauge(names.CLASS_PSI if name == "classes" else names.CONCEPT_PSI, **MODEL)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instant]:
    """Return an instant after requests of which some failed and were slow, and labels of which some were wrong."""
    house = House(tmp_path_factory.mktemp("house"))
    parts = house.serve()
    query(house.folder / "live.db", "UPDATE state SET value = ? WHERE name = 'began'", int(START))
    house.happen(*requests(900, failed=27, slow=40, shift=30, seed=5), labels=tuple(labels(150, 50)))
    house.clock.advance(45)
    samples = [sample(i, age_s=-60) for i in range(LABELS + WAITING)]
    parts.store.add_samples([dataclasses.replace(one, inclusion=1.0, model_version="1") for one in samples])
    for i in range(LABELS):
        parts.store.label(number(i), "positive" if i < RIGHT else "negative", "ann", sampled=True)
    assert house.rounds(parts, 2) is False
    yield Instant(house, parts)
    house.close()


def _shown(value: str) -> str:
    return value.replace(words.NBSP, " ")


def test_requests_and_errors(now: Instant) -> None:
    """Counts of the API are the counters; ratios and rates of page, API and terminal are their quotients."""
    assert now.details["requests"] == now.counted(names.REQUESTS) == 900
    assert now.details["failed"] == now.counted(names.FAILED) == 27
    ratio, rate = now.reading("error_ratio"), now.reading("request_rate")
    assert ratio["value"] == pytest.approx(27 / 900, abs=0)
    assert f"{100 * ratio['value']:.2f} %" in now.terminal
    health = now.page("/")
    assert _shown(words.percent(ratio["value"], 2)) in health
    assert _shown(words.rate(rate["value"])) in health
    per_second = f"{rate['value']:.1f} req/s"
    assert re.search(rf"Request rate +{per_second} ", now.terminal)
    by_type = dict(now.details["errors_by_type"])
    assert by_type == {"TimeoutError": now.counted(names.ERRORS, error_type="TimeoutError")}
    assert "TimeoutError 27" in now.terminal
    assert "TimeoutError 27" in health


def test_answers_and_confidence(now: Instant) -> None:
    """The share of every class is its counter over all of them; the share of unsure answers likewise."""
    total = now.counted(names.PREDICTIONS)
    page = now.page("/quality")
    for name in ("negative", "neutral", "positive"):
        share = now.reading("prediction_share", predicted_class=name)["value"]
        assert share == pytest.approx(now.counted(names.PREDICTIONS, predicted_class=name) / total, abs=0)
        assert _shown(words.percent(share)) in page
    low = now.details["low_confidence_ratio"]
    assert low == pytest.approx(now.counted(names.LOW_CONFIDENCE) / now.counted(names.CONFIDENCE, of="_count"), abs=0)
    assert f"{_shown(words.percent(low))} are below" in page


def test_objectives(now: Instant) -> None:
    """Compliance and the budget that is left: API, gauge and page; what cannot be told is in none of them."""
    page, known = now.page("/slos"), 0
    for one in now.json("/api/slos")["models"]["sentiment"]:
        of = {"model_name": "sentiment", "slo_type": one["slo"]}
        if one["compliance"] is None:
            assert (names.COMPLIANCE.name, tuple(sorted(of.items()))) not in now.gauges
            continue
        known += 1
        assert now.gauge(names.COMPLIANCE, **of) == pytest.approx(100 * one["compliance"], rel=1e-12)
        assert now.gauge(names.BUDGET_LEFT, **of) == pytest.approx(one["remaining"], rel=1e-12)
        if one["slo"] in {"error_rate", "latency"}:
            assert (
                _shown(words.percent(one["compliance"], 2)) in page
                or _shown(words.percent(one["compliance"], 1)) in page
            )
    assert known >= 3


def test_alerts(now: Instant) -> None:
    """How many fire: API, gauges and page; each that fires is on the page with its value and its limit."""
    found = now.json("/api/alerts")
    firing = [one for one in found["alerts"] if one["state"] == "firing" and one["alert"] != "Watchdog"]
    told = [one for one in firing if not one["silenced_by"]]
    assert found["firing"] == len(told)
    assert found["firing"] == sum(
        now.gauge(names.ALERTS_FIRING, severity=severity) for severity in ("critical", "warning", "info")
    )
    page = now.page("/alerts")
    for one in told:
        assert one["alert"] in page


def test_drift(now: Instant) -> None:
    """The score of every feature: API, page and terminal are one view; what it is beyond chance is the gauge."""
    drift = now.json("/api/drift")["drift"]
    page = now.page("/drift")
    scored = [row for row in drift["rows"] if row["score"] is not None]
    assert scored
    for row in scored:
        assert f"{row['score']:.2f}" in page
        assert f"{row['statistic']} {row['score']:.2f}" in now.terminal
        if row["window"] == "long":
            assert now.drift_gauge(row["name"], answer=row["answer"]) == pytest.approx(row["excess"], abs=1e-12)
    assert sum(row["window"] == "long" for row in scored) >= 4


def test_latency(now: Instant) -> None:
    """The percentiles of API, page and terminal are one number, inside the bucket in which the histogram has it."""
    health, p95 = now.page("/"), now.details["p95_s"]
    for key in ("p50_s", "p95_s", "p99_s"):
        assert _shown(words.latency(now.details[key])) in health
    assert re.search(rf"Latency P95 +{_shown(words.latency(p95))} ", now.terminal)
    low, high = now.details["p95_bracket_s"]
    total = now.counted(names.DURATION, of="_count")
    assert total == now.details["requests"]
    assert now.bucket(low) < 0.95 * total <= now.bucket(high)
    assert now.details["slow"] == total - now.bucket(now.details["latency_threshold_s"]) == 40
    assert f"{_shown(words.percent(40 / 900, 1))} of requests are slower" in health


def test_resources(now: Instant) -> None:
    """Load, disk and errors by type: the page shows the API's numbers, which are those of the exposition."""
    page, used = now.page("/resources"), now.status["monitor"]["used"]
    assert f"Throughput OK {_shown(words.rate(now.reading('request_rate')['value']))} Finished" in page
    assert now.details["in_progress"] == now.service[names.IN_PROGRESS.name, (("model_name", "sentiment"),)]
    assert f"In progress {now.details['in_progress']} requests" in page
    for key, metric in (
        ("disk_written_bytes", names.PROCESS_DISK_WRITTEN),
        ("disk_read_bytes", names.PROCESS_DISK_READ),
    ):
        assert used[key] == now.service[metric.name, ()] > 0
        assert _shown(words.size(used[key])) in page
    assert _shown(words.size(now.status["monitor"]["file"]["free_bytes"])) in page
    assert "TimeoutError 27 100.0 %" in page


def test_the_monitor_itself(now: Instant) -> None:
    """Events, workers and what was lost: page, API and exposition; at no moment more than was counted."""
    page, counts = now.page("/monitor"), now.json("/api/monitor")["monitor"]["counts"]
    assert counts["events"]["hour"] == now.counted(names.EVENTS) == 900
    assert "Events counted OK 1 h: 900 24 h: 900" in page
    workers = now.status["workers"]
    assert workers["alive"] == now.service[names.WORKERS.name, ()]
    assert workers["died"] == now.service[names.WORKER_DEATHS.name, ()]
    assert f"{workers['alive']} reporting" in page
    assert f"{workers['alive']} reporting, {workers['died']} died" in now.page("/")
    assert f"{workers['alive']} reporting, {workers['died']} died" in now.terminal


def test_accuracy(now: Instant) -> None:
    """What labels say: one number and one interval on Health, Quality and Review, in the API and in the terminal."""
    quality = now.json("/api/quality")["quality"]
    (last, *_) = [view for view in quality["views"]["last"] if view["n"] == LABELS]
    found = last["accuracy"]
    assert found["value"] == pytest.approx(RIGHT / LABELS, abs=0)
    low, high = (f"{100 * found[key]:.1f}" for key in ("low", "high"))
    for path in ("/", "/quality", "/review"):
        assert _shown(words.percent(found["value"])) in now.page(path), path
        assert f"{low}–{high} %" in now.page(path), path
    assert f"{100 * found['value']:.1f} %" in now.terminal
    assert (quality["labelled"], quality["waiting"]) == (LABELS, WAITING)
    assert f"{LABELS} labelled, {WAITING} waiting" in now.terminal
    assert f"{WAITING} in the review queue" in now.page("/quality")
    assert now.json("/api/models")["models"][0]["name"] == now.model["name"]
