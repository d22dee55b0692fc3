"""Statuses as the server produces them, in every state, and a real browser to look at the pages with."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import fcntl
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from starlette.types import ASGIApp

from modelwatch.quality import quality
from modelwatch.qualityrows import Columns

NOW = 1_795_444_330.0  # 23 Nov 2026, 14:32:10 UTC
STEPS = 60
SHARES = {"negative": 0.217, "neutral": 0.131, "positive": 0.652}
LOOPBACK = "http://127.0.0.1:"
Status = dict[str, Any]
Sample = Callable[..., Status]


def model(name: str = "sentiment_classifier", state: str = "healthy", seed: int = 1) -> Status:
    """Return one model of a status: healthy, degraded, slow, silent, new, or a regression."""
    dice = random.Random(seed)
    wave = [1 + 0.06 * math.sin(i / 9) + dice.uniform(-0.03, 0.03) for i in range(STEPS)]
    silent, bad, slow = state == "silent", state == "degraded", state == "slow"
    rate = [49.8 * w for w in wave]
    errors = [0.0009 * w * dice.uniform(0.5, 1.6) for w in wave]
    p95 = [0.061 * w * (1 + 5 * max(0, i - 50) / 9 * slow) for i, w in enumerate(wave)]
    if bad:
        errors = [e if i < 51 else 0.042 * min(1, (i - 50) / 4) * wave[i] for i, e in enumerate(errors)]
    held: dict[str, list[float | None]] = {"request_rate": [*rate], "error_ratio": [*errors], "p95_s": [*p95]}
    held["slow_ratio"] = [0.002 * w for w in wave]
    share: dict[str, list[float | None]] = {
        label: [v * dice.uniform(0.97, 1.03) for _ in range(STEPS)] for label, v in SHARES.items()
    }
    if silent:
        for values in [*held.values(), *share.values()]:
            values[-9:] = [None] * 9
        held["request_rate"][-9:] = [0.0] * 3 + [None] * 6
    requests = 0 if silent else 14940
    failed = 0 if silent else 628 if bad else 14
    regression = state == "regression"
    return {
        "name": name,
        "version": "1.4.2",
        "task": "regression" if regression else "classification",
        "readings": readings(requests, failed, silent=silent, bad=bad, slow=slow, regression=regression),
        "details": details(requests, failed, silent=silent, bad=bad, slow=slow),
        "history": {
            "step_s": 60,
            "start": [NOW - 10 - 60 * (STEPS - 1 - i) for i in range(STEPS)],
            **held,
            "share": {} if regression else share,
        },
    }


def readings(requests: int, failed: int, *, silent: bool, bad: bool, slow: bool, regression: bool) -> list[Status]:
    """Return the readings of one model."""

    def one(signal_name: str, title: str, value: float, unit: str, limit: float | None, firing: bool = False) -> Status:
        return {
            "signal": signal_name,
            "title": title,
            "words": f"{title} in words",
            "unit": unit,
            "labels": {},
            "value": None if silent else value,
            "samples": requests,
            "outcome": "cannot_tell" if silent else "firing" if firing else "ok",
            "reason": "no requests in the last 5 min" if silent else "",
            "limit": limit,
        }

    found = [
        one("request_rate", "Request rate", 49.8, "req/s", None),
        one("error_ratio", "Error ratio", failed / max(1, requests), "ratio", 0.01, bad),
        one("slow_ratio", "Slow requests", 0.184 if slow else 0.0021, "ratio", 0.05, slow),
    ]
    shares = [] if regression else SHARES.items()
    return found + [
        {**one("prediction_share", "Prediction share", v, "ratio", None), "labels": {"predicted_class": label}}
        for label, v in shares
    ]


def details(requests: int, failed: int, *, silent: bool, bad: bool, slow: bool) -> Status:
    """Return the counts of the window of one model."""
    bins = [0, 12, 30, 61, 118, 240, 420, 731, 1890, 5020, 6404, 0]
    types: list[list[Any]] = [["http_503", 12], ["ValueError", 2]]
    if bad:
        types = [["ModelTimeout", 571], ["http_503", 43], ["ValueError", 14]]
    return {
        "requests": requests,
        "failed": failed,
        "cancelled": 0 if silent else 2,
        "slow": 0 if silent else 31,
        "latency_threshold_s": 0.2,
        "latency_objective": 0.95,
        "p50_s": None if silent else 0.0184,
        "p95_s": None if silent else 0.391 if slow else 0.0612,
        "p99_s": None if silent else 0.612 if slow else 0.118,
        "p95_bracket_s": None if silent else [0.3, 0.4] if slow else [0.05, 0.075],
        "in_progress": 0 if silent else 3,
        "throughput": 0.0 if silent else 49.5,
        "errors_by_type": [] if silent else types,
        "low_confidence_ratio": None if silent else 0.108,
        "confidence": {"edges": [i / 10 for i in range(11)], "counts": [0] * 12 if silent else bins},
        "refused": 0,
        "internal_errors": 0,
        "label_overflow": 0,
    }


def make_status(state: str = "healthy", *, models: list[Status] | None = None, **changes: Any) -> Status:
    """Return a whole status; `changes` replace its top fields."""
    status: Status = {
        "service": "sentiment-api",
        "owner": "ml-platform",
        "now": NOW,
        "time_scale": 1.0,
        "window_s": 300.0,
        "workers": {"alive": 0 if state == "silent" else 2, "died": 0},
        "data_age_s": 540.0 if state == "silent" else 0.8,
        "live": {"path": "live.db", "kept": True, "reason": None},
        "notes": ["incident 'errors' is on since 14:23"] if state == "degraded" else [],
        "models": models if models is not None else [model(state=state)],
        "monitor": monitor(state),
    }
    return status | changes


def monitor(state: str = "healthy") -> Status:
    """Return what modelwatch tells of itself: healthy, degraded (with every fault, and a GPU), or silent."""
    bad, silent = state == "degraded", state == "silent"

    def count(hour: int, day: int, rows: list[list[Any]] | None = None) -> Status:
        return {"hour": hour, "day": day, "rows": rows or [], "more": 2 if rows else 0}

    gpu = {"gpu": "0", "name": "NVIDIA H100", "utilization": 0.37, "memory_used_bytes": 3 << 30,
           "memory_total_bytes": 80 << 30, "temperature_celsius": 41.0, "power_watts": 70.5}  # fmt: skip
    return {
        "since": NOW - 90_000,
        "counts": {
            "events": count(0 if silent else 179_280, 4_302_720),
            "abandoned": count(12 if bad else 0, 12 if bad else 0),
            "caller_folds": count(0, 3 if bad else 0),
            "refused": count(204, 1_406, [[["feature", "nan"], 200, 1_203], [["duration", "range"], 4, 203]])
            if bad
            else count(0, 0),
            "overflow": count(7, 9, [[["ml_requests_total", "endpoint"], 7, 9]]) if bad else count(0, 0),
            "samples_dropped": count(0, 0),
            "internal_errors": count(3, 3, [[["live"], 3, 3]]) if bad else count(0, 0),
        },
        "damaged_rows": 1 if bad else 0,
        "file": {"bytes": 6_600_000, "free_bytes": 12_900_000_000, "set_aside": 2 if bad else 0},
        "process": {}
        if silent
        else {"cpu_cores": 0.3161, "resident_bytes": 412_000_000.0, "open_files": 61.0, "threads": 24.0},
        "used": {"cpu_s": 5123.5, "disk_read_bytes": 0, "disk_written_bytes": 3_340_000_000},
        "gpus": [gpu] if bad else [],
    }


SEGMENTS = {"books": 0.62, "electronics": 0.78, "home": 0.86, "toys": 0.9}


def make_quality(
    n: int = 1200,
    *,
    task: Literal["classification", "regression"] = "classification",
    objective: float | None = 0.85,
    inclusion: tuple[float, ...] = (0.1,),
    few: int = 12,
    delay_s: float = 1800.0,
    boost: float = 0.0,
    **changes: Any,
) -> Status:
    """Return what `QualitySource.read` says of `n` labels over the last four days; `few` of them are of one segment.

    boost : added to the share of right answers. inclusion : the probabilities with which samples were kept, in turn.
    """
    dice = random.Random(3)
    columns: dict[str, list[Any]] = {f.name: [] for f in dataclasses.fields(Columns)}
    for i in range(n):
        segment = "music" if i >= n - few else list(SEGMENTS)[i % 4]
        truth: Any = dice.choices(list(SHARES), list(SHARES.values()))[0] if task == "classification" else 10 * i / n
        right = dice.random() < SEGMENTS.get(segment, 0.8) + boost
        said = truth if right else dice.choice([c for c in SHARES if c != truth])
        at = NOW - 4 * 86_400 * (n - i) / n - 60
        row = {
            "predictions": said if task == "classification" else truth + dice.gauss(0.2, 0.8),
            "labels": truth,
            "confidence": min(0.99, 0.55 + 0.4 * dice.random() + 0.05 * right),
            "segments": segment,
            "inclusion": inclusion[i % len(inclusion)],
            "predicted_at": at,
            "labelled_at": min(NOW, at + dice.expovariate(1 / delay_s)),
        }
        for name, value in row.items():
            columns[name].append(value)
    classes = tuple(SHARES) if task == "classification" else ()
    views = quality(Columns(**columns), NOW, task=task, classes=classes, lasts=(100, 1000))
    return {
        "state": "ok", "reason": None, "objective": objective, "window": 1000, "segment": "category",
        "sampling": {"rate": 0.1, "strategy": "uniform", "strata": "confidence", "weekly_budget": None},
        "labelled": n, "waiting": 214, "oldest_waiting_s": 11_100.0, "views": views.to_dict(), **changes,
    }  # fmt: skip


@pytest.fixture
def sample_quality() -> Sample:
    """Return the maker of what is known from labels: `sample_quality(12)`."""
    return make_quality


@pytest.fixture
def sample() -> Sample:
    """Return the maker of statuses: `sample("degraded", notes=[...])`."""
    return make_status


@pytest.fixture
def sample_model() -> Sample:
    """Return the maker of one model: `sample_model("churn", "silent")`."""
    return model


class Browser:
    """A headless Chromium of its own, spoken to over a pipe in the DevTools protocol."""

    def __init__(self, program: str, profile: Path) -> None:
        to_child, from_us = os.pipe()
        to_us, from_child = os.pipe()
        child_in, child_out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_child, from_child))

        def place() -> None:  # Chromium reads commands from descriptor 3 and answers on 4
            os.dup2(child_in, 3)
            os.dup2(child_out, 4)

        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
        self._process = subprocess.Popen(
            [program, *flags.split(), f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(3, 4),
            preexec_fn=place,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (to_child, from_child, child_in, child_out):
            os.close(fd)
        self._out, self._in = from_us, os.fdopen(to_us, "rb", buffering=0)
        self._pending, self._id, self._session = b"", 0, ""
        self.problems: list[str] = []
        self.origin = "about:blank"  # of the page that is open
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._id += 1
        command: dict[str, Any] = {"id": self._id, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            piece = self._in.read(65536)
            assert piece, "the browser closed its pipe"
            self._pending += piece
        raw, self._pending = self._pending.split(b"\0", 1)
        message: dict[str, Any] = json.loads(raw)
        return message

    def _note(self, event: Mapping[str, Any]) -> None:
        """Keep what the browser complains about: exceptions, blocked scripts and styles, missing files."""
        told = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(told["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and told["entry"]["level"] == "error":
            problem, url = told["entry"]["text"], told["entry"].get("url", "")
            late = "ERR_CONNECTION_REFUSED" in problem and LOOPBACK in url and not url.startswith(self.origin)
            if not late:  # the page before this one asked a server that has ended with its test
                self.problems.append(f"{problem} {url}")

    def see(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(
        self, url: str, width: int = 1440, height: int = 1000, *, dark: bool = False, scripts: bool = True
    ) -> None:
        """Open a page at a size, light or dark, and wait until it is loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 640
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.problems.clear()
        self.origin = "/".join(url.split("/")[:3])
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def wait(self, condition: str, timeout_s: float = 20.0) -> None:
        """Wait until an expression in the page is true and the page has all it needs: its style, its scripts."""
        until = time.monotonic() + timeout_s
        while not self.see(f"document.readyState === 'complete' && Boolean({condition})"):
            assert time.monotonic() < until, f"never true: {condition}"
            time.sleep(0.05)

    def picture(self, *, whole: bool = False) -> bytes:
        """Return what the page looks like, as PNG."""
        if whole:
            self.call("Page.bringToFront")
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])

    def small_picture(self) -> bytes:
        """Return what the page looks like, as WebP: a third of the size, and letters as sharp as they were."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="webp", quality=82)["data"])

    def press(self, key: str, code: int) -> None:
        """Press and release one key."""
        down: dict[str, Any] = {"type": "keyDown", "text": "\r"} if key == "Enter" else {"type": "rawKeyDown"}
        for kind in (down, {"type": "keyUp"}):
            self.call("Input.dispatchKeyEvent", **kind, key=key, code=key, windowsVirtualKeyCode=code)

    def write(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click with the mouse into the middle of the first such element."""
        place = f"document.querySelector({json.dumps(selector)})"
        self.see(f"{place}.scrollIntoView({{block: 'center'}})")
        x, y = self.see(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({place}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def forget(self) -> None:
        """Forget all cookies."""
        self.call("Network.clearBrowserCookies")

    def close(self) -> None:
        """End the browser and its children."""
        with contextlib.suppress(OSError, AssertionError):
            os.write(self._out, b'{"id":0,"method":"Browser.close"}\0')
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._out)
        self._in.close()


def chromium() -> str | None:
    """Return the path of the browser; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a real browser; where there is none, skip, but fail where the run says that it must be there."""
    program = chromium()
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true and there is no chromium on the PATH. Install the package chromium.")
        pytest.skip("there is no chromium on the PATH")
    opened = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


class Served:
    """An application on a free port of this machine; `close` ends it."""

    def __init__(self, app: ASGIApp) -> None:
        held = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio lets small answers wait for 40 ms
        held.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{held.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [held]}, daemon=True)
        self._thread.start()
        until = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.01)

    def close(self) -> None:
        """End it, when its connections are closed or after two seconds."""
        self._server.should_exit = True
        self._thread.join(2)
        self._server.force_exit = True
        self._thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[[ASGIApp], str]]:
    """Return a function that serves an application on a free port and returns its address."""
    running: list[Served] = []

    def start(app: ASGIApp) -> str:
        running.append(Served(app))
        return running[-1].url

    yield start
    for served in running:
        served.close()
