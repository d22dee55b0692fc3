"""Runs the demo.

The service under uvicorn with two workers, traffic that knows what it sent, and a summary that compares the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelwatch.demo.incidents import INCIDENTS
from modelwatch.demo.traffic import Sent, Text, Traffic, read_texts
from modelwatch.errors import MissingExtra, ModelwatchError

HOST = "127.0.0.1"
WORKERS = 2
START_WAIT_S = 30.0
SETTLE_S = 2.5  # after the last answer every count has been committed
FOREVER_S = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class Summary:
    """What the generator sent and what the service counted."""

    sent: Sent
    counted: int | None
    seconds: float

    @property
    def is_exact(self) -> bool:
        """Whether the service counted every request that it was sent, once."""
        return self.counted == self.sent.sent

    def lines(self) -> list[str]:
        """Return the summary for people."""
        sent = self.sent
        answers = ", ".join(f"{status}: {n:,}" for status, n in sorted(sent.answers.items())) or "none"
        ordered = sorted(sent.seconds)
        p95 = f"{ordered[int(0.95 * (len(ordered) - 1))] * 1000:.0f} ms" if ordered else "unknown"
        right = f"{100 * sent.right / sent.judged:.1f} %" if sent.judged else "unknown"
        counted = "no answer" if self.counted is None else f"{self.counted:,}"
        rate = sent.sent / max(self.seconds, 1e-9)
        verdict = "exactly what was sent" if self.is_exact else "NOT what was sent"
        return [
            f"sent       {sent.sent:,} requests in {self.seconds:.0f} s ({rate:.1f} a second)",
            f"answers    {answers}; 95 % within {p95} (as the client saw it, the last 20,000)",
            f"right      {right} of the answered reviews have their true label",
            f"counted    {counted} by /metrics on /predict: {verdict}",
        ]


def run_demo(
    *,
    port: int,
    incident: str = "none",
    seconds: float | None = None,
    texts: Path | None = None,
    data: Path | None = None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Run the demo until `seconds` have passed or it is interrupted.

    Parameters
    ----------
    port : of the service, on loopback; 0 takes a free one.
    incident : a name of `incidents.INCIDENTS`.
    seconds : how long traffic is sent; None: until Ctrl-C.
    texts : CSV with text, label, category; None: the reviews of the demo.
    data : folder of its live.db; None: a temporary one.

    Raises
    ------
    ModelwatchError   port taken, extra missing, unknown incident, unreadable texts, or the service does not start.
    """
    check_extras()
    reviews = read_texts(texts)
    if incident not in INCIDENTS:
        raise ModelwatchError(
            f"--incident: incident is {incident!r}; expected one of {', '.join(INCIDENTS)}. Choose one of them."
        )
    port = free_port(port)
    with _folder(data) as folder, _service(folder, port, incident) as service:
        url = f"http://{HOST}:{port}"
        _wait_until_up(service, port)
        note = INCIDENTS[incident].note(0.0)
        say(f"page       {url}/")
        say(f"metrics    {url}/metrics")
        say(f"status     modelwatch status --live {folder / 'live.db'}")
        if note:
            say(f"incident   {note}")
        say("Ctrl-C ends it." if seconds is None else f"Runs for {seconds:g} s.")
        begin = time.monotonic()
        sent = asyncio.run(_drive(url, reviews, seconds, service))
        took = time.monotonic() - begin
        if service.poll() is not None:
            raise ModelwatchError(
                f"demo: the service ended with status {service.returncode}; expected it to run. Its log is above."
            )
        time.sleep(SETTLE_S)
        return Summary(sent, counted_requests(url), took)


def check_extras() -> None:
    """Raise `MissingExtra` unless everything that the demo needs is installed."""
    for module in ("fastapi", "uvicorn", "httpx", "jinja2", "vaderSentiment"):
        try:
            __import__(module)
        except ImportError:
            raise MissingExtra(f"demo: {module} is not installed. Run `pip install 'modelwatch[demo]'`.") from None


def free_port(port: int) -> int:
    """Return the port if it can be listened on; for 0 a free one.

    Raises
    ------
    ModelwatchError   somebody else listens there, or the number is none of a port.
    """
    if not 0 <= port <= 65_535:
        raise ModelwatchError(f"--port: port is {port!r}; expected 0 to 65535. Choose another.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ModelwatchError(
                f"--port: port {port} cannot be used ({error.strerror}); expected a free one. "
                "Give another with --port, or stop what listens there."
            ) from None
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is None:
        with tempfile.TemporaryDirectory(prefix="modelwatch-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelwatchError(
            f"--data: {str(data)!r} cannot be made ({error.strerror}). Give a folder that can be written."
        ) from None
    yield data


@contextlib.contextmanager
def _service(folder: Path, port: int, incident: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {
        "MODELWATCH_LIVE": str(folder / "live.db"),
        "MODELWATCH_DEMO_INCIDENT": incident,
        "MODELWATCH_DEMO_STARTED": str(time.time()),
    }
    command = [
        sys.executable, "-m", "uvicorn", "modelwatch.demo.service:create_app", "--factory", "--host", HOST,
        "--port", str(port), "--workers", str(WORKERS), "--log-level", "warning",
    ]  # fmt: skip
    # a process group of its own: Ctrl-C reaches the demo, which ends the service after the last answer
    service = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        yield service
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            service.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(service.pid, signal.SIGKILL)
            service.wait()


def _wait_until_up(service: subprocess.Popen[bytes], port: int) -> None:
    import httpx

    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if service.poll() is not None:
            raise ModelwatchError(
                f"demo: the service ended with status {service.returncode} before it answered. Its log is above."
            )
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"http://{HOST}:{port}/healthz", timeout=2, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.1)
    raise ModelwatchError(
        f"demo: the service did not answer within {START_WAIT_S:.0f} s; expected /healthz. "
        "Is the machine very busy? Try again."
    )


async def _drive(url: str, reviews: list[Text], seconds: float | None, service: subprocess.Popen[bytes]) -> Sent:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)

    async def watch_service() -> None:
        while service.poll() is None:  # noqa: ASYNC110 - a process has no event to wait for
            await asyncio.sleep(0.5)
        stop.set()

    watcher = asyncio.create_task(watch_service())
    try:
        return await Traffic(url, reviews).run(FOREVER_S if seconds is None else seconds, stop)
    finally:
        watcher.cancel()


def counted_requests(url: str) -> int | None:
    """Return what `/metrics` says was finished on /predict; None when it cannot be read."""
    import httpx
    from prometheus_client.parser import text_string_to_metric_families

    try:
        page = httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text
    except httpx.HTTPError:
        return None
    total = 0.0
    for family in text_string_to_metric_families(page):
        total += sum(
            s.value for s in family.samples if s.name == "ml_requests_total" and s.labels.get("endpoint") == "/predict"
        )
    return int(total)
