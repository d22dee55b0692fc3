"""The big panels of requests and the cards of answers and errors: numbers, sentences and pictures of one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import charts, words
from modelwatch.server.health import Check, View, sentence, worst
from modelwatch.server.words import NBSP, clean, finite
from modelwatch.sources.traffic import usual_at

CHIPS = {"ok": "OK", "crit": "Critical", "warn": "Warning", "unk": "Cannot tell", "info": "Info", "none": "Not checked"}
SHOWN_CLASSES = 6  # pictures of classes over time
SHOWN_ERRORS = 4
PANEL = 112  # pixels of the picture in a panel

Said = str | Markup


class Share(NamedTuple):
    """A named part of a whole, as a row with a bar or as a small picture over time."""

    name: str
    state: str
    value: str
    change: str
    picture: Markup


class Panel(NamedTuple):
    """One of the four big panels. `hero` is the number, `unit` stands behind it, `facts` below the chart.

    rows : instead of a picture. href : where its title leads. word : of the state, where it is not the usual one.
    """

    key: str
    title: str
    state: str
    hero: str
    unit: str
    window: str
    compare: Sequence[Said]
    picture: Markup
    facts: Sequence[tuple[str, str]]
    rows: Sequence[Share] = ()
    href: str = ""
    word: str = ""

    @property
    def chip(self) -> str:
        """The word of the state."""
        return self.word or CHIPS[self.state]


def panels(view: View) -> list[Panel]:
    """Return the three panels of the requests of a model, in their order."""
    return [_rate(view), _errors(view), _latency(view)]


def _silent(checks: Sequence[Check], last: tuple[float, float] | None, show: Callable[[float], str], now: float) -> str:
    """Return why there is no answer, and the last value with its age."""
    why = sentence(next((c.reason for c in checks if c.reason), "no answer"))
    if last is None:
        return why
    return f"{why} Last value {show(last[1])}, {words.age(now - last[0])} ago."


def _no_number(checks: Sequence[Check]) -> str:
    return "Too few" if any(c.samples for c in checks) else "No data"


def _picture(series: charts.Series, name: str, show: Callable[[float], str], state: str, **more: Any) -> Markup:
    """Return a line chart with its sentence."""
    last, known = series.last(), series.known()
    if last is None:
        told = f"{name}: no values yet."
    else:
        told = f"{name}: newest {show(last[1])} at {words.clock(last[0])} UTC, highest {show(max(known))}."
    return Markup(charts.line(series, label=told, show=show, tone="s" if state in {"warn", "crit"} else "", **more))


def _rate(view: View) -> Panel:
    checks = view.of("request_rate")
    state = worst([c.state for c in checks])
    series = view.series(view.history.get("request_rate"))
    value = checks[0].value if checks else view.detail("throughput")
    compare: list[Said] = []
    if state == "unk" or value is None:
        compare.append(_silent(checks, series.last(), words.rate, view.now))
    else:
        compare.append(
            Markup("<b>{}</b> requests finished in the last {}.").format(view.count("requests"), view.window)
        )
        known, usual = series.known(), _usual_words(view)
        bound = checks[0].limit if checks else None
        if bound is not None:
            compare.append(f"Limit: {words.rate(bound)}.")
        if usual and _traffic(view)["state"] == "unusual":
            compare.insert(0, usual)  # a narrow panel cuts what comes last
        elif usual:
            compare.append(usual)
        elif bound is None and len(known) > 1:
            low, high = words.rate_number(min(known)), words.rate(max(known))
            compare.append(f"Between {low} and {high} in {_past(series)}.")
    limit = next((charts.Limit(c.limit, f"limit {words.rate(c.limit)}") for c in checks if c.limit is not None), None)
    shown = state != "unk" and value is not None
    return Panel(
        "rate",
        "Request rate",
        state,
        words.rate_number(value) if shown else _no_number(checks),
        "req/s" if shown else "",
        view.window,
        compare,
        _picture(
            series,
            "Request rate",
            words.rate,
            state,
            limit=limit,
            usual=_usual(view, series),
            tick=_axis,
            height=PANEL,
            least_top=1.0,
        ),
        [
            ("In flight", view.count("in_progress")),
            ("Right now", words.rate(view.detail("throughput"))),
            ("Cancelled", view.count("cancelled")),
        ],
    )


def _usual(view: View, series: charts.Series) -> list[charts.Stretch]:
    """Return what is usual in the hours of a picture; nothing where it reaches back further than that is known."""
    held: Sequence[Mapping[str, float]] = _traffic(view).get("usual") or ()
    found = [charts.Stretch(one["begin"], one["end"], one["low"], one["high"]) for one in held]
    begin = min((t for t in map(finite, series.start) if t is not None), default=view.now)
    return found if found and begin >= found[0].begin - series.step_s else []


def _traffic(view: View) -> Mapping[str, Any]:
    """Return what traffic is normal now; nothing where a picture of the past is shown."""
    return (view.model.get("traffic") or {}) if view.until == view.now else {}


def _usual_words(view: View) -> Said:
    """Return what is usual at this hour, or the last full hour where it was not; empty until enough of it is known."""
    found = _traffic(view)
    now = usual_at(found, view.now)
    if found.get("state") != "unusual":
        low, high = (words.rate_number(now["low"]), words.rate(now["high"])) if now else ("", "")
        return f"Usual at this hour: {low} to {high}." if now else ""
    usual, low, high = (words.number(finite(found.get(name))) for name in ("normal", "low", "high"))
    asked = Markup("<b>{}</b>").format(words.number(finite(found.get("requests"))))
    at = words.clock(finite(found.get("ended")))
    return Markup("<b>Unusual:</b> {} in the hour to {} UTC; normal is about {} ({} to {}).").format(
        asked, at, usual, low, high
    )


def _axis(value: float) -> str:
    return f"{value:,g}"


def _past(series: charts.Series) -> str:
    """Return how far the history reaches back, as words."""
    whole = series.step_s * len(series.start)
    return "the last hour" if whole == 3600 else f"the last {words.span(whole)}"


def _errors(view: View) -> Panel:
    checks = view.of("error_ratio")
    state = worst([c.state for c in checks])
    series = view.series(view.history.get("error_ratio"))
    value = checks[0].value if checks else None
    shown = state != "unk" and value is not None
    limit = checks[0].limit if checks else None
    compare: list[Said] = []
    if shown:
        counts = view.count("failed"), words.number(checks[0].samples), view.window
        compare.append(Markup("<b>{}</b> of {} requests failed in the last {}.").format(*counts))
        compare.append("No limit is set." if limit is None else f"Limit: {words.limit_percent(limit)}.")
    else:
        compare.append(_silent(checks, series.last(), lambda v: words.percent(v, 2), view.now))
    top = error_types(view)[:2]
    facts = [(name, words.number(n)) for name, n in top] or [("Failed", view.count("failed"))]
    line = charts.Limit(limit, f"limit {words.limit_percent(limit)}") if limit is not None else None
    picture = _picture(
        series,
        "Error rate",
        lambda v: words.percent(v, 2),
        state,
        limit=line,
        tick=words.limit_percent,
        height=PANEL,
        least_top=0.01 if limit is None else 0.0,
    )
    return Panel(
        "errors",
        "Error rate",
        state,
        words.number(100 * value, 2) if shown and value is not None else _no_number(checks),
        "%" if shown else "",
        view.window,
        compare,
        picture,
        [*facts, ("Failed, all", view.count("failed"))] if top else facts,
    )


def error_types(view: View) -> list[tuple[str, float]]:
    """Return error types with their counts, most frequent first."""
    held = [(clean(name, 60), finite(n) or 0.0) for name, n in view.details.get("errors_by_type") or ()]
    return sorted(held, key=lambda pair: -pair[1])


def _latency(view: View) -> Panel:
    checks = view.of("slow_ratio")
    state = worst([c.state for c in checks])
    series = view.series(view.history.get("p95_s"))
    threshold, objective = view.detail("latency_threshold_s"), view.detail("latency_objective")
    bounds = view.details.get("p95_bracket_s")
    hero, unit = words.latency_parts(view.detail("p95_s"))
    compare: list[Said] = []
    if view.detail("p95_s") is None and bounds and finite(bounds[0]) is not None:
        hero, unit = words.bracket(bounds).rsplit(NBSP, 1)
    if state == "unk" or not unit:
        hero, unit = _no_number(checks), ""
        compare.append(_silent(checks, series.last(), words.latency, view.now))
    elif checks and threshold is not None:
        slow, bound = words.percent(checks[0].value), words.limit_latency(threshold)
        compare.append(Markup("<b>{}</b> of requests are slower than {}.").format(slow, bound))
        limit = checks[0].limit
        if objective is not None:
            compare.append(f"Objective: {words.limit_percent(objective)} within {bound}.")
        if limit is not None and (objective is None or abs(limit + objective - 1) > 1e-6):
            compare.append(f"Limit: {words.limit_percent(limit)}.")
    else:
        compare.append("No latency objective is set for this model.")
    line = charts.Limit(threshold, f"threshold {words.limit_latency(threshold)}") if threshold is not None else None
    return Panel(
        "latency",
        "Latency P95",
        state,
        hero,
        unit,
        view.window,
        compare,
        _picture(
            series,
            "Latency P95",
            words.latency,
            state,
            limit=line,
            tick=lambda v: _axis(1000 * v),
            height=PANEL,
            least_top=0.01,
        ),
        [
            ("P50", words.latency(view.detail("p50_s"))),
            ("P95 lies in", words.bracket(bounds)),
            ("P99", words.latency(view.detail("p99_s"))),
        ],
    )


def _bar(share: float | None, state: str) -> Markup:
    return Markup(charts.bar(share, tone="s" if state in {"warn", "crit"} else ""))


def shares_over_time(view: View) -> tuple[list[Share], int]:
    """Return one small picture a class, on one scale, and how many classes are left out."""
    held: Mapping[str, Any] = view.history.get("share") or {}
    checks = {c.label: c for c in view.of("prediction_share")}
    labels = [(raw, clean(raw)) for raw in held]
    ranked = sorted(labels, key=lambda p: -((checks[p[1]].value or 0.0) if p[1] in checks else 0.0))[:SHOWN_CLASSES]
    series = {raw: view.series(held[raw]) for raw, _ in ranked}
    top = min(1.0, max([0.1, *(1.15 * v for s in series.values() for v in s.known())]))
    tall = 140 if len(ranked) <= 3 else 92
    shown = []
    for raw, label in labels:
        if raw not in series:
            continue
        check, known = checks.get(label), series[raw].known()
        state = check.state if check else "none"
        value = check.value if check and state != "unk" else None
        change = "" if value is None or len(known) < 2 else _points(value - known[0])
        picture = _picture(
            series[raw], f"Share of {label or '(empty)'}", words.percent, state, tick=_whole, height=tall, top=top
        )
        shown.append(Share(label or "(empty)", state, words.percent(value), change, picture))
    return shown, len(labels) - len(shown)


def _points(change: float) -> str:
    text = words.number(100 * change, 1)
    return f"{'+' if change >= 0 else ''}{text} points"


def _whole(ratio: float) -> str:
    return words.percent(ratio, 0)


def confidence(view: View) -> tuple[Markup | None, str]:
    """Return the histogram of confidences (None when there are none) and its sentence."""
    held = view.details.get("confidence") or {}
    edges: Sequence[float] = held.get("edges") or ()
    counts: Sequence[float] = held.get("counts") or ()
    total = sum(finite(c) or 0.0 for c in counts)
    if not total or len(edges) < 2:
        if not view.detail("requests"):
            return None, f"There were no answers in the last {view.window}, so there is no confidence to show."
        return None, "No confidence was recorded. Pass confidence= with each prediction to see how sure the model is."
    low = view.detail("low_confidence_ratio")
    told = f"{words.number(total)} answers in the last {view.window}."
    if low is not None:
        told += f" {words.percent(low)} are below the model's own limit of low confidence."
    outside = [(counts[0], "at or below", edges[0]), (counts[-1], "above", edges[-1])] if len(counts) > 2 else []
    told += "".join(f" {words.number(n)} {where} {edge:g}." for n, where, edge in outside if finite(n))
    picture = charts.histogram(edges, counts, label=f"Confidence of the answers. {told}", unit="confidence", height=120)
    return Markup(picture), told


def errors_by_type(view: View) -> tuple[list[Share], int, str]:
    """Return the most frequent error types, how many are left out, and a sentence where there are none."""
    types = error_types(view)
    whole = max(sum(n for _, n in types), view.detail("failed") or 0.0)  # the status has the most frequent types only
    rows = [
        Share(name or "(no name)", "none", words.number(n), words.percent(n / whole), _bar(n / whole, ""))
        for name, n in types[:SHOWN_ERRORS]
        if n
    ]
    if rows:
        return rows, max(0, len([n for _, n in types if n]) - len(rows)), ""
    if view.detail("requests"):
        return [], 0, f"No request failed: {view.count('requests')} were answered in the last {view.window}."
    return [], 0, f"There were no requests in the last {view.window}, so none could fail. That is not a sign of health."
