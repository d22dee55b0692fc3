"""Calls an ASGI app as a server does, and reads what its monitor has counted."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from modelwatch.record.monitor import Monitor


class Answer:
    """What an ASGI app sent."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        nothing: dict[str, Any] = {"status": 0, "headers": ()}
        start = next((m for m in messages if m["type"] == "http.response.start"), nothing)
        self.status = start["status"]
        pairs = [(name.decode(), value.decode()) for name, value in start.get("headers", ())]
        self.headers = dict(pairs)
        self.ids = [value for name, value in pairs if name == "x-modelwatch-request-id"]
        self.body = b"".join(m.get("body", b"") for m in messages if m["type"] == "http.response.body")


async def acall(
    app: Any, path: str, *, method: str = "GET", gone_after: float | None = None, body: bytes = b"", **scope: Any
) -> Answer:
    """Call an ASGI app as a server does; `gone_after`: the client leaves after so many seconds."""
    sent: list[dict[str, Any]] = []
    asked = 0

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.sleep(60 if gone_after is None else gone_after)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    more: Any = scope.pop("headers", [])
    headers = more if any(name == b"host" for name, _ in more) else [(b"host", b"x"), *more]
    base = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http"}
    where = {
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }
    await app({**base, **where, "client": ("127.0.0.1", 1), "server": ("x", 80), "state": {}, **scope}, receive, send)
    return Answer(sent)


def call(app: Any, path: str, **more: Any) -> Answer:
    """Call an app from a test."""
    return asyncio.run(acall(app, path, **more))


def samples(monitor: Monitor) -> dict[tuple[str, ...], float]:
    """Return {(name, label values without the model's): value} of everything that is not 0."""
    assert monitor.flush(5)
    found = {}
    for family in text_string_to_metric_families(monitor.metrics().decode()):
        for sample in family.samples:
            labels = [value for name, value in sample.labels.items() if name not in ("model_name", "model_version")]
            if sample.value:
                key = (sample.name, *labels)
                found[key] = sample.value
    return found


def requests(monitor: Monitor) -> dict[str, float]:
    """Return {endpoint: requests}."""
    return {key[1]: n for key, n in samples(monitor).items() if key[0] == "ml_requests_total"}
