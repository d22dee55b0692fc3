"""The review of `modelwatch serve`: labels are stored and counted as the service does it, by one that is no worker."""

from __future__ import annotations

from pathlib import Path

from modelwatch.clock import SteadyClock
from modelwatch.config import Config, ModelConfig
from modelwatch.groundtruth.writer import Writer
from modelwatch.kernel import Kernel
from modelwatch.record.monitor import schema_of
from modelwatch.record.recorder import Recorder
from modelwatch.record.review import Review
from modelwatch.record.worker import Worker
from modelwatch.reference import Reference
from modelwatch.store.live import Key

STOP_S = 2.5


class Reviews:
    """The reviews of all models of a configuration, which share one store.

    Their labels are counted in rows of `live.db` beside those of the workers: a service that is down still reports
    nothing, and its replicas are not one more.

    Raises
    ------
    ConfigError, MissingExtra   the store, or a reference profile, cannot be used.
    """

    def __init__(self, config: Config, store: str, live: Path, clock: SteadyClock) -> None:
        self.writer = Writer.of(store)
        self.worker = Worker(live, clock)
        self.worker.scale(config.time_scale)
        self.worker.writer.registers = False
        self.all = [self._review(model, clock) for model in config.models.values()]

    def _review(self, model: ModelConfig, clock: SteadyClock) -> Review:
        reference = Reference.load(model.reference) if model.reference else None
        key = Key(model.name, model.version)
        schema = schema_of(model, reviewed=True, reference=reference)
        self.writer.store.keep_for(model.name, model.ground_truth.retention_s)
        self.worker.add(key, Recorder(Kernel(schema), self.worker.faults))
        review = Review(key, self.worker, self.writer, model.ground_truth, clock.now)
        self.worker.reviews[key] = review
        return review

    def close(self) -> None:
        """Store and count what is left."""
        self.writer.flush(STOP_S)
        self.worker.close(STOP_S)
