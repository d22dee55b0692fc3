"""What monitoring adds to one call, and whether a call costs the same at the millionth."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import cycle, islice, repeat
from time import perf_counter_ns
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bench import brief
from bench.harness import (
    Contender,
    Effort,
    Gate,
    Loop,
    Row,
    added,
    awaited,
    best,
    feature_rows,
    missing,
    monitored,
    reference_values,
)
from modelwatch import Monitor

CALLS = 2000  # a round; what waits to be folded then is about what a busy service leaves
EARLY = 250  # calls a round while few have been made
WINDOW = 1000  # of the brief's drift detectors
FLOOR = "two clock calls"
PROMETHEUS = "prometheus_client, bound"
WHOLE = "the brief's whole set"


def trivial(x: int) -> int:
    """What is watched."""
    return x


def measure(effort: Effort) -> list[Row]:
    """Return the rows of the request path and of its constancy."""
    return [*_sync_rows(effort), *_spread(effort), *_other_kinds(effort), *_constancy(effort)]


# -- loops -------------------------------------------------------------------------------------------------------------


def calling(function: Callable[[int], Any]) -> Loop:
    """Return the loop that calls a function."""

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            function(1)

    return loop


def floor_loop(n: int) -> None:
    """Call the trivial function between two readings of the clock."""
    clock, function = perf_counter_ns, trivial
    for _ in repeat(None, n):
        clock()
        function(1)
        clock()


def timed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Time a function and record nothing."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter_ns()
        try:
            return function(*args, **kwargs)
        finally:
            perf_counter_ns() - start

    return wrapper


def recording(monitor: Monitor, rows: list[dict[str, float]] | None, *, clocks: bool = False) -> Contender:
    """Return the loop that records full events beside the trivial function."""
    record, function, clock = monitor.record, trivial, time.perf_counter

    def loop(n: int) -> None:
        for row in islice(cycle(rows or [None]), n):
            function(1)
            record("/predict", duration=0.012, prediction="positive", confidence=0.93, features=row)

    def clocked(n: int) -> None:
        for row in islice(cycle(rows or [None]), n):
            start = clock()
            function(1)
            record("/predict", duration=clock() - start, prediction="positive", confidence=0.93, features=row)

    return Contender(clocked if clocks else loop, monitor.recorder.fold_waiting)


def prometheus_loops() -> tuple[Loop, Loop]:
    """Return loops of prometheus_client with bound children: RED, and with class and confidence besides."""
    registry = CollectorRegistry()
    ours = ("sentiment_classifier", "/predict")
    requests = Counter("requests", "Requests", ["model", "endpoint"], registry=registry).labels(*ours)
    errors = Counter("errors", "Errors", ["model", "endpoint", "kind"], registry=registry)
    of_value = errors.labels(*ours, "ValueError")
    latency = Histogram(
        "latency", "Latency", ["model", "endpoint"], registry=registry, buckets=brief.LATENCY_BUCKETS
    ).labels(*ours)
    busy = Gauge("busy", "In progress", ["model"], registry=registry).labels(ours[0])
    classes = Counter("classes", "Classes", ["model", "label"], registry=registry).labels(ours[0], "positive")
    confidence = Histogram(
        "confidence", "Confidence", ["model"], registry=registry, buckets=brief.CONFIDENCE_BUCKETS
    ).labels(ours[0])

    def watched(x: int) -> int:
        requests.inc()
        busy.inc()
        start = time.perf_counter()
        try:
            result = trivial(x)
            latency.observe(time.perf_counter() - start)
            return result
        except ValueError:
            of_value.inc()
            raise
        finally:
            busy.dec()

    def full(x: int) -> int:
        result = watched(x)
        classes.inc()
        confidence.observe(0.93)
        return result

    return calling(watched), calling(full)


def opentelemetry_loop() -> Loop:
    """Return the loop of an OpenTelemetry counter and histogram."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    meter = MeterProvider([InMemoryMetricReader()]).get_meter("bench")
    requests, latency = meter.create_counter("requests"), meter.create_histogram("latency", unit="s")
    attributes = {"model": "sentiment_classifier", "endpoint": "/predict"}

    def watched(x: int) -> int:
        start = time.perf_counter()
        result = trivial(x)
        requests.add(1, attributes)
        latency.record(time.perf_counter() - start, attributes)
        return result

    return calling(watched)


def brief_loops(features: int) -> tuple[Contender, Contender]:
    """Return the brief's whole set: rounds of whole windows, each with its close; and rounds without a close."""
    whole = brief.WholeSet(trivial, reference_values(features))
    rows = feature_rows(features)

    def loop(n: int) -> None:
        for row in islice(cycle(rows), n):
            whole.request(row)

    def empty() -> None:
        whole.drift.current_window = {name: [] for name in whole.drift.reference_data}
        whole.concept.current_predictions = []
        whole.throughput.request_times.clear()

    return Contender(loop, empty, WINDOW), Contender(loop, empty, WINDOW - 1)


# -- rows --------------------------------------------------------------------------------------------------------------


def _sync_rows(effort: Effort) -> list[Row]:
    no_scipy, no_otel = missing("scipy"), missing("opentelemetry.sdk")
    red_loop, full_loop = prometheus_loops()
    with monitored(10) as monitor, monitored(50) as wide:
        fold = monitor.recorder.fold_waiting
        contenders = {
            "bare": Contender(calling(trivial)),
            FLOOR: Contender(floor_loop),
            "a decorator that records nothing": Contender(calling(timed(trivial))),
            "red": Contender(calling(monitor.endpoint("/predict")(trivial)), fold),
            PROMETHEUS: Contender(red_loop),
            "prometheus full": Contender(full_loop),
            "the brief's decorator": Contender(
                calling(brief.monitor_ml_endpoint("sentiment_classifier", "/x")(trivial))
            ),
            "record": recording(monitor, None),
            "record 10": recording(monitor, feature_rows(10)),
            "record 10 clocked": recording(monitor, feature_rows(10), clocks=True),
            "record 50": recording(wide, feature_rows(50)),
        }
        if not no_otel:
            contenders["OpenTelemetry"] = Contender(opentelemetry_loop())
        found = added(best(contenders, effort.rounds, CALLS), "bare")
    whole = {} if no_scipy else _whole_set(effort)
    return [
        Row("trivial function: the floor", None, FLOOR, found[FLOOR]),
        Row("… in a decorator that records nothing", None, "decorator", found["a decorator that records nothing"]),
        Row("watched function (RED)", found["red"], FLOOR, found[FLOOR], Gate("times the peer", 3)),
        Row("watched function (RED)", found["red"], PROMETHEUS, found[PROMETHEUS], Gate("under the peer", 6)),
        Row("watched function (RED)", found["red"], "the brief's decorator", found["the brief's decorator"]),
        Row("watched function (RED)", found["red"], "OpenTelemetry counter + histogram", found.get("OpenTelemetry"), note=no_otel),
        Row("record(), class and confidence", found["record"], PROMETHEUS, found["prometheus full"]),
        Row("record(), 10 features, copied", found["record 10"], FLOOR, found[FLOOR], Gate("times the peer", 4)),
        Row("record(), 10 features, and the caller's two clock calls", found["record 10 clocked"], FLOOR, found[FLOOR]),
        Row("record(), 10 features, copied", found["record 10"], f"{WHOLE}, its window closings spread", whole.get("with closes"), Gate("under the peer", 100), note=no_scipy),
        Row("record(), 10 features, copied", found["record 10"], f"{WHOLE}, no window closing", whole.get("between"), note=no_scipy),
        Row("record(), 50 features, copied", found["record 50"], FLOOR, found[FLOOR]),
        Row("the request that closes a window, 10 features", None, WHOLE, whole.get("close"), note=no_scipy),
    ]  # fmt: skip


def _whole_set(effort: Effort) -> dict[str, float]:
    with_close, without = brief_loops(10)
    found = added(
        best({"bare": Contender(calling(trivial)), "with closes": with_close, "between": without}, effort.few, WINDOW),
        "bare",
    )
    found["close"] = (found["with closes"] - found["between"]) * WINDOW
    return found


def _spread(effort: Effort) -> list[Row]:
    """Single calls by the wall clock, with the counting thread at work beside them."""
    rows, clock = feature_rows(20), perf_counter_ns

    def nothing(endpoint: str, duration: float, prediction: str, confidence: float, features: dict[str, float]) -> None:
        pass

    def one_by_one(record: Callable[..., None], found: list[int]) -> None:
        for row in islice(cycle(rows), CALLS):
            begin = clock()
            record("/predict", duration=0.012, prediction="positive", confidence=0.93, features=row)
            found.append(clock() - begin)
            time.sleep(0)  # as a service does between two requests: others may run

    ours: list[int] = []
    control: list[int] = []
    with monitored(20) as monitor:
        one_by_one(monitor.record, [])
        for _ in range(effort.rounds):
            one_by_one(monitor.record, ours)
            one_by_one(nothing, control)
            time.sleep(0.05)
    peer, what = "a call that does nothing", "a single record(), class, confidence, 20 features"
    return [
        Row(f"{what}: p{p}", float(np.percentile(ours, p)) * 1e-9, peer, float(np.percentile(control, p)) * 1e-9, gate)
        for p, gate in ((50, Gate("at most", 15e-6)), (99, Gate("at most", 60e-6)), (99.9, None))
    ]


def _other_kinds(effort: Effort) -> list[Row]:
    """Async functions, generators and async generators, against the same with nothing around it."""

    async def coroutine(x: int) -> int:
        return x

    def generator(x: int) -> Iterator[int]:
        yield x

    async def async_generator(x: int) -> AsyncIterator[int]:
        yield x

    def awaiting(function: Callable[[int], Any]) -> Loop:
        async def run(n: int) -> None:
            for _ in repeat(None, n):
                await function(1)

        return awaited(events, run)

    def iterating(function: Callable[[int], Any]) -> Loop:
        def loop(n: int) -> None:
            for _ in repeat(None, n):
                for _item in function(1):
                    pass

        return loop

    def iterating_async(function: Callable[[int], Any]) -> Loop:
        async def run(n: int) -> None:
            for _ in repeat(None, n):
                async for _item in function(1):
                    pass

        return awaited(events, run)

    events = asyncio.new_event_loop()
    kinds: list[tuple[str, Callable[[int], Any], Callable[[Callable[[int], Any]], Loop]]] = [
        ("async function", coroutine, awaiting),
        ("generator of one item", generator, iterating),
        ("async generator of one item", async_generator, iterating_async),
    ]
    rows = []
    with monitored(0) as monitor:
        fold = monitor.recorder.fold_waiting
        contenders = {"bare": Contender(calling(trivial)), FLOOR: Contender(floor_loop)}
        for name, function, looped in kinds:
            contenders[f"bare {name}"] = Contender(looped(function))
            contenders[name] = Contender(looped(monitor.endpoint(f"/{name}")(function)), fold)
        found = best(contenders, effort.rounds, CALLS)
        floor = found[FLOOR] - found["bare"]
        rows = [Row(f"watched {name}", found[name] - found[f"bare {name}"], FLOOR, floor) for name, _, _ in kinds]
    events.close()
    return rows


def _constancy(effort: Effort) -> list[Row]:
    """Return the cost of a call late in a process's life over its cost early on."""
    rows = feature_rows(10)
    with monitored(10) as monitor:
        watched = Contender(calling(monitor.endpoint("/predict")(trivial)), monitor.recorder.fold_waiting)
        contenders = {"watched": watched, "record": recording(monitor, rows)}
        early = best(contenders, effort.few, EARLY)
        for contender in contenders.values():
            for _ in range(1_000_000 // CALLS):
                contender.loop(CALLS)
                contender.settle()
        late = best(contenders, effort.few, EARLY)
    tracker = brief.SLOTracker("sentiment_classifier")
    slo: list[float] = []
    for size in (1000, 20_000):
        have = tracker.measurements["latency_p95"]
        have += [{"value": 0.1, "timestamp": time.time(), "compliant": True} for _ in range(size - len(have))]
        contender = Contender(calling(lambda _: tracker.record_measurement("latency_p95", 0.1)))
        slo.append(best({"slo": contender}, effort.few, 10)["slo"])
    peer = "the brief's SLO tracker, 20 000th call over 1 000th"
    gate = Gate("at most", 1.2)
    return [
        Row("watched function, 1 000 000th call over the first 1 000s", late["watched"] / early["watched"], peer, slo[1] / slo[0], gate, "times"),
        Row("record(), 10 features, 1 000 000th call over the first 1 000s", late["record"] / early["record"], peer, slo[1] / slo[0], gate, "times"),
        Row("one call with 20 000 records before it", late["record"], "the brief's SLO tracker", slo[1]),
    ]  # fmt: skip
