"""The brief's names for quality, alone: its usage as written, and the faults of its code that must not come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from modelwatch import GroundTruthSampler, SegmentPerformanceTracker, standalone
from modelwatch.groundtruth.sampling import chance
from modelwatch.quality import Accuracy, Missing
from modelwatch.record.recorder import MOST
from modelwatch.statistics import wilson


@pytest.fixture(autouse=True, scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The module has its own live.db and its own default monitors."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MODELWATCH_LIVE", str(tmp_path_factory.mktemp("alone") / "live.db"))
    patch.setattr(standalone, "_monitors", {})
    yield
    for monitor in standalone._monitors.values():
        monitor.close()
    patch.undo()


def samples(model: str) -> dict[tuple[str, ...], float]:
    """Return {(name, label values): value} of the counts of labels that are not 0."""
    monitor = standalone.default_monitor(model)
    assert monitor.flush(5)
    return {
        (
            sample.name,
            *(value for name, value in sample.labels.items() if name not in ("model_name", "model_version")),
        ): sample.value
        for family in text_string_to_metric_families(monitor.metrics().decode())
        for sample in family.samples
        if sample.labels.get("model_name") == model and sample.value and "labels" in sample.name
    }


def told(right: int, n: int) -> Accuracy:
    """Return the accuracy of so many labels."""
    share = wilson(right, n)
    assert share is not None
    return Accuracy(share.value, share.low, share.high, right, n, float(n), "wilson")


def test_usage_of_the_brief() -> None:
    """Sampling, feedback and segments are used as the brief does; their counts are on the page."""
    tracker = SegmentPerformanceTracker("recommender")
    tracker.record_prediction(segment="electronics", is_correct=True)
    tracker.record_prediction(segment="clothing", is_correct=False)
    assert tracker.segments == {"electronics": {"correct": 1, "total": 1}, "clothing": {"correct": 0, "total": 1}}
    sampler = GroundTruthSampler("sentiment_classifier", sampling_rate=1.0)
    for i in range(40):
        assert sampler.sample_prediction(f"r{i}", {"label": "positive", "confidence": 0.92})
        assert sampler.add_ground_truth(f"r{i}", "positive" if i % 4 else "negative") == "matched"
    assert sampler.calculate_accuracy() == 0.75
    assert samples("recommender") == {
        ("ml_labels_total", "electronics", "correct"): 1,
        ("ml_labels_total", "clothing", "wrong"): 1,
        ("ml_labels_by_inclusion_total", "1", "correct"): 1,
        ("ml_labels_by_inclusion_total", "1", "wrong"): 1,
    }
    found = samples("sentiment_classifier")
    assert found["ml_labels_total", "__none__", "correct"] == 30
    assert found["ml_labels_total", "__none__", "wrong"] == 10
    assert found["modelwatch_labels_total", "matched"] == 40


def test_a_right_model_whose_prediction_is_a_dict_is_right() -> None:
    """Labels are compared with labels: not a dict with a string, which gave 0.0 and a page for ever."""
    sampler = GroundTruthSampler("dicts", sampling_rate=1.0)
    for i in range(100):
        sampler.sample_prediction(f"r{i}", {"label": "positive", "confidence": 0.9})
        sampler.add_ground_truth(f"r{i}", "positive")
    assert sampler.calculate_accuracy() == 1.0
    assert sampler.accuracy() == told(100, 100)


def test_feedback_on_what_was_not_sampled_changes_no_accuracy() -> None:
    """10 % sampled, feedback on everything, all right: 1.0, not 0.10; the others are told apart."""
    sampler = GroundTruthSampler("feedback", sampling_rate=0.1)
    chosen = {f"r{i}" for i in range(2000) if sampler.sample_prediction(f"r{i}", "positive")}
    answers = {f"r{i}": sampler.add_ground_truth(f"r{i}", "positive") for i in range(2000)}
    assert {each for each, answer in answers.items() if answer == "matched"} == chosen
    assert {answers[each] for each in answers.keys() - chosen} == {"not_sampled"}
    assert sampler.calculate_accuracy() == 1.0


def test_made_up_ids_change_no_accuracy() -> None:
    """100 posts with ids that nobody was given: 1.00 stays 1.00."""
    sampler = GroundTruthSampler("forged", sampling_rate=0.5)
    for i in range(200):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"r{i}", "positive")
    before = sampler.accuracy()
    states = {sampler.add_ground_truth(f"forged{i}", "negative") for i in range(100)}
    assert states == {"not_sampled", "unknown_id"}
    assert sampler.accuracy() == before
    assert isinstance(before, Accuracy)
    assert before.value == 1


def test_one_label_a_prediction() -> None:
    """A right label posted 100 times counts once; a correction replaces it and counts as a conflict; others stay."""
    sampler = GroundTruthSampler("repeats", sampling_rate=1.0)
    for i in range(50):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"r{i}", "negative")
    assert sampler.calculate_accuracy() == 0.0
    assert sampler.add_ground_truth("r0", "positive") == "conflict"
    assert {sampler.add_ground_truth("r0", "positive") for _ in range(100)} == {"duplicate"}
    assert sampler.calculate_accuracy() == 0.02
    assert sampler.states == {"matched": 50, "duplicate": 100, "conflict": 1, "not_sampled": 0, "unknown_id": 0}
    assert samples("repeats")["ml_labels_total", "__none__", "wrong"] == 50  # counters have the first label only


def test_a_corrected_label_is_the_latest() -> None:
    """The last 30 labels are the 29 last predictions' and the one that was corrected; a repeated one stays where it is."""
    sampler = GroundTruthSampler("corrected", sampling_rate=1.0)
    for i in range(60):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"r{i}", "positive" if i else "negative")
    assert sampler.accuracy(last=30) == told(30, 30)
    assert sampler.add_ground_truth("r0", "negative") == "duplicate"
    assert sampler.accuracy(last=30) == told(30, 30)
    assert sampler.add_ground_truth("r1", "negative") == "conflict"
    assert sampler.accuracy(last=30) == told(29, 30)
    assert sampler.accuracy(last=60) == told(58, 60)


def test_a_label_before_its_prediction_is_matched_when_it_comes() -> None:
    """It is unknown at first, in no accuracy, and counts once the prediction is there."""
    sampler = GroundTruthSampler("early", sampling_rate=1.0)
    assert {sampler.add_ground_truth(f"r{i}", "positive") for i in range(40)} == {"unknown_id"}
    assert sampler.accuracy() == Missing(0, 30)
    for i in range(40):
        assert sampler.sample_prediction(f"r{i}", "positive")
    assert sampler.calculate_accuracy() == 1.0
    assert sampler.states["matched"] == 40
    assert sampler.add_ground_truth("r0", "positive") == "duplicate"


def test_below_the_minimum_there_is_no_number() -> None:
    """29 labels say what is missing; 30 give a number, with an interval that shows how little it is; the last 100 count."""
    sampler = GroundTruthSampler("few", sampling_rate=1.0)
    for i in range(29):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"r{i}", "negative")
    assert sampler.calculate_accuracy() is None
    assert str(sampler.accuracy()) == "29 of 30 labels"
    for i in range(29, 150):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"r{i}", "positive")
        assert sampler.calculate_accuracy() == pytest.approx(
            (i - 28) / (i + 1) if i < 100 else min(1, (i - 28) / 100), abs=1e-12
        )
    assert sampler.accuracy(last=1000) == told(121, 150)


def test_spaces_and_case_are_forgiven_unless_classes_differ_in_them() -> None:
    """A label of " Positive " is "positive"; where "A" and "a" are both classes, they are two."""
    sampler = GroundTruthSampler("spelling", sampling_rate=1.0)
    for i in range(30):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"r{i}", " Positive ")
    assert sampler.calculate_accuracy() == 1.0
    other = GroundTruthSampler("spelling", sampling_rate=1.0)
    for i in range(60):
        other.sample_prediction(f"r{i}", "Aa"[i % 2])
        other.add_ground_truth(f"r{i}", "a")
    assert other.accuracy(last=40) == told(20, 40)


@given(st.lists(st.text(max_size=20), min_size=1, max_size=30), st.floats(0, 1))
def test_reruns_choose_alike(ids: list[str], rate: float) -> None:
    """The choice is a function of the id and the rate: two samplers, and repeated calls, agree with the hash."""
    one, other = (GroundTruthSampler("reruns", sampling_rate=rate) for _ in range(2))
    for identity in [*ids, *ids]:
        expected = chance(identity.encode("utf-8", "replace").decode()) < rate
        assert one.sample_prediction(identity, "a") == expected == other.sample_prediction(identity, "b")
    assert len(one.awaiting()) == len({each for each in ids if chance(each) < rate})


def test_the_share_chosen_is_the_rate() -> None:
    """Of 20 000 ids a tenth, to four standard errors; rate 0 and 1 choose none and all."""
    sampler = GroundTruthSampler("rates", sampling_rate=0.1)
    chosen = sum(sampler.sample_prediction(f"id-{i}", "a") for i in range(20_000))
    assert abs(chosen - 2000) < 4 * (20_000 * 0.1 * 0.9) ** 0.5
    assert not any(GroundTruthSampler("rates", sampling_rate=0).sample_prediction(str(i), "a") for i in range(100))
    assert all(GroundTruthSampler("rates", sampling_rate=1).sample_prediction(str(i), "a") for i in range(100))


def test_memory_is_bounded() -> None:
    """Beyond the limit the oldest samples and early labels are forgotten, and counted; labels of them change nothing."""
    sampler = GroundTruthSampler("bounded", sampling_rate=1.0, max_samples=100)
    for i in range(1000):
        sampler.sample_prediction(f"r{i}", "positive")
        sampler.add_ground_truth(f"early{i}", "positive")
    assert sampler.forgotten == 900
    assert [identity for identity, _ in sampler.awaiting(1000)] == [f"r{i}" for i in range(900, 1000)]
    assert len(sampler._early) == 100
    assert sampler.add_ground_truth("r5", "negative") == "unknown_id"
    assert sampler.add_ground_truth("r950", "positive") == "matched"
    assert len(sampler.awaiting(1000)) == 99


def test_eight_threads_lose_nothing() -> None:
    """Eight threads sample, label and count segments at once: every count is exact."""
    sampler, tracker = GroundTruthSampler("threads", sampling_rate=1.0), SegmentPerformanceTracker("threads")

    def work(number: int) -> None:
        for i in range(500):
            sampler.sample_prediction(f"{number}-{i}", "positive")
            sampler.add_ground_truth(f"{number}-{i}", "positive" if i % 5 else "negative")
            tracker.record_prediction("ab"[i % 2], i % 5 != 0)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sampler.states["matched"] == 4000
    found = sampler.accuracy(last=10_000)
    assert isinstance(found, Accuracy)
    assert (found.right, found.n) == (3200, 4000)
    assert sum(each["total"] for each in tracker.segments.values()) == 4000
    assert sum(each["correct"] for each in tracker.segments.values()) == 3200
    assert samples("threads")["ml_labels_total", "a", "correct"] == tracker.segments["a"]["correct"]


class Hostile(dict):  # type: ignore[type-arg]
    """A mapping whose own code raises."""

    def __getitem__(self, key: object) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [None, object(), float("nan"), b"x", Hostile(), {}, {"label": []}, {"class": "a"}])
def test_hostile_predictions_are_refused(value: Any) -> None:
    """What has no label raises nothing into the service, is never chosen, and is counted; so are hostile ids."""
    sampler = GroundTruthSampler("hostile", sampling_rate=1.0)
    assert not sampler.sample_prediction("r1", value)
    assert not sampler.sample_prediction(value, "a")
    assert sampler.refused == 2
    assert sampler.sample_prediction("r1", "a")
    if not isinstance(value, dict):
        assert sampler.add_ground_truth("r1", value) == "unknown_id"
    assert sampler.accuracy() == Missing(0, 30)


@pytest.mark.parametrize("value", ["False", 1, 0.0, None, object()])
def test_only_true_and_false_are_outcomes(value: Any) -> None:
    """is_correct="False" counted as right: it is refused, and counted as such."""
    tracker = SegmentPerformanceTracker("outcomes")
    tracker.record_prediction("a", value)
    tracker.record_prediction("a", np.bool_(True))  # type: ignore[arg-type]
    assert tracker.segments == {"a": {"correct": 1, "total": 1}}
    assert tracker.refused == 1


def test_segments_are_bounded_and_hostile_ones_have_a_name() -> None:
    """Endless segments are `__other__` beyond 1 000; None and hostile values are segments of their own."""
    tracker = SegmentPerformanceTracker("endless")
    for i in range(1500):
        tracker.record_prediction(f"s{i}", True)
    assert len(tracker.segments) == 1001
    assert tracker.segments["__other__"] == {"correct": 500, "total": 500}
    hostile = SegmentPerformanceTracker("hostile-segments")
    for segment in (None, object(), "\ud800", 3):
        hostile.record_prediction(segment, True)  # type: ignore[arg-type]
    assert set(hostile.segments) == {"__none__", "__invalid__", "?", "3"}


def test_performance_ranks_by_what_is_no_chance() -> None:
    """A large bad segment comes before a tiny one that had bad luck; small ones have no number."""
    tracker = SegmentPerformanceTracker("ranked")
    for name, right, n in [
        ("good", 95, 100),
        ("bad", 60, 100),
        ("tiny", 0, 1),
        *((f"s{i}", 90, 100) for i in range(5)),
    ]:
        for i in range(n):
            tracker.record_prediction(name, i < right)
    found = tracker.performance()
    assert found[0].name == "bad"
    assert found[-1].name == "good"
    tiny = next(segment for segment in found if segment.name == "tiny")
    assert (tiny.accuracy, tiny.missing) == (None, Missing(1, 30))
    assert found[0].accuracy == tracker.accuracy("bad") == told(60, 100)
    assert tracker.accuracy("nobody") == Missing(0, 30)
    assert SegmentPerformanceTracker("nothing").performance() == []


def test_what_is_no_rate_is_refused() -> None:
    """Rates outside of 0 to 1, and limits too small to tell an accuracy, are refused with what to write."""
    for rate in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="GroundTruthSampler: sampling_rate is"):
            GroundTruthSampler("refused", sampling_rate=rate)
    with pytest.raises(ValueError, match="max_samples is 99; expected a whole number from 100 on"):
        GroundTruthSampler("refused", max_samples=99)


def test_a_full_buffer_is_folded_by_the_caller() -> None:
    """Counts are never dropped: beyond the limit of the buffer the caller counts a chunk itself."""
    tracker = SegmentPerformanceTracker("full")
    recorder = standalone.default_monitor("full").recorder
    for _ in range(recorder.limit * 6):
        tracker.record_prediction("a", True)
    assert len(recorder.labels) <= recorder.limit * MOST + 1
    assert samples("full")["ml_labels_total", "a", "correct"] == recorder.limit * 6
