"""What is recorded of one request, and of one label.

The plain tuples that travel from the request path to the counts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: The error type of a request whose client went away (``asyncio.CancelledError``): counted apart, never as a failure.
CANCELLED = "CancelledError"


class Prediction(NamedTuple):
    """One finished request, as the caller left it: nothing is converted or judged before it is folded.

    A plain tuple of the same length is as good; the request path appends those, because they cost less.
    """

    endpoint: Any
    duration: Any = None  # seconds; None: not measured
    error: Any = None  # exception class name or http_<status>; None: it succeeded
    segment: Any = None
    prediction: Any = None
    confidence: Any = None
    features: Any = None


class Label(NamedTuple):
    """The truth about one prediction, as a reviewer or a client reports it."""

    request_id: str
    true_label: str
    reviewer: str | None = None
