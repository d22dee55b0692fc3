"""A small service, as a user would write it; run by real servers with several workers."""

from __future__ import annotations

import os

from fastapi import FastAPI

import modelwatch
from modelwatch.integrations.fastapi import instrument
from modelwatch.record.monitor import Monitor
from modelwatch.schema import ModelSchema

app = FastAPI()
monitor = Monitor("served", "1", ModelSchema(classes=("a", "b")), live=os.environ["MODELWATCH_LIVE"])
instrument(app, monitor)


@app.get("/predict")
async def predict() -> dict[str, int]:
    """Answer with the worker's process id."""
    modelwatch.current_request().predicted("a", confidence=0.9)
    return {"pid": os.getpid()}
