"""Accuracy by segment and from sampled ground truth, each usable alone: thin faces on the statistics of quality."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

import numpy as np

from modelwatch import names
from modelwatch.errors import fault
from modelwatch.events import LabelCount
from modelwatch.groundtruth.sampling import chance
from modelwatch.labels import LabelCodes, label_text
from modelwatch.quality import MINIMUM, Accuracy, Missing, Segment
from modelwatch.record.recorder import Recorder
from modelwatch.standalone import default_monitor
from modelwatch.statistics import shrinkage, shrunk, wilson

MOST_SEGMENTS = 1000
MOST_SAMPLES = 50_000
MOST_CLASSES = 1000
RECENT = 100  # labels

Answer = Literal["matched", "duplicate", "conflict", "not_sampled", "unknown_id"]


def _count(recorder: Recorder, found: LabelCount) -> None:
    recorder.labels.append(found)
    if len(recorder.labels) > recorder.limit:
        recorder.relieve()


def accuracy_of(right: int, n: int, minimum: int = MINIMUM) -> Accuracy | Missing:
    """Return the accuracy of labels that were kept alike, or what is missing."""
    share = wilson(right, n) if n >= minimum else None
    return Missing(n, minimum) if share is None else Accuracy(*share, right, n, float(n), "wilson")


class SegmentPerformanceTracker:
    """Accuracy of each segment of the data, since the start of the process.

    Each call is counted in `ml_labels_total` of the model, too. Beyond 1 000 segments the others are one, `__other__`.
    Threads may share it.

    Examples
    --------
    ::

        tracker = SegmentPerformanceTracker("recommender")
        tracker.record_prediction(segment="electronics", is_correct=True)
        tracker.segments                     # {"electronics": {"correct": 1, "total": 1}}
        str(tracker.accuracy("electronics")) # 1 of 30 labels
    """

    def __init__(self, model_name: str) -> None:
        self.model_name = model_name
        self.refused = 0
        self._recorder = default_monitor(model_name).recorder
        self._codes = LabelCodes(MOST_SEGMENTS)
        self._counts: dict[str, list[int]] = {}  # segment: right, all
        self._lock = threading.Lock()

    def record_prediction(self, segment: str, is_correct: bool) -> None:  # noqa: FBT001 - the brief's signature
        """Count one prediction whose truth is known; what is neither True nor False is refused, in `refused`."""
        kind = type(is_correct)
        with self._lock:
            if kind is not bool and kind is not np.bool_:
                self.refused += 1
                return
            code = self._codes.encode_one(segment)
            name = self._codes.names[code] or names.UNSEGMENTED
            counts = self._counts.setdefault(name, [0, 0])
            counts[0] += bool(is_correct)
            counts[1] += 1
        _count(self._recorder, LabelCount(segment=name, inclusion=1.0, right=bool(is_correct)))

    @property
    def segments(self) -> dict[str, dict[str, int]]:
        """Right and all predictions of each segment."""
        with self._lock:
            return {name: {"correct": right, "total": n} for name, (right, n) in self._counts.items()}

    def accuracy(self, segment: str) -> Accuracy | Missing:
        """Return the accuracy of a segment with its interval; below 30 labels, what is missing."""
        counts = self.segments.get(segment, {"correct": 0, "total": 0})
        return accuracy_of(counts["correct"], counts["total"])

    def performance(self) -> list[Segment]:
        """Return the segments, the worst first by the shrunk accuracy: a small one is no news by chance alone."""
        counts = self.segments
        right, n = ([each[what] for each in counts.values()] for what in ("correct", "total"))
        kappa = shrinkage(right, n)
        found = []
        for name, k, total in zip(counts, right, n, strict=True):
            accuracy = accuracy_of(k, total)
            drawn = None if kappa is None else shrunk(k, total, sum(right) / sum(n), kappa)
            if isinstance(accuracy, Missing):
                found.append(Segment(name, total, k, shrunk=drawn, missing=accuracy))
            else:
                found.append(Segment(name, total, k, accuracy, drawn))
        return sorted(found, key=lambda segment: (segment.shrunk or 0.0, segment.name))


class GroundTruthSampler:
    """Chooses predictions for review, takes their true labels, and tells the accuracy of the latest.

    A prediction is chosen by a hash of its request id, so a repeated call, another worker and another run choose alike.
    Each prediction has one label: the latest. Labels of ids that were never sampled change no accuracy. Samples and
    labels are in memory; use a `Monitor` with a store for more than one process. Threads may share it.

    Parameters
    ----------
    model_name : label of the counts.
    sampling_rate : share of predictions that is chosen, 0 to 1.
    max_samples : the oldest sample is forgotten beyond so many, and so is the oldest label without a prediction.

    Examples
    --------
    ::

        sampler = GroundTruthSampler("sentiment_classifier", sampling_rate=0.1)
        if sampler.sample_prediction(request_id, {"label": "positive", "confidence": 0.9}):
            ...                                            # show it to a reviewer
        sampler.add_ground_truth(request_id, "positive")   # matched
        sampler.calculate_accuracy()                       # None below 30 labels
    """

    def __init__(self, model_name: str, sampling_rate: float = 0.1, max_samples: int = MOST_SAMPLES) -> None:
        if not 0 <= sampling_rate <= 1:
            what = fault("GroundTruthSampler", "sampling_rate", sampling_rate, "0 to 1", "Write 0.1 for a tenth.")
            raise ValueError(what)
        if type(max_samples) is not int or max_samples < RECENT:
            raise ValueError(
                fault(
                    "GroundTruthSampler", "max_samples", max_samples, f"a whole number from {RECENT} on", "Write 50000."
                )
            )
        self.model_name, self.sampling_rate, self.max_samples = model_name, sampling_rate, max_samples
        self.states: dict[Answer, int] = dict.fromkeys(
            ("matched", "duplicate", "conflict", "not_sampled", "unknown_id"), 0
        )
        self.refused = self.forgotten = 0
        self._recorder = default_monitor(model_name).recorder
        self._samples: OrderedDict[str, str] = OrderedDict()  # request id: predicted label, the oldest first
        self._truths: OrderedDict[str, str] = OrderedDict()  # of samples, the latest label last
        self._early: OrderedDict[str, str] = OrderedDict()  # labels whose prediction has not come
        self._spellings: dict[str, str | None] = {}  # folded label: the one way in which it is predicted; None: several
        self._lock = threading.Lock()

    def sample_prediction(self, request_id: str, prediction: Any) -> bool:
        """Return True if the prediction is to be sent for review; it is then kept until its label comes.

        Parameters
        ----------
        request_id : of the request; the same id is always answered alike, and kept once.
        prediction : a label, or a mapping with a "label". What has none is refused: never chosen, counted in `refused`.
        """
        identity, known = label_text(request_id)
        label = _label_of(prediction)
        with self._lock:
            if known or label is None:
                self.refused += 1
                return False
            folded = label.casefold()
            if len(self._spellings) < MOST_CLASSES and self._spellings.setdefault(folded, label) != label:
                self._spellings[folded] = None  # two classes that differ in nothing else: no spelling is forgiven
            if chance(identity) >= self.sampling_rate:
                return False
            if identity in self._samples:
                return True
            self._samples[identity] = label
            truth = self._early.pop(identity, None)
            found = [LabelCount(kept=1)]
            if truth is not None:
                found.append(self._match(identity, truth))
            if len(self._samples) > self.max_samples:
                oldest, _ = self._samples.popitem(last=False)
                self._truths.pop(oldest, None)
                self.forgotten += 1
        for each in found:
            _count(self._recorder, each)
        return True

    def add_ground_truth(self, request_id: str, ground_truth: Any) -> Answer:
        """Take the true label of a prediction.

        Surrounding spaces do not matter, nor does upper or lower case unless two classes differ in nothing else.

        Returns
        -------
        matched: the first label of a sampled prediction. duplicate: it has this label already. conflict: it had
        another; the latest counts. not_sampled: its id is not chosen. unknown_id: it would be chosen, and there is no
        such prediction; when it comes later, it is matched.
        """
        identity, known = label_text(request_id)
        truth, refused = label_text(ground_truth)
        truth = truth.strip()
        with self._lock:
            if known or refused:
                self.refused += 1
                return self._answer("unknown_id")
            found = None
            if identity in self._samples:
                before = self._truths.get(identity)
                if before is None:
                    found = self._match(identity, truth)
                    answer: Answer = "matched"
                else:
                    answer = self._answer("duplicate" if self._same(before, truth) else "conflict")
                    self._truths[identity] = truth
                    if answer == "conflict":
                        self._truths.move_to_end(identity)
            elif chance(identity) >= self.sampling_rate:
                answer = self._answer("not_sampled")
            else:
                answer = self._answer("unknown_id")
                self._early[identity] = truth
                if len(self._early) > self.max_samples:
                    self._early.popitem(last=False)
        _count(self._recorder, found or LabelCount(state=answer))
        return answer

    def calculate_accuracy(self) -> float | None:
        """Return the share of right predictions among the last 100 labels; None below 30."""
        found = self.accuracy()
        return None if isinstance(found, Missing) else found.value

    def accuracy(self, last: int = RECENT, minimum: int = MINIMUM) -> Accuracy | Missing:
        """Return the accuracy over the last labels with its interval, or what is missing.

        Parameters
        ----------
        last : labels, by arrival. minimum : fewer give no number.
        """
        with self._lock:
            recent = [(self._samples[each], self._truths[each]) for each in islice(reversed(self._truths), last)]
            right = sum(self._same(predicted, truth) for predicted, truth in recent)
        return accuracy_of(right, len(recent), minimum)

    def awaiting(self, most: int = RECENT) -> list[tuple[str, str]]:
        """Return (request id, predicted label) of samples without a label, the oldest first."""
        with self._lock:
            return list(islice((item for item in self._samples.items() if item[0] not in self._truths), most))

    def _answer(self, answer: Answer) -> Answer:
        self.states[answer] += 1
        return answer

    def _match(self, identity: str, truth: str) -> LabelCount:
        """Keep the first label of a sample; the lock is held."""
        self._truths[identity] = truth
        self._answer("matched")
        return LabelCount("matched", None, self.sampling_rate, self._same(self._samples[identity], truth))

    def _same(self, one: str, other: str) -> bool:
        folded = one.casefold()
        return one == other or (folded == other.casefold() and self._spellings.get(folded) is not None)


def _label_of(prediction: Any) -> str | None:
    """Return the predicted label; None where there is none."""
    try:
        label, refused = label_text(prediction["label"] if isinstance(prediction, Mapping) else prediction)
    except Exception:  # noqa: BLE001 - a mapping's own code
        return None
    return None if refused else label.strip()
