"""One service with four models in four states, frozen in time: what the pictures of the pages are taken of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelwatch import Monitor
from modelwatch.config import load_config
from modelwatch.server.desk import Desk
from modelwatch.server.web import pages_app
from modelwatch.sources.history import HistorySource
from modelwatch.sources.settings import settings
from server.conftest import NOW, STEPS, Status, make_quality, make_status, model
from server.watched import alert, drift, row, silent, slo, unknown

HEALTHY, DEGRADED, UNSURE, FAILING = "ticket_router", "sentiment_classifier", "review_spam", "toxicity_filter"
STATES = {HEALTHY: "Healthy", DEGRADED: "Degraded", UNSURE: "Cannot tell", FAILING: "Failing"}
PAGES = {
    "health": "/", "quality": "/quality", "drift": "/drift?feature=language", "resources": "/resources",
    "alerts": "/alerts", "slos": "/slos", "runbooks": "/runbooks", "monitor": "/monitor", "settings": "/settings",
}  # fmt: skip
HOUR = 3600.0
REVIEWED = [
    "The parcel came a day late, but the book itself is wonderful and I read it in one evening.",
    "No es lo que esperaba: la pantalla llega rayada y el vendedor no contesta.",
    "Does what it says. Nothing more.",
]
CONFIG = """
service: {name: sentiment-api, owner: ml-platform}
models:
  sentiment_classifier:
    version: "1.4.2"
    task: classification
    classes: [negative, neutral, positive]
    features: {text_length: numeric, language: categorical}
    segment: category
    ground_truth: {sampling_rate: 1.0}
store: sqlite:///truth.db
live: live.db
"""


def frozen() -> Status:
    """Return the status of the service; the same at every call."""
    models = [_sentiment(), _router(), _spam(), _toxicity()]
    held = [*_alerts_of_sentiment(), *_alerts_of(HEALTHY), *_alerts_of_spam(), *_alerts_of_toxicity()]
    watchdog = alert("Watchdog", "none", "firing")
    return make_status("healthy", models=models, notes=[]) | {
        "alerts": {"firing": sum(a["state"] == "firing" for a in held), "alerts": [*held, watchdog]},
        "evaluation": {"evaluated_s_ago": 4.0, "leads": True, "reason": None},
        "slos": {"models": {name: _objectives(name) for name in STATES}},
        "handling": {"reason": None, "acknowledged": [], "silences": [], "history": _history()},
        "monitor": _machine(),
    }


def _machine() -> Status:
    held: Status = make_status("healthy")["monitor"]
    gpu = {"gpu": "0", "name": "NVIDIA H100", "utilization": 0.37, "memory_used_bytes": 31 << 30,
           "memory_total_bytes": 80 << 30, "temperature_celsius": 41.0, "power_watts": 212.0}  # fmt: skip
    return {**held, "gpus": [gpu]}


def _past(value: float, seed: int, wave: float = 0.05, noise: float = 0.02) -> list[float | None]:
    dice = random.Random(seed)
    return [value * (1 + wave * math.sin(i / 9) + dice.uniform(-noise, noise)) for i in range(STEPS)]


def _shaped(name: str, rate: float, seed: int, state: str = "healthy") -> Status:
    made = model(name, state, seed)
    made["history"]["request_rate"] = _past(rate, seed)
    for reading in made["readings"]:
        if reading["signal"] == "request_rate":
            reading["value"] = rate
        reading["samples"] = round(300 * rate)
    made["details"] |= {"requests": round(300 * rate), "throughput": 0.99 * rate}
    made["traffic"] = _traffic(rate)
    return made


def _traffic(rate: float) -> Status:
    """Return that the last full hour was normal, and what is usual around now."""
    ended = int(NOW // HOUR * HOUR)
    usual = [{"begin": ended + i * HOUR, "end": ended + (i + 1) * HOUR, "low": (0.76 + i / 20) * rate, "high": (1.14 + i / 15) * rate}
             for i in (-1, 0, 1)]  # fmt: skip
    return {"state": "normal", "requests": round(HOUR * rate), "normal": 3500 * rate, "low": 2700 * rate, "high": 4000 * rate,
            "scales": 0.4, "side": "", "words": "", "ended": ended, "usual": usual}  # fmt: skip


def _features(level: str | None = None) -> list[Status]:
    languages = {
        "en": (0.78, 0.62 if level else 0.77),
        "es": (0.04, 0.18 if level else 0.05),
        "de": (0.11, 0.12),
        "fr": (0.07, 0.08),
    }
    cells = [{"cell": name, "reference": a, "current": b} for name, (a, b) in languages.items()]
    told = {
        "cause": "share", "summary": "“es” is 18 % of the values; in training it was 4 %.",
        "details": ["“en” fell from 78 % to 62 %.", "The other categories have moved less than 2 points."],
        "actions": ["Ask whether a new market was opened.", "Look at accuracy by language on Quality."],
    }  # fmt: skip
    return [
        row("language", level, statistic="TV", cells=cells, explanation=told if level else None),
        row("text_length", "info" if level else None),
        row("sentiment_score"),
        row("hour_of_day"),
        row("classes", "warning" if level else None, answer=True, statistic="PSI"),
    ]


def _sentiment() -> Status:
    made = _shaped(DEGRADED, 412.0, 4)
    deploy = {"model": DEGRADED, "version": "1.4.2", "at": NOW - 77.3 * HOUR, "by": "release job 4182",
              "note": "Faster tokenizer, same weights"}  # fmt: skip
    made["quality"] = make_quality(boost=-0.02, few=17, deploys=[deploy])
    made["drift"] = drift(*_features("warning"))
    made["estimate"] = {
        "value": 0.853, "low": 0.847, "high": 0.859, "n": 123_600, "training": 0.881,
        "words": "labels will confirm it; it cannot see that the meaning of the data has changed",
    }  # fmt: skip
    return made


def _router() -> Status:
    made = _shaped(HEALTHY, 188.0, 7)
    made["quality"] = make_quality(boost=0.16, objective=0.85, waiting=31)
    made["drift"] = drift(*_features())
    return made


def _spam() -> Status:
    made = model(UNSURE, "silent", 9)
    made["quality"] = make_quality(12)
    made["drift"] = drift(unknown("language"), unknown("text_length"))
    return made


def _toxicity() -> Status:
    made = _shaped(FAILING, 63.0, 11, "degraded")
    made["quality"] = make_quality(boost=0.14, waiting=8)
    made["drift"] = drift(*_features())
    failed = round(0.063 * made["details"]["requests"])
    made["details"] |= {
        "failed": failed,
        "errors_by_type": [["ModelTimeout", failed - 55], ["http_503", 43], ["ValueError", 12]],
    }
    made["history"]["error_ratio"] = [
        (v or 0.0) * 0.2 if i < 47 else 0.063 * min(1.0, (i - 46) / 4) * (1 + 0.05 * math.sin(i))
        for i, v in enumerate(_past(0.002, 3))
    ]
    for reading in made["readings"]:
        if reading["signal"] == "error_ratio":
            reading |= {"value": failed / made["details"]["requests"], "outcome": "firing"}
    return made


def _quiet(name: str) -> list[Status]:
    asked = (
        ("HighErrorRate", "critical", 0.0009, 0.05), ("HighErrorRate", "warning", 0.0009, 0.02),
        ("HighLatencyP95", "warning", 0.0021, 0.05), ("TrafficStopped", "critical", 412.0, 0.0),
        ("MissingValues", "warning", 0.001, 0.05), ("HighLowConfidencePredictions", "warning", 0.108, 0.2),
    )  # fmt: skip
    return [
        alert(n, s, model=name, value=v, limit=limit, unit="ratio" if v < 1 else "req/s") for n, s, v, limit in asked
    ]


def _alerts_of(name: str) -> list[Status]:
    return [*_quiet(name), alert("LowModelAccuracy", model=name, value=0.93, limit=0.85, op="<")]


def _fires(name: str, summary: str, since_h: float, severity: str = "warning", **more: Any) -> Status:
    return alert(
        name, severity, "firing", summary=summary, description=summary, since=NOW - since_h * HOUR, culprits=[], **more
    )


def _alerts_of_sentiment() -> list[Status]:
    return [
        *_quiet(DEGRADED),
        _fires(
            "LowModelAccuracy", "Accuracy fell to 78.5 % by the labels of the last day; it should be 85 % (1,000 labels).", 2.75,
            value=0.795, limit=0.85, op="<", dashboard="/quality",
        ),
        _fires(
            "DataDriftDetected", "“es” is 18 % of the values of language; in training it was 4 %.", 1.78,
            labels={"feature_name": "language"}, value=0.19, limit=0.15, unit="score", dashboard="/drift",
        ),
        _fires(
            "SegmentAccuracyLow", "By the labels of the last day the accuracy on books is at most 66 %; it should be 85 %.", 2.1,
            labels={"segment": "books"}, value=0.66, limit=0.85, op="<", dashboard="/quality",
        ),
        _fires(
            "ConceptDriftDetected", "The mix of answers has moved: positive from 65 % to 42 %.", 1.2, labels={"of": "classes"},
            value=0.22, limit=0.2, unit="score", dashboard="/drift",
        ),
        _fires("DataDriftDetected", "text_length is longer than in training.", 1.4, "info",
               labels={"feature_name": "text_length"}, value=0.12, limit=0.1, unit="score", dashboard="/drift"),
        alert("HighLowConfidencePredictions", "info", "pending", since=NOW - 240, value=0.21, limit=0.2,
              summary="21 % of the answers are unsure", description="21 % of the answers are unsure."),
        silent("ReplicaDown", "no replicas in this window"),
    ]  # fmt: skip


def _alerts_of_spam() -> list[Status]:
    names = ("HighErrorRate", "HighLatencyP95", "TrafficStopped", "LowModelAccuracy", "MissingValues")
    told = "No number of review_spam has an answer for 9 min: nobody asks it."
    return [
        *(silent(name, "no requests in the last 5 min", model=UNSURE) for name in names),
        _fires("CannotTell", told, 0.15, model=UNSURE, labels={"what": "the error rate"}, value=None, limit=None),
    ]


def _alerts_of_toxicity() -> list[Status]:
    told = "6.3 % of the requests failed in the last 5 min; the limit is 5 % (18,900 requests)."
    return [
        *_quiet(FAILING)[2:],
        {**_fires("HighErrorRate", told, 0.14, "critical", model=FAILING, value=0.063, limit=0.05, dashboard="/"),
         "culprits": ["Most errors: ModelTimeout (1,136)."]},
        _fires("SLOBurnRate", "The error budget of requests burns 6.3 times too fast.", 0.1, "critical", model=FAILING,
               labels={"slo": "error_rate"}, value=6.3, limit=6.0, unit="times", dashboard="/slos"),
    ]  # fmt: skip


def _objectives(name: str) -> list[Status]:
    """Return latency, availability, error rate and accuracy: objective, shares kept and burnt, counts."""
    share = 0.93 if name != DEGRADED else 0.785
    errors = 0.31 if name == FAILING else 0.62
    promised = (
        ("latency", 0.95, 0.98, 0.4, 0.38, "of requests answered within 200 ms", 53_400_000),
        ("availability", 0.995, 0.9993, 0.0, 0.1, "of minutes in which the service answers", 43_200),
        ("error_rate", 0.99, 1 - 0.01 * (1 - errors), 6.3 if name == FAILING else 0.4, 0.4, "of requests answered without an error", 53_400_000),
        ("accuracy", 0.85, share, 1.31, 1.43, "of labelled answers right", 6214),
    )  # fmt: skip
    if name == UNSURE:
        return [
            slo(kind, "cannot_tell", objective=objective, good=f"{objective} {good}")
            for kind, objective, *_, good, _ in promised
        ]
    return [_slo(*one) for one in promised]


def _slo(kind: str, objective: float, kept: float, hour: float, day: float, good: str, valid: int) -> Status:
    left = 1 - (1 - kept) / (1 - objective)
    dice = random.Random(kind)
    spent = [max(0.0, dice.gauss(1 - left, 0.3)) / 30 for _ in range(30)]
    return slo(
        kind, "broken" if left < 0 else "meeting", objective=objective, compliance=kept, remaining=left, burn_hour=hour,
        burn_day=day, good=f"{objective} {good}", valid=valid, bad=round((1 - kept) * valid), by_day=spent,
    )  # fmt: skip


def _history() -> list[Status]:
    def one(
        name: str, begin_h: float, end_h: float, severity: str = "warning", who: str = DEGRADED, **labels: str
    ) -> Status:
        return {
            "at": NOW - end_h * HOUR, "actor": "modelwatch", "action": "ended", "alertname": name, "model": who,
            "severity": severity, "labels": labels, "since": NOW - begin_h * HOUR, "ended_at": NOW - end_h * HOUR, "summary": "",
        }  # fmt: skip

    found = [
        one("HighLatencyP95", 9.2, 8.6), one("HighLatencyP95", 20.4, 20.1), one("DataDriftDetected", 15.0, 11.5, "info", feature_name="language"),
        one("HighErrorRate", 12.0, 11.7, who=HEALTHY), one("HighErrorRate", 3.3, 2.9, who=FAILING),
    ]  # fmt: skip
    return sorted(found, key=lambda entry: float(entry["ended_at"]), reverse=True)


def reviewed(folder: Path, read: Callable[[], Status]) -> tuple[Any, Monitor]:
    """Return the pages with samples that wait for review, and the monitor behind them, which must be closed."""
    path = folder / "modelwatch.yaml"
    path.write_text(CONFIG)
    monitor = Monitor.from_config(path)
    for i, text in enumerate(REVIEWED):
        monitor.record(
            "/predict", duration=0.01, prediction="positive", confidence=0.64, request_id=f"frozen-{i}", input=text,
            segment="books", features={"text_length": float(len(text)), "language": "en"},
        )  # fmt: skip
    assert monitor.flush(5)
    assert monitor.review is not None
    config = load_config(path)
    history, status = HistorySource(config.live), read()
    return pages_app(
        lambda: status, Desk([monitor.review]), settings=lambda: settings(config), history=history
    ), monitor
