"""The service under test: predicts, can be made to block its counting, and to record more than it can keep."""

from __future__ import annotations

import logging
import os
import time

from fastapi import FastAPI

import modelwatch
from modelwatch.integrations.fastapi import instrument
from modelwatch.record.monitor import Monitor

logging.basicConfig(level=logging.ERROR, format="%(message)s")
app = FastAPI()
monitor = Monitor("served", "1", live=os.environ["SOAK_LIVE"])
instrument(app, monitor)


class Slow:
    """A value whose own code takes long: whoever counts it holds the lock meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __float__(self) -> float:
        time.sleep(self.seconds)
        return 0.01


@app.get("/predict")
async def predict() -> dict[str, int]:
    """Answer with the worker's process id."""
    modelwatch.current_request().predicted("a", confidence=0.9)
    return {"pid": os.getpid()}


@app.get("/fail")
def fail(seconds: float) -> None:
    """Fail, after a while."""
    time.sleep(seconds)
    raise TimeoutError


@app.get("/block")
def block(seconds: float) -> str:
    """Block the counting for a while."""
    monitor.record("/slow", duration=Slow(seconds))
    return "blocked"


@app.get("/burst")
def burst(events: int) -> dict[str, float]:
    """Record many events at once; tell when the first one was given up (Unix time, 0 if none)."""
    first, before = 0.0, monitor.recorder.abandoned
    for _ in range(events):
        monitor.record("/recorded", duration=0.01)
        if not first and monitor.recorder.abandoned > before:
            first = time.time()
    return {"first": first}
