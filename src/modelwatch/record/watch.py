"""Times a function: sync, async, generator or async generator. The successful call of a plain function costs one float in a deque."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from modelwatch.record.request import Request, current, detached

if TYPE_CHECKING:
    from modelwatch.record.monitor import Monitor

Function = TypeVar("Function", bound=Callable[..., Any])
WATCHED = "__modelwatch_endpoint__"


def from_mapping(result: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return (prediction, confidence, features) of the default form `{"label": …, "confidence": …}`."""
    get = result.get
    return get("label", get("prediction")), get("confidence"), get("features")


class Watch:
    """What is known of one watched endpoint, and what its calls leave behind."""

    def __init__(
        self,
        monitor: Monitor,
        endpoint: str,
        extract: Callable[[Any], Any] | None,
        features: Callable[..., Mapping[str, Any]] | None,
        segment: Callable[..., Any] | str | None,
    ) -> None:
        self.monitor, self.endpoint = monitor, endpoint
        self.extract, self.features, self.segment = extract, features, segment
        self.plain = extract is None and features is None and segment is None
        self.seconds = monitor.recorder.timer(endpoint)

    def succeeded(self, start: float, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record a call that returned something to read, or that has a request of its own or around it."""
        duration = perf_counter() - start
        request = Request(self.monitor, self.endpoint)
        try:
            self._read(request, result, args, kwargs)
        except Exception as error:  # noqa: BLE001 - an extractor of the user's: the call itself was right
            self.monitor.recorder.faults.add("extract", error, ours=False)
        self._finish(request, start, duration, None)

    def failed(self, start: float, error: BaseException) -> None:
        """Record a call that raised."""
        duration = perf_counter() - start
        self._finish(Request(self.monitor, self.endpoint), start, duration, type(error).__name__)

    def _read(self, request: Request, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.segment is not None:
            request.segment = self.segment(*args, **kwargs) if callable(self.segment) else self.segment
        if self.features is not None:
            request.features = detached(self.features(*args, **kwargs))
        if self.extract is not None:
            found = self.extract(result)
            label, confidence, features = from_mapping(found) if isinstance(found, Mapping) else (*found, None, None)[:3]
        elif type(result) is dict:
            label, confidence, features = from_mapping(result)
        else:
            return
        request.prediction, request.confidence = label, confidence
        if features is not None and request.features is None:
            request.features = detached(features)

    def _finish(self, request: Request, start: float, duration: float, error: str | None) -> None:
        monitor, around = self.monitor, current.get()
        if around is not None and around.monitor is None and around.start >= start:  # made by `current_request` in this call
            current.set(None)
            for name in ("segment", "prediction", "confidence", "features", "input"):
                if (value := getattr(around, name)) is not None:
                    setattr(request, name, value)
            request._id = around._id  # noqa: SLF001 - the same request
            around = None
        monitor.finish(request, duration, error, around)


def watch(watch: Watch, function: Function) -> Function:
    """Return `function`, timed. A function that is watched already is returned as it is: the inner name wins."""
    if hasattr(function, WATCHED):
        return function
    if inspect.isasyncgenfunction(function):
        wrapped = _async_generator(watch, function)
    elif inspect.iscoroutinefunction(function):
        wrapped = _coroutine(watch, function)
    elif inspect.isgeneratorfunction(function):
        wrapped = _generator(watch, function)
    else:
        wrapped = _plain(watch, function)
    setattr(wrapped, WATCHED, watch.endpoint)
    return wrapped  # type: ignore[return-value]  # functools.wraps keeps the signature


def _plain(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    recorder, plain, seconds = watch.monitor.recorder, watch.plain, watch.seconds
    busy, clock, get, full = recorder.busy, perf_counter, current.get, recorder.limit
    enter, leave, append = busy.append, busy.pop, seconds.append

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        enter(None)
        start = clock()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            watch.failed(start, error)
            raise
        if plain and type(result) is not dict and get() is None:
            append(clock() - start)
            try:
                leave()
            except IndexError:  # forked in the middle of the call
                pass
            if len(seconds) > full:
                recorder.relieve()
        else:
            watch.succeeded(start, result, args, kwargs)
        return result

    return watched


def _coroutine(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    recorder, plain, seconds = watch.monitor.recorder, watch.plain, watch.seconds
    busy, clock, get, full = recorder.busy, perf_counter, current.get, recorder.limit
    enter, leave, append = busy.append, busy.pop, seconds.append

    @functools.wraps(function)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        enter(None)
        start = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            watch.failed(start, error)
            raise
        if plain and type(result) is not dict and get() is None:
            append(clock() - start)
            try:
                leave()
            except IndexError:
                pass
            if len(seconds) > full:
                recorder.relieve()
        else:
            watch.succeeded(start, result, args, kwargs)
        return result

    return watched


def _generator(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    enter = watch.monitor.recorder.busy.append

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        enter(None)
        start = perf_counter()
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:  # its caller had enough: not an error
            watch.succeeded(start, None, args, kwargs)
            raise
        except BaseException as error:
            watch.failed(start, error)
            raise
        watch.succeeded(start, result, args, kwargs)
        return result

    return watched


def _async_generator(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    enter = watch.monitor.recorder.busy.append

    @functools.wraps(function)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        enter(None)
        start = perf_counter()
        inner = function(*args, **kwargs)
        try:
            sent = None
            while True:
                try:
                    item = await inner.asend(sent)
                except StopAsyncIteration:
                    break
                sent = yield item
        except GeneratorExit:
            await inner.aclose()
            watch.succeeded(start, None, args, kwargs)
            raise
        except BaseException as error:
            await inner.aclose()
            watch.failed(start, error)
            raise
        watch.succeeded(start, None, args, kwargs)

    return watched
