"""What counts as an answer of the service, and the minutes in which it answered."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelwatch import names
from modelwatch.serve.prober import Minutes, Prober, answers
from modelwatch.store.reader import LiveReader, Totals
from modelwatch.testing import FakeClock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def server(answer: bytes, *, pause_s: float = 0.0) -> Iterator[int]:
    """Answer every connection with these bytes, one at a time with a pause between them if there is one."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def run() -> None:
            while not stop.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(4096)
                        if not answer:
                            stop.wait(20)
                        for byte in answer if pause_s else ():
                            connection.sendall(bytes([byte]))
                            stop.wait(pause_s)
                        if not pause_s:
                            connection.sendall(answer)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        stop.set()
        thread.join(30)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"", False),
    ],
)
def test_an_answer_is_a_status_of_success(answer: bytes, expected: bool) -> None:  # noqa: FBT001 - of the table
    """Success alone: no failure, no redirect, no other protocol, no silence."""
    with server(answer) as port:
        assert answers(f"http://127.0.0.1:{port}/healthz?deep=1", 0.3 if not answer else 5) is expected


def test_a_service_that_drips_has_not_answered() -> None:
    """Each byte comes in time, but not all of them do."""
    with server(OK, pause_s=0.05) as port:
        assert not answers(f"http://127.0.0.1:{port}/", 0.4)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1", "http://no.such.host.invalid/", "http:///", "x"])
def test_what_cannot_be_asked_has_not_answered(url: str) -> None:
    """Nobody there, or no address at all: no exception."""
    assert not answers(url, 2)


def test_a_prober_that_hangs_has_no_answer() -> None:
    """While a question lasts for too long, the last answer is not taken for today's."""
    clock, hang = FakeClock(), threading.Event()
    prober = Prober(["u"], 15, lambda _: not hang.wait(0), clock.monotonic)
    assert prober.found() == {}
    prober.ask()
    assert prober.found() == {"u": True}
    clock.advance(39)
    assert prober.found() == {"u": True}
    clock.advance(2)
    assert prober.found() == {"u": False}


def counted(live: Path, clock: FakeClock) -> tuple[dict[str, int], int]:
    """Return the minutes of availability by outcome, and the seconds of replicas, of a live.db."""
    reader = LiveReader(live, clock.monotonic)
    changes, _ = reader.poll()
    reader.close()
    totals = Totals(clock.monotonic)
    totals.apply(changes, {})
    (tally,) = totals.tallies.values()
    table = tally.tables[names.SLICES.name]
    minutes = {
        outcome: n for (slo, outcome) in table.rows if slo == "availability" and (n := table.value((slo, outcome)))
    }
    return minutes, tally.tables[names.REPLICA_SECONDS.name].total()


@pytest.mark.parametrize("seed", range(5))
def test_minutes_are_good_bad_or_unknown(tmp_path: Path, seed: int) -> None:
    """Good with an answer of any replica, bad without one, unknown where nobody asked: as counted by a plain loop."""
    chance, clock = random.Random(seed), FakeClock(wall=1_700_000_040)
    minutes = Minutes(tmp_path / "live.db", {"m": "1"}, 3, clock)
    seen: dict[int, bool] = {}
    replica_s, since = 0, 0.0
    for _ in range(120):
        up = chance.random() < 0.3
        other = chance.random() < 0.1
        minutes.saw({"one": up, "two": other}, {}, since)
        at = int(clock.now() // 60)
        seen[at] = seen.get(at, False) or up or other
        replica_s += round(min(since, 30) * 3) if up or other else 0
        since = 15.0 if chance.random() < 0.95 else 60.0 * chance.randrange(2, 9)
        clock.advance(since)
    minutes.close()
    first, last = min(seen), max(seen)
    truth = Counter("unknown" if m not in seen else "good" if seen[m] else "bad" for m in range(first, last))
    assert counted(tmp_path / "live.db", clock) == (dict(truth), replica_s)
    assert len(truth) == 3


def test_minutes_that_another_process_counted_are_not_unknown(tmp_path: Path) -> None:
    """After the lead was lost and won again, what lies between is the other one's."""
    clock = FakeClock(wall=1_700_000_040)
    minutes = Minutes(tmp_path / "live.db", {"m": "1"}, 1, clock, alone=False)
    for _ in range(5):
        minutes.saw({"u": True}, {}, 15)
        clock.advance(15)
    minutes.forget()
    clock.advance(3600)
    for _ in range(5):
        minutes.saw({"u": True}, {}, 15)
        clock.advance(15)
    minutes.close()
    assert counted(tmp_path / "live.db", clock)[0] == {"good": 2}


@pytest.mark.parametrize(("gap_s", "unknown"), [(30, 0), (150, 2), (3600, 60), (10 * 86_400, 1440)])
@pytest.mark.parametrize("stopped", ["restart", "sleep"])
@pytest.mark.parametrize("up", [True, False])
def test_minutes_in_which_no_serve_ran_are_unknown(
    tmp_path: Path,
    gap_s: int,
    unknown: int,
    stopped: str,
    up: bool,  # noqa: FBT001 - of the table
) -> None:
    """A `serve` that begins again counts what lies between, up to a day; a new model misses nothing.

    The minute that was under way when it ended is among them: it was not seen whole.
    """
    clock, live = FakeClock(wall=1_700_000_040), tmp_path / "live.db"
    minutes = Minutes(live, {"m": "1"}, 1, clock)
    for _ in range(5):  # the first minute is counted, the second is under way
        minutes.saw({"u": up}, {}, 15)
        clock.advance(15)
    clock.advance(gap_s - 15)
    if stopped == "restart":
        minutes.close()
        minutes = Minutes(live, {"m": "2", "new": "1"}, 1, clock)
    else:
        minutes.forget()
    for _ in range(5):
        minutes.saw({"u": True}, {}, 15)
        clock.advance(15)
    minutes.close()
    reader = LiveReader(live, clock.monotonic)
    totals = Totals(clock.monotonic)
    totals.apply(reader.poll()[0], {})
    reader.close()
    found: dict[str, Counter[str]] = {}
    for key, tally in totals.tallies.items():
        table = tally.tables[names.SLICES.name]
        counts = found.setdefault(key.model, Counter())
        for _, outcome in table.rows:
            counts[outcome] += table.value(("availability", outcome))
    assert +found["m"] == +Counter(good=1 + up, bad=1 - up, unknown=unknown)
    assert found.get("new", Counter())["unknown"] == 0
