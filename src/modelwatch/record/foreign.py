"""What the host has registered with prometheus_client, for the same page; without families of our names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from modelwatch import names

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector, CollectorRegistry

OURS = frozenset(
    metric.name.removesuffix("_total") for metric in vars(names).values() if isinstance(metric, names.Metric)
)
#: Collectors of prometheus_client's own that know one process only: one worker does not speak for all.
PER_PROCESS = frozenset({"ProcessCollector", "PlatformCollector", "GCCollector"})


class _Guarded:
    """A registry whose collectors fail one by one."""

    def __init__(self, registry: CollectorRegistry, on_error: Callable[[str, Exception], None]) -> None:
        self._registry, self._on_error = registry, on_error

    def collect(self) -> Iterator[Metric]:
        # the registry has no public list of its collectors, and its own collect() ends at the first one that raises
        collectors: list[Collector] = [
            collector
            for collector in getattr(self._registry, "_collector_to_names", {})
            if type(collector).__name__ not in PER_PROCESS
        ]
        for collector in collectors:
            try:
                families: list[Any] = list(collector.collect())
            except Exception as error:  # noqa: BLE001
                self._on_error(type(collector).__name__, error)
                continue
            yield from (family for family in families if family.name not in OURS)


def render(registry: CollectorRegistry, *, openmetrics: bool, on_error: Callable[[str, Exception], None]) -> bytes:
    """Return the exposition of a prometheus_client registry, without `# EOF`."""
    from prometheus_client.exposition import generate_latest
    from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

    render_family: Any = generate_openmetrics if openmetrics else generate_latest
    parts = []
    for family in _Guarded(registry, on_error).collect():
        one = _Single(family)
        try:
            text: bytes = render_family(one)
        except Exception as error:  # noqa: BLE001 - garbage from a collector
            on_error(str(getattr(family, "name", "unknown"))[:128], error)
            continue
        parts.append(text.removesuffix(b"# EOF\n"))
    return b"".join(parts)


class _Single:
    """One family as a registry."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family
