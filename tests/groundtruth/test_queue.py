"""The review queue: nobody gets what another one holds; what is passed over, taken back and remarked."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from modelwatch.groundtruth.queue import claim, history, note, release, skip, undo
from modelwatch.groundtruth.store import Store
from truth import Time, number, sample


def taken(store: Store, reviewer: str, n: int = 1, model: str | None = None) -> list[int]:
    """Return which samples a reviewer gets."""
    return [int(one.request_id, 16) for one in claim(store, reviewer, model, n=n)]


def test_the_whole_sample_is_handed_out_the_oldest_first(store: Store) -> None:
    """A reviewer sees all that was kept, numbers and features included."""
    store.add_samples([sample(1, age_s=10), sample(2, age_s=20), sample(3, 0.5, age_s=30, model="prices")])
    assert claim(store, "ann", "sentiment", n=5) == [sample(2, age_s=20), sample(1, age_s=10)]
    assert claim(store, "ann", "prices") == [sample(3, 0.5, age_s=30, model="prices")]
    assert claim(store, "ann", "unknown") == []


def test_what_one_holds_another_does_not_get_until_the_lease_ends(store: Store, time: Time) -> None:
    """The same reviewer gets the same again; after the lease anybody does."""
    store.add_samples([sample(i, age_s=100 - i) for i in range(4)])
    assert taken(store, "ann", 2) == [0, 1]
    assert taken(store, "ann", 2) == [0, 1]
    assert taken(store, "bob", 9) == [2, 3]
    assert taken(store, "eve", 9) == []
    assert store.counts().claimed == 4
    time.now += 601
    assert taken(store, "eve", 9) == [0, 1, 2, 3]


def test_a_released_or_labelled_sample_is_not_held(store: Store) -> None:
    """Given back, it is offered again; labelled, it is not, and what others hold stays theirs."""
    store.add_samples([sample(i, age_s=100 - i) for i in range(3)])
    assert taken(store, "ann", 2) == [0, 1]
    assert release(store, [number(0), number(1), number(2)], "bob") == 0
    assert release(store, [number(0)], "ann") == 1
    store.label(number(1), "positive", "ann", sampled=True)
    assert taken(store, "bob", 9) == [0, 2]


def test_what_is_passed_over_goes_to_somebody_else(store: Store) -> None:
    """The reviewer who skips it is not offered it again, though the page be loaded anew; it is written down once."""
    store.add_samples([sample(i, age_s=100 - i) for i in range(2)])
    assert taken(store, "ann") == [0]
    assert skip(store, number(0), "ann", "no idea")
    assert skip(store, number(0), "ann")
    assert not skip(store, number(99), "ann")
    assert taken(store, "ann", 9) == [1]
    assert taken(store, "bob", 9) == [0]
    assert [(one["action"], one["actor"], one["detail"]) for one in history(store, number(0))] == [
        ("skip", "ann", {"note": "no idea"})
    ]


def test_undo_brings_back_what_was_before(store: Store) -> None:
    """First the label before it holds again, then the sample waits again; each step is written down."""
    store.add_samples([sample(0)])
    store.label(number(0), "positive", "ann")
    store.label(number(0), "negative", "bob")
    store.label(number(0), "neutral", "bob")
    found = []
    for reviewer in ("bob", "eve", "bob", "ann", "ann"):
        done = undo(store, number(0), reviewer)
        found.append((done, store.rows("sentiment").labels.tolist()))
    assert found == [(True, ["negative"]), (False, ["negative"]), (True, ["positive"]), (True, []), (False, [])]
    assert taken(store, "eve") == [0]
    undone = [one["detail"]["said"] for one in history(store, number(0)) if one["action"] == "undo"]
    assert undone == ["neutral", "negative", "positive"]
    again = store.label(number(0), "positive", "ann")
    assert (again.state, again.first) == ("matched", False)
    assert store.rows("sentiment").labels.tolist() == ["positive"]
    assert not undo(store, number(5), "ann")


def test_a_remark_is_part_of_the_history(store: Store) -> None:
    """Remarks and what was said stand in the order of time."""
    store.add_samples([sample(0)])
    note(store, number(0), "ann", "is this irony?")
    store.label(number(0), "negative", "ann", note="yes")
    found = [(one["action"], one["detail"].get("note")) for one in history(store, number(0))]
    assert found == [("note", "is this irony?"), ("said", "yes")]


@pytest.mark.parametrize("model", [None, "sentiment"])
def test_reviewers_at_once_never_get_the_same(
    store_url: str, opened: Callable[[str], Store], model: str | None
) -> None:
    """Six reviewers on stores of their own take everything: each sample is handed out once, none is left."""
    stores = [opened(store_url) for _ in range(6)]
    stores[0].add_samples([sample(i, age_s=1000 - i) for i in range(90)])
    together = threading.Barrier(6)

    def reviewer(turn: int) -> list[int]:
        mine: list[int] = []
        together.wait(20)
        while got := [i for i in taken(stores[turn], f"reviewer {turn}", len(mine) + 5, model) if i not in mine]:
            mine += got
        return mine

    with ThreadPoolExecutor(6) as pool:
        counted = Counter(i for found in pool.map(reviewer, range(6)) for i in found)
    assert counted == dict.fromkeys(range(90), 1)
