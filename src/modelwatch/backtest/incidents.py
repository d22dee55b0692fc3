"""Labelled incidents: read from a file, and compared with what was told: found, how late, missed, false alarms."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwatch.backtest.replay import Told
from modelwatch.batch.arrow import NO_TIME, times_of
from modelwatch.errors import ConfigError, fault

FIELDS = ("start", "end", "name")
GRACE_S = 1800.0  # what is told so long after the end of an incident is still of it, unless time is scaled


@dataclass(frozen=True)
class Incident:
    """Something that was broken, from `start` to `end`, Unix time."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Found:
    """What was told of an incident.

    inside : whether it lies in the log; one that does not is neither found nor missed.
    told : from its start to its end and the grace, in the order of time.
    before : names of what was told before it and went on: an alert that fires already tells nothing new.
    """

    incident: Incident
    inside: bool
    told: tuple[Told, ...] = ()
    before: tuple[str, ...] = ()

    @property
    def missed(self) -> bool:
        """Whether nobody was told of it."""
        return self.inside and not self.told

    def delay_s(self, severity: str | None = None) -> float | None:
        """Return the seconds from its start to what was told first, of a severity; None where nothing was."""
        first = next((one for one in self.told if severity in {None, one.severity}), None)
        return None if first is None else first.began - self.incident.start


def read_incidents(path: str | Path, time_zone: str = "UTC") -> list[Incident]:
    """Read labelled incidents: CSV with the columns start, end and name, or JSON, a list of such objects.

    Parameters
    ----------
    time_zone : of times that do not say theirs; they are ISO 8601, or Unix numbers.

    Raises
    ------
    ConfigError   the file cannot be read, lacks a column, or has a time that is none.
    """
    path, rows = Path(path), _rows(Path(path))
    for field in FIELDS:
        lacking = next((i for i, row in enumerate(rows, 1) if row.get(field) in {None, ""}), None)
        if lacking is not None:
            raise ConfigError(
                fault(f"{path}, incident {lacking}", field, None, "start, end and name", "Write all three.")
            )
    times = {}
    for field in ("start", "end"):
        given = [_number(row[field]) for row in rows]
        at, _ = times_of(given, time_zone, math.inf)
        bad = next((i for i, value in enumerate(at.tolist()) if value == NO_TIME), None)
        if bad is not None:
            remedy = "Write it as 2026-01-31T12:00:00Z."
            raise ConfigError(fault(f"{path}, incident {bad + 1}", field, given[bad], "a time", remedy))
        times[field] = at.tolist()
    found = []
    for i, (row, start, end) in enumerate(zip(rows, times["start"], times["end"], strict=True), 1):
        if end < start:
            remedy = "Exchange the two."
            raise ConfigError(fault(f"{path}, incident {i}", "end", row["end"], f"not before {row['start']}", remedy))
        found.append(Incident(str(row["name"]), float(start), float(end)))
    return sorted(found, key=lambda one: one.start)


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".csv":
            return list(csv.DictReader(io.StringIO(text)))
        rows = json.loads(text)
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is not the text that its ending says"
        remedy = "Name a .csv or .json file."
        raise ConfigError(f"{path}: incidents cannot be read ({reason}). {remedy}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        expected = "a list of objects with start, end and name"
        raise ConfigError(fault(str(path), "incidents", type(rows).__name__, expected, "Write [{...}, {...}]."))
    return rows


def _number(given: Any) -> Any:
    """Return Unix numbers of a CSV as numbers."""
    if isinstance(given, str):
        try:
            return float(given)
        except ValueError:
            return given
    return given


def compare(
    incidents: Sequence[Incident], told: Iterable[Told], span: tuple[float, float], grace_s: float = GRACE_S
) -> tuple[list[Found], list[Told]]:
    """Return (what was told of each incident, what was told outside all of them: false alarms).

    span : (beginning, end) of the log.
    """
    firing = list(told)
    every = [one for one in firing if not one.eased]
    found = []
    for one in incidents:
        if one.start >= span[1] or one.end < span[0]:
            found.append(Found(one, inside=False))
            continue
        mine = tuple(each for each in every if one.start <= each.began <= one.end + grace_s)
        before = (e.words for e in firing if e.began < one.start and (e.ended is None or e.ended > one.start))
        found.append(Found(one, True, mine, tuple(dict.fromkeys(before))))
    false = [each for each in every if not any(o.start <= each.began <= o.end + grace_s for o in incidents)]
    return found, false
