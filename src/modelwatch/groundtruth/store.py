"""The store of ground truth: samples that await a label, labels, and what they say of each other."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from modelwatch.errors import MissingExtra
from modelwatch.groundtruth.kinds import RETENTION_S, Added, Labelled, Retention, Sample, TrueLabel

if TYPE_CHECKING:
    from modelwatch.groundtruth.database import Database
    from modelwatch.groundtruth.deploys import Deploy
    from modelwatch.groundtruth.views import Counts, Rows, Written

__all__ = ["RETENTION_S", "Added", "Labelled", "Retention", "Sample", "Store", "TrueLabel"]

RETENTION = "retention:"  # of a model, in the values of the store
RETENTION_READ_S = 60.0
YOUNG_S = 600.0  # a sample is in the store by then


class Store:
    """Samples and labels in a SQLite file or a PostgreSQL database. Threads may share it.

    Every writing method returns when what it did is durable. Opened at first use; `open` does so at once.

    Parameters
    ----------
    url : as `store:` in the configuration.
    retention_s : labels of older predictions are late; of models that `keep_for` has said nothing of.
    clock : Unix seconds; tests pass their own.
    busy_s : seconds to wait for the transactions of others.

    Raises
    ------
    ConfigError, MissingExtra   the URL cannot be used.

    Examples
    --------
    >>> store = Store("sqlite:///:memory:", clock=lambda: 1_700_000_060.0)
    >>> _ = store.add_samples([Sample("0" * 32, "sentiment", "1.0", "/predict", 1_700_000_000.0, "positive")])
    >>> answer = store.label("0" * 32, "positive", reviewer="ann")
    >>> answer.state, answer.first, answer.right
    ('matched', True, True)
    >>> store.label("0" * 32, "negative", reviewer="bob").state
    'conflict'
    """

    def __init__(
        self,
        url: str,
        retention_s: float = RETENTION_S,
        clock: Callable[[], float] = time.time,
        busy_s: float = 5.0,
    ) -> None:
        try:
            from modelwatch.groundtruth.database import Database
        except ModuleNotFoundError as error:
            if error.name != "sqlalchemy":
                raise
            raise MissingExtra("store: SQLAlchemy is not installed. Run: pip install 'modelwatch[store]'") from None
        self.database: Database = Database(url, busy_s)
        self.retention_s, self.clock = retention_s, clock
        self._own: dict[str, float] = {}  # retention by model, as this process was told
        self._retention: tuple[float, Retention] | None = None  # when it was read, and what
        self._last_at, self._ticking = float("-inf"), threading.Lock()

    @classmethod
    def open(cls, url: str, retention_s: float = RETENTION_S, clock: Callable[[], float] = time.time) -> Store:
        """Open a store, made when there is none.

        Raises
        ------
        ConfigError, MissingExtra      the URL cannot be used.
        StoreUnavailable, NewerFormat  what is there cannot be used.
        """
        store = cls(url, retention_s, clock)
        store.database.open()
        return store

    def close(self) -> None:
        """Close what is open."""
        self.database.close()

    def tick(self) -> float:
        """Return the time, a little later at each call: of two labels one is the latest."""
        with self._ticking:
            self._last_at = max(self.clock(), self._last_at + 1e-6)
            return self._last_at

    def keep_for(self, model: str, retention_s: float) -> None:
        """Say for how long samples of a model are kept. All who share the store go by it, within a minute."""
        self._own[model] = retention_s
        self._retention = None

    def retention(self, *, fresh: bool = False) -> Retention:
        """Return for how long samples are kept, by model, as all who share the store have said.

        fresh : read it now; else it may be a minute old.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        from modelwatch.groundtruth.labelling import set_value, values_of

        if fresh or self._retention is None or time.monotonic() - self._retention[0] > RETENTION_READ_S:
            own = dict(self._own)
            stored = self.database.read(lambda connection: values_of(connection, RETENTION))
            by_model = {name.removeprefix(RETENTION): float(text) for name, text in stored.items()}
            for model, kept_s in own.items():
                if by_model.get(model) != kept_s:
                    self.database.write(partial(set_value, name=f"{RETENTION}{model}", value=repr(float(kept_s))))
            self._retention = time.monotonic(), Retention(self.retention_s, by_model | own)
        return self._retention[1]

    def add_samples(self, samples: Sequence[Sample]) -> Added:
        """Keep predictions for review. One whose id is known already changes nothing.

        Raises
        ------
        StoreUnavailable, NewerFormat   none was kept.
        """
        from modelwatch.groundtruth.labelling import add

        if not samples:
            return Added(0)
        retention = self.retention()
        return self.database.write(lambda connection: add(connection, samples, self.clock(), retention))

    def label(
        self,
        request_id: str,
        true_label: str | float,
        reviewer: str | None = None,
        at: float | None = None,
        issued_at: float | None = None,
        sampled: bool | None = None,  # noqa: FBT001 - True, False, or cannot be told
        note: str | None = None,
    ) -> Labelled:
        """Take one label; see `TrueLabel` for the arguments.

        Raises
        ------
        ValueError                      as `TrueLabel`.
        StoreUnavailable, NewerFormat   it was not taken.
        """
        return self.label_many([TrueLabel(request_id, true_label, reviewer, at, issued_at, sampled, note)])[0]

    def label_many(self, labels: Sequence[TrueLabel]) -> list[Labelled]:
        """Take many labels, in one transaction; the answers are in their order.

        Raises
        ------
        StoreUnavailable, NewerFormat   none was taken.
        """
        from modelwatch.groundtruth.labelling import take

        if not labels:
            return []
        said = [(label, self.tick() if label.at is None else min(label.at, self.clock())) for label in labels]
        retention = self.retention()
        return self.database.write(lambda connection: take(connection, said, self.clock(), retention))

    def rows(
        self,
        model: str,
        version: str | None = None,
        since: float | None = None,
        until: float | None = None,
        last: int | None = None,
        by: Literal["predicted", "labelled"] = "predicted",
        *,
        unlabelled: bool = False,
    ) -> Rows:
        """Return the labelled predictions of a model as columns; see `views.rows`."""
        from modelwatch.groundtruth.views import rows

        return self.database.read(
            lambda connection: rows(connection, model, version, since, until, last, by, unlabelled=unlabelled)
        )

    def counts(self, model: str | None = None) -> Counts:
        """Return how many samples there are, by state, of one model or of all.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        from modelwatch.groundtruth.views import counts

        return self.database.read(lambda connection: counts(connection, model, self.clock()))

    def written(self) -> Written:
        """Return how many labels and audit rows there are.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        from modelwatch.groundtruth.views import written

        return self.database.read(written)

    def tell_deploy(self, deploy: Deploy) -> None:
        """Keep that somebody has deployed a version.

        Raises
        ------
        StoreUnavailable, NewerFormat   it is not kept.
        """
        from modelwatch.groundtruth.deploys import tell

        self.database.write(lambda connection: tell(connection, deploy))

    def deploys(self, model: str, since: float = float("-inf")) -> list[Deploy]:
        """Return the deploys of a model since a time, the latest first, 100 at most.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        from modelwatch.groundtruth.deploys import deploys

        return self.database.read(lambda connection: deploys(connection, model, since))

    def purge_some(self, max_bytes: int | None = None) -> int:
        """Remove up to 500 requests that are too old, or too many; return how many. See `retention.purge_some`.

        Raises
        ------
        StoreUnavailable, NewerFormat   nothing was removed.
        """
        from modelwatch.groundtruth.retention import purge_some

        return purge_some(self.database, self.clock(), self.retention(fresh=True), max_bytes)

    def purge(self, now: float | None = None, retention_s: float | None = None, max_bytes: int | None = None) -> int:
        """Remove all requests that are too old, or too many, in small transactions; return how many.

        Raises
        ------
        StoreUnavailable, NewerFormat   not all was removed.
        """
        from modelwatch.groundtruth.retention import purge_some

        kept_s = self.retention(fresh=True) if retention_s is None else Retention(retention_s)
        total = 0
        while removed := purge_some(self.database, self.clock() if now is None else now, kept_s, max_bytes):
            total += removed
        return total

    def secret(self, name: str = "request_ids", length: int = 32) -> bytes:
        """Return random bytes that are made once and are the same for all who share the store.

        Raises
        ------
        StoreUnavailable, NewerFormat   they cannot be read now.
        """
        from modelwatch.groundtruth.labelling import keep_value, value_of

        key = f"secret:{name}"
        found = self.database.read(lambda connection: value_of(connection, key))  # it is there but once
        if found is None:
            found = self.database.write(lambda connection: keep_value(connection, key, secrets.token_hex(length)))
        return bytes.fromhex(found)

    def value(self, name: str) -> str | None:
        """Return a value that somebody has kept under a name; None where there is none.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        from modelwatch.groundtruth.labelling import value_of

        return self.database.read(lambda connection: value_of(connection, name))

    def set_value(self, name: str, value: str) -> None:
        """Keep a value under a name, in the place of what was there.

        Raises
        ------
        StoreUnavailable, NewerFormat   what was there is still there.
        """
        from modelwatch.groundtruth.labelling import set_value

        self.database.write(lambda connection: set_value(connection, name, value))

    def lease(self, name: str, who: str, seconds: float) -> bool:
        """Take something that one at a time may have, for so long, or take it for longer; 0 gives it back.

        Returns whether it is now, or was until now, the caller's.

        Raises
        ------
        StoreUnavailable, NewerFormat   nobody knows whose it is.
        """
        from modelwatch.groundtruth.labelling import take_lease

        return self.database.write(lambda connection: take_lease(connection, name, who, self.clock(), seconds))

    def is_leased(self, name: str) -> bool:
        """Tell whether somebody has what one at a time may have.

        Raises
        ------
        StoreUnavailable, NewerFormat   nobody knows.
        """
        from modelwatch.groundtruth.labelling import is_leased

        return self.database.read(lambda connection: is_leased(connection, name, self.clock()))
