"""Runs the demo: the service with two workers, traffic that knows what it sent, and a summary that compares the two."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from modelwatch.demo.incidents import SCRIPTS, Script
from modelwatch.demo.labellers import Given, Team
from modelwatch.demo.log import check_log, incidents_beside, labels_beside, write_incidents
from modelwatch.demo.onstack import on_stack
from modelwatch.demo.traffic import RATE, Sent, Text, Traffic, read_other_texts, read_texts
from modelwatch.errors import MissingExtra, ModelwatchError, fault
from modelwatch.groundtruth.store import Store

HOST = "127.0.0.1"
WORKERS = 2
CONFIG, REFERENCE, STORE = "modelwatch.yaml", "reference.json", "modelwatch.db"
CLASSES = ("negative", "neutral", "positive")
START_WAIT_S = 30.0
SETTLE_S = 2.5  # after the last answer every count has been committed
KILL_LOSS_S = 1.5  # of a worker's traffic, that a kill may take along: what it had not committed
FOREVER_S = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class Summary:
    """What the generator sent and what the service counted."""

    sent: Sent
    counted: int | None
    seconds: float
    kills: int = 0
    given: Given = field(default_factory=Given)

    @property
    def is_exact(self) -> bool:
        """Whether the service counted every request that reached it, once.

        With killed workers: but what they had not committed; and a request without an answer may have reached it.
        """
        if self.counted is None:
            return False
        answered = sum(n for status, n in self.sent.answers.items() if status.isdigit())
        return answered - self.kills * KILL_LOSS_S * RATE <= self.counted <= self.sent.sent

    def lines(self) -> list[str]:
        """Return the summary for people."""
        sent = self.sent
        answers = ", ".join(f"{status}: {n:,}" for status, n in sorted(sent.answers.items())) or "none"
        ordered = sorted(sent.seconds)
        p95 = f"{ordered[int(0.95 * (len(ordered) - 1))] * 1000:.0f} ms" if ordered else "unknown"
        right = f"{100 * sent.right / sent.judged:.1f} %" if sent.judged else "unknown"
        states = ", ".join(f"{state}: {n:,}" for state, n in sorted(self.given.states.items())) or "none yet"
        rate = sent.sent / max(self.seconds, 1e-9)
        counted = "no answer" if self.counted is None else f"{self.counted:,}"
        if self.counted == sent.sent:
            verdict = "exactly what was sent"
        elif self.is_exact:
            verdict = f"the rest did not reach it, or was not committed when a worker was killed ({self.kills} kills)"
        else:
            verdict = "NOT what was sent"
        return [
            f"sent       {sent.sent:,} requests in {self.seconds:.0f} s ({rate:.1f} a second)",
            f"answers    {answers}; 95 % within {p95} (as the client saw it, the last 20,000)",
            f"right      {right} of the answered reviews have their true label",
            f"counted    {counted} by /metrics on /predict: {verdict}",
            f"labels     {self.given.labels:,} of the reviews that were kept have one by now ({states})",
        ]


class Service:
    """The sentiment service under uvicorn, in a process group of its own."""

    def __init__(
        self, folder: Path, port: int, incident: str, started: float, seed: str | None = None, log: Path | None = None
    ) -> None:
        self.port = port
        self.kills = 0
        self._environment = os.environ | {
            "MODELWATCH_DEMO_CONFIG": str(folder / CONFIG),
            "MODELWATCH_DEMO_INCIDENT": incident,
            "MODELWATCH_DEMO_STARTED": str(started),
        }
        if seed is not None:
            self._environment["MODELWATCH_DEMO_SEED"] = seed
        if log is not None:
            self._environment["MODELWATCH_DEMO_LOG"] = str(log.absolute())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises
        ------
        ModelwatchError   it ended, or did not answer in time.
        """
        command = [
            sys.executable, "-m", "uvicorn", "modelwatch.demo.service:create_app", "--factory", "--host", HOST,
            "--port", str(self.port), "--workers", str(WORKERS), "--log-level", "warning",
        ]  # fmt: skip
        # a session of its own: Ctrl-C reaches the demo, which ends the service after the last answer
        self._process = subprocess.Popen(command, env=self._environment, start_new_session=True)
        import httpx

        deadline = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline:
            if self.has_ended():
                raise ModelwatchError(f"demo: the service ended with status {self.status()}. Its log is above.")
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"http://{HOST}:{self.port}/healthz", timeout=2, trust_env=False)
                if answer.status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)
        raise ModelwatchError(
            f"demo: the service did not answer within {START_WAIT_S:.0f} s; expected /healthz. "
            "Is the machine very busy? Try again."
        )

    def status(self) -> int | None:
        """Return the exit status, None while it runs."""
        return None if self._process is None else self._process.poll()

    def has_ended(self) -> bool:
        """Tell whether it ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def kill_worker(self) -> None:
        """Kill one of its worker processes, as the out-of-memory killer does."""
        if self._process is None:
            return
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError, IndexError, ValueError):
            os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
            self.kills += 1

    def stop(self) -> None:
        """End it, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_demo(
    *,
    port: int,
    incident: str = "none",
    seconds: float | None = None,
    texts: Path | None = None,
    data: Path | None = None,
    time_scale: float | None = None,
    seed: int | None = None,
    log: Path | None = None,
    stack: bool = False,
    alerting: Path | None = None,
    say: Callable[[str], None] = print,
) -> Summary:
    """Run the demo until `seconds` have passed or it is interrupted.

    Parameters
    ----------
    port : of the service, on loopback; 0 takes a free one.
    incident : a name of `incidents.SCRIPTS`.
    seconds : how long traffic is sent; None: until Ctrl-C.
    texts : CSV with text, label, category; None: the reviews of the demo.
    data : folder of its live.db; None: a temporary one.
    time_scale : how many minutes of its windows pass in one; None: as its configuration says.
    seed : of the traffic, the request ids (so of what is kept for review) and the labels; None: the ids are random.
    log : JSON lines of everything that is counted, appended; beside it a file of its labels, and one of its incidents.
    stack : run Prometheus, Alertmanager and `modelwatch serve` beside it, from the PATH.
    alerting : a file with the section `alerting`, whom the Alertmanager of the stack tells; None: nobody.

    Raises
    ------
    ModelwatchError   port taken, extra missing, unknown incident, unreadable texts, a log that cannot be written,
        `alerting` without `stack`, or the service does not start.
    """
    check_extras()
    reviews = read_texts(texts)
    script = SCRIPTS.get(incident)
    if script is None:
        known = ", ".join(SCRIPTS)
        raise ModelwatchError(f"--incident: incident is {incident!r}; expected one of {known}. Choose one of them.")
    if alerting is not None and not stack:
        expected, remedy = "it beside --stack, whose Alertmanager it is for", "Add --stack, or leave it out."
        raise ModelwatchError(fault("--alerting", "file", str(alerting), expected, remedy))
    if log is not None:
        check_log(log)
    port, started = free_port(port), time.time()
    with _folder(data) as folder, contextlib.ExitStack() as beside:
        write_config(folder, time_scale, port)
        store, seeds = Store(store_of(folder)), {} if seed is None else {"seed": seed}
        service = Service(folder, port, incident, started, None if seed is None else ids_of(seed, store), log)
        try:
            service.start()
            url = f"http://{HOST}:{port}"
            team = Team(url, store, truth_of(reviews), CLASSES, **seeds)
            say(f"page       {url}/")
            say(f"metrics    {url}/metrics")
            say(f"status     {program()} status --config {folder / CONFIG}")
            if stack:
                beside.enter_context(on_stack(folder / CONFIG, free_port, alerting=alerting, say=say))
            else:
                say(f"alerts     {program()} serve --config {folder / CONFIG}")
            note = script.note(0.0)
            if note:
                say(f"incident   {note}")
            if log is not None:
                say(f"log        {log}, its labels {labels_beside(log)}, its incidents {incidents_beside(log)}")
            say("Ctrl-C ends it." if seconds is None else f"Runs for {seconds:g} s.")
            begin = time.monotonic()
            traffic = Traffic(url, reviews, script, started, **seeds)
            sent, given = asyncio.run(_drive(traffic, team, seconds, service, script, started))
            took = time.monotonic() - begin
            if log is not None:
                write_incidents(log, script, started, time.time())
            if service.has_ended():
                raise ModelwatchError(f"demo: the service ended with status {service.status()}. Its log is above.")
            time.sleep(SETTLE_S)
            return Summary(sent, counted_requests(url), took, service.kills, given)
        finally:
            service.stop()


def ids_of(seed: int, store: Store) -> str:
    """Return what request ids are made of: of a later demo in the same folder other ones."""
    earlier = store.counts()
    return f"{seed}:{earlier.waiting + earlier.labelled}"


def write_config(folder: Path, time_scale: float | None = None, port: int | None = None) -> None:
    """Put the configuration of the demo, and the profile that it names, into its folder, where its files are to be.

    port : of the service, which `modelwatch serve` asks whether it answers.

    Raises
    ------
    ModelwatchError   a time_scale that is no positive number.
    """
    package = files("modelwatch.demo")
    text = (package / CONFIG).read_text("utf-8")
    if time_scale is not None:
        if not 0 < time_scale < float("inf"):
            raise ModelwatchError(
                f"--time-scale: time scale is {time_scale!r}; expected a number above 0. Write 60: a minute is an hour."
            )
        text = re.sub(r"(?m)^time_scale: .*$", f"time_scale: {time_scale:g}", text)
    if port is not None:
        text = re.sub(r"(?m)^service:$", f'service:\n  health_url: "http://{HOST}:{port}/healthz"', text)
    (folder / CONFIG).write_text(text, encoding="utf-8")
    (folder / REFERENCE).write_text((package / REFERENCE).read_text("utf-8"), encoding="utf-8")


def store_of(folder: Path) -> str:
    """Return the address of the store of the demo."""
    return f"sqlite:///{folder.absolute() / STORE}"


def truth_of(reviews: Sequence[Text]) -> dict[str, str]:
    """Return the true label of every text that may be sent."""
    kinds = {kind for script in SCRIPTS.values() for incident in script.incidents for kind in incident.kinds}
    return {text.text: text.label for text in (*read_other_texts(kinds), *reviews)}


def check_extras() -> None:
    """Raise `MissingExtra` unless everything that the demo needs is installed."""
    for module in ("fastapi", "uvicorn", "httpx", "jinja2", "sqlalchemy", "vaderSentiment"):
        try:
            __import__(module)
        except ImportError:
            raise MissingExtra(f"demo: {module} is not installed. Run `pip install 'modelwatch[demo]'`.") from None


def program() -> str:
    """Return how a shell in this folder calls modelwatch: by its name, or by its path where that is not on the PATH."""
    here = Path(sys.executable).with_name("modelwatch")
    found = shutil.which("modelwatch")
    if not here.exists() or (found is not None and Path(found) == here):
        return "modelwatch"
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)


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
            f"--data: {str(data)!r} cannot be made ({error.strerror}); expected a folder. Give one that can be written."
        ) from None
    yield data


async def _drive(
    traffic: Traffic, team: Team, seconds: float | None, service: Service, script: Script, started: float
) -> tuple[Sent, Given]:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    keeper = asyncio.create_task(_keep(service, script, started, stop))
    done = asyncio.Event()
    labelling = asyncio.create_task(team.run(done))
    try:
        sent = await traffic.run(FOREVER_S if seconds is None else seconds, stop)
        done.set()
        return sent, await labelling
    finally:
        done.set()
        keeper.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        if script.is_down(time.time() - started):
            await asyncio.to_thread(service.start)  # it is asked for its counts


async def _keep(service: Service, script: Script, started: float, stop: asyncio.Event) -> None:
    """Break the service as the script says, and end the demo when it ends by itself."""
    struck, down = False, False
    while not stop.is_set():
        elapsed = time.time() - started
        incident = script.at(elapsed)
        if incident.kills_worker and not struck:
            service.kill_worker()
        struck = incident.kills_worker
        if script.is_down(elapsed) != down:
            down = not down
            await asyncio.to_thread(service.stop if down else service.start)
        if service.has_ended():
            stop.set()
        await asyncio.sleep(0.5)


def counted_requests(url: str) -> int | None:
    """Return what `/metrics` says was finished on /predict; None when it cannot be read."""
    import httpx
    from prometheus_client.parser import text_string_to_metric_families

    try:
        page = httpx.get(f"{url}/metrics", timeout=10, trust_env=False).text
    except httpx.HTTPError:
        return None
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    mine = [s.value for s in samples if s.name == "ml_requests_total" and s.labels.get("endpoint") == "/predict"]
    return int(sum(mine))
