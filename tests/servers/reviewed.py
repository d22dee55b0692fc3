"""A small service with a store: its answers are kept for review, and any worker takes the labels."""

from __future__ import annotations

import os

from fastapi import FastAPI

import modelwatch
from modelwatch.integrations.fastapi import instrument

app = FastAPI()
monitor = modelwatch.Monitor.from_config(os.environ["REVIEWED_CONFIG"])
instrument(app, monitor)


@app.get("/predict")
def predict(answer: str, segment: str) -> dict[str, str | int]:
    """Answer what is asked for; say who answered."""
    request = modelwatch.current_request()
    request.segment = segment
    request.predicted(answer, confidence=0.9, input=f"{answer} {segment}")
    return {"id": request.id, "pid": os.getpid()}


@app.get("/whoami")
def whoami() -> int:
    """Return the worker's process id."""
    return os.getpid()
