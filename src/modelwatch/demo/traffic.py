"""The traffic of the demo: reviews sent over HTTP with a daily rhythm and the noise of real people.

Every request is accounted for.
"""

from __future__ import annotations

import asyncio
import csv
import io
import math
import random
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import httpx

from modelwatch.demo.incidents import Script
from modelwatch.errors import ModelwatchError

RATE = 50.0  # requests a second, on average
DAY_S = 600.0  # a day of the demo lasts ten minutes
SWING = 0.35  # of the daily rhythm
MOST_IN_FLIGHT = 200
NUMBER = "x-demo-number"  # of a request: the service makes its id of it when the demo has a seed
COLUMNS = ("text", "label", "category")


class Text(NamedTuple):
    """A review and the truth about it."""

    text: str
    label: str
    category: str


def read_other_texts(kinds: Collection[str]) -> list[Text]:
    """Return the demo's reviews of some kinds: language, long, sarcasm."""
    content = (files("modelwatch.demo") / "reviews_other.csv").read_text("utf-8")
    rows = csv.DictReader(io.StringIO(content, newline=""))
    return [Text(row["text"], row["label"], row["category"]) for row in rows if row["kind"] in kinds]


def read_texts(path: Path | None = None) -> list[Text]:
    """Return the reviews of a CSV file with the columns text, label, category; without a path those of the demo.

    Raises
    ------
    ModelwatchError   the file cannot be read, or lacks a column.
    """
    where = str(path) if path else "reviews.csv"
    try:
        content = (
            path.read_text(encoding="utf-8") if path else (files("modelwatch.demo") / "reviews.csv").read_text("utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise ModelwatchError(f"--texts: {where!r} cannot be read ({error}). Give a UTF-8 CSV file.") from None
    reader = csv.DictReader(io.StringIO(content, newline=""))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise ModelwatchError(
            f"--texts: columns of {where!r} are {reader.fieldnames!r}; expected {', '.join(COLUMNS)}. Add {missing!r}."
        )
    texts = [Text(row["text"], row["label"], row["category"]) for row in reader if row["text"]]
    if not texts:
        raise ModelwatchError(f"--texts: {where!r} has no rows; expected at least one review. Add some.")
    return texts


@dataclass
class Sent:
    """What the generator knows to be true of its requests."""

    sent: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # status, or the name of a transport error
    right: int = 0
    judged: int = 0
    seconds: list[float] = field(default_factory=list)


def rate_at(elapsed_s: float) -> float:
    """Return the expected requests a second: a day that is busy at noon and quiet at night, and never empty."""
    return RATE * (1 + SWING * math.sin(2 * math.pi * elapsed_s / DAY_S))


class Traffic:
    """Sends reviews to a service until it is told to stop."""

    def __init__(self, url: str, texts: Sequence[Text], script: Script, started: float, seed: int = 1) -> None:
        self.url, self.texts = url, texts
        self.script, self.started = script, started  # Unix time of the start of the demo
        self._others = {
            incident.name: read_other_texts(incident.kinds) for incident in script.incidents if incident.share
        }
        self.counts = Sent()
        self._chance = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float, stop: asyncio.Event) -> Sent:
        """Send for `seconds`, or until `stop`; wait for the last answers; return what was sent."""
        limits = httpx.Limits(max_connections=MOST_IN_FLIGHT, max_keepalive_connections=50)
        async with httpx.AsyncClient(base_url=self.url, timeout=10, limits=limits, trust_env=False) as client:
            begin = time.monotonic()
            due = 0.0
            while due < seconds and not stop.is_set():
                due += self._chance.expovariate(rate_at(due) * self._chance.lognormvariate(-0.02, 0.2))
                wait = begin + due - time.monotonic()
                if wait > 0:
                    await asyncio.sleep(wait)
                if len(self._tasks) >= MOST_IN_FLIGHT:  # the service is slower than its users: they wait, too
                    await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                incident = self.script.at(time.time() - self.started)
                if incident.silent:
                    continue
                texts = self._others[incident.name] if self._chance.random() < incident.share else self.texts
                task = asyncio.create_task(self._send(client, self._chance.choice(texts)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.gather(*self._tasks)
        return self.counts

    async def _send(self, client: httpx.AsyncClient, text: Text) -> None:
        counts, start = self.counts, time.monotonic()
        counts.sent += 1
        body, number = {"text": text.text, "category": text.category}, {NUMBER: str(counts.sent)}
        try:
            answer = await client.post("/predict", json=body, headers=number)
        except httpx.HTTPError as error:
            counts.answers[type(error).__name__] += 1
            return
        counts.answers[str(answer.status_code)] += 1
        counts.seconds.append(time.monotonic() - start)
        del counts.seconds[:-20_000]
        if answer.status_code == httpx.codes.OK:
            counts.judged += 1
            counts.right += answer.json()["label"] == text.label
