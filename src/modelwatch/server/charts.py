"""Small charts as SVG text: line with limit and gaps, sparkline, histogram, share bar. Classes and attributes only.

Every chart is as wide as its box: horizontal places are percentages, vertical ones pixels, and the room for the axis
is the padding of the class `chart` (see modelwatch.css). So text keeps its size on every screen, and a chart never
changes the height of what it sits in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from modelwatch.server.words import NBSP, age, clock, day_and_clock, finite, number, percent

HATCH = (
    '<svg class="defs" width="0" height="0" aria-hidden="true"><defs>'
    '<pattern id="mw-hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch-line" d="M0 0V6"/></pattern></defs></svg>'
)  # once a document, before the first chart
_TOP, _BOTTOM = 10, 20  # pixels above and below the plot
_WIDE = 1000  # units of the stretched inner drawing
_GUESSED_PX = 270  # width at which labels are laid out
_BAND_TOP = 1.5  # times the highest value: so far above it a band is seen
_LEAST_STEPS = 10  # a shorter history does not fill the whole width
_WIDE_GAP = 0.55  # a gap that begins left of this holds its own words
_ONE_DAY_S = 90_000  # a picture of more than this tells days
_TICK_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_Point = tuple[float, "float | None"]


class Series(NamedTuple):
    """Values of consecutive steps of time, oldest first; None where nothing was counted.

    `start` are the unix seconds at which each step begins; `now` is the right end of the picture; `live` tells
    whether that is the present.
    """

    start: Sequence[float]
    values: Sequence[float | None]
    step_s: float
    now: float
    live: bool = True

    def points(self) -> list[_Point]:
        """Return (end of the step, value); an open step ends now."""
        pairs = ((finite(t), finite(v)) for t, v in zip(self.start, self.values, strict=False))
        return sorted(((min(t + self.step_s, self.now), v) for t, v in pairs if t is not None), key=lambda p: p[0])

    def last(self) -> tuple[float, float] | None:
        """Return (when, value) of the newest value, or None."""
        return next(((t, v) for t, v in reversed(self.points()) if v is not None), None)

    def known(self) -> list[float]:
        """Return the values without the gaps."""
        return [v for _, v in self.points() if v is not None]


class Limit(NamedTuple):
    """A dashed line and the words that stand on it."""

    value: float
    text: str


class Stretch(NamedTuple):
    """A time, and the values from `low` to `high` that are usual in it; `begin` and `end` are Unix seconds."""

    begin: float
    end: float
    low: float
    high: float


def ticks(low: float, high: float, about: int = 3) -> list[float]:
    """Return round numbers from `low` to `high`, about `about` steps of 1, 2, 2.5 or 5 times a power of ten.

    Examples
    --------
    >>> ticks(0, 0.011), ticks(0, 430)
    ([0.0, 0.005, 0.01], [0.0, 200.0, 400.0])
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return []
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next((k for k in _TICK_STEPS if k * power >= raw * 0.99), 10.0)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-6)
    return [float(f"{i * step:.10g}") for i in range(first, last + 1)]


def line(
    series: Series,
    *,
    label: str,
    show: Callable[[float], str],
    tick: Callable[[float], str] | None = None,
    height: int = 128,
    limit: Limit | None = None,
    usual: Sequence[Stretch] = (),
    least_top: float = 0.0,
    top: float | None = None,
    tone: str = "",
) -> str:
    """Return a line over time from zero, with its limit, its gaps hatched and named, and `now` at the right end.

    Parameters
    ----------
    series : Series
        What to draw. Values that are not finite are gaps.
    label : str
        The sentence for those who do not see the picture.
    show, tick : callable
        A value as text with its unit: in the hint under the pointer, and on the axis (default: the same).
    height : int
        Pixels, the same on every refresh.
    limit : Limit, optional
        Drawn dashed, with its words where the line leaves room.
    usual : sequence of Stretch
        Bands behind the line. One that reaches far above all values is cut at the top.
    least_top, top : float
        The axis reaches at least so far; or exactly so far.
    tone : str
        "" for the blue of the series, "s" for the colour of the state around the chart.

    Returns
    -------
    str, an `<svg>` element; all foreign text in it is escaped.
    """
    points = series.points()
    until = series.now
    begin = min([until - _LEAST_STEPS * series.step_s, *(t for t, _ in points)])
    wanted = max([least_top, *series.known(), *([limit.value * 1.12] if limit else [])])
    wanted = max([wanted, *(min(band.high, _BAND_TOP * wanted) for band in usual if band.end > begin)])
    frame = _Frame(height, begin, until, top if top is not None else _ceiling(wanted))
    body = [*(_band(frame, one) for one in usual if one.end > begin and one.begin < until)]
    body += [_grid(frame, tick or show), _time_axis(frame, live=series.live)]
    gaps = list(_gaps(points, series))
    body += [_hatched(frame, *gap) for gap in gaps]
    body.append(_curve(frame, points, tone))
    if limit is not None and frame.top >= limit.value:
        body.append(_limit(frame, limit, points, has_tail=any(end >= until for _, end in gaps)))
    body += [_gap_words(frame, *gap, points, limit) for gap in gaps if gap[1] >= until]
    last = series.last()
    if last is not None:
        mark = f"dot {tone}".strip()
        body.append(f'<circle class="{mark}" cx="{frame.x(last[0])}" cy="{frame.y(last[1])}" r="4"/>')
    long = until - begin > _ONE_DAY_S
    times = [f"{_when(t, frame)} {clock(t)}" if long else clock(t) for t, _ in points]
    hints = "|".join(f"{at} · {'no data' if v is None else show(v)}" for at, (_, v) in zip(times, points, strict=True))
    places = " ".join(frame.x(t).rstrip("%") for t, _ in points)
    return (
        f'<svg class="chart" width="100%" height="{height}" role="img" aria-label="{escape(label)}"'
        f' data-x="{places}" data-t="{escape(hints)}">{"".join(body)}</svg>'
    )


class _Frame(NamedTuple):
    """The plot: pixels down, percent across."""

    height: int
    begin: float
    until: float
    top: float

    @property
    def floor(self) -> int:
        return self.height - _BOTTOM

    def across(self, t: float) -> float:
        """Return the place of a moment as a share of the width."""
        return min(1.0, max(0.0, (t - self.begin) / (self.until - self.begin))) if self.until > self.begin else 1.0

    def x(self, t: float) -> str:
        return f"{100 * self.across(t):.4g}%"

    def y(self, value: float) -> str:
        return f"{self.down(value):.4g}"

    def down(self, value: float) -> float:
        """Return the pixel row of a value, kept inside the plot."""
        return _TOP + (1 - min(1.0, max(0.0, value / self.top))) * (self.floor - _TOP)


def _ceiling(wanted: float) -> float:
    """Return where the axis ends: a little above the highest thing drawn, and 1 when nothing is."""
    return wanted * 1.06 if wanted > 0 else 1.0


def _grid(frame: _Frame, tick: Callable[[float], str]) -> str:
    steps = ticks(0.0, frame.top, 4 if frame.height > 160 else 2 if frame.height < 100 else 3)
    return "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{frame.y(v)}" y2="{frame.y(v)}"/>'
        f'<text x="-6" y="{frame.down(v) + 4:.4g}" text-anchor="end">{escape(tick(v))}</text>'
        for v in steps
    )


def _when(moment: float, frame: _Frame) -> str:
    """Return the time of day, or the day where the picture is of several."""
    if frame.until - frame.begin <= _ONE_DAY_S:
        return clock(moment)
    return NBSP.join(day_and_clock(moment).replace(NBSP, " ").split(" ")[:2])


def _time_axis(frame: _Frame, *, live: bool) -> str:
    parts = []
    for i, anchor in enumerate(("start", "middle", "end")):
        words = "now" if i == 2 and live else _when(frame.begin + i / 2 * (frame.until - frame.begin), frame)
        parts.append(f'<text x="{50 * i}%" y="{frame.height - 4}" text-anchor="{anchor}">{words}</text>')
    return "".join(parts)


def _gaps(points: Sequence[_Point], series: Series) -> Iterator[tuple[float, float]]:
    """Yield (from, to) of every stretch of more than two steps without a value, the time before the first apart."""
    moments = [t for t, v in points if v is not None]
    for before, after in pairwise([*moments, series.now]) if moments else ():
        if after - before > 2.5 * series.step_s:
            yield before, after if after == series.now else after - series.step_s
    if not moments:
        yield series.now - max(_LEAST_STEPS, len(points)) * series.step_s, series.now


def _band(frame: _Frame, usual: Stretch) -> str:
    left, top = frame.across(usual.begin), frame.down(usual.high)
    wide, high = 100 * (frame.across(usual.end) - left), frame.down(usual.low) - top
    return f'<rect class="usual" x="{100 * left:.4g}%" width="{wide:.4g}%" y="{top:.4g}" height="{high:.4g}"/>'


def _hatched(frame: _Frame, begin: float, end: float) -> str:
    wide = 100 * (frame.across(end) - frame.across(begin))
    return (
        f'<rect x="{frame.x(begin)}" width="{wide:.4g}%" y="{_TOP}" height="{frame.floor - _TOP}"'
        ' fill="url(#mw-hatch)"/>'
    )


def _gap_words(frame: _Frame, begin: float, end: float, points: Sequence[_Point], limit: Limit | None) -> str:
    """Return the name of the gap at the right end: inside it where it is wide, else left of it on a free row."""
    left = frame.across(begin)
    words = "no data" if left <= 0 else f"no data {age(end - begin)}"
    if left < _WIDE_GAP:
        middle = (_TOP + frame.floor) / 2 + 4
        return f'<text class="tu" x="{50 * (1 + left):.4g}%" y="{middle:.4g}" text-anchor="middle">{words}</text>'
    near = left - 6.3 * len(words) / _GUESSED_PX
    taken = [frame.down(v) for t, v in points if v is not None and near <= frame.across(t) <= left]
    taken += [frame.down(limit.value), frame.down(limit.value) - 10] if limit else []
    rows = [_TOP + 9 + i * (frame.floor - _TOP - 14) / 4 for i in range(5)]
    row = max(rows, key=lambda y: min((abs(y - 4 - v) for v in taken), default=0.0))
    return f'<text class="tu" x="{100 * left - 2:.4g}%" y="{row:.4g}" text-anchor="end">{words}</text>'


def _curve(frame: _Frame, points: Sequence[_Point], tone: str) -> str:
    """Return area and line, broken at every gap; a lone point is a dot of the line's width."""
    runs: list[list[str]] = [[]]
    for t, value in points:
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{_WIDE * frame.across(t):.4g} {frame.y(value)}")
    kept = [run if len(run) > 1 else run * 2 for run in runs if run]
    stroke = "".join(f"M{'L'.join(run)}" for run in kept)
    fill = "".join(
        f"M{'L'.join(run)}L{run[-1].split()[0]} {frame.floor}L{run[0].split()[0]} {frame.floor}Z" for run in kept
    )
    return (
        f'<svg class="plot" width="100%" height="{frame.height}" viewBox="0 0 {_WIDE} {frame.height}"'
        f' preserveAspectRatio="none"><path class="{f"area {tone}".strip()}" d="{fill}"/>'
        f'<path class="{f"l {tone}".strip()}" d="{stroke}"/></svg>'
    )


def _limit(frame: _Frame, limit: Limit, points: Sequence[_Point], *, has_tail: bool) -> str:
    """Return the dashed line and its words, above or below, right or left: where fewest values are in the way."""
    row = frame.down(limit.value)
    wide = min(0.9, 6.3 * len(limit.text) / _GUESSED_PX)

    def crossed(place: tuple[bool, bool]) -> int:
        right, above = place
        low, high = (1 - wide, 1.0) if right else (0.0, wide)
        upper, lower = (row - 17, row + 2) if above else (row - 2, row + 17)
        inside = sum(
            low <= frame.across(t) <= high and upper <= frame.down(v) <= lower for t, v in points if v is not None
        )
        out = upper < -4 or lower > frame.floor
        return inside + 1000 * out + 100 * (right and has_tail)

    right, above = min(((True, True), (False, True), (True, False), (False, False)), key=crossed)
    return (
        f'<line class="limit" x1="0" x2="100%" y1="{row:.4g}" y2="{row:.4g}"/>'
        f'<text class="tk" x="{"100%" if right else "4"}" y="{row - 5 if above else row + 13:.4g}"'
        f' text-anchor="{"end" if right else "start"}">{escape(limit.text)}</text>'
    )


def spark(series: Series, *, height: int = 24, tone: str = "") -> str:
    """Return a line without axes for a row of a list; hidden from readers, since its number stands beside it."""
    frame = _Frame(
        height + _BOTTOM,
        min([series.now - _LEAST_STEPS * series.step_s, *(t for t, _ in series.points())]),
        series.now,
        _ceiling(max([0.0, *series.known()])),
    )
    curve = _curve(frame, series.points(), tone)
    return f'<svg class="spark" width="100%" height="{height}" aria-hidden="true">{curve}</svg>'


def histogram(edges: Sequence[float], counts: Sequence[float], *, label: str, unit: str, height: int = 150) -> str:
    """Return bars of the share of each bin, by density where the bins differ in width.

    Parameters
    ----------
    edges : sequence of float
        Upper edges, ascending; the first is also the left end of the picture.
    counts : sequence of float
        One a bin, of length ``len(edges) + 1``: at or below the first edge, between edges, above the last.
    label, unit : str
        The sentence for those who do not see it; the words under the axis.

    Returns
    -------
    str, an `<svg>` element. Values outside the edges are part of the whole but have no bar: name them in words.
    """
    marks = [e for e in (finite(v) for v in edges) if e is not None]
    held = [max(0.0, finite(c) or 0.0) for c in counts]
    total = sum(held)
    inner = held[1 : len(marks)] if len(marks) > 1 else []
    wide = (marks[-1] - marks[0]) if len(marks) > 1 else 0.0
    usual = wide / max(1, len(inner))
    bins = [(a, b, c) for (a, b), c in zip(pairwise(marks), inner, strict=False) if b > a]
    shares = [c / total * usual / (b - a) if total else 0.0 for a, b, c in bins]
    frame = _Frame(height - 14, 0.0, 1.0, _ceiling(max([0.0, *shares])) if any(shares) else 1.0)
    body = [_grid(frame, lambda v: percent(v, 0 if frame.top > 0.04 else 1))]
    for (a, b, _), share in zip(bins, shares, strict=True):
        left, broad = 100 * (a - marks[0]) / wide, 100 * (b - a) / wide
        rows = f'y="{frame.y(share)}" height="{frame.floor - frame.down(share):.4g}"'
        body.append(f'<rect class="hb" x="{left + broad * 0.03:.4g}%" width="{broad * 0.94:.4g}%" {rows}/>')
    body.append(f'<line class="axis" x1="0" x2="100%" y1="{frame.floor}" y2="{frame.floor}"/>')
    for v in ticks(marks[0], marks[-1], 5) if wide else ():
        share = (v - marks[0]) / wide
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        digits = 0 if wide >= 5 else 1
        place = f'x="{100 * share:.4g}%" y="{height - 18}" text-anchor="{anchor}"'
        body.append(f"<text {place}>{number(v, digits)}</text>")
    body.append(f'<text x="50%" y="{height - 4}" text-anchor="middle">{escape(unit)}</text>')
    hints = "|".join(f"{a:.4g}\N{EN DASH}{b:.4g} · {percent(c / total if total else None)}" for a, b, c in bins)
    places = " ".join(f"{100 * ((a + b) / 2 - marks[0]) / wide:.4g}" for a, b, _ in bins)
    return (
        f'<svg class="chart" width="100%" height="{height}" role="img" aria-label="{escape(label)}"'
        f' data-x="{places}" data-t="{escape(hints)}">{"".join(body)}</svg>'
    )


def bar(share: float | None, *, height: int = 10, tone: str = "") -> str:
    """Return one horizontal bar of a ratio in 0..1, hatched when it is unknown; its number stands beside it."""
    known = finite(share)
    whole = f'<rect class="bb" width="100%" height="{height}" rx="2"/>'
    if known is None:
        whole += f'<rect width="100%" height="{height}" fill="url(#mw-hatch)"/>'
    else:
        part = 100 * min(1.0, max(0.0, known))
        whole += f'<rect class="{f"bf {tone}".strip()}" width="{part:.4g}%" height="{height}" rx="2"/>'
    return f'<svg class="share" width="100%" height="{height}" aria-hidden="true">{whole}</svg>'


def lane(spans: Sequence[tuple[float, float]], begin: float, until: float, *, height: int = 14) -> str:
    """Return one row of a timeline: a bar for each (from, to) in unix seconds, three pixels wide at least.

    It is hidden from readers, since its words stand beside it.
    """
    wide = until - begin
    grid = "".join(f'<line class="grid" x1="{x}%" x2="{x}%" y1="0" y2="{height}"/>' for x in (0, 25, 50, 75, 100))
    bars = []
    for start, end in spans:
        low, high = (min(1.0, max(0.0, (t - begin) / wide)) for t in (start, end))
        if end >= begin and start <= until and wide > 0:
            place = f'x="{100 * low:.4g}%" width="{max(0.5, 100 * (high - low)):.4g}%"'
            bars.append(f'<rect class="bf s" {place} y="3" height="{height - 6}" rx="2"/>')
    return f'<svg class="share" width="100%" height="{height}" aria-hidden="true">{grid}{"".join(bars)}</svg>'
