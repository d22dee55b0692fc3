"""A bounded load test in steps: the highest rate that a service holds within its latency and error objectives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from modelwatch.errors import ConfigError, MissingExtra, fault

if TYPE_CHECKING:
    import httpx

GROWTH = 2.0  # of the rate, until a step is not held
CLOSE = 1.1  # the search ends when the held and the broken rate are as near as this
LATE_S = 0.05  # a request that is sent so late was not offered at the rate
MOST_PENDING = 2000  # requests under way; more are not sent, and count as not held


@dataclass(frozen=True)
class Plan:
    """What to send, and what must hold.

    url, method, body : of every request; a body is sent as JSON text.
    threshold_s, objective : share of requests that must be answered within the threshold.
    errors : share of requests that may fail.
    start, most : requests per second, of the first step and at most.
    step_s, total_s : length of a step, and of all.
    """

    url: str
    method: str = "GET"
    body: str | None = None
    threshold_s: float = 0.5
    objective: float = 0.95
    errors: float = 0.01
    start: float = 5.0
    most: float = 1000.0
    step_s: float = 5.0
    total_s: float = 120.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            expected = "an address that begins with http:// or https://"
            raise ConfigError(fault("load", "url", self.url, expected, "Write the whole address."))
        for name in ("threshold_s", "start", "most", "step_s", "total_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(fault("load", name, getattr(self, name), "a number above 0", "Give another."))
        if not 0 < self.objective < 1:
            raise ConfigError(fault("load", "objective", self.objective, "a ratio between 0 and 1", "Write 0.95."))


@dataclass(frozen=True)
class Step:
    """One rate, and how it went.

    offered, answered : requests per second that were to be sent; that were answered well.
    fast, failed : share of all requests.
    """

    offered: float
    answered: float
    requests: int
    fast: float
    failed: float
    p95_s: float | None
    held: bool


@dataclass(frozen=True)
class Report:
    """All steps, and the highest rate that was held; None where not even the first was."""

    url: str
    held: float | None
    broken: float | None
    steps: tuple[Step, ...]
    ended: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return it for people."""
        head = f"{'offered/s':>10}{'answered/s':>12}{'within':>9}{'failed':>9}{'P95':>10}"
        lines = [head]
        for step in self.steps:
            p95 = "–" if step.p95_s is None else f"{1000 * step.p95_s:.0f} ms"
            mark = "" if step.held else "  not held"
            lines.append(
                f"{step.offered:>10.1f}{step.answered:>12.1f}{step.fast:>9.1%}{step.failed:>9.1%}{p95:>10}{mark}"
            )
        held = "no rate" if self.held is None else f"{self.held:.1f} requests per second"
        return [*lines, f"Held: {held} ({self.ended})."]


def load(plan: Plan, say: Callable[[str], None] = lambda _line: None) -> Report:
    """Send requests at growing rates until one is not held, then search between; stay within the plan's bounds.

    Requests are sent at their time, whether or not earlier ones were answered: a slow service is not spared by a client
    that waits for it.

    Raises
    ------
    MissingExtra   httpx is not installed.
    """
    try:
        import httpx
    except ImportError:
        raise MissingExtra(
            "load: httpx is not installed; expected the server extra. Run `pip install 'modelwatch[server]'`."
        ) from None
    return asyncio.run(_search(plan, httpx, say))


async def _search(plan: Plan, httpx: Any, say: Callable[[str], None]) -> Report:
    limits = httpx.Limits(max_connections=MOST_PENDING, max_keepalive_connections=MOST_PENDING)
    timeout = httpx.Timeout(max(4 * plan.threshold_s, 1.0))
    steps: list[Step] = []
    held: float | None = None
    broken: float | None = None
    rate, ended = min(plan.start, plan.most), "as near as a tenth"
    began = time.monotonic()
    async with httpx.AsyncClient(limits=limits, timeout=timeout, follow_redirects=False) as client:
        while True:
            if steps and time.monotonic() - began + plan.step_s > plan.total_s:
                ended = f"stopped after {plan.total_s:g} s"
                break
            step = await _step(client, plan, rate)
            steps.append(step)
            say(f"{rate:.1f} requests per second: {'held' if step.held else 'not held'}")
            if step.held:
                held = max(held or 0.0, rate)
            else:
                broken = min(broken or rate, rate)
            if broken is None and rate >= plan.most:
                ended = f"{plan.most:g} is the most that was to be tried"
                break
            if broken is None:
                rate = min(rate * GROWTH, plan.most)
            elif held is None:
                ended = "the first step was not held"
                break
            elif broken / held <= CLOSE:
                break
            else:
                rate = (held * broken) ** 0.5
    return Report(plan.url, held, broken, tuple(steps), ended)


async def _step(client: httpx.AsyncClient, plan: Plan, rate: float) -> Step:
    """Offer one rate for the length of a step, and wait for its answers."""
    n = max(round(rate * plan.step_s), 1)
    results: list[tuple[float, bool]] = []  # (seconds, failed)
    pending: set[asyncio.Task[None]] = set()
    unsent = 0
    began = time.monotonic()
    for i in range(n):
        due = began + i / rate
        wait = due - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        if len(pending) >= MOST_PENDING or -wait > max(LATE_S, plan.threshold_s):
            unsent += 1  # this client could not offer it
            continue
        task = asyncio.create_task(_request(client, plan, due, results))
        pending.add(task)
        task.add_done_callback(pending.discard)
    offered_s = max(time.monotonic() - began, n / rate)
    if pending:
        await asyncio.wait(set(pending))
    fast = sum(seconds <= plan.threshold_s for seconds, _ in results) / n
    failed = sum(bad for _, bad in results) / n
    good = sorted(seconds for seconds, bad in results if not bad)
    p95 = good[min(int(0.95 * len(good)), len(good) - 1)] if good else None
    held = fast >= plan.objective and failed <= plan.errors and not unsent
    return Step(rate, len(good) / offered_s, n, fast, failed, p95, held)


async def _request(client: httpx.AsyncClient, plan: Plan, due: float, results: list[tuple[float, bool]]) -> None:
    """Send one request; its time counts from when it was due."""
    headers = {"content-type": "application/json"} if plan.body is not None else None
    try:
        answer = await client.request(plan.method, plan.url, content=plan.body, headers=headers)
        bad = answer.status_code >= 500
    except Exception:  # noqa: BLE001 - whatever kept the answer away
        bad = True
    results.append((time.monotonic() - due, bad))
