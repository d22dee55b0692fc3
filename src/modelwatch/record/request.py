"""The request that is being answered: its id, and what the model said in it. Found again by a context variable."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any

from modelwatch.labels import name_of

if TYPE_CHECKING:
    from types import TracebackType

    from modelwatch.record.monitor import Monitor


signing: list[Callable[[str], str]] = []  # how the reviews of this process hand out the id of a request
_ids: list[str] = []  # a system call for each would be a good part of a request's cost
IDS = 64
OWN_ID = re.compile(r"[0-9a-f]{32}")


def _new_id() -> str:
    """Return 128 bits from the system's random source, as text."""
    try:
        return _ids.pop()
    except IndexError:
        digits = os.urandom(16 * IDS).hex()
        _ids.extend(digits[at : at + 32] for at in range(32, len(digits), 32))
        return digits[:32]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.clear)  # else parent and child would hand out the same ones


class Request:
    """One request. `with monitor.request("/predict") as request:` times it and counts it when the block ends.

    Attributes
    ----------
    id : 128 random bits as text, unguessable, and signed where there is a store; hand it to the client for feedback.
    """

    __slots__ = (
        "_handed", "_id", "_outer", "_token", "claimed", "confidence", "endpoint", "error", "features", "input",
        "monitor", "prediction", "segment", "start",
    )  # fmt: skip
    prediction: Any
    confidence: Any
    features: Any
    input: Any
    error: str | None
    _id: str | None
    _handed: str | None
    _outer: Request | Place | None

    def __init__(self, monitor: Monitor | None, endpoint: Any = None, segment: Any = None) -> None:
        self.monitor, self.endpoint, self.segment = monitor, endpoint, segment
        self.prediction = self.confidence = self.features = self.input = self.error = None
        self._id = self._handed = self._outer = None
        self.claimed = False  # an inner instrumentation of the same request has given its name
        self.start = perf_counter()

    @property
    def id(self) -> str:
        """The request id as it is handed out, made when it is first asked for.

        It is signed where predictions are kept for review.
        """
        if self._handed is None:
            review = None if self.monitor is None else self.monitor.review
            sign = review.sign if review is not None else signing[-1] if signing and self.monitor is None else None
            own = self.own_id()
            self._handed = own if sign is None else sign(own)
        return self._handed

    def own_id(self) -> str:
        """Return the id without a signature, for those who hand it to nobody."""
        if self._id is None:
            self._id = _new_id()
        return self._id

    def use_id(self, own: str) -> None:
        """Take an id instead of a random one, unless it has one already: for who replays requests.

        own : 32 hexadecimal digits, lower case. Who gives them sees to it that no two requests have the same.

        Raises
        ------
        ValueError   it is none.
        """
        if OWN_ID.fullmatch(own) is None:
            raise ValueError("request id: expected 32 hexadecimal digits")
        if self._id is None:
            self._id = own

    def predicted(
        self,
        label: Any,
        confidence: Any = None,
        features: Mapping[str, Any] | None = None,
        input: Any = None,  # noqa: A002 - the contract
    ) -> None:
        """Say what the model answered.

        Parameters
        ----------
        label : predicted class, or value of a regression.
        confidence : 0 to 1.
        features : {feature name: value} of the model's input.
        input : what a reviewer is shown, text or JSON; kept only when the request is sampled for review.
        """
        self.prediction = label
        if confidence is not None:
            self.confidence = confidence
        if features is not None:
            self.features = detached(features)
        if input is not None:
            self.input = input

    def take(self, other: Request) -> None:
        """Take over the name and the answer that an inner instrumentation of the same request has found."""
        self.claimed = True
        if other.endpoint is not None:
            self.endpoint = other.endpoint
        self.error = other.error
        mine = self._id, self._handed
        self.absorb(other)
        if mine[0] is not None:  # it may have been handed out already
            self._id, self._handed = mine

    def absorb(self, other: Request) -> None:
        """Take over what was said to `current_request` during the same call."""
        for name in ("segment", "prediction", "confidence", "features", "input"):
            value = getattr(other, name)
            if value is not None:
                setattr(self, name, value)
        self._id, self._handed = other._id, other._handed

    def event(self, duration: float, error: str | None) -> tuple[Any, ...]:
        """Return what is recorded, in the order of `events.Prediction`."""
        features = self.features  # set by hand, perhaps: the service may go on with its dict
        if features is not None:
            features = detached(features)
        return (self.endpoint, duration, error, self.segment, self.prediction, self.confidence, features)

    def __enter__(self) -> Request:  # noqa: PYI034 - Self is of Python 3.11
        monitor = self.monitor
        if monitor is not None:
            self._outer = current.get()
            monitor.recorder.busy.append(None)
        self._token = current.set(self)
        self.start = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duration = perf_counter() - self.start
        try:
            current.reset(self._token)
        except ValueError:  # closed in another context, as a generator may be
            current.set(self._outer)
        if self.monitor is not None:
            # the reader of a stream had enough: not an error
            failed = None if kind is None or kind is GeneratorExit else name_of(kind)
            self.monitor.finish(self, duration, failed, self._outer)


class Place:
    """Where a watched coroutine finds the request that `current_request` makes: its tasks and threads share the place.

    A context variable that is set in a task or a thread is not seen outside of it.
    """

    monitor = None  # it counts nothing, as a request that `current_request` makes
    request: Request | None = None


#: The request of this context: of a middleware or a `with` block, made by `current_request`, or the place for that.
current: ContextVar[Request | Place | None] = ContextVar("modelwatch_request", default=None)


def current_request() -> Request:
    """Return the request being answered here, to read its id or to add prediction, features and segment by hand.

    Outside of a watched endpoint the returned request is counted nowhere.
    """
    found = current.get()
    if type(found) is Place:
        if found.request is None:
            found.request = Request(None)
        return found.request
    if found is None:
        found = Request(None)
        current.set(found)
    return found  # type: ignore[return-value]  # no place


def detached(features: Any) -> Any:
    """Return a copy of a dict, which the service may change; anything else is judged when it is folded."""
    kind = type(features)
    if kind is dict:
        return features.copy()
    if issubclass(kind, dict):
        try:
            return dict(dict.items(features))  # not by its own methods
        except Exception:  # noqa: BLE001 - a key's own code
            return features
    return features
