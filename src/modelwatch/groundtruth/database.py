"""A store by its URL: opened at first use, again when its file is another one. Runs transactions on it."""

from __future__ import annotations

import errno
import os
import random
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from modelwatch.errors import ConfigError, MissingExtra, StoreUnavailable, fault
from modelwatch.groundtruth import migrations, transactions
from modelwatch.store.live import FileId, drop_log, file_id, log_of

Answer = TypeVar("Answer")

BUSY_S = 5.0  # how long a transaction waits for others
CONNECT_S = 5
SILENT_S = 10
STATEMENT_S = 60
MEETINGS = 8  # how often a transaction that met another one is tried again
MEMORY = (None, "", ":memory:")
PASSING = "See that it runs and may be written; a service tries again by itself."
_FOREIGN = "Move the file away, or name another in the configuration."
_CLOSED = "See who may write there, or name another in the configuration."
_UNKNOWN = "Correct the address, or see that the database has them."
#: Words of the engines for what does not pass by itself, and what to do about it. A server says at the login no more.
LASTING = {
    "not a database": _FOREIGN,
    "malformed": _FOREIGN,
    "unable to open database file": _CLOSED,
    "readonly database": _CLOSED,
    "permission denied": _CLOSED,
    "authentication failed": _UNKNOWN,
    "does not exist": _UNKNOWN,
    "no pg_hba.conf entry": _UNKNOWN,
}
LASTING_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)

_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[object] = []  # connections of a parent: never closed in a child


@dataclass(frozen=True)
class _Opened:
    """An engine, once for writing and once for reading, and which file it has open.

    kept : the connection to the file that was used last, for the next: a pool costs a label more than its rows.
    """

    engine: Engine
    reading: Engine
    file: FileId | None = None
    log: FileId | None = None
    kept: list[Connection] = field(default_factory=list)


class Database:
    """Runs transactions on a SQLite file or a PostgreSQL database.

    Parameters
    ----------
    url : ``sqlite:///FILE`` or ``postgresql+psycopg://USER:PASSWORD@HOST/DATABASE``. Nothing is opened yet.
    busy_s : seconds that a transaction waits for those of others.

    Raises
    ------
    ConfigError    the URL is none of these.
    MissingExtra   the driver is not installed.
    """

    def __init__(self, url: str, busy_s: float = BUSY_S) -> None:
        self.url = _parsed(url)
        self.busy_s = busy_s
        self.where = self.url.render_as_string(hide_password=True)
        self.engine_name = self.url.get_backend_name()
        self.path: Path | None = None
        if self.engine_name == "sqlite" and self.url.database not in MEMORY:
            self.path = Path(str(self.url.database)).absolute()
            self.url = self.url.set(database=str(self.path))  # whatever the working directory will be
        self._log = log_of(self.path) if self.path else Path()
        self.reopened = 0  # files that were deleted or replaced under us
        self.tried_again = 0
        self._renew()
        _databases.add(self)

    def _renew(self) -> None:
        self._opening = threading.RLock()
        self._opened: _Opened | None = None

    def after_fork(self) -> None:
        """Open anew in the child; the connections belong to the parent."""
        _inherited.append(self._opened)
        self._renew()

    def read(self, work: Callable[[Connection], Answer]) -> Answer:
        """Return what `work` reads, all of it as of one moment.

        Raises
        ------
        StoreUnavailable   it cannot be read now.
        NewerFormat        it was made by a newer version.
        """
        return self._run(work, writes=False)

    def write(self, work: Callable[[Connection], Answer]) -> Answer:
        """Run `work` in a transaction, which is durable when this returns. `work` may be run more than once.

        Raises
        ------
        StoreUnavailable   nothing was written, or nobody can know whether.
        NewerFormat        it was made by a newer version.
        """
        return self._run(work, writes=True)

    def write_quickly(self, work: Callable[[Connection], Answer]) -> Answer:
        """Run `work` as `write` does, but do not wait for the disk: the end of the machine may undo it, nothing else.

        Raises
        ------
        as `write`.
        """
        return self._run(work, writes=True, quick=True)

    def _run(self, work: Callable[[Connection], Answer], *, writes: bool, quick: bool = False) -> Answer:
        for left in reversed(range(MEETINGS)):
            opened = self.open()
            try:
                answer = self._transact(opened, work, writes=writes, quick=quick)
            except DBAPIError as error:
                if not (left and _met_another(error)):
                    raise self._unavailable(error) from None
                self.tried_again += 1
                time.sleep(random.uniform(0.0, 0.02))
                continue
            except (PoolTimeout, OSError) as error:
                raise self._unavailable(error) from None
            if not (writes and self._is_gone(opened)):  # what was written into a deleted file is written again
                return answer
        raise StoreUnavailable(f"store: {self.where!r} is replaced again and again. Find out who does that.")

    def _transact(
        self, opened: _Opened, work: Callable[[Connection], Answer], *, writes: bool, quick: bool = False
    ) -> Answer:
        try:
            connection = opened.kept.pop()
        except IndexError:
            connection = (opened.engine if writes else opened.reading).connect()
        try:
            if self.engine_name == "sqlite":
                transactions.begin(connection, writes=writes, quick=quick)
                answer = work(connection)
                transactions.commit(connection)
            else:
                with connection.begin():
                    if quick:
                        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                    answer = work(connection)
        except BaseException:
            connection.close()
            raise
        if self.path is not None and not opened.kept and self._opened is opened:
            opened.kept.append(connection)
        else:
            connection.close()
        return answer

    def open(self) -> _Opened:
        """Return what is open, opened or opened again; the tables are there.

        Raises
        ------
        as `write`.
        """
        with self._opening:
            if self._opened is not None and self._is_gone(self._opened):
                self.reopened += 1
                if self.path is not None and file_id(self.path) not in (None, self._opened.file):
                    drop_log(self.path, self._opened.log)  # while ours is open, its number is not in use again
                self.close()
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> _Opened:
        engine = _engine(self.url, self.where, self.busy_s)
        reading = engine
        if self.engine_name == "postgresql":
            reading = engine.execution_options(isolation_level="REPEATABLE READ")
        deadline = time.monotonic() + self.busy_s
        while True:
            try:
                if self.path is not None:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                with engine.connect() as connection, connection.begin():
                    migrations.migrate(connection, self.where)
                if self.path is None:
                    return _Opened(engine, reading)
                return _Opened(engine, reading, file_id(self.path), file_id(self._log))
            except (DBAPIError, OSError) as error:
                # several workers that make one file at once: not every lock of SQLite waits
                if not (isinstance(error, DBAPIError) and _is_locked(error) and time.monotonic() < deadline):
                    engine.dispose()
                    raise self._unavailable(error) from None
                time.sleep(random.uniform(0.01, 0.1))
            except BaseException:
                engine.dispose()
                raise

    def _is_gone(self, opened: _Opened) -> bool:
        """Tell whether the file that is open is not at its path any more, or writes into a log that nobody reads."""
        if self.path is None:
            return False
        if opened.file is None or file_id(self.path) != opened.file:
            return True
        return opened.log is not None and file_id(self._log) != opened.log

    def _unavailable(self, error: BaseException) -> StoreUnavailable:
        cause = getattr(error, "orig", None) or error  # the driver's words: without the statement and its values
        cause = getattr(getattr(cause, "diag", None), "message_primary", None) or cause  # nor the row it is about
        words = " ".join(str(cause).split())[:200] or type(cause).__name__
        secret = self.url.password
        if secret:
            words = words.replace(str(secret), "***")
        closed = _CLOSED if getattr(error, "errno", None) in LASTING_ERRORS else ""
        remedy = next((told for sign, told in LASTING.items() if sign in words), closed)
        unavailable = StoreUnavailable(
            fault("store", f"answer of {self.where!r}", words, "a store that can be written", remedy or PASSING)
        )
        unavailable.lasting = bool(remedy)
        unavailable.busy = isinstance(error, DBAPIError) and (_is_locked(error) or _met_another(error))
        unavailable.refused = isinstance(error, (DataError, IntegrityError))
        return unavailable

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._opening:
            opened, self._opened = self._opened, None
            if opened is not None:
                while opened.kept:
                    opened.kept.pop().close()
                opened.engine.dispose()


def _parsed(text: str) -> URL:
    expected = "sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    try:
        url = make_url(text)
    except ArgumentError:  # its message shows the text, which may hold a password
        raise ConfigError(f"store: the URL cannot be read; expected {expected}. Write the whole address.") from None
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ConfigError(fault("store", "kind", url.drivername, expected, "Write the whole address."))
    return url


def _engine(url: URL, where: str, busy_s: float) -> Engine:
    """Return an engine whose every new connection is set up as durability wants it."""
    options: dict[str, Any] = {"hide_parameters": True, "poolclass": QueuePool, "pool_timeout": 30}
    if url.get_backend_name() == "sqlite":
        options["connect_args"] = {"timeout": busy_s, "check_same_thread": False}
        if url.database in MEMORY:
            options |= {"pool_size": 1, "max_overflow": 0}  # one connection is the whole database
    else:
        options |= {"pool_pre_ping": True, "isolation_level": "READ COMMITTED"}
        options["connect_args"] = {
            "connect_timeout": CONNECT_S,
            "application_name": "modelwatch",
            "tcp_user_timeout": SILENT_S * 1000,  # a server that the network has lost
            "keepalives_idle": SILENT_S,
        }
    try:
        engine = create_engine(url, **options)
    except (NoSuchModuleError, ImportError):
        raise MissingExtra("store: psycopg is not installed. Run: pip install 'modelwatch[postgres]'") from None
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", lambda db, _: _closing(db, transactions.prepare, where))
        event.listen(engine, "begin", transactions.join)
    else:
        event.listen(engine, "connect", lambda db, _: _closing(db, _prepare_postgres, busy_s))
    return engine


def _closing(db: Any, prepare: Callable[[Any, Any], None], argument: object) -> None:
    """Prepare a new connection; one that cannot be used is closed at once, which not every SQLAlchemy does."""
    try:
        prepare(db, argument)
    except BaseException:
        db.close()
        raise


def _prepare_postgres(db: Any, busy_s: float) -> None:
    """Let every commit reach the disk before it is answered, whatever the server's default, and no wait be endless."""
    with db.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),"
            " CASE current_setting('synchronous_commit')"
            " WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END",
            (f"{round(busy_s * 1000)}", f"{STATEMENT_S * 1000}"),
        )
    db.commit()


def _is_locked(error: DBAPIError) -> bool:
    """Tell a store that somebody else is writing at the moment."""
    return "locked" in str(error.orig) or getattr(error.orig, "sqlstate", None) == "55P03"


def _met_another(error: DBAPIError) -> bool:
    """Tell a transaction that was ended for the sake of another one, or a connection that died while idle."""
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01") or error.connection_invalidated


def _after_fork_in_child() -> None:
    for database in list(_databases):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
