"""The labelling team of the demo: people who take reviews from the queue and label them, late and not always right."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from modelwatch.errors import ModelwatchError
from modelwatch.groundtruth.ids import Signer, signer_of
from modelwatch.groundtruth.queue import claim

if TYPE_CHECKING:
    from modelwatch.groundtruth.store import Sample, Store

REVIEWERS = ("ana", "ben", "chi")
LOOK_EVERY_S = 1.0
AT_ONCE = 40  # items that a reviewer holds
LEFT = 25  # items that are left in the queue for whoever looks at the page Review
DELAY_S = 8.0  # mean, after the item was taken
WRONG_RATIO = 0.04  # of the labels are wrong at first; a colleague corrects them
TWICE_RATIO = 0.05  # are sent a second time
LEASE_S = 300.0


@dataclass
class Given:
    """What the team has sent: labels, and what the service answered to each."""

    labels: int = 0
    right: int = 0  # answers of the model that were right, of the labels
    states: Counter[str] = field(default_factory=Counter)


class Team:
    """Labels what the service keeps for review, over HTTP, as people would.

    Parameters
    ----------
    url : of the service.
    store : of its samples; whose key signs the ids.
    truth : {text: true label}.
    classes : what a wrong label may be.
    seed : of delays and mistakes; those of one item depend on nothing else.
    """

    def __init__(
        self, url: str, store: Store, truth: Mapping[str, str], classes: tuple[str, ...], seed: int = 2
    ) -> None:
        self.url, self.store, self.truth, self.classes = url, store, truth, classes
        self.given = Given()
        self._seed = seed
        self._signer: Signer | None = None
        self._held: set[str] = set()
        self._busy: Counter[str] = Counter()  # items that each reviewer is at
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> Given:
        """Work until `stop`; labels that are under way are then left."""
        async with httpx.AsyncClient(base_url=self.url, timeout=10, trust_env=False) as client:
            while not stop.is_set():
                for item, reviewer in await asyncio.to_thread(self._take):
                    task = asyncio.create_task(self._review(client, item, reviewer))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                try:
                    await asyncio.wait_for(stop.wait(), LOOK_EVERY_S)
                except asyncio.TimeoutError:
                    continue
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        return self.given

    def _take(self) -> list[tuple[Sample, str]]:
        """Return new items, and who has taken each."""
        try:
            if self._signer is None:
                self._signer = signer_of(self.store)
            found = []
            queued = self.store.counts()
            room = queued.waiting - queued.claimed - LEFT
            for reviewer in REVIEWERS:
                most = min(AT_ONCE, self._busy[reviewer] + room)
                for item in claim(self.store, reviewer, lease_s=LEASE_S, n=most) if room > 0 else ():
                    if item.request_id not in self._held:
                        self._held.add(item.request_id)
                        self._busy[reviewer] += 1
                        room -= 1
                        found.append((item, reviewer))
        except ModelwatchError:  # the store is busy, or the service has not made it yet
            return []
        return found

    async def _review(self, client: httpx.AsyncClient, item: Sample, reviewer: str) -> None:
        chance, truth = random.Random(f"{self._seed}:{item.request_id}"), self.truth.get(item.input or "")
        signer = self._signer
        if truth is None or signer is None:
            return
        request_id = signer.sign(item.request_id, item.predicted_at)
        await asyncio.sleep(chance.expovariate(1 / DELAY_S))
        wrong = chance.random() < WRONG_RATIO
        first = chance.choice([name for name in self.classes if name != truth]) if wrong else truth
        if await self._send(client, request_id, first, reviewer) == "matched":
            self.given.labels += 1
            self.given.right += item.prediction == truth
        if chance.random() < TWICE_RATIO:
            await self._send(client, request_id, first, reviewer)
        if wrong:
            await asyncio.sleep(chance.expovariate(1 / DELAY_S))
            await self._send(client, request_id, truth, chance.choice([name for name in REVIEWERS if name != reviewer]))
        self._held.discard(item.request_id)
        self._busy[reviewer] -= 1

    async def _send(self, client: httpx.AsyncClient, request_id: str, label: str, reviewer: str) -> str:
        body = {"request_id": request_id, "true_label": label, "reviewer": reviewer}
        try:
            answer = await client.post("/feedback", json=body)
            state = str(answer.json().get("state", answer.status_code))
        except (httpx.HTTPError, ValueError) as error:
            state = type(error).__name__
        self.given.states[state] += 1
        return state
