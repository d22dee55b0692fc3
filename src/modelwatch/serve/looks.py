"""Looks at the models of a host, again and again: each costs what has changed in `live.db` since the last."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from pathlib import Path

from modelwatch.alerts import Rule, objectives_for, rules_of
from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.explain import History
from modelwatch.reference import Reference
from modelwatch.signals import Counts, Facts, Look, Objectives
from modelwatch.slo.burn import DAY_S
from modelwatch.sources.drift import Compared
from modelwatch.sources.driftsince import Pieces
from modelwatch.sources.evaluated import reference_of, windows_of
from modelwatch.store.live import BASE, Key, Spans
from modelwatch.store.reader import Changes, HostState, LiveReader
from modelwatch.store.windows import Windows
from modelwatch.store.writer import DEAD_S
from modelwatch.tally import Tally

LEAST_SILENT_S = 2.5  # without a sign of a worker, however fast time is scaled: each gives one every second
LEAST_MINUTE_S = 4  # of the objectives that count minutes, however fast time is scaled: four evaluations, a second each


class LiveLooks:
    """What every rule of a configuration needs to know of a host.

    Parameters
    ----------
    config : its models and their rules.
    live : the `live.db`; one that does not exist has counted nothing.

    Raises
    ------
    ConfigError   a rule, or a reference profile, that cannot be used.
    """

    def __init__(self, config: Config, live: Path, clock: SteadyClock | None = None) -> None:
        self.clock = clock or SteadyClock()
        self.live = live
        self.references: dict[str, Reference | None] = {name: reference_of(config, name) for name in config.models}
        self.rules: dict[str, list[Rule]] = {
            name: rules_of(config, name, reference) for name, reference in self.references.items()
        }
        self.objectives: dict[str, Objectives] = {
            name: objectives_for(config, name, reference) for name, reference in self.references.items()
        }
        self._scale, self.spans = config.time_scale, Spans.of(config.time_scale)
        self._models, self._pieces = config.models, dict[Key, Pieces]()
        self.versions = {name: model.version for name, model in config.models.items()}
        self.host = HostState()
        self._reader = LiveReader(live, self.clock.monotonic)
        self.minute_s = math.ceil(LEAST_MINUTE_S / self.spans.minute) * self.spans.minute
        windows_s = {self.minute_s, int(DAY_S / config.time_scale)}  # of throughput, and of gauges
        windows_s = windows_s.union(*(windows_of(rules) for rules in self.rules.values()))
        self.windows = Windows(tuple(sorted(windows_s)))
        self._first: dict[Key, int] = {}
        self._changing = threading.Lock()  # a look may be asked for another window while the next one is taken

    def take(self, answers: Mapping[str, bool]) -> dict[str, Look]:
        """Return {model: what is known of it now}.

        answers : {replica: whether it answered when it was asked last}.

        Raises
        ------
        sqlite3.Error, OSError, ModelwatchError   the file cannot be read now.
        """
        now = self.clock.now()
        if self.live.exists():
            changes, self.host = self._reader.poll()
            self._remember(changes)
            with self._changing:
                self.windows.apply(changes, now, self.host.schemas, self.host.spans)
        return {name: self._look(name, now, answers) for name in self.rules}

    def _remember(self, changes: Changes) -> None:
        """Keep when each version was seen first."""
        if changes.again:
            self._first.clear()
        for row in changes.rows:
            if row.span != BASE:
                self._first[row.key] = min(row.start, self._first.get(row.key, row.start))

    def _look(self, model: str, now: float, answers: Mapping[str, bool]) -> Look:
        first = {key.version: start for key, start in self._first.items() if key.model == model}
        ordered = sorted((v for v in first if Key(model, v) in self.host.schemas), key=lambda v: first[v])
        reference, version = self.references[model], self.versions[model]
        facts = Facts(
            answers=answers,
            reporting=self._reports() if first else None,
            ages={name: (now - start) * self._scale for name, start in first.items()},
        )
        return Look(
            model,
            now,
            lambda name, began_s, ended_s: self._window(Key(model, name), began_s, ended_s),
            {name: self.host.schemas[Key(model, name)] for name in ordered},
            self.objectives[model],
            references={} if reference is None else {version: reference},
            facts=facts,
            began=self.host.began or 0.0,
            histories=lambda name: self._histories(Key(model, name), now),
        )

    def _reports(self) -> bool:
        """Tell whether a worker gave a sign within the (scaled) time after which it is called dead."""
        age_s = self.host.youngest_beat_age_s
        return age_s is not None and age_s <= max(DEAD_S / self._scale, LEAST_SILENT_S)

    def _histories(self, key: Key, now: float) -> dict[Compared, History]:
        """Return what drift compares of a version, piece by piece."""
        model, schema = self._models[key.model], self.host.schemas.get(key)
        reference = self.references[key.model] if key.version == model.version else None
        if schema is None or reference is None:
            return {}
        with self._changing:
            return self._pieces.setdefault(key, Pieces.of(model, self._scale)).read(
                now,
                lambda since: self.windows.minutes(key, since),
                lambda tally: Counts(tally, schema, 1.0, self.objectives[key.model], key.version, reference),
            )

    def _window(self, key: Key, began_s: float, ended_s: float) -> Tally:
        with self._changing:
            found = self.windows.sum(key, int(began_s)).copy()
            if ended_s:
                found.add_matching(self.windows.sum(key, int(ended_s)), -1)
            return found

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
