"""Kills a process as `kill -9` does, at a point that it reaches or after a time, and tells what it had acknowledged."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any, Literal, NamedTuple

from modelwatch.errors import ModelwatchError, fault

BEGUN = b""  # the first message of a child: its function begins now


class Death(NamedTuple):
    """How a process ended."""

    acknowledged: list[Any]  # what it acknowledged, in order
    killed: bool  # False: its function came to its end first
    exit_status: int  # 0: the function returned; 1: it raised; -9: killed


class KillAt:
    """Runs a function in a process of its own and kills that with SIGKILL, at a point or after a time.

    The function says where it is by `reached("name of the point")`, and what it has promised to somebody by
    `acknowledge(value)`; both may stand anywhere in the code that it runs, and do nothing in any other process. At the
    point the process dies within the call. After a time it dies wherever it is: draw the times from a seeded
    `random.Random` and each run of a test takes the same ones.

    Parameters
    ----------
    point : where it dies, or None.
    nth : at which time that it comes to the point; 1 is the first.
    after_s : seconds after the function began, or None.
    start_method : of `multiprocessing`: "spawn" shares nothing with this process; "forkserver" starts in milliseconds,
        for thousands of deaths.

    Raises
    ------
    ValueError   neither `point` nor `after_s` is given, or both are.

    Examples
    --------
    >>> import time
    >>> KillAt(after_s=0.05).run(time.sleep, 60)
    Death(acknowledged=[], killed=True, exit_status=-9)
    >>> KillAt("second").run(reached, "first")
    Death(acknowledged=[], killed=False, exit_status=0)
    """

    def __init__(
        self,
        point: str | None = None,
        *,
        nth: int = 1,
        after_s: float | None = None,
        start_method: Literal["spawn", "forkserver"] = "spawn",
    ) -> None:
        if (point is None) == (after_s is None):
            given = (point, after_s)
            raise ValueError(fault("KillAt", "(point, after_s)", given, "one of them", 'Write KillAt("sent").'))
        self.point, self.nth, self.after_s, self._method = point, nth, after_s, start_method

    def run(self, function: Callable[..., object], *arguments: Any, timeout_s: float = 60.0) -> Death:
        """Run `function(*arguments)` in a new process until it is killed or returns.

        Parameters
        ----------
        function : found by its name in a module that can be imported; what `multiprocessing` can start.
        timeout_s : seconds that it may take, the start of the process included.

        Raises
        ------
        ModelwatchError   it took longer than `timeout_s`; it is killed all the same.
        """
        context: Any = multiprocessing.get_context(self._method)
        if self._method == "forkserver":
            context.set_forkserver_preload([__name__, function.__module__])
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_live, args=(theirs, self.point, self.nth, function, arguments))
        deadline = time.monotonic() + timeout_s
        try:
            process.start()
            theirs.close()
            acknowledged = self._watch(process, ours, deadline)
            if process.exitcode is None:
                late = fault("KillAt", "seconds", timeout_s, "an end of the function within them", "Raise timeout_s.")
                raise ModelwatchError(late)
            return Death(acknowledged, process.exitcode == -signal.SIGKILL, process.exitcode)
        finally:
            if process.pid is not None:
                process.kill()
                process.join()
            process.close()
            ours.close()

    def _watch(self, process: Any, pipe: connection.Connection, deadline: float) -> list[Any]:
        """Read what the process says, kill it when its time has come, and wait for its end, or for the deadline."""
        acknowledged: list[Any] = []
        death = deadline
        talking = True
        while True:
            ended = process.exitcode is not None  # asked first: what it said before its end is in the pipe now
            while talking and pipe.poll():
                message = _receive(pipe)
                if message is None:
                    talking = False
                elif message == BEGUN:
                    death = deadline if self.after_s is None else time.monotonic() + self.after_s
                else:
                    acknowledged.append(json.loads(message))
            now = time.monotonic()
            if ended or now >= deadline:
                return acknowledged
            if now >= death:
                process.kill()
                death = deadline
            sources = [process.sentinel, pipe] if talking else [process.sentinel]
            connection.wait(sources, min(death, deadline) - now)


def _receive(pipe: connection.Connection) -> bytes | None:
    """Return a message; None at the end, or where the death came in the middle of one."""
    with contextlib.suppress(EOFError, OSError):
        return pipe.recv_bytes()
    return None


class _Self:
    """The process that is to die, as it knows itself."""

    def __init__(self, pipe: connection.Connection, point: str | None, nth: int) -> None:
        self.pipe, self.point, self.left = pipe, point, nth
        self.lock = threading.Lock()


_here: _Self | None = None


def _live(
    pipe: connection.Connection, point: str | None, nth: int, function: Callable[..., object], arguments: Any
) -> None:
    global _here  # noqa: PLW0603 - points are reached anywhere in the code, without a way to hand it on
    _here = _Self(pipe, point, nth)
    pipe.send_bytes(BEGUN)
    function(*arguments)


def reached(point: str) -> None:
    """Tell that this process is at a point. Where a `KillAt` waits for it, this call does not return."""
    here = _here
    if here is None or here.point != point:
        return
    with here.lock:
        here.left -= 1
        if here.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def acknowledge(value: Any) -> None:
    """Tell the process that waits for this one's death what was promised; once told, no death takes it back.

    Parameters
    ----------
    value : a JSON value.
    """
    here = _here
    if here is not None:
        with here.lock:
            here.pipe.send_bytes(json.dumps(value).encode())
