"""What callers give to the store, and what they are told of it: samples, labels, and what became of them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Literal

State = Literal["matched", "duplicate", "conflict", "late", "not_sampled", "unknown_id"]

REQUEST_ID = re.compile(r"[0-9a-f]{32}")
RETENTION_S = 90 * 86400.0


@dataclass(frozen=True, slots=True)
class Sample:
    """A prediction kept for review.

    request_id : 32 hexadecimal digits, lower case.
    predicted_at : Unix seconds.
    inclusion : probability with which it was chosen, 0 < inclusion <= 1.
    input, features : what a reviewer is shown.

    Raises
    ------
    ValueError   the id, the time, the prediction or the inclusion is none.
    """

    request_id: str
    model_name: str
    model_version: str
    endpoint: str
    predicted_at: float
    prediction: str | float
    confidence: float | None = None
    segment: str | None = None
    inclusion: float = 1.0
    input: str | None = None
    features: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        if not REQUEST_ID.fullmatch(self.request_id):
            raise ValueError("request_id: expected 32 hexadecimal digits")
        if not math.isfinite(self.predicted_at):
            raise ValueError(f"predicted_at: {self.predicted_at!r}; expected Unix seconds")
        if not 0 < self.inclusion <= 1:
            raise ValueError(f"inclusion: {self.inclusion!r}; expected more than 0 and at most 1")
        as_json(self.prediction)


@dataclass(frozen=True, slots=True)
class TrueLabel:
    """What somebody says is the truth about a request whose id is genuine.

    at : Unix seconds when it was said; None: now. Only an import needs it. A time to come is taken for now.
    issued_at : when the id was handed out, if known.
    sampled : True: surely chosen for review; False: surely not; None: nobody can tell yet.

    Raises
    ------
    ValueError   the id or the label is none.
    """

    request_id: str
    value: str | float
    reviewer: str | None = None
    at: float | None = None
    issued_at: float | None = None
    sampled: bool | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if not REQUEST_ID.fullmatch(self.request_id):
            raise ValueError("request_id: expected 32 hexadecimal digits")
        if self.at is not None and not math.isfinite(self.at):
            raise ValueError(f"at: {self.at!r}; expected Unix seconds")
        as_json(self.value)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of a label.

    first : it is the first label of a prediction that is known: the one, and only, to be counted by outcome.
    early : the prediction is not in the store yet. When it comes, `Added.matched` of that call has it, with `first`.
    right : whether the label is the prediction; None where the prediction is a number, or not known.
    """

    request_id: str
    state: State
    label: str | float
    first: bool = False
    early: bool = False
    right: bool | None = None
    model_name: str | None = None
    model_version: str | None = None
    segment: str | None = None
    inclusion: float | None = None
    prediction: str | float | None = None
    confidence: float | None = None
    predicted_at: float | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of samples: how many were new, and the labels that had been waiting for them, to be counted now."""

    new: int
    matched: tuple[Labelled, ...] = ()


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long the samples of each model are kept, in seconds.

    default_s : of models that nobody has spoken of.
    """

    default_s: float = RETENTION_S
    by_model: Mapping[str, float] = field(default_factory=dict)

    def of(self, model: str | None) -> float:
        """Return it for a model; None: for what may be of any, so the longest."""
        if model is None:
            return max(self.by_model.values(), default=self.default_s)
        return self.by_model.get(model, self.default_s)


def as_json(value: str | float) -> str:
    """Return a prediction or a label as it is stored.

    >>> as_json("positive"), as_json(3), as_json(0.5)
    ('"positive"', '3.0', '0.5')
    """
    if isinstance(value, str):
        return encode_basestring_ascii(str(value))  # as `json.dumps` does, at a third of its time
    number = float(value) + 0.0  # -0.0 is 0.0
    if not math.isfinite(number):
        raise ValueError(f"value: {number!r}; expected a text or a finite number")
    return repr(number)


def from_json(text: str) -> str | float:
    """Return what `as_json` was given.

    >>> from_json('"positive"'), from_json("3.0")
    ('positive', 3.0)
    """
    if not text.startswith('"'):
        return float(text)
    return str(json.loads(text)) if "\\" in text else text[1:-1]
