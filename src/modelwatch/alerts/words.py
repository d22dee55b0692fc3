"""Numbers and spans of time of alerts, in words."""

from __future__ import annotations


def amount(value: float | None, unit: str) -> str:
    """Return a value with its unit.

    Examples
    --------
    >>> amount(0.0523, "ratio"), amount(3.0, "replicas"), amount(0.2104, "score"), amount(None, "ratio")
    ('5.2 %', '3 replicas', '0.210', 'unknown')
    """
    if value is None:
        return "unknown"
    if unit == "ratio":
        return f"{float(f'{100 * value:.2g}' if abs(value) < 0.1 else f'{100 * value:.3g}'):g} %"
    if unit == "score":
        return f"{value:.3f}"
    if unit == "times":
        return f"{value:.3g} times"
    return f"{value:.4g} {unit}".rstrip()


def window_words(seconds: float) -> str:
    """Return a window as people say it.

    Examples
    --------
    >>> window_words(300), window_words(3600), window_words(86400), window_words(15600)
    ('5 minutes', 'hour', 'day', '4.3 hours')
    """
    for unit, size in (("day", 86_400.0), ("hour", 3600.0), ("minute", 60.0)):
        if seconds >= size:
            n = seconds / size
            return unit if n == 1 else f"{float(f'{n:.2g}'):g} {unit}s"
    return f"{seconds:.2g} seconds"


def ago(seconds: float) -> str:
    """Return a span of time, short.

    Examples
    --------
    >>> ago(45), ago(90), ago(7200), ago(200000)
    ('45 s', '1 min', '2 h', '2 d')
    """
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
