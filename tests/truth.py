"""Samples, and a clock, for the tests of ground truth."""

from __future__ import annotations

from modelwatch.groundtruth.store import Sample
from modelwatch.groundtruth.writer import Writer

NOW = 1_700_000_000.0


class Time:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now


def number(i: int) -> str:
    """Return the i-th request id."""
    return f"{i:032x}"


def sample(i: int = 0, prediction: str | float = "positive", age_s: float = 60.0, model: str = "sentiment") -> Sample:
    """Return the i-th sample of a test."""
    return Sample(
        request_id=number(i),
        model_name=model,
        model_version="1.0",
        endpoint="/predict",
        predicted_at=NOW - age_s,
        prediction=prediction,
        confidence=0.75,
        segment="books",
        inclusion=0.25,
        input=f"text {i}",
        features={"length": i},
    )


def put_and_end(url: str, start: int) -> None:
    """Put samples, and end at once."""
    writer = Writer.of(url)
    for i in range(start, start + 100):
        writer.put(sample(i))
