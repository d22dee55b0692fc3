"""What a reviewer has before them and behind them: what waits, what they did today, what comes back to hand."""

from __future__ import annotations

from modelwatch.groundtruth.queue import claim, undo
from modelwatch.groundtruth.reviewers import Done, Waiting, done, hold, waiting
from modelwatch.groundtruth.store import Store
from truth import NOW, Time, number, sample


def test_what_waits_is_counted_by_model(store: Store, time: Time) -> None:
    """Samples without a label, those of them that are held now, and the oldest; others' and labelled ones are not."""
    assert waiting(store, "sentiment") == Waiting(0, 0, None)
    store.add_samples([*(sample(i, age_s=100 - i) for i in range(4)), sample(9, age_s=500, model="other")])
    store.label(number(0), "positive", "ann", sampled=True)
    store.label(number(77), "positive", "ann", sampled=True)  # its sample has not come
    claim(store, "ann", "sentiment", n=2)
    assert waiting(store, "sentiment") == Waiting(3, 2, NOW - 99)
    time.now += 601
    assert waiting(store, "sentiment") == Waiting(3, 0, NOW - 99)
    assert waiting(store, "other") == Waiting(1, 0, NOW - 500)


def test_what_is_done_is_what_counts_now(store: Store, time: Time) -> None:
    """Labels of one reviewer since a moment, the last of them first to be taken back; revised ones are not theirs."""
    store.add_samples([*(sample(i) for i in range(4)), sample(9, 0.5, model="other")])
    assert done(store, "ann", "sentiment", NOW) == Done(0)
    for i, label in enumerate(("positive", "negative", "neutral")):
        time.now += 10
        store.label(number(i), label, "ann", sampled=True)
    store.label(number(9), 2.5, "ann", sampled=True)
    assert done(store, "ann", "sentiment", NOW) == Done(3, number(2), "neutral")
    assert done(store, "ann", "other", NOW) == Done(1, number(9), 2.5)
    assert done(store, "bob", "sentiment", NOW) == Done(0)
    assert done(store, "ann", "sentiment", NOW + 25) == Done(1, number(2), "neutral")
    time.now += 10
    store.label(number(2), "positive", "bob", sampled=True)
    assert done(store, "ann", "sentiment", NOW) == Done(2, number(1), "negative")
    assert done(store, "bob", "sentiment", NOW) == Done(1, number(2), "positive")
    undo(store, number(2), "bob")
    assert done(store, "ann", "sentiment", NOW) == Done(3, number(2), "neutral")
    undo(store, number(2), "ann")
    assert done(store, "ann", "sentiment", NOW) == Done(2, number(1), "negative")
    store.label(number(1), "negative", "bob", sampled=True)
    undo(store, number(1), "ann")  # what bob says stays the label
    assert done(store, "ann", "sentiment", NOW) == Done(1, number(0), "positive")
    assert done(store, "bob", "sentiment", NOW) == Done(1, number(1), "negative")


def test_one_certain_sample_comes_to_hand_if_it_is_free(store: Store, time: Time) -> None:
    """What was held besides is given back; what is labelled, unknown, or held by somebody else is not given."""
    store.add_samples([sample(i, age_s=100 - i) for i in range(4)])
    assert [one.request_id for one in claim(store, "ann")] == [number(0)]
    assert hold(store, number(2), "ann")
    assert [one.request_id for one in claim(store, "ann")] == [number(2)]
    assert hold(store, number(2), "ann")
    assert not hold(store, number(2), "bob")
    assert hold(store, number(0), "bob")
    store.label(number(3), "positive", "eve", sampled=True)
    for i in (3, 99):
        assert not hold(store, number(i), "bob")
    assert [one.request_id for one in claim(store, "bob")] == [number(0)]
    time.now += 601
    assert hold(store, number(2), "bob")
