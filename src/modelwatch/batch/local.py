"""The engine of one machine: parts of files and frames, counted by several threads, kept in a checkpoint when done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from modelwatch.batch.checkpoint import Checkpoint
from modelwatch.batch.counting import Buckets, Plan
from modelwatch.batch.engine import Batch, Counted, How
from modelwatch.batch.joined import count_joined
from modelwatch.batch.logs import Logs, Part, open_logs
from modelwatch.errors import ConfigError


@dataclass(frozen=True)
class LocalLog:
    """A log whose parts are read here."""

    logs: Logs

    @property
    def name(self) -> str:
        """The log, for messages."""
        return self.logs.name

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that any part has."""
        return self.logs.columns

    @property
    def rows(self) -> int | None:
        """How many rows there are, where every part knows."""
        return self.logs.rows

    def first_rows(self, columns: list[str], rows: int) -> Iterator[Batch]:
        """Yield batches of the first rows."""
        seen = 0
        for part in self.logs.parts:
            for batch in part.read(columns):
                yield batch
                seen += len(next(iter(batch.values())))
                if seen >= rows:
                    return

    def count(self, plan: Plan, how: How) -> Iterator[Counted]:
        """Yield what each part counted, in their order; few are under way at a time."""
        checkpoint = None if how.checkpoint is None else Checkpoint(how.checkpoint, plan)
        if checkpoint is not None and not all(part.key for part in self.logs.parts):
            raise ConfigError(
                f"{self.name}: a checkpoint is given; expected files, which can be read again. Remove it."
            )
        try:
            yield from self._counted(plan, how, checkpoint)
        finally:
            if checkpoint is not None:
                checkpoint.close()

    def _counted(self, plan: Plan, how: How, checkpoint: Checkpoint | None) -> Iterator[Counted]:
        threads = how.threads or os.cpu_count() or 1
        waiting: list[tuple[Part, Future[Counted]]] = []

        def first() -> Counted:
            part, future = waiting.pop(0)
            counted = future.result()
            if checkpoint is not None:
                checkpoint.keep(part.key, counted)
            return counted

        with ThreadPoolExecutor(threads, "modelwatch-batch") as pool:
            try:
                for part in self.logs.parts:
                    known = None if checkpoint is None else checkpoint.found(part.key)
                    if known is not None:
                        yield known
                        continue
                    waiting.append((part, pool.submit(count_part, part, plan)))
                    if len(waiting) > threads:
                        yield first()
                while waiting:
                    yield first()
            finally:
                for _, future in waiting:
                    future.cancel()

    def count_labels(self, plan: Plan, labels: Any) -> Iterator[Counted]:
        """Yield the counts of a table of labels, in any form that a log may have."""
        table = labels if isinstance(labels, Logs) else open_logs(labels)
        yield Counted(count_joined(self.logs, table, plan).packed(), 0)


def count_part(part: Part, plan: Plan) -> Counted:
    """Count the rows of one part."""
    buckets, rows = Buckets(plan), 0
    for batch in part.read(plan.roles.columns()):
        rows += buckets.add(batch)
    return Counted(buckets.packed(), rows)
