"""Request ids: 128 random bits that a client gets together with the minute of their issue and a signature."""

from __future__ import annotations

import hmac
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from modelwatch.errors import ConfigError

if TYPE_CHECKING:
    from modelwatch.groundtruth.store import Store

SECRET = "MODELWATCH_SECRET"  # noqa: S105 - the name of a variable
RAW = 32  # hexadecimal digits of the id itself
_MINUTE = 8
_SIGNATURE = 32  # 128 bits
LENGTH = RAW + _MINUTE + _SIGNATURE
SHORTEST_KEY = 16  # bytes


class Issued(NamedTuple):
    """What a signed id says: the id itself, and when it was handed out (Unix seconds, to the minute)."""

    request_id: str
    issued_at: float


class Signer:
    """Signs the ids that are handed out, and tells them from those that somebody made up.

    Parameters
    ----------
    key : at least 16 bytes, the same on every replica.

    Raises
    ------
    ValueError   the key is too short to keep anybody from guessing it.

    Examples
    --------
    >>> signer = Signer(bytes(16))
    >>> handed_out = signer.sign("00112233445566778899aabbccddeeff", 1_700_000_000.0)
    >>> signer.verify(handed_out)
    Issued(request_id='00112233445566778899aabbccddeeff', issued_at=1699999980.0)
    >>> signer.verify(handed_out[:-1] + ("0" if handed_out[-1] != "0" else "1")) is None
    True
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(
                f"secret: length is {len(key)}; expected at least {SHORTEST_KEY} bytes. Use 32 random bytes."
            )
        self._key = key if len(key) <= blake2b.MAX_KEY_SIZE else blake2b(key).digest()

    def sign(self, request_id: str, now: float) -> str:
        """Return the id as a client gets it: 72 hexadecimal digits.

        Parameters
        ----------
        request_id : 32 hexadecimal digits.
        now : Unix seconds.
        """
        body = f"{request_id}{int(now // 60):08x}"
        return body + self._signature(body)

    def verify(self, given: str) -> Issued | None:
        """Return what a signed id says; None when it was not signed with this key."""
        if type(given) is not str or len(given) != LENGTH or not given.isascii():
            return None
        body, signature = given[: RAW + _MINUTE], given[RAW + _MINUTE :]
        if not hmac.compare_digest(self._signature(body), signature):
            return None
        return Issued(body[:RAW], int(body[RAW:], 16) * 60.0)

    def _signature(self, body: str) -> str:
        return blake2b(body.encode(), digest_size=_SIGNATURE // 2, key=self._key).hexdigest()


def signer_of(store: Store) -> Signer:
    """Return what signs the ids of all who share a store: with `$MODELWATCH_SECRET`, or a key that the store keeps.

    Raises
    ------
    ConfigError                     the secret is too short to keep anybody from guessing it.
    StoreUnavailable, NewerFormat   the key cannot be read now.
    """
    given = os.fsencode(os.environ.get(SECRET, ""))
    if not given:
        return Signer(store.secret())
    if len(given) < SHORTEST_KEY:
        raise ConfigError(
            f"{SECRET}: length is {len(given)}; expected at least {SHORTEST_KEY} bytes."
            " Make one with: openssl rand -hex 32"
        )
    return Signer(blake2b(given).digest())
