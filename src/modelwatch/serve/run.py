"""The server: evaluation in a thread, pages, JSON and metrics over HTTP."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.errors import MissingExtra, ModelwatchError
from modelwatch.groundtruth.store import Store
from modelwatch.notify.alert import Alert
from modelwatch.notify.commands import store_url
from modelwatch.notify.heartbeat import Heartbeat
from modelwatch.notify.notifier import Notifier
from modelwatch.serve.evaluator import Evaluator, Tell
from modelwatch.serve.gauges import page
from modelwatch.serve.guard import check_bind
from modelwatch.serve.looks import LiveLooks
from modelwatch.serve.onprometheus import Watching
from modelwatch.serve.opening import Opening, listening
from modelwatch.serve.prober import EVERY_S, Minutes, Prober, answers
from modelwatch.serve.reviews import Reviews
from modelwatch.serve.told import Told, with_silent
from modelwatch.sources.history import HistorySource
from modelwatch.sources.settings import settings
from modelwatch.sources.standing import StandingSource
from modelwatch.sources.status import StatusSource

if TYPE_CHECKING:
    from uvicorn import Server

    from modelwatch.integrations.asgi import App, Receive, Scope, Send
    from modelwatch.server.access import Access

logger = logging.getLogger("modelwatch.alerts")

STOP_S = 5.0


@dataclass
class Parts:
    """What runs: made from a configuration, started and stopped together."""

    config: Config
    live: Path
    clock: SteadyClock
    store: Store
    looks: LiveLooks
    prober: Prober
    evaluator: Evaluator
    status: StatusSource
    notifier: Notifier | None = None
    heartbeat: Heartbeat | None = None
    reviews: Reviews | None = None
    _thread: threading.Thread | None = field(default=None, init=False)

    @classmethod
    def of(
        cls,
        config: Config,
        live: Path | None = None,
        *,
        base_url: str = "",
        every_s: float | None = None,
        clock: SteadyClock | None = None,
        ask: Callable[[str], bool] = answers,
        pages_only: bool = False,
    ) -> Parts:
        """Return the parts of a configuration.

        every_s : between two evaluations; by default 15 seconds, less where the configuration scales time.
        ask : tells whether a replica answers.
        pages_only : nobody is told, and no heartbeat is sent: rules of a Prometheus and its Alertmanager do that.

        Raises
        ------
        ConfigError, MissingExtra   a rule, a reference profile or the store cannot be used.
        """
        live, clock = live or config.live, clock or SteadyClock()
        every_s = every_s or max(1.0, EVERY_S / config.time_scale)
        store = Store(store_url(config, live), clock=clock.now)
        looks = LiveLooks(config, live, clock)
        url = config.service.health_url
        prober = Prober([] if url is None else [url], every_s, ask, clock.monotonic)
        minutes = Minutes(
            live, looks.versions, config.service.replicas, clock, looks.minute_s, looks.spans,
            alone=store.database.engine_name == "sqlite",
        )  # fmt: skip
        notifier = None if pages_only else Notifier(config, store.database, clock)
        evaluator = Evaluator(
            config, looks, store, None if notifier is None else _telling(notifier, Journal()), prober=prober,
            minutes=minutes, clock=clock, every_s=every_s, base_url=base_url,
        )  # fmt: skip
        heartbeat = None if pages_only else Heartbeat.of(config, lambda: bool(evaluator.known()), clock)
        status = StatusSource.from_config(config, live, clock)
        reviews = Reviews(config, config.store, live, clock) if config.store else None
        return cls(config, live, clock, store, looks, prober, evaluator, status, notifier, heartbeat, reviews)

    def start(self) -> None:
        """Begin to ask and to evaluate."""
        self.prober.start()
        if self.notifier is not None:
            self.notifier.start()
        if self.heartbeat is not None:
            self.heartbeat.start()
        self._thread = threading.Thread(target=self.evaluator.run, name="modelwatch-evaluator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it all; an evaluation that is under way is finished first."""
        self.prober.stop()
        if self.heartbeat is not None:
            self.heartbeat.stop()
        self.evaluator.stop()
        if self._thread is not None:
            self._thread.join(STOP_S)
        if self.notifier is not None:
            self.notifier.stop()
        with suppress(sqlite3.Error, OSError, ModelwatchError):
            self.evaluator.minutes.close()
        if self.reviews is not None:
            self.reviews.close()
        self.looks.close()
        self.status.close()
        self.store.close()


def _telling(*those: Tell) -> Tell:
    def tell(alerts: Sequence[Alert], now: float) -> None:
        for each in those:
            each(alerts, now)

    return tell


class Journal:
    """Writes to the log what begins and ends to fire."""

    def __init__(self) -> None:
        self._known: dict[str, Alert] = {}

    def __call__(self, alerts: Sequence[Alert], now: float) -> None:
        """Tell the log of changes."""
        firing = {alert.fingerprint: alert for alert in alerts if alert.severity != "none"}
        for fingerprint, alert in firing.items():
            before = self._known.get(fingerprint)
            if before is None or before.severity != alert.severity:
                what = "fires" if before is None else f"is no longer {before.severity}"
                logger.warning("%s %s %s: %s", alert.severity, alert.name, what, alert.summary)
        for fingerprint, alert in self._known.items():
            if fingerprint not in firing:
                logger.warning("%s %s is over after %.0f s", alert.severity, alert.name, now - alert.started_at)
        self._known = firing


def app_of(parts: Parts, access: Access | str | None = None) -> App:
    """Return the application: pages with their actions, API, `/metrics`, `/healthz`.

    access : tokens and their roles, or the one token to everything; None where everybody may do everything.
    """
    from modelwatch.serve.application import served
    from modelwatch.server.access import OPERATE, Access
    from modelwatch.server.desk import Desk
    from modelwatch.server.handling import Handling
    from modelwatch.server.web import pages_app

    known = Access([(OPERATE, access)]) if isinstance(access, str) else access
    told, config = Told(parts), parts.config

    def exposition(*, openmetrics: bool) -> bytes:
        return page(parts.evaluator, told.objectives(), config.time_scale, openmetrics=openmetrics)

    def pages(hosts: Sequence[str]) -> App:
        handling = None if parts.notifier is None else Handling.of(config, parts.store, parts.clock.now)
        return pages_app(
            told.status, Desk(parts.reviews.all) if parts.reviews else None, hosts=hosts,
            handling=handling, settings=told.settings,
            history=HistorySource(parts.live, parts.looks.objectives, config.time_scale, parts.clock),
        )  # fmt: skip

    return served(config, pages, known, exposition, lambda: bool(parts.evaluator.store_fault))


def app_on(watching: Watching, access: Access | None = None) -> App:
    """Return the application that shows what a Prometheus has: pages and API, `/healthz`."""
    from modelwatch.serve.application import served
    from modelwatch.server.web import pages_app

    def pages(hosts: Sequence[str]) -> App:
        return pages_app(watching.read, hosts=hosts, settings=watching.settings)

    return served(watching.config, pages, access)


def app_waiting(
    config: Config, live: Path, opening: Opening, access: Access | None = None, clock: SteadyClock | None = None
) -> App:
    """Return the application while the store does not answer: pages of the counts, which say that nobody is told."""
    from modelwatch.serve.application import served
    from modelwatch.server.web import pages_app

    clock = clock or SteadyClock()
    status, standing = StatusSource.from_config(config, live, clock), StandingSource(config, live, clock)

    def read() -> dict[str, Any]:
        evaluation = {"evaluated_s_ago": None, "leads": False, "reason": opening.reason}
        return {**with_silent(status.read(), config), **standing.read(), "evaluation": evaluation}

    def pages(hosts: Sequence[str]) -> App:
        return pages_app(read, hosts=hosts, settings=partial(settings, config, live))

    return served(config, pages, access, untold=lambda: bool(opening.reason))


class Running:
    """A `serve` from the first try to open its store until its end; `app` is what it shows at the moment.

    Parameters
    ----------
    live : the `live.db`; None: that of the configuration.
    url : of its pages, for links.
    pages_only : see `Parts.of`.

    `end` is called when it cannot go on, and `fault` says why.
    """

    def __init__(
        self, config: Config, live: Path | None, url: str, access: Access | None, *, pages_only: bool = False
    ) -> None:
        self.pages_only = pages_only
        self.config, self.live, self.url, self.access = config, live or config.live, url, access
        self.opening = Opening(store_url(config, self.live))
        self.fault: ModelwatchError | None = None
        self.end: Callable[[], None] = lambda: None
        self._app: App | None = None
        self._parts: Parts | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the application of the moment."""
        assert self._app is not None, "it has started"
        await self._app(scope, receive, send)

    def start(self) -> None:
        """Begin to evaluate, or to wait for the store.

        Raises
        ------
        ModelwatchError   see `Opening.tried` and `Parts.of`.
        """
        if self.opening.tried():
            self._begin()
            return
        self._app = app_waiting(self.config, self.live, self.opening, self.access)
        self._thread = threading.Thread(target=self._wait, name="modelwatch-store", daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        parts = Parts.of(self.config, self.live, base_url=self.url, pages_only=self.pages_only)
        app = app_of(parts, self.access)
        parts.start()
        self._parts, self._app = parts, app

    def _wait(self) -> None:
        try:
            if self.opening.wait(self._stop):
                self._begin()
        except ModelwatchError as error:
            self.fault = error
            self.end()

    def stop(self) -> None:
        """End it all."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
        if self._parts is not None:
            self._parts.stop()


class _WithFault(logging.Formatter):
    """Shows what a record says was at fault, too."""

    def format(self, record: logging.LogRecord) -> str:
        fault = getattr(record, "fault", "")
        return f"{super().format(record)}: {fault}" if fault else super().format(record)


def serve(
    config: Config,
    *,
    host: str,
    port: int,
    live: Path | None = None,
    prometheus: str | None = None,
    pages_only: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Run until it is interrupted.

    prometheus : address of the one whose counts are shown, instead of those of this host; nothing is told then.
    pages_only : nobody is told; the counts are those of this host.

    Raises
    ------
    ConfigError, MissingExtra       see `Parts.of`; the port is taken; others could reach it, and there is no token.
    StoreUnavailable, NewerFormat   the store can never be opened. One that may come is waited for.
    """
    shown = logging.StreamHandler()
    shown.setFormatter(_WithFault("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[shown])
    try:
        import uvicorn

        from modelwatch.server.access import Access
    except ImportError:
        raise MissingExtra("serve: uvicorn is not installed. Run: pip install 'modelwatch[server]'") from None
    access = Access.of(config, os.environ)
    check_bind(host, has_token=access is not None)
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    url = f"{address}{config.pages.prefix}"
    lines = [f"page       {url}/", f"alerts     {url}/api/alerts"]
    runs: Running | Watching
    app: App
    with listening(host, port) as sockets:
        if prometheus is None:
            runs = app = Running(config, live, url, access, pages_only=pages_only)
            lines.append(f"metrics    {address}/metrics")
        else:
            from modelwatch.sources.prometheus import Client

            runs = Watching(config, Client(prometheus))
            app = app_on(runs, access)
        if pages_only:
            lines.append("notices    none from here: Prometheus and Alertmanager tell")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, proxy_headers=False))
        _run(runs, server, sockets, lambda: say("\n".join(lines)))


def _run(runs: Running | Watching, server: Server, sockets: list[socket.socket], say: Callable[[], None]) -> None:
    """Start it, say so, and serve until a signal comes or it cannot go on."""
    former = signal.signal(signal.SIGTERM, _end)
    try:
        if isinstance(runs, Running):
            runs.end = partial(setattr, server, "should_exit", True)
        runs.start()
        say()
        server.run(sockets)
    except KeyboardInterrupt:
        pass  # asked to end, by either signal
    finally:
        signal.signal(signal.SIGTERM, former)
        runs.stop()
    if isinstance(runs, Running) and runs.fault is not None:
        raise runs.fault


def _end(*_: object) -> None:
    """Let a SIGTERM, which the server passes on when it has closed, not end the process before its parts have ended."""
    raise KeyboardInterrupt
