"""The last minutes, hours and days as running sums: a row is added when it comes and taken away when it leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from modelwatch.errors import DamagedData, NewerFormat
from modelwatch.schema import ModelSchema
from modelwatch.store.live import BASE, DAY, EVERYDAY, HOUR, MINUTE, Key, Row, Spans
from modelwatch.store.reader import Changes
from modelwatch.tally import Tally

WINDOWS_S = (5 * MINUTE, HOUR, DAY, 30 * DAY)
FINE_S = 2 * DAY  # rows older than this are kept by the hour, unless time is scaled
AHEAD_S = MINUTE  # rows that begin later than this from now are of a clock that was wrong: they wait for their time

At = tuple[int, int, str]  # start, span, worker


def first_start(now: float, window_s: int, minute: int = MINUTE) -> int:
    """Return the start of the oldest minute of a window: the one in which `now - window_s` lies.

    A window holds whole minutes and the open one: between `window_s` and `window_s` + `minute` seconds; exactly
    `window_s` on the minute.
    """
    return int((now - window_s) // minute) * minute


class Windows:
    """Running sums per model version and window.

    Rows that will leave are kept as bytes; those of the longest window by the hour once they are two days old, both as
    the file scales them.
    """

    def __init__(self, windows_s: Sequence[int] = WINDOWS_S) -> None:
        self.windows_s = tuple(windows_s)
        self._schemas: Mapping[Key, ModelSchema] = {}
        self._spans = EVERYDAY
        self._now = float("-inf")
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[Key, dict[At, bytes]] = defaultdict(dict)
        self._sums: dict[tuple[Key, int], Tally] = defaultdict(Tally)
        self._inside: dict[tuple[Key, int], set[At]] = defaultdict(set)
        self._ahead: set[tuple[Key, At]] = set()
        self.damaged: set[bytes] = set()  # rows that cannot be read and are in no sum

    def apply(self, changes: Changes, now: float, schemas: Mapping[Key, ModelSchema], spans: Spans = EVERYDAY) -> None:
        """Take new rows in and let old ones leave. `now`: Unix time of the evaluation; `spans`: of the file.

        When it is earlier than at the last call, rows that have left the longest window meanwhile stay away.
        Tables that were counted on other edges than those of `schemas` are left out.
        """
        known = self._schemas
        changed = any(known.get(key, schema).fingerprints != schema.fingerprints for key, schema in schemas.items())
        changed |= spans != self._spans
        self._schemas, self._spans = schemas, spans
        if changes.again:
            self._clear()
        elif changed or now < self._now:
            self._restate(now)
        self._now = now
        oldest = self._first(now, max(self.windows_s))
        for row in changes.rows:
            if row.span != BASE and row.start + row.span > oldest:
                self._take(row, now)
        self._arrive(now)
        for key in self._rows:
            for window_s in self.windows_s:
                self._leave(key, window_s, now)
            self._coarsen(key, now, oldest)

    def _first(self, now: float, window_s: int) -> int:
        return first_start(now, window_s, self._spans.minute)

    def _restate(self, now: float) -> None:
        """Sum again: on the edges of a new configuration, or at an earlier time."""
        kept = self._rows
        self._clear()
        for key, rows in kept.items():
            for (start, span, worker), blob in rows.items():
                self._take(Row(key, start, span, worker, blob), now)

    def sum(self, key: Key, window_s: int) -> Tally:
        """Return the counts of one model version within a window; the caller must not change them."""
        return self._sums[key, window_s]

    def keys(self) -> list[Key]:
        """Return the model versions that have rows."""
        return list(self._rows)

    def minutes(self, key: Key, since: float) -> dict[int, Tally]:
        """Return {start of the minute: counts} of the rows that began at `since` or later; for charts."""
        found: dict[int, Tally] = {}
        for (start, span, _), blob in self._rows[key].items():
            if span == self._spans.minute and start >= since:
                found.setdefault(start, Tally()).add_matching(self._load(key, blob))
        return dict(sorted(found.items()))

    def _take(self, row: Row, now: float) -> None:
        at = (row.start, row.span, row.worker)
        old = self._rows[row.key].get(at)
        self._rows[row.key][at] = row.tally
        if row.start > now + AHEAD_S:
            self._ahead.add((row.key, at))
            return
        self._ahead.discard((row.key, at))  # rewritten when its time has come
        tally = self._load(row.key, row.tally)
        for window_s in self.windows_s:
            inside = self._inside[row.key, window_s]
            total = self._sums[row.key, window_s]
            if at in inside and old is not None:
                total.add_matching(self._load(row.key, old), -1)
            elif row.start + row.span > self._first(now, window_s):
                inside.add(at)
            else:
                continue
            total.add_matching(tally)

    def _arrive(self, now: float) -> None:
        """Take in the rows whose time has come."""
        for key, at in [(key, at) for key, at in self._ahead if at[0] <= now + AHEAD_S]:
            self._ahead.remove((key, at))
            blob = self._rows[key].pop(at, None)
            if blob is not None:
                self._take(Row(key, *at, blob), now)

    def _leave(self, key: Key, window_s: int, now: float) -> None:
        first, inside = self._first(now, window_s), self._inside[key, window_s]
        for at in [at for at in inside if at[0] + at[1] <= first]:
            inside.remove(at)
            self._sums[key, window_s].add_matching(self._load(key, self._rows[key][at]), -1)

    def _coarsen(self, key: Key, now: float, oldest: int) -> None:
        """Put old minutes together by the hour, once a whole hour of them is old, and forget what is in no window."""
        rows, hours = self._rows[key], defaultdict(list)
        minute, hour, fine_s = self._spans.minute, self._spans.seconds(HOUR), self._spans.seconds(FINE_S)
        for at in list(rows):
            if at[0] + at[1] <= oldest:
                del rows[at]
            elif at[1] == minute and (at[0] // hour + 1) * hour <= now - fine_s:
                hours[at[0] // hour * hour].append(at)
        for start, parts in hours.items():
            coarse = (start, hour, "minutes")
            if coarse in rows:
                parts.append(coarse)
            if any(
                0 < len(self._inside[key, window_s].intersection(parts)) < len(parts) for window_s in self.windows_s
            ):
                continue  # the edge of a window is in this hour
            total = Tally()
            for at in parts:
                total.add_matching(self._load(key, rows.pop(at)))
            rows[coarse] = total.dump()
            for window_s in self.windows_s:
                inside = self._inside[key, window_s]
                if inside.intersection(parts):
                    inside.difference_update(parts)
                    inside.add(coarse)

    def _load(self, key: Key, blob: bytes) -> Tally:
        try:
            tally = Tally.load(blob)
        except (DamagedData, NewerFormat):
            self.damaged.add(blob)
            return Tally()
        schema = self._schemas.get(key)
        return tally if schema is None else tally.matching(schema.fingerprints)
