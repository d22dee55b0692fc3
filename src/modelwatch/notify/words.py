"""A notice in words, the same for every medium: title, lines, links. Each medium escapes them for itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import NamedTuple

from modelwatch.notify.alert import Alert, Notice

MOST_SHOWN = 10  # alerts with lines of their own
_SIGNS = {"critical": "CRITICAL", "warning": "WARNING", "info": "INFO", "none": "NOTE"}
_LINKED = re.compile(r"(?i)\b(https?|ftp|mailto|file|www)(?=[:.])")


class Entry(NamedTuple):
    """One alert in words: its headline, its values by name, and some sentences."""

    headline: str
    facts: tuple[tuple[str, str], ...]
    text: str


class Words(NamedTuple):
    """A notice in words.

    more : how many alerts are not among the entries; a sentence, or empty.
    links : (what it is, address).
    """

    title: str
    lead: str
    entries: tuple[Entry, ...]
    more: str
    links: tuple[tuple[str, str], ...]


def words_of(notice: Notice) -> Words:
    """Return a notice in words."""
    shown = notice.alerts[:MOST_SHOWN]
    left = notice.firing + notice.resolved - len(shown)
    return Words(
        title_of(notice), _lead(notice), tuple(_entry(alert) for alert in shown),
        f"and {left:,} more" if left > 0 else "", tuple(_links(notice)),
    )  # fmt: skip


def title_of(notice: Notice) -> str:
    """Return the one line that says most."""
    state = {
        "resolved": "RESOLVED",
        "acknowledged": "ACKNOWLEDGED",
        "test": "TEST",
        "escalated": f"{_SIGNS[notice.severity]}, NOT ACKNOWLEDGED",
    }.get(notice.kind, _SIGNS[notice.severity])
    count = notice.firing or notice.resolved
    of_model = f" of {notice.group.model}" if notice.group.model else ""
    return f"[{state}] {notice.group.name}{of_model}{f' ({count:,})' if count > 1 else ''}"


def _lead(notice: Notice) -> str:
    said = [f"{notice.firing:,} firing"] if notice.firing else []
    said += [f"{notice.resolved:,} resolved"] if notice.resolved else []
    lead = ", ".join(said)
    return f"{lead}; acknowledged by {notice.by}" if notice.by else lead


def _entry(alert: Alert) -> Entry:
    facts = [("Model", alert.model), ("Version", alert.version)]
    facts += [(name.replace("_", " ").capitalize(), value) for name, value in alert.labels.items()]
    facts += [("Severity", alert.severity.upper()), ("Since", moment(alert.started_at))]
    if alert.ended_at is not None:
        facts.append(("Until", moment(alert.ended_at)))
    return Entry(alert.summary or alert.name, tuple((name, value) for name, value in facts if value), alert.description)


def _links(notice: Notice) -> Iterator[tuple[str, str]]:
    for alert in notice.alerts[:1]:
        for name, url in (("Runbook", alert.runbook_url), ("Dashboard", alert.dashboard_url)):
            if is_link(url):
                yield name, url


def is_link(url: str) -> bool:
    """Tell whether an address may stand in a message as a link.

    Examples
    --------
    >>> is_link("https://example.com/runbooks/a?b=c"), is_link("javascript:alert(1)"), is_link("https://a|b>c")
    (True, False, False)
    """
    return bool(re.fullmatch(r"https?://[^\s\"'<>|`\\^{}]+", url))


def moment(at: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> moment(1_700_000_000)
    '2023-11-14 22:13:20 UTC'
    """
    try:
        return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return "?"


def rfc3339(at: float) -> str:
    """Return a time for programs.

    Examples
    --------
    >>> rfc3339(1_700_000_000.25)
    '2023-11-14T22:13:20.250000Z'
    """
    try:
        return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00.000000Z"


def inert(text: str) -> str:
    r"""Return a text in which no program finds a link or somebody to call: invisible spaces break them.

    Examples
    --------
    >>> inert("@channel see http://a.example")
    '@\u200bchannel see http\u200b://a.example'
    """
    return _LINKED.sub("\\1\u200b", text).replace("@", "@\u200b")


def as_text(notice: Notice) -> str:
    """Return the whole of it as plain text, with no link but ours."""
    words = words_of(notice)
    blocks = [inert(words.lead)]
    for entry in words.entries:
        lines = [entry.headline, *(f"{name}: {value}" for name, value in entry.facts)]
        lines += ["", entry.text] if entry.text else []
        blocks.append(inert("\n".join(lines)))
    if words.more:
        blocks.append(words.more)
    blocks.append("\n".join(f"{name}: {url}" for name, url in words.links))
    return "\n\n".join(block for block in blocks if block) + "\n"
