"""The clock of the windows: follows the monotonic clock, and believes a step of the wall clock only when it stays."""

from __future__ import annotations

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelwatch.clock import SETTLE_S, SLACK_S, SteadyClock
from modelwatch.testing import ClockJump, FakeClock

steps = st.floats(-1e6, 1e6).filter(lambda seconds: abs(seconds) > SLACK_S)


def test_goes_on_with_time():
    """Without a step, the clock shows the wall's time."""
    clock = FakeClock(wall=5000)
    for _ in range(100):
        clock.advance(0.7)
        assert clock.now() == pytest.approx(clock.wall)
    assert clock.steps == 0


@given(steps, st.lists(st.floats(0, 5), max_size=10))
def test_a_step_there_and_back_changes_nothing(step, waits):
    """A wrong wall clock that is put right within a minute is not seen."""
    clock = FakeClock(wall=1e9)
    begin = clock.now()
    with ClockJump(clock, step):
        for wait in waits:
            clock.advance(wait)
            assert clock.now() - begin == pytest.approx(clock.seconds - 1000, abs=1e-3)
    assert clock.now() - begin == pytest.approx(sum(waits), abs=1e-3)
    assert clock.steps == 0


@given(steps)
def test_a_step_that_stays_is_taken_once(step):
    """A lasting step is followed after a minute, all at once, and counted."""
    clock = FakeClock(wall=1e9)
    clock.now()
    clock.step(step)
    seen = []
    for _ in range(200):
        clock.advance(1)
        seen.append(clock.now() - clock.wall)
    first = next(i for i, off in enumerate(seen) if abs(off) < 1e-3)
    assert SETTLE_S - 2 <= first <= SETTLE_S + 1
    assert all(off == pytest.approx(-step, abs=1e-3) for off in seen[:first])
    assert clock.steps == 1


@given(steps, steps)
def test_each_of_two_steps_must_last_by_itself(first, second):
    """A wrong time that is followed by another wrong one is never shown."""
    if abs(second) <= 2 * SLACK_S or abs(first + second) <= 2 * SLACK_S:
        return
    clock = FakeClock(wall=1e9)
    begin = clock.now()
    clock.step(first)
    for _ in range(50):
        clock.advance(1)
        clock.now()
    clock.step(second)
    for _ in range(50):
        clock.advance(1)
        assert clock.now() - begin == pytest.approx(clock.seconds - 1000, abs=1e-3)


@given(
    st.lists(st.tuples(st.floats(0.01, 30), st.sampled_from([0.0, 0.0, 0.0, 0.3, -0.3, 3600.0, -3600.0])), max_size=60)
)
def test_moves_by_the_time_passed_or_by_a_whole_step(moves):
    """Between two looks the clock moves by the time that passed, but for small corrections and the steps it counts."""
    clock = FakeClock(wall=1e9)
    last = clock.now()
    for wait, step in moves:
        before = clock.steps
        clock.advance(wait)
        clock.step(step)
        now = clock.now()
        if clock.steps == before:
            assert abs(now - last - wait) <= SLACK_S + 1e-3
        last = now


def test_slow_corrections_are_followed():
    """A wall clock that is slewed is followed, without counting steps."""
    clock = FakeClock(wall=1e9)
    for _ in range(100):
        clock.advance(1)
        clock.step(0.01)
        assert clock.now() == pytest.approx(clock.wall)
    assert clock.steps == 0


def test_threads_do_not_correct_twice():
    """Many threads that look at once see the same correction, once."""
    wall = [1e9]
    clock = SteadyClock(lambda: wall[0], lambda: 5.0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            wall[0] += 0.9
            threads = [threading.Thread(target=lambda: [clock.now() for _ in range(20)]) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert clock.now() == wall[0]
    finally:
        sys.setswitchinterval(interval)
