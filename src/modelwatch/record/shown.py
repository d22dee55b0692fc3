"""What the host gave, as people are shown it: short, of plain types, and without running any code of its own."""

from __future__ import annotations

import itertools
import json
import reprlib
from collections.abc import Mapping
from typing import Any

from modelwatch.labels import is_missing, label_text, name_of, plain_number

MOST_INPUT = 16_384  # characters of what a reviewer is shown
MOST_ITEMS, MOST_DEPTH = 5000, 20  # of it, where it is no text
HUGE = 2**63  # whole numbers from here on are shown as floats


def shown(given: object) -> str | None:
    """Return what a reviewer is shown, as text of at most 16 384 characters; None where there is nothing.

    A text as it is, anything else as JSON. Values of types that JSON does not know are shown as <their type>.
    """
    if given is None or type(given) is str:
        return given and given[:MOST_INPUT]
    return json.dumps(_plain(given, [MOST_ITEMS], MOST_DEPTH), ensure_ascii=False)[:MOST_INPUT]


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """Return a value without anything that could run code of its own, and not too much of it."""
    kind = type(value)
    left[0] -= 1
    if value is None or kind is bool or kind is float:
        return value
    if kind is str:
        return value[:MOST_INPUT]
    if (kind is dict or kind is list or kind is tuple) and depth > 0:
        if kind is dict:
            found = {}
            for name, item in itertools.islice(value.items(), max(0, left[0])):
                if type(name) is str and left[0] > 0:
                    found[name] = _plain(item, left, depth - 1)
            return found
        return [_plain(item, left, depth - 1) for item in itertools.islice(value, max(0, left[0])) if left[0] > 0]
    if kind is int and abs(value) < HUGE:
        return value
    number = plain_number(value)
    return f"<{name_of(kind)}>" if number is None else number


def plain_text(value: Any) -> str | None:
    """Return a text without any code of its own; None for anything else."""
    return str.__str__(value) if issubclass(type(value), str) else None


def text_of(value: Any) -> str | None:
    """Return a value as the text that is counted; None where there is none."""
    if is_missing(value):
        return None
    text, refused = label_text(value)
    return None if refused else text


def shown_features(features: Any) -> Mapping[str, Any] | None:
    """Return the features that a reviewer is shown: numbers and texts."""
    if type(features) is not dict:
        return None
    found: dict[str, Any] = {}
    for name, value in features.items():
        if type(name) is str:
            found[name] = value[:MOST_INPUT] if type(value) is str else plain_number(value)
    return found


def told(value: Any) -> str:
    """Return a value as a message shows it: short, and without any code of its own."""
    return reprlib.repr(_plain(value, [10], 2))
