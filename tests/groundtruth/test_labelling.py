"""What becomes of labels: their states, in any order, from many workers, and what the views then show."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelwatch.groundtruth.queue import claim, history, undo
from modelwatch.groundtruth.store import RETENTION_S, YOUNG_S, Labelled, Sample, Store, TrueLabel
from modelwatch.groundtruth.views import Rows
from modelwatch.quality import quality
from truth import NOW, Time, number, sample

Opener = Callable[[str], Store]


def plain(rows: Rows) -> list[tuple[Any, ...]]:
    """Return rows as tuples that compare as a whole."""
    columns = (rows.request_ids, rows.predictions, rows.labels, rows.segments, rows.inclusion, rows.predicted_at)
    confidence = [None if np.isnan(value) else value for value in rows.confidence]
    labelled_at = [None if np.isnan(value) else value for value in rows.labelled_at]
    return list(zip(*(column.tolist() for column in columns), confidence, labelled_at, strict=True))


def accuracy(store: Store) -> tuple[int, int]:
    """Return how many labels are right, and how many there are."""
    rows = store.rows("sentiment")
    return int(np.sum(rows.predictions == rows.labels)), len(rows)


def test_a_label_of_a_known_sample_is_matched_and_told_with_all_that_is_counted(store: Store) -> None:
    """The answer has the sample's model, segment and inclusion, and whether the label is right."""
    added = store.add_samples([sample(1), sample(2)])
    assert (added.new, added.matched) == (2, ())
    expected = Labelled(
        request_id=number(1),
        state="matched",
        label="negative",
        first=True,
        early=False,
        right=False,
        model_name="sentiment",
        model_version="1.0",
        segment="books",
        inclusion=0.25,
        prediction="positive",
        confidence=0.75,
        predicted_at=NOW - 60,
    )
    assert store.label(number(1), "negative", reviewer="ann") == expected
    assert plain(store.rows("sentiment")) == [
        (number(1), "positive", "negative", "books", 0.25, NOW - 60, 0.75, pytest.approx(NOW, abs=1e-3))
    ]


def test_the_same_label_a_hundred_times_is_one(store: Store) -> None:
    """Sent again, by the same reviewer or another, it is a duplicate; each reviewer is kept once."""
    store.add_samples([sample(1)])
    answers = [store.label(number(1), "positive", reviewer=name) for name in ("ann", "bob") for _ in range(50)]
    assert Counter(answer.state for answer in answers) == {"matched": 1, "duplicate": 99}
    assert sum(answer.first for answer in answers) == 1
    assert [entry["actor"] for entry in history(store, number(1))] == ["ann", "bob"]
    assert store.written().said == 2


def test_an_agreement_does_not_make_a_label_younger(store: Store, time: Time) -> None:
    """The view by arrival places a label where it was first given, whoever agrees later."""
    store.add_samples([sample(1)])
    for reviewer in ("ann", "bob", "eve"):
        store.label(number(1), "positive", reviewer=reviewer)
        time.now += 100
    assert store.rows("sentiment").labelled_at.tolist() == [NOW]


def test_another_label_is_a_revision_and_the_latest_wins(store: Store) -> None:
    """The view has the latest; the history has all, and who said what; the first alone is to be counted."""
    store.add_samples([sample(1)])
    said = [("ann", "negative"), ("bob", "positive"), ("ann", "neutral"), ("ann", "negative")]
    answers = [store.label(number(1), label, reviewer=name) for name, label in said]
    assert [answer.state for answer in answers] == ["matched", "conflict", "conflict", "conflict"]
    assert [answer.first for answer in answers] == [True, False, False, False]
    assert store.rows("sentiment").labels.tolist() == ["negative"]
    changes = [entry["detail"] for entry in history(store, number(1)) if entry["action"] == "label"]
    assert [(one["before"]["label"], one["after"]["label"]) for one in changes] == [
        ("negative", "positive"),
        ("positive", "neutral"),
        ("neutral", "negative"),
    ]


def test_ids_that_were_not_chosen_move_no_number(store: Store) -> None:
    """A hundred labels of requests that are surely not in the sample leave no trace."""
    store.add_samples([sample(i) for i in range(10)])
    store.label_many([TrueLabel(number(i), "positive") for i in range(10)])
    before = accuracy(store), store.counts()
    answers = store.label_many([TrueLabel(number(1000 + i), "negative", sampled=False) for i in range(100)])
    assert {(answer.state, answer.first, answer.early) for answer in answers} == {("not_sampled", False, False)}
    assert (accuracy(store), store.counts()) == before


@pytest.mark.parametrize(("sampled", "answered"), [(True, "matched"), (None, "not_sampled")])
def test_an_early_label_waits_for_its_sample(store: Store, sampled: bool | None, answered: str) -> None:
    """It is durable at once, in no view yet, and to be counted once: when the sample comes."""
    early = store.label(number(1), "positive", reviewer="ann", issued_at=NOW - 1, sampled=sampled)
    assert (early.state, early.early, early.first, early.right) == (answered, True, False, None)
    assert store.label(number(1), "positive", reviewer="ann", issued_at=NOW - 1, sampled=sampled).state == "duplicate"
    assert (len(store.rows("sentiment")), store.counts().early) == (0, 1)
    added = store.add_samples([sample(1), sample(2)])
    assert [(one.request_id, one.state, one.first, one.right) for one in added.matched] == [
        (number(1), "matched", True, True)
    ]
    assert store.add_samples([sample(1), sample(2)]) == type(added)(0)
    assert store.rows("sentiment").request_ids.tolist() == [number(1)]
    assert store.counts().early == 0


def test_a_label_of_long_ago_is_late(store: Store, time: Time) -> None:
    """With its sample still there, or removed already: it is late, and changes nothing."""
    store.add_samples([sample(1)])
    store.label(number(1), "positive")
    time.now += RETENTION_S + 120
    assert store.label(number(1), "negative").state == "late"
    assert store.label(number(2), "negative", issued_at=NOW, sampled=None).state == "late"
    assert store.label(number(2), "negative", issued_at=NOW, sampled=True).state == "late"
    assert store.rows("sentiment").labels.tolist() == ["positive"]
    assert (store.written().said, store.counts().early) == (1, 0)


def test_nobody_waits_for_a_sample_that_should_have_come(store: Store) -> None:
    """Of an old id of which nobody can tell whether it was chosen, nothing is kept."""
    answer = store.label(number(1), "positive", issued_at=NOW - YOUNG_S - 1, sampled=None)
    assert (answer.state, answer.early) == ("not_sampled", False)
    assert store.add_samples([sample(1)]).matched == ()


def test_numbers_are_labels_of_a_regression(store: Store) -> None:
    """Predictions and labels that are numbers come back as such, to the bit; right and wrong are not for the store."""
    store.add_samples([sample(1, prediction=0.1 + 0.2), sample(2, prediction=3)])
    assert store.label(number(1), 1e-300).right is None
    assert store.label(number(2), -0.0).state == "matched"
    assert store.label(number(2), 0.0).state == "duplicate"
    rows = store.rows("sentiment")
    assert rows.predictions.tolist() == [0.1 + 0.2, 3.0]
    assert rows.labels.tolist() == [1e-300, 0.0]


HOSTILE = ["\0", "\ud800", "a" * 5000, "'; DROP TABLE samples; --", "", "\u202e", "\n", "%s", ":name", "{}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_taken(store: Store, text: str) -> None:
    """Texts that an engine cannot hold are made safe; predictions and labels still equal one another."""
    given = Sample(number(1), "sentiment", text, text, NOW, text, segment=text, input=text, features={text: text})
    assert store.add_samples([given, sample(2)]).new == 2
    assert store.label(number(1), text, reviewer=text, note=text).right is True
    assert store.label(number(1), text, reviewer=text, note=text).state == "duplicate"
    assert undo(store, number(1), text)
    assert len(store.rows("sentiment", unlabelled=True)) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"request_id": "1" * 31}, {"request_id": "G" * 32}, {"predicted_at": float("nan")}, {"inclusion": 0.0}]
    + [{"inclusion": 1.5}, {"prediction": float("inf")}],
)
def test_what_is_no_sample_is_refused_at_once(wrong: dict[str, Any]) -> None:
    """A value that could never be stored is a ValueError where it is made."""
    right: dict[str, Any] = {"request_id": number(1), "predicted_at": NOW, "prediction": "a", "inclusion": 1.0}
    Sample(model_name="m", model_version="1", endpoint="/", **right)
    with pytest.raises(ValueError, match=next(iter(wrong)) if "prediction" not in wrong else "finite"):
        Sample(model_name="m", model_version="1", endpoint="/", **(right | wrong))


def test_ten_thousand_labels_at_once(store: Store) -> None:
    """Known, twice given, conflicting and unknown ids in one import: each is answered for itself, in order."""
    store.add_samples([sample(i, "positive" if i % 2 else "negative") for i in range(4000)])
    given = [TrueLabel(number(i % 5000), "positive", "ann" if i < 5000 else "bob", sampled=False) for i in range(9000)]
    given += [TrueLabel(number(i), "neutral", "eve", sampled=False) for i in range(1000)]
    answers = store.label_many(given)
    assert Counter(one.state for one in answers) == {
        "matched": 4000,
        "duplicate": 4000,
        "not_sampled": 1000,
        "conflict": 1000,
    }
    assert [one.request_id for one in answers] == [label.request_id for label in given]
    rows = store.rows("sentiment")
    assert Counter(rows.labels.tolist()) == {"positive": 3000, "neutral": 1000}
    assert accuracy(store) == (1500, 4000)


def test_workers_that_label_the_same_id_at_once(store_url: str, opened: Opener) -> None:
    """Of eight at the same time exactly one is first; there is one row, and one label counts."""
    stores = [opened(store_url) for _ in range(8)]
    stores[0].add_samples([sample(i) for i in range(5)])
    together = threading.Barrier(8)

    def worker(one: Store) -> list[Labelled]:
        answers = []
        for i in range(5):
            together.wait(20)
            answers.append(one.label(number(i), "positive", reviewer="ann"))
        return answers

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for found in pool.map(worker, stores) for answer in found]
    assert Counter(answer.state for answer in answers) == {"matched": 5, "duplicate": 35}
    assert sum(answer.first for answer in answers) == 5
    assert stores[0].written().said == 5


def test_a_sample_and_its_label_at_once_on_two_workers(store_url: str, opened: Opener) -> None:
    """Whoever is first, the two find each other, and the label is counted exactly once."""
    predicting, labelling = opened(store_url), opened(store_url)
    together = threading.Barrier(2)
    found: list[Labelled] = []

    def predict() -> None:
        for i in range(40):
            together.wait(20)
            found.extend(predicting.add_samples([sample(i)]).matched)

    def label() -> None:
        for i in range(40):
            together.wait(20)
            found.append(labelling.label(number(i), "positive", issued_at=NOW, sampled=True))

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(predict), pool.submit(label)]:
            done.result()
    assert sorted(one.request_id for one in found if one.first) == [number(i) for i in range(40)]
    assert accuracy(labelling) == (40, 40)
    assert labelling.counts().early == 0


def test_batches_in_opposite_order_do_not_lock_each_other_out(store_url: str, opened: Opener) -> None:
    """Workers that write the same many ids, each in its own order, all get through."""
    stores = [opened(store_url) for _ in range(4)]
    ids = list(range(100))

    def worker(turn: int) -> Counter[str]:
        order = random.Random(turn).sample(ids, len(ids))
        one = stores[turn]
        one.add_samples([sample(i) for i in order])
        answers = one.label_many([TrueLabel(number(i), "positive", f"worker {turn}") for i in order])
        return Counter(answer.state for answer in answers)

    with ThreadPoolExecutor(4) as pool:
        total = sum(pool.map(worker, range(4)), Counter[str]())
    assert total == {"matched": 100, "duplicate": 300}
    assert accuracy(stores[0]) == (100, 100)


LABELS = st.sampled_from(["positive", "negative", "neutral"])
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("sample"), st.integers(0, 4)),
        st.tuples(st.just("label"), st.integers(0, 4), LABELS, st.sampled_from(["ann", "bob"]), st.integers(1, 5)),
    ),
    min_size=1,
    max_size=25,
)


def replay(url: str, events: list[Any], order: list[int], parts: int) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows, and how many labels were counted, after events in an order, with restarts between."""
    time, first = Time(), 0
    for part in range(parts):
        store = Store.open(url, clock=time)
        for position in (
            order[part::parts] if parts == 1 else order[len(order) * part // parts : len(order) * (part + 1) // parts]
        ):
            event = events[position]
            if event[0] == "sample":
                first += len(store.add_samples([sample(event[1])]).matched)
            else:
                _, i, label, reviewer, age = event
                first += store.label(number(i), label, reviewer, NOW - age, issued_at=NOW - 60, sampled=True).first
        rows = plain(store.rows("sentiment", unlabelled=True))
        store.close()
    return rows, first


def views(url: str) -> dict[str, Any]:
    """Return every number of the views of quality over a store, by its place."""
    store = Store.open(url, clock=Time())
    found = quality(store.rows("sentiment"), NOW, classes=("positive", "negative"), lasts=(2, 5), minimum=1)
    store.close()

    def flat(held: Any, place: str) -> dict[str, Any]:
        if isinstance(held, dict):
            return {k: v for name, one in held.items() for k, v in flat(one, f"{place}.{name}").items()}
        if isinstance(held, list):
            return {k: v for i, one in enumerate(held) for k, v in flat(one, f"{place}.{i}").items()}
        return {place: held}

    return flat(found.to_dict(), "")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_any_order_gives_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any], data: st.DataObject
) -> None:
    """Samples and labels in any order, some twice, with restarts between: the same rows, counts and views."""
    folder = tmp_path_factory.mktemp("orders")
    order = data.draw(st.permutations(range(len(events))))
    again = order + data.draw(st.lists(st.sampled_from(order), max_size=5))
    parts = data.draw(st.integers(1, 3))
    straight = replay(f"sqlite:///{folder / 'one.db'}", events, list(range(len(events))), 1)
    shuffled = replay(f"sqlite:///{folder / 'two.db'}", events, again, parts)
    assert shuffled == straight
    one, two = (views(f"sqlite:///{folder / name}") for name in ("one.db", "two.db"))
    assert one.keys() == two.keys()
    for name, value in one.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        assert two[name] == (pytest.approx(value, rel=1e-12, abs=1e-12) if is_number else value), name
    said = {(e[1], e[2], e[3]) for e in events if e[0] == "label"}
    assert straight[1] == len({e[1] for e in events if e[0] == "sample"} & {one[0] for one in said})


def test_any_order_gives_the_same_rows_on_postgres(request: pytest.FixtureRequest) -> None:
    """The same on PostgreSQL, for some seeded orders."""
    postgres = request.getfixturevalue("postgres")
    chance = random.Random(3)
    events: list[Any] = [("sample", i) for i in range(5)]
    for _ in range(20):
        events.append(
            (
                "label",
                chance.randrange(5),
                chance.choice(["a", "b"]),
                chance.choice(["ann", "bob"]),
                chance.randrange(1, 5),
            )
        )
    expected = replay(postgres.new_database(), events, list(range(len(events))), 1)
    for parts in (1, 3):
        order = chance.sample(range(len(events)), len(events))
        assert replay(postgres.new_database(), events, order, parts) == expected


def test_rows_by_time_by_version_and_the_last_ones(store: Store, time: Time) -> None:
    """Windows are half open; the last N are those with the latest time, in its order."""
    store.add_samples([sample(i, age_s=100 - i) for i in range(10)] + [sample(99, model="other")])
    for i in reversed(range(8)):
        time.now += 1
        store.label(number(i), "positive")

    def ids(**wanted: Any) -> list[int]:
        return [int(name, 16) for name in store.rows("sentiment", **wanted).request_ids]

    assert ids() == list(range(8))
    assert ids(unlabelled=True) == list(range(10))
    assert ids(since=NOW - 98, until=NOW - 95) == [2, 3, 4]
    assert ids(last=3) == [5, 6, 7]
    assert ids(last=3, by="labelled") == [2, 1, 0]
    assert ids(by="labelled", since=NOW + 6.5) == [1, 0]
    assert ids(version="2.0") == []
    assert store.rows("sentiment").confidence.dtype == np.float64


def test_counts_by_state(store: Store) -> None:
    """What waits, since when, what is labelled, early, said and taken back; of one model or of all."""
    store.add_samples([sample(i, age_s=50 + i) for i in range(6)] + [sample(50, model="other")])
    for i, label in ((0, "positive"), (1, "negative"), (1, "positive"), (50, "positive")):
        store.label(number(i), label, reviewer="ann")
    store.label(number(77), "positive", sampled=True)
    undo(store, number(0), "ann")
    found = store.counts("sentiment")
    assert (found.waiting, found.labelled, found.claimed, found.early) == (5, 1, 0, 1)
    assert found.oldest_waiting_at == NOW - 55
    everything = store.counts()
    assert (everything.waiting, everything.labelled) == (5, 2)
    assert len(claim(store, "ann", n=2)) == 2
    assert [store.counts(model).claimed for model in ("sentiment", "other", None)] == [2, 0, 2]
    assert store.counts("other").oldest_waiting_at is None
    written = store.written()
    assert (written.said, written.withdrawn, written.audited) == (5, 1, 2)
    assert json.dumps(everything.oldest_waiting_at) == json.dumps(NOW - 55)


def test_one_secret_for_all_who_share_a_store(store_url: str, opened: Opener) -> None:
    """Four workers that begin at once get the same random bytes; another name has others."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: opened(store_url).secret(), range(4)))
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert opened(store_url).secret("other") != found[0]


def test_an_import_run_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    """Labels with the time when they were given are duplicates the second time, after a revision, too."""
    store.add_samples([sample(i) for i in range(3)])
    given = [
        TrueLabel(number(i % 3), label, "ann", at=NOW - 50 + i) for i, label in enumerate(["a", "b", "c", "d", "e"])
    ]
    store.label_many(given)
    before = plain(store.rows("sentiment")), store.counts(), store.written()
    assert {answer.state for answer in store.label_many(given)} == {"duplicate"}
    assert (plain(store.rows("sentiment")), store.counts(), store.written()) == before
