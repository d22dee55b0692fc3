"""A real PostgreSQL server for the length of a block, as a user without privileges."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from modelwatch.errors import MissingExtra, ModelwatchError, fault

if TYPE_CHECKING:
    import pwd

USER = "modelwatch"
READY_S = 30
STOP_S = 15
INSTALLED = Path("/usr/lib/postgresql")  # Debian keeps the server's programs off the PATH
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}  # a test outlives no loss of power


class Postgres:
    """A server of this machine, on a free port of 127.0.0.1, with a password. `running_postgres` makes it."""

    def __init__(
        self, programs: Path, folder: Path, settings: Mapping[str, str], runner: pwd.struct_passwd | None
    ) -> None:
        self._programs, self._folder, self._settings, self._runner = programs, folder, settings, runner
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self.password = secrets.token_hex(12)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        (folder / "password").write_text(self.password, encoding="utf-8")
        if runner is not None:  # PostgreSQL refuses to run as root
            for path in (folder, folder / "password"):
                os.chown(path, runner.pw_uid, runner.pw_gid)
        made = self._start(
            "initdb", "--pgdata", str(folder / "data"), "--username", USER, "--pwfile", str(folder / "password"),
            "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
        )  # fmt: skip
        if made.wait(READY_S) != 0:
            raise ModelwatchError(fault("initdb", "exit status", made.returncode, "0", f"See {folder / 'log'}."))

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            command = [str(self._programs / program), *arguments]
            where = self._folder
            if self._runner is None:
                return subprocess.Popen(command, stdout=log, stderr=log, cwd=where)
            user, group = self._runner.pw_uid, self._runner.pw_gid
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=where, user=user, group=group, extra_groups=[])

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, as `store:` in the configuration."""
        return f"postgresql+psycopg://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        """Make an empty database; return its address."""
        self._databases += 1
        name = f"database_{self._databases}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def new_schema(self) -> str:
        """Make an empty schema; return the address by which its tables are found. Faster than a database."""
        self._databases += 1
        name = f"schema_{self._databases}"
        self.run(f"CREATE SCHEMA {name}")
        return f"{self.url()}?options=-csearch_path%3D{name}"

    def run(self, statement: str) -> str:
        """Run one SQL statement as the owner of the server; return what psql prints.

        Raises
        ------
        ModelwatchError   it failed.
        """
        command = [str(self._programs / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement]
        address = self.url().replace("+psycopg", "")
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=READY_S, check=False)
        if done.returncode != 0:
            raise ModelwatchError(fault("psql", "answer", done.stderr.strip()[:200], "success", "See its log."))
        return done.stdout.strip()

    def copy(self, source: str, target: str) -> None:
        """Restore a dump of one database, by its address, into another one, which is empty.

        Raises
        ------
        ModelwatchError   it failed.
        """
        dump = self._folder / f"{secrets.token_hex(4)}.sql"
        steps = (("pg_dump", "-f", str(dump)), ("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(dump)))
        for (program, *arguments), address in zip(steps, (source, target), strict=True):
            command = [str(self._programs / program), *arguments, address.replace("+psycopg", "")]
            done = subprocess.run(command, capture_output=True, text=True, timeout=READY_S, check=False)
            if done.returncode != 0:
                raise ModelwatchError(fault(program, "answer", done.stderr.strip()[:200], "success", "See its log."))

    def start(self) -> None:
        """Start it, again after `stop` or `kill`, on the same port and data.

        Raises
        ------
        ModelwatchError   it ended, or was not ready within 30 seconds.
        """
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", **self._settings}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = self._start("postgres", "-D", str(self._folder / "data"), "-p", str(self.port), *options)
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(ModelwatchError):
                self.run("SELECT 1")
                return
            time.sleep(0.05)
        log = (self._folder / "log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ModelwatchError(fault("postgres", "last line of its log", log[-1:], "it to be ready", "See its log."))

    def stop(self) -> None:
        """Stop it: transactions that are open are rolled back."""
        self._end(immediately=False)

    def kill(self) -> None:
        """Let it die as in a crash; what was committed is recovered by `start`."""
        self._end(immediately=True)

    def _end(self, *, immediately: bool) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            # SIGQUIT: its children end at once, too; after SIGKILL they would hold the port and the memory
            process.send_signal(3 if immediately else 2)
            process.wait(STOP_S)


@contextlib.contextmanager
def running_postgres(settings: Mapping[str, str] = FAST) -> Iterator[Postgres]:
    """Run a real PostgreSQL on a free port of 127.0.0.1 until the block ends; its data is in a folder of its own.

    When the caller is root it runs as the user `postgres`, or `nobody`.

    Parameters
    ----------
    settings : of the server. By default it does not wait for the disk.

    Raises
    ------
    MissingExtra      it is not installed.
    ModelwatchError   it cannot be started.
    """
    programs = _programs()
    runner = None
    if os.geteuid() == 0:
        import pwd  # of Unix

        names = {user.pw_name: user for user in pwd.getpwall()}
        runner = names.get("postgres") or names["nobody"]
    folder = Path(tempfile.mkdtemp(prefix="modelwatch-postgres-"))
    server: Postgres | None = None
    try:
        server = Postgres(programs, folder, settings, runner)
        server.start()
        yield server
    finally:
        if server is not None:
            server.kill()  # its data goes with it: nothing need be written
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    """Return where the programs of PostgreSQL are: those on the PATH, else the newest that Debian has installed."""
    on_path = shutil.which("postgres")
    if on_path is not None:
        return Path(on_path).resolve().parent
    found = [path.parent for path in INSTALLED.glob("*/bin/postgres") if path.parent.parent.name.isdigit()]
    if not found:
        raise MissingExtra("postgres: the program is not installed. Run `apt-get install postgresql`.")
    return max(found, key=lambda path: int(path.parent.name))
