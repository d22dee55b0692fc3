"""Slack, by an incoming webhook: blocks in which no value can call somebody or make a link."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from modelwatch.notify.alert import Notice
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Outcome
from modelwatch.notify.words import inert, words_of

LONGEST_HEADER, LONGEST_TEXT, LONGEST_FIELD = 150, 2900, 1900
MOST_FIELDS = 10


@dataclass(frozen=True)
class Slack:
    """A channel of Slack.

    References
    ----------
    https://docs.slack.dev/messaging/formatting-message-text, https://docs.slack.dev/reference/block-kit/blocks
    """

    url: SecretStr
    channel: str = ""

    def send(self, notice: Notice, client: Client) -> Outcome:
        """Send a notice."""
        body = message(notice)
        if self.channel:
            body["channel"] = self.channel
        return client.post(self.url.get_secret_value(), json.dumps(body).encode(), {"Idempotency-Key": notice.id})


def message(notice: Notice) -> dict[str, Any]:
    """Return the body of a message."""
    words = words_of(notice)
    blocks: list[dict[str, Any]] = [{"type": "header", "text": _plain(words.title, LONGEST_HEADER)}]
    if words.lead:
        blocks.append({"type": "context", "elements": [_plain(words.lead, LONGEST_FIELD)]})
    for entry in words.entries:
        facts = [_plain(f"{name}: {value}", LONGEST_FIELD) for name, value in entry.facts[:MOST_FIELDS]]
        blocks.append({"type": "section", "text": _plain(entry.headline, LONGEST_TEXT), "fields": facts})
        if entry.text:
            blocks.append({"type": "section", "text": _plain(entry.text, LONGEST_TEXT)})
    if words.more:
        blocks.append({"type": "context", "elements": [_plain(words.more, LONGEST_FIELD)]})
    if words.links:
        text = "  ".join(f"<{escaped(url)}|{name}>" for name, url in words.links)
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}})
    return {
        "text": escaped(inert(words.title)),  # of the notification
        "mrkdwn": False, "unfurl_links": False, "unfurl_media": False, "link_names": False, "parse": "none",
        "blocks": blocks,
    }  # fmt: skip


def _plain(text: str, longest: int) -> dict[str, Any]:
    """Return a text that Slack shows as it is; in a plain_text `<!channel>` is no command, and &lt; is no <."""
    return {"type": "plain_text", "text": inert(text)[:longest] or " ", "emoji": False}


def escaped(text: str) -> str:
    """Return a text for mrkdwn, as Slack's documentation wants it.

    Examples
    --------
    >>> escaped("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
