"""Asks the service whether it answers, every few seconds, and counts the minutes in which it did."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from modelwatch import names
from modelwatch.clock import SteadyClock
from modelwatch.signals import Look
from modelwatch.signals.requests import FAILURES, SLOW
from modelwatch.signals.service import MINUTE_TABLES, availability_minute, throughput_minute
from modelwatch.store.live import MINUTE, Key
from modelwatch.store.writer import LiveWriter
from modelwatch.tally import Tally

EVERY_S = 15.0
WAIT_S = 5.0
MOST_BYTES = 65_536


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A health check that points elsewhere has not answered."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


def answers(url: str, wait_s: float = WAIT_S) -> bool:
    """Tell whether a GET of an address is answered with a status below 400 in time."""
    try:
        with _opener.open(urllib.request.Request(url), timeout=wait_s) as answer:  # noqa: S310 - of the configuration
            answer.read(MOST_BYTES)
            return True
    except (OSError, ValueError, urllib.error.URLError):
        return False
    except Exception:  # noqa: BLE001 - http.client.HTTPException: no HTTP
        return False


class Minutes:
    """Counts, minute by minute, whether the service answered and whether it held its load.

    The counts are rows of `live.db` beside those of the workers, under the configured version of each model.

    Parameters
    ----------
    versions : {model: version}.
    replicas : how many the configuration has, for what they cost.
    """

    def __init__(self, live: Path, versions: Mapping[str, str], replicas: int, clock: SteadyClock) -> None:
        self.clock, self.replicas = clock, replicas
        self._writer = LiveWriter(live, clock, 1.0, registers=False)
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
        minute = int(self.clock.now() // MINUTE)
        if self._minute is not None and minute != self._minute:
            self._close(minute, looks)
        self._minute = minute
        self._asked |= bool(found)
        for replica, answered in found.items():
            self._seen[replica] = self._seen.get(replica, False) or answered
        if any(found.values()):
            for tally in self._tallies.values():
                tally.tables[names.REPLICA_SECONDS.name].count((), round(min(since_s, 2 * EVERY_S) * self.replicas))
        self._writer.commit(dict(self._tallies), {}, {})

    def _close(self, minute: int, looks: Mapping[str, Look]) -> None:
        assert self._minute is not None
        missed = max(0, minute - self._minute - 1)  # nobody looked: the process was stopped, or the machine slept
        for key, tally in self._tallies.items():
            table = tally.tables[names.SLICES.name]
            if self._asked:
                table.count(("availability", availability_minute(self._seen)))
                if missed:
                    table.count(("availability", availability_minute(None)), min(missed, MINUTE * 24))
            said = _throughput(looks.get(key.model))
            if said is not None:
                table.count(("throughput", said))
        self._seen, self._asked = {}, False

    def close(self) -> None:
        """Close the file."""
        self._writer.leave()


def _throughput(look: Look | None) -> str | None:
    """Return what the last minute was for the throughput objective."""
    if look is None or look.objectives.throughput is None:
        return None
    counts = look.counts(float(MINUTE))
    if counts is None:
        return None
    slow, requests = SLOW.count(counts)
    failed, _ = FAILURES.count(counts)
    return throughput_minute(
        requests, int(slow or 0), int(failed or 0), offered=requests / MINUTE, objectives=look.objectives
    )


class Prober:
    """Asks every replica in turn, in a thread of its own.

    Parameters
    ----------
    urls : the health checks; none: nobody is asked.
    ask : tests pass their own.
    """

    def __init__(self, urls: list[str], every_s: float = EVERY_S, ask: Callable[[str], bool] = answers) -> None:
        self.urls, self.every_s, self._ask = urls, every_s, ask
        self._found: dict[str, bool] = {}
        self._stop = threading.Event()
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="modelwatch-prober", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def found(self) -> dict[str, bool]:
        """Return what each replica did when it was asked last; waits for the first round."""
        if self.urls:
            self._asked.wait(WAIT_S * len(self.urls) + 1)
        return dict(self._found)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._found = {url: self._ask(url) for url in self.urls}
            self._asked.set()
            self._stop.wait(self.every_s)

    def stop(self) -> None:
        """Ask no more."""
        self._stop.set()
