"""One request to a receiver: five seconds of wall time in all, no redirects, and only to addresses that were meant."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import os
import queue
import re
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from modelwatch.notify.outcome import Outcome, Refused, Retry, outcome_of

WALL_S = 5.0
LONGEST_ANSWER = 2048  # characters that are read of an answer
METADATA = ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "192.0.0.192")  # of clouds
CARRYING = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96"))
)  # an IPv4 address at their end
_SECRET_PART = re.compile(r"[^/?&=#@:]{6,}")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class NotSent(OSError):
    """Nothing of the message has left this host."""


class Forbidden(Exception):
    """A name leads to an address that it must not lead to."""


@dataclass(frozen=True)
class Client:
    """Sends requests to receivers.

    Parameters
    ----------
    private_hosts : names that may lead to a private address. One that is written as an address, or is `localhost`,
        need not be listed.
    wall_s : seconds for one try in all: name, connection, TLS, request, answer.
    tls : what certificates are trusted; by default those of the system.
    look_up : as `socket.getaddrinfo`.
    """

    private_hosts: tuple[str, ...] = ()
    wall_s: float = WALL_S
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    look_up: Callable[..., Any] = socket.getaddrinfo
    wall: Callable[[], float] = time.time

    def post(self, url: str, body: bytes, headers: Mapping[str, str], secrets: Iterable[str] = ()) -> Outcome:
        """POST a JSON text; return what became of it. Never raises.

        Parameters
        ----------
        url : may hold a name and a password.
        secrets : texts that may not stand in a reason, beside the parts of the URL.
        """
        hidden = (*secrets, url)
        began = False
        try:
            parts = urllib.parse.urlsplit(url)
            host, secure = parts.hostname or "", parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            with self.connected(host, port, secure=secure) as sock:
                connection = http.client.HTTPConnection(host, port)
                connection.sock = sock
                path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
                began = True
                with contextlib.closing(connection):
                    connection.request("POST", path, body, {**_headers(parts), **headers})
                    answer = connection.getresponse()
                    words = _words(answer, hidden)
                    return outcome_of(answer.status, answer.getheader("Retry-After"), words, self.wall())
        except Forbidden as error:
            return Refused(redacted(str(error), hidden))
        except NotSent as error:
            return Retry(0.0, redacted(str(error), hidden))
        except (OSError, http.client.HTTPException) as error:
            return Retry(0.0, f"no answer within {self.wall_s:g} s ({type(error).__name__})", maybe_told=began)
        except (ValueError, UnicodeError):
            return Refused("its address cannot be used")

    @contextlib.contextmanager
    def connected(self, host: str, port: int, *, secure: bool, any_private: bool = False) -> Iterator[socket.socket]:
        """Connect; the connection is shut down when the time of the try is over, whatever the other side does.

        any_private : of a server that is no webhook.

        Raises
        ------
        NotSent     there is no connection.
        Forbidden   the name leads to an address that it must not lead to.
        """
        deadline = time.monotonic() + self.wall_s
        address = self.address(host, port, any_private=any_private)
        sock = _connect(address, port, deadline)
        spare = sock.dup()  # TLS takes the other one away
        timer = threading.Timer(max(deadline - time.monotonic(), 0.01), _shut, (spare,))
        timer.daemon = True
        timer.start()
        try:
            if secure:
                sock = self.wrapped(sock, host)
            yield sock
        finally:
            timer.cancel()
            spare.close()
            sock.close()

    def wrapped(self, sock: socket.socket, host: str) -> socket.socket:
        """Return a connection with TLS around it."""
        try:
            return self.tls.wrap_socket(sock, server_hostname=host)
        except (ssl.CertificateError, ssl.SSLError) as error:
            reason = getattr(error, "verify_message", "") or getattr(error, "reason", "") or type(error).__name__
            raise NotSent(f"TLS failed: {reason}") from None
        except (OSError, ValueError) as error:
            raise NotSent(f"TLS failed: {type(error).__name__}") from None

    def address(self, host: str, port: int, *, any_private: bool = False) -> str:
        """Return the address of a host, looked up now; the connection goes to it and to no other.

        Raises
        ------
        NotSent     there is none, or nobody answers in time.
        Forbidden   it is private, link-local or of a cloud's metadata, and not meant.
        """
        found = self._look_up(host, port)
        listed = host.lower() in {name.lower() for name in self.private_hosts}
        written = host.lower() == "localhost" or _as_address(host) is not None
        for address in found:
            if str(_plain(address)) in METADATA:
                continue
            if listed or is_public(address) or (is_inside(address) and (written or any_private)):
                return str(address)
        raise Forbidden(
            f"{host} leads to {found[0]}, which is no public address. If that is meant, list {host} below "
            "alerting.private_hosts"
        )

    def _look_up(self, host: str, port: int) -> list[Address]:
        literal = _as_address(host)
        if literal is not None:
            return [literal]
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def work() -> None:
            try:
                answers.put(self.look_up(host, port, type=socket.SOCK_STREAM))
            except (OSError, UnicodeError) as error:
                answers.put(error)

        threading.Thread(target=work, name="modelwatch-lookup", daemon=True).start()  # it may hang for a minute
        try:
            answer = answers.get(timeout=self.wall_s)
        except queue.Empty:
            raise NotSent(f"nobody answers where {host} is") from None
        if isinstance(answer, Exception):
            raise NotSent(f"the name {host} is not known")
        addresses = [_as_address(str(one[4][0])) for one in answer]
        return [address for address in addresses if address is not None]


def is_public(address: Address) -> bool:
    """Tell whether an address is of the internet.

    Examples
    --------
    >>> [is_public(ipaddress.ip_address(text)) for text in ("8.8.8.8", "10.1.1.1", "64:ff9b::a9fe:a9fe")]
    [True, False, False]
    """
    plain = _plain(address)
    odd = plain.is_multicast or getattr(plain, "is_site_local", False)
    return plain.is_global and not odd and str(plain) not in METADATA


def is_inside(address: Address) -> bool:
    """Tell whether an address is of a private network or of this host, and of no metadata service.

    Examples
    --------
    >>> [is_inside(ipaddress.ip_address(text)) for text in ("127.0.0.1", "10.1.1.1", "169.254.169.254", "0.0.0.0")]
    [True, True, False, False]
    """
    plain = _plain(address)
    odd = plain.is_link_local or plain.is_multicast or plain.is_unspecified or plain.is_reserved
    return plain.is_loopback or (not odd and not plain.is_global and str(plain) not in METADATA)


def _plain(address: Address) -> Address:
    """Return the IPv4 address that a translator of the network would make of an IPv6 address; else the address."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback:
        return address
    if any(address in network for network in CARRYING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _as_address(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _connect(address: str, port: int, deadline: float) -> socket.socket:
    try:
        return socket.create_connection((address, port), timeout=max(deadline - time.monotonic(), 0.01))
    except (OSError, OverflowError) as error:
        words = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no answer"
        raise NotSent(f"no connection to port {port}: {words}") from None


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _headers(parts: urllib.parse.SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": "modelwatch", "Connection": "close"}
    if parts.username is not None:
        pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return headers


def _words(answer: http.client.HTTPResponse, hidden: Iterable[str]) -> str:
    """Return the beginning of an answer that is no success; what cannot be read in time is left out."""
    if 200 <= answer.status < 300:
        return ""
    try:
        text = answer.read(LONGEST_ANSWER).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, ValueError):
        return ""
    return redacted(" ".join(text.split())[:LONGEST_ANSWER], hidden)[:200]


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text on one line with no secret in it; of an address all that is long enough but the host is secret.

    Examples
    --------
    >>> redacted("no token B0001XYZ of hooks.example.com", ["https://hooks.example.com/services/B0001XYZ"])
    'no token *** of hooks.example.com'
    """
    parts: set[str] = set()
    for secret in secrets:
        parts.add(secret)
        if "://" in secret:
            split = urllib.parse.urlsplit(secret)
            rest = f"{split.username or ''}:{split.password or ''}/{split.path}?{split.query}"
            parts.update(_SECRET_PART.findall(rest))
            parts.update(filter(None, (split.password,)))
    for part in sorted(filter(None, parts), key=len, reverse=True):
        text = text.replace(part, "***")
    return "".join(character if character.isprintable() else " " for character in text)
