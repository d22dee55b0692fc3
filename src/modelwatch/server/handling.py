"""Who looks after an alert, what is silent, and what happened before: read and changed without HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from modelwatch.errors import ModelwatchError
from modelwatch.groundtruth.store import Store
from modelwatch.notify.commands import outbox_of, silenced

if TYPE_CHECKING:
    from modelwatch.config import Config
    from modelwatch.notify.grouping import Silence
    from modelwatch.notify.outbox import Outbox

HISTORY_S = 7 * 86_400.0
MOST_HISTORY = 100


class Handling:
    """Acknowledgements, silences and the history of alerts, in the store that `modelwatch alerts` uses, too.

    Every method waits for the store, so none may be called on an event loop.

    Parameters
    ----------
    outbox : what is known of the alerts.
    store : of the same database; it holds the key of the forms.
    now : Unix time.
    """

    def __init__(self, outbox: Outbox, store: Store, now: Callable[[], float] = time.time) -> None:
        self.outbox, self.store, self.now = outbox, store, now

    @classmethod
    def of(cls, config: Config, store: Store, now: Callable[[], float] = time.time) -> Handling:
        """Return the handling of the alerts of a configuration, in a store that is open."""
        return cls(outbox_of(config, store.database), store, now)

    def key(self) -> bytes:
        """Return the key of the forms: all workers have the same.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        return self.store.secret("alert_forms")

    def read(self) -> dict[str, Any]:
        """Return what people did about alerts, as plain values. Never raises for the store: then `reason` says why.

        `acknowledged` : {alert, model, by} of what fires. `silences` : those that hold. `history` : of the last week,
        the latest first, each with `at`, `actor`, `action` and what it is about.
        """
        now = self.now()
        try:
            known, held = self.outbox.known(), self.outbox.silences(now)
            history = self.outbox.history(now - HISTORY_S, MOST_HISTORY)
        except ModelwatchError as error:
            return {"reason": str(error), "acknowledged": [], "silences": [], "history": []}
        by = {
            (k.alert.name, k.alert.model): k.acknowledged_by
            for k in known
            if k.acknowledged_by and k.alert.ended_at is None
        }
        return {
            "reason": None,
            "acknowledged": [{"alert": name, "model": model, "by": who} for (name, model), who in sorted(by.items())],
            "silences": [{**vars(one), "matches": dict(one.matches)} for one in held],
            "history": history,
        }

    def acknowledge(self, alert: str, model: str, by: str) -> int:
        """Say that somebody looks after what fires of a name and model; return how many alerts there are.

        Raises
        ------
        StoreUnavailable   nothing is changed.
        """
        return self.outbox.acknowledge(alert, model, by, self.now())

    def silence(self, matches: Mapping[str, str], lasts: str, by: str, note: str) -> Silence:
        """Tell nobody of what has all these values, for so long.

        Raises
        ------
        ConfigError        there is no value, or the duration cannot be read.
        StoreUnavailable   nothing is changed.
        """
        return silenced(lambda: self.outbox, matches, lasts, by, note, self.now())

    def end_silence(self, name: str, by: str) -> bool:
        """End a silence by its id; return whether there was one.

        Raises
        ------
        StoreUnavailable   nothing is changed.
        """
        return self.outbox.end_silence(name, by, self.now())
