"""Alerts and objectives of a host for pages of which nobody evaluates all the time: worked out when asked."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.errors import ModelwatchError
from modelwatch.sources.evaluated import HostCounts, alerts_json, evaluate_host, host_slos, slo_json

ALERTS_EVERY_S, SLOS_EVERY_S = 15.0, 60.0


class _Kept:
    """What a function gave last; asked again when it is older than its time."""

    def __init__(self, make: Callable[[], dict[str, Any]], every_s: float, monotonic: Callable[[], float]) -> None:
        self._make, self._every_s, self._monotonic = make, every_s, monotonic
        self._at: float | None = None
        self._found: dict[str, Any] = {}
        self.reason: str | None = None

    def read(self) -> dict[str, Any]:
        now = self._monotonic()
        if self._at is None or now - self._at >= self._every_s or self.reason is not None:
            try:
                self._found, self.reason = self._make(), None
                self._at = now
            except (sqlite3.Error, OSError, ModelwatchError) as error:
                self.reason = str(error) or repr(error)
        return self._found

    @property
    def age_s(self) -> float | None:
        return None if self._at is None else self._monotonic() - self._at


class StandingSource:
    """Reads the alerts and the objectives of a host.

    States are those of a monitor that ran for the last hour and a half; nothing is kept, and nobody is told.

    Parameters
    ----------
    config : its models, objectives and alerts.
    live : path of the `live.db`; that of the configuration without it.
    """

    def __init__(self, config: Config, live: Path | None = None, clock: SteadyClock | None = None) -> None:
        path, clock = live or config.live, clock or SteadyClock()
        self._lock = threading.Lock()
        self._alerts = _Kept(
            lambda: alerts_json(evaluate_host(config, HostCounts(path, clock))), ALERTS_EVERY_S, clock.monotonic
        )
        self._slos = _Kept(lambda: slo_json(host_slos(config, HostCounts(path, clock))), SLOS_EVERY_S, clock.monotonic)

    def read(self) -> dict[str, Any]:
        """Return `alerts`, `slos` and `evaluation`, as `modelwatch serve` has them. Never raises for a file."""
        with self._lock:
            alerts, slos = self._alerts.read(), self._slos.read()
            return {
                "alerts": alerts or {"firing": 0, "alerts": []},
                "slos": slos if self._slos.reason is None else {"reason": self._slos.reason},
                "evaluation": {"evaluated_s_ago": self._alerts.age_s, "leads": True, "reason": self._alerts.reason},
            }
