"""Where a drill takes place: a service, whoever evaluates it, and receivers of its own: nobody real is paged."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelwatch import stack
from modelwatch.config import load_config
from modelwatch.demo.run import CLASSES, CONFIG, HOST, free_port, write_config
from modelwatch.demo.traffic import read_texts
from modelwatch.drill.faults import Fault, Mode
from modelwatch.drill.traffic import Traffic
from modelwatch.drill.watching import Inbox, Watch, get_json, inbox, seen_by_prometheus, seen_by_serve
from modelwatch.errors import ModelwatchError, fault
from modelwatch.integrations.faulthooks import CONSENT, PATH, YES
from modelwatch.server.access import TOKEN
from modelwatch.testing.faults import StuckStore
from modelwatch.testing.forms import PAGERDUTY, SLACK
from modelwatch.testing.programs import Program
from modelwatch.testing.receivers import Snitch

MISSED = 5  # heartbeats, or so many seconds at least: then the dead-man's receiver raises alarm
FAULT_S = 900.0  # a fault ends by itself in the service when the drill has died
LATENCY = "500ms"  # of the demo: a busy machine must not look like the fault
UNSURE = 0.55  # of its predictions
LABELLED = 0.7  # of its predictions, at most


@dataclass
class Place:
    """The service that is broken.

    Parameters
    ----------
    url, path : of it, and of its predictions.
    config : its configuration, as plain values.
    live : its `live.db`, on this host.
    bodies, classes, rate : of the traffic, see `Traffic`.
    program : the process of a service that the drill started; None: one of the user, which only its hook breaks.
    """

    url: str
    path: str
    config: dict[str, Any]
    live: Path
    bodies: Sequence[Mapping[str, Any]]
    classes: Sequence[str]
    rate: float
    program: Program | None = None

    def breaks(self, kinds: Iterable[str]) -> None:
        """Let the hook of the service break this and nothing else.

        Raises
        ------
        ModelwatchError   it has no hook, or refuses.
        """
        try:
            get_json(f"{self.url}{PATH}", {"kinds": sorted(kinds), "seconds": FAULT_S})
        except (OSError, ValueError) as error:
            expected = f"one started with {CONSENT}={YES} that calls `mount_faults(app, monitor)`"
            raise ModelwatchError(fault("drill", "the service", str(error), expected, "Start it so.")) from None


def demo_place(folder: Path, time_scale: float, rate: float) -> Place:
    """Return the demo's service, in a folder; it is not started."""
    port = free_port(0)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, time_scale, port)
    config = yaml.safe_load((folder / CONFIG).read_text("utf-8"))
    (model,) = config["models"].values()
    model["ground_truth"]["sampling_rate"] = LABELLED
    model["slos"]["latency"]["threshold"] = LATENCY
    model["drift"] = {"window": "1h", "severe_window": "1h"}  # a day would take a day to forget what was broken
    model["alerts"]["HighLowConfidencePredictions"] = {"warning": UNSURE}
    config |= {"store": f"sqlite:///{folder / 'modelwatch.db'}", "live": str(folder / "live.db")}
    model["reference"] = str(folder / "reference.json")
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    url = f"http://{HOST}:{port}"
    command = [
        sys.executable, "-m", "uvicorn", "modelwatch.demo.service:create_app", "--factory", "--host", HOST, "--port",
        str(port), "--log-level", "warning",
    ]  # fmt: skip
    environment = {"MODELWATCH_DEMO_CONFIG": str(folder / CONFIG), CONSENT: YES}
    bodies = [{"text": text.text, "category": text.category} for text in read_texts()]
    program = Program(command, f"{url}/healthz", environment=environment, folder=folder, log=folder / "service.log")
    return Place(url, "/predict", config, folder / "live.db", bodies, CLASSES, rate, program)


def staging_place(config: Path, url: str, path: str, bodies: Sequence[Mapping[str, Any]], rate: float) -> Place:
    """Return a service of the user's on this host, which was started with the consent and calls `mount_faults`.

    Raises
    ------
    ConfigError   its configuration cannot be read.
    """
    known = load_config(config, secrets=False)
    values = yaml.safe_load(config.read_text("utf-8"))
    for name, model in known.models.items():
        if model.reference:
            values["models"][name]["reference"] = str(model.reference.absolute())
    values["live"] = str(known.live.absolute())
    values["service"] = {**values["service"], "health_url": values["service"].get("health_url", f"{url}/healthz")}
    classes = next((model.classes for model in known.models.values() if model.classes), ())
    return Place(url, path, values, known.live, bodies, tuple(map(str, classes)), rate)


class Side:
    """One that evaluates and tells: `modelwatch serve`, or a real Prometheus with a real Alertmanager.

    mode : which of them.
    watch : of its alerts. team, a Slack, gets everything; pager, a PagerDuty, what is critical; snitch the heartbeat.
    """

    def __init__(self, mode: Mode, place: Place, folder: Path) -> None:
        self.mode, self.place, self.folder = mode, place, folder
        scale = float(place.config.get("time_scale", 1))
        self.heartbeat_s = max(60.0 / scale, 1.0)
        self.snitch = Snitch(max(MISSED * self.heartbeat_s, MISSED))
        self.url = ""
        self.pager: Inbox
        self.team: Inbox
        self.watch: Watch
        self._serve: Program | None = None
        self._ports: dict[str, int] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[Side]:
        """Run it until the block ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as parts:
            self.pager, self.team = (parts.enter_context(inbox(form)) for form in (PAGERDUTY, SLACK))
            parts.enter_context(self.snitch)
            config = self._config()
            try:
                self._start(config)
                self.watch = parts.enter_context(Watch(self._look))
                yield self
            finally:
                self.stop()

    def _config(self) -> Path:
        alerting = {
            "receivers": {
                "pager": {"pagerduty": {"routing_key": secrets.token_hex(16), "url": self.pager.receiver.url}},
                "team": {"slack": self.team.receiver.url},
                "snitch": {"webhook": self.snitch.url},
            },
            "routes": {"critical": ["pager", "team"], "warning": ["team"], "info": ["team"]},
            "deadman": "snitch",
        }
        store = f"sqlite:///{self.folder / 'drill.db'}" if self.mode == "embedded" else self.place.config.get("store")
        path = self.folder / "drill.yaml"
        text = yaml.safe_dump({**self.place.config, "alerting": alerting, "store": store}, sort_keys=False)
        path.write_text(text, encoding="utf-8")
        return path

    def _start(self, config: Path) -> None:
        if self.mode == "stack":
            self._ports = {name: free_port(0) for name in ("prometheus", "alertmanager")}
            self.url = f"http://{HOST}:{self._ports['prometheus']}"
        else:
            port = free_port(0)
            self.url = f"http://{HOST}:{port}"
            command = [sys.executable, "-m", "modelwatch", "serve", "--config", str(config), "--port", str(port)]
            self._serve = Program(
                command, f"{self.url}/healthz", environment={TOKEN: ""}, folder=self.folder,
                log=self.folder / "serve.log",
            )  # fmt: skip
        self._path = config
        self.restart()

    def _look(self) -> Any:
        return (seen_by_prometheus if self.mode == "stack" else seen_by_serve)(self.url)

    def restart(self) -> None:
        """Start it, again."""
        if self._serve is not None:
            self._serve.start()
        else:
            stack.up(self._path, self._state, say=lambda _: None, docker=False, ports=self._ports)

    @property
    def _state(self) -> Path:
        return self.folder / "stack"

    def kill(self) -> None:
        """Kill the one that evaluates."""
        if self._serve is not None:
            self._serve.kill()
            return
        known = json.loads((self._state / stack.PROCESSES).read_text(encoding="utf-8"))
        os.kill(known["prometheus"][0], signal.SIGKILL)

    def stop(self) -> None:
        """End it."""
        if self._serve is not None:
            self._serve.stop()
        elif self._ports:
            stack.down(self._state)


class Lab:
    """A place and the sides that watch it, while faults are on and off.

    Parameters
    ----------
    place : its service is started, and ended.
    modes : who evaluates.
    folder : of the drill's own files.
    """

    def __init__(self, place: Place, modes: Sequence[Mode], folder: Path) -> None:
        self.place = place
        self.sides = [Side(mode, place, folder / mode) for mode in modes]
        self.traffic = Traffic(place.url, place.path, place.bodies, place.classes, place.rate)
        self._lock: StuckStore | None = None
        self._down = False
        self._kinds: frozenset[str] = frozenset()

    @contextlib.contextmanager
    def running(self) -> Iterator[Lab]:
        """Run all of it until the block ends; whatever is broken then is mended."""
        with ExitStack() as parts:
            if self.place.program is None:
                self.place.breaks(())  # tells at once whether there is a hook
            else:
                parts.callback(self.place.program.stop)
                self.place.program.start(wait=False)
            for side in self.sides:
                parts.enter_context(side.running())
            if self.place.program is not None:
                self.place.program.wait()
            parts.callback(self._mend)
            parts.enter_context(self.traffic)
            yield self

    def _mend(self) -> None:
        with contextlib.suppress(ModelwatchError):
            self.apply(())

    def apply(self, faults: Iterable[Fault]) -> None:
        """Break this, and nothing else."""
        on = list(faults)
        self.traffic.silent = any(one.stops_traffic for one in on)
        self.traffic.wrong_labels = any(one.wrong_labels for one in on)
        self.traffic.labels_more |= self.traffic.wrong_labels  # right labels have to outweigh the wrong ones
        self._hold_counts(any(one.locks_counts for one in on))
        down = any(one.kills_service for one in on)
        kinds = frozenset(kind for one in on for kind in one.kinds)
        program = self.place.program
        if program is None:
            kinds |= {"down"} if down else set()
        elif down != self._down:
            program.kill() if down else program.start()
        self._down = down
        if kinds != self._kinds:
            self.place.breaks(kinds)
            self._kinds = kinds

    def break_receivers(self) -> None:
        """Let the receiver of what is critical answer 503, until `is_down` of it is False again."""
        for side in self.sides:
            side.pager.is_down = True

    def _hold_counts(self, hold: bool) -> None:  # noqa: FBT001
        """Hold the lock of `live.db`, so that no count reaches whoever reads it; for Prometheus the hook does it."""
        if hold and self._lock is None and any(side.mode == "embedded" for side in self.sides):
            self._lock = StuckStore(self.place.live)
            self._lock.__enter__()
        elif not hold and self._lock is not None:
            self._lock.release()
            self._lock = None
