"""What drift compares, piece by piece over two windows, from which is read since when something drifts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from modelwatch.config import ModelConfig
from modelwatch.explain import History
from modelwatch.signals import Counts
from modelwatch.signals.drift import sides
from modelwatch.sources.drift import Compared
from modelwatch.statistics.counts import Cells
from modelwatch.tally import Tally

PIECES = 96  # of a window: of a day, quarters of an hour
WINDOWS = 2  # that are looked back on
LATE_S = 300  # a row of a minute may be written for so long after it

Minutes = Callable[[float], Mapping[int, Tally]]  # from Unix time to {start of a minute: counts} from then on


class Pieces:
    """The pieces of one model version. Those that are over are read once.

    window_s : of the longest window of drift.
    """

    def __init__(self, window_s: float) -> None:
        self.every_s, self._reach_s = max(round(window_s / PIECES), 1), WINDOWS * window_s
        self._over: dict[int, dict[Compared, Cells]] = {}
        self._counted_on: Mapping[str, str] = {}
        self._minute_s = 0

    @classmethod
    def of(cls, model: ModelConfig, time_scale: float) -> Pieces:
        """Return those of a model, whose windows are divided by `time_scale`."""
        return cls(max(round(model.drift.window_s / time_scale), 1))

    def read(self, now: float, minutes: Minutes, counts: Callable[[Tally], Counts]) -> dict[Compared, History]:
        """Return the history of everything that is compared.

        counts : from a tally to the counts of it, with the profile in them.
        """
        empty = counts(Tally())
        if empty.schema.fingerprints != self._counted_on:
            self._over, self._counted_on = {}, empty.schema.fingerprints
        first = int((now - self._reach_s) // self.every_s) * self.every_s
        self._over = {start: kept for start, kept in self._over.items() if start >= first}
        fresh = minutes(max(self._over, default=first - self.every_s) + self.every_s)
        gaps = [after - before for before, after in pairwise(sorted(fresh))]
        self._minute_s = min([*gaps, self._minute_s or 60])
        sums: dict[int, Tally] = {}
        for minute, tally in fresh.items():
            sums.setdefault(minute // self.every_s * self.every_s, Tally()).add_matching(tally)
        found: dict[int, dict[Compared, Cells]] = {
            start: {key: one.current for key, one in sides(counts(tally)).items()} for start, tally in sums.items()
        }
        whole = {start: kept for start, kept in found.items() if start + self.every_s + LATE_S < now}
        histories = self._histories({**self._over, **found})
        self._over |= whole
        return histories

    def _histories(self, pieces: Mapping[int, Mapping[Compared, Cells]]) -> dict[Compared, History]:
        starts = sorted(pieces)
        every_s = float(max(self.every_s, self._minute_s))

        def one(key: Compared) -> History:
            having = [start for start in starts if key in pieces[start]]
            cells: Sequence[Cells] = [pieces[start][key] for start in having]
            return History(having, every_s, cells)

        return {key: one(key) for key in sorted({key for kept in pieces.values() for key in kept})}
