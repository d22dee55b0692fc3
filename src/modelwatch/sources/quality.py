"""How good the models are, from the labels in the store: views that are read again when they are a while old."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from modelwatch.errors import ModelwatchError
from modelwatch.quality import quality
from modelwatch.reference import Reference
from modelwatch.sources.binary import binary

if TYPE_CHECKING:
    from modelwatch.config import Config, ModelConfig
    from modelwatch.groundtruth.store import Store

EVERY_S = 10.0
DAY_S = 86_400.0
DEPLOYS_S = 30 * DAY_S  # deploys that are shown
MOST_LABELS = 50_000  # the latest; a view over more would be no other


class QualitySource:
    """Reads the labels of the models of one store.

    Parameters
    ----------
    store : of samples and labels.
    models : their configuration.
    clock : Unix seconds.
    every_s : views that are younger are answered again.
    """

    def __init__(
        self,
        store: Store,
        models: dict[str, ModelConfig],
        clock: Callable[[], float] = time.time,
        every_s: float = EVERY_S,
    ) -> None:
        self.store, self.models, self.clock, self.every_s = store, models, clock, every_s
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, dict[str, Any]]] = {}
        self._references: dict[str, Reference] = {}

    @classmethod
    def from_config(cls, config: Config, every_s: float = EVERY_S) -> QualitySource | None:
        """Return the source of a configuration; None where it has no store.

        Raises
        ------
        ConfigError, MissingExtra   the store cannot be used.
        """
        if not config.store:
            return None
        from modelwatch.groundtruth.store import Store

        return cls(Store(config.store), dict(config.models), every_s=every_s)

    def read(self, model: str) -> dict[str, Any] | None:
        """Return what is known of the quality of a model as plain values; None for a model that is not configured.

        `state` is "ok", or "unavailable" with a `reason`. `views` is `Quality.to_dict()`; `waiting` says how many
        samples wait for a label, `oldest_waiting_s` for how long the oldest has, `labelled` how many have one.
        `deploys` are those of 30 days that somebody has told of, the latest first.
        `objective`, `window`, `segment` and `sampling` are those of the configuration. `binary` is what to expect of a
        classifier of two classes without labels, by its sampled predictions of the last day; see `binary`.
        """
        settings = self.models.get(model)
        if settings is None:
            return None
        with self._lock:
            now = self.clock()
            at, found = self._found.get(model, (float("-inf"), {}))
            if now - at >= self.every_s or at > now:
                found = self._look(settings, now)
                self._found[model] = now, found
            return found

    def _look(self, model: ModelConfig, now: float) -> dict[str, Any]:
        try:
            rows = self.store.rows(model.name, last=MOST_LABELS, by="labelled")
            counts = self.store.counts(model.name)
            told = self.store.deploys(model.name, now - DEPLOYS_S)
            without = self._without_labels(model, now)
        except ModelwatchError as error:
            return {"state": "unavailable", "reason": str(error)}
        size = model.ground_truth.window
        views = quality(rows, now, task=model.task, classes=model.classes, lasts=(min(100, size), size))
        truth = model.ground_truth
        objective = model.slos.accuracy.objective if model.slos.accuracy else None
        oldest = counts.oldest_waiting_at
        return {
            "state": "ok",
            "reason": None,
            "objective": objective,
            "window": size,
            "segment": model.segment,
            "sampling": {
                "rate": truth.sampling_rate,
                "strategy": truth.strategy,
                "strata": truth.strata,
                "weekly_budget": truth.weekly_budget,
            },
            "labelled": counts.labelled,
            "waiting": counts.waiting,
            "oldest_waiting_s": None if oldest is None else max(0.0, now - oldest),
            "views": views.to_dict(),
            "deploys": [deploy.to_dict() for deploy in told],
            "binary": without,
        }

    def _without_labels(self, model: ModelConfig, now: float) -> dict[str, Any] | None:
        if len(model.classes) != 2 or model.reference is None:
            return None
        if model.name not in self._references:
            self._references[model.name] = Reference.load(model.reference)
        rows = self.store.rows(model.name, model.version, since=now - DAY_S, last=MOST_LABELS, unlabelled=True)
        return binary(rows, model.classes, self._references[model.name])

    def close(self) -> None:
        """Close the store."""
        self.store.close()
