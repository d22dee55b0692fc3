"""What happens to the threads of this process, and to their locks, when it forks and when it ends."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, Protocol, TypeVar

FORK_WAIT_S = 0.2

guard = threading.RLock()  # of what this process has one of; a __del__ or a signal handler may come back in


class Part(Protocol):
    """Something that works in a thread of its own."""

    def locks(self) -> Sequence[Any]:
        """Return the locks that a fork waits for, in the order in which they are taken."""

    def after_fork(self) -> None:
        """Begin anew in the child, where the thread is not."""


AnyPart = TypeVar("AnyPart", bound=Part)

_parts: weakref.WeakValueDictionary[int, Part] = weakref.WeakValueDictionary()
_numbers = count()
_endings: list[Callable[[], None]] = []
_held: dict[int, list[Any]] = {}  # by the thread that forks


def look_after(part: Part) -> None:
    """Let a part of this process know of forks, and end with the process."""
    _parts[next(_numbers)] = part
    _end_with_child()


def every(kind: type[AnyPart]) -> list[AnyPart]:
    """Return the parts of a kind, the oldest first."""
    return [part for part in _all() if isinstance(part, kind)]


def _all() -> list[Part]:
    return [part for _, part in sorted(_parts.items(), key=lambda item: item[0])]


def at_end(close_all: Callable[[], None]) -> Callable[[], None]:
    """Call a function, which must not wait for long, when this process or a child of it ends; the last one first."""
    _endings.append(close_all)
    return atexit.register(close_all)


def _end_with_child(_: object = None) -> None:
    """In a child of multiprocessing, which ends without `atexit`: end with its own finalizers."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        for close_all in _endings:
            util.Finalize(None, close_all, exitpriority=10)


def _before_fork() -> None:
    """Wait, shortly, until no thread of ours is inside SQLite or a fold: it could never leave it in the child."""
    held = _held[threading.get_ident()] = []
    deadline = time.monotonic() + FORK_WAIT_S
    for part in _all():
        for lock in part.locks():
            if lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                held.append(lock)


def _after_fork_in_parent() -> None:
    for lock in _held.pop(threading.get_ident(), ()):
        lock.release()


def _after_fork_in_child() -> None:
    global guard  # noqa: PLW0603 - the lock may be held by a thread that is gone
    _held.clear()
    guard = threading.RLock()
    for part in _all():
        part.after_fork()
    util: Any = sys.modules.get("multiprocessing.util")
    if util is not None:  # a child of multiprocessing forgets the finalizers of its parent, and then calls this
        util.register_after_fork(_end_with_child, _end_with_child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
