"""The configuration as it was understood, what it is run with, and how long what is kept: for people. No secrets."""

from __future__ import annotations

import contextlib
import platform
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from modelwatch.config import Config
from modelwatch.errors import ModelwatchError
from modelwatch.exposition import Page, Source
from modelwatch.groundtruth.database import Database
from modelwatch.groundtruth.writer import MOST_BYTES
from modelwatch.notify.commands import store_url
from modelwatch.notify.outbox import KEPT_S as NOTICES_KEPT_S
from modelwatch.sources.evaluated import HostCounts
from modelwatch.store.compaction import KEPT_S as COUNTS_KEPT_S
from modelwatch.store.compaction import TIERS
from modelwatch.store.reader import Totals

PACKAGES = (
    "modelwatch",
    "numpy",
    "pydantic",
    "SQLAlchemy",
    "starlette",
    "uvicorn",
    "scipy",
    "psutil",
    "prometheus-client",
)
SET, NOT_SET = "set", "not set"
SERIES_EVERY_S = 60.0


def settings(config: Config, live: Path | None = None) -> dict[str, Any]:
    """Return the settings as plain values.

    Of a secret, and of an address that may hold one, only whether it is set; of the store all but its password.
    """
    path, store = live or config.live, Database(store_url(config, live or config.live)).where
    alerting, service = config.alerting, config.service
    return {
        "service": {"name": service.name, "owner": service.owner, "replicas": service.replicas,
                    "health_url": _is_set(service.health_url)},
        "models": [_plain(model) for model in config.models.values()],
        "alerting": {
            **_plain(alerting),
            "receivers": {
                name: {"kind": one.kind, "target": SET, "options": dict.fromkeys(one.options, SET)}
                for name, one in alerting.receivers.items()
            },
            "alertmanager": _is_set(alerting.alertmanager),
        },
        "pages": {**_plain(config.pages), "tokens": {role: _is_set(held) for role, held in config.pages.tokens}},
        "store": store,
        "live": str(path),
        "time_scale": config.time_scale,
        "retention": retention(config),
        "versions": versions(),
    }  # fmt: skip


def retention(config: Config) -> dict[str, Any]:
    """Return how long what is kept, in seconds, as `time_scale` makes it; None: as long as the store is."""
    scale = config.time_scale
    minutes, hours = (tier.after / scale for tier in TIERS[1:3])
    return {
        "minutes_s": minutes, "hours_s": hours, "days_s": COUNTS_KEPT_S / scale,
        "samples_s": {name: model.ground_truth.retention_s for name, model in config.models.items()},
        "notices_s": NOTICES_KEPT_S, "store_bytes": MOST_BYTES,
    }  # fmt: skip


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of what runs; a package that is not installed is missing."""
    found = {"Python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version_of(name)
        except PackageNotFoundError:
            continue
    return found


def _is_set(value: object) -> str:
    return NOT_SET if value is None else SET


def _plain(value: Any) -> Any:
    """Return a part of the configuration as plain values, with every secret as whether it is set."""
    if isinstance(value, SecretStr):
        return SET
    if isinstance(value, BaseModel):
        return {name: _plain(held) for name, held in value}
    if isinstance(value, dict):
        return {str(name): _plain(held) for name, held in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(held) for held in value]
    if isinstance(value, str) and "://" in value:
        return SET  # an address may hold a password
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


class Series:
    """Counts the series that the host shows to Prometheus, by model and version; anew once a minute.

    live : path of the `live.db`.
    """

    def __init__(self, live: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.live, self._monotonic = live, monotonic
        self._lock = threading.Lock()
        self._at, self._found = float("-inf"), dict[str, int]()

    def read(self) -> dict[str, int]:
        """Return {"model version": series}; what was found last where the file cannot be read."""
        with self._lock:
            if self._monotonic() - self._at >= SERIES_EVERY_S:
                with contextlib.suppress(sqlite3.Error, OSError, ModelwatchError):
                    counts, totals = HostCounts(self.live), Totals()
                    totals.apply(counts.changes, counts.host.schemas)
                    self._found = {
                        f"{key.model} {key.version}": _lines(Source(*key, counts.host.schemas[key], tally))
                        for key, tally in sorted(totals.tallies.items())
                        if key in counts.host.schemas
                    }
                self._at = self._monotonic()
            return dict(self._found)


def _lines(source: Source) -> int:
    return sum(not line.startswith(b"#") for line in Page().render([source], []).splitlines())
