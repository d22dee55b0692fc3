"""What became of a try to send: delivered, to be tried again, or refused for good."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from http import HTTPStatus

FIRST_S, LONGEST_S = 1.0, 300.0
LONGEST_ASKED_S = 3600.0  # of Retry-After
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True)
class Retry:
    """It is to be tried again.

    after_s : as the receiver asks; 0 where it does not, and the back-off decides.
    maybe_told : it may have arrived though nobody knows.
    """

    after_s: float
    reason: str
    maybe_told: bool = False


@dataclass(frozen=True)
class Refused:
    """The receiver will never take it."""

    reason: str


Outcome = Delivered | Retry | Refused


def outcome_of(status: int, retry_after: str | None, words: str, now: float) -> Outcome:
    """Return what an answer of HTTP means.

    Parameters
    ----------
    retry_after : the header, seconds or a date.
    words : of the answer, without secrets.

    Examples
    --------
    >>> outcome_of(202, None, "", 0), outcome_of(429, "7", "", 0).after_s, outcome_of(404, None, "no_service", 0)
    (Delivered(), 7.0, Refused(reason='it answered 404: no_service'))
    """
    if 200 <= status < 300:
        return Delivered()
    reason = f"it answered {status}{f': {words}' if words else ''}"
    if 300 <= status < 400:
        return Refused(f"{reason}. A redirect is not followed: configure the address that it leads to")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
        # a gateway does not know whether the server behind it has taken the request
        maybe = status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT)
        return Retry(_asked(retry_after, now), reason, maybe)
    return Refused(reason)


def _asked(retry_after: str | None, now: float) -> float:
    given = (retry_after or "").strip()
    if not given:
        return 0.0
    if given.isascii() and given.isdigit():
        return min(float(given[:9]), LONGEST_ASKED_S)
    try:
        at = parsedate_to_datetime(given)
    except (ValueError, IndexError, OverflowError):
        return 0.0
    at = at if at.tzinfo else at.replace(tzinfo=timezone.utc)
    return min(max(at.timestamp() - now, 0.0), LONGEST_ASKED_S)


def back_off(tries: int, asked_s: float, chance: random.Random) -> float:
    """Return the seconds until the next try: 1 s, doubled up to 5 min, a half to the whole of it by chance.

    asked_s : of Retry-After; it is never tried sooner.

    Examples
    --------
    >>> chance = random.Random(1)
    >>> [0.5 * 2**n <= back_off(n + 1, 0, chance) <= 2**n for n in range(8)].count(True)
    8
    >>> back_off(1, 30, chance) >= 30
    True
    """
    longest: float = min(FIRST_S * 2.0 ** min(tries - 1, 30), LONGEST_S)
    return asked_s + longest * chance.uniform(0.5, 1.0)
