"""What people did about alerts, and can do now: forms beside an alert, the silences that hold, and the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from modelwatch.server import words
from modelwatch.server.frame import render
from modelwatch.server.standing import STATES, Alert, title_of
from modelwatch.server.words import clean, finite

LENGTHS = ("30m", "1h", "2h", "4h", "8h", "24h", "7d")
APART = ("feature_name", "segment", "slo")  # labels that a silence of one alert names, too
SHOWN_HISTORY = 40
_WHAT = {
    "began": "began to fire",
    "ended": "ended",
    "severity": "changed its severity",
    "acknowledge": "acknowledged",
    "silence": "silenced",
    "end silence": "ended a silence",
}


class Hand(NamedTuple):
    """Who looks at the page.

    token : what the forms bring along.   name : how they call themselves; empty for nothing yet.
    may : whether they may acknowledge and silence.   said : what was just done.
    """

    token: str
    name: str
    may: bool
    said: str = ""


class Event(NamedTuple):
    """A line of the history."""

    when: str
    state: str
    what: str
    name: str
    about: str
    who: str
    said: str


class Quieted(NamedTuple):
    """A silence that holds."""

    id: str
    what: str
    who: str
    note: str
    ends: str


def held_of(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what people did about alerts; None where nothing of it is kept, as on the pages of a service alone."""
    found = status.get("handling")
    return found if isinstance(found, Mapping) else None


def handle(
    alert: Alert, model: str, held: Mapping[str, Any] | None, hand: Hand | None, now: float, base: str
) -> Markup:
    """Return who looks after an alert and until when it is silent, with the forms to say so."""
    if held is None:
        return Markup()
    by = next((one["by"] for one in held["acknowledged"] if (one["alert"], one["model"]) == (alert.name, model)), "")
    silence = next((one for one in held["silences"] if _covers(one, alert, model, now)), None)
    matches = {"alertname": alert.name, "model": model}
    matches |= {name: alert.labels[name] for name in APART if alert.labels.get(name)}
    return Markup(
        render(
            "alerthandle", base=base, alert=alert.name, model=model, by=clean(by, 64), matches=sorted(matches.items()),
            silence=None if silence is None else quieted(silence, now), lengths=LENGTHS, hand=hand,
            unread=clean(held.get("reason") or "", 200),
        )
    )  # fmt: skip


def _covers(silence: Mapping[str, Any], alert: Alert, model: str, now: float) -> bool:
    own = {"alertname": alert.name, "model": model, "severity": alert.severity}
    values = {**alert.labels, "version": alert.labels.get("model_version", ""), **own}
    started = (finite(silence.get("starts_at")) or 0.0) <= now
    return started and all(values.get(name, "") == value for name, value in silence["matches"].items())


def quieted(silence: Mapping[str, Any], now: float) -> Quieted:
    """Return a silence in words."""
    ends = finite(silence.get("ends_at"))
    left = words.span(max(0.0, (ends or now) - now))
    what = ", ".join(clean(value, 80) for value in silence["matches"].values())
    until = f"{words.day_and_clock(ends)} ({left} left)"
    return Quieted(
        clean(silence["id"], 20), what, clean(silence["author"], 64), clean(silence["note"], 300), until
    )  # fmt: skip


def silences_card(held: Mapping[str, Any] | None, hand: Hand | None, now: float, base: str, model: str | None) -> str:
    """Return the silences that hold; nothing where there are none."""
    if held is None or not (held["silences"] or held.get("reason")):
        return ""
    rows = [quieted(one, now) for one in held["silences"]]
    return render(
        "silences", rows=rows, hand=hand, base=base, model=model or "", unread=clean(held.get("reason") or "", 200)
    )


def history_card(held: Mapping[str, Any] | None, model: str) -> str:
    """Return what happened to the alerts of a model, and to those of the service, the latest first."""
    if held is None:
        return ""
    found = [one for one in held["history"] if (one.get("model") or _of(one)) in {model, ""}]
    rows = [_event(one) for one in found[:SHOWN_HISTORY]]
    return render("alerthistory", rows=rows, hidden=len(found) - len(rows), unread=clean(held.get("reason") or "", 200))


def _of(one: Mapping[str, Any]) -> str:
    return str((one.get("matches") or {}).get("model", ""))


def _event(one: Mapping[str, Any]) -> Event:
    action, labels = str(one["action"]), one.get("labels") or {}
    name = clean(one.get("alertname") or (one.get("matches") or {}).get("alertname", ""), 60)
    shown = {str(key): clean(value, 80) for key, value in labels.items()}
    about = title_of(name, shown) if name else ", ".join(clean(v, 60) for v in (one.get("matches") or {}).values())
    state = STATES.get(str(one.get("severity")), "info") if action in {"began", "severity"} else "ok"
    said = _lasted(one) if action == "ended" else clean(one.get("summary") or "", 200)
    if action == "silence":
        said = f"until {words.day_and_clock(finite(one.get('ends_at')))}"
    who = "" if one.get("actor") == "modelwatch" else clean(one.get("actor", ""), 64)
    state = state if action in {"began", "severity", "ended"} else "none"
    return Event(words.day_and_clock(finite(one.get("at"))), state, _WHAT.get(action, action), name, about, who, said)


def _lasted(one: Mapping[str, Any]) -> str:
    since, ended = finite(one.get("since")), finite(one.get("ended_at"))
    return "" if since is None or ended is None else f"after {words.span(max(0.0, ended - since))}"
