"""Evaluates every rule over the counts of a host every few seconds; what has changed is kept, and then told."""

from __future__ import annotations

import json
import logging
import secrets
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelwatch.alerts import SEVERITIES, AlertState, Evaluation, Verdict, dumped, evaluate, loaded, message
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

logger = logging.getLogger("modelwatch")

LEASES = 3.0  # times the interval: so long one that ended without a word keeps others from evaluating
Tell = Callable[[Sequence[Alert], float], None]


class Evaluator:
    """One at a time evaluates for a store; others wait until it has gone.

    Parameters
    ----------
    config : its models, objectives and alerts.
    looks : of the host.
    store : where the states of alerts are kept, so that a restart changes nothing.
    tell : called with all alerts that fire, and those that have just ended; must have kept them when it returns.
    every_s : between two evaluations.
    """

    def __init__(
        self,
        config: Config,
        looks: LiveLooks,
        store: Store,
        tell: Tell,
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
        self.leads = False
        self._me = secrets.token_hex(8)
        self._states: dict[str, dict[str, AlertState]] | None = None
        self._last_round: float | None = None
        self._stop = threading.Event()

    def run(self) -> None:
        """Evaluate until it is told to stop; what fails is said, and tried again."""
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
            self.leads = self._take_lease()
            if not self.leads:
                self.why_not = "another process evaluates for this store"
                return False
            self._round()
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            self.why_not = str(error) or repr(error)
            logger.warning("modelwatch: an evaluation failed; it is tried again", extra={"fault": self.why_not})
            return False
        self.evaluated_at, self.why_not = self.clock.now(), ""
        return True

    def _round(self) -> None:
        answers = self.prober.found()
        looks = self.looks.take(answers)
        now = self.clock.monotonic()
        since_s = 0.0 if self._last_round is None else now - self._last_round
        self._last_round = now
        self.minutes.saw(answers, looks, since_s)
        if self._states is None:
            self._states = self._former_states()
        found: dict[str, Evaluated] = {}
        for model, look in looks.items():
            evaluation = evaluate(self.looks.rules[model], look, self._states.get(model, {}))
            found[model] = Evaluated(look, evaluation)
        self.tell(self.alerts(found), self.clock.now())
        self._keep({model: dict(one.evaluation.states) for model, one in found.items()})
        self._count(found)
        self.found = found

    def alerts(self, found: Mapping[str, Evaluated]) -> list[Alert]:
        """Return what fires, one for each name and its labels, at its worst severity."""
        alerts: dict[str, Alert] = {}
        for one in found.values():
            for verdict in _worst_first(one.evaluation):
                alert = _alert(verdict, one.look, self.base_url)
                alerts.setdefault(alert.fingerprint, alert)
        return list(alerts.values())

    # -- what is kept --------------------------------------------------------------------------------------------------

    def _former_states(self) -> dict[str, dict[str, AlertState]]:
        """Return the states that the last evaluation left; without any those of a monitor that ran all the time."""
        kept = self.store.value("alert_states")
        if kept is not None:
            return {model: loaded(states) for model, states in json.loads(kept).items()}
        counts = HostCounts(self.looks.live, self.clock)
        return {name: dict(one.evaluation.states) for name, one in evaluate_host(self.config, counts).items()}

    def _keep(self, states: dict[str, dict[str, AlertState]]) -> None:
        if states != self._states:
            self.store.set_value("alert_states", json.dumps({model: dumped(each) for model, each in states.items()}))
        self._states = states

    def _take_lease(self) -> bool:
        return self.store.lease("evaluator", self._me, LEASES * self.every_s)

    def _give_up_lease(self) -> None:
        try:
            if self.leads:
                self.store.lease("evaluator", self._me, 0.0)
        except ModelwatchError as error:
            logger.info("modelwatch: the lease is not given back; it ends by itself", extra={"fault": str(error)})

    def _count(self, found: Mapping[str, Evaluated]) -> None:
        for model, one in found.items():
            for verdict in one.evaluation.verdicts:
                if verdict.change == "fired":
                    key = (model, verdict.rule.name, verdict.labels.get("feature_name", ""), severity_of(verdict))
                    self.fired[key] = self.fired.get(key, 0) + 1

    def state(self) -> dict[str, Any]:
        """Return how the evaluation itself is, as plain values."""
        at = self.evaluated_at
        return {
            "evaluated_s_ago": None if at is None else max(0.0, self.clock.now() - at),
            "leads": self.leads,
            "reason": self.why_not or None,
            "answers": dict(self.prober.found()) if self.prober.urls else {},
        }


def severity_of(verdict: Verdict) -> str:
    """Return what an alert is called by: severe drift is a warning marked so."""
    return verdict.rule.labels.get("drift", verdict.rule.severity)


def _worst_first(evaluation: Evaluation) -> list[Verdict]:
    firing = [v for v in evaluation.verdicts if v.phase == "firing" and not v.silenced_by]
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
