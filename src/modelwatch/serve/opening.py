"""What a `serve` does before its work: it takes its port, and waits for a store that will come by itself."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
from collections.abc import Iterator

from modelwatch.errors import ConfigError, StoreUnavailable
from modelwatch.groundtruth.database import BUSY_S, Database

logger = logging.getLogger("modelwatch")

FIRST_S, MOST_S = 0.5, 30.0  # between two tries to open a store
MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)  # such as ::1 of localhost, on a machine without IPv6
BACKLOG = 2048


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Listen on a port with a socket for each address of a host, until the block ends.

    Raises
    ------
    ConfigError   the port is taken, or the host is none of this machine.
    """
    with contextlib.ExitStack() as opened:
        try:
            found = [opened.enter_context(each) for each in _bound(host, port)]
        except OSError as error:
            why = error.args[1] if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            raise ConfigError(
                f"--port: port {port} of {host} cannot be used ({why}); expected a free one. Give another with --port."
            ) from None
        yield found


def _bound(host: str, port: int) -> Iterator[socket.socket]:
    missing = None
    found = 0
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            made = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        except OSError as error:
            if error.errno not in MISSING:
                raise
            missing = error
        else:
            found += 1
            yield made
    if missing is not None and not found:
        raise missing


class Opening:
    """Opens a store, again and again while its fault may pass; each change of what it says is one line of the log.

    Parameters
    ----------
    url : of the store.
    first_s, most_s : seconds to the second try, and between two later ones at most.
    busy_s : that a try waits for those who write.
    """

    def __init__(self, url: str, first_s: float = FIRST_S, most_s: float = MOST_S, busy_s: float = BUSY_S) -> None:
        self._database = Database(url, busy_s)
        self._first_s, self._most_s = first_s, most_s
        self.reason = ""  # why it is not open

    def tried(self) -> bool:
        """Try once; return whether it could be opened. If not, `reason` says why.

        Raises
        ------
        StoreUnavailable, NewerFormat   it will never open by itself.
        MissingExtra                    its driver is not installed.
        """
        reason = ""
        try:
            self._database.open()
        except StoreUnavailable as error:
            if error.lasting:
                raise
            reason = str(error)
        finally:
            self._database.close()
        if reason != self.reason:
            told = f"no alert is evaluated until the store answers; it is tried again: {reason}"
            logger.warning("modelwatch: %s", told if reason else "the store answers; alerts are evaluated")
        self.reason = reason
        return not reason

    def wait(self, stop: threading.Event) -> bool:
        """Try until it can be opened, ever more seldom; return False when `stop` came first.

        Raises
        ------
        as `tried`.
        """
        pause_s = self._first_s
        while not stop.wait(pause_s):
            if self.tried():
                return True
            pause_s = min(2 * pause_s, self._most_s)
        return False
