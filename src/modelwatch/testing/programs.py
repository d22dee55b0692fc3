"""A program of this machine that is started, waited for, killed, started again and ended."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

from modelwatch.errors import ModelwatchError, fault

READY_S, STOP_S = 40.0, 15.0
LOOK_S = 0.1


class Program:
    """One process at a time of a command that answers at an address.

    Parameters
    ----------
    command : the program and its arguments.
    ready : the address that answers with a status below 500 when it is ready.
    environment : added to that of this process.
    folder : its working directory, by default ours.
    log : the file that what it says goes to, by default our own output.
    ready_s : seconds within which it must be ready.

    Examples
    --------
    >>> import sys
    >>> program = Program([sys.executable, "-c", "raise SystemExit(3)"], "http://127.0.0.1:9/")
    >>> program.start()
    Traceback (most recent call last):
    modelwatch.errors.ModelwatchError: ...: state is 'ended with exit status 3'; expected an answer at ...
    """

    def __init__(
        self,
        command: Sequence[str],
        ready: str,
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        log: Path | None = None,
        ready_s: float = READY_S,
    ) -> None:
        self._command, self._ready, self._ready_s = list(command), ready, ready_s
        self._environment, self._folder, self._log = {**os.environ, **(environment or {})}, folder, log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        """Start it and wait until it answers.

        Raises
        ------
        ModelwatchError   it ended, or did not answer in time.
        """
        log = None if self._log is None else self._log.open("ab")
        try:
            self.process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        finally:
            if log is not None:
                log.close()
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it answers; see `start`."""
        deadline = time.monotonic() + self._ready_s
        while time.monotonic() < deadline and self.process is not None and self.process.poll() is None:
            if self._answers():
                return
            time.sleep(LOOK_S)
        code = None if self.process is None else self.process.poll()
        state = f"not ready after {self._ready_s:g} s" if code is None else f"ended with exit status {code}"
        remedy = "Read its messages above."
        if self._log is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"]
            remedy = f"It said: {said[-1]}"
        raise ModelwatchError(fault(self._command[0], "state", state, f"an answer at {self._ready}", remedy))

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self._ready, timeout=10).close()  # noqa: S310 - of this machine
        except urllib.error.HTTPError as error:
            error.close()
            return error.code < HTTPStatus.INTERNAL_SERVER_ERROR  # asks for credentials, say: it runs
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kill it, as the out-of-memory killer does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """Ask it to end by SIGTERM; kill it when that takes longer than 15 seconds."""
        process, self.process = self.process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
