"""The sentiment service: a FastAPI app as a user would write it, with three lines of modelwatch.

Run by uvicorn, any number of workers.
"""

from __future__ import annotations

import logging
import os
import random
import time
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from modelwatch import Monitor, current_request, load_config
from modelwatch.demo.incidents import SCRIPTS
from modelwatch.demo.log import log_into
from modelwatch.demo.model import predict
from modelwatch.demo.traffic import NUMBER
from modelwatch.integrations.fastapi import instrument
from modelwatch.integrations.faulthooks import mount_faults
from modelwatch.server.desk import Desk
from modelwatch.server.web import pages_app
from modelwatch.sources.history import HistorySource
from modelwatch.sources.settings import settings
from modelwatch.sources.standing import StandingSource
from modelwatch.sources.status import StatusSource

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = "MODELWATCH_DEMO_CONFIG"
LOG = "MODELWATCH_DEMO_LOG"
INCIDENT, STARTED = "MODELWATCH_DEMO_INCIDENT", "MODELWATCH_DEMO_STARTED"
SEED = "MODELWATCH_DEMO_SEED"  # what the ids of numbered requests are made of
PAGES = (
    "/", "/quality", "/drift", "/resources", "/alerts", "/slos", "/runbooks", "/monitor", "/settings", "/review",
    "/api", "/fragments", "/static", "/docs", "/redoc", "/openapi.json",
)  # fmt: skip
MODEL = "sentiment_classifier"


class Review(BaseModel):
    """A product review to judge."""

    text: str = Field(min_length=1, max_length=20_000)
    category: str = Field(default="unknown", max_length=64)


class Sentiment(BaseModel):
    """What the model says of it."""

    request_id: str
    label: str
    confidence: float


def create_app() -> FastAPI:
    """Return the app; its settings come from the environment, since uvicorn makes it anew in every worker."""
    config_path = Path(os.environ.get(CONFIG, Path(__file__).with_name("modelwatch.yaml")))
    script = SCRIPTS[os.environ.get(INCIDENT, "none")]
    started = float(os.environ.get(STARTED, time.time()))
    chance, seed = random.Random(), os.environ.get(SEED)

    logging.basicConfig(level=logging.WARNING)  # faults of the monitor are logged, at most once a minute
    app = FastAPI(title="Sentiment of product reviews")
    monitor = Monitor.from_config(config_path, MODEL)
    if log := os.environ.get(LOG):
        log_into(monitor, Path(log))
    mount_faults(app, monitor)  # for `modelwatch drill`; nothing without its consent
    instrument(app, monitor, ignore=PAGES)

    @app.post("/predict")
    def predict_sentiment(
        review: Review, number: Annotated[int | None, Header(alias=NUMBER, include_in_schema=False)] = None
    ) -> Sentiment:
        request = current_request()
        if seed is not None and number is not None:
            request.use_id(blake2b(f"{seed}:{number}".encode(), digest_size=16).hexdigest())
        request.segment = review.category
        incident = script.at(time.time() - started)
        if chance.random() < incident.error_ratio:
            raise HTTPException(503, "the lexicon service does not answer")
        if incident.delay_s:
            time.sleep(chance.lognormvariate(0, 0.7) * incident.delay_s)
        answer = predict(review.text)
        request.predicted(answer.label, confidence=answer.confidence, features=answer.features, input=review.text)
        return Sentiment(request_id=request.id, label=answer.label, confidence=round(answer.confidence, 4))

    def notes() -> Iterator[str]:
        note = script.note(time.time() - started)
        if note:
            yield note

    config = load_config(config_path, secrets=False)
    status, standing = StatusSource.from_config(config), StandingSource(config)
    status.notes = notes

    def read() -> dict[str, Any]:
        return {**status.read(), **standing.read()}

    understood, history = settings(config), HistorySource(config.live, status.objectives, config.time_scale)
    desk = Desk([monitor.review]) if monitor.review else None
    app.mount("/", pages_app(read, desk, settings=lambda: understood, history=history))
    return app
