"""What `modelwatch serve` tells its pages: the status of the host with its own evaluation, objectives and settings."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwatch.clock import SteadyClock
from modelwatch.config import Config, ModelConfig
from modelwatch.errors import ModelwatchError
from modelwatch.slo import SloStatus
from modelwatch.sources.evaluated import HostCounts, alerts_json, host_slos, slo_json
from modelwatch.sources.settings import Series, settings

if TYPE_CHECKING:
    from modelwatch.serve.run import Parts

SLOS_EVERY_S = 60.0


class Slos:
    """How the objectives stand; read anew once a minute."""

    def __init__(self, config: Config, live: Path, clock: SteadyClock) -> None:
        self._config, self._live, self._clock = config, live, clock
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._found: Mapping[str, list[SloStatus]] = {}

    def read(self) -> Mapping[str, list[SloStatus]]:
        """Return the standing of every objective, by model.

        Raises
        ------
        sqlite3.Error, OSError, ModelwatchError   the counts cannot be read.
        """
        with self._lock:
            now = self._clock.monotonic()
            if now - self._at >= SLOS_EVERY_S:
                self._found = host_slos(self._config, HostCounts(self._live, self._clock))
                self._at = now
            return self._found


class Told:
    """Puts together what the parts of a `serve` know.

    Parameters
    ----------
    parts : of the one that runs.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._slos = Slos(parts.config, parts.live, parts.clock)
        self._settings = settings(parts.config, parts.live)
        self._series = Series(parts.live, parts.clock.monotonic)

    def status(self) -> dict[str, Any]:
        """Return the status of the host with `alerts`, `slos` and `evaluation`. Never raises for a file."""
        evaluator = self.parts.evaluator
        known = {"evaluation": evaluator.state(), "alerts": alerts_json(evaluator.found), "slos": self._standing()}
        return {**with_silent(self.parts.status.read(), self.parts.config), **known}

    def _standing(self) -> dict[str, Any]:
        try:
            return slo_json(self._slos.read())
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            return {"reason": str(error) or repr(error)}

    def objectives(self) -> Mapping[str, list[SloStatus]]:
        """Return the standing of every objective, by model; empty where the counts cannot be read."""
        try:
            return self._slos.read()
        except (sqlite3.Error, OSError, ModelwatchError):
            return {}

    def settings(self) -> dict[str, Any]:
        """Return the configuration as it was understood, with the series of every model."""
        return {**self._settings, "series": self._series.read()}


def with_silent(status: dict[str, Any], config: Config) -> dict[str, Any]:
    """Return a status with the models that have counted nothing, too."""
    seen = {one["name"] for one in status["models"]}
    silent = [_silent(model) for name, model in config.models.items() if name not in seen]
    return {**status, "models": [*status["models"], *silent]}


def _silent(model: ModelConfig) -> dict[str, Any]:
    """Return a model that has counted nothing for a day: what fires of it is shown, and nothing else can be told."""
    nothing: dict[str, Any] = {"readings": [], "details": {}, "history": {}}
    unknown = dict.fromkeys(("quality", "drift", "estimate"))
    return {"name": model.name, "version": model.version, "task": model.task, **nothing, **unknown}
