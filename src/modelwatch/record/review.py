"""The review of one model: which of its predictions are kept, and what becomes of the labels that people give them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from modelwatch.errors import ConfigError, ModelwatchError, UnknownLabel
from modelwatch.events import LabelCount
from modelwatch.groundtruth.ids import LENGTH, RAW, Signer, signer_of
from modelwatch.groundtruth.kinds import REQUEST_ID, Sample, TrueLabel
from modelwatch.groundtruth.sampling import Design, chance, halvings, seen_of, stratified, uncertainty, uniform
from modelwatch.groundtruth.whose import models_of
from modelwatch.groundtruth.writer import Writer
from modelwatch.kernel import Kernel
from modelwatch.labels import plain_number
from modelwatch.record.recorder import Recorder
from modelwatch.record.request import signing
from modelwatch.record.shown import plain_text, shown, shown_features, text_of, told
from modelwatch.store.live import Key

if TYPE_CHECKING:
    from modelwatch.config import GroundTruth, ModelConfig
    from modelwatch.groundtruth.store import Labelled
    from modelwatch.record.monitor import Monitor
    from modelwatch.record.worker import Worker

FLUSH_S = 2.0
LOOK_EVERY_S = 1.0  # for the key of a store that could not be read
BATCH = 1000  # labels in one transaction
HOUR_S, WEEK_S = 3600.0, 604_800.0
MONDAY_S = 4 * 86_400.0  # 1970 began on a Thursday
MOST_ROWS = 20_000  # samples that the strata are told from
MOST_TOLD = 20  # classes in a message


class Said(NamedTuple):
    """A label as somebody gives it; see `Monitor.label`."""

    request_id: str
    true_label: Any
    reviewer: str | None = None
    at: float | None = None
    note: str | None = None


class Review:
    """Keeps a sample of one model's predictions for review, and takes their labels.

    Parameters
    ----------
    key : the model and its version.
    worker : whose recorder of the model counts what is kept and what the labels say.
    writer : of the store that the service shares.
    settings : which predictions are kept, and how many.
    clock : Unix seconds.
    """

    def __init__(
        self,
        key: Key,
        worker: Worker,
        writer: Writer,
        settings: GroundTruth,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.key, self.writer, self.clock, self.settings = key, writer, clock, settings
        self._full = self.design = design_of(settings)
        self._halvings: int | None = 0
        self._strata_at = float("-inf")
        self._worker = worker
        self.recorder = recorder = worker.recorders[key]
        self.classes = recorder.kernel.schema.classes  # None: a regression
        self.users = 0  # monitors that are not closed
        self.signer: Signer | None = None
        self._looking: threading.Thread | None = None
        self._find_key()
        writer.on_matched.append(self.matched)
        writer.follow(worker.path)
        if settings.strategy == "stratified" or settings.weekly_budget is not None:
            writer.on_minute.append(self.adapt)
        writer.on_fault.append(lambda where, error: recorder.faults.add(where, error, ours=False))

    def _find_key(self) -> None:
        """Read the key that signs ids; while the store cannot be read, ids are handed out as they are."""
        try:
            self.signer = signer_of(self.writer.store)
        except ConfigError:
            raise
        except ModelwatchError as error:
            self.recorder.faults.add("store", error, ours=False)

    def sign(self, request_id: str) -> str:
        """Return a new id as it is handed out. Waits for nothing."""
        if self.signer is None:
            self._look_for_key()
            return request_id
        return self.signer.sign(request_id, self.clock())

    def _look_for_key(self) -> None:
        """Look for the key again, in a thread of its own, unless one is looking."""
        if self._looking is None or not self._looking.is_alive():
            self._looking = threading.Thread(target=self._look, name="modelwatch-key", daemon=True)
            self._looking.start()

    def _look(self) -> None:
        with self.writer.io:
            self._find_key()
        if self.signer is None:
            time.sleep(LOOK_EVERY_S)

    def recorder_of(self, key: Key) -> Recorder:
        """Return the counts of a version, which may not be served any more."""
        with self._worker.reading:
            found = self._worker.recorders.get(key)
            if found is None:  # on the edges on which it was counted, if it was on this host
                self._worker.poll()
                schema = self._worker.host.schemas.get(key, self.recorder.kernel.schema)
                found = Recorder(Kernel(schema), self._worker.faults)
                self._worker.add(key, found)
            return found

    # -- what is kept --------------------------------------------------------------------------------------------------

    def consider(
        self, request_id: str, endpoint: Any, prediction: Any, confidence: Any, segment: Any, features: Any, given: Any
    ) -> None:
        """Keep a prediction for review if its id says so. A hash and a comparison for most; never waits."""
        raw = raw_id(request_id)
        luck, design = chance(raw), self.design
        if luck >= design.most:
            return
        inclusion = design.of(prediction, confidence, segment)
        if luck >= inclusion or not inclusion:
            return
        sample = self._sample(raw, inclusion, endpoint, prediction, confidence, segment, features, given)
        if sample is None:
            return
        if self.writer.put(sample):
            self.recorder.labels.append(LabelCount(kept=1))
        else:
            self.recorder.labels.append(LabelCount(dropped="store" if self.writer.kept is False else "full"))

    def _sample(
        self,
        raw: str,
        inclusion: float,
        endpoint: Any,
        prediction: Any,
        confidence: Any,
        segment: Any,
        features: Any,
        given: Any,
    ) -> Sample | None:
        answer = plain_number(prediction) if self.classes is None else text_of(prediction)
        if answer is None:  # the value is counted as refused in the fold
            return None
        return Sample(
            request_id=raw,
            model_name=self.key.model,
            model_version=self.key.version,
            endpoint=text_of(endpoint) or "",
            predicted_at=self.clock(),
            prediction=answer,
            confidence=plain_number(confidence),
            segment=text_of(segment),
            inclusion=inclusion,
            input=shown(given),
            features=shown_features(features),
        )

    def matched(self, labelled: Labelled) -> None:
        """Count a label that had been waiting for its prediction."""
        if (labelled.model_name, labelled.model_version) == self.key and labelled.first:
            self._count(labelled, None)

    def close(self) -> None:
        """Write what waits, and sign no more ids of requests that belong to no monitor."""
        self.users -= 1
        self.writer.users -= 1
        if self.writer.users > 0:
            self.writer.flush(FLUSH_S)
        else:
            self.writer.close(FLUSH_S)
        if self.users <= 0 and self.sign in signing:
            signing.remove(self.sign)

    def adapt(self) -> None:
        """Follow what the store knows: the strata once an hour, and what is left of the week's budget.

        Called once a minute by the thread that writes. Replicas share the store, so they come to the same design.
        """
        now, settings, store = self.clock(), self.settings, self.writer.store
        if settings.strategy == "stratified" and now - self._strata_at >= HOUR_S:
            rows = store.rows(self.key.model, last=MOST_ROWS, unlabelled=True)
            seen = seen_of(
                settings.strata, rows.predictions, rows.labels, rows.confidence, rows.segments, rows.inclusion
            )
            self._full = stratified(settings.sampling_rate, seen, settings.strata)
            self._strata_at = now
        budget = settings.weekly_budget
        if budget is not None:
            begun = now - (now - MONDAY_S) % WEEK_S
            at = store.rows(self.key.model, since=begun, last=budget + MOST_ROWS, unlabelled=True).predicted_at
            lately = float((at >= now - HOUR_S).sum()) * 2.0 ** (self._halvings or 0)
            hours = (begun + WEEK_S - now) / HOUR_S
            self._halvings = halvings(budget, len(at), lately * hours)
        self.design = uniform(0.0) if self._halvings is None else self._full.scaled(self._halvings)

    # -- what people say -----------------------------------------------------------------------------------------------

    def label(self, said: Said, *, trusted: bool) -> str:
        """Take a label; see `Monitor.label`."""
        (answer,) = self.label_many([said], trusted=trusted)
        if isinstance(answer, UnknownLabel):
            raise answer
        return answer

    def label_many(self, given: Sequence[Said], *, trusted: bool) -> list[str | UnknownLabel]:
        """Take labels, in one transaction; for each return its state, or why it is no label of this model.

        Raises
        ------
        StoreUnavailable, NewerFormat   they may not be stored; sending them again does no harm.
        """
        if self.signer is None:
            self.signer = signer_of(self.writer.store)  # else every id would be told to be of nobody
        known = [self._known(said.request_id, trusted=trusted) for said in given]
        ids = [raw for raw, _ in known if raw is not None]
        models = models_of(self.writer.store, ids)
        if any(raw is not None and issued_at is None and raw not in models for raw, issued_at in known):
            self.writer.flush(FLUSH_S)  # an id without a signature may be of nobody: its sample must be there
            models = models_of(self.writer.store, ids)
        answers: list[str | UnknownLabel] = ["unknown_id"] * len(given)
        labels: list[tuple[int, TrueLabel]] = []
        for at, (said, (raw, issued_at)) in enumerate(zip(given, known, strict=True)):
            review = None if raw is None else self._of(models.get(raw))
            try:
                value = (review or self)._value(said.true_label)  # noqa: SLF001 - one of ours
            except UnknownLabel as error:
                answers[at] = error
                continue
            if raw is None or review is None:
                self.recorder.labels.append(LabelCount(state="unknown_id"))
            else:
                labels.append((at, review._true_label(said, raw, value, issued_at)))  # noqa: SLF001
        for start in range(0, len(labels), BATCH):
            some = labels[start : start + BATCH]
            for (at, label), labelled in zip(some, self.writer.label_many([one for _, one in some]), strict=True):
                unknown = label.issued_at is None and labelled.state == "not_sampled"
                state = "unknown_id" if unknown else labelled.state
                self._count(labelled, state)
                answers[at] = state
        return answers

    def _of(self, model: str | None) -> Review | None:
        """Return the review of a model in this process; ours where nobody knows yet of which model it is."""
        if model in (None, self.key.model):
            return self
        return next((review for key, review in list(self._worker.reviews.items()) if key.model == model), None)

    def _true_label(self, said: Said, raw: str, value: str | float, issued_at: float | None) -> TrueLabel:
        """Return what is to be stored."""
        sampled: bool | None = False
        if issued_at is not None and (luck := chance(raw)) < self.design.most:
            sure = self.settings.weekly_budget is None and self.settings.strategy != "stratified"
            sampled = True if sure and luck < self.design.levels[0] else None
        note, at = plain_text(said.note), plain_number(said.at)
        return TrueLabel(raw, value, text_of(said.reviewer), at, issued_at, sampled, note)

    def _count(self, labelled: Labelled, state: str | None) -> None:
        """Count a label, under the model and version that it is about."""
        right = labelled.right if labelled.first else None
        recorder = self.recorder
        if right is not None and labelled.model_name is not None and labelled.model_version is not None:
            review = self._of(labelled.model_name) or self
            recorder = review.recorder_of(Key(labelled.model_name, labelled.model_version))
        recorder.labels.append(LabelCount(None, labelled.segment, labelled.inclusion, right))
        if state is not None:
            self.recorder.labels.append(LabelCount(state))

    def _known(self, request_id: Any, *, trusted: bool) -> tuple[str | None, float | None]:
        """Return (the id itself, when it was handed out); None for an id that nobody was given."""
        given = plain_text(request_id)
        if given is None:
            return None, None
        issued = self.signer.verify(given) if self.signer else None
        if issued is not None:
            return issued
        if len(given) == LENGTH or not trusted:
            return None, None
        return raw_id(given), None

    def _value(self, true_label: Any) -> str | float:
        if self.classes is None:
            number = plain_number(true_label)
            if number is None:
                raise UnknownLabel(
                    f"label: true_label is {told(true_label)}; expected a finite number. Send the true value."
                )
            return number
        text = text_of(true_label)
        if text is None or (self.classes and text not in self.classes):
            classes = ", ".join(self.classes[:MOST_TOLD]) + (", …" if len(self.classes) > MOST_TOLD else "")
            raise UnknownLabel(
                f"label: true_label is {told(true_label)}; expected one of {classes}. Send the true class."
            )
        return text


def raw_id(request_id: str) -> str:
    """Return the 32 hexadecimal digits by which a request is known: of our ids the first, of others a hash."""
    if len(request_id) in (RAW, LENGTH) and REQUEST_ID.fullmatch(request_id[:RAW]):
        return request_id[:RAW]
    return blake2b(request_id.encode("utf-8", "replace"), digest_size=RAW // 2, person=b"request id").hexdigest()


def open_review(monitor: Monitor, url: str, model: ModelConfig) -> Review:
    """Return the review of a model, one a process: its writer, its key, and which predictions are kept.

    Raises
    ------
    ConfigError, MissingExtra   the URL of the store cannot be used.
    """
    found = monitor.worker.reviews.get(monitor.key)
    if found is None:
        truth = model.ground_truth
        writer = Writer.of(url)
        writer.store.keep_for(monitor.key.model, truth.retention_s)
        found = Review(monitor.key, monitor.worker, writer, truth)
        monitor.worker.reviews[monitor.key] = found
    found.users += 1
    found.writer.users += 1
    if found.sign not in signing:
        signing.append(found.sign)
    return found


def design_of(truth: GroundTruth) -> Design:
    """Return the sampling design that a configuration asks for."""
    if truth.strategy == "uncertainty":
        return uncertainty(truth.sampling_rate)
    if truth.strategy == "stratified":
        return stratified(truth.sampling_rate, field=truth.strata)
    return uniform(truth.sampling_rate)
