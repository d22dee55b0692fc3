"""Faults that a drill turns on in a service from outside; only where `$MODELWATCH_DRILL` consents to be broken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from modelwatch.integrations.asgi import App, Receive, Scope, Send, respond_json
from modelwatch.integrations.fastapi import FEEDBACK, HEALTH, METRICS, _OwnRoutes
from modelwatch.record.monitor import Monitor

if TYPE_CHECKING:
    from starlette.applications import Starlette

CONSENT, YES = "MODELWATCH_DRILL", "i-know-this-breaks-it"
PATH = "/modelwatch/drill"
KINDS = ("errors", "few_errors", "slow", "down", "drift", "low_confidence", "missing_values", "metrics")
ERRORS, FEW_ERRORS, SLOW, MISSING = 0.4, 0.03, 0.5, 0.6  # shares of the requests
SLOW_S = 1.2
LONGEST_S = 6 * 3600.0  # a drill that dies leaves nothing broken for longer than it asked
LOOK_S = 0.2  # between two looks at the file that all workers share
_OWN = (METRICS, HEALTH, FEEDBACK, PATH)


class Faults:
    """What is broken now: one small file beside `live.db`, so that every worker of the host breaks alike.

    path : of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kinds: frozenset[str] = frozenset()
        self._until, self._looked = 0.0, float("-inf")

    def set(self, kinds: Collection[str], seconds: float) -> None:
        """Break this, and nothing else, for so long."""
        until = time.time() + min(max(seconds, 0.0), LONGEST_S)
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        new.write_text(json.dumps({"kinds": sorted(kinds), "until": until}), encoding="utf-8")
        new.replace(self.path)
        self._looked = float("-inf")

    def active(self) -> frozenset[str]:
        """Return what is broken now; without a file, or with one that cannot be read, nothing is."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self._looked, self._kinds = now, frozenset()
            with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
                said = json.loads(self.path.read_text(encoding="utf-8"))
                self._kinds, self._until = frozenset(said["kinds"]) & set(KINDS), float(said["until"])
        return self._kinds if self._kinds and time.time() < self._until else frozenset()


class _Breaking(deque[tuple[Any, ...]]):
    """The buffer of a recorder, which spoils what goes in while a fault is on."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults, self._chance = faults, random.Random()

    def append(self, event: tuple[Any, ...], /) -> None:
        kinds = self._faults.active()
        super().append(self._spoiled(event, kinds) if kinds else event)

    def _spoiled(self, event: tuple[Any, ...], kinds: frozenset[str]) -> tuple[Any, ...]:
        endpoint, duration, error, segment, prediction, confidence, features = event
        if "low_confidence" in kinds and confidence is not None:
            confidence = 0.01
        if isinstance(features, dict) and features:
            if "drift" in kinds:
                features = {name: _drifted(value) for name, value in features.items()}
            if "missing_values" in kinds and self._chance.random() < MISSING:
                features = {**features, next(iter(features)): None}
        return endpoint, duration, error, segment, prediction, confidence, features


def _drifted(value: Any) -> Any:
    return "drilled" if isinstance(value, str) else value if value is None else 10 * value + 100


class _Broken:
    """ASGI middleware inside the one that counts: what it answers is counted as the service's own answer."""

    def __init__(self, app: App, faults: Faults) -> None:
        self._app, self._faults, self._chance = app, faults, random.Random()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == PATH:
            return await self._app(scope, receive, send)
        kinds, path = self._faults.active(), scope["path"]
        if "down" in kinds:
            return await respond_json(send, 503, {"error": "a drill: the service is down"})
        if "metrics" in kinds and path == METRICS:
            return await PlainTextResponse("# a drill: the counts do not come\n")(scope, receive, send)
        if path not in _OWN:
            if "slow" in kinds and self._chance.random() < SLOW:
                await asyncio.sleep(SLOW_S)
            share = ERRORS if "errors" in kinds else FEW_ERRORS if "few_errors" in kinds else 0.0
            if self._chance.random() < share:
                return await respond_json(send, 503, {"error": "a drill: this request fails"})
        return await self._app(scope, receive, send)


def consents() -> bool:
    """Tell whether whoever started this process lets a drill break it."""
    return os.environ.get(CONSENT, "") == YES


def mount_faults(app: Starlette, monitor: Monitor) -> bool:
    """Let a drill break the app, if `$MODELWATCH_DRILL` is `i-know-this-breaks-it`. Return whether it may.

    Call it before `instrument`. It adds the route `/modelwatch/drill`, which takes
    `{"kinds": ["errors", …], "seconds": 60}`; a fault ends by itself when that time is over. Without the consent
    nothing is added, and the service pays nothing.

    Parameters
    ----------
    app : the app, before it has started.
    monitor : of its model.
    """
    if not consents():
        return False
    live = monitor.worker.path
    faults = Faults(live.with_name(live.name + ".drill"))
    monitor.recorder.pending = _Breaking(faults)

    async def take(request: Request) -> Response:
        try:
            said = await request.json()
            kinds, seconds = {str(kind) for kind in said["kinds"]}, float(said["seconds"])
        except (ValueError, TypeError, KeyError):
            kinds, seconds = {""}, 0.0
        if not kinds <= set(KINDS):
            return JSONResponse({"error": f"kinds and seconds are needed; kinds are {', '.join(KINDS)}"}, 422)
        faults.set(kinds, seconds)
        return JSONResponse({"kinds": sorted(kinds), "seconds": seconds})

    app.router.routes.insert(0, _OwnRoutes([Route(PATH, take, methods=["POST"], include_in_schema=False)]))
    app.add_middleware(_Broken, faults=faults)
    return True
