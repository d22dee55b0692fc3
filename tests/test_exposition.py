"""The page that Prometheus reads: its very text, and what every parser makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from modelwatch import names
from modelwatch.exposition import GaugeValue, Page, Source
from modelwatch.kernel import Kernel
from modelwatch.schema import CONFIDENCE_EDGES, ModelSchema
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
    kernel_tables[names.SAMPLES.name].count(())
    kernel_tables[names.SAMPLES_DROPPED.name].count(("full",))
    kernel_tables[names.LABEL_STATES.name].count(("matched",))
    kernel_tables[names.LABELS.name].count(("books", "correct"))
    kernel_tables[names.LABELS_BY_INCLUSION.name].count(("0.1", "correct"))
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


def line(text: str, start: str) -> str:
    """Return the value of the only line that begins so."""
    (found,) = [row for row in text.splitlines() if row.startswith(start)]
    return found.rsplit(" ", 1)[1]


WIDE = ModelSchema(
    numeric={"a": ((0.0, 1.0, 2.0), (0.0, 2.0)), "b": ((10.0,), (10.0,)), "c": ((), ()), "d": ((5.0, 6.0), (5.0, 6.0))}
)
WIDE_EVENTS: list[tuple[Any, ...]] = [
    ("/p", None, None, None, None, None, {"a": 1.5, "b": 10.0, "c": 3.0, "d": 5.5}),
    ("/p", None, None, None, None, None, {"a": 2.0, "b": 11.0, "c": 4.0, "d": 9.0}),
]


@pytest.mark.parametrize("order", [["a", "b", "c", "d"], ["d", "c", "b", "a"], ["b"], ["c", "a"], ["a", "d"]])
@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_feature_keeps_its_edges_wherever_its_row_is(order: list[str], openmetrics: bool) -> None:
    """Totals that were summed up in another order, or that lack features, show each feature on its own edges."""
    counted = source(WIDE_EVENTS, WIDE).tally
    table, whole = counted.tables[names.FEATURE_VALUE.name], {}
    page = Page()
    for labels, row in table.rows.items():
        whole[labels[0]] = (table.counts[row].copy(), table.sums[row])
    full = page.render([Source("m", "1", WIDE, counted)], openmetrics=openmetrics).decode()
    mixed = Tally(WIDE.tables)
    for name in order:
        new = mixed.tables[names.FEATURE_VALUE.name]
        row = new.row((name,))
        new.counts[row], new.sums[row] = whole[name]
    for renderer in (page, Page()):  # one that has shown the other order before
        shown = values(renderer.render([Source("m", "1", WIDE, mixed)], openmetrics=openmetrics).decode())
        features = {
            key: n
            for key, n in values(full).items()
            if dict(key[1]).get("feature_name") in order and "invalid" not in key[0]
        }
        assert {key: n for key, n in shown.items() if "feature_value" in key[0]} == features
    assert 'feature_name="a",le="2.0"} 2' in full
    assert 'feature_name="a",le="0.0"} 0' in full
    assert 'feature_name="d",le="5.0"} 0' in full
    assert 'feature_name="c",le="+Inf"} 2' in full


def test_totals_that_begin_again_are_shown() -> None:
    """A table that is replaced by an empty one, and then by a full one, never shows what was before."""
    page, errors = Page(), list[str]()

    def render(given: Source) -> str:
        return page.render([given], on_error=lambda name, _error: errors.append(name)).decode()

    assert "ml_requests_total{" in render(source(EVENTS))
    assert "ml_requests_total" not in render(Source("m", "1", SMALL, Tally(SMALL.tables)))
    assert "ml_requests_total{" in render(source(EVENTS))
    assert "ml_requests_total" not in render(Source("m", "1", SMALL, Tally()))
    assert errors == []


def test_versions_that_are_gone_are_forgotten() -> None:
    """A page keeps nothing of versions that it does not show any more."""
    page = Page()
    for version in range(30):
        text = page.render([source(EVENTS, version=str(version))]).decode()
        assert 'model_version="29"' in text or version < 29
        assert f'model_version="{version - 1}"' not in text
    assert {len(family.blocks) for family in page._families} <= {0, 1}


def test_a_gauge_that_fails_costs_only_itself() -> None:
    """A value that is no number is left out with its metric, and reported; other gauges and the foreign families follow."""
    errors: list[str] = []
    gauges = [
        GaugeValue(names.WORKERS, 2),
        GaugeValue(names.FLUSH_LAG, "late"),  # type: ignore[arg-type]
        GaugeValue(names.LIVE_UP, 1),
    ]
    text = Page().render([], gauges, foreign=b"host 1\n", on_error=lambda name, _error: errors.append(name)).decode()
    assert errors == [names.FLUSH_LAG.name]
    assert names.FLUSH_LAG.name not in text
    assert line(text, "modelwatch_workers ") == "2.0"
    assert line(text, "modelwatch_live_up ") == "1.0"
    assert text.endswith("host 1\n")


def test_names_of_models_are_escaped() -> None:
    """A model's name and version may be any text, in counts and gauges; what has no encoding is replaced."""
    name, version = 'm"\\\n%d{}', "1.0\ud800"
    made = Source(name, version, SMALL, source(EVENTS).tally)
    gauges = [GaugeValue(names.MODEL_INFO, 1, {"model_name": name, "model_version": version})]
    for parse, openmetrics in ((parse_text, False), (parse_openmetrics, True)):
        shown = values(Page().render([made], gauges, openmetrics=openmetrics).decode(), parse)
        labels = {tuple(sorted(dict(key[1]).items()))[-2:] for key in shown if "endpoint" not in dict(key[1])}
        assert ("ml_model_info", frozenset({("model_name", name), ("model_version", "1.0?")})) in shown
        assert all(dict(pair)["model_name"] == name for pair in labels if "model_name" in dict(pair))


def test_sums_of_durations_are_exact_and_never_negative() -> None:
    """Nanoseconds divide to the nearest double; a sum that is past its largest number begins again, as a counter may."""
    made = source([("/p", 0.1, None, None, None, None, None)] * 3)
    assert line(Page().render([made]).decode(), "ml_request_duration_seconds_sum") == "0.3"
    made.tally.tables[names.DURATION.name].sums[0] = -(2**63) + 5_000_000_000
    assert line(Page().render([made]).decode(), "ml_request_duration_seconds_sum") == "5.0"


def naive(each: Source, *, openmetrics: bool) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples that a source must show, one by one."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    every = {m.name: m for m in vars(names).values() if isinstance(m, names.Metric)}
    shown_confidence = sorted({*CONFIDENCE_EDGES, each.schema.threshold})
    for name, table in each.tally.tables.items():
        metric = every[name]
        for labels, row in table.rows.items():
            common = {
                "model_name": each.name,
                "model_version": each.version,
                **dict(zip(metric.labels, labels, strict=True)),
            }
            cells = table.counts[row].tolist()
            if metric.kind != "histogram":
                found[name, frozenset(common.items())] = cells[0]
                continue
            kept, shown = {
                names.DURATION.name: (each.schema.latency, each.schema.latency),
                names.CONFIDENCE.name: (each.schema.confidence, tuple(shown_confidence)),
                names.PREDICTION_VALUE.name: (each.schema.value_edges, each.schema.value_edges),
            }.get(name) or each.schema.numeric[labels[0]]
            for edge in shown:
                below = sum(n for n, upper in zip(cells, kept, strict=False) if upper <= edge)
                found[f"{name}_bucket", frozenset({**common, "le": repr(float(edge))}.items())] = below
            found[f"{name}_bucket", frozenset({**common, "le": "+Inf"}.items())] = sum(cells)
            families = each.schema.numeric.values() if metric is names.FEATURE_VALUE else [(kept, shown)]
            summed = all(not edges or edges[0] >= 0 for edges, _ in families)
            if summed or not openmetrics:
                found[f"{name}_count", frozenset(common.items())] = sum(cells)
            if summed:
                total = table.sums[row].item()
                found[f"{name}_sum", frozenset(common.items())] = total / 1e9 if metric is names.DURATION else total
    return found


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_large_page_is_that_of_a_plain_loop(openmetrics: bool) -> None:
    """Six versions of four kinds, thousands of series: every sample, by both parsers, also at the second and third scrape."""
    dice = np.random.default_rng(5)
    fine = tuple(k / 10 for k in range(-40, 50))
    schemas = [
        ModelSchema(numeric={f"f{i}": (fine, fine[5::5]) for i in range(20)}, categorical={"c": ("red",)}),
        ModelSchema(numeric={"x": (fine[50:], fine[50::7]), "y": ((1.0, 2.0), (2.0,)), "z": ((), ())}, threshold=0.65),
        ModelSchema(classes=None, value_edges=(-1.0, 0.0, 1.0), latency=(0.25,)),
        ModelSchema(classes=("a", "b"), latency=(0.1, 0.2)),
    ]
    sources = [Source(f"m{i % 3}", str(i), schema, schema.empty()) for i, schema in enumerate([*schemas, *schemas[:2]])]
    page = Page()
    for scrape in range(3):
        for each in sources:
            kernel = Kernel(each.schema)
            kernel.fold(
                [
                    (f"/{dice.integers(5 + scrape)}", float(dice.exponential(0.2)), [None, "ValueError", "CancelledError"][dice.integers(3)],
                     f"s{dice.integers(9)}", [0.5, "a", "new"][dice.integers(3)] if each.schema.classes is not None else float(dice.normal()),
                     float(dice.random()), {name: float(dice.normal(0, 3)) for name in each.schema.numeric} | {"c": f"k{dice.integers(99)}"})
                    for _ in range(200)
                ]
            )  # fmt: skip
            each.tally.add(kernel.tally)
        text = page.render(sources, openmetrics=openmetrics).decode()
        found = values(text, parse_openmetrics if openmetrics else parse_text)
        expected: dict[Any, float] = {}
        for each in sources:
            expected |= naive(each, openmetrics=openmetrics)
        assert found.keys() == expected.keys()
        assert len(found) > 1500
        assert {key: n for key, n in found.items() if n != expected[key]} == {}
        heads = [row for row in text.splitlines() if row.startswith("# ")]
        assert len(heads) == len(set(heads))


def test_counters_have_their_family_name() -> None:
    """In OpenMetrics a counter's family lacks the ending that its samples have; in text both have it."""
    plain, strict = (Page().render([source(EVENTS)], openmetrics=openmetrics).decode() for openmetrics in (False, True))
    assert "# TYPE ml_requests_total counter\n" in plain
    assert "# TYPE ml_requests counter\n" in strict
    assert 'ml_requests_total{model_name="m"' in strict
    assert strict.endswith("\n# EOF\n")
    assert "# EOF" not in plain


def test_help_needs_no_escaping() -> None:
    """No help text has a character that the formats write differently."""
    for metric in vars(names).values():
        if isinstance(metric, names.Metric):
            assert not set(metric.help) & set('\\"\n')
            assert metric.help.isascii()
            assert metric.help[0].isupper() or metric.help[0] == "1"
            assert not {"le", "quantile", "model_name", "model_version"} & set(metric.labels)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1.0"),
        (0.1, "0.1"),
        (float("nan"), "NaN"),
        (float("inf"), "+Inf"),
        (-float("inf"), "-Inf"),
        (1e300, "1e+300"),
    ],
)
def test_numbers_are_written_as_prometheus_does(value: float, text: str) -> None:
    """Edges and gauges have one form, which both parsers read back."""
    assert names.number(value) == text
    assert repr(float(text.replace("Inf", "inf"))) == repr(float(value))
