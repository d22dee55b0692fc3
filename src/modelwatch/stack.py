"""The generated stack of a configuration: its files, and running them in Docker or as programs of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from modelwatch import __version__
from modelwatch.config import Config, load_config
from modelwatch.errors import ConfigError, MissingExtra, ModelwatchError, fault
from modelwatch.generate import Places, differences, generate, write
from modelwatch.generate.alertmanager import SECRETS, secrets_of
from modelwatch.generate.context import ALERTMANAGER_PORT, PAGES_PORT, PROMETHEUS_PORT, SERVICE_PORT, Context
from modelwatch.reference import Reference

__all__ = ["Part", "differences", "down", "generated", "status", "up", "write"]

STATE = Path(".modelwatch-stack")
READY_S, STOP_S = 30.0, 15.0
PROCESSES = "processes.json"  # {part: [process id, port]}
PAGES = f"127.0.0.1:{PAGES_PORT}"
PORTS = {"prometheus": PROMETHEUS_PORT, "alertmanager": ALERTMANAGER_PORT}
PACKAGES = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}


class Part(NamedTuple):
    """A part of the stack: where it answers, and whether it does."""

    name: str
    url: str
    answers: bool


def generated(path: Path, only: Iterable[str] | None = None, **places: Any) -> dict[str, str]:
    """Return the files that a configuration file makes, {path: text}; no secret is read.

    places : fields of `Places`.
    """
    config = load_config(path, secrets=False)
    return generate(
        config, only, version=__version__, references=references_of(config), environ=os.environ,
        places=Places(**places),
    )  # fmt: skip


def references_of(config: Config) -> dict[str, Reference]:
    """Return the profiles of the models that have one."""
    return {name: Reference.load(model.reference) for name, model in config.models.items() if model.reference}


# -- up, down, status --------------------------------------------------------------------------------------------------


def up(
    path: Path, state: Path = STATE, *, say: Callable[[str], object] = print, docker: bool = True,
    ports: Mapping[str, int] = MappingProxyType(PORTS), pages: str = PAGES,
) -> list[Part]:  # fmt: skip
    """Start the stack; one that runs reads its files again.

    With a Docker engine that answers, Compose runs all of it. Without one, Prometheus and Alertmanager run from the
    PATH on ports of 127.0.0.1. Nothing is ever downloaded by modelwatch itself.

    Parameters
    ----------
    path : the configuration.
    state : the directory of its files and data.
    docker : False does not even look for a Docker engine.
    ports : of the programs on 127.0.0.1; those of Compose are always the usual ones.
    pages : where `modelwatch serve` answers, as "host:port", without Docker.

    Raises
    ------
    MissingExtra   there is neither; the message says what to install.
    ConfigError   a port is taken, a secret is missing, or the directory cannot be written.
    """
    if docker and engine_answers():
        write(generated(path), state)
        _compose(state, "up", "--detach", "--build", "--wait")
        return status(state)
    programs = {name: _program(name, commands) for name, commands in PACKAGES.items()}
    if [part.name for part in status(state) if part.answers] == list(PACKAGES):
        known = _processes(state)
        _prepare(path, state, {name: port for name, (_, port) in known.items()}, pages)
        for pid, _ in known.values():
            os.kill(pid, signal.SIGHUP)
        say("the stack runs already; it has read its files again")
        return status(state)
    down(state)
    _check_ports(ports)
    _prepare(path, state, ports, pages)
    resend = Context(load_config(path, secrets=False), __version__).resend_flag
    commands = {
        "alertmanager": [
            programs["alertmanager"], "--config.file=alertmanager.yml", "--storage.path=data/alertmanager",
            f"--web.listen-address=127.0.0.1:{ports['alertmanager']}", "--cluster.listen-address=", "--log.level=warn",
        ],
        "prometheus": [
            programs["prometheus"], "--config.file=prometheus.yml", "--storage.tsdb.path=data/prometheus",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}", resend, "--log.level=warn",
        ],
    }  # fmt: skip
    for name, command in commands.items():
        _start(name, command, state, ports[name])
        say(f"{name} answers at {_url(ports[name])}")
    return status(state)


def down(state: Path = STATE) -> list[str]:
    """Stop what `up` started; its data stay. Return the names of what was stopped."""
    if (state / "docker-compose.yml").exists() and engine_answers():
        _compose(state, "down")
        return ["docker-compose"]
    stopped = []
    for name, (pid, _) in _processes(state).items():
        if _is_ours(pid, state):
            os.kill(pid, signal.SIGTERM)
            _wait(lambda pid=pid: not _is_ours(pid, state), STOP_S)  # type: ignore[misc]
            if _is_ours(pid, state):
                os.kill(pid, signal.SIGKILL)
            stopped.append(name)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (state / PROCESSES).unlink()
    return stopped


def status(state: Path = STATE) -> list[Part]:
    """Return the parts that `up` started, and whether each answers."""
    if (state / "docker-compose.yml").exists():
        at = dict(PORTS)
    else:
        at = {name: port for name, (pid, port) in _processes(state).items() if _is_ours(pid, state)}
    return [Part(name, _url(at[name]), _answers(f"{_url(at[name])}/-/ready")) for name in PACKAGES if name in at]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


# -- Docker ------------------------------------------------------------------------------------------------------------


def engine_answers() -> bool:
    """Return whether a Docker engine answers on this machine, and its Compose is there."""
    if shutil.which("docker") is None:
        return False
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            if subprocess.run(command, capture_output=True, timeout=10, check=False).returncode:
                return False
        except (OSError, subprocess.TimeoutExpired):
            return False
    return True


def _compose(state: Path, *arguments: str) -> None:
    done = subprocess.run(["docker", "compose", *arguments], cwd=state, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        remedy = f"See `docker compose logs` in {str(state)!r}."
        raise ModelwatchError(fault("stack", "docker compose", said, "a stack that starts", remedy))


# -- programs of this machine ------------------------------------------------------------------------------------------


def _program(name: str, commands: Sequence[str]) -> str:
    for command in commands:
        found = shutil.which(command)
        if found is not None:
            return found
    packages = " ".join(names[0] for names in PACKAGES.values())
    raise MissingExtra(
        f"stack: {name} is not on the PATH, and no Docker engine answers; expected one of them. Start Docker, or run "
        f"`apt-get install {packages}`."
    )


def _check_ports(ports: Mapping[str, int]) -> None:
    for name, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                expected = "a port that nobody listens on"
                raise ConfigError(fault("stack", f"port of {name}", port, expected, "Stop what runs there.")) from None


def _prepare(path: Path, state: Path, ports: Mapping[str, int], pages: str) -> None:
    """Write the files of the programs, and the secrets, which only this user can read."""
    plain, told = load_config(path, secrets=False), load_config(path)
    places = Places(
        service=_target(plain), pages=pages, pages_url=f"http://{pages}", pages_token=False, node="",
        prometheus=f"127.0.0.1:{ports['prometheus']}", alertmanager=f"127.0.0.1:{ports['alertmanager']}",
    )  # fmt: skip
    files = generate(
        plain, ("prometheus", "rules", "drift-rules", "alertmanager"), version=__version__,
        references=references_of(plain), environ=os.environ, places=places,
    )  # fmt: skip
    values = {}
    for secret in secrets_of(plain):
        receiver = told.alerting.receivers[secret.receiver]
        hidden = receiver.options[secret.option] if secret.option else receiver.target
        values[f"{SECRETS}/{secret.name}"] = hidden.get_secret_value()
    with contextlib.suppress(OSError):  # write says what is wrong with it
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(files | {"alertmanager.yml": _for_any_version(files["alertmanager.yml"], values)}, state)
    for name, value in values.items():
        opened = os.open(state / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(opened, "w", encoding="utf-8") as file:
            file.write(value)
    (state / "data").mkdir(exist_ok=True)


def _for_any_version(text: str, values: dict[str, str]) -> str:
    """Return alertmanager.yml with the addresses of webhooks in it: versions before 0.26 read them from no file.

    It lies in a directory that only this user can read.
    """
    if "url_file: " not in text.replace("api_url_file: ", ""):
        return text
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    whole = yaml.safe_load(text)
    for receiver in whole["receivers"]:
        for webhook in receiver.get("webhook_configs", ()):
            if "url_file" in webhook:
                webhook["url"] = values[webhook.pop("url_file")]
    return header + str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))


def _target(config: Config) -> str:
    """Return where the service answers: the host and port of its health check."""
    url = config.service.health_url
    if url is None:
        return f"127.0.0.1:{SERVICE_PORT}"
    host = str(url).partition("://")[2].partition("/")[0].rpartition("@")[2]
    return host if ":" in host else f"{host}:{443 if str(url).startswith('https') else 80}"


def _start(name: str, command: Sequence[str], state: Path, port: int) -> None:
    log = state / f"{name}.log"
    detached = '"$@" >>"$0" 2>&1 </dev/null & echo $!'  # it goes on when this command ends
    done = subprocess.run(
        ["sh", "-c", detached, log.name, *command], cwd=state, capture_output=True, text=True, start_new_session=True,
        check=True,
    )  # fmt: skip
    pid = int(done.stdout)
    known = {**_processes(state), name: (pid, port)}
    (state / PROCESSES).write_text(json.dumps(known), encoding="utf-8")
    ready = f"{_url(port)}/-/ready"
    time.sleep(0.1)  # until it is the program, and no shell any more
    _wait(lambda: not _is_ours(pid, state) or _answers(ready), READY_S)
    if not _is_ours(pid, state) or not _answers(ready):
        said = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["nothing"])[-1]
        down(state)
        raise ModelwatchError(fault("stack", name, said, "a program that gets ready", f"Its messages are in {log}."))


def _processes(state: Path) -> dict[str, tuple[int, int]]:
    """Return the (process, port) of every program that was started."""
    try:
        found = json.loads((state / PROCESSES).read_text(encoding="utf-8"))
        return {str(name): (int(pid), int(port)) for name, (pid, port) in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _is_ours(pid: int, state: Path) -> bool:
    """Return whether a process lives and works in this directory: numbers of processes are used again."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    try:
        return not Path("/proc").is_dir() or Path(f"/proc/{pid}/cwd").resolve(strict=True) == state.resolve()
    except OSError:  # it ended meanwhile
        return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - of this machine
            return bool(answer.status < 400)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not condition():
        time.sleep(0.1)
