"""Real programs for the length of a block: the service under test, and a Prometheus that scrapes it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwatch.errors import MissingExtra
from modelwatch.testing.programs import Program

Series = dict[tuple[tuple[str, str], ...], dict[float, float]]  # labels -> {Unix time: value}


@dataclass(frozen=True)
class Service:
    """A running service of this machine."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def read(self, path: str) -> str:
        """Return what it answers to a GET, on a new connection: any of its workers may answer.

        Raises
        ------
        OSError   it does not answer within 10 seconds, or with a status of 400 and above.
        """
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310 - a server of our own
            return str(answer.read(), "utf-8")

    def value(self, name: str, **labels: str) -> float:
        """Scrape it; return the sum of the series of this name that have these labels, 0 when there are none."""
        from prometheus_client.parser import text_string_to_metric_families

        samples = [s for family in text_string_to_metric_families(self.read("/metrics")) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


@contextlib.contextmanager
def running_service(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    ready: str = "/healthz",
    timeout_s: float = 30.0,
) -> Iterator[Service]:
    """Run a service on a free port of 127.0.0.1 until the block ends; begin when it is ready.

    At the end it is asked to stop by SIGTERM, and killed when it takes longer than 15 seconds.

    Parameters
    ----------
    command : the program and its arguments; `{port}` in them stands for the port.
    environment : added to that of this process.
    folder : its working directory, by default ours.
    ready : the path that answers with a status below 500 when the service is ready.
    timeout_s : seconds until it must be ready.

    Raises
    ------
    ModelwatchError   it ended, or was not ready in time; what it said is on its stderr.

    Examples
    --------
    >>> import sys
    >>> command = [sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
    >>> with running_service(command, ready="/") as service:
    ...     "Directory listing" in service.read("/")
    True
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = [part.replace("{port}", str(port)) for part in command]
    address = f"http://127.0.0.1:{port}{ready}"
    program = Program(told, address, environment=environment, folder=folder, ready_s=timeout_s)
    try:
        program.start()
        assert program.process is not None
        yield Service(program.process, port)
    finally:
        program.stop()


class Prometheus:
    """A running Prometheus server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def _get(self, path: str, **arguments: Any) -> Any:
        address = f"{self.url}{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(address, timeout=30) as answer:  # noqa: S310 - a server of our own
            return json.load(answer)["data"]

    def query(self, expression: str, at: float | None = None) -> dict[tuple[tuple[str, str], ...], float]:
        """Return {labels: value} of an instant query; `at`: Unix time, by default now."""
        result = self._get("/api/v1/query", query=expression, **({} if at is None else {"time": at}))["result"]
        return {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in result}

    def query_range(self, expression: str, start: float, end: float, step_s: float) -> Series:
        """Return {labels: {Unix time: value}} of a range query."""
        result = self._get("/api/v1/query_range", query=expression, start=start, end=end, step=step_s)["result"]
        return {
            tuple(sorted(series["metric"].items())): {float(at): float(value) for at, value in series["values"]}
            for series in result
        }


@contextlib.contextmanager
def running_prometheus(
    folder: Path,
    targets: Sequence[str] = (),
    *,
    scrape_interval_s: float = 1.0,
    config: Mapping[str, Any] | None = None,
    binary: str = "prometheus",
) -> Iterator[Prometheus]:
    """Run a real Prometheus on a free port of 127.0.0.1 until the block ends.

    Parameters
    ----------
    folder : its configuration and data (`folder/data`, which may hold blocks already).
    targets : "host:port" to scrape at /metrics, as the job "service".
    scrape_interval_s : seconds between two scrapes.
    config : more of its configuration, JSON values; replaces sections of the same name.
    binary : the program.

    Raises
    ------
    MissingExtra   the program is not installed.
    ModelwatchError   it ended, or was not ready within 30 seconds.
    """
    if shutil.which(binary) is None:
        raise MissingExtra(f"{binary}: the program is not installed. Run `apt-get install prometheus`.")
    every = f"{round(scrape_interval_s * 1000)}ms"
    jobs = [{"job_name": "service", "static_configs": [{"targets": list(targets)}]}] if targets else []
    whole = {"global": {"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": jobs, **(config or {})}
    file = folder / "prometheus.yml"
    file.write_text(json.dumps(whole), encoding="utf-8")  # JSON is YAML
    command = [
        binary, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=50y",
        "--web.listen-address=127.0.0.1:{port}", "--log.level=error",
    ]  # fmt: skip
    with running_service(command, ready="/-/ready") as server:
        yield Prometheus(server.url)
