"""The traffic of a drill: requests at a steady rate, and a label for many of the answers, over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelwatch.errors import MissingExtra

MOST_IN_FLIGHT = 100
WAIT_S = 5.0
#: Of so many answers one gets a label; more while labels are wrong, and right again. Few of them weigh less.
LABELLED, MORE = 40, 2
ID = "x-modelwatch-request-id"


class Traffic:
    """Sends requests and labels from a thread of its own until it is stopped.

    A label says what the model said; while `wrong_labels`, another class.

    Parameters
    ----------
    url, path : of the service.
    bodies : JSON bodies of the requests, in turn.
    classes : of the model; an answer's class is the first value in its JSON that is one of them.
    rate : requests a second.
    """

    def __init__(
        self, url: str, path: str, bodies: Sequence[Mapping[str, Any]], classes: Sequence[str], rate: float
    ) -> None:
        self.url, self.path, self.rate = url, path, rate
        self.classes = tuple(classes)
        self.silent = self.wrong_labels = self.labels_more = False
        self.sent = self.answered = self.labelled = 0
        self._bodies: Iterator[Mapping[str, Any]] = itertools.cycle(bodies)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="drill-traffic", daemon=True)

    def __enter__(self) -> Traffic:  # noqa: PYI034 - Self is of Python 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(2 * WAIT_S)

    async def _run(self) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtra("drill: httpx is not installed. Run: pip install 'modelwatch[server]'") from None
        tasks: set[asyncio.Task[None]] = set()
        limits = httpx.Limits(max_connections=MOST_IN_FLIGHT)
        async with httpx.AsyncClient(base_url=self.url, timeout=WAIT_S, limits=limits, trust_env=False) as client:
            loop = asyncio.get_running_loop()
            due = loop.time()
            while not self._stop.is_set():
                due = max(due + 1 / self.rate, loop.time() - 1.0)  # what could not be sent in time is not caught up
                await asyncio.sleep(max(due - loop.time(), 0.0))
                if self.silent or len(tasks) >= MOST_IN_FLIGHT:
                    continue
                task = asyncio.create_task(self._send(client, httpx.HTTPError))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, client: Any, failure: type[Exception]) -> None:
        self.sent += 1
        number = self.sent
        with contextlib.suppress(failure, json.JSONDecodeError):
            answer = await client.post(self.path, json=next(self._bodies))
            if not answer.is_success:
                return
            self.answered += 1
            said = answer.json()
            given = self._class_in(said)
            request_id = answer.headers.get(ID) or (said.get("request_id") if isinstance(said, dict) else None)
            if given is None or not request_id or number % (MORE if self.labels_more else LABELLED):
                return
            label = next(one for one in self.classes if one != given) if self.wrong_labels else given
            taken = await client.post("/feedback", json={"request_id": request_id, "true_label": label})
            self.labelled += taken.is_success

    def _class_in(self, said: Any) -> str | None:
        values = said.values() if isinstance(said, dict) else [said]
        return next((value for value in values if isinstance(value, str) and value in self.classes), None)
