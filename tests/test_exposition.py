"""The page that Prometheus reads: its very text, and what every parser makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from modelwatch import names
from modelwatch.exposition import GaugeValue, Page, Source
from modelwatch.kernel import Kernel
from modelwatch.schema import ModelSchema
from modelwatch.tally import Tally
from support import require

SMALL = ModelSchema(
    latency=(0.1, 0.5), classes=("a",), numeric={"x": ((-1.0, 2.0), (-1.0, 2.0)), "y": ((1.0, 3.0), (3.0,))}
)


def source(events: list[tuple[Any, ...]], schema: ModelSchema = SMALL, version: str = "1") -> Source:
    """Count events."""
    kernel = Kernel(schema)
    kernel.fold(events)
    return Source("m", version, schema, kernel.tally)


EVENTS = [
    ("/p", 0.1, None, "books", "a", 0.65, {"x": -3.0, "y": 2.0}),
    ("/p", 0.25, "ValueError", None, None, None, None),
    ("/p", 9.0, "CancelledError", None, "b", 1.0, {"x": 2.0, "y": 9.0}),
]


@pytest.mark.parametrize("openmetrics", [False, True])
def test_whole_page(golden: Callable[[str, str], None], openmetrics: bool) -> None:
    """The whole text of a small page, in both formats."""
    gauges = [GaugeValue(names.WORKERS, 2), GaugeValue(names.MODEL_INFO, 1, {"model_name": "m", "model_version": "1"})]
    text = Page().render([source(EVENTS)], gauges, openmetrics=openmetrics).decode()
    golden(f"exposition/page.{'openmetrics' if openmetrics else 'text'}", text)


def test_sums_that_can_fall_are_left_out() -> None:
    """With a negative edge there is no _sum, and in OpenMetrics no _count either."""
    plain = Page().render([source(EVENTS)]).decode()
    assert "ml_feature_value_sum" not in plain
    assert "ml_feature_value_count" in plain
    strict = Page().render([source(EVENTS)], openmetrics=True).decode()
    assert "ml_feature_value_count" not in strict
    positive = ModelSchema(numeric={"y": ((1.0, 3.0), (3.0,))})
    assert (
        "ml_feature_value_sum"
        in Page().render([source([("/p", 1, None, None, None, None, {"y": 1})], positive)]).decode()
    )


def values(text: str, parse: Any = parse_text) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample of a page."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_both_formats_say_the_same() -> None:
    """Text and OpenMetrics have the same samples, but those that OpenMetrics forbids."""
    page, sources = Page(), [source(EVENTS), source(EVENTS * 2, version="2")]
    plain = values(page.render(sources).decode())
    strict = values(page.render(sources, openmetrics=True).decode(), parse_openmetrics)
    assert strict.items() <= plain.items()
    assert {name for name, _ in plain.keys() - strict.keys()} == {"ml_feature_value_count"}


def test_rows_in_another_order_show_their_own_values() -> None:
    """When the totals are summed up anew, in another order of rows, no value moves to another series."""
    page, events = Page(), [(f"/{i}", 0.1, None, None, None, None, None) for i in range(5) for _ in range(i + 1)]
    first = source(events)
    before = values(page.render([first]).decode())
    again = Tally()
    again.add(source(events[::-1]).tally)
    assert values(page.render([Source("m", "1", SMALL, again)]).decode()) == before
    first.tally.tables[names.REQUESTS.name].count(("/new",), 7)
    assert (
        "ml_requests_total",
        frozenset({("model_name", "m"), ("model_version", "1"), ("endpoint", "/new")}),
    ) in values(page.render([first]).decode())


def test_other_models_and_edges_stand_side_by_side() -> None:
    """Two versions with other edges have their own buckets; HELP and TYPE stand once."""
    other = ModelSchema(latency=(0.2,), classes=None, value_edges=(0.0, 1.0))
    sources = [source(EVENTS), source([("/p", 0.3, None, None, 0.5, None, None)], other, "2")]
    text = Page().render(sources).decode()
    assert text.count("# TYPE ml_request_duration_seconds ") == 1
    assert 'model_version="2",endpoint="/p",le="0.2"} 0' in text
    assert 'ml_prediction_value_bucket{model_name="m",model_version="2",le="1.0"} 1' in text


def test_family_that_fails_costs_only_itself() -> None:
    """A table that cannot be rendered is left out and reported; the rest is there, also at the next scrape."""
    broken = source(EVENTS)
    broken.tally.tables[names.DURATION.name].counts = None  # type: ignore[assignment]
    errors: list[str] = []
    page = Page()
    for _ in range(2):
        text = page.render([broken], on_error=lambda name, _error: errors.append(name)).decode()
        assert "ml_requests_total" in text
        assert "ml_request_duration_seconds" not in text
    assert errors == [names.DURATION.name] * 2
    assert "ml_request_duration_seconds" in page.render([source(EVENTS)]).decode()


@settings(max_examples=60)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=20, unique=True))
def test_any_text_as_a_label_comes_back(labels: list[str]) -> None:
    """Every text is parsed back as it was counted, by both parsers."""
    made = source([("/p", 0.1, None, label, label, None, None) for label in labels], ModelSchema())
    expected = {text for (text,) in made.tally.tables[names.SEGMENTS.name].rows}
    for parse, openmetrics in ((parse_text, False), (parse_openmetrics, True)):
        text = Page().render([made], openmetrics=openmetrics).decode()
        seen = {
            dict(labels_).get("segment", "") for name, labels_ in values(text, parse) if name == names.SEGMENTS.name
        }
        assert seen == expected


def test_promtool_accepts_hostile_labels_and_every_family() -> None:
    """`promtool check metrics` has nothing to say to a page with every family and a thousand odd labels."""
    odd = ["\n", '"', "\\", "\\n", "{{x}}", "%d", "\u2028", "\u202e", "\ud800", "a" * 200, "é", "\x7f", "\x00"]
    labels = odd + [f"{text}{i}" for i in range(80) for text in odd]
    schema = ModelSchema(classes=("a",), numeric={"x": ((-1.0,), (-1.0,))}, categorical={"c": ()}, cap=5000)
    made = source([(label, 0.1, label, label, label, 0.5, {"x": 1, "c": label, "?": 1}) for label in labels], schema)
    regression = source([("/p", 0.1, None, None, 3.0, None, None)], ModelSchema(classes=None), "2")
    kernel_tables = made.tally.tables
    kernel_tables[names.CANCELLED.name].count(("/p",))
    kernel_tables[names.INTERNAL_ERRORS.name].count(("fold",))
    kernel_tables[names.OVERFLOW.name].count(("m", "l"))
    every = [m for m in vars(names).values() if isinstance(m, names.Metric)]
    counted = {*kernel_tables, *regression.tally.tables}
    gauges = [GaugeValue(m, 1, dict.fromkeys(m.labels, "x")) for m in every if m.name not in counted]
    page = Page().render([made, regression], gauges)
    assert [metric.name for metric in every if metric.name.encode() not in page] == []
    done = subprocess.run([require("promtool"), "check", "metrics"], input=page, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_names_are_in_order() -> None:
    """Names are unique, counters end in _total, help is a sentence, labels are valid."""
    every = [m for m in vars(names).values() if isinstance(m, names.Metric)]
    assert len({m.name for m in every}) == len(every)
    for metric in every:
        assert metric.name.startswith(("ml_", "modelwatch_"))
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.help.endswith(".")
        assert all(label.isidentifier() for label in metric.labels)
