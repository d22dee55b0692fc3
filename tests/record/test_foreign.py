"""The host's own metrics on the same page: without our names, and each failing alone."""

from __future__ import annotations

import importlib.util
import subprocess
import threading
from types import SimpleNamespace

import pytest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    Info,
    Summary,
    disable_created_metrics,
    enable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as reference_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from counting import total
from modelwatch import Monitor, names
from modelwatch.record.foreign import render
from support import require

DOTS = importlib.util.find_spec("prometheus_client.validation") is not None  # names with dots, since 0.22


class Collects:
    """A collector that yields what it was given, and raises what of it is an error."""

    def __init__(self, *families):
        self.families = families

    def collect(self):
        """Yield them."""
        for family in self.families:
            if isinstance(family, BaseException):
                raise family
            yield family


class NoList:
    """A collector that returns something else than families."""

    def __init__(self, answer):
        self.collect = lambda: answer


def registry_of(*collectors):
    """Return a registry with a gauge of the host's and these collectors behind it."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    Gauge("host_after", "Comes last.", registry=registry).set(5)
    return registry


def rendered(registry, *, openmetrics=False):
    """Return (the text, who was reported)."""
    errors = []
    page = render(registry, openmetrics=openmetrics, on_error=lambda who, error: errors.append((who, error)))
    assert all(isinstance(error, Exception) for _, error in errors)
    return page.decode(), [who for who, _ in errors]


@pytest.fixture
def host_registry():
    """A registry with every kind of metric, without the time of its making."""
    disable_created_metrics()
    registry = CollectorRegistry()
    Counter("host_jobs", 'Jobs "done" \\ n\nand more.', ["queue"], registry=registry).labels('a"\\\n{}%d').inc(3)
    Gauge("host_temperature", "Degrees.", registry=registry).set(float("nan"))
    Histogram("host_size", "Bytes.", registry=registry, buckets=(1, 2)).observe(1.5)
    Summary("host_wait", "Seconds.", registry=registry).observe(0.25)
    Info("host_build", "Of the host.", registry=registry).info({"commit": "abc"})
    Enum("host_state", "Of the host.", states=["on", "off"], registry=registry).state("off")
    yield registry
    enable_created_metrics()


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_family_is_shown_as_the_library_shows_it(host_registry, openmetrics):
    """Each kind of metric, sample by sample; without the end mark, which comes after our own."""
    text, errors = rendered(host_registry, openmetrics=openmetrics)
    parse = parse_openmetrics if openmetrics else parse_text
    expected = reference_openmetrics(host_registry).decode()
    found = {
        (s.name, *s.labels.items()): repr(s.value) for f in parse(text + "# EOF\n" * openmetrics) for s in f.samples
    }
    wanted = {(s.name, *s.labels.items()): repr(s.value) for f in parse_openmetrics(expected) for s in f.samples}
    assert found == wanted
    assert "# EOF" not in text
    assert errors == []


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize(
    "metric", [m for m in vars(names).values() if isinstance(m, names.Metric)], ids=lambda m: m.name
)  # fmt: skip
def test_families_of_our_names_are_left_out(metric, openmetrics):
    """As a counter with or without its ending, a gauge, a histogram, or hidden as a sample of another family."""
    base = metric.name.removesuffix("_total")
    hidden = GaugeMetricFamily("innocent", "Not quite.")
    hidden.add_sample(metric.name, {}, 1.0)
    for collector in (
        Counter(base, "Theirs.", registry=None), Gauge(metric.name, "Theirs.", registry=None), Gauge(base, "Theirs.", registry=None),
        Histogram(base, "Theirs.", registry=None), Gauge(f"{base}_count", "Theirs.", registry=None), Collects(hidden),
        *([Collects(GaugeMetricFamily(base.replace("_", "."), "Shown as ours.", value=1))] if DOTS else []),
    ):  # fmt: skip
        text, errors = rendered(registry_of(collector), openmetrics=openmetrics)
        assert "host_after 5.0" in text
        assert base not in text
        assert errors == []


def family(**changes):
    """Return something like a family, wrong in one thing."""
    made = GaugeMetricFamily("garbage", "Wrong.", labels=["l"])
    made.add_metric(["v"], 1.0)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def sample(**changes):
    """Return a family with one wrong sample."""
    made = family()
    made.samples = [made.samples[0]._replace(**changes)]
    return made


GARBAGE = {
    "none": lambda: None, "number": lambda: 7, "text": lambda: "text", "object": object, "no samples": lambda: SimpleNamespace(name="x"),
    "name none": lambda: family(name=None), "name bytes": lambda: family(name=b"x"), "name list": lambda: family(name=[]),
    "type": lambda: family(type="garbage"), "type none": lambda: family(type=None), "help none": lambda: family(documentation=None),
    "samples none": lambda: family(samples=None), "samples text": lambda: family(samples=["x"]), "value": lambda: sample(value="x"),
    "value none": lambda: sample(value=object()), "label number": lambda: sample(labels={"l": 7}), "label none": lambda: sample(labels={"l": None}),
    "surrogate": lambda: sample(labels={"l": "\ud800"}), "surrogate help": lambda: family(documentation="\ud800"),
    "sample name": lambda: sample(name=None), "time": lambda: sample(timestamp="x"),
}  # fmt: skip


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_costs_only_itself(name, openmetrics):
    """A family that is none is left out and reported once; the ones before and after it are shown, by the same collector, too."""
    good = [GaugeMetricFamily(f"good_{i}", "Right.", value=i) for i in range(2)]
    text, errors = rendered(registry_of(Collects(good[0], GARBAGE[name](), good[1])), openmetrics=openmetrics)
    if name == "time" and openmetrics:
        return  # the client writes whatever the time is
    assert errors == ["Collects"]
    assert "garbage" not in text
    assert all(line in text for line in ("good_0 0.0", "good_1 1.0", "host_after 5.0"))


class Rude(Exception):
    """An error that cannot be shown."""

    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize("error", [ValueError("x"), Rude(), RecursionError(), MemoryError(), StopAsyncIteration()])
def test_a_collector_that_raises_costs_only_itself(error):
    """Also in the middle of its families."""
    registry = registry_of()
    registry.register(Collects())
    for raising in (Collects(error), Collects(GaugeMetricFamily("half", "Shown?", value=1), error)):
        broken = registry_of()
        broken._collector_to_names = {raising: [], **broken._collector_to_names}
        text, errors = rendered(broken)
        assert errors == ["Collects"]
        assert "host_after 5.0" in text
        assert "half" not in text


@pytest.mark.parametrize("answer", [None, 7, "text", [None], {"a": 1}])
def test_a_collector_that_returns_no_families(answer):
    """Nothing that can be gone through, or things that are no families."""
    broken = registry_of()
    broken._collector_to_names = {NoList(answer): ["named_in_the_registry"], **broken._collector_to_names}
    text, errors = rendered(broken)
    assert set(errors) == {"named_in_the_registry"}
    assert "host_after 5.0" in text


def test_a_name_stands_once():
    """The second family of a name, which would cost Prometheus the whole page, is left out and reported."""
    twice = [Collects(GaugeMetricFamily("twice", "Same.", value=value)) for value in (1, 2)]
    broken = registry_of()
    broken._collector_to_names = {**dict.fromkeys(twice, ()), **broken._collector_to_names}
    text, errors = rendered(broken)
    assert text.count("# TYPE twice gauge") == 1
    assert "twice 1.0" in text
    assert errors == ["Collects"]


def test_collectors_of_one_process_are_left_out():
    """What prometheus_client tells of its own process is not the host's: any worker may answer."""
    registry = registry_of(ProcessCollector(registry=None), PlatformCollector(registry=None))
    GCCollector(registry)
    text, errors = rendered(registry)
    assert [line for line in text.splitlines() if not line.startswith("#")] == ["host_after 5.0"]
    assert errors == []


def test_an_empty_or_foreign_registry():
    """A registry without metrics, or one of another kind, gives nothing."""
    assert rendered(CollectorRegistry()) == ("", [])
    assert rendered(SimpleNamespace(collect=list)) == ("", [])


def test_metrics_may_come_while_a_page_is_made():
    """The host registers metrics in another thread: no page fails."""
    registry, done = CollectorRegistry(), threading.Event()

    def register():
        for i in range(2000):
            Gauge(f"g{i}", "One of many.", registry=registry)
        done.set()

    thread = threading.Thread(target=register)
    thread.start()
    pages = 0
    while not done.is_set() or not pages:
        assert rendered(registry)[1] == []
        pages += 1
    thread.join()
    assert rendered(registry)[0].count("# TYPE") == 2000


def test_failures_are_on_the_page(tmp_path):
    """The page tells which collector failed how often; hostile names do no harm; the whole page is accepted."""
    monitor = Monitor("m", "1", live=tmp_path / "live.db")
    try:
        hidden = CounterMetricFamily("ml_requests", "Theirs.", value=77)
        registry = registry_of(Collects(hidden))
        registry._collector_to_names[Collects(None)] = ["\ud800{}\n"]
        registry._collector_to_names[Collects(ValueError())] = ["named", "named_total"]
        monitor.record("/p")
        assert monitor.flush(5)
        for n in range(1, 4):
            page = monitor.metrics(registry=registry)
        assert total(page, "modelwatch_collector_errors_total", family="named") == n
        assert total(page, "modelwatch_collector_errors_total", family="?{}\n") == n
        assert total(page, "ml_requests_total") == 1
        assert total(page, "host_after") == 5
        done = subprocess.run([require("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        families = list(parse_openmetrics(monitor.metrics(registry=registry, openmetrics=True).decode()))
        assert "host_after" in [f.name for f in families]
    finally:
        monitor.close()
