"""A small service, as a user would write it; run by real servers with several workers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

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


@app.get("/stream")
async def stream() -> StreamingResponse:
    """Answer in parts, for half a minute."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(600):
            yield b"part"
            await asyncio.sleep(0.05)

    return StreamingResponse(parts())


@app.get("/slow")
def slow() -> str:
    """Answer after half a second."""
    time.sleep(0.5)
    return "slow"
