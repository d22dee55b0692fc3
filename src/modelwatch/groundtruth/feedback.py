"""Feedback over HTTP, whatever the framework: a request's bytes in, a status and the answer's JSON out."""

from __future__ import annotations

import hmac
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from modelwatch.errors import ModelwatchError, UnknownLabel

if TYPE_CHECKING:
    from modelwatch.record.monitor import Monitor

TOKEN = "MODELWATCH_FEEDBACK_TOKEN"  # noqa: S105 - the name of a variable
MOST_BYTES = 65_536
LONGEST_REVIEWER = 128
RATE = 100.0  # labels a second of one client
CLIENTS = 10_000  # remembered; about 2 MB
BURST_S = 1.0


class Answer(NamedTuple):
    """What is answered: an HTTP status, and JSON."""

    status: int
    content: dict[str, Any]


def refusal(status: int, code: str, message: str, **more: Any) -> Answer:
    """Return the one form of an error."""
    return Answer(status, {**more, "error": {"code": code, "message": message}})


class _Refused(Exception):
    """Ends the reading of a request with an answer."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.answer = refusal(status, code, message, **more)


class Limiter:
    """Lets each client through `rate` times a second, with a second's worth at once: a token bucket.

    Parameters
    ----------
    rate : times a second.
    clock : monotonic seconds; tests pass their own.
    """

    def __init__(self, rate: float = RATE, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self._clock = rate, clock
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> (what is left, as of)

    def allows(self, client: str) -> bool:
        """Take one from the client's bucket; False when it is empty."""
        now, full = self._clock(), max(1.0, self.rate * BURST_S)
        with self._lock:
            left, then = self._left.pop(client, (full, now))
            left = min(full, left + (now - then) * self.rate)
            allowed = left >= 1
            self._left[client] = (left - 1 if allowed else left, now)
            if len(self._left) > CLIENTS:
                self._left.popitem(last=False)
        return allowed


class Feedback:
    """Takes labels of one model over HTTP.

    The signed id of the request is what authorises a label; a token can be required besides.

    Parameters
    ----------
    monitor : takes the labels.
    token : required as `Authorization: Bearer …`; by default that of `$MODELWATCH_FEEDBACK_TOKEN`, if it is set.
    rate : labels a second of one client.
    """

    def __init__(self, monitor: Monitor, token: str | None = None, rate: float = RATE) -> None:
        self._monitor = monitor
        self._token = token if token is not None else os.environ.get(TOKEN) or None
        self._limiter = Limiter(rate)

    def answer(self, body: bytes, query: str = "", authorization: str = "", client: str = "") -> Answer:
        """Take the label that a POST request brings. Waits until it is durable, so never call it on an event loop.

        Parameters
        ----------
        body : JSON `{"request_id", "true_label", "reviewer"?}`, at most 64 KiB; or empty, with both in the query.
        query : the query string.
        authorization : the header of this name.
        client : whom the rate limit is for: an address.
        """
        try:
            if self._monitor.review is None:
                raise _Refused(503, "no_store", "This service has no store for labels. Send it again once it has one.")
            self._admit(authorization, client)
            if len(body) > MOST_BYTES:
                raise _Refused(413, "too_large", f"The body is over {MOST_BYTES} bytes; send one label a request.")
            request_id, label, reviewer = _read(body, query)
            return self._label(request_id, label, reviewer)
        except _Refused as refused:
            return refused.answer

    def is_stuck(self) -> bool:
        """Tell whether the store did not take what it was given last."""
        review = self._monitor.review
        return review is not None and review.writer.kept is False

    def _admit(self, authorization: str, client: str) -> None:
        if self._token is not None:
            kind, _, given = authorization.partition(" ")
            if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
                raise _Refused(401, "unauthorized", "Feedback needs a token; send it as Authorization: Bearer TOKEN.")
        if not self._limiter.allows(client):
            raise _Refused(429, "too_many", f"At most {self._limiter.rate:g} labels a second; try again in a second.")

    def _label(self, request_id: str, label: Any, reviewer: str | None) -> Answer:
        try:
            state = self._monitor.label(request_id, label, reviewer=reviewer, trusted=False)
        except UnknownLabel as error:
            raise _Refused(422, "unknown_label", str(error)) from None
        except ModelwatchError:  # its words are of the host, and in its log: not for clients
            raise _Refused(503, "store_unavailable", "The label may not be stored; send it again.") from None
        if state == "unknown_id":
            raise _Refused(404, "unknown_id", "No request of this service has this id.", state=state)
        kept = state in ("matched", "duplicate", "conflict")
        return Answer(200, {"status": "recorded" if kept else "ignored", "state": state})


def _read(body: bytes, query: str) -> tuple[str, Any, str | None]:
    """Return (request id, label, reviewer)."""
    given: Any
    if body.strip():
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise _Refused(
                400, "bad_json", "The body is no JSON; send an object with request_id and true_label."
            ) from None
    else:
        try:
            given = {name: values[0] for name, values in parse_qs(query, max_num_fields=20).items()}
        except ValueError:
            given = None
    if not isinstance(given, dict) or not isinstance(given.get("request_id"), str) or given.get("true_label") is None:
        raise _Refused(400, "bad_request", "request_id and true_label are needed: a text, and the right answer.")
    reviewer = given.get("reviewer")
    if reviewer is not None and not (isinstance(reviewer, str) and len(reviewer) <= LONGEST_REVIEWER):
        raise _Refused(400, "bad_request", f"reviewer is a text of at most {LONGEST_REVIEWER} characters.")
    return given["request_id"], given["true_label"], reviewer
