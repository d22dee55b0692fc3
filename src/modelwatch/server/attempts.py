"""How often an address may guess a token: after some wrong ones it has to wait, each time twice as long."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

FREE = 5  # wrong tokens that cost nothing
FIRST_S, LONGEST_S = 2.0, 300.0
FORGET_S = 900.0  # after the last wrong one
MOST = 4096  # addresses that are remembered
TOKENS = 16  # wrong ones of an address that are known again
NETWORK = 64  # bits of an IPv6 address: one client has all below


@dataclass
class _Guesses:
    """What an address has guessed: how often, when last, hashes of the last tokens, and until when it waits."""

    wrong: int = 0
    at: float = 0.0
    until: float = 0.0
    given: deque[bytes] = field(default_factory=lambda: deque(maxlen=TOKENS))


class Attempts:
    """Remembers who has given wrong tokens lately. Threads may share it.

    A right token forgives nothing: else somebody who may view could guess the token of who may operate. The same wrong
    token again is no other guess: a scrape with an old token does not keep people of its address out.

    Parameters
    ----------
    now : seconds of a clock that only goes on.
    most : addresses that are remembered; of more the one that was quiet longest is forgotten.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, most: int = MOST) -> None:
        self._now, self._most = now, most
        self._known: OrderedDict[str, _Guesses] = OrderedDict()  # the one that was quiet longest is the first
        self._lock = threading.Lock()

    def wait_s(self, address: str) -> float:
        """Return how long an address has to wait before it may give a token again; 0 for now."""
        with self._lock:
            found = self._known.get(address)
            return 0.0 if found is None else max(0.0, found.until - self._now())

    def wrong(self, address: str, token: bytes) -> float:
        """Remember a wrong token; return how long the address has to wait now."""
        now, given = self._now(), blake2b(token, digest_size=16).digest()
        with self._lock:
            found = self._known.pop(address, _Guesses())
            if now - found.at >= FORGET_S:
                found = _Guesses()
            if given not in found.given:
                found.given.append(given)
                found.wrong += 1
                over = found.wrong - FREE
                found.until = now + min(LONGEST_S, FIRST_S * 2.0 ** min(over, 32)) if over >= 0 else 0.0
            found.at = now
            self._known[address] = found
            if len(self._known) > self._most:
                self._known.popitem(last=False)
            return max(0.0, found.until - now)

    def __len__(self) -> int:
        return len(self._known)


class TooOften(Exception):
    """Ends a request whose address has to wait before it may give a token again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"wait {wait_s:.0f} s")
        self.wait_s = wait_s


def address_of(scope: Scope) -> str:
    """Return whom wrong tokens of a request are counted to: its address, of IPv6 its network.

    Examples
    --------
    >>> address_of({"client": ("10.0.0.7", 5123)}), address_of({"client": ("2001:db8::7", 5123)}), address_of({})
    ('10.0.0.7', '2001:db8::', '')
    """
    client = scope.get("client")
    name = str(client[0]) if client else ""
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return name[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Address(int(address) >> (128 - NETWORK) << (128 - NETWORK)))
    return name
