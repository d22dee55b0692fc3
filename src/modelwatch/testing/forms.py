"""The forms of PagerDuty and Slack: what is wrong with a message by their documentation, and what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modelwatch.testing.receivers import Received

ACTIONS = {"trigger": "firing", "acknowledge": "acknowledged", "resolve": "resolved"}
SEVERITIES = ("critical", "error", "warning", "info")
LONGEST_KEY, LONGEST_SUMMARY = 255, 1024
MOST_BLOCKS, LONGEST_HEADER, LONGEST_SECTION, MOST_FIELDS, LONGEST_FIELD, MOST_ATTACHMENTS = (
    50,
    150,
    3000,
    10,
    2000,
    100,
)
_COLOUR = re.compile(r"good|warning|danger|#[0-9a-fA-F]{6}")
_LINK = re.compile(r"https?://\S+")


class Said(NamedTuple):
    """What a message says: "firing", "acknowledged" or "resolved"; of which incident, if it has a key; in words."""

    status: str
    key: str
    words: str


@dataclass(frozen=True)
class Form:
    """The messages of one kind of receiver.

    Parameters
    ----------
    name : of the kind, as in the configuration.
    faults : returns what is wrong with a message, in words; nothing of one that is well formed.
    says : returns what a well-formed message says.
    taken, refused : the receiver's answers: (status, headers, words).

    Examples
    --------
    >>> event = {"routing_key": "k", "event_action": "resolve", "dedup_key": "a"}
    >>> PAGERDUTY.faults(event), PAGERDUTY.says(event)
    ([], Said(status='resolved', key='a', words=''))
    >>> PAGERDUTY.faults({"routing_key": "k", "event_action": "resolve"})
    ['dedup_key is None']
    >>> SLACK.faults({"blocks": []})
    ['there is no text, no block and no attachment']
    """

    name: str
    faults: Callable[[Any], list[str]]
    says: Callable[[Any], Said]
    taken: tuple[int, Mapping[str, str], str]
    refused: tuple[int, Mapping[str, str], str]

    def answer(self, request: Received) -> tuple[int, Mapping[str, str], str]:
        """Answer as the service does: what is not well formed is refused for good."""
        return self.refused if self.faults(request.body) else self.taken


def texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(one)


def _is_text(value: Any, longest: float = float("inf")) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest


# -- PagerDuty ---------------------------------------------------------------------------------------------------------


def _event_faults(body: Any) -> list[str]:
    """Return what is wrong with an event of the Events API v2.

    References
    ----------
    https://developer.pagerduty.com/docs/send-alert-event
    """
    if not isinstance(body, dict):
        return ["it is no object"]
    action, key = body.get("event_action"), body.get("dedup_key")
    found = [] if _is_text(body.get("routing_key")) else ["routing_key is missing"]
    if action not in ACTIONS:
        found.append(f"event_action is {action!r}")
    if not _is_text(key, LONGEST_KEY) and (key is not None or action != "trigger"):
        found.append(f"dedup_key is {key!r}")
    return found + (list(_payload_faults(body)) if action == "trigger" else [])


def _payload_faults(body: Mapping[str, Any]) -> Iterator[str]:
    payload = body.get("payload")
    if not isinstance(payload, dict):
        yield "payload is missing"
        return
    if not _is_text(payload.get("summary"), LONGEST_SUMMARY):
        yield f"payload.summary is {payload.get('summary')!r}"
    if not _is_text(payload.get("source")):
        yield f"payload.source is {payload.get('source')!r}"
    if payload.get("severity") not in SEVERITIES:
        yield f"payload.severity is {payload.get('severity')!r}"
    for name in ("timestamp", "component", "group", "class"):
        if not isinstance(payload.get(name, ""), str):
            yield f"payload.{name} is {payload[name]!r}"
    if not isinstance(payload.get("custom_details", {}), dict):
        yield "payload.custom_details is no object"
    for link in body.get("links") or ():
        if not isinstance(link, dict) or not _LINK.fullmatch(str(link.get("href"))):
            yield f"a link is {link!r}"


def _event_says(body: Any) -> Said:
    told = {name: body[name] for name in ("payload", "links") if name in body}
    return Said(ACTIONS[body["event_action"]], body.get("dedup_key") or "", "\n".join(texts(told)))


PAGERDUTY = Form(
    "pagerduty", _event_faults, _event_says, (202, {}, json.dumps({"status": "success", "message": "Event processed"})),
    (400, {}, json.dumps({"status": "invalid event", "message": "Event object is invalid"})),
)  # fmt: skip

# -- Slack -------------------------------------------------------------------------------------------------------------


def _message_faults(body: Any) -> list[str]:
    """Return what is wrong with a message of an incoming webhook.

    References
    ----------
    https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
    https://docs.slack.dev/reference/block-kit/blocks, https://docs.slack.dev/legacy/legacy-messaging
    """
    if not isinstance(body, dict):
        return ["it is no object"]
    blocks, attachments = body.get("blocks") or [], body.get("attachments") or []
    found = []
    if not (body.get("text") or blocks or attachments):
        found.append("there is no text, no block and no attachment")
    if len(blocks) > MOST_BLOCKS or len(attachments) > MOST_ATTACHMENTS:
        found.append(f"there are {len(blocks)} blocks and {len(attachments)} attachments")
    found += [f"a block is {block!r}" for block in blocks if not _is_block(block)]
    return found + [f"an attachment is {one!r}" for one in attachments if not _is_attachment(one)]


def _is_block(block: Any) -> bool:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "header":
        return _is_words(block.get("text"), LONGEST_HEADER, ("plain_text",))
    if kind == "section":
        fields = block.get("fields", [])
        has_text = "text" in block
        return (
            (has_text or bool(fields))
            and (not has_text or _is_words(block["text"], LONGEST_SECTION))
            and len(fields) <= MOST_FIELDS
            and all(_is_words(one, LONGEST_FIELD) for one in fields)
        )
    if kind == "context":
        elements = block.get("elements") or []
        return 0 < len(elements) <= MOST_FIELDS and all(_is_words(one, LONGEST_FIELD) for one in elements)
    return kind in ("divider", "actions", "image")


def _is_words(value: Any, longest: int, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> bool:
    return isinstance(value, dict) and value.get("type") in kinds and _is_text(value.get("text"), longest)


def _is_attachment(one: Any) -> bool:
    if not isinstance(one, dict) or not any(_is_text(one.get(name)) for name in ("text", "fallback", "pretext")):
        return False
    colour, link = one.get("color"), one.get("title_link")
    return (not colour or bool(_COLOUR.fullmatch(colour))) and (not link or bool(_LINK.fullmatch(link)))


def _message_says(body: Any) -> Said:
    """Read a message of modelwatch ("[RESOLVED] …") or of the generated Alertmanager ("RESOLVED: …")."""
    attachments = body.get("attachments") or [{}]
    title = body.get("text") or attachments[0].get("title") or ""
    return Said("resolved" if title.lstrip("[").startswith("RESOLVED") else "firing", "", "\n".join(texts(body)))


SLACK = Form("slack", _message_faults, _message_says, (200, {}, "ok"), (400, {}, "invalid_payload"))
