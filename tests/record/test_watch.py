"""Watched functions of every kind: timed to the end of their work, counted once, and never changed by being watched."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
import time

import pytest

from counting import total
from modelwatch import Monitor, current_request
from modelwatch.events import CANCELLED

WORK_S = 0.05


@pytest.fixture
def monitor(tmp_path):
    """A monitor with a live.db of its own."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    yield monitor
    monitor.close()


def page(monitor):
    """Return the page after everything is stored."""
    assert monitor.flush(10)
    return monitor.metrics()


def counts(monitor, endpoint="/p"):
    """Return (requests, failed, cancelled, durations, in progress)."""
    text = page(monitor)
    names = (
        "ml_requests_total",
        "ml_requests_failed_total",
        "ml_requests_cancelled_total",
        "ml_request_duration_seconds_count",
    )
    return (*[int(total(text, name, endpoint=endpoint)) for name in names], len(monitor.recorder.busy))


def seconds(monitor, endpoint="/p"):
    """Return the sum of the durations."""
    return total(monitor.metrics(), "ml_request_duration_seconds_sum", endpoint=endpoint)


def sync(work):
    """Work."""
    time.sleep(work)
    return work


async def coroutine(work):
    """Work, awaiting."""
    await asyncio.sleep(work)
    return work


def generator(work):
    """Work in two parts."""
    for part in range(2):
        time.sleep(work / 2)
        yield part


async def async_generator(work):
    """Work in two parts, awaiting."""
    for part in range(2):
        await asyncio.sleep(work / 2)
        yield part


class Sync:
    """Work as an object."""

    def __call__(self, work):
        """Work."""
        return sync(work)


class Async:
    """Work as an object, awaiting."""

    async def __call__(self, work):
        """Work."""
        return await coroutine(work)


class Generator:
    """Work in parts as an object."""

    def __call__(self, work):
        """Work."""
        yield from generator(work)


class AsyncGenerator:
    """Work in parts as an object, awaiting."""

    async def __call__(self, work):
        """Work."""
        async for part in async_generator(work):
            yield part


KINDS = {
    "sync": sync,
    "coroutine": coroutine,
    "generator": generator,
    "async generator": async_generator,
    "partial": functools.partial(sync),
    "partial of a coroutine": functools.partial(coroutine),
    "callable": Sync(),
    "async callable": Async(),
    "callable generator": Generator(),
    "async callable generator": AsyncGenerator(),
    "function that returns a coroutine": lambda work: coroutine(work),
    "function that returns a generator": lambda work: generator(work),
    "function that returns an async generator": lambda work: async_generator(work),
}


def run(function, *args):
    """Call a function of any kind and do what is left to do."""
    made = function(*args)
    if inspect.isawaitable(made):
        return asyncio.run(_wait(made))
    if inspect.isasyncgen(made):
        return asyncio.run(_collect(made))
    return list(made) if inspect.isgenerator(made) else made


async def _wait(made):
    return await made


async def _collect(made):
    return [item async for item in made]


@pytest.mark.parametrize("kind", KINDS)
def test_times_the_work_and_counts_it_once(monitor, kind):
    """The measured duration is that of the work, the result is untouched, one request is counted (defects d1 to d3)."""
    watched = monitor.endpoint("/p")(KINDS[kind])
    begin = time.perf_counter()
    result = run(watched, WORK_S)
    truth = time.perf_counter() - begin
    assert result == run(KINDS[kind], WORK_S)
    assert counts(monitor) == (1, 0, 0, 1, 0)
    assert WORK_S - 0.001 <= seconds(monitor) <= truth


@pytest.mark.parametrize("kind", KINDS)
def test_is_of_the_same_kind(monitor, kind):
    """Frameworks ask whether a function is async before they call it: watching changes no answer."""
    function, watched = KINDS[kind], monitor.endpoint("/p")(KINDS[kind])
    call = getattr(function, "__call__", None)
    for ask in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        assert ask(watched) == (ask(function) or ask(call))


def failing(kind, error):
    """Return a function of a kind that fails in the middle of its work."""

    def plain():
        time.sleep(WORK_S)
        raise error

    async def coro():
        await asyncio.sleep(WORK_S)
        raise error

    def gen():
        yield 1
        time.sleep(WORK_S)
        raise error

    async def agen():
        yield 1
        await asyncio.sleep(WORK_S)
        raise error

    return {"sync": plain, "coroutine": coro, "generator": gen, "async generator": agen}[kind]


FOUR = ["sync", "coroutine", "generator", "async generator"]


@pytest.mark.parametrize("kind", FOUR)
def test_a_failure_has_a_type_and_a_duration(monitor, kind):
    """A failing call is raised, counted as failed by its type, and its seconds are in the histogram (defects d1, d3, d4)."""
    watched = monitor.endpoint("/p")(failing(kind, ValueError("no")))
    with pytest.raises(ValueError, match="no"):
        run(watched)
    assert counts(monitor) == (1, 1, 0, 1, 0)
    assert total(monitor.metrics(), "ml_errors_total", endpoint="/p", error_type="ValueError") == 1
    assert seconds(monitor) >= WORK_S


@pytest.mark.parametrize("kind", FOUR)
def test_a_cancelled_call_is_no_error_and_has_no_duration(monitor, kind):
    """CancelledError is counted in requests and as cancelled, in no ratio and no histogram (defect d5)."""
    watched = monitor.endpoint("/p")(failing(kind, asyncio.CancelledError()))
    with pytest.raises(asyncio.CancelledError):
        run(watched)
    assert counts(monitor) == (1, 0, 1, 0, 0)
    assert CANCELLED not in str(monitor.metrics())


def test_cancelling_tasks_keeps_the_ledger(monitor):
    """Of many tasks, some cancelled at random moments: started = ok + cancelled, and nothing stays in progress."""
    watched = monitor.endpoint("/p")(coroutine)

    async def main():
        tasks = [asyncio.create_task(watched(0.001 * (i % 7))) for i in range(200)]
        await asyncio.sleep(0.003)
        for task in tasks[::2]:
            task.cancel()
        return [type(result) for result in await asyncio.gather(*tasks, return_exceptions=True)]

    cancelled = asyncio.run(main()).count(asyncio.CancelledError)
    requests, failed, gone, durations, busy = counts(monitor)
    # a task that was cancelled before its first step never began
    assert requests == gone + durations
    assert gone <= cancelled <= gone + 200 - requests
    assert (failed, busy) == (0, 0)
    assert gone > 0


def test_a_stream_whose_reader_had_enough_is_no_error(monitor):
    """A generator that is closed early is a success with a duration; its own clean-up runs."""
    cleaned = []

    @monitor.endpoint("/p")
    def stream():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append("sync")

    @monitor.endpoint("/p")
    async def stream_async():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append("async")

    async def read_one():
        reader = stream_async()
        await anext(reader)
        await reader.aclose()

    reader = stream()
    next(reader)
    reader.close()
    asyncio.run(read_one())
    assert counts(monitor) == (2, 0, 0, 2, 0)
    assert cleaned == ["sync", "async"]


def test_a_coroutine_that_is_closed_is_cancelled(monitor):
    """A coroutine that is closed before its end is like a cancelled one: its answer is awaited by nobody."""

    @monitor.endpoint("/p")
    async def wait():
        await asyncio.sleep(10)

    made = wait()
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_step(made))
    finally:
        loop.close()
    assert counts(monitor) == (1, 0, 1, 0, 0)


async def _step(made):
    made.send(None)
    made.close()


def test_generators_take_what_is_sent_and_thrown(monitor):
    """`send` and `throw` reach the function inside: a watched generator is as good as the bare one."""

    def talk():
        heard = []
        while len(heard) < 2:
            try:
                heard.append((yield "ready"))
            except KeyError as error:
                heard.append(error.args[0])
        return heard

    async def talk_async():
        heard = []
        while len(heard) < 2:
            try:
                heard.append((yield "ready"))
            except KeyError as error:
                heard.append(error.args[0])
        yield heard

    reader = monitor.endpoint("/p")(talk)()
    assert next(reader) == "ready"
    assert reader.send("a") == "ready"
    with pytest.raises(StopIteration) as stop:
        reader.throw(KeyError("b"))
    assert stop.value.value == ["a", "b"]

    async def main():
        reader = monitor.endpoint("/p")(talk_async)()
        assert await anext(reader) == "ready"
        assert await reader.asend("a") == "ready"
        assert await reader.athrow(KeyError("b")) == ["a", "b"]
        assert [item async for item in reader] == []

        manager = contextlib.asynccontextmanager(monitor.endpoint("/p")(swallow))
        async with manager():
            raise ValueError

    async def swallow():
        try:
            yield
        except ValueError:
            pass

    asyncio.run(main())
    assert counts(monitor) == (3, 0, 0, 3, 0)


def test_methods_of_every_kind(monitor):
    """Methods keep their instance, static methods have none, class methods their class; in either order of decorators."""

    class Model:
        @monitor.endpoint("/p")
        def method(self, x):
            return self, x

        @monitor.endpoint("/p")
        @staticmethod
        def outside(x):
            return x

        @staticmethod
        @monitor.endpoint("/p")
        def inside(x):
            return x

        @monitor.endpoint("/p")
        @classmethod
        def of_class(cls, x):
            return cls, x

    model = Model()
    assert model.method(1) == (model, 1)
    assert (model.outside(2), model.inside(3), Model.outside(4)) == (2, 3, 4)
    assert model.of_class(5) == (Model, 5)
    assert counts(monitor) == (5, 0, 0, 5, 0)


def test_keeps_name_and_signature(monitor):
    """What a framework reads from a function is still there."""

    def predict(text: str, *, top: int = 3) -> dict:
        """Answer."""

    watched = monitor.endpoint("/p")(predict)
    assert (watched.__name__, watched.__doc__) == ("predict", "Answer.")
    assert inspect.signature(watched) == inspect.signature(predict)


def test_two_decorators_count_once_and_the_inner_name_wins(monitor):
    """A function that is watched already is not watched again."""
    watched = monitor.endpoint("/outer")(monitor.endpoint("/inner")(sync))
    watched(0)
    assert counts(monitor, "/inner") == (1, 0, 0, 1, 0)
    assert counts(monitor, "/outer") == (0, 0, 0, 0, 0)


def test_an_endpoint_that_calls_another_counts_both(monitor):
    """Two endpoints are two requests, sync and async, each with its own answer."""

    @monitor.endpoint("/inner", extract=str)
    def inner(label):
        return label

    @monitor.endpoint("/outer", extract=str)
    def outer():
        return "out" + inner("in")

    @monitor.endpoint("/outer", extract=str)
    async def outer_async():
        current_request().segment = "s"
        inner("in")
        return await inner_async()

    @monitor.endpoint("/inner")
    async def inner_async():
        current_request().predicted("in")
        return "outin"

    outer()
    asyncio.run(outer_async())
    text = page(monitor)
    assert [total(text, "ml_requests_total", endpoint=path) for path in ("/outer", "/inner")] == [2, 3]
    assert [total(text, "ml_predictions_by_class_total", predicted_class=name) for name in ("outin", "in")] == [2, 3]
    assert total(text, "ml_requests_by_segment_total", segment="s") == 1


def test_in_progress_is_seen_while_it_lasts(monitor):
    """Fifty coroutines in flight are fifty in progress (defect d1)."""
    watched = monitor.endpoint("/p")(coroutine)

    async def main():
        tasks = [asyncio.create_task(watched(0.05)) for _ in range(50)]
        await asyncio.sleep(0.01)
        seen = len(monitor.recorder.busy)
        await asyncio.gather(*tasks)
        return seen

    assert asyncio.run(main()) == 50
    assert len(monitor.recorder.busy) == 0


def test_a_step_of_the_wall_clock_bends_no_duration(monitor, monkeypatch):
    """Durations are of the monotonic clock: a wall clock set back by ten minutes in a request changes nothing (defect d6)."""
    real = time.time
    watched = monitor.endpoint("/p")(lambda: monkeypatch.setattr(time, "time", lambda: real() - 600))
    watched()
    monkeypatch.undo()
    assert counts(monitor) == (1, 0, 0, 1, 0)
    assert 0 <= seconds(monitor) < 1


# -- what a call says ------------------------------------------------------------------------------------------------------


def predicted(monitor, name):
    """Return how often a class was predicted."""
    return total(page(monitor), "ml_predictions_by_class_total", predicted_class=name)


@pytest.mark.parametrize(
    "extract",
    [
        None,
        lambda found: (found["label"], found["confidence"]),
        lambda found: found["label"],
        lambda found: (found["label"],),
        lambda found: {"label": found["label"], "confidence": found["confidence"]},
        lambda found: {"prediction": found["label"]},
    ],
)
def test_the_label_is_read_from_the_result(monitor, extract):
    """A dict is read by itself; an extractor may return a label, a tuple or a mapping. A text is one label."""
    watched = monitor.endpoint("/p", extract=extract)(lambda: {"label": "good", "confidence": 0.9})
    watched()
    assert predicted(monitor, "good") == 1


def test_features_and_segment_are_read_from_the_arguments(monitor):
    """Extractors get the function's own arguments; a constant segment is a segment."""

    @monitor.endpoint("/p", features=lambda text, n=1: {"length": len(text)}, segment=lambda text, n=1: text[:1])
    def predict(text, n=1):
        return n

    @monitor.endpoint("/p", segment="all")
    async def predict_async(text):
        return text

    predict("abc", n=2)
    asyncio.run(predict_async("x"))
    text = page(monitor)
    assert total(text, "ml_requests_by_segment_total", segment="a") == 1
    assert total(text, "ml_requests_by_segment_total", segment="all") == 1
    assert (
        total(text, "modelwatch_values_refused_total", where="feature", kind="unknown") == 1
    )  # a name it was not told of


def raising(*_, **__):
    """Raise, as an extractor with a mistake."""
    raise RuntimeError("mine")


@pytest.mark.parametrize("extractor", ["extract", "features", "segment"])
def test_an_extractor_that_raises_costs_only_what_it_reads(monitor, extractor):
    """The call returns, is counted as a success, and the fault of the extractor is counted once."""
    watched = monitor.endpoint("/p", **{extractor: raising})(lambda: {"label": "good"})
    assert watched() == {"label": "good"}
    assert counts(monitor) == (1, 0, 0, 1, 0)
    assert total(page(monitor), "modelwatch_internal_errors_total", where="extract") == 1


def test_current_request_inside(monitor):
    """What is said to `current_request` belongs to the call around it, sync, async, generator and in threads."""

    def say(label):
        current_request().predicted(label)

    @monitor.endpoint("/p")
    def sync_one():
        say("sync")

    @monitor.endpoint("/p")
    async def async_one():
        say("async")

    @monitor.endpoint("/p")
    async def thread_one():
        await asyncio.to_thread(say, "thread")

    @monitor.endpoint("/p")
    async def task_one():
        await asyncio.gather(asyncio.create_task(_say_later("task")))

    async def _say_later(label):
        await asyncio.sleep(0)
        say(label)

    @monitor.endpoint("/p")
    def generator_one():
        yield 1
        say("generator")

    @monitor.endpoint("/p")
    async def async_generator_one():
        yield 1
        say("async generator")

    @monitor.endpoint("/p")
    def failing_one():
        say("failing")
        raise ValueError

    for function in (sync_one, async_one, thread_one, task_one, generator_one, async_generator_one):
        run(function)
    with pytest.raises(ValueError):
        failing_one()
    text = page(monitor)
    for label in ("sync", "async", "thread", "task", "generator", "async generator", "failing"):
        assert total(text, "ml_predictions_by_class_total", predicted_class=label) == 1, label
    assert total(text, "ml_requests_total", endpoint="/p") == 7


def test_current_request_of_concurrent_calls_is_their_own(monitor):
    """Two requests at the same time, in threads or tasks, never share what they say."""

    @monitor.endpoint("/p")
    def in_thread(name):
        current_request().segment = name
        time.sleep(0.001)
        current_request().predicted(name)

    @monitor.endpoint("/p")
    async def in_task(name):
        current_request().segment = name
        await asyncio.sleep(0.001)
        current_request().predicted(name)

    threads = [threading.Thread(target=in_thread, args=(f"t{i}",)) for i in range(20)]
    for thread in threads:
        thread.start()

    async def main():
        await asyncio.gather(*[in_task(f"a{i}") for i in range(20)])

    asyncio.run(main())
    for thread in threads:
        thread.join()
    text = page(monitor)
    for name in [f"{kind}{i}" for kind in "ta" for i in range(20)]:
        assert total(text, "ml_predictions_by_class_total", predicted_class=name) == 1
        assert total(text, "ml_requests_by_segment_total", segment=name) == 1


def test_current_request_leaves_nothing_behind(monitor):
    """After a call the next one begins without what the last one said; the id stays the same within a call only."""
    ids = []

    @monitor.endpoint("/p")
    def say(label):
        ids.append((current_request().id, current_request().id))
        if label:
            current_request().predicted(label)

    say("once")
    say(None)
    assert predicted(monitor, "once") == 1
    assert ids[0][0] == ids[0][1] != ids[1][0]
    assert len(ids[0][0]) == 32


def test_a_dict_that_is_used_again_changes_no_count(tmp_path):
    """Features are what they were when they were said, whatever the service does with its dict afterwards."""
    from modelwatch.schema import ModelSchema

    schema = ModelSchema(numeric={"x": ((0.0, 10.0), (0.0, 10.0))})
    monitor = Monitor("m", "1", schema, live=tmp_path / "live.db")
    row = {"x": 5.0}
    monitor.record("/p", features=row)
    with monitor.request("/p") as request:
        request.predicted("a", features=row)
        row["x"] = 20.0
    row["x"] = 5.0
    with monitor.request("/p") as request:
        request.features = row
    monitor.endpoint("/p", features=lambda: row)(lambda: 1)()
    monitor.endpoint("/p")(lambda: {"label": "a", "features": row})()
    row["x"] = 99.0
    text = page(monitor)
    assert total(text, "ml_feature_value_bucket", feature_name="x", le="10.0") == 5
    assert total(text, "ml_feature_value_bucket", feature_name="x", le="+Inf") == 5
    monitor.close()
