"""The page "did the world move?": every feature against the training data, the answers, and missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from markupsafe import Markup

from modelwatch.server import density, words
from modelwatch.server.frame import DRIFT, PATHS, band, choose, document, frame, page_title, query, render
from modelwatch.server.moved import Moved, Plain, Row, drift_verdict, moved, summary_of
from modelwatch.server.standing import standing_of
from modelwatch.server.words import MISSING, clean, finite, number, percent

SHOWN = 40  # rows; drifted ones are first
SHOWN_CELLS = 10
MOST_MOVED = 5


class Listed(NamedTuple):
    """A row with its link and its small picture."""

    row: Row
    href: str
    since: str
    picture: Markup
    current: bool


class Cell(NamedTuple):
    """A bin or a category: its shares in training and now, and how far it went in points."""

    name: str
    reference: str
    current: str
    moved: str
    picture: Markup


def drift_page(
    status: Mapping[str, Any], *, base: str = "", model: str | None = None, feature: str | None = None
) -> str:
    """Return the page on the drift of one model as a full HTML document.

    Parameters and errors are those of `pages.health_page`; `feature` is the one that is shown in detail, the worst
    without it, or when there is none of this name.
    """
    parts = drift_fragments(status, base=base, model=model, feature=feature)
    chosen = choose(status, model)
    said = drift_verdict(moved(chosen, standing_of(status, chosen)))
    refresh = f"{base}/fragments/drift{_query(model, feature)}"
    return document("drift", parts, base, refresh, page_title(said.word, DRIFT, chosen), said.state)


def drift_fragments(
    status: Mapping[str, Any], *, base: str = "", model: str | None = None, feature: str | None = None
) -> dict[str, str]:
    """Return the changing parts of the page on drift, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    found = moved(chosen, standing_of(status, chosen))
    bits = frame(status, chosen, base, model, DRIFT) | band(drift_verdict(found), DRIFT, chosen)
    bits |= {"todo": "", "features": "", "detail": "", "answers": "", "missing": ""}
    if found.why or not found.rows:
        bits["todo"] = render("driftless", has_reference=not found.nobody and bool(found.why))
    if found.rows:
        shown = next((row for row in found.rows if row.key == feature), found.rows[0])
        now = finite(status.get("now")) or 0.0

        def link(row: Row) -> str:
            return f"{base}{PATHS[DRIFT]}{_query(model, row.key)}"

        def listed(rows: Sequence[Row]) -> list[Listed]:
            return [Listed(row, link(row), _since(row, now), small_picture(row), row is shown) for row in rows]

        features = [row for row in found.rows if not row.answer]
        answers = [row for row in found.rows if row.answer]
        bits["features"] = render(
            "driftrows", title="Drift of each feature", rows=listed(features[:SHOWN]), over=_over(found),
            hidden=max(0, len(features) - SHOWN), empty="No feature is named in the configuration: add features: to "
            "the model, and pass them with each prediction.", explain=_KS,
        )  # fmt: skip
        bits["answers"] = render(
            "driftrows", title="Drift of the answers", rows=listed(answers), over="they may move because the world did",
            hidden=0, empty="No answers are compared: the profile has none, or none were given yet.", explain=_PSI,
        )  # fmt: skip
        bits["detail"] = _detail(shown)
    if found.missing:
        rows = sorted(found.missing, key=lambda one: (one.state in {"ok", "unk"}, one.state == "ok", one.name))
        bits["missing"] = render("missing", rows=rows[:SHOWN], hidden=max(0, len(rows) - SHOWN))
    return bits


_KS = (
    "KS: largest gap between both cumulative distributions, 0 to 1, for numbers. TV: share of values in other "
    "categories. A state also needs that chance alone would not show it."
)
_PSI = (
    "PSI: how far the distribution of the answers is from that in training; 0.10 is slight, 0.20 moderate, 0.25 "
    "severe, if the configuration has no others."
)


_MEASURES = {
    "psi": "PSI", "total_variation": "total variation", "jensen_shannon": "Jensen-Shannon", "hellinger": "Hellinger",
    "wasserstein": "Wasserstein (in sd of training)",
}  # fmt: skip


def _query(model: str | None, feature: str | None) -> str:
    chosen = query(model)
    if feature is None:
        return chosen
    return f"{chosen}{'&' if chosen else '?'}feature={quote(feature, safe='', errors='replace')}"


def _over(found: Moved) -> str:
    return f"{found.over} · worst first" if found.over else "worst first"


def _since(row: Row, now: float) -> str:
    if row.since is None:
        return ""
    return f"{words.clock(row.since)} UTC, {words.span(max(0.0, now - row.since))}"


def cells_of(row: Row) -> list[Plain]:
    """Return the bins or categories of a row."""
    return [cell for cell in row.held.get("cells") or () if isinstance(cell, Mapping)]


def is_numeric(cells: Sequence[Plain]) -> bool:
    """Tell bins, the last of which is open, from categories."""
    return bool(cells) and cells[-1].get("cell") is None


def small_picture(row: Row) -> Markup:
    """Return both distributions, small enough for a row of a table."""
    cells = cells_of(row)
    if is_numeric(cells):
        return Markup(density.overlay(density.bins_of(cells), label="", height=30, axis=False))
    held = [
        {"cell": None if last else i, "reference": cell.get("reference"), "current": cell.get("current")}
        for i, cell in enumerate(cells[:8])
        for last in (i == len(cells[:8]) - 1,)
    ]
    return (
        Markup(density.overlay(density.bins_of(held), label="", height=30, axis=False)) if len(held) > 1 else Markup()
    )


def _detail(row: Row) -> str:
    cells = cells_of(row)
    bins = density.bins_of(cells) if is_numeric(cells) else []
    held = row.held.get("explanation")
    told: Plain = held if isinstance(held, Mapping) else {}
    reason = str(row.held.get("reason") or "")
    label = f"Distribution of {row.name} now, against the training data."
    picture = Markup(density.overlay(bins, label=label))
    return render(
        "driftdetail", row=row, summary=summary_of(row), picture=picture,
        details=[clean(d, 300) for d in (told.get("details") or ())[:6] if not reason or reason not in str(d)],
        actions=[clean(a, 200) for a in (told.get("actions") or ())[:6]],
        cells=most_moved(bins) if bins else categories(cells), numeric=bool(bins),
        windows=_windows(row), views=_views(row),
        since=clean(told.get("since_words") or "", 120),
        hidden=0 if bins else max(0, len(cells) - SHOWN_CELLS),
    )  # fmt: skip


def _views(row: Row) -> list[tuple[str, str]]:
    """Return the other distances in words."""
    held = row.held.get("views")
    if not isinstance(held, Mapping):
        return []
    n = number(finite(held.get("bins")))
    low, high = [finite(end) for end in held.get("ks") or (None, None)][:2]
    exact = f"KS of the raw values between {number(low, 3)} and {number(high, 3)}, " if low is not None else ""
    rest = [
        f"{name} {number(value, 3)}" for key, name in _MEASURES.items() if (value := finite(held.get(key))) is not None
    ]
    found = [(f"All {n} {'bins' if exact else 'cells'}", f"{exact}{', '.join(rest)}.")] if rest else []
    few = held.get("merged")
    if isinstance(few, Mapping):
        psi, chi_square = (number(finite(few.get(key)), 3) for key in ("psi", "chi_square"))
        cells = number(finite(few.get("bins")))
        found.append((f"Merged into {cells}", f"PSI {psi}, χ² {chi_square}: each may hold enough values for them."))
    return found


def most_moved(bins: Sequence[density.Bin]) -> list[Cell]:
    """Return the bins that carry most of the move."""
    ranked = sorted(bins, key=lambda b: -abs(b.current - b.reference))[:MOST_MOVED]
    most = max((max(b.reference, b.current) for b in ranked), default=1.0)
    return [_cell(b.name, b.reference, b.current, most) for b in ranked]


def categories(cells: Sequence[Plain]) -> list[Cell]:
    """Return the categories that moved most."""
    shares = [(finite(c.get("reference")) or 0.0, finite(c.get("current")) or 0.0) for c in cells]
    most = max((max(before, now) for before, now in shares), default=1.0)
    names = [_called(c.get("cell")) for c in cells]
    return [_cell(name, *both, most) for name, both in zip(names[:SHOWN_CELLS], shares, strict=False)]


def _called(cell: Any) -> str:
    """Return the name of a category; a number that is none has no name."""
    if isinstance(cell, float):
        return MISSING if finite(cell) is None else f"{cell:.4g}"
    return clean(cell or "(empty)", 60)


def _cell(name: str, before: float, now: float, most: float) -> Cell:
    points = number(100 * (now - before), 1)
    sign = "+" if now - before >= 0.0005 else ""
    return Cell(name, percent(before), percent(now), f"{sign}{points}", Markup(density.pair(before, now, most)))


def _windows(row: Row) -> list[tuple[str, str]]:
    """Return the decision of each window in words."""
    found = []
    names = {"long": "Slight and moderate", "short": "Severe"}
    for key, one in (row.held.get("windows") or {}).items():
        if isinstance(one, Mapping):
            score = number(finite(one.get("score")), 2)
            n = words.plural(finite(one.get("n")), "value", "values")
            reason = clean(one.get("reason") or "", 240).rstrip(".")
            found.append((names.get(key, clean(key, 20)), f"{row.statistic} {score} of {n}: {reason}."))
    return found
