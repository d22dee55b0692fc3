"""Times a function: sync, async, generator or async generator. A successful call costs one float in a deque."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import aclosing
from contextvars import Token
from time import perf_counter
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeVar

from modelwatch.events import CANCELLED
from modelwatch.labels import name_of
from modelwatch.record.request import Place, Request, current, detached

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

    def succeeded(
        self, start: float, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any], place: Place | None = None
    ) -> None:
        """Record a call that returned something to read, or that has a request of its own or around it."""
        duration = perf_counter() - start
        request = Request(self.monitor, self.endpoint)
        try:
            self._read(request, result, args, kwargs)
        except Exception as error:  # noqa: BLE001 - an extractor of the user's: the call itself was right
            self.monitor.recorder.faults.add("extract", error, ours=False)
        self._finish(request, start, duration, None, place)

    def failed(self, start: float, error: str, place: Place | None = None) -> None:
        """Record a call that raised."""
        self._finish(Request(self.monitor, self.endpoint), start, perf_counter() - start, error, place)

    def _read(self, request: Request, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.segment is not None:
            request.segment = self.segment(*args, **kwargs) if callable(self.segment) else self.segment
        if self.features is not None:
            request.features = detached(self.features(*args, **kwargs))
        if self.extract is not None:
            found = self.extract(result)
            if isinstance(found, Mapping):
                label, confidence, features = from_mapping(found)
            else:  # a text is one label, not a row of characters
                label, confidence, features = (*(found if isinstance(found, tuple) else (found,)), None, None)[:3]
        elif type(result) is dict:
            label, confidence, features = from_mapping(result)
        else:
            return
        request.prediction, request.confidence = label, confidence
        if features is not None and request.features is None:
            request.features = detached(features)

    def _finish(self, request: Request, start: float, duration: float, error: str | None, place: Place | None) -> None:
        around, made = current.get(), None
        if place is not None:
            made = place.request
        elif type(around) is Place:  # of a watched coroutine around this call
            if around.request is not None and around.request.start >= start:
                made, around.request = around.request, None
        elif (
            type(around) is Request and around.monitor is None and around.start >= start
        ):  # `current_request` in this call
            made = around
            current.set(None)
        if made is not None:
            request.absorb(made)
        self.monitor.finish(request, duration, error, around)


#: Results that are the work itself, still to be done: a plain callable that returns one is watched until that is done.
UNDONE = {CoroutineType, GeneratorType, AsyncGeneratorType}
READ = frozenset({dict, *UNDONE})  # a dict is read for its label


def watch(endpoint: Watch, function: Function) -> Function:
    """Return `function`, timed. A function that is watched already is returned as it is: the inner name wins."""
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(watch(endpoint, function.__func__))
    if hasattr(function, WATCHED):
        return function
    wrapped = _wrapper(function)(endpoint, function)
    setattr(wrapped, WATCHED, endpoint.endpoint)
    return wrapped  # type: ignore[return-value]  # functools.wraps keeps the signature


def _wrapper(function: Callable[..., Any]) -> Callable[[Watch, Callable[..., Any]], Callable[..., Any]]:
    call = getattr(function, "__call__", None)  # noqa: B004 - of an instance: its method may be async
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(call):
        return _async_generator
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call):
        return _coroutine
    if inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(call):
        return _generator
    return _plain


def _plain(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    recorder, plain, seconds = watch.monitor.recorder, watch.plain, watch.seconds
    busy, get, full = recorder.busy, current.get, recorder.limit
    enter, leave, append = busy.append, busy.pop, seconds.append

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        enter(None)
        start = perf_counter()
        try:
            result = function(*args, **kwargs) if kwargs else function(*args)
        except BaseException as error:
            watch.failed(start, name_of(type(error)))
            raise
        try:
            simple = plain and type(result) not in READ and get() is None
        except Exception:  # noqa: BLE001 - a class without a hash
            simple = get() is None
        if simple:
            append(perf_counter() - start)
            try:
                leave()
            except IndexError:  # forked in the middle of the call
                pass
            if len(seconds) > full:
                watch.monitor.recorder.relieve()
        elif type(result) is not dict and _is_undone(type(result)):
            leave()
            return _watched_until_done(watch, result, args, kwargs)
        else:
            watch.succeeded(start, result, args, kwargs)
        return result

    return watched


# Apart from `_plain`: a variable of it that a lambda or a generator reads would cost each of its calls a cell.
def _is_undone(kind: type) -> bool:
    return any(kind is undone for undone in UNDONE)


def _watched_until_done(watch: Watch, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    wrappers = {CoroutineType: _coroutine, GeneratorType: _generator, AsyncGeneratorType: _async_generator}
    return wrappers[type(result)](watch, lambda *_, **__: result)(*args, **kwargs)


def _coroutine(watch: Watch, function: Callable[..., Any]) -> Callable[..., Any]:
    recorder, plain, seconds = watch.monitor.recorder, watch.plain, watch.seconds
    busy, clock, get, full = recorder.busy, perf_counter, current.get, recorder.limit
    enter, leave, append, put, lift = busy.append, busy.pop, seconds.append, current.set, current.reset

    @functools.wraps(function)
    async def watched(*args: Any, **kwargs: Any) -> Any:
        enter(None)
        around = get()
        place = Place() if around is None or type(around) is Place else None
        token = None if place is None else put(place)
        start = clock()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            _lift(token)
            # closed from outside before its end, as an event loop does when it stops: nobody waits for the answer
            watch.failed(start, CANCELLED if type(error) is GeneratorExit else name_of(type(error)), place)
            raise
        if plain and place is not None and place.request is None and type(result) is not dict:
            append(clock() - start)
            try:
                lift(token)  # type: ignore[arg-type]  # there is a place, so there is a token
            except ValueError:  # ended in another context than it began in
                put(None)
            try:
                leave()
            except IndexError:
                pass
            if len(seconds) > full:
                recorder.relieve()
        else:
            _lift(token)
            watch.succeeded(start, result, args, kwargs, place)
        return result

    return watched


def _lift(token: Token[Any] | None) -> None:
    if token is not None:
        try:
            current.reset(token)
        except ValueError:  # ended in another context than it began in
            current.set(None)


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
            watch.failed(start, name_of(type(error)))
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
        try:
            async with aclosing(function(*args, **kwargs)) as inner:
                step, given = inner.asend, None
                while True:
                    try:
                        item = await step(given)
                    except StopAsyncIteration:
                        break
                    try:
                        given = yield item
                        step = inner.asend
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001 - thrown in: the inner one's to handle
                        given, step = error, inner.athrow
        except GeneratorExit:  # its caller had enough: not an error
            watch.succeeded(start, None, args, kwargs)
            raise
        except BaseException as error:
            watch.failed(start, name_of(type(error)))
            raise
        watch.succeeded(start, None, args, kwargs)

    return watched
