"""A thousand orders of the same small steps: every event is in exactly one minute, enters a window once, leaves it once."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from counting import KEY, read_rows, reader_at, worker_at
from modelwatch import names
from modelwatch.clock import SteadyClock
from modelwatch.record.worker import Worker
from modelwatch.schema import ModelSchema
from modelwatch.store import compaction
from modelwatch.store.live import DAY, HOUR, MINUTE
from modelwatch.store.reader import Totals
from modelwatch.store.windows import AHEAD_S as WAITS_S
from modelwatch.store.windows import Windows, first_start
from modelwatch.tally import Tally
from modelwatch.testing import FakeClock

NOON = 1_700_006_400 - 1_700_006_400 % DAY
SCHEMA = ModelSchema(latency=(0.1,))
WINDOWS_S = (5 * MINUTE, HOUR)
SEEDS, PARTS = 1000, 10
STEPS = 30
AHEAD_S = 20 * MINUTE  # of a worker whose clock is wrong: what others write is old to it, and is compacted

# what may happen, and how often
HARMLESS = {"put": 6, "fold": 4, "look": 4, "tick": 3, "sleep": 0.3}
ANYTHING = HARMLESS | {"commit": 4, "compact": 1}
AT_TOP = ANYTHING | {"kill": 0.4}


class Killed(BaseException):
    """Kill -9, in the middle of a commit."""


def events_of(tally: Tally) -> dict[str, int]:
    """Return how often each event is in a tally; every event has an endpoint of its own."""
    table = tally.tables.get(names.REQUESTS.name)
    if table is None:
        return {}
    counts = table.counts[:, 0].tolist()
    return {endpoint: counts[row] for (endpoint,), row in table.rows.items() if counts[row]}


class House:
    """Two workers and one reader on one `live.db`; a seed decides who does what next.

    The steps run in one thread. The seams between the parts of a step - before a chunk is folded, between the copy of
    the counts and their write, inside the transactions, between a read and its use - let the others go first. What
    was committed, and to which minute, is noted beside it.
    """

    def __init__(self, path: Path, seed: int) -> None:
        self.path, self.chance = path, random.Random(seed)
        self.clock = FakeClock(wall=NOON + self.chance.randrange(60))
        self.sent: dict[Worker, list[str]] = {}
        self.minutes: dict[str, int] = {}  # committed event -> start of its minute
        self.lost: set[str] = set()  # with a killed worker
        self.number = self.depth = 0
        self.busy: set[object] = set()  # what has one thread, or a lock around it, and is at work
        self.workers = [self.hire() for _ in range(2)]
        self.reader, self.totals, self.windows = (
            reader_at(path, self.clock),
            Totals(self.clock.monotonic),
            Windows(WINDOWS_S),
        )
        self.inside: dict[int, set[str]] = {size: set() for size in WINDOWS_S}
        self.left: dict[int, set[str]] = {size: set() for size in WINDOWS_S}

    def hire(self) -> Worker:
        """Return a new worker with seams in it; the wall clock of some is ahead."""
        ahead = self.chance.choice([0, 0, 0, AHEAD_S])
        clock = SteadyClock(lambda: self.clock.wall + ahead, lambda: self.clock.seconds)
        worker = worker_at(self.path, clock, schema=SCHEMA)
        recorder, writer = worker.recorders[KEY], worker.writer
        recorder.chunk, recorder.limit = 3, 8
        fold, writes, commit = recorder.kernel.fold, writer._writes, writer.commit

        def folding(events: Any) -> None:
            self.others()
            fold(events)

        def writing(*arguments: Any) -> Any:
            self.alone("transaction", self.others)
            if self.chance.random() < 0.1:
                raise sqlite3.OperationalError("database is locked")
            if self.depth == 1 and self.chance.random() < 0.02:
                raise Killed
            return writes(*arguments)

        def committing(tallies: Any, *rest: Any) -> bool:
            self.others()
            since = clock.now() - (clock.monotonic() - writer._beat) if writer._beat > 0 else clock.now()
            written = commit(tallies, *rest)
            self.note(tallies, since, clock.now())
            return written

        # the seams: the code between them is that of the product
        recorder.kernel.fold, writer._writes, writer.commit = folding, writing, committing
        self.sent[worker] = []
        return worker

    def note(self, tallies: dict[Any, Tally], since: float, now: float) -> None:
        """Find the minute that the newly committed events are in: between this commit and the one before."""
        new = [event for tally in tallies.values() for event in events_of(tally) if event not in self.minutes]
        if not new:
            return
        rows = [row for row in read_rows(self.path, self.clock)[0].rows if row.span == MINUTE]
        held = [(row.start, events_of(Tally.load(row.tally))) for row in rows]
        for event in new:
            found = [(start, counts[event]) for start, counts in held if event in counts]
            assert [n for _, n in found] == [1], (event, found)
            ((start, _),) = found
            assert since - MINUTE < start <= now
            self.minutes[event] = start

    def others(self) -> None:
        """Let up to two others do something, here and now; inside a transaction nobody else can write."""
        if self.depth < 3:
            for _ in range(self.chance.choice([0, 0, 1, 2])):
                self.step(HARMLESS if "transaction" in self.busy else ANYTHING)

    def step(self, possible: dict[str, float]) -> None:
        """Do one thing."""
        what = self.chance.choices(list(possible), list(possible.values()))[0]
        worker = self.chance.choice(self.workers)
        self.depth += 1
        try:
            getattr(self, what)(worker)
        except Killed:
            self.kill(worker)
        finally:
            self.depth -= 1

    def put(self, worker: Worker) -> None:
        """Record a few events."""
        for _ in range(self.chance.randrange(1, 5)):
            event = f"/{self.number}"
            self.number += 1
            self.sent[worker].append(event)
            worker.recorders[KEY].put((event, 0.05, None, None, "a", 0.9, None))

    def fold(self, worker: Worker) -> None:
        """Fold a chunk."""
        worker.recorders[KEY].relieve()

    def commit(self, worker: Worker) -> None:
        """Commit what is folded."""
        self.alone(worker, worker._commit)

    def compact(self, worker: Worker) -> None:
        """Compact what is old, however lately that was done."""
        worker.writer._compacted = float("-inf")
        self.alone(worker, worker._compact)

    def alone(self, who: object, act: Callable[[], object]) -> None:
        """Act, unless it is in the middle of that."""
        if who not in self.busy:
            self.busy.add(who)
            try:
                act()
            finally:
                self.busy.remove(who)

    def tick(self, _worker: Worker) -> None:
        """Let some time pass."""
        self.clock.advance(self.chance.choice([0.3, 1, 20, 61]))

    def sleep(self, _worker: Worker) -> None:
        """Let much time pass."""
        self.clock.advance(self.chance.choice([7 * MINUTE, 20 * MINUTE, HOUR, 2 * DAY]))

    def kill(self, worker: Worker) -> None:
        """End a worker without a goodbye, and hire another."""
        worker.writer._forget_connection()
        self.lost |= set(self.sent[worker]) - self.minutes.keys()
        if worker in self.workers:
            self.workers[self.workers.index(worker)] = self.hire()

    def look(self, _worker: Worker) -> None:
        """Read what has changed, and compare it with what was committed."""
        self.alone(self.reader, self.compare)

    def compare(self) -> None:
        """Read, let others go first, and compare totals and windows with what was committed when it was read."""
        try:
            changes, host = self.reader.poll()
        except sqlite3.OperationalError:
            assert not self.minutes  # nobody has made the file yet
            return
        seen = self.minutes.copy()
        self.others()
        now = self.clock.now()
        self.totals.apply(changes, host.schemas)
        self.windows.apply(changes, now, host.schemas)
        assert events_of(self.totals.tallies.get(KEY, Tally())) == dict.fromkeys(seen, 1)
        for size in WINDOWS_S:
            inside = events_of(self.windows.sum(KEY, size))
            first = first_start(now, size)
            due = {event for event, start in seen.items() if first < start + MINUTE and start <= now + WAITS_S}
            assert inside == dict.fromkeys(due, 1), size
            self.left[size] |= self.inside[size] - inside.keys()
            self.inside[size] = set(inside)
            assert not self.left[size] & self.inside[size]

    def end(self) -> None:
        """Fold and commit what is left, and count every event in every row."""
        for worker in self.workers:
            self.depth = 9  # nobody comes between any more
            while worker.recorders[KEY].backlog():
                self.fold(worker)
            while not worker._commit():
                pass
        self.look(self.workers[0])
        rows = read_rows(self.path, self.clock)[0].rows
        found = [event for row in rows for event, n in events_of(Tally.load(row.tally)).items() for _ in range(n)]
        everything = {event for events in self.sent.values() for event in events}
        assert sorted(found) == sorted(self.minutes)
        assert self.minutes.keys() | self.lost == everything
        assert not self.minutes.keys() & self.lost
        for size in WINDOWS_S:
            self.clock.advance(AHEAD_S + size + MINUTE)
            self.look(self.workers[0])
            assert not self.inside[size]


@pytest.mark.parametrize("part", range(PARTS))
def test_every_order_counts_each_event_in_one_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    """1,000 seeds: folds, commits, failures, kills, compaction and reads in any order; windows conserve every event (RELIABILITY 22)."""
    replace: Callable[..., int] = compaction._replace
    for seed in range(part, SEEDS, PARTS):
        house = House(tmp_path / f"{seed}.db", seed)

        def replacing(*arguments: Any, house: House = house) -> int:
            house.alone("transaction", house.others)
            return replace(*arguments)

        monkeypatch.setattr(compaction, "_replace", replacing)
        for _ in range(STEPS):
            house.step(AT_TOP)
        house.end()
        house.reader.close()
        for worker in house.sent:
            worker.writer._forget_connection()
        (tmp_path / f"{seed}.db").unlink()
