"""The page "what do I do?": what fires, what waits, what cannot be told, and why every other alert is quiet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import charts, words
from modelwatch.server.alerthandling import Hand, handle, held_of, history_card, silences_card
from modelwatch.server.alertsverdict import WORDS, alerts_verdict
from modelwatch.server.frame import ALERTS_PAGE, PATHS, band, choose, document, frame, page_title, query, render
from modelwatch.server.runbookpage import steps
from modelwatch.server.standing import TITLES, Alert, Standing, standing_of
from modelwatch.server.words import finite

SHOWN_FIRING, SHOWN_LINES = 20, 80
_ASKED = {"ServiceDown", "ReplicaDown"}
_NOBODY_ASKS = ": nobody asks whether the service answers. Set service.health_url, and run modelwatch serve."
_HIDDEN = {"kind", "model_version", "drift", "level", "window"}  # labels that tell rules of one name apart


class Firing(NamedTuple):
    """An alert that fires, as a card: its facts, what is behind it, and where to go."""

    alert: Alert
    chip: str
    heading: str
    facts: Sequence[tuple[str, str]]
    look: str
    page: str
    runbook: str
    steps: Markup
    handle: Markup = Markup()


class Line(NamedTuple):
    """One line of a list of alerts."""

    name: str
    about: str
    state: str
    chip: str
    said: str
    runbook: str
    picture: Markup = Markup()


def alerts_page(
    status: Mapping[str, Any], *, base: str = "", model: str | None = None, hand: Hand | None = None
) -> str:
    """Return the page of the alerts of one model as a full HTML document.

    Parameters and errors are those of `pages.health_page`; `hand` is who looks, None where nothing can be done here.
    """
    parts = alerts_fragments(status, base=base, model=model, hand=hand)
    chosen = choose(status, model)
    said = alerts_verdict(standing_of(status, chosen))
    title = page_title(said.word, ALERTS_PAGE, chosen)
    refresh, told = f"{base}/fragments/alerts{query(model)}", hand.said if hand else ""
    return document("alerts", parts, base, refresh, title, said.state, told=told)


def alerts_fragments(
    status: Mapping[str, Any], *, base: str = "", model: str | None = None, hand: Hand | None = None
) -> dict[str, str]:
    """Return the changing parts of the page of alerts, by the name that the page gives their boxes."""
    chosen = choose(status, model)
    standing = standing_of(status, chosen)
    bits = frame(status, chosen, base, model, ALERTS_PAGE) | band(alerts_verdict(standing), ALERTS_PAGE, chosen)
    bits |= {"silences": "", "history": ""}
    if standing is None:
        return bits | {"firing": render("noalerts"), "pending": "", "silent": "", "quiet": ""}
    now = finite(status.get("now")) or 0.0
    held, name = held_of(status), str((chosen or {}).get("name", ""))
    bits["silences"] = silences_card(held, hand, now, base, model)
    bits["history"] = history_card(held, name)

    def handled(alert: Alert) -> Markup:
        return handle(alert, name, held, hand, now, base)

    def linked(alert: Alert) -> str:
        return f"{base}/runbooks/{alert.name}{query(model)}"

    bits["firing"] = render(
        "firing", cards=_cards(standing, now, base, model, handled), hidden=max(0, len(standing.firing) - SHOWN_FIRING),
    )  # fmt: skip
    bits["pending"] = _list(
        "Waiting",
        "the condition holds, but not long enough yet",
        [_pending(a, now, linked(a)) for a in standing.pending],
    )
    said = [Line(_name(a), _about(a), a.state, WORDS[a.state], f"fires, but {a.said_by} says it already", linked(a))
            for a in standing.said]  # fmt: skip
    bits["pending"] += _list("Said by another", "they fire too, and nobody is told twice", said)
    bits["silent"] = _list(
        "Cannot tell", "no alert, and no all-clear: what is missing", _grouped(standing.silent, "unk", _why, linked)
    )
    bits["quiet"] = _list(
        "Quiet", "what was looked at, and where it would fire", _grouped(standing.quiet, "ok", _quiet, linked)
    )
    return bits


def _cards(
    standing: Standing, now: float, base: str, model: str | None, handled: Callable[[Alert], Markup]
) -> list[Firing]:
    cards, known = [], set()
    pages = {path: name for name, path in PATHS.items()}
    for alert in standing.firing[:SHOWN_FIRING]:
        where = pages.get(alert.page, "")
        cards.append(
            Firing(
                alert,
                WORDS[alert.state],
                _heading(alert),
                _facts(alert, now),
                f"{base}{alert.page}{query(model)}" if where else "",
                where,
                f"{base}/runbooks/{alert.name}{query(model)}",
                Markup() if alert.name in known else steps(alert.name),
                handled(alert),
            )
        )
        known.add(alert.name)
    return cards


def _heading(alert: Alert) -> str:
    severe = alert.labels.get("drift") == "severe"
    named = TITLES.get(alert.name, "{").startswith("{")  # the name of a feature stays as it is
    title = alert.title if named else f"{alert.title[:1].upper()}{alert.title[1:]}"
    return f"{title}{', severely' if severe else ''}"


def _facts(alert: Alert, now: float) -> list[tuple[str, str]]:
    facts = [("now", alert.now), ("fires", alert.limit)]
    if alert.since is not None:
        facts.append(("since", f"{words.clock(alert.since)} UTC ({words.span(max(0.0, now - alert.since))})"))
    about = ", ".join(value for key, value in alert.labels.items() if key not in {"kind", "drift"} and value)
    return [(term, value) for term, value in (*facts, ("of", about)) if value]


def _name(alert: Alert) -> str:
    return alert.name or "(no name)"


def _about(alert: Alert) -> str:
    return ", ".join(value for key, value in alert.labels.items() if key not in _HIDDEN and value)


def _pending(alert: Alert, now: float, runbook: str) -> Line:
    waited = max(0.0, now - alert.since) if alert.since is not None else 0.0
    left = max(0.0, alert.for_s - waited)
    said = (
        f"{_heading(alert)}: {alert.now}, fires {alert.limit}. "
        if alert.now and alert.limit
        else f"{_heading(alert)}. "
    )
    said += f"Fires in {words.span(left)} if it stays so: "
    said += f"it has held for {words.span(waited)} of {words.span(alert.for_s)}."
    share = waited / alert.for_s if alert.for_s > 0 else None
    picture = Markup(charts.bar(share, height=6, tone="s"))
    return Line(_name(alert), _about(alert), alert.state, WORDS[alert.state], said, runbook, picture)


def _grouped(
    alerts: Iterable[Alert], state: str, tell: Callable[[list[Alert]], str], linked: Callable[[Alert], str]
) -> list[Line]:
    """Return one line for all severities and windows of an alert with the same labels."""
    groups: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        groups.setdefault((_name(alert), _about(alert)), []).append(alert)
    chip = "Cannot tell" if state == "unk" else "OK"
    return [Line(name, about, state, chip, tell(held), linked(held[0])) for (name, about), held in groups.items()]


def _why(alerts: list[Alert]) -> str:
    reasons = dict.fromkeys(alert.why for alert in alerts if alert.why)
    first = alerts[0]
    asks = first.name in _ASKED or "availability" in first.labels.values()
    hint = _NOBODY_ASKS if asks and all(reason.startswith("no ") for reason in reasons) else ""
    return f"{'; '.join(reasons) or 'no answer'}{hint}"


def _quiet(alerts: list[Alert]) -> str:
    told: dict[str, list[str]] = {}
    for alert in alerts:
        if alert.now and alert.limit:
            limits = told.setdefault(alert.now, [])
            more = ", with more that does not hold" if alert.beyond else ""
            limit = f"{alert.limit} ({_mark(alert)}{more})"
            limits += [limit] if limit not in limits else []
        else:
            told.setdefault(alert.why or "quiet", [])
    return "; ".join(f"{now}, fires {', '.join(limits)}" if limits else now for now, limits in told.items())


def _mark(alert: Alert) -> str:
    return alert.labels.get("drift") or alert.labels.get("level") or alert.severity


def _list(title: str, about: str, lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    return render(
        "alertlist", title=title, about=about, lines=lines[:SHOWN_LINES], count=len(lines),
        hidden=max(0, len(lines) - SHOWN_LINES),
    )  # fmt: skip
