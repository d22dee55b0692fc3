"""Receivers on loopback that keep what they are sent and behave as they are told: HTTP, and SMTP with and without TLS."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """What came."""

    path: str
    headers: Mapping[str, str]
    body: Any
    at: float


@dataclass
class Web:
    """An HTTP server. `answer` says what it does: a status, (status, headers), "hang", "drip", "drip body" or "reset"."""

    url: str
    requests: list[Request] = field(default_factory=list)
    answer: Callable[[Request], Any] = lambda request: 200
    words: str = "ok"
    stopping: threading.Event = field(default_factory=threading.Event)

    def ids(self) -> list[str]:
        """Return the idempotency keys that came, in order."""
        return [request.headers["Idempotency-Key"] for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(self.path, dict(self.headers.items()), json.loads(body), time.monotonic())
        answer = self.web.answer(request)
        self.web.requests.append(request)
        if answer == "hang":
            self.web.stopping.wait(30)
        elif answer == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
        elif answer in ("drip", "drip body"):
            head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" if answer == "drip body" else b""
            self._drip(head)
        else:
            status, headers = answer if isinstance(answer, tuple) else (answer, {})
            words = self.web.words.encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(words)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(words)

    do_GET = do_POST

    def _drip(self, head: bytes) -> None:
        text = head + b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 100
        try:
            self.wfile.write(head)
            for byte in text[len(head) :]:
                self.wfile.write(bytes([byte]))
                if self.web.stopping.wait(0.2):
                    return
        except OSError:
            pass

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 50

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what the tests are about."""


@contextmanager
def web(answer: Callable[[Request], Any] | None = None, tls: Path | None = None, port: int = 0) -> Iterator[Web]:
    """Run an HTTP server until the block ends; `tls`: a file with its key and certificate."""
    kept = Web("")
    if answer is not None:
        kept.answer = answer
    server = _Server(("127.0.0.1", port), type("Handler", (_Handler,), {"web": kept}))
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    kept.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        kept.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Post:
    """A mail server. `replies` replace what it answers to a command: "MAIL", "RCPT", "DATA", ".", "AUTH", "HELLO"."""

    port: int
    messages: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    tls: Path | None = None
    logins: list[str] = field(default_factory=list)
    secure: list[bool] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)


class _Mail(socketserver.StreamRequestHandler):
    post: Post

    def say(self, command: str, reply: str) -> None:
        reply = self.post.replies.get(command, reply)
        if reply == "hang":
            self.post.stopping.wait(30)
            return
        if reply == "drip":
            for _ in range(600):
                self.wfile.write(b"2")
                if self.post.stopping.wait(0.05):
                    return
        self.wfile.write(reply.encode() + b"\r\n")

    def handle(self) -> None:
        try:
            self._converse()
        except OSError:
            pass
        finally:
            self.connection.close()  # the one with TLS, where there is one

    def _converse(self) -> None:
        sender, to, secure = "", [], False
        self.say("HELLO", "220 mail.test ESMTP")
        while line := self.rfile.readline():
            command = line.decode().strip()
            verb = command[:4].upper()
            if verb == "EHLO":
                offers = "" if secure or self.post.tls is None else "250-STARTTLS\r\n"
                self.say("EHLO", f"250-mail.test\r\n{offers}250 AUTH PLAIN")
            elif verb == "STAR" and self.post.tls is not None:
                self.say("STARTTLS", "220 go on")
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self.post.tls)
                self.connection = context.wrap_socket(self.connection, server_side=True)
                self.rfile, self.wfile = self.connection.makefile("rb"), self.connection.makefile("wb", 0)
                secure = True
            elif verb == "AUTH":
                self.post.logins.append(command)
                self.say("AUTH", "235 welcome")
            elif verb == "MAIL":
                sender = command[10:].partition(" ")[0]
                self.say("MAIL", "250 ok")
            elif verb == "RCPT":
                to.append(command[8:])
                self.say("RCPT", "250 ok")
            elif verb == "DATA":
                self.say("DATA", "354 go on")
                text = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    text += part
                self.post.messages.append((sender, to, text))
                self.post.secure.append(secure)
                self.say(".", "250 taken")
            elif verb == "QUIT":
                self.say("QUIT", "221 bye")
                return
            else:
                self.say("OTHER", "502 what?")


class _MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_: Any) -> None:
        """A client that went away is what the tests are about."""


@contextmanager
def post_office(tls: Path | None = None, **replies: str) -> Iterator[Post]:
    """Run a mail server until the block ends; with `tls` it offers STARTTLS."""
    kept = Post(0, replies=replies, tls=tls)
    server = _MailServer(("127.0.0.1", 0), type("Mail", (_Mail,), {"post": kept}))
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        kept.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(folder: Path, name: str = "localhost") -> Path:
    """Return a file with a key and a certificate that nobody trusts, made by openssl."""
    file = folder / f"{name}.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
        "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "cert"),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    file.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return file
