"""E-mail by SMTP: plain text and escaped HTML, five seconds of wall time in all."""

from __future__ import annotations

import contextlib
import email.utils
import html
import smtplib
import socket
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import IO, Any

from pydantic import SecretStr

from modelwatch.notify.alert import Notice
from modelwatch.notify.client import Client, Forbidden, NotSent, redacted
from modelwatch.notify.outcome import Delivered, Outcome, Refused, Retry
from modelwatch.notify.words import as_text, inert, words_of

SUBMISSION, IMPLICIT_TLS, RELAY = 587, 465, 25
PERMANENT = 500  # replies from here on


@dataclass(frozen=True)
class Mail:
    """A server that takes mail.

    Parameters
    ----------
    to : one address, or several with commas between.
    host, port : 465 is TLS from the start; elsewhere STARTTLS is used where it is offered.
    tls : "true" wants it, "false" does without it. A password is sent without TLS only for "false".
    """

    to: SecretStr
    sender: str = "modelwatch@localhost"
    host: str = "localhost"
    port: int = RELAY
    username: SecretStr | None = None
    password: SecretStr | None = None
    tls: str = ""

    def send(self, notice: Notice, client: Client) -> Outcome:
        """Send a notice; its id is in the Message-ID."""
        hidden = tuple(secret.get_secret_value() for secret in (self.to, self.username, self.password) if secret)
        addresses = [address for _, address in email.utils.getaddresses([self.to.get_secret_value()]) if address]
        if not addresses:
            return Refused("there is no address to send to")
        try:
            body = message(notice, self.sender, addresses).as_bytes(policy=SMTP_POLICY)
            with client.connected(self.host, self.port, secure=self.port == IMPLICIT_TLS, any_private=True) as sock:
                return self._deliver(sock, client, addresses, body, hidden)
        except Forbidden as error:
            return Refused(str(error))
        except NotSent as error:
            return Retry(0.0, str(error))
        except smtplib.SMTPResponseException as error:
            return _refusal(error.smtp_code, error.smtp_error, hidden)
        except (OSError, smtplib.SMTPException) as error:
            return Retry(0.0, f"no answer within {client.wall_s:g} s ({type(error).__name__})")
        except ValueError:
            return Refused("an address cannot be used")

    def _deliver(
        self, sock: socket.socket, client: Client, addresses: list[str], body: bytes, hidden: tuple[str, ...]
    ) -> Outcome:
        with contextlib.closing(_Connected(sock, client)) as server:
            server.begin(self.host)
            return self._converse(server, client, addresses, body, hidden)

    def _converse(
        self, server: _Connected, client: Client, addresses: list[str], body: bytes, hidden: tuple[str, ...]
    ) -> Outcome:
        server.ehlo_or_helo_if_needed()
        secure = self.port == IMPLICIT_TLS
        if not secure and self.tls != "false" and (server.has_extn("starttls") or self.tls):
            server.starttls(context=client.tls)
            server.ehlo()
            secure = True
        if self.username is not None and self.password is not None:
            if not secure and self.tls != "false":
                return Refused("the server offers no TLS, and the password is not sent without it")
            server.login(self.username.get_secret_value(), self.password.get_secret_value())
        code, words = server.mail(email.utils.parseaddr(self.sender)[1])
        if not _is_taken(code):
            return _refusal(code, words, hidden)
        replies = [server.rcpt(address) for address in addresses]
        if not any(_is_taken(code) for code, _ in replies):
            return _refusal(*min(replies), hidden)
        try:
            code, words = server.data(body)
        except smtplib.SMTPResponseException:
            raise  # it does not want the message
        except OSError as error:
            return Retry(0.0, f"no answer to the message ({type(error).__name__})", maybe_told=True)
        with contextlib.suppress(OSError, smtplib.SMTPException):
            server.quit()
        return Delivered() if _is_taken(code) else _refusal(code, words, hidden)


class _Connected(smtplib.SMTP):
    """A conversation on a connection that is there already."""

    def __init__(self, sock: socket.socket, client: Client) -> None:
        self._given = sock
        super().__init__(timeout=client.wall_s)

    def begin(self, host: str) -> None:
        """Read the greeting."""
        code, words = self.connect(host, self._given.getpeername()[1])
        self._host = host  # what the certificate must be of
        if code != 220:
            raise smtplib.SMTPConnectError(code, words)

    def _get_socket(self, *_: object) -> socket.socket:
        return self._given

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Lines(self.sock.makefile("rb"))
        return super().getreply()


class _Lines:
    """Reads whole lines: half a reply, cut off when the time was over, is none."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        line = self._file.readline(limit)
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError
        return line


def _is_taken(code: int) -> bool:
    return 200 <= code < 300


def _refusal(code: int, words: Any, hidden: tuple[str, ...]) -> Outcome:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
    reason = f"it answered {code}: {redacted(' '.join(text.split()), hidden)[:200]}"
    return Refused(reason) if code >= PERMANENT else Retry(0.0, reason)


def message(notice: Notice, sender: str, to: list[str]) -> EmailMessage:
    """Return the message."""
    words = words_of(notice)
    made = EmailMessage()
    made["Subject"] = inert(words.title)[:200]
    made["From"] = sender
    made["To"] = ", ".join(to)
    made["Date"] = email.utils.formatdate(notice.made_at)
    made["Message-ID"] = f"<{notice.id}@modelwatch.invalid>"
    made["References"] = f"<{notice.group.key}@modelwatch.invalid>"  # one thread an incident
    made["Auto-Submitted"] = "auto-generated"
    made["X-Modelwatch-Notice"] = notice.id
    made.set_content(as_text(notice))
    made.add_alternative(as_html(notice), subtype="html")
    return made


def as_html(notice: Notice) -> str:
    """Return the message as HTML in which every value is text."""
    words = words_of(notice)
    parts = [f"<h2>{_safe(words.title)}</h2>", f"<p>{_safe(words.lead)}</p>"]
    for entry in words.entries:
        rows = "".join(f"<tr><td>{_safe(name)}</td><td>{_safe(value)}</td></tr>" for name, value in entry.facts)
        text = _safe(entry.text).replace("\n", "<br>")
        parts.append(f"<h3>{_safe(entry.headline)}</h3><table>{rows}</table><p>{text}</p>")
    if words.more:
        parts.append(f"<p>{_safe(words.more)}</p>")
    links = " &middot; ".join(f'<a href="{html.escape(url)}">{_safe(name)}</a>' for name, url in words.links)
    parts.append(f"<p>{links}</p>")
    return f"<!doctype html><html><body>{''.join(parts)}</body></html>"


def _safe(text: str) -> str:
    return html.escape(inert(text))
