"""Predictions that are the same in every run, as a service would record them: with drift and hostile values."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelwatch.events import Prediction

CLASSES = ("negative", "neutral", "positive")
CATEGORIES: Mapping[str, Sequence[str]] = {"language": ("en", "de", "fr")}
SEGMENTS = ("books", "games", "music")
ERRORS = ("ValueError", "TimeoutError", "http_503")
#: Values that no field should have, as they are seen in services: none raises by itself, all can be printed.
HOSTILE: tuple[Any, ...] = (
    None, math.nan, math.inf, -math.inf, -1.0, 10**400, "", "nan", "x" * 10_000, "\ud800", "new\nline", b"bytes",
    [], {}, (), {"a": [1]}, True, 1j, object, Ellipsis,
)  # fmt: skip
SPOILED = ("duration", "error", "segment", "prediction", "confidence", "features")


def stream(
    seed: int,
    n: int,
    *,
    endpoint: str = "/predict",
    classes: Sequence[str] = CLASSES,
    numeric: Sequence[str] = ("length", "score"),
    categories: Mapping[str, Sequence[str]] = CATEGORIES,
    segments: Sequence[str] = SEGMENTS,
    error_ratio: float = 0.02,
    drift_at: int | None = None,
    drift: float = 1.0,
    hostile: float = 0.0,
) -> Iterator[Prediction]:
    """Yield `n` predictions, the same ones for the same arguments on every machine and Python.

    Drift and hostile values change only what they are about: up to `drift_at`, and wherever no value was spoiled, the
    stream is that of the same seed without them. Features and confidences are multiples of 1/1024: their sums are exact
    in any order.

    Parameters
    ----------
    seed : of the random numbers.
    endpoint : of every prediction.
    classes, segments : the first is drawn most often: the k-th has a weight of 1/k.
    numeric : names of features that are normal with mean 0 and standard deviation 1.
    categories : {name of a categorical feature: values}, weighted as the classes are.
    error_ratio : share of requests that fail; they have no prediction and no confidence.
    drift_at : index of the first prediction that has drifted, or None. From there on numeric features are higher by
        `drift`, which is a Kolmogorov-Smirnov distance of 2·Φ(drift/2) - 1 (0.38 for 1, 0.10 for 0.25); classes and
        categories are drawn by the reversed weights; confidence, 0.875 on average before, is 0.75.
    drift : standard deviations.
    hostile : share of predictions of which one field, or one feature, has a value of `HOSTILE`.

    Yields
    ------
    Prediction, whose durations are log-normal seconds with a median of 0.03. `monitor.record(**p._asdict())` records
    it; a kernel folds a list of them.

    Examples
    --------
    >>> first = next(stream(7, 1000))
    >>> first.prediction, first.segment, first.confidence, first.features
    ('negative', 'books', 0.9345703125, {'length': 0.5166015625, 'score': 1.302734375, 'language': 'en'})
    >>> sum(p.error is not None for p in stream(7, 1000, error_ratio=0.1))
    106
    >>> calm, drifted = list(stream(7, 1000)), list(stream(7, 1000, drift_at=500))
    >>> calm[:500] == drifted[:500], calm[500:] == drifted[500:]
    (True, False)
    """
    dice = random.Random(seed)
    spoiler = random.Random(seed + 1)  # of its own: what it spoils moves nothing else
    for i in range(n):
        drifted = drift_at is not None and i >= drift_at
        features: dict[str, Any] = {name: _grid(_normal(dice) + drift * drifted, 10) for name in numeric}
        for name, values in categories.items():
            features[name] = _pick(dice, values, reverse=drifted)
        segment = _pick(dice, segments)
        prediction: Any = _pick(dice, classes, reverse=drifted)
        unsure = dice.random()
        confidence: Any = _grid(1 - 0.5 * (unsure if drifted else unsure**3), 10)
        duration = _grid(0.03 * math.exp(0.5 * _normal(dice)), 20)
        kind, failed = _pick(dice, ERRORS), dice.random() < error_ratio
        event = Prediction(
            endpoint, duration, kind if failed else None, segment,
            None if failed else prediction, None if failed else confidence, features,
        )  # fmt: skip
        yield _spoiled(event, spoiler) if hostile and spoiler.random() < hostile else event


def _normal(dice: random.Random) -> float:
    """Return a normal number by the method of Box and Muller: of `random.Random` only random() is the same for ever."""
    return math.sqrt(-2 * math.log(1 - dice.random())) * math.cos(2 * math.pi * dice.random())


def _grid(value: float, bits: int) -> float:
    """Return the value in steps of 2 to the -bits: what the last digit of a logarithm is differs between machines."""
    steps = 1 << bits
    return round(value * steps) / steps


def _pick(dice: random.Random, values: Sequence[str], *, reverse: bool = False) -> str:
    """Return a value; the first has a weight of 1, the second of 1/2, the third of 1/3."""
    weights = [1 / rank for rank in range(1, len(values) + 1)]
    left = dice.random() * sum(weights)
    for value, weight in zip(reversed(values) if reverse else values, weights, strict=True):
        left -= weight
        if left < 0:
            return value
    return values[0] if reverse else values[-1]  # the sum was rounded


def _spoiled(event: Prediction, spoiler: random.Random) -> Prediction:
    field = SPOILED[int(spoiler.random() * len(SPOILED))]
    bad = HOSTILE[int(spoiler.random() * len(HOSTILE))]
    if field == "features" and event.features:
        names = list(event.features)
        bad = {**event.features, names[int(spoiler.random() * len(names))]: bad}
    return event._replace(**{field: bad})
