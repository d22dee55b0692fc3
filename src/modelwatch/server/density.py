"""Now against training as SVG text: densities of bins, and pairs of bars of categories. Classes and attributes only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

from modelwatch.server.charts import ticks
from modelwatch.server.words import DASH, finite, percent

_AXIS = 20  # pixels below the plot
_WIDE = 1000  # units of the stretched drawing
SAME = 1e-9  # of their size, below which two edges are one to the eye


class Bin(NamedTuple):
    """A bin with its ends as they are drawn, its shares in training and now, and its name."""

    low: float
    high: float
    reference: float
    current: float
    name: str


def bins_of(cells: Sequence[Mapping[str, Any]]) -> list[Bin]:
    """Return bins from cells that are named by their upper edges, the last one open.

    The open ones are drawn as wide as their neighbours: their true width is not known. Edges that hold a single value
    between them are drawn apart.
    """
    edges = [edge for cell in cells if (edge := finite(cell.get("cell"))) is not None]
    if len(edges) < len(cells) - 1 or not edges or any(b <= a for a, b in pairwise(edges)):
        return []
    drawn, wide = edges, max(1.0, abs(edges[0]))
    if len(edges) > 1 and edges[-1] - edges[0] <= SAME * wide:
        drawn = [edges[0] + (i - (len(edges) - 1) / 2) * wide / 10 for i in range(len(edges))]
    inner = [b - a for a, b in pairwise(drawn)] or [wide]
    ends = [drawn[0] - inner[0], *drawn, drawn[-1] + inner[-1]]
    names = [f"up to {edges[0]:.4g}", *(f"{a:.4g}{DASH}{b:.4g}" for a, b in pairwise(edges)), f"above {edges[-1]:.4g}"]
    shares = [(max(0.0, finite(c.get("reference")) or 0.0), max(0.0, finite(c.get("current")) or 0.0)) for c in cells]
    return [
        Bin(low, high, before, now, name)
        for (low, high), (before, now), name in zip(pairwise(ends), shares, names, strict=False)
    ]


def overlay(bins: Sequence[Bin], *, label: str, height: int = 150, axis: bool = True) -> str:
    """Return the density now as a filled area and that of training as an outline, on one scale.

    Density is share over width of the bin, so that equal areas are equal shares, whatever the bins.

    Parameters
    ----------
    label : the sentence for those who do not see it; empty where the numbers stand beside it.
    axis : whether values stand below, and the shares under the pointer.
    """
    if not bins:
        return ""
    low, high = bins[0].low, bins[-1].high
    floor = height - (_AXIS if axis else 0)
    tall = max(max(b.reference, b.current) / (b.high - b.low) for b in bins) or 1.0

    def path(shares: Sequence[float]) -> str:
        steps = []
        for b, share in zip(bins, shares, strict=True):
            y = floor - 2 - (floor - 6) * share / (b.high - b.low) / tall
            left, right = (_WIDE * (at - low) / (high - low) for at in (b.low, b.high))
            steps.append(f"{left:.5g} {y:.5g}L{right:.5g} {y:.5g}")
        return f"M0 {floor}L{'L'.join(steps)}L{_WIDE} {floor}"

    curves = (
        f'<svg class="plot" width="100%" height="{height}" viewBox="0 0 {_WIDE} {height}" preserveAspectRatio="none">'
        f'<path class="now" d="{path([b.current for b in bins])}Z"/>'
        f'<path class="ref" d="{path([b.reference for b in bins])}"/></svg>'
    )
    if not axis:
        return f'<svg class="spark" width="100%" height="{height}" aria-hidden="true">{curves}</svg>'
    body = [curves, f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>']
    for value in ticks(low, high, 4):
        share = (value - low) / (high - low)
        anchor = "start" if share < 0.04 else "end" if share > 0.96 else "middle"
        body.append(f'<text x="{100 * share:.4g}%" y="{height - 4}" text-anchor="{anchor}">{value:,.4g}</text>')
    places = " ".join(f"{100 * ((b.low + b.high) / 2 - low) / (high - low):.4g}" for b in bins)
    hints = "|".join(f"{b.name} · now {percent(b.current)}, training {percent(b.reference)}" for b in bins)
    return (
        f'<svg class="chart flush" width="100%" height="{height}" role="img" aria-label="{escape(label)}"'
        f' data-x="{places}" data-t="{escape(hints)}">{"".join(body)}</svg>'
    )


def pair(reference: float, current: float, most: float, *, height: int = 16) -> str:
    """Return a bar of the share now with the outline of that in training; its numbers stand beside it."""
    now, before = (100 * min(1.0, max(0.0, share / most)) if most > 0 else 0.0 for share in (current, reference))
    return (
        f'<svg class="share" width="100%" height="{height}" aria-hidden="true">'
        f'<rect class="now" width="{now:.4g}%" y="2" height="{height - 4}"/>'
        f'<rect class="ref" x="0.5" width="{before:.4g}%" y="0.75" height="{height - 1.5}"/></svg>'
    )
