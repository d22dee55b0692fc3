"""Whether a scrape may be answered: by default to whoever asks, with a token in the environment to who has it."""

from __future__ import annotations

import hmac
import os

TOKEN = "MODELWATCH_METRICS_TOKEN"  # noqa: S105 - the name of a variable
REFUSAL = '{"error": {"code": "unauthorized", "message": "Send the token as Authorization: Bearer TOKEN."}}'


def may_scrape(authorization: str) -> bool:
    """Tell whether a header `Authorization` has the token of `$MODELWATCH_METRICS_TOKEN`, if that is set.

    Examples
    --------
    >>> may_scrape("")
    True
    """
    token = os.environ.get(TOKEN)
    if not token:
        return True
    kind, _, given = authorization.partition(" ")
    return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
