"""The life of an alert: pending, firing, kept, held, resolved; the same from the same, whatever the order of looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelwatch.alerts import AlertState, dumped, loaded, step
from modelwatch.alerts.state import INACTIVE


def life(outcomes: list[bool | None], for_s: float = 120, keep_s: float = 120, hold_s: float = 240) -> str:
    """Return the phase after each of the outcomes, a minute apart: i, p, f."""
    state, phases = INACTIVE, ""
    for minute, holds in enumerate(outcomes):
        state, _ = step(state, holds, 60.0 * minute, for_s=for_s, keep_s=keep_s, hold_s=hold_s)
        phases += state.phase[0]
    return phases


def test_pending_firing_resolved() -> None:
    """It waits two minutes, fires, is kept two minutes after the last bad one, and is inactive."""
    assert life([False, True, True, True, True, False, False, False, False]) == "ippffffii"


def test_a_gap_begins_the_wait_anew() -> None:
    """One good minute, or one that cannot be told, and the wait begins again: as in Prometheus."""
    assert life([True, True, False, True, True, True]) == "ppippf"
    assert life([True, True, None, True, True, True]) == "ppippf"


def test_a_short_pause_does_not_resolve() -> None:
    """A flapping condition keeps one alert firing: it is told once."""
    assert life([True, True, True, False, True, False, True, False, False, False]) == "ppfffffffi"


def test_what_cannot_be_told_is_held() -> None:
    """Losing the data resolves nothing for the time of the hold; then it does."""
    assert life([True, True, True, None, None, None, None, None, None]) == "ppfffffii"


def test_good_after_lost_resolves_in_its_time() -> None:
    """Data that come back and are good end it after `keep`, whatever was lost before."""
    assert life([True, True, True, None, None, False, False, False]) == "ppfffffi"


def test_no_wait_and_no_keeping() -> None:
    """Without `for` and keep-firing it follows its condition."""
    assert life([False, True, False, True], for_s=0, keep_s=0) == "ifif"


def test_time_that_goes_back_changes_nothing() -> None:
    """A look that is earlier than the phase began is ignored."""
    firing = AlertState("firing", 1000.0)
    assert step(firing, False, 900.0) == (firing, "")


outcomes = st.lists(st.sampled_from([True, False, None]), max_size=40)


@given(outcomes, st.integers(0, 5), st.integers(0, 5))
def test_changes_are_told_once(found: list[bool | None], wait: int, keep: int) -> None:
    """Fired and resolved alternate, beginning with fired; nothing fires before its time; pending is never told."""
    state, told, true_for = INACTIVE, [], 0
    for minute, holds in enumerate(found):
        state, change = step(state, holds, 60.0 * minute, for_s=60.0 * wait, keep_s=60.0 * keep)
        true_for = true_for + 1 if holds else 0
        if change == "fired":
            assert true_for > wait
        if change in {"fired", "resolved"}:
            told.append(change)
    assert told == ["fired", "resolved"] * (len(told) // 2) + ["fired"] * (len(told) % 2)


@given(outcomes, st.integers(0, 39))
def test_a_restart_of_the_monitor_changes_nothing(found: list[bool | None], when: int) -> None:
    """States that are kept and read back go on as if nothing had happened."""
    plain = kept = INACTIVE
    for minute, holds in enumerate(found):
        if minute == when:
            kept = loaded(dumped({"a": kept}))["a"]
        plain = step(plain, holds, 60.0 * minute, for_s=120, keep_s=120).state
        kept = step(kept, holds, 60.0 * minute, for_s=120, keep_s=120).state
    assert plain == kept
