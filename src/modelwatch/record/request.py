"""The request that is being answered: its id, and what the model said in it. Found again by a context variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from modelwatch.record.monitor import Monitor


class Request:
    """One request. `with monitor.request("/predict") as request:` times it and counts it when the block ends.

    Attributes
    ----------
    id : 128 random bits as text, unguessable; hand it to the client for feedback.
    """

    __slots__ = (
        "_id", "_outer", "_token", "claimed", "confidence", "endpoint", "error", "features", "input", "monitor", "prediction",
        "segment", "start",
    )  # fmt: skip

    def __init__(self, monitor: Monitor | None, endpoint: Any = None, segment: Any = None) -> None:
        self.monitor, self.endpoint, self.segment = monitor, endpoint, segment
        self.prediction: Any = None
        self.confidence: Any = None
        self.features: Any = None
        self.input: Any = None
        self.error: str | None = None
        self.claimed = False  # an inner instrumentation of the same request has given its name
        self._id: str | None = None
        self._outer: Request | None = None
        self.start = perf_counter()

    @property
    def id(self) -> str:
        """The request id, made when it is first asked for."""
        if self._id is None:
            self._id = os.urandom(16).hex()
        return self._id

    def predicted(
        self, label: Any, confidence: Any = None, features: Mapping[str, Any] | None = None, input: Any = None  # noqa: A002 - the contract
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
        for name in ("segment", "prediction", "confidence", "features", "input"):
            value = getattr(other, name)
            if value is not None:
                setattr(self, name, value)

    def event(self, duration: float, error: str | None) -> tuple[Any, ...]:
        """Return what is recorded, in the order of `events.Prediction`."""
        return (self.endpoint, duration, error, self.segment, self.prediction, self.confidence, self.features)

    def __enter__(self) -> Request:
        monitor = self.monitor
        if monitor is not None:
            self._outer = current.get()
            monitor.recorder.busy.append(None)
        self._token = current.set(self)
        self.start = perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        duration = perf_counter() - self.start
        try:
            current.reset(self._token)
        except ValueError:  # closed in another context, as a generator may be
            current.set(self._outer)
        if self.monitor is not None:
            self.monitor.finish(self, duration, None if kind is None else kind.__name__, self._outer)


#: The request of this context: opened by a middleware or a `with` block, or made by `current_request`.
current: ContextVar[Request | None] = ContextVar("modelwatch_request", default=None)


def current_request() -> Request:
    """Return the request being answered here, to read its id or to add prediction, features and segment by hand.

    Outside of a watched endpoint the returned request is counted nowhere.
    """
    request = current.get()
    if request is None:
        request = Request(None)
        current.set(request)
    return request


def detached(features: Any) -> Any:
    """Return a copy of a dict, which the service may change after the call; anything else is judged when it is folded."""
    return dict.copy(features) if issubclass(type(features), dict) else features
