"""The charts: what is drawn, what is hatched, what is never drawn, and that foreign text stays text."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.server import charts

NAN = float("nan")
WILD = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.integers(-(10**400), 10**400))


def parsed(svg: str) -> ET.Element:
    """Return the root of a chart, which must be well-formed."""
    return ET.fromstring(svg)


def minutes(*values: float | None, now: float | None = None) -> charts.Series:
    """Return a series of minutes from 00:00; `now` is the end of the last one unless it is given."""
    starts = [60.0 * i for i in range(len(values))]
    return charts.Series(starts, list(values), 60.0, 60.0 * len(values) if now is None else now)


def drawn(series: charts.Series, **more: object) -> str:
    """Return a line chart with plain numbers."""
    return charts.line(series, label="a line", show=lambda v: f"{v:g}", **more)  # type: ignore[arg-type]


def test_a_line_is_one_stroke_from_left_to_now() -> None:
    """Twenty values give one unbroken path that ends with a dot at the right end."""
    root = parsed(drawn(minutes(*range(20))))
    stroke = next(e for e in root.iter() if e.get("class") == "l")
    assert stroke.attrib["d"].count("M") == 1
    dot = next(e for e in root.iter() if e.get("class") == "dot")
    assert dot.get("cx") == "100%"


def test_a_gap_breaks_the_line_and_is_hatched() -> None:
    """Four missing minutes are a break in the path and one hatched field, never a bridge."""
    root = parsed(drawn(minutes(*[5.0] * 6, *[None] * 4, *[5.0] * 6)))
    stroke = next(e for e in root.iter() if e.get("class") == "l")
    assert stroke.attrib["d"].count("M") == 2
    assert len([e for e in root.iter() if e.get("fill") == "url(#mw-hatch)"]) == 1
    assert "no data" not in (root.findtext("text") or "")


def test_silence_until_now_is_named_with_its_age() -> None:
    """A series that stopped nine minutes ago says so in the picture."""
    assert "no data 9\N{NO-BREAK SPACE}min" in drawn(minutes(*[5.0] * 21, *[None] * 9))


def test_one_missing_minute_is_no_alarm() -> None:
    """The minute that is still open may have no value yet."""
    assert "url(#mw-hatch)" not in drawn(minutes(*[5.0] * 20, None))


@pytest.mark.parametrize("values", [(), (None, None), (NAN, NAN)])
def test_nothing_counted_is_hatched_without_a_line(values: tuple[float | None, ...]) -> None:
    """No value at all: the whole width is hatched and says no data; there is no dot."""
    svg = drawn(minutes(*values, now=600.0))
    assert "no data" in svg
    assert "url(#mw-hatch)" in svg
    assert "<circle" not in svg


def test_a_lone_value_is_visible() -> None:
    """One value between gaps has a path of its own, so that it is not lost."""
    root = parsed(drawn(minutes(None, None, None, 3.0, None, None, None)))
    stroke = next(e for e in root.iter() if e.get("class") == "l")
    assert "L" in stroke.attrib["d"]


def test_the_limit_is_dashed_named_and_inside() -> None:
    """The axis reaches above the limit even when the data are far below it."""
    root = parsed(drawn(minutes(*[0.001] * 20), limit=charts.Limit(0.01, "limit 1 %")))
    line = next(e for e in root.iter() if e.get("class") == "limit")
    assert 0 < float(line.attrib["y1"]) < 108
    assert "limit 1 %" in [e.text for e in root.iter("text")]


def test_a_band_lies_behind_the_line_where_it_is_usual() -> None:
    """From its low to its high, in its time only; one that reaches far above all values is cut at the top."""
    bands = [charts.Stretch(-900, 600, 4.0, 6.0), charts.Stretch(600, 9000, 5.0, 500.0), charts.Stretch(-9, 0, 1, 2)]
    root = parsed(drawn(minutes(*[5.0] * 20), usual=bands))
    early, late = [e.attrib for e in root.iter() if e.get("class") == "usual"]
    classes = [e.get("class") for e in root.iter()]
    assert classes.index("usual") < classes.index("l"), "the line is on top"
    assert late["x"] == early["width"]
    assert float(early["width"].rstrip("%")) + float(late["width"].rstrip("%")) == pytest.approx(100)
    row = float(next(e for e in root.iter() if e.get("class") == "dot").attrib["cy"])
    top, high = float(early["y"]), float(early["height"])
    assert (row - top) / high == pytest.approx(0.5, abs=0.01), "5 is in the middle of 4 to 6"
    assert float(late["y"]) == pytest.approx(10, abs=0.5), "the top of the plot"
    assert row < float(late["y"]) + float(late["height"]) + 0.5
    assert row > 20, "the line is not squashed"


def test_the_words_of_the_limit_avoid_the_line() -> None:
    """Data that run just above the limit on the right push its words elsewhere."""
    high = drawn(minutes(*[1.0] * 20, *[5.6] * 10), limit=charts.Limit(5.0, "limit 5"))
    free = drawn(minutes(*[1.0] * 30), limit=charts.Limit(5.0, "limit 5"))
    place = re.compile(r'<text class="tk" x="([^"]+)" y="([^"]+)"')
    assert place.findall(high) != place.findall(free)


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img onerror=alert(1) src=x>', "{{7*7}}", "a & b"])
def test_foreign_text_stays_text(hostile: str) -> None:
    """Label, limit, unit and the words of a value come back from the parser as they went in."""
    limit = charts.Limit(1.0, hostile)
    root = parsed(charts.line(minutes(1.0, 2.0), label=hostile, show=lambda _: hostile, limit=limit))
    assert root.get("aria-label") == hostile
    assert hostile in [e.text for e in root.iter("text")]
    root = parsed(charts.histogram([0, 1], [0, 3, 0], label=hostile, unit=hostile))
    assert root.get("aria-label") == hostile
    assert {e.tag for e in root.iter()} <= {"svg", "text", "line", "rect"}


@given(st.lists(WILD, max_size=30), st.lists(WILD, max_size=30))
def test_no_input_draws_nan_or_breaks(values: list[float | None], starts: list[float | None]) -> None:
    """Whatever the numbers are, the chart is well-formed, without NaN or infinity, and without inline style."""
    times: list[float] = [60.0 * i if s is None else s for i, s in enumerate(starts)]
    svg = charts.line(
        charts.Series(times, values, 60.0, 1e9), label="x", show=lambda v: f"{v:.3g}", limit=charts.Limit(1.0, "l")
    )
    svg += charts.histogram([0.0, 0.5, 1.0], [v if v is not None else NAN for v in values], label="x", unit="u")
    svg += charts.bar(values[0] if values else None) + charts.spark(charts.Series(times, values, 60.0, 1e9))
    parsed(f"<all>{svg}</all>")
    shapes = re.sub(r' (data-t|aria-label|preserveAspectRatio)="[^"]*"', "", svg)
    assert not re.search(r"\b(nan|inf|none)\b", shapes, re.IGNORECASE)
    assert " style=" not in svg


def test_the_histogram_has_a_bar_a_bin_and_keeps_the_outside_out() -> None:
    """Ten bins between eleven edges; what lies outside is part of the whole only."""
    edges = [i / 10 for i in range(11)]
    root = parsed(charts.histogram(edges, [50, *[5] * 10, 0], label="x", unit="confidence"))
    assert len([e for e in root.iter("rect") if e.get("class") == "hb"]) == 10
    assert root.attrib["data-t"].split("|")[0].endswith("5.0\N{NO-BREAK SPACE}%")


def test_unequal_bins_are_drawn_by_density() -> None:
    """A bin twice as wide with twice the count is as high as its neighbour."""
    root = parsed(charts.histogram([0, 1, 3], [0, 10, 20, 0], label="x", unit="u"))
    heights = [float(e.attrib["height"]) for e in root.iter("rect") if e.get("class") == "hb"]
    assert heights[0] == pytest.approx(heights[1], rel=1e-3)


def test_an_empty_histogram_has_no_height() -> None:
    """No counts: bars of no height, and no division by zero."""
    root = parsed(charts.histogram([0, 1, 2], [0, 0, 0, 0], label="x", unit="u"))
    assert all(float(e.attrib["height"]) == 0 for e in root.iter("rect"))


def test_a_bar_shows_the_unknown_as_hatching() -> None:
    """None is not 0: it is hatched; a share beyond 1 ends at the end."""
    assert "url(#mw-hatch)" in charts.bar(None)
    assert 'width="0%"' in charts.bar(0.0)
    assert 'class="bf s" width="100%"' in charts.bar(3.0, tone="s")


def test_a_sparkline_is_hidden_from_readers() -> None:
    """The number stands beside it, so it says nothing of its own."""
    assert parsed(charts.spark(minutes(1.0, 2.0, 3.0))).get("aria-hidden") == "true"


@given(st.floats(-1e12, 1e12), st.floats(1e-6, 1e12), st.integers(1, 8))
def test_ticks_are_round_few_and_inside(low: float, wide: float, about: int) -> None:
    """Ticks ascend, lie in the range, and are at most about twice as many as asked for."""
    found = charts.ticks(low, low + wide, about)
    slack = 1e-6 * max(abs(low), wide)
    assert found == sorted(found)
    assert all(low - slack <= v <= low + wide + slack for v in found)
    assert len(found) <= 2 * about + 2
