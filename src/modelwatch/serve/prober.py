"""Asks the service whether it answers, every few seconds, and counts the minutes in which it did."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from modelwatch import names
from modelwatch.clock import SteadyClock
from modelwatch.errors import DamagedData, NewerFormat
from modelwatch.signals import Look
from modelwatch.signals.requests import FAILURES, SLOW
from modelwatch.signals.service import MINUTE_TABLES, availability_minute, throughput_minute
from modelwatch.store.live import BASE, EVERYDAY, MINUTE, Key, Row, Spans
from modelwatch.store.reader import LiveReader
from modelwatch.store.writer import LiveWriter
from modelwatch.tally import Tally

EVERY_S = 15.0
WAIT_S = 5.0
MOST_MISSED = 1440  # minutes in which nobody looked that are counted at once: a day


def answers(url: str, wait_s: float = WAIT_S) -> bool:
    """Tell whether a GET of an address is answered with a 2xx status within `wait_s` seconds in all.

    One that points elsewhere has not answered, nor one that sends its answer byte by byte.
    """
    try:
        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=wait_s)
        timer = threading.Timer(wait_s, _hang_up, (connection,))
        timer.daemon = True
        timer.start()
        try:
            target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
            connection.request("GET", target, headers={"User-Agent": "modelwatch", "Connection": "close"})
            return 200 <= connection.getresponse().status < 300
        finally:
            timer.cancel()
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return False


def shown(url: str) -> str:
    """Return an address as everybody may see it: without a name, a password, or what stands behind a question mark.

    Examples
    --------
    >>> shown("http://user:secret@127.0.0.1:8000/healthz?key=secret")
    'http://127.0.0.1:8000/healthz'
    """
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _hang_up(connection: http.client.HTTPConnection) -> None:
    sock: socket.socket | None = connection.sock
    with contextlib.suppress(OSError):
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)


class Minutes:
    """Counts, minute by minute, whether the service answered and whether it held its load.

    The counts are rows of `live.db` beside those of the workers, under the configured version of each model.

    Parameters
    ----------
    versions : {model: version}.
    replicas : how many the configuration has, for what they cost.
    minute_s : how long a minute of an objective is.
    spans : of the rows.
    alone : no other file has minutes of this service, so that those which nobody counted in this one are unknown.
    """

    def __init__(
        self,
        live: Path,
        versions: Mapping[str, str],
        replicas: int,
        clock: SteadyClock,
        minute_s: int = MINUTE,
        spans: Spans = EVERYDAY,
        *,
        alone: bool = True,
    ) -> None:
        self.clock, self.replicas, self.minute_s, self.alone = clock, replicas, minute_s, alone
        self._live = live
        self._writer = LiveWriter(live, clock, 1.0, registers=False, spans=spans)
        self._tallies = {Key(model, version): Tally(MINUTE_TABLES) for model, version in versions.items()}
        self._minute: int | None = None
        self._seen: dict[str, bool] = {}
        self._asked = False

    def saw(self, found: Mapping[str, bool], looks: Mapping[str, Look], since_s: float) -> None:
        """Take the answers of one round; count the minute that has ended, if one has.

        Parameters
        ----------
        found : {replica: whether it answered}; empty where nobody is asked.
        looks : of the models, for what they did in the minute that has ended.
        since_s : seconds since the last round, of which the service answered if it answers now.

        Raises
        ------
        sqlite3.Error, OSError, ModelwatchError   it is not in the file; the next call writes it, too.
        """
        minute = int(self.clock.now() // self.minute_s)
        if self._minute is None and self.alone and self._live.exists():
            self._count_unseen(minute)
        elif self._minute is not None and minute != self._minute:
            self._close(minute, looks)
        self._minute = minute
        self._asked |= bool(found)
        for replica, answered in found.items():
            self._seen[replica] = self._seen.get(replica, False) or answered
        if any(found.values()):
            for tally in self._tallies.values():
                tally.tables[names.REPLICA_SECONDS.name].count((), round(min(since_s, 2 * EVERY_S) * self.replicas))
        self._writer.commit({key: tally.copy() for key, tally in self._tallies.items()}, {}, {})

    def _close(self, minute: int, looks: Mapping[str, Look]) -> None:
        assert self._minute is not None
        missed = max(0, minute - self._minute - 1)  # nobody looked: the process was stopped, or the machine slept
        for key, tally in self._tallies.items():
            table = tally.tables[names.SLICES.name]
            if self._asked:
                table.count(("availability", availability_minute(self._seen)))
                if missed:
                    table.count(("availability", availability_minute(None)), min(missed, MOST_MISSED))
            said = _throughput(looks.get(key.model), self.minute_s)
            if said is not None:
                table.count(("throughput", said))
        self._seen, self._asked = {}, False

    def _count_unseen(self, minute: int) -> None:
        """Count what lies between this minute and the one that was under way when somebody was last seen to count."""
        reader = LiveReader(self._live)
        try:
            rows = reader.poll()[0].rows
        finally:
            reader.close()
        models, last = {key.model for key in self._tallies}, dict[str, int]()
        for row in sorted(rows, key=lambda row: row.start + row.span, reverse=True):
            if row.key.model in models - last.keys() and row.span != BASE and (asked := _asked(row)) is not None:
                its = int((row.start + max(row.span - self.minute_s, 0)) // self.minute_s)
                last[row.key.model] = its + asked
        for key, tally in self._tallies.items():
            missed = minute - last.get(key.model, minute)
            if missed > 0:
                unknown = ("availability", availability_minute(None))
                tally.tables[names.SLICES.name].count(unknown, min(missed, MOST_MISSED))

    def forget(self) -> None:
        """Leave the minute that is under way uncounted: another process counts since."""
        self._minute, self._seen, self._asked = None, {}, False

    def close(self) -> None:
        """Close the file."""
        self._writer.leave()


def _asked(row: Row) -> bool | None:
    """Tell whether a row of one that asks the service has counted its minute; None: it is not of one that asks."""
    try:
        tables = Tally.load(row.tally).tables
    except (DamagedData, NewerFormat):
        return None
    slices, seconds = (tables.get(metric.name) for metric in (names.SLICES, names.REPLICA_SECONDS))
    slos = set() if slices is None else {slo for (slo, outcome) in slices.rows if slices.value((slo, outcome))}
    if "availability" in slos:  # the first commit of a minute is written to the row of the one before
        return True
    return False if seconds is not None and seconds.total() > 0 else None


def _throughput(look: Look | None, minute_s: int) -> str | None:
    """Return what the last minute was for the throughput objective."""
    if look is None or look.objectives.throughput is None:
        return None
    counts = look.counts(float(minute_s))
    if counts is None:
        return None
    slow, requests = SLOW.count(counts)
    failed, _ = FAILURES.count(counts)
    return throughput_minute(
        requests, int(slow or 0), int(failed or 0), offered=requests / minute_s, objectives=look.objectives
    )


class Prober:
    """Asks every replica in turn, in a thread of its own.

    Parameters
    ----------
    urls : the health checks; none: nobody is asked.
    ask : tests pass their own.
    monotonic : seconds.
    """

    def __init__(
        self,
        urls: list[str],
        every_s: float = EVERY_S,
        ask: Callable[[str], bool] = answers,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.urls, self.every_s, self._ask, self._monotonic = urls, every_s, ask, monotonic
        self._found: dict[str, bool] = {}
        self._found_at = monotonic()
        self._stop = threading.Event()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelwatch-prober", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def found(self) -> dict[str, bool]:
        """Return what each replica did when it was asked last, by its address as `shown`; empty before it was asked.

        One that has been asked for too long, since not even its name is found, has not answered.
        """
        found, age = self._found, self._monotonic() - self._found_at
        if age > 2 * (self.every_s + WAIT_S * len(self.urls)):
            return dict.fromkeys(map(shown, self.urls), False)
        return dict(found)

    def wait(self) -> None:
        """Wait until every replica was asked once."""
        if self.urls:
            self._asked.wait(WAIT_S * len(self.urls) + 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.ask()
            self._stop.wait(self.every_s)

    def ask(self) -> None:
        """Ask every replica once."""
        found = {shown(url): self._ask(url) for url in self.urls}
        self._found, self._found_at = found, self._monotonic()
        self._asked.set()

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
