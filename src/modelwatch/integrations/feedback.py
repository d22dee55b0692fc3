"""The routes that take labels: `POST /feedback` for ASGI apps and for Flask."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from modelwatch.groundtruth.feedback import MOST_BYTES, Answer, Feedback, refusal
from modelwatch.integrations.asgi import App, Receive, Scope, Send, respond_json

if TYPE_CHECKING:
    from modelwatch.record.monitor import Monitor

THREADS = 8  # labels that wait for the disk at the same time; they share commits
MOST_WAITING = 500  # requests that wait for a thread, while the store keeps what it is given
PATIENCE_S = 1.0  # so long may one have waited for a thread when the store has stopped taking anything
BUSY = refusal(503, "store_unavailable", "Too many labels wait for the store; send it again in a second.")
_executor: ThreadPoolExecutor | None = None


def _threads() -> ThreadPoolExecutor:
    global _executor  # noqa: PLW0603 - one pool a process
    if _executor is None:
        _executor = ThreadPoolExecutor(THREADS, thread_name_prefix="modelwatch-feedback")
    return _executor


def _forget_threads() -> None:
    global _executor  # noqa: PLW0603 - threads do not survive a fork
    _executor = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


def feedback_app(monitor: Monitor, token: str | None = None) -> App:
    """Return the ASGI app that takes a label, off the event loop.

    token : required as a bearer token; by default that of `$MODELWATCH_FEEDBACK_TOKEN`, if it is set.
    """
    feedback = Feedback(monitor, token)
    waiting = 0

    def answer(since: float, *given: Any) -> Answer:
        if (
            feedback.is_stuck() and time.monotonic() - since > PATIENCE_S
        ):  # else those that wait would add up their waits
            return BUSY
        return feedback.answer(*given)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal waiting
        body = await _body(receive)
        headers = dict(scope["headers"])
        client = (scope.get("client") or ("",))[0]
        if waiting >= (THREADS if feedback.is_stuck() else MOST_WAITING):
            await respond_json(send, BUSY.status, BUSY.content)
            return
        waiting += 1
        try:
            told = await asyncio.get_running_loop().run_in_executor(
                _threads(),
                answer,
                time.monotonic(),
                body,
                scope.get("query_string", b"").decode("latin-1"),
                headers.get(b"authorization", b"").decode("latin-1"),
                client,
            )
        finally:
            waiting -= 1
        await respond_json(send, told.status, told.content)

    return app


async def _body(receive: Receive) -> bytes:
    """Return the body, or as much of it as shows that it is too long."""
    body, more = b"", True
    while more and len(body) <= MOST_BYTES:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body


def feedback_view(monitor: Monitor, token: str | None = None) -> Callable[[], Any]:
    """Return the Flask view that takes a label; as `feedback_app`."""
    from flask import jsonify, request

    feedback = Feedback(monitor, token)

    def view() -> Any:
        body = request.stream.read(MOST_BYTES + 1)
        answer = feedback.answer(
            body,
            request.query_string.decode("latin-1"),
            request.headers.get("authorization", ""),
            request.remote_addr or "",
        )
        return jsonify(answer.content), answer.status

    return view
