"""Receivers of notices on this machine: they keep what they are sent, and behave as badly as they are told to."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG_S = 30.0
DRIP_S = 0.2  # between two bytes
RESET = b"\1\0\0\0\0\0\0\0"  # SO_LINGER of no time: the connection is reset, not closed


@dataclass(frozen=True)
class Received:
    """A request that came: its JSON body, and when, by the monotonic clock."""

    path: str
    headers: Mapping[str, str]
    body: Any
    at: float


@dataclass
class Receiver:
    """A web server that takes notices.

    Parameters
    ----------
    url : its address, without a slash at the end.
    requests : what came, in order.
    answer : a function of a request to a status, a status and headers, those and words, or "hang", "drip", "drip body"
        or "reset".
    words : the body of its answers, unless `answer` gives others.
    """

    url: str
    answer: Callable[[Received], Any]
    requests: list[Received] = field(default_factory=list)
    words: str = "ok"
    stopping: threading.Event = field(default_factory=threading.Event)

    def ids(self) -> list[str]:
        """Return the idempotency keys that came, in order."""
        return [request.headers["Idempotency-Key"] for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        text = self.rfile.read(length)
        if len(text) < length:  # the sender has died in the middle: no server would take that
            self.close_connection = True
            return
        request = Received(self.path, dict(self.headers.items()), json.loads(text or "null"), time.monotonic())
        answer = self.receiver.answer(request)
        self.receiver.requests.append(request)
        if answer == "hang":
            self.receiver.stopping.wait(HANG_S)
            self.close_connection = True
        elif answer == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.connection.close()
        elif answer in ("drip", "drip body"):  # no set: an answer may be no key
            self._drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" if answer == "drip body" else b"")
        else:
            answered = answer if isinstance(answer, tuple) else (answer, {})
            status, headers, words = (*answered, self.receiver.words)[:3]
            words = words.encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(words)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(words)

    def do_GET(self) -> None:
        self.do_POST()

    def _drip(self, head: bytes) -> None:
        self.wfile.write(head)
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100:
            self.wfile.write(bytes([byte]))
            if self.receiver.stopping.wait(DRIP_S):
                return

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client is gone
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 50

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a client that goes away is what such a receiver is for."""


@contextlib.contextmanager
def running_receiver(
    answer: Callable[[Received], Any] | None = None, *, certificate: Path | None = None, port: int = 0
) -> Iterator[Receiver]:
    """Run a receiver on 127.0.0.1 until the block ends.

    Parameters
    ----------
    answer : as of `Receiver`; by default it takes everything.
    certificate : a file with a key and a certificate: it speaks TLS.
    port : 0 takes a free one.

    Examples
    --------
    >>> from modelwatch.notify.client import Client
    >>> with running_receiver() as receiver:
    ...     Client().post(receiver.url, b'{"hello": 1}', {})
    ...     receiver.requests[0].body
    Delivered()
    {'hello': 1}
    """
    receiver = Receiver("", answer or (lambda _: 200))
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"receiver": receiver}))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    receiver.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Snitch:
    """A dead-man's receiver, within a `with` block: it raises alarm when nothing has come for a while.

    Parameters
    ----------
    wait_s : how long it may be without a heartbeat.

    Examples
    --------
    >>> from modelwatch.notify.client import Client
    >>> with Snitch(wait_s=0.2) as snitch:
    ...     _ = Client().post(snitch.url, b"{}", {})
    ...     snitch.alarms()
    ...     time.sleep(0.3)
    ...     len(snitch.alarms())
    []
    1
    """

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._stack = contextlib.ExitStack()
        self._receiver: Receiver | None = None

    def __enter__(self) -> Snitch:  # noqa: PYI034 - Self is of Python 3.11
        self._receiver = self._stack.enter_context(running_receiver())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where heartbeats are sent to."""
        assert self._receiver is not None
        return self._receiver.url

    def beats(self) -> list[float]:
        """Return when each heartbeat came, by the monotonic clock."""
        assert self._receiver is not None
        return [request.at for request in list(self._receiver.requests)]

    def alarms(self) -> list[float]:
        """Return when alarm was raised, by the monotonic clock. Before the first heartbeat nothing is missed."""
        beats = self.beats()
        gaps = zip(beats, [*beats[1:], time.monotonic()], strict=True)
        return [before + self.wait_s for before, after in gaps if after - before > self.wait_s]


class HangingSink:
    """A receiver that takes the request and never answers, within a `with` block.

    Examples
    --------
    >>> from modelwatch.notify.client import Client
    >>> with HangingSink() as sink:
    ...     Client(wall_s=0.1).post(sink.url, b"{}", {}).reason
    'no answer within 0.1 s (RemoteDisconnected)'
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Receiver:
        return self._stack.enter_context(running_receiver(lambda _: "hang"))

    def __exit__(self, *_: object) -> None:
        self._stack.close()
