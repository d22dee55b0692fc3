"""Labels that a caller waits for while the thread of the store writes them: each is answered, or left, once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelwatch.groundtruth.kinds import Labelled, TrueLabel


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


class Queue:
    """Those that wait, the first first; and, of one transaction, those that are being written."""

    def __init__(self) -> None:
        self._waiting: deque[Asked] = deque()
        self.taken: list[Asked] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def labels(self) -> int:
        """Return how many labels wait or are being written."""
        return sum(len(asked.labels) for asked in [*list(self._waiting), *self.taken])

    def add(self, asked: Asked) -> None:
        """Let one more wait."""
        self._waiting.append(asked)

    def take(self, most: int) -> list[Asked]:
        """Take those that are to be written, until they have so many labels, or more; whoever has gone away is left."""
        self.taken, number = [], 0
        while self._waiting and number < most:
            asked = self._waiting.popleft()
            if asked.take():
                self.taken.append(asked)
                number += len(asked.labels)
        return self.taken

    def put_back(self) -> None:
        """Let those that were taken wait again, in front, until their callers go away."""
        for asked in reversed(self.taken):
            asked.put_back()
            self._waiting.appendleft(asked)
        self.taken = []

    def refuse(self, error: BaseException) -> None:
        """Tell those that were taken what is wrong."""
        for asked in self.taken:
            asked.answer([], error)
        self.taken = []
