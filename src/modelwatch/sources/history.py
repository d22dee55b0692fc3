"""How the numbers of a page went over a longer time than the last hour, or in the past: from the rows of `live.db`."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from modelwatch.clock import SteadyClock
from modelwatch.errors import DamagedData, ModelwatchError, NewerFormat
from modelwatch.schema import ModelSchema
from modelwatch.signals import Objectives
from modelwatch.sources.evaluated import HostCounts
from modelwatch.sources.status import classes_seen, history_of
from modelwatch.store.live import Key, Row
from modelwatch.tally import Tally

#: Seconds of each range, and of one of its steps; both are divided by `time_scale`.
RANGES: Final = {"1h": (3600, 60), "6h": (21_600, 300), "24h": (86_400, 1800), "7d": (604_800, 7200)}
KEPT_S = 10.0  # how long an answer is given again
MOST_KEPT = 8


class HistorySource:
    """Reads the history of all models of a host for a range that somebody picked.

    Parameters
    ----------
    live : path of the `live.db`.
    objectives : {model: what is promised of it}.
    time_scale : divides every range.
    """

    def __init__(
        self,
        live: Path,
        objectives: Mapping[str, Objectives] | None = None,
        time_scale: float = 1.0,
        clock: SteadyClock | None = None,
    ) -> None:
        self.live, self.time_scale = live, time_scale
        self.objectives, self.clock = dict(objectives or {}), clock or SteadyClock()
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, float | None], tuple[float, dict[tuple[str, str], dict[str, Any]]]] = {}

    def read(self, picked: str, to: float | None = None) -> dict[tuple[str, str], dict[str, Any]]:
        """Return {(model, version): history}, as `StatusSource.read` has it.

        Parameters
        ----------
        picked : a key of `RANGES`.
        to : Unix time where it ends; now without it, or where it is later.

        Raises
        ------
        KeyError                                  there is no such range.
        sqlite3.Error, OSError, ModelwatchError   the counts cannot be read.
        """
        length_s, step_s = (max(round(s / self.time_scale), 1) for s in RANGES[picked])
        with self._lock:
            at, found = self._kept.get((picked, to), (float("-inf"), {}))
            if self.clock.monotonic() - at >= KEPT_S / self.time_scale:
                found = self._read(length_s, step_s, to)
                while len(self._kept) >= MOST_KEPT:
                    del self._kept[next(iter(self._kept))]
                self._kept[picked, to] = self.clock.monotonic(), found
            return found

    def _read(self, length_s: int, step_s: int, to: float | None) -> dict[tuple[str, str], dict[str, Any]]:
        counts = HostCounts(self.live, self.clock)
        until = counts.now if to is None else min(to, counts.now)
        inside = [row for row in counts.changes.rows if row.span and until - length_s < row.start + row.span <= until]
        step_s = max([step_s, *(row.span for row in inside)])
        last = int(until // step_s) * step_s
        starts = range(last - max(length_s // step_s, 1) * step_s, last, step_s)
        steps: dict[Key, dict[int, Tally]] = {}
        for row in inside:
            tally = steps.setdefault(row.key, {}).setdefault(row.start // step_s * step_s, Tally())
            tally.add_matching(_loaded(row, counts.host.schemas.get(row.key)))
        began = counts.host.began or 0.0
        return {
            (key.model, key.version): history_of(
                steps.get(key, {}), starts, step_s, schema, self.objectives.get(key.model, Objectives()), began,
                classes_seen(steps.get(key, {}).values(), schema),
            )
            for key, schema in counts.host.schemas.items()
        }  # fmt: skip


def _loaded(row: Row, schema: ModelSchema | None) -> Tally:
    try:
        tally = Tally.load(row.tally)
    except (DamagedData, NewerFormat):
        return Tally()
    return tally if schema is None else tally.matching(schema.fingerprints)


def with_history(
    status: Mapping[str, Any], source: HistorySource | None, picked: str | None, to: float | None
) -> dict[str, Any]:
    """Return a status whose models have the history of another range; `range` says which, and why it has none."""
    if source is None or (picked not in RANGES and to is None):
        return dict(status)
    picked = picked if picked in RANGES else "1h"
    assert picked is not None, "for the type checker"
    told = {"range": picked, "to": to, "reason": None}
    try:
        found = source.read(picked, to)
    except (sqlite3.Error, OSError, ModelwatchError) as error:
        return {**status, "range": {**told, "reason": str(error) or repr(error)}}
    models = [
        {**one, "history": found.get((str(one.get("name")), str(one.get("version"))), one.get("history"))}
        for one in status.get("models") or ()
    ]
    return {**status, "models": models, "range": told}
