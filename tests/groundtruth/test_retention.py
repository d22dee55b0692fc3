"""What is too old, or too much, leaves the store, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelwatch.groundtruth.queue import history, note, skip
from modelwatch.groundtruth.retention import size_of
from modelwatch.groundtruth.store import RETENTION_S, YOUNG_S, Sample, Store, TrueLabel
from truth import NOW, Time, number, sample

DAY = 86400.0


def test_what_is_older_than_the_retention_goes_with_all_that_belongs_to_it(store: Store, time: Time) -> None:
    """Labels, skips and audit rows go with their sample; younger ones stay as they were; nothing is left to do."""
    store.add_samples([sample(i, age_s=i * DAY, model=f"model {i % 2}") for i in range(1, 1300)])
    for i in (5, 95, 96):
        store.label(number(i), "positive", "ann")
        store.label(number(i), "negative", "bob")
        skip(store, number(i), "eve")
    time.now += DAY / 2
    assert store.purge() == 1300 - 90
    assert store.counts().waiting + store.counts().labelled == 89
    assert store.rows("model 1").request_ids.tolist() == [number(5)]
    assert [len(history(store, number(i))) for i in (5, 95, 96)] == [4, 0, 0]
    assert store.written().said == 2
    assert store.purge() == 0


def test_each_model_has_a_retention_that_all_go_by(store_url: str, opened: Callable[[str], Store], time: Time) -> None:
    """A service that knows its own model only removes those of others when they are due, and finds their labels late."""
    short, long = opened(store_url), opened(store_url)
    short.keep_for("short", 10 * DAY)
    long.keep_for("long", 400 * DAY)
    short.add_samples([sample(1, model="short"), sample(3, model="other")])
    long.add_samples([sample(2, model="long")])
    other = opened(store_url)
    states, kept = [], []
    for days in (9, 11, 91, 399, 401):
        time.now = NOW + days * DAY
        states.append([other.label(number(i), "positive", at=NOW + i, sampled=False).state for i in (1, 2, 3)])
        short.purge()
        counts = other.counts()
        kept.append(counts.waiting + counts.labelled)
    assert kept == [3, 2, 1, 1, 0]
    assert states[0] == ["matched", "matched", "matched"]
    assert states[1] == ["late", "duplicate", "duplicate"]
    assert states[2] == ["not_sampled", "duplicate", "late"]
    assert states[4] == ["not_sampled", "late", "not_sampled"]


def test_labels_whose_sample_never_came_go_in_time(store: Store, time: Time) -> None:
    """Those that nobody can tell of are kept for minutes; those that were surely chosen as long as a sample is."""
    store.label(number(1), "positive", issued_at=NOW, sampled=None)
    store.label(number(2), "positive", issued_at=NOW, sampled=True)
    found = []
    for later in (YOUNG_S - 1, YOUNG_S + 1, RETENTION_S - 1, RETENTION_S + 1):
        time.now = NOW + later
        store.purge()
        found.append(store.counts().early)
    assert found == [2, 1, 1, 0]
    assert store.written().said == 0


def test_audit_rows_of_nothing_go_when_they_are_old(store: Store, time: Time) -> None:
    """A remark on a request that is not in the store is removed after the retention, not before."""
    note(store, number(1), "ann", "what was this?")
    assert store.purge() == 0
    time.now += RETENTION_S + 1
    assert store.purge() == 1
    assert store.written().audited == 0


def big(i: int) -> Sample:
    """Return a sample with a long input, the oldest last."""
    return Sample(number(i), f"model {i % 3}", "1", "/", NOW - i, "a", input=os.urandom(3000).hex())


@pytest.mark.parametrize("labelled", [0, 300, 2000])
def test_over_the_limit_the_oldest_without_a_label_go_first(store: Store, labelled: int) -> None:
    """After a purge it is below the limit; labels go only when nothing else is left."""
    store.add_samples([big(i) for i in range(2000)])
    store.label_many([TrueLabel(number(i), "a") for i in range(1999, 1999 - labelled, -1)])
    whole = size_of(store.database)
    limit = whole // 2
    removed = store.purge(max_bytes=limit)
    assert limit * 0.4 < size_of(store.database) <= limit
    kept = {int(name, 16) for i in range(3) for name in store.rows(f"model {i}", unlabelled=True).request_ids}
    assert len(kept) == 2000 - removed
    with_label = set(range(2000 - labelled, 2000))
    if labelled < 2000:
        assert with_label <= kept
    assert kept - with_label == set(range(len(kept - with_label)))
    assert store.purge(max_bytes=limit) == 0


def test_the_file_shrinks_and_stays_below_its_limit(tmp_path: Path, opened: Callable[[str], Store]) -> None:
    """While samples keep coming the file itself stays within a tenth of its limit."""
    path = tmp_path / "truth.db"
    store = opened(f"sqlite:///{path}")
    store.add_samples([big(i) for i in range(4000)])
    grown = path.stat().st_size
    limit = grown // 3
    store.purge(max_bytes=limit)
    sizes = []
    for turn in range(8):
        store.add_samples([big(10_000 + turn * 100 + i) for i in range(100)])
        store.purge(max_bytes=limit)
        sizes.append(path.stat().st_size)
    assert max(sizes[2:]) <= limit * 1.1
    assert grown > limit * 2.5
