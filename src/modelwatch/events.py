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


#: What a label may be taken for.
LABEL_STATES = ("matched", "duplicate", "conflict", "late", "not_sampled", "unknown_id")
#: Why a prediction that was chosen for review is not kept.
DROP_REASONS = ("full", "store")


class LabelCount(NamedTuple):
    """What a label, or a prediction kept for review, adds to the counts."""

    state: str | None = None  # of the label that came in
    segment: str | None = None
    inclusion: float | None = None
    right: bool | None = None  # None: not the first label of a prediction, or a value, which is never right or wrong
    kept: int = 0  # predictions kept for review
    dropped: str | None = None  # why one was not
