"""Evaluates every rule over the counts of a host every few seconds; what has changed is kept, and then told."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from modelwatch.alerts import SEVERITIES, AlertState, Evaluation, Verdict, dumped, evaluate, message
from modelwatch.alerts.evaluation import ALWAYS_ON
from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.errors import ModelwatchError
from modelwatch.groundtruth.store import Store
from modelwatch.notify.alert import Alert
from modelwatch.serve.looks import LiveLooks
from modelwatch.serve.prober import EVERY_S, Minutes, Prober
from modelwatch.signals import Look
from modelwatch.sources.evaluated import Evaluated, HostCounts, evaluate_host
from modelwatch.sources.kept import EVALUATOR, STATES, read_states

logger = logging.getLogger("modelwatch")

LEASES = 3.0  # times the interval: so long one that ended without a word keeps others from evaluating
PAGES = "pages"  # the lease of one that evaluates for its pages alone
Tell = Callable[[Sequence[Alert], float], None]


class Evaluator:
    """One at a time evaluates for a store; others wait until it has gone.

    Parameters
    ----------
    config : its models, objectives and alerts.
    looks : of the host.
    store : where the states of alerts are kept, so that a restart changes nothing.
    tell : called with all alerts that fire, and those that have just ended; must have kept them when it returns. None:
        it evaluates for its own pages, since somebody else tells; it keeps no states, and never stands in the way of
        one that tells.
    every_s : between two evaluations.
    """

    def __init__(
        self,
        config: Config,
        looks: LiveLooks,
        store: Store,
        tell: Tell | None,
        *,
        prober: Prober,
        minutes: Minutes,
        clock: SteadyClock | None = None,
        every_s: float = EVERY_S,
        base_url: str = "",
    ) -> None:
        self.config, self.looks, self.store, self.tell = config, looks, store, tell
        self.prober, self.minutes, self.clock = prober, minutes, clock or SteadyClock()
        self.every_s, self.base_url = every_s, base_url
        self.found: dict[str, Evaluated] = {}
        self.fired: dict[tuple[str, str, str, str], int] = {}  # (model, alert, feature, severity): how often
        self.evaluated_at: float | None = None
        self.why_not = "it has not begun"
        self.store_fault = ""  # why the store did not answer the last round
        self.leads = False
        self._counts = True  # the minutes in which the service answered: one at a time does
        self._me = secrets.token_hex(8)
        self._leads_until = float("-inf")  # monotonic: from then on another one may have evaluated
        self._states: dict[str, dict[str, AlertState]] | None = None  # None: they are to be read
        self._told: set[str] | None = None  # fingerprints of the last round
        self._last_round: float | None = None
        self._said: dict[str, str] = {}
        self._stop = threading.Event()

    def run(self) -> None:
        """Evaluate until it is told to stop; what fails is said, and tried again."""
        self.prober.wait()
        while not self._stop.is_set():
            begin = self.clock.monotonic()
            self.round()
            self._stop.wait(max(0.1, self.every_s - (self.clock.monotonic() - begin)))
        self._give_up_lease()

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stop.set()

    def round(self) -> bool:
        """Look, decide, keep and tell, once. Return whether it was done; if not, `why_not` says why."""
        try:
            try:
                self.leads, self.store_fault = self._take_lease(), ""
            except ModelwatchError as error:
                self.store_fault = str(error)
                self._show(self.looks.take(self.prober.found()))
                raise
            if not self.leads:
                self.why_not, self.found = "another process evaluates for this store", {}
                return False
            self._round()
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            self.why_not = self._say("an evaluation", str(error) or repr(error))
            return False
        except Exception as error:  # a monitor that has stopped must not look like a quiet one
            logger.debug("modelwatch: a fault of its own", exc_info=True)
            self.why_not = self._say("an evaluation", repr(error))
            return False
        self.evaluated_at, self.why_not = self.clock.now(), self._say("an evaluation", "")
        return True

    def _say(self, what: str, why: str) -> str:
        """Tell the log once of what fails, until it does not any more; return why."""
        if why and why != self._said.get(what):
            logger.warning("modelwatch: %s failed; it is tried again: %s", what, why)
        self._said[what] = why
        return why

    def _round(self) -> None:
        answers = self.prober.found()
        looks = self.looks.take(answers)
        now = self.clock.monotonic()
        since_s = 0.0 if self._last_round is None else now - self._last_round
        self._last_round = now
        try:
            if self._counts:
                self.minutes.saw(answers, looks, since_s)
            self._say("counting a minute", "")
        except (sqlite3.Error, OSError, ModelwatchError) as error:  # locked, or not ours to write: alerts go on
            self._say("counting a minute", str(error) or repr(error))
        found = self._evaluated(looks, self._former_states() if self._states is None else self._states)
        if self.tell is not None:
            alerts = self.alerts(found)
            self.tell(alerts, self.clock.now())
            self._told = {alert.fingerprint for alert in alerts}
        self._keep({model: dict(one.evaluation.states) for model, one in found.items()})
        self._count(found)
        self.found = found

    def _evaluated(
        self, looks: Mapping[str, Look], former: Mapping[str, Mapping[str, AlertState]]
    ) -> dict[str, Evaluated]:
        found = {}
        for model, look in looks.items():
            states = _not_later(former.get(model, {}), look.now)
            found[model] = Evaluated(look, evaluate(self.looks.rules[model], look, states))
        return found

    def _show(self, looks: Mapping[str, Look]) -> None:
        """Evaluate for whoever looks at the pages: without the store nobody is told, and nothing is kept."""
        self.found = self._evaluated(looks, {model: one.evaluation.states for model, one in self.found.items()})

    def alerts(self, found: Mapping[str, Evaluated]) -> list[Alert]:
        """Return what fires, one for each name and its labels, at its worst severity.

        What was told before the whole service went down stays among them: it has not ended.
        """
        alerts: dict[str, Alert] = {}
        for one in found.values():
            for verdict in _worst_first(one.evaluation):
                alert = _alert(verdict, one.look, self.base_url)
                if not verdict.silenced_by or self._was_told(verdict, alert, one.evaluation):
                    alerts.setdefault(alert.fingerprint, alert)
        return list(alerts.values())

    def _was_told(self, verdict: Verdict, alert: Alert, evaluation: Evaluation) -> bool:
        """Tell whether a silenced alert had been told of before; after a restart, whether it began before."""
        down = [
            v.state.since for v in evaluation.verdicts if v.rule.name == verdict.silenced_by and v.phase == "firing"
        ]
        if self._told is None:
            return verdict.state.since < min(down, default=float("-inf"))
        return bool(down) and alert.fingerprint in self._told

    # -- what is kept --------------------------------------------------------------------------------------------------

    def _former_states(self) -> dict[str, dict[str, AlertState]]:
        """Return the states that the last evaluation left; without any those of a monitor that ran all the time."""
        try:
            kept = None if self.tell is None else read_states(self.store)
            if kept is not None:
                return {model: dict(states) for model, states in kept.items()}
        except (ValueError, TypeError, AttributeError):
            logger.warning("modelwatch: the states of alerts in the store cannot be read; they begin anew")
        counts = HostCounts(self.looks.live, self.clock)
        return {name: dict(one.evaluation.states) for name, one in evaluate_host(self.config, counts).items()}

    def _keep(self, states: dict[str, dict[str, AlertState]]) -> None:
        if states != self._states and self.tell is not None:
            self.store.set_value(STATES, json.dumps({model: dumped(each) for model, each in states.items()}))
        self._states = states

    def _take_lease(self) -> bool:
        """Return whether this one evaluates; what it knows of alerts is void if another one may have meanwhile."""
        if self.tell is None:
            self._counts = self.store.lease(PAGES, self._me, LEASES * self.every_s) and not self.store.is_leased(
                EVALUATOR
            )
            if not self._counts:
                self.minutes.forget()
            return True
        asked = self.clock.monotonic()
        mine = self.store.lease(EVALUATOR, self._me, LEASES * self.every_s)
        if not mine or asked > self._leads_until:
            self._states = self._told = self._last_round = None
            self.minutes.forget()
        self._leads_until = asked + LEASES * self.every_s if mine else float("-inf")
        return mine

    def _give_up_lease(self) -> None:
        try:
            if self.leads:
                self.store.lease(PAGES if self.tell is None else EVALUATOR, self._me, 0.0)
        except ModelwatchError as error:
            logger.info("modelwatch: the lease is not given back; it ends by itself", extra={"fault": str(error)})

    def _count(self, found: Mapping[str, Evaluated]) -> None:
        fired = dict(self.fired)  # whoever reads has the former one
        for model, one in found.items():
            for verdict in one.evaluation.verdicts:
                if verdict.change == "fired":
                    key = (model, verdict.rule.name, verdict.labels.get("feature_name", ""), severity_of(verdict))
                    fired[key] = fired.get(key, 0) + 1
        self.fired = fired

    def known(self) -> Mapping[str, Evaluated]:
        """Return what the last evaluation found; nothing once it is too old to be said of now."""
        at = self.evaluated_at
        return self.found if at is not None and self.clock.now() - at <= LEASES * self.every_s else {}

    def state(self) -> dict[str, Any]:
        """Return how the evaluation itself is, as plain values."""
        at = self.evaluated_at
        return {
            "evaluated_s_ago": None if at is None else max(0.0, self.clock.now() - at),
            "leads": self.leads,
            "reason": self.why_not or None,
            "answers": self.prober.found(),
        }


def _not_later(states: Mapping[str, AlertState], now: float) -> dict[str, AlertState]:
    """Return states that began by now: a clock that was set back must not keep an alert as it is."""

    def by_now(at: float | None) -> float | None:
        return None if at is None else min(at, now)

    return {
        name: replace(s, since=min(s.since, now), quiet_since=by_now(s.quiet_since), lost_since=by_now(s.lost_since))
        for name, s in states.items()
    }


def severity_of(verdict: Verdict) -> str:
    """Return what an alert is called by: severe drift is a warning marked so."""
    return verdict.rule.labels.get("drift", verdict.rule.severity)


def _worst_first(evaluation: Evaluation) -> list[Verdict]:
    firing = [v for v in evaluation.verdicts if v.phase == "firing"]
    return sorted(firing, key=lambda verdict: SEVERITIES.index(verdict.rule.severity))


def _alert(verdict: Verdict, look: Look, base_url: str) -> Alert:
    told = message(verdict, look, base_url)
    labels = {**verdict.rule.labels, **verdict.labels}
    version = labels.pop("model_version", "")
    return Alert(
        name=verdict.rule.name,
        severity="none" if verdict.rule.name == ALWAYS_ON else verdict.rule.severity,
        model=verdict.rule.model,
        version=version,
        labels=labels,
        summary=told.summary,
        description="\n".join((told.description, *told.culprits)),
        runbook_url=told.runbook if base_url else "",
        dashboard_url=told.dashboard if base_url else "",
        started_at=verdict.state.since,
    )
