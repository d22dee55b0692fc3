"""Objectives and alerts of a host, from `live.db`: how they stand, and which alerts its last minutes raised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from modelwatch.alerts import ALWAYS_ON, Evaluation, Rule, evaluate, objectives_for, rules_of, verdict_dict
from modelwatch.alerts.words import ago, window_words
from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.explain import History
from modelwatch.reference import Reference
from modelwatch.schema import ModelSchema
from modelwatch.signals import Counts, Facts, Look, Objectives
from modelwatch.slo import Period, SloStatus, slo_lines, slo_statuses, slos_of
from modelwatch.slo.burn import DAY_S, HOUR_S
from modelwatch.sources.drift import Compared
from modelwatch.sources.driftsince import Pieces
from modelwatch.sources.kept import States
from modelwatch.store.live import BASE, Key
from modelwatch.store.reader import Changes, HostState, LiveReader
from modelwatch.store.windows import Windows
from modelwatch.store.writer import DEAD_S
from modelwatch.tally import Tally

REPLAYED_S = 5400  # the longest `for` and keep-firing together, and some more: states are those of a monitor that ran
SILENT_S = 120.0  # a service that renewed nothing for so long does not report, unless time is scaled


@dataclass(frozen=True)
class Evaluated:
    """What the alerts of one model say: the last look, and the verdicts on it.

    replayed_s : so much of the counts was evaluated again to know it; 0 where the states of a monitor were known.
    """

    look: Look
    evaluation: Evaluation
    replayed_s: float = 0.0


class Looked(Protocol):
    """Counts through which models can be looked at: those of a host, or of a Prometheus.

    now : Unix time of the last look.
    """

    now: float

    def looks(
        self, model: str, windows_s: set[int], objectives: Objectives, references: Mapping[str, Reference],
        since: float, *, time_scale: float = 1.0, drift_s: float = DAY_S,
    ) -> Iterator[Look]:  # fmt: skip
        """Return a look at every minute from `since` to now."""


class HostCounts:
    """All counts of a host, read once.

    Parameters
    ----------
    live : the `live.db`; without one nothing was counted.

    Raises
    ------
    sqlite3.Error, OSError, ModelwatchError   the file cannot be read.
    """

    def __init__(self, live: Path, clock: SteadyClock | None = None) -> None:
        self.now = (clock or SteadyClock()).now()
        self.changes, self.host = Changes(again=True, rows=()), HostState()
        if live.exists():
            reader = LiveReader(live)
            self.changes, self.host = reader.poll()
            reader.close()

    def schemas(self, model: str) -> dict[str, ModelSchema]:
        """Return the schema of every version that was counted, the one that came last at the end."""
        first = self._first(model)
        ordered = sorted(first, key=lambda version: first[version])
        return {v: self.host.schemas[Key(model, v)] for v in ordered if Key(model, v) in self.host.schemas}

    def _first(self, model: str) -> dict[str, int]:
        first: dict[str, int] = {}
        for row in self.changes.rows:
            if row.key.model == model and row.span != BASE:
                first[row.key.version] = min(row.start, first.get(row.key.version, row.start))
        return first

    def looks(
        self,
        model: str,
        windows_s: set[int],
        objectives: Objectives,
        references: Mapping[str, Reference],
        since: float,
        *,
        time_scale: float = 1.0,
        drift_s: float = DAY_S,
    ) -> Iterator[Look]:
        """Return a look at every minute from `since` to now.

        windows_s : lengths of windows, and of windows with their offset, that will be asked for.
        time_scale : how many times faster versions age.
        drift_s : the longest window of drift.
        """
        windows = Windows(tuple(sorted(windows_s)))
        schemas, first = self.schemas(model), self._first(model)
        rows = tuple(row for row in self.changes.rows if row.key.model == model)
        last = max((row.start + row.span for row in rows), default=0)
        changes, spans = Changes(again=True, rows=rows), self.host.spans
        silent_s = max(SILENT_S / time_scale, DEAD_S)
        at = since
        while True:
            windows.apply(changes, at, self.host.schemas, spans)
            changes = Changes(again=False, rows=())

            def window(version: str, began_s: float, ended_s: float) -> Tally:
                key = Key(model, version)
                whole = windows.sum(key, int(began_s))
                if not ended_s:
                    return whole
                part = whole.copy()
                part.add_matching(windows.sum(key, int(ended_s)), -1)
                return part

            reporting = None if not rows else self.host.workers > 0 or at - last < silent_s
            facts = Facts(
                reporting=reporting, ages={version: (at - start) * time_scale for version, start in first.items()}
            )

            def histories(version: str, at: float = at) -> dict[Compared, History]:
                key, reference = Key(model, version), references.get(version)
                if reference is None or version not in schemas:
                    return {}
                return Pieces(drift_s).read(
                    at,
                    lambda since: windows.minutes(key, since),
                    lambda tally: Counts(tally, schemas[version], 1.0, objectives, version, reference),
                )

            yield Look(
                model, at, window, schemas, objectives, references=references, facts=facts,
                began=self.host.began or 0.0, histories=histories,
            )  # fmt: skip
            if at >= self.now:
                return
            at = min(at + spans.minute, self.now)


def reference_of(config: Config, name: str) -> Reference | None:
    """Return the profile of a model's training data; None where the configuration names none."""
    path = config.model(name).reference
    return Reference.load(path) if path else None


def windows_of(rules: list[Rule]) -> set[int]:
    """Return the lengths of all windows that rules ask for, in seconds, offsets included."""
    spans = {pair for rule in rules for pair in rule.windows()}
    found = {int(s) for window_s, offset_s in spans for s in (window_s + offset_s, offset_s) if s}
    return (
        found | {int(window_s + DAY_S) for window_s, _ in spans if window_s <= HOUR_S} | {int(DAY_S), 2 * int(HOUR_S)}
    )


def evaluate_host(config: Config, counts: Looked, kept: States | None = None) -> dict[str, Evaluated]:
    """Return {model: its alerts}, as a monitor that ran for the last hour and a half would see them.

    kept : the states of one that does run; then only the last look is taken.
    """
    found = {}
    for name in config.models:
        reference = reference_of(config, name)
        rules, objectives = rules_of(config, name, reference), objectives_for(config, name, reference)
        references = {} if reference is None else {config.model(name).version: reference}
        states = {} if kept is None else kept.get(name, {})
        windows_s, scale = windows_of(rules), config.time_scale
        drift_s = config.models[name].drift.window_s / scale
        replayed_s = REPLAYED_S / scale if kept is None else 0.0
        since = counts.now - replayed_s
        for look in counts.looks(name, windows_s, objectives, references, since, time_scale=scale, drift_s=drift_s):
            evaluation = evaluate(rules, look, states)
            states = evaluation.states
            found[name] = Evaluated(look, evaluation, replayed_s)
    return found


def host_slos(config: Config, counts: Looked, period: Period | None = None) -> dict[str, list[SloStatus]]:
    """Return {model: how its objectives stand}.

    period : that is looked at; that of the configuration without it.
    """
    found = {}
    minutes = range(1, 62)
    for name in config.models:
        over = period or Period.of_model(config.models[name])
        since_s, _ = over.window(counts.now)
        days = range(1, int(since_s // DAY_S) + 1)
        needed = {int(since_s), int(HOUR_S), *(int(day * DAY_S) for day in days), *(60 * minute for minute in minutes)}
        slos, objectives = slos_of(config.model(name)), objectives_for(config, name)
        spans = needed if any(slo.kind == "throughput" for slo in slos) else {s for s in needed if s >= HOUR_S}
        (look,) = counts.looks(name, spans, objectives, {}, counts.now)
        found[name] = slo_statuses(slos, look, over)
    return found


# -- for people and scripts --------------------------------------------------------------------------------------------

_MARK = {"firing": "FIRING", "pending": "waiting"}


def alerts_json(found: Mapping[str, Evaluated]) -> dict[str, Any]:
    """Return the alerts as plain values; `firing` is how many of them somebody should be told of."""
    alerts = [verdict_dict(verdict, one.look) for one in found.values() for verdict in one.evaluation.verdicts]
    return {
        "firing": sum(len(one.evaluation.firing) for one in found.values()),
        "replayed_s": max((one.replayed_s for one in found.values()), default=0.0),
        "alerts": alerts,
    }


def alert_lines(found: Mapping[str, Evaluated]) -> list[str]:
    """Return a line for each alert: its state, and why it is quiet; those that fire first, with their words."""
    lines = []
    for name, one in found.items():
        lines.append(f"{name}: {len(one.evaluation.firing)} firing ({_known_from(one)})")
        values = [verdict_dict(v, one.look) for v in one.evaluation.verdicts if v.rule.name != ALWAYS_ON]
        for value in sorted(values, key=lambda value: ("firing", "pending", "inactive").index(value["state"])):
            labels = ",".join(f"{label}={text}" for label, text in value["labels"].items() if label != "kind")
            what = f"{value['alert']} {labels}".strip()
            mark = _MARK.get(value["state"], "cannot tell" if value["outcome"] == "cannot_tell" else "ok")
            lines.append(f"  {mark:<12}{value['severity']:<10}{what:<57} {value['why']}".rstrip())
            if value["state"] == "firing":
                lines += [f"              {text}" for text in (value["description"], *value["culprits"])]
    return [*lines, *_not_known(found)]


def _known_from(one: Evaluated) -> str:
    return f"the last {window_words(one.replayed_s)} replayed" if one.replayed_s else "as modelwatch serve knows it"


def _not_known(found: Mapping[str, Evaluated]) -> list[str]:
    """Return what a replay of the last hour and a half cannot say: whether alerts that wait longer fire already."""
    waiting = {
        verdict.rule.name: ago(verdict.rule.for_s)
        for one in found.values()
        for verdict in one.evaluation.verdicts
        if verdict.phase == "pending"
        and one.replayed_s
        and verdict.rule.for_s > one.replayed_s
        and verdict.state.since <= one.look.now - one.replayed_s * (1 - 1 / 90)  # a minute of the ninety
    }
    if not waiting:
        return []
    each = ", ".join(f"{name} ({for_})" for name, for_ in waiting.items())
    seen = max((window_words(one.replayed_s) for one in found.values() if one.replayed_s), default="")
    return [f"Not known: only the last {seen} are replayed; {each} may wait for longer already, or fire."]


def slo_json(found: Mapping[str, list[SloStatus]]) -> dict[str, Any]:
    """Return the objectives as plain values."""
    return {"models": {name: [asdict(status) for status in statuses] for name, statuses in found.items()}}


def slo_table(found: Mapping[str, list[SloStatus]]) -> list[str]:
    """Return the objectives of all models as lines."""
    lines = []
    for name, statuses in found.items():
        lines.append(f"{name} ({statuses[0].period})" if statuses else name)
        lines += slo_lines(statuses) if statuses else ["  no objectives are configured: add `slos:` to the model"]
    return lines


def is_broken(found: Mapping[str, list[SloStatus]]) -> bool:
    """Tell whether an objective is broken."""
    return any(status.state == "broken" for statuses in found.values() for status in statuses)
