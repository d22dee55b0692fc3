"""KillAt: what a process acknowledged before `kill -9` is known exactly, wherever it was."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from counting import read_rows
from dying import fail, watch, work_in_threads, write_and_acknowledge
from modelwatch.errors import ModelwatchError
from modelwatch.tally import Tally
from modelwatch.testing import Death, KillAt, acknowledge, reached

TRIALS = 10


def test_dies_at_the_point(tmp_path: Path) -> None:
    """Between two steps, at the third time: the first is done, the second is not, and nothing comes after."""
    file = tmp_path / "lines"
    death = KillAt("written", nth=3).run(write_and_acknowledge, str(file), 10)
    assert death == Death(acknowledged=[0, 1], killed=True, exit_status=-9)
    assert file.read_text() == "0\n1\n2\n"
    assert KillAt("acknowledged", nth=2).run(write_and_acknowledge, str(file), 10).acknowledged == [0, 1]


def test_a_function_that_ends_first_was_not_killed(tmp_path: Path) -> None:
    """A point that is never reached kills nobody; the function's end and its failure are told apart."""
    lines = str(tmp_path / "lines")
    assert KillAt("nowhere").run(write_and_acknowledge, lines, 3) == Death([0, 1, 2], killed=False, exit_status=0)
    assert KillAt("nowhere").run(fail) == Death([], killed=False, exit_status=3)


def test_points_of_many_threads_are_one_point() -> None:
    """Whichever thread comes there as the hundredth ends all of them."""
    death = KillAt("here", nth=100).run(work_in_threads)
    assert death.killed
    assert 100 <= len(death.acknowledged) <= 103


def test_more_is_acknowledged_than_a_pipe_holds(tmp_path: Path) -> None:
    """Twenty thousand acknowledgements stop nobody and are all told."""
    death = KillAt("nowhere").run(write_and_acknowledge, str(tmp_path / "lines"), 20_000)
    assert death == Death(list(range(20_000)), killed=False, exit_status=0)


def test_nothing_happens_in_other_processes() -> None:
    """Points and acknowledgements may stay in code that runs as usual."""
    reached("written")
    acknowledge("promised")


def test_endless_functions_are_an_error_and_leave_no_process() -> None:
    """What takes too long is killed, and said."""
    with pytest.raises(ModelwatchError, match="seconds is 1.5; expected an end"):
        KillAt("never").run(time.sleep, 600, timeout_s=1.5)
    with pytest.raises(ValueError, match="expected one of them"):
        KillAt()
    with pytest.raises(ValueError, match="expected one of them"):
        KillAt("sent", after_s=1)


def test_what_a_flush_has_kept_survives_death_at_random_times(tmp_path: Path) -> None:
    """Killed at seeded random times while two threads record: each flushed count is in a whole file afterwards."""
    dice = random.Random(24)
    told = 0
    for trial in range(TRIALS):
        live = tmp_path / f"{trial}.db"
        death = KillAt(after_s=dice.uniform(0.05, 0.6), start_method="forkserver").run(watch, str(live))
        assert death.killed
        told += len(death.acknowledged)
        if death.acknowledged:
            rows = read_rows(live)[0].rows
            assert (
                sum(Tally.load(row.tally).tables["ml_requests_total"].total() for row in rows) >= death.acknowledged[-1]
            )
            db = sqlite3.connect(live)
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            db.close()
    assert told > 0  # else nothing was proved
