"""The desk of a reviewer: one sample at a time, and what becomes of what is said of it. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelwatch.errors import UnknownLabel
from modelwatch.groundtruth import queue, reviewers
from modelwatch.record.review import Said

if TYPE_CHECKING:
    from modelwatch.groundtruth.store import Sample, Store
    from modelwatch.record.review import Review

DAY_S = 86_400.0
PEEKED = "looked at the model's answer"
LEASE_S = queue.LEASE_S


@dataclass(frozen=True)
class Earlier:
    """What somebody did about a sample before: skipped it, noted something, took a label back."""

    at: float
    who: str
    what: str
    note: str


@dataclass(frozen=True)
class Turn:
    """What a reviewer sees now.

    classes : what may be said, in their order; None: a number. Empty: any text.
    sample : None when nothing waits that is free. peeked : this reviewer has looked at the model's answer.
    done : labels of this reviewer today (UTC). undo : the last of them, None where there is none.
    waiting : samples of the model without a label, at least, where there are `more`.
    held : those of them that are with other reviewers.
    """

    model: str
    reviewer: str
    classes: tuple[str, ...] | None
    sample: Sample | None
    peeked: bool = False
    earlier: tuple[Earlier, ...] = ()
    done: int = 0
    undo: str | float | None = None
    waiting: int = 0
    held: int = 0
    oldest_waiting_s: float | None = None
    more: bool = False


@dataclass
class Desk:
    """Hands out samples of some models and takes what people say, through the reviews of the service, which count it.

    Every method waits for the store, so none may be called on an event loop.

    Parameters
    ----------
    reviews : of the monitors of the service (`Monitor.review`); they share one store.

    Raises
    ------
    ValueError   there is no review, or they do not share one store.
    """

    reviews: Sequence[Review]
    _of: dict[str, Review] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.reviews:
            raise ValueError("Desk: reviews is empty; expected one of a monitor with a store. Leave the desk out.")
        if any(review.writer is not self.reviews[0].writer for review in self.reviews):
            raise ValueError("Desk: reviews have several stores; expected one. Make a desk for each.")
        self._of = {review.key.model: review for review in self.reviews}

    @property
    def models(self) -> tuple[str, ...]:
        """The models that can be reviewed."""
        return tuple(self._of)

    def key(self) -> bytes:
        """Return the key of the forms: all workers have the same.

        Raises
        ------
        StoreUnavailable, NewerFormat   it cannot be read now.
        """
        return self._store.secret("review_forms")

    @property
    def _store(self) -> Store:
        return self.reviews[0].writer.store

    def turn(self, model: str, reviewer: str) -> Turn:
        """Return what a reviewer sees: the sample that they hold, or else a new one, held for ten minutes.

        Raises
        ------
        KeyError                        there is no such model.
        StoreUnavailable, NewerFormat   none is held.
        """
        review, store = self._of[model], self._store
        now = store.clock()
        found = queue.claim(store, reviewer, model, LEASE_S)
        queued = reviewers.waiting(store, model)
        done = reviewers.done(store, reviewer, model, now - now % DAY_S)
        sample = found[0] if found else None
        history = queue.history(store, sample.request_id) if sample else []
        return Turn(
            model=model,
            reviewer=reviewer,
            classes=review.classes,
            sample=sample,
            peeked=any(_is_peek(entry, reviewer) for entry in history),
            earlier=tuple(_earlier(entry) for entry in history if _is_told(entry, reviewer)),
            done=done.labels,
            undo=done.label,
            waiting=queued.samples,
            held=max(0, queued.claimed - (sample is not None)),
            oldest_waiting_s=None if queued.oldest_at is None else max(0.0, now - queued.oldest_at),
            more=queued.more,
        )

    def label(self, model: str, reviewer: str, request_id: str, label: Any, note: str | None = None) -> str:
        """Say what the truth is; return its state, as `Monitor.label`.

        Raises
        ------
        KeyError                        there is no such model.
        UnknownLabel                    no label of this model.
        StoreUnavailable, NewerFormat   it may not be stored; saying it again does no harm.
        """
        review = self._of[model]
        if any(_is_peek(entry, reviewer) for entry in queue.history(self._store, request_id)):
            note = f"{note}\n({PEEKED} first)" if note else f"({PEEKED} first)"
        said = Said(request_id, number(label) if review.classes is None else label, reviewer, None, note)
        (answer,) = review.label_many([said], trusted=True)
        if isinstance(answer, UnknownLabel):
            raise answer
        return answer

    def skip(self, request_id: str, reviewer: str, note: str | None = None) -> bool:
        """Pass over a sample, which goes to somebody else; False where there is none."""
        return queue.skip(self._store, request_id, reviewer, note)

    def peek(self, request_id: str, reviewer: str) -> None:
        """Write down that a reviewer has asked for the model's answer; their next turn shows it."""
        if not any(_is_peek(entry, reviewer) for entry in queue.history(self._store, request_id)):
            queue.note(self._store, request_id, reviewer, PEEKED)

    def undo(self, model: str, reviewer: str) -> str | float | None:
        """Take the last label of today back and the sample in hand again; return the label, None where there is none.

        Raises
        ------
        StoreUnavailable, NewerFormat   nothing is changed.
        """
        store = self._store
        now = store.clock()
        last = reviewers.done(store, reviewer, model, now - now % DAY_S)
        if last.request_id is None or not queue.undo(store, last.request_id, reviewer):
            return None
        reviewers.hold(store, last.request_id, reviewer, LEASE_S)
        return last.label

    def history(self, request_id: str) -> list[dict[str, Any]]:
        """Return all that was said and done about a sample, the oldest first; see `queue.history`."""
        return queue.history(self._store, request_id)


def number(text: Any) -> Any:
    """Return a number that came as text; what is none is returned as it is.

    Examples
    --------
    >>> number(" 3.5 "), number(4), number("x")
    (3.5, 4, 'x')
    """
    if not isinstance(text, str):
        return text
    try:
        return float(text.strip().replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        return text


def _is_peek(entry: dict[str, Any], reviewer: str) -> bool:
    return (entry["action"], entry["actor"], entry["detail"].get("note")) == ("note", reviewer, PEEKED)


def _is_told(entry: dict[str, Any], reviewer: str) -> bool:
    """Tell whether an entry of the history says something to the next reviewer; what they did themselves does not."""
    detail = entry["detail"]
    if entry["action"] in {"skip", "note"}:
        return bool(detail.get("note")) and detail["note"] != PEEKED
    return (entry["action"], entry["actor"] == reviewer) == ("undo", False)


def _earlier(entry: dict[str, Any]) -> Earlier:
    what = {"skip": "skipped it", "note": "noted", "undo": "took a label back"}[entry["action"]]
    return Earlier(entry["at"], entry["actor"], what, entry["detail"].get("note") or "")
