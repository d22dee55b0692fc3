"""Names and numbers as YAML, PromQL and templates want them written: whatever they hold is harmless."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import yaml

from modelwatch.signals.core import matcher, quoted

__all__ = ["duration", "matcher", "quoted", "slug", "template_text", "yaml_text"]

_UNSAFE = re.compile(r"[^a-z0-9_-]+")


class _Dumper(yaml.SafeDumper):
    """Writes every value out: files without anchors are easier to read."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Write text of several lines as it reads."""
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def yaml_text(value: Mapping[str, Any] | list[Any]) -> str:
    """Return a value as YAML, in the order of its keys."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000, default_flow_style=False)


def slug(name: str) -> str:
    """Return a name for files and identifiers; two names never share one.

    Examples
    --------
    >>> slug("churn_v2"), slug("Déjà vu") == slug("deja vu")
    ('churn_v2', False)
    """
    safe = _UNSAFE.sub("_", name.lower())[:40].strip("_-")
    if safe == name:
        return name
    digest = hashlib.blake2b(name.encode(), digest_size=3).hexdigest()
    return f"{safe or 'model'}_{digest}"


def template_text(value: str) -> str:
    """Return a text that a template of Prometheus shows as it is.

    Examples
    --------
    >>> template_text("a {{ b }}")
    'a {{ "{{" }} b }}'
    """
    return value.replace("{{", '{{ "{{" }}')


def duration(seconds: float) -> str:
    """Return a span of time as Prometheus and Alertmanager write it.

    Examples
    --------
    >>> duration(300), duration(86400), duration(90), duration(1.25)
    ('5m', '1d', '90s', '1250ms')
    """
    whole = round(seconds)
    if abs(seconds - whole) > 1e-9:
        return f"{max(round(seconds * 1000), 1)}ms"
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"
