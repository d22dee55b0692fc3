"""Whether the traffic of the last full hour is normal for its hour of the week, from the rows of `live.db`."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelwatch import names
from modelwatch.clock import SteadyClock
from modelwatch.errors import DamagedData, ModelwatchError, NewerFormat
from modelwatch.signals.normal import traffic_normal
from modelwatch.sources.evaluated import HostCounts
from modelwatch.store.live import BASE, HOUR, Row, Spans
from modelwatch.tally import Tally

SETTLED_S = 60.0  # after its end an hour has all its rows
WEEKS_S = 29 * 86_400  # four weeks, and the hour itself


class TrafficSource:
    """Judges the requests of every model of a host, once an hour: it reads all rows of five weeks for that.

    Parameters
    ----------
    live : path of the `live.db`.
    time_scale : divides hours, days and weeks.
    """

    def __init__(self, live: Path, time_scale: float = 1.0, clock: SteadyClock | None = None) -> None:
        self.live, self.time_scale, self.clock = live, time_scale, clock or SteadyClock()
        self._hour_s = Spans.of(time_scale).seconds(HOUR)
        self._lock = threading.Lock()
        self._judged: tuple[int, dict[str, dict[str, Any]]] = (-1, {})

    def read(self) -> dict[str, dict[str, Any]]:
        """Return {model: `Normal` of the last full hour as plain values, with `ended`, its end in Unix seconds}.

        Beside it `usual`: for this hour and those around it, as far as enough weeks are known, `begin` and `end` in
        Unix seconds, and `low` and `high`, the band of requests per second.

        Raises
        ------
        sqlite3.Error, OSError, ModelwatchError   the counts cannot be read.
        """
        with self._lock:
            ended = int((self.clock.now() - SETTLED_S / self.time_scale) // self._hour_s) * self._hour_s
            if self._judged[0] != ended:
                self._judged = ended, self._read(ended)
            return self._judged[1]

    def _read(self, ended: int) -> dict[str, dict[str, Any]]:
        counts = HostCounts(self.live, self.clock)
        began = -int(-(counts.host.began or 0.0) // self._hour_s) * self._hour_s  # the first whole hour
        since = max(began, ended - WEEKS_S / self.time_scale)
        rows = [row for row in counts.changes.rows if row.span != BASE and since <= row.start < ended]
        rows = [row for row in rows if row.span <= self._hour_s]
        ran = {self._hour(row.start) for row in rows}  # a row of anybody: who counted nothing then had no requests
        hours: dict[str, dict[int, int]] = {}
        for row in sorted(rows, key=lambda row: row.start):
            first = self._hour(row.start)
            of = hours.setdefault(row.key.model, {at: 0 for at in ran if at >= first})
            of[first] += _requests(row)
        last = self._hour(ended - 1)
        return {
            model: {**asdict(traffic_normal(of, last)), "ended": ended, "usual": self._usual(of, ended)}
            for model, of in hours.items()
        }

    def _usual(self, hours: Mapping[int, int], ended: int) -> list[dict[str, float]]:
        found = []
        for begin in range(ended - self._hour_s, ended + 2 * self._hour_s, self._hour_s):
            at = self._hour(begin)
            one = traffic_normal({hour: n for hour, n in hours.items() if hour < at} | {at: 0}, at)
            if one.low is not None and one.high is not None:
                rates = {"low": one.low / self._hour_s, "high": one.high / self._hour_s}
                found.append({"begin": begin, "end": begin + self._hour_s, **rates})
        return found

    def _hour(self, at: float) -> int:
        """Return the number of the hour of local time: people keep to it, and a day in summer is as long as theirs."""
        return int((at // self._hour_s * self._hour_s + time.localtime(at).tm_gmtoff) // self._hour_s)


def _requests(row: Row) -> int:
    try:
        table = Tally.load(row.tally).tables.get(names.REQUESTS.name)
    except (DamagedData, NewerFormat):
        return 0
    return 0 if table is None else table.total()


def with_traffic(status: Mapping[str, Any], source: TrafficSource | None) -> dict[str, Any]:
    """Return a status whose models have `traffic`, whether their last full hour was normal, where somebody knows."""
    if source is None or not status.get("models"):
        return dict(status)
    try:
        found = source.read()
    except (sqlite3.Error, OSError, ModelwatchError):
        return dict(status)  # the status itself says what cannot be read
    asked = Counter(str(one.get("name")) for one in status["models"] if (one.get("details") or {}).get("requests"))
    models = []
    for one in status["models"]:
        name = str(one.get("name"))
        shared: dict[str, Any] = {"usual": []} if asked[name] > 1 else {}  # what is usual is of all versions together
        models.append({**one, "traffic": {**found[name], **shared}} if name in found else one)
    return {**status, "models": models}


def usual_at(traffic: Mapping[str, Any], now: float) -> Mapping[str, float] | None:
    """Return the band of the hour in which `now` is; None where it is not known."""
    return next((one for one in traffic.get("usual") or () if one["begin"] <= now < one["end"]), None)
