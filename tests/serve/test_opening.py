"""A store that cannot be opened, and a port that is taken: what `serve` says, when it waits, and how it ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from alerts.life import requests
from integrations.calling import call
from modelwatch.config import load_config
from modelwatch.errors import ConfigError, MissingExtra, ModelwatchError, NewerFormat, StoreUnavailable
from modelwatch.groundtruth.database import Database
from modelwatch.record.faults import Faults
from modelwatch.serve.opening import Opening, listening
from modelwatch.serve.run import app_of, app_waiting
from modelwatch.testing import StuckStore
from modelwatch.testing.postgres import Postgres, running_postgres
from serve.conftest import House
from serve.test_bad_days import HERE, PATHS
from support import free_port

AWAY = {"status": "cannot tell", "reason": "the store does not answer; see the log"}
LONG_S = 120.0  # only a fault takes longer
CONFIG = """
service: {{name: api}}
models: {{m: {{version: "1", task: classification, classes: [a, b]}}}}
store: {store}
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL; where it is missing the test is skipped, and fails under CI."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except MissingExtra as missing:
            if os.environ.get("CI") == "true":
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield server


def made(path: Path) -> Path:
    """Make an empty store."""
    database = Database(f"sqlite:///{path}")
    database.open()
    database.close()
    return path


class Once(threading.Event):
    """A wish to stop that comes after some tries; nobody waits."""

    def __init__(self, tries: int) -> None:
        super().__init__()
        self.left, self.waited = tries, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        """Note how long it was to wait; return whether to stop."""
        assert timeout is not None
        self.waited.append(timeout)
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("file/store.db", "See who may write there, or name another in the configuration."),
        ("folder", "See who may write there, or name another in the configuration."),
        ("garbage.db", "Move the file away, or name another in the configuration."),
        ("newer.db", "Upgrade modelwatch, or name another store."),
    ],
)
def test_a_file_that_never_opens(tmp_path: Path, store: str, told: str) -> None:
    """A path through a file, a folder, garbage, a newer layout: one line that says what to do, and no second try."""
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "garbage.db").write_bytes(b"not a database" * 400)
    newer = Database(f"sqlite:///{made(tmp_path / 'newer.db')}")
    newer.write(lambda db: db.exec_driver_sql("UPDATE modelwatch_store SET value = '999' WHERE name = 'layout'"))
    newer.close()
    opening = Opening(f"sqlite:///{tmp_path / store}")
    with pytest.raises((StoreUnavailable, NewerFormat)) as caught:
        opening.tried()
    assert str(caught.value).endswith(told) and "\n" not in str(caught.value)


def test_a_server_that_never_lets_in(postgres: Postgres) -> None:
    """A wrong password, a database that is not there: no waiting helps, and the password is not told."""
    for url in (postgres.url("nowhere"), postgres.url().replace(postgres.password, "wr0ng")):
        with pytest.raises(StoreUnavailable, match="Correct the address, or see that the database has them") as caught:
            Opening(url).tried()
        assert postgres.password not in str(caught.value) and "wr0ng" not in str(caught.value)


def test_a_store_that_is_locked_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ever more seldom, up to a limit; each change of state is one line of the log."""
    path = made(tmp_path / "truth.db")
    opening, stop = Opening(f"sqlite:///{path}", 1.0, 5.0, busy_s=0.01), Once(5)
    with StuckStore(path):
        assert not opening.tried() and "locked" in opening.reason
        assert not opening.wait(stop)
    assert stop.waited == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
    assert opening.wait(Once(1)) and opening.reason == ""
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(told) == 2
    assert "it is tried again: store: answer of" in told[0]
    assert told[1] == "modelwatch: the store answers; alerts are evaluated"


def test_pages_while_the_store_is_waited_for(house: House) -> None:
    """Every page stands and shows the counts; Health says why nobody is told, and /healthz that."""
    path = made(house.folder / "truth.db")
    house.happen(*requests(200))
    config = load_config(house.folder / "modelwatch.yaml")
    opening = Opening(f"sqlite:///{path}", busy_s=0.01)
    with StuckStore(path):
        assert not opening.tried()
    app = app_waiting(config, config.live, opening, clock=house.clock)
    for page in PATHS:
        assert (page, call(app, page, headers=[HERE]).status) == (page, 200)
    shown = call(app, "/", headers=[HERE]).body.decode()
    assert "alerts are not evaluated" in shown and "database is locked" in shown
    health = call(app, "/healthz", headers=[HERE])
    assert (health.status, json.loads(health.body)) == (503, AWAY)


def test_healthz_says_when_a_store_has_gone(house: House) -> None:
    """While the store of one that runs is stuck, /healthz says that nobody would be told; afterwards it is well."""
    parts = house.serve()
    house.rounds(parts, 1)
    app = app_of(parts)
    assert call(app, "/healthz", headers=[HERE]).status == 200
    with StuckStore(house.folder / "truth.db"):
        house.clock.advance(15)
        assert not parts.evaluator.round()
        health = call(app, "/healthz", headers=[HERE])
        assert (health.status, json.loads(health.body)) == (503, AWAY)
    house.rounds(parts, 1)
    assert call(app, "/healthz", headers=[HERE]).status == 200


def test_a_known_fault_has_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """What says by itself what is wrong is one line; a mistake of ours has its traceback."""
    faults = Faults()
    faults.add("store", StoreUnavailable("store: away"), ours=False)
    faults.add("commit", ValueError("a mistake"), ours=False)
    faults.drain()
    shown = {vars(record)["where"]: bool(record.exc_info) for record in caplog.records}
    assert shown == {"store": False, "commit": True}


def test_a_port_is_listened_on_or_refused() -> None:
    """All addresses of a host, until the block ends; a taken port and a foreign host are one line each."""
    with listening("localhost", 0) as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--port: port {port} of 127.0.0.1 cannot be used \(Address already in"):
            listening("127.0.0.1", port).__enter__()
    with listening("127.0.0.1", port), socket.create_connection(("127.0.0.1", port), timeout=10):
        pass
    with pytest.raises(ConfigError, match="of 192.0.2.1 cannot be used"):
        listening("192.0.2.1", 0).__enter__()


def health(port: int) -> tuple[int, str]:
    """Return what /healthz answers; 0 while nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
            return answer.status, json.load(answer)["status"]
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["status"]
    except OSError:
        return 0, ""


def wait_until(port: int, status: int) -> str:
    """Ask until /healthz has a status; return its words."""
    deadline = time.monotonic() + LONG_S
    while (found := health(port))[0] != status:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found[1]


def test_a_server_that_comes_late(tmp_path: Path, postgres: Postgres) -> None:
    """`serve` is there before its PostgreSQL: it says so once, and evaluates when it has come; no traceback."""
    (tmp_path / "modelwatch.yaml").write_text(CONFIG.format(store=postgres.new_database()))
    port = free_port()
    command = [sys.executable, "-m", "modelwatch", "serve", "--port", str(port)]
    postgres.stop()
    try:
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            try:
                assert wait_until(port, 503) == "cannot tell"
            finally:
                postgres.start()
            try:
                assert wait_until(port, 200) == "ok"
            finally:
                process.terminate()
            _, said = process.communicate(timeout=LONG_S)
            assert process.returncode == 0
    finally:
        with contextlib.suppress(ModelwatchError):
            postgres.run("SELECT 1")
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if "WARNING" in line]
    assert "no alert is evaluated until the store answers" in lines[0] and "Connection refused" in lines[0]
    assert [line for line in lines if line.endswith("the store answers; alerts are evaluated")]
