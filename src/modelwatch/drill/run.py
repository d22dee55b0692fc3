"""Runs a drill: each fault is turned on, watched until its alert has reached its receiver, and turned off again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from modelwatch.drill.faults import FAULTS, TOGETHER, Fault, Mode
from modelwatch.drill.lab import Lab, Place, Side, demo_place
from modelwatch.drill.watching import Alert, Span
from modelwatch.generate.context import EVALUATE_S, SCRAPE_S, SHORTEST_S
from modelwatch.signals.service import MUTED_S

SHORT_SCALE, STACK_SCALE, LONG_SCALE = 300.0, 30.0, 120.0
SHORT_S = 43.0  # after so long a short drill breaks nothing any more, and says what has not come
LONGEST_S = 2 * 3600.0  # of one wave, unscaled
RATE, QUIET_RATE = 40.0, 15.0
SERVICES = (TOGETHER, ("service-down", "scrape-broken"), ("traffic-stop", "serve-killed"))  # of a short drill
ENOUGH = 100  # answers without which nobody can tell that traffic has stopped
LOOK_S = 0.1
SETTLE_S = 1.3 * MUTED_S  # unscaled: until both sides have known the version for long enough to judge its drift

Say = Callable[[str], None]


@dataclass
class Told:
    """When a receiver got an alert, and its end, in Unix seconds."""

    delivered: float | None = None
    resolved: float | None = None


@dataclass
class Trial:
    """One fault on one side, and when each step of its alert was seen, in Unix seconds.

    injected, removed : when it was turned on and off.
    moved, pending, firing : of the alert, as its evaluator tells it; delivered, resolved : on the wire.
    told : when each receiver got it, by its kind; `delivered` and `resolved` are of the last of them.
    spans : of every severity and culprit of the alert.
    """

    fault: Fault
    mode: Mode
    injected: float | None = None
    moved: float | None = None
    pending: float | None = None
    firing: float | None = None
    delivered: float | None = None
    removed: float | None = None
    resolved: float | None = None
    ended: float | None = None
    why: str = ""
    told: dict[str, Told] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it fired, was delivered, and resolved, but not while it was broken."""
        return None not in (self.firing, self.delivered, self.resolved) and not self.ended_early

    @property
    def ended_early(self) -> bool:
        """Whether a receiver was told of an end before there was one."""
        ends = [told.resolved for told in self.told.values() if told.resolved is not None]
        return any(self.removed is None or end < self.removed for end in ends)

    def look(self, side: Side, now: float) -> None:
        """See how far it has come."""
        assert self.injected is not None
        if self.fault.kills_evaluator:
            self._look_at_heart(side, now)
        else:
            self._look_at_alert(side, now)

    def _look_at_alert(self, side: Side, now: float) -> None:
        assert self.injected is not None
        self.spans = [s for s in side.watch.of(self.fault.alert, self.injected) if (s.firing or now) >= self.injected]
        self.moved = _first(span.moved for span in self.spans)
        self.pending = _first(span.pending for span in self.spans)
        self.firing = _first(span.firing for span in self.spans)
        inboxes = [side.team, side.pager] if self.fault.pages else [side.team]
        for inbox in inboxes:
            told = self.told.setdefault(inbox.form.name, Told())
            if told.delivered is None:
                told.delivered = inbox.first(self.fault.alert, "firing", self.injected)
            if told.resolved is None and told.delivered is not None:
                told.resolved = inbox.first(self.fault.alert, "resolved", told.delivered)
        self.delivered = _all(told.delivered for told in self.told.values())
        self.resolved = _all(told.resolved for told in self.told.values())
        if self.resolved is not None and self.ended is None and side.watch.is_quiet(self.fault.alert):
            self.ended = _last(span.ended for span in self.spans if span.firing)

    def _look_at_heart(self, side: Side, now: float) -> None:
        """Ask the dead-man's receiver: the alert comes from outside, when it misses the heartbeat."""
        offset = now - time.monotonic()
        assert self.injected is not None
        alarm = _first(at + offset for at in side.snitch.alarms() if at + offset >= self.injected)
        self.moved = self.pending = self.injected
        self.firing = self.delivered = alarm
        if self.removed is not None:
            self.resolved = self.resolved or _first(
                at + offset for at in side.snitch.beats() if at + offset >= self.removed
            )
            self.ended = self.resolved

    def may_end(self, side: Side) -> bool:
        """Tell whether the fault has shown what it had to."""
        if self.fault.breaks_receiver and side.pager.is_down:  # it must be tried in vain, while another one is told
            told = side.team.first(self.fault.alert, "firing", self.injected or 0.0)
            side.pager.is_down = not (side.pager.refused and told)
        return self.delivered is not None


def _first(times: Iterable[float | None]) -> float | None:
    return min((at for at in times if at is not None), default=None)


def _all(times: Iterable[float | None]) -> float | None:
    """Return the last of all times; None while one is missing."""
    found = list(times)
    return None if None in found else _last(found)


def _last(times: Iterable[float | None]) -> float | None:
    return max((at for at in times if at is not None), default=None)


def _first_spans(trial: Trial) -> dict[Alert, Span]:
    found: dict[Alert, Span] = {}
    for span in trial.spans:
        if span.firing is not None:
            found.setdefault(span.alert, span)
    return found


class Apart(NamedTuple):
    """How many seconds later `serve` saw an alert of a fault begin to fire, and end, than Prometheus."""

    fault: str
    alert: Alert
    fired_s: float
    ended_s: float | None  # None: one of them has not seen the end


@dataclass
class Drill:
    """What a drill found out."""

    trials: list[Trial]
    time_scale: float
    began: float
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every alert fired, was delivered, and resolved."""
        return bool(self.trials) and all(trial.passed for trial in self.trials)

    @property
    def allowed_s(self) -> float:
        """How far apart both modes may be: one evaluation of Prometheus and one scrape."""
        return sum(max(every_s / self.time_scale, SHORTEST_S) for every_s in (EVALUATE_S, SCRAPE_S))

    def apart(self) -> list[Apart]:
        """Return how far apart both modes were, for every alert of a fault that fired in both."""
        sides = {(trial.fault.name, trial.mode): trial for trial in self.trials if not trial.fault.kills_evaluator}
        found = []
        for (name, mode), trial in sides.items():
            other = sides.get((name, "stack"))
            if mode == "stack" or other is None:
                continue
            ours, theirs = _first_spans(trial), _first_spans(other)
            for alert in ours.keys() & theirs.keys():
                a, b = ours[alert], theirs[alert]
                assert a.firing is not None
                assert b.firing is not None
                ended = None if a.ended is None or b.ended is None else a.ended - b.ended
                found.append(Apart(name, alert, a.firing - b.firing, ended))
        return sorted(found, key=lambda one: (list(FAULTS).index(one.fault), one.alert))

    def intervals(self, mode: Mode) -> dict[Alert, tuple[float, float | None]]:
        """Return {alert: (when it began to fire, when it ended)} as one side saw it, culprits and severities apart."""
        found: dict[Alert, tuple[float, float | None]] = {}
        for trial in self.trials:
            if trial.mode == mode and not trial.fault.kills_evaluator:
                for span in trial.spans:
                    if span.firing is not None:
                        found.setdefault(span.alert, (span.firing, span.ended))
        return found


def wave(lab: Lab, faults: Sequence[Fault], deadline: float, say: Say) -> list[Trial]:
    """Turn faults on at once, each off when its alert has been delivered everywhere, and wait for the ends."""
    trials = {fault: [Trial(fault, side.mode) for side in lab.sides] for fault in faults}
    _wait_until_quiet(lab, faults, deadline)
    on = list(faults)
    if any(fault.breaks_receiver for fault in faults):
        lab.break_receivers()
    injected = time.time()
    lab.apply(on)
    for fault in faults:
        for trial in trials[fault]:
            trial.injected = injected
    _kill_evaluators(lab, on)
    while time.monotonic() < deadline:
        now = time.time()
        for fault in faults:
            for trial, side in zip(trials[fault], lab.sides, strict=True):
                trial.look(side, now)
        shown = [f for f in on if all(t.may_end(s) for t, s in zip(trials[f], lab.sides, strict=True))]
        if shown:
            on = [fault for fault in on if fault not in shown]
            _turn_off(lab, on, shown, trials)
            for fault in shown:
                say(f"{fault.name}: {fault.alert} was delivered {time.time() - injected:.1f} s after it was broken")
        if not on and all(trial.resolved and trial.ended for of in trials.values() for trial in of):
            break
        time.sleep(LOOK_S)
    _turn_off(lab, [], on, trials)
    for of in trials.values():
        for trial, side in zip(of, lab.sides, strict=True):
            if not trial.passed:
                trial.why = _why_not(trial, side)
            say(f"{trial.fault.name} ({trial.mode}): {trial.why or 'passed'}")
    return [trial for of in trials.values() for trial in of]


def _wait_until_quiet(lab: Lab, faults: Sequence[Fault], deadline: float) -> None:
    """Wait until what a fault is to show is not there by itself; a third of the time at most."""
    until = time.monotonic() + (deadline - time.monotonic()) / 3
    names = [fault.alert for fault in faults if not fault.kills_evaluator]
    while time.monotonic() < until:
        enough = lab.traffic.answered >= ENOUGH or not any(fault.stops_traffic for fault in faults)
        if (
            enough
            and all(side.watch.answered_at and all(map(side.watch.is_quiet, names)) for side in lab.sides)
            and all(side.snitch.beats() for side in lab.sides)
        ):
            return
        time.sleep(LOOK_S)


def _kill_evaluators(lab: Lab, faults: Iterable[Fault]) -> None:
    if any(fault.kills_evaluator for fault in faults):
        for side in lab.sides:
            side.kill()


def _turn_off(lab: Lab, on: Sequence[Fault], off: Sequence[Fault], trials: dict[Fault, list[Trial]]) -> None:
    if not off:
        return
    for fault in off:
        for trial in trials[fault]:
            trial.removed = time.time()
    lab.apply(on)
    if any(fault.kills_evaluator for fault in off):
        for side in lab.sides:
            side.restart()


def _why_not(trial: Trial, side: Side) -> str:
    if trial.ended_early:
        return f"{trial.fault.alert} was told to be over while it was broken"
    steps = {"fire": trial.firing, "reach its receivers": trial.delivered, "resolve": trial.resolved}
    malformed = [fault for inbox in (side.team, side.pager) for fault in inbox.malformed]
    why = f"{trial.fault.alert} did not {next(step for step, at in steps.items() if at is None)} in time"
    return f"{why}; a message was refused: {malformed[0]}" if malformed else why


def waves_of(faults: Sequence[Fault], *, at_once: bool) -> list[list[Fault]]:
    """Return what is broken together, one after the other; one fault at a time unless `at_once`."""
    together = [fault for fault in faults if at_once and fault.name in TOGETHER]
    waves = [wave for wave in (together, *([fault] for fault in faults if fault not in together)) if wave]
    return sorted(waves, key=lambda wave: faults.index(wave[0]))


def short_drill(faults: Sequence[Fault], folder: Path, say: Say, limit_s: float = SHORT_S) -> Drill:
    """Break three demo services at the same time, in `limit_s` seconds and a few more to end.

    Only what is among `SERVICES`: what else there is takes minutes.
    """
    drill, begin = Drill([], SHORT_SCALE, time.time()), time.monotonic()
    deadline = begin + limit_s

    def run(number: int, names: Sequence[str]) -> list[Trial]:
        waves = waves_of([fault for fault in faults if fault.name in names], at_once=True)
        if not waves:
            return []
        name = f"service{number}"
        place = demo_place(folder / name, SHORT_SCALE, RATE if names == TOGETHER else QUIET_RATE)
        with Lab(place, ["embedded"], folder / name).running() as lab:
            return [trial for faults in waves for trial in wave(lab, faults, deadline, say)]

    with ThreadPoolExecutor(len(SERVICES)) as labs:
        running = [labs.submit(run, *numbered) for numbered in enumerate(SERVICES, 1)]
        drill.trials = [trial for one in running for trial in one.result()]
    order = list(faults)
    drill.trials.sort(key=lambda trial: order.index(trial.fault))
    drill.seconds = time.monotonic() - begin
    return drill


def long_drill(
    place: Place, faults: Sequence[Fault], modes: Sequence[Mode], folder: Path, say: Say, *, at_once: bool = False
) -> Drill:
    """Break one service, one fault at a time, as every side sees it.

    at_once : what can be told apart is broken together.

    Raises
    ------
    ModelwatchError, MissingExtra   something does not start, or the service has no hook.
    """
    scale = float(place.config.get("time_scale", 1))
    drill, begin = Drill([], scale, time.time()), time.monotonic()
    with Lab(place, modes, folder).running() as lab:
        settled = time.monotonic() + SETTLE_S / scale
        for faults_at_once in waves_of(faults, at_once=at_once):
            left = settled - time.monotonic()
            if left > 0 and any("drift" in fault.kinds for fault in faults_at_once):
                say(f"waiting {left:.0f} s until drift is judged")
                time.sleep(left)
            deadline = time.monotonic() + 60 + LONGEST_S * 3 / scale
            drill.trials += wave(lab, faults_at_once, deadline, say)
    drill.seconds = time.monotonic() - begin
    return drill


def temporary() -> tempfile.TemporaryDirectory[str]:
    """Return a folder for a drill's files."""
    return tempfile.TemporaryDirectory(prefix="modelwatch-drill-", ignore_cleanup_errors=True)
