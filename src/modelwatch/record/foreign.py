"""What the host has registered with prometheus_client, for the same page; without families of our names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from modelwatch import names
from modelwatch.labels import label_text, name_of

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import CollectorRegistry

OnError = Callable[[str, Exception], None]
SUFFIXES = ("", "_total", "_created", "_bucket", "_count", "_sum")
#: Every name that a family, or a sample, of ours may have.
OURS = frozenset(
    metric.name.removesuffix("_total") + suffix
    for metric in vars(names).values()
    if isinstance(metric, names.Metric)
    for suffix in SUFFIXES
)
#: Collectors of prometheus_client's own that know one process only: one worker does not speak for all.
PER_PROCESS = frozenset({"ProcessCollector", "PlatformCollector", "GCCollector"})
_UNUSUAL = re.compile("[^a-zA-Z0-9_:]")


def render(registry: CollectorRegistry, *, openmetrics: bool, on_error: OnError) -> bytes:
    """Return the exposition of a prometheus_client registry, without `# EOF`.

    on_error : called with (collector, error) for a collector that raises and for each family that is none; it costs
        only itself.
    """
    from prometheus_client.exposition import generate_latest
    from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

    render_family: Any = generate_openmetrics if openmetrics else generate_latest
    parts: list[bytes] = []
    seen: set[str] = set()
    for collector, family in _families(registry, on_error):
        try:
            if not _is_ours(family):
                name = _check(family, seen)
                text: bytes = render_family(_Single(family))
                parts.append(text.removesuffix(b"# EOF\n"))
                seen.add(name)
        except Exception as error:  # noqa: BLE001 - garbage from a collector
            on_error(collector, error)
    return b"".join(parts)


def _families(registry: CollectorRegistry, on_error: OnError) -> Iterator[tuple[str, Any]]:
    """Yield (name of the collector, family); collectors fail one by one."""
    # the registry has no public list of its collectors, and its own collect() ends at the first one that raises
    registered: dict[Any, list[str]] = getattr(registry, "_collector_to_names", {})
    for collector, known in list(registered.items()):
        kind = name_of(type(collector))
        if kind in PER_PROCESS:
            continue
        name = label_text(known[0] if known else kind)[0]
        try:
            families = list(collector.collect())
        except Exception as error:  # noqa: BLE001
            on_error(name, error)
            continue
        for family in families:
            yield name, family


def _is_ours(family: Any) -> bool:
    """Tell whether the family, or one of its samples, has a name that the page has already."""
    return any(_UNUSUAL.sub("_", name) in OURS for name in (family.name, *(sample.name for sample in family.samples)))


def _check(family: Any, seen: set[str]) -> str:
    """Return the name as it will be shown. What stands on the page twice, or has no type, would cost all of it."""
    from prometheus_client.metrics_core import METRIC_TYPES

    name = _UNUSUAL.sub("_", family.name)
    if name in seen:
        raise ValueError(f"{name} stands on the page already")
    if family.type not in METRIC_TYPES:
        raise ValueError(f"{name} is of no type that Prometheus knows")
    return name


class _Single:
    """One family as a registry."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family
