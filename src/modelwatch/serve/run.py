"""The server: evaluation in a thread, pages, JSON and metrics over HTTP."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelwatch.clock import SteadyClock
from modelwatch.config import Config
from modelwatch.errors import ConfigError, MissingExtra, ModelwatchError
from modelwatch.exposition import OPENMETRICS, TEXT
from modelwatch.groundtruth.store import Store
from modelwatch.notify.alert import Alert
from modelwatch.notify.commands import store_url
from modelwatch.notify.heartbeat import Heartbeat
from modelwatch.notify.notifier import Notifier
from modelwatch.serve.evaluator import Evaluator
from modelwatch.serve.gauges import page
from modelwatch.serve.guard import Guard, check_bind
from modelwatch.serve.looks import LiveLooks
from modelwatch.serve.prober import EVERY_S, Minutes, Prober, answers
from modelwatch.slo import SloStatus
from modelwatch.sources.evaluated import HostCounts, alerts_json, host_slos, slo_json
from modelwatch.sources.status import StatusSource

if TYPE_CHECKING:
    from modelwatch.integrations.asgi import App

TOKEN = "MODELWATCH_TOKEN"  # noqa: S105 - the name of a variable
SLOS_EVERY_S = 60.0
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
    notifier: Notifier
    heartbeat: Heartbeat | None = None
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
    ) -> Parts:
        """Return the parts of a configuration.

        every_s : between two evaluations; by default 15 seconds, less where the configuration scales time.
        ask : tells whether a replica answers.

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
        minutes = Minutes(live, looks.versions, config.service.replicas, clock, looks.minute_s, looks.spans)
        journal, notifier = Journal(), Notifier(config, store.database, clock)

        def tell(alerts: Sequence[Alert], now: float) -> None:
            notifier(alerts, now)
            journal(alerts, now)

        evaluator = Evaluator(
            config, looks, store, tell, prober=prober, minutes=minutes, clock=clock, every_s=every_s,
            base_url=base_url,
        )  # fmt: skip
        heartbeat = Heartbeat.of(config, lambda: bool(evaluator.known()), clock)
        status = StatusSource.from_config(config, live)
        return cls(config, live, clock, store, looks, prober, evaluator, status, notifier, heartbeat)

    def start(self) -> None:
        """Begin to ask and to evaluate."""
        self.prober.start()
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
        self.notifier.stop()
        with suppress(sqlite3.Error, OSError, ModelwatchError):
            self.evaluator.minutes.close()
        self.looks.close()
        self.status.close()
        self.store.close()


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


class Slos:
    """How the objectives stand; read anew once a minute."""

    def __init__(self, config: Config, live: Path, clock: SteadyClock) -> None:
        self._config, self._live, self._clock = config, live, clock
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._found: Mapping[str, list[SloStatus]] = {}

    def read(self) -> Mapping[str, list[SloStatus]]:
        """Return the standing of every objective, by model.

        Raises
        ------
        sqlite3.Error, OSError, ModelwatchError   the counts cannot be read.
        """
        with self._lock:
            now = self._clock.monotonic()
            if now - self._at >= SLOS_EVERY_S:
                self._found = host_slos(self._config, HostCounts(self._live, self._clock))
                self._at = now
            return self._found


def app_of(parts: Parts, token: str | None = None) -> App:
    """Return the application: pages, `/api/alerts`, `/api/slos`, `/metrics`, `/healthz`."""
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.middleware import Middleware
        from starlette.requests import Request
        from starlette.responses import JSONResponse, Response
        from starlette.routing import Mount, Route

        from modelwatch.server.guards import KnownHost, StrictHeaders
        from modelwatch.server.web import pages_app
    except ImportError:
        raise MissingExtra("serve: starlette is not installed. Run: pip install 'modelwatch[server]'") from None
    slos = Slos(parts.config, parts.live, parts.clock)

    def status() -> dict[str, Any]:
        found = alerts_json(parts.evaluator.found)
        return {**parts.status.read(), "evaluation": parts.evaluator.state(), "alerts": found, "slos": standing()}

    def standing() -> dict[str, Any]:
        try:
            return slo_json(slos.read())
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            return {"reason": str(error) or repr(error)}

    async def alerts(_: Request) -> Response:
        found = await run_in_threadpool(alerts_json, parts.evaluator.found)
        return JSONResponse({**found, "evaluation": parts.evaluator.state()})

    async def objectives(_: Request) -> Response:
        try:
            return JSONResponse(slo_json(await run_in_threadpool(slos.read)))
        except (sqlite3.Error, OSError, ModelwatchError) as error:
            return JSONResponse({"error": {"code": "unavailable", "message": str(error)}}, 503)

    def exposition(*, openmetrics: bool) -> bytes:
        known: Mapping[str, list[SloStatus]] = {}
        with suppress(sqlite3.Error, OSError, ModelwatchError):
            known = slos.read()
        return page(parts.evaluator, known, parts.config.time_scale, openmetrics=openmetrics)

    async def metrics(request: Request) -> Response:
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        body = await run_in_threadpool(exposition, openmetrics=openmetrics)
        return Response(body, media_type=OPENMETRICS if openmetrics else TEXT)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    hosts = ["*"] if token else ()
    routes = [
        Route("/healthz", health), Route("/metrics", metrics), Route("/api/alerts", alerts),
        Route("/api/slos", objectives), Mount("/", pages_app(status, hosts=hosts)),
    ]  # fmt: skip
    middleware = [Middleware(StrictHeaders), Middleware(KnownHost, hosts=hosts)]
    return Guard(Starlette(routes=routes, middleware=middleware), token)


class _WithFault(logging.Formatter):
    """Shows what a record says was at fault, too."""

    def format(self, record: logging.LogRecord) -> str:
        fault = getattr(record, "fault", "")
        return f"{super().format(record)}: {fault}" if fault else super().format(record)


def serve(
    config: Config, *, host: str, port: int, live: Path | None = None, say: Callable[[str], None] = print
) -> None:
    """Run until it is interrupted.

    Raises
    ------
    ConfigError, MissingExtra   see `Parts.of`; or others could reach it, and there is no token.
    """
    shown = logging.StreamHandler()
    shown.setFormatter(_WithFault("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[shown])
    token = os.environ.get(TOKEN, "").strip() or None
    check_bind(host, token)
    try:
        import uvicorn
    except ImportError:
        raise MissingExtra("serve: uvicorn is not installed. Run: pip install 'modelwatch[server]'") from None
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    parts = Parts.of(config, live, base_url=address)
    server = uvicorn.Server(
        uvicorn.Config(app_of(parts, token), host=host, port=port, log_level="warning", server_header=False)
    )
    former = signal.signal(signal.SIGTERM, _end)
    try:
        parts.start()
        say(f"page       {address}/")
        say(f"alerts     {address}/api/alerts")
        say(f"metrics    {address}/metrics")
        server.run()
    except KeyboardInterrupt:
        pass  # asked to end, by either signal
    except SystemExit:
        raise ConfigError(
            f"--port: port {port} of {host} cannot be used; expected a free one. Give another with --port."
        ) from None
    finally:
        signal.signal(signal.SIGTERM, former)
        parts.stop()


def _end(*_: object) -> None:
    """Let a SIGTERM, which the server passes on when it has closed, not end the process before its parts have ended."""
    raise KeyboardInterrupt
