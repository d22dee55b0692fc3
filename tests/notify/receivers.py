"""Receivers on loopback that keep what they are sent and behave as they are told: HTTP, and SMTP with and without TLS."""

from __future__ import annotations

import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelwatch.testing.receivers import Received, Receiver, running_receiver

Web = Receiver


def web(answer: Callable[[Received], Any] | None = None, tls: Path | None = None) -> AbstractContextManager[Receiver]:
    """Run a web server that takes notices; `tls`: a file with its key and certificate."""
    return running_receiver(answer, certificate=tls)


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
