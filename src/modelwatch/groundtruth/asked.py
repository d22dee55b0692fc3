"""Labels that a caller waits for while the thread of the store writes them: each is answered, or left, once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelwatch.groundtruth.store import Labelled, TrueLabel


class Asked:
    """Labels that a caller waits for."""

    __slots__ = ("answers", "done", "error", "gone", "labels", "lock", "taken")

    def __init__(self, labels: Sequence[TrueLabel]) -> None:
        self.labels = labels
        self.lock, self.done = threading.Lock(), threading.Event()
        self.taken = self.gone = False
        self.answers: list[Labelled] = []
        self.error: BaseException | None = None

    def take(self) -> bool:
        """Begin to write it, unless its caller has gone away."""
        with self.lock:
            self.taken = not self.gone
            return self.taken

    def put_back(self) -> None:
        """Stop writing it: nothing came of it, and nothing will if its caller has gone away meanwhile."""
        with self.lock:
            self.taken = False

    def leave(self) -> str:
        """Let the caller go away, unless the answer has just come; return what can be said of the labels."""
        with self.lock:
            self.gone = not self.done.is_set()
            return "answered" if not self.gone else "perhaps taken" if self.taken else "not taken"

    def answer(self, answers: list[Labelled], error: BaseException | None = None) -> bool:
        """Give the answer; return whether anybody still waits for it."""
        with self.lock:
            self.answers, self.error = answers, error
            self.done.set()
            return not self.gone
