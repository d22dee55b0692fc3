"""Dots with intervals on one scale, a row each, and the curve of calibration, as SVG text.

Like `charts`: as wide as the box, classes and attributes only. Rows stand below each other in a table, so that their
dashed limits make one line: their height is a multiple of the dashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from modelwatch.server.charts import ticks
from modelwatch.server.words import finite

ROW = 45  # pixels; five dashes
_MIDDLE = 18  # of the first line of words beside it
_AXIS = 20
_BOTTOM = 34  # below a curve: numbers and words


class Mark(NamedTuple):
    """A value with its interval; None where there is no number."""

    value: float | None
    low: float | None
    high: float | None


class Scale(NamedTuple):
    """The ends of an axis."""

    low: float
    high: float

    def x(self, value: float) -> str:
        """Return the place of a value, kept inside."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(1.0, max(0.0, share)):.4g}%"


def scale(lows: Sequence[float]) -> Scale:
    """Return a scale of ratios that ends at 1 and begins at a round tenth below all values, at 0.5 at most.

    Examples
    --------
    >>> scale([0.76, 0.85]), scale([0.34])
    (Scale(low=0.5, high=1.0), Scale(low=0.3, high=1.0))
    """
    lowest = min([0.5, *lows])
    return Scale(max(0.0, math.floor(10 * lowest + 1e-9) / 10), 1.0)


def amounts(highs: Sequence[float]) -> Scale:
    """Return a scale of amounts that begins at 0 and ends above all of them."""
    highest = max([0.0, *highs])
    return Scale(0.0, 1.06 * highest if highest > 0 else 1.0)


def row(
    mark: Mark | None,
    ends: Scale,
    *,
    limit: float | None = None,
    tone: str = "",
    young: bool = False,
    height: int = ROW,
) -> str:
    """Return one row: a dot on its interval, hatched where there is no number, dotted where it is too young.

    It is hidden from readers, since its numbers stand beside it.

    Parameters
    ----------
    mark : Mark, optional
        What to draw; hatched without a finite value.
    ends : Scale
        The same for all rows that stand below each other.
    limit : float, optional
        Where the dashed line stands.
    tone : str
        "" for the blue of the series, "s" for the colour of the state of the row.
    young : bool
        Drawn dotted: nothing follows from it.

    Returns
    -------
    str, an `<svg>` element.
    """
    middle = min(_MIDDLE, height // 2)
    grid = "".join(f'<line class="grid" x1="{ends.x(v)}" x2="{ends.x(v)}" y1="0" y2="{height}"/>' for v in _steps(ends))
    known = None if mark is None else finite(mark.value)
    if mark is None or known is None:
        body = f'<rect width="100%" y="{middle - 8}" height="16" fill="url(#mw-hatch)"/>'
    else:
        low, high = finite(mark.low), finite(mark.high)
        kind = " ".join(word for word in (tone, "young" if young else "") if word)
        bar = ""
        if low is not None and high is not None:
            across = f'x1="{ends.x(low)}" x2="{ends.x(high)}" y1="{middle}" y2="{middle}"'
            bar = f'<line class="{f"iv {kind}".strip()}" {across}/>'
        body = f'{bar}<circle class="{f"dot {kind}".strip()}" cx="{ends.x(known)}" cy="{middle}" r="5.5"/>'
    dashed = ""
    if limit is not None:
        dashed = f'<line class="limit" x1="{ends.x(limit)}" x2="{ends.x(limit)}" y1="0" y2="{height}"/>'
    return f'<svg class="row" width="100%" height="{height}" aria-hidden="true">{grid}{dashed}{body}</svg>'


def _steps(ends: Scale) -> list[float]:
    return ticks(ends.low, ends.high, 5)


def axis(ends: Scale, show: Callable[[float], str]) -> str:
    """Return the numbers below rows of one scale; hidden from readers, since each row says its own."""
    steps = _steps(ends)
    steps = steps[:: 2 if len(steps) > 4 else 1]
    words = "".join(f'<text x="{ends.x(v)}" y="14" text-anchor="middle">{escape(show(v))}</text>' for v in steps)
    return f'<svg class="row" width="100%" height="{_AXIS}" aria-hidden="true">{words}</svg>'


def columns(values: Sequence[tuple[str, float]], *, label: str, show: Callable[[float], str], height: int = 170) -> str:
    """Return ratios as columns with their names below.

    Parameters
    ----------
    values : sequence of (name, ratio)
        From left to right.
    label : str
        The sentence for those who do not see the picture.
    show : callable
        A ratio as text with its unit.
    """
    top, floor = 8, height - _AXIS
    body = []
    for v in (0.0, 0.5, 1.0):
        y = f"{top + (1 - v) * (floor - top):.4g}"
        body.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        body.append(f'<text x="-6" y="{float(y) + 4:.4g}" text-anchor="end">{escape(show(v))}</text>')
    wide = 100 / max(1, len(values))
    for i, (name, value) in enumerate(values):
        tall = min(1.0, max(0.0, value)) * (floor - top)
        place = f'x="{(i + 0.12) * wide:.4g}%" width="{0.76 * wide:.4g}%" y="{floor - tall:.4g}" height="{tall:.4g}"'
        body.append(f'<rect class="hb" {place}/>')
        body.append(f'<text x="{(i + 0.5) * wide:.4g}%" y="{height - 5}" text-anchor="middle">{escape(name)}</text>')
    hints = "|".join(f"{show(value)} within {name}" for name, value in values)
    places = " ".join(f"{(i + 0.5) * wide:.4g}" for i in range(len(values)))
    return (
        f'<svg class="chart" width="100%" height="{height}" role="img" aria-label="{escape(label)}"'
        f' data-x="{places}" data-t="{escape(hints)}">{"".join(body)}</svg>'
    )


class Point(NamedTuple):
    """A bin of the curve: mean confidence, share of right answers with its interval, labels."""

    confidence: float
    right: Mark
    n: int


def _side(share: float) -> str:
    return "end" if share == 1 else "middle"


def calibration(points: Sequence[Point], *, label: str, show: Callable[[float], str], height: int = 240) -> str:
    """Return the share of right answers over the confidence, with the dashed line on which the two are the same.

    Parameters
    ----------
    points : sequence of Point
        Ratios of 0 to 1; a dot is the larger, the more labels it stands for.
    label : str
        The sentence for those who do not see the picture.
    show : callable
        A ratio as text with its unit.
    """
    whole = Scale(0.0, 1.0)
    top, floor = 8, height - _BOTTOM

    def y(value: float) -> float:
        return top + (1 - min(1.0, max(0.0, value))) * (floor - top)

    body = [
        f'<line class="grid" x1="0" x2="100%" y1="{y(v):.4g}" y2="{y(v):.4g}"/>'
        f'<text x="-6" y="{y(v) + 4:.4g}" text-anchor="end">{escape(show(v))}</text>'
        f'<text x="{whole.x(v)}" y="{floor + 15}" text-anchor="{_side(v)}">{escape(show(v))}</text>'
        for v in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    body.append(f'<line class="limit" x1="0" x2="100%" y1="{y(0):.4g}" y2="{y(1):.4g}"/>')
    body.append(f'<text x="50%" y="{height - 4}" text-anchor="middle">confidence</text>')
    most = max([1, *(p.n for p in points)])
    for point in points:
        x, value = whole.x(point.confidence), finite(point.right.value)
        low, high = finite(point.right.low), finite(point.right.high)
        if value is None:
            continue
        if low is not None and high is not None:
            body.append(f'<line class="iv" x1="{x}" x2="{x}" y1="{y(low):.4g}" y2="{y(high):.4g}"/>')
        radius = 3 + 4 * math.sqrt(point.n / most)
        body.append(f'<circle class="dot" cx="{x}" cy="{y(value):.4g}" r="{radius:.3g}"/>')
    hints = "|".join(
        f"says {show(p.confidence)} · right in {show(finite(p.right.value) or 0.0)} of {p.n:,}" for p in points
    )
    places = " ".join(whole.x(p.confidence).rstrip("%") for p in points)
    return (
        f'<svg class="chart" width="100%" height="{height}" role="img" aria-label="{escape(label)}"'
        f' data-x="{places}" data-t="{escape(hints)}">{"".join(body)}</svg>'
    )
