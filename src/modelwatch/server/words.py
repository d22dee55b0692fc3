"""How numbers, spans of time and foreign text are written on a page: units, digits, no-break spaces, never NaN."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

NBSP = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"
MISSING = DASH  # stands where there is no number
_LONGEST = 120  # characters of a name that come from outside; the rest is an ellipsis
_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of words and of emoji


HUGE = 1e300  # written in per cent or milliseconds it must be finite, too


def finite(value: Any) -> float | None:
    """Return `value` as a float, or None for None, NaN, infinities and what is no number that can be written.

    Examples
    --------
    >>> finite(3), finite(float("nan")), finite("x")
    (3.0, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if abs(number) < HUGE else None  # which NaN is not


def clean(value: Any, longest: int = _LONGEST) -> str:
    r"""Return foreign text in a form that is safe to encode and read: one line, no controls, no overrides, bounded.

    Escaping is the template's work, not this function's.

    Examples
    --------
    >>> clean("a\x00b\u202ec") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    True
    """
    text = "".join(_shown(c) for c in str(value)[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _shown(character: str) -> str:
    """Return a character, or what stands for it where it would break the line, the encoding or the reading order."""
    if character in "\t\n\r":
        return " "
    hidden = unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in _JOINERS
    return "\N{REPLACEMENT CHARACTER}" if hidden else character


def number(value: float | None, digits: int = 0) -> str:
    """Return a number with grouped thousands, a true minus, and a dash for None.

    Examples
    --------
    >>> number(14940), number(-0.25, 1), number(None)
    ('14,940', '−0.2', '–')
    """
    known = finite(value)
    if known is None:
        return MISSING
    text = f"{known:,.{digits}f}"
    bare = text.lstrip("-")
    return f"\N{MINUS SIGN}{bare}" if text != bare and bare.strip("0.,") else bare


def percent(ratio: float | None, digits: int = 1) -> str:
    """Return a ratio in 0..1 as a percentage with its unit.

    Examples
    --------
    >>> percent(0.0042, 2) == "0.42" + NBSP + "%"
    True
    """
    known = finite(ratio)
    return MISSING if known is None else f"{number(100 * known, digits)}{NBSP}%"


def limit_percent(ratio: float | None) -> str:
    """Return a limit as a percentage with only the digits that it has: 1 %, 0.5 %."""
    known = finite(ratio)
    return MISSING if known is None else f"{float(f'{100 * known:.4g}'):,g}{NBSP}%"


def rate_number(value: float | None) -> str:
    """Return a rate or a time without unit: no digit, one under 20, two under 1."""
    known = finite(value)
    if known is None:
        return MISSING
    return number(known, 0 if abs(known) >= 19.95 or known == 0 else 1 if abs(known) >= 0.995 else 2)


def rate(value: float | None) -> str:
    """Return requests per second with the unit.

    Examples
    --------
    >>> rate(7.24) == "7.2" + NBSP + "req/s"
    True
    """
    return MISSING if finite(value) is None else f"{rate_number(value)}{NBSP}req/s"


def latency_parts(seconds: float | None) -> tuple[str, str]:
    """Return a latency as number and unit: ms below 10 s, s from there."""
    known = finite(seconds)
    if known is None:
        return MISSING, ""
    return (rate_number(known), "s") if known >= 9.9995 else (rate_number(1000 * known), "ms")


def latency(seconds: float | None) -> str:
    """Return a latency with its unit.

    Examples
    --------
    >>> latency(0.268) == "268" + NBSP + "ms", latency(12) == "12.0" + NBSP + "s"
    (True, True)
    """
    value, unit = latency_parts(seconds)
    return f"{value}{NBSP}{unit}" if unit else value


def limit_latency(seconds: float | None) -> str:
    """Return a latency limit with only the digits that it has: 200 ms, 2.5 ms."""
    known = finite(seconds)
    if known is None:
        return MISSING
    return f"{float(f'{known:.4g}'):,g}{NBSP}s" if known >= 10 else f"{float(f'{1000 * known:.4g}'):,g}{NBSP}ms"


def size(count: float | None) -> str:
    """Return bytes in the largest fitting unit, three digits at most.

    Examples
    --------
    >>> size(5 * 2**30) == "5.00" + NBSP + "GiB", size(1536) == "1.50" + NBSP + "KiB", size(None)
    (True, True, '–')
    """
    known = finite(count)
    if known is None:
        return MISSING
    for unit, bytes_of in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(known) >= bytes_of * 0.9995:
            scaled = known / bytes_of
            return f"{number(scaled, 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0)}{NBSP}{unit}"
    return f"{number(known)}{NBSP}B"


def day_and_clock(unix: float | None) -> str:
    """Return a date with the time of day in UTC, for what is not of today only.

    Examples
    --------
    >>> day_and_clock(0) == "1" + NBSP + "Jan 1970, 00:00" + NBSP + "UTC"
    True
    """
    known = finite(unix)
    if known is None or not -62e9 < known < 250e9:
        return MISSING
    at = datetime.fromtimestamp(known, timezone.utc)
    return f"{at.day}{NBSP}{at:%b %Y, %H:%M}{NBSP}UTC"


def bracket(bounds: Sequence[float | None] | None) -> str:
    """Return the bucket that a quantile lies in: `75–100 ms`, or `over 10 s` for the one without an upper edge."""
    if bounds is None or len(bounds) != 2 or finite(bounds[0]) is None:
        return MISSING
    low, high = limit_latency(bounds[0]), limit_latency(bounds[1])
    if finite(bounds[1]) is None:
        return f"over {low}"
    number_only, unit = low.split(NBSP)
    return f"{number_only if high.endswith(NBSP + unit) else low}{DASH}{high}"


def span(seconds: float | None) -> str:
    """Return a span of time as one or two units.

    Examples
    --------
    >>> span(9900) == "2" + NBSP + "h" + NBSP + "45" + NBSP + "min", span(300) == "5" + NBSP + "min"
    (True, True)
    """
    known = finite(seconds)
    if known is None:
        return MISSING
    if 0 < known < 0.95:
        return f"{known:.1g}{NBSP}s"
    whole = max(0, round(known))
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size}{NBSP}{unit}" + (f"{NBSP}{rest}{NBSP}{small_unit}" if rest else "")
    return f"{whole}{NBSP}s"


def age(seconds: float | None) -> str:
    """Return how old something is: whole seconds, at least one, and only the larger unit from a minute on."""
    known = finite(seconds)
    if known is None:
        return MISSING
    whole = max(1, round(known))
    for size, unit in ((172800, "d"), (7200, "h"), (120, "min")):
        if whole >= size:
            return f"{whole // {'d': 86400, 'h': 3600, 'min': 60}[unit]}{NBSP}{unit}"
    return f"{whole}{NBSP}s"


def clock(unix: float | None, *, seconds: bool = False) -> str:
    """Return the time of day in UTC, 24 hours.

    Examples
    --------
    >>> clock(0), clock(61, seconds=True)
    ('00:00', '00:01:01')
    """
    known = finite(unix)
    if known is None or not -62e9 < known < 250e9:
        return MISSING
    return datetime.fromtimestamp(known, timezone.utc).strftime("%H:%M:%S" if seconds else "%H:%M")


def plural(value: float | None, one: str, many: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> plural(1, "worker", "workers"), plural(3, "worker", "workers")
    ('1 worker', '3 workers')
    """
    return f"{number(value)} {one if finite(value) == 1 else many}"


def listed(words: Sequence[str]) -> str:
    """Return words as prose: `a, b and c`.

    Examples
    --------
    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
