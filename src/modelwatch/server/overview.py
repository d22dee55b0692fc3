"""What fires, when it fired in the last day, and what is left of the budgets: the lower half of the health page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import charts, words
from modelwatch.server.budgets import Budgets, budget_bar
from modelwatch.server.panels import CHIPS
from modelwatch.server.standing import STATES, Alert, Standing, title_of
from modelwatch.server.words import NBSP, clean, finite

SHOWN_FIRING = 4
SHOWN_ENDED = 1
SHOWN_BUDGETS = 4
DAY_S = 86_400.0


class Line(NamedTuple):
    """An alert that fires, as one line."""

    state: str
    chip: str
    title: str
    name: str
    now: str
    limit: str
    since: str
    age: str
    href: str
    picture: Markup


class Ended(NamedTuple):
    """An alert that has ended: its spans of the last day as a picture, the last one in words."""

    title: str
    state: str
    said: str
    picture: Markup


class Budget(NamedTuple):
    """What is left of one budget."""

    title: str
    state: str
    word: str
    said: str
    bar: Markup


def firing_lines(standing: Standing, now: float, href: str) -> list[Line]:
    """Return what fires, worst first, each as a line; `href` is the page of the alerts."""
    return [_line(alert, now, href) for alert in standing.firing[:SHOWN_FIRING]]


def _line(alert: Alert, now: float, href: str) -> Line:
    since, age, picture = "", "", Markup()
    if alert.since is not None:
        picture = Markup(charts.lane([(alert.since, now)], now - DAY_S, now))
        since, age = f"since {moment(alert.since, now)}", words.span(max(0.0, now - alert.since))
    return Line(
        alert.state, CHIPS[alert.state], heading(alert), alert.name, alert.now,
        f"fires {alert.limit}" if alert.limit else "", since, age, href, picture,
    )  # fmt: skip


def heading(alert: Alert) -> str:
    """Return the title of an alert as a sentence begins; the name of a feature stays as it is."""
    return _begun(alert.title, alert.labels)


def _begun(title: str, labels: Mapping[str, str]) -> str:
    named = labels.get("feature_name") or labels.get("segment")
    return title if named and title.startswith(named) else f"{title[:1].upper()}{title[1:]}"


def moment(at: float, now: float) -> str:
    """Return the time of day, with its date where it is not of the last day."""
    return words.clock(at) if now - at < DAY_S else words.day_and_clock(at).rpartition(NBSP)[0]


def ended_lines(status: Mapping[str, Any], model: str, now: float) -> list[Ended]:
    """Return the alerts of a model that ended in the last day, from their history: the one that ended last first."""
    spans: dict[tuple[str, str], list[tuple[float, float]]] = {}
    held: Mapping[str, Any] = status.get("handling") or {}
    for one in held.get("history") or ():
        begin, end = finite(one.get("since")), finite(one.get("ended_at"))
        if begin is None or end is None or end < now - DAY_S or (one.get("model") or model) != model:
            continue
        labels = {str(key): clean(value, 80) for key, value in (one.get("labels") or {}).items()}
        title = _begun(title_of(clean(one.get("alertname", ""), 60), labels), labels)
        spans.setdefault((title, STATES.get(str(one.get("severity")), "info")), []).append((begin, end))
    last_first = sorted(spans.items(), key=lambda item: -max(end for _, end in item[1]))
    return [_ended(title, state, held_spans, now) for (title, state), held_spans in last_first[:SHOWN_ENDED]]


def _ended(title: str, state: str, spans: Sequence[tuple[float, float]], now: float) -> Ended:
    begin, end = max(spans, key=lambda span: span[1])
    said = f"ended {words.clock(end)}, after {words.span(max(1.0, end - begin))}"
    more = f"; {len(spans)} times" if len(spans) > 1 else ""
    return Ended(title, state, f"{said}{more}", Markup(charts.lane(spans, now - DAY_S, now)))


def budget_lines(found: Budgets) -> list[Budget]:
    """Return the most urgent budgets."""
    lines = []
    for row in found.rows[:SHOWN_BUDGETS]:
        left = row.left
        word = (
            "cannot tell"
            if left is None
            else f"spent, {words.percent(-left, 0)} over"
            if left < 0
            else f"{words.percent(left, 0)} left"
        )
        burns = [f"burning {times} ({over})" for over, times in row.burns if times != words.MISSING]
        said = row.said if left is None else " · ".join([*burns[-1:], row.lasts[:1].lower() + row.lasts[1:]])
        lines.append(Budget(row.title, row.state, word, said, Markup(budget_bar(left, height=16))))
    return lines
