"""What the host has registered with prometheus_client, if it uses it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any


def host_registry() -> Any:
    """Return the registry of the host; None where it does not use prometheus_client.

    With `PROMETHEUS_MULTIPROC_DIR` it is that of all workers. The metrics of the Python process that prometheus_client
    adds by itself are left out later: one worker does not speak for all.
    """
    client = sys.modules.get("prometheus_client")
    if client is None or not hasattr(client, "REGISTRY"):
        return None
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = client.CollectorRegistry()
        registry.register(AllWorkers())
        return registry
    return client.REGISTRY


class AllWorkers:
    """Collects the files of all workers; a folder that is missing or damaged fails with the collection, not before."""

    def collect(self) -> Iterable[Any]:
        """Return the families."""
        from prometheus_client.multiprocess import MultiProcessCollector

        families: Iterable[Any] = MultiProcessCollector(None).collect()  # type: ignore[no-untyped-call]
        return families
