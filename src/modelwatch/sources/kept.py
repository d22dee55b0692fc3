"""The states of alerts that a `modelwatch serve` keeps in the store while it runs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from modelwatch.alerts.state import AlertState, loaded
from modelwatch.config import Config
from modelwatch.errors import ModelwatchError
from modelwatch.groundtruth.store import Store

STATES = "alert_states"  # their name in the store
EVALUATOR = "evaluator"  # the lease of the one that evaluates
States = Mapping[str, Mapping[str, AlertState]]


def read_states(store: Store) -> States | None:
    """Return {model: states of its alerts} as the last evaluation left them; None where there was none.

    Raises
    ------
    ModelwatchError                        the store cannot be read.
    ValueError, TypeError, AttributeError  what it holds is none.
    """
    kept = store.value(STATES)
    return None if kept is None else {model: loaded(states) for model, states in json.loads(kept).items()}


def fresh_states(config: Config, clock: Callable[[], float] = time.time) -> States | None:
    """Return the states of a `serve` that evaluates now; None where none does, or the store does not say it.

    A store that does not exist is not made.
    """
    if config.store is None:
        return None
    file = config.store.removeprefix("sqlite:///")
    if file != config.store and not Path(file).exists():
        return None
    try:
        store = Store.open(config.store, clock=clock)
        try:
            return read_states(store) if store.is_leased(EVALUATOR) else None
        finally:
            store.close()
    except (ModelwatchError, ValueError, TypeError, AttributeError):
        return None
