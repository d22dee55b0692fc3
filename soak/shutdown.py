"""Scenarios of statement 27: a service that is told to stop while its store hangs, and time-outs that are kept."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import time
from pathlib import Path

from modelwatch.record.monitor import Monitor
from modelwatch.schema import ModelSchema
from modelwatch.testing import StuckStore
from soak.ledger import Ledger, Report, percentile
from soak.process import counted, totals
from soak.servers import SERVERS, Clients, service

RATE = 100.0
EXIT_S = 5.0
SAID = re.compile(r"closed with (\d+) events that are not in live\.db")


def hung_store(report: Report, scale: float) -> None:
    """SIGTERM under load while another process holds the file: servers end in time, and say what they could not store."""
    rounds = max(2, int(10 * scale))
    for server, command in SERVERS.items():
        took, sent, stored, said, doubtful = [], 0, 0, 0, 0
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                with service(folder, command(2)) as served, Clients(served.port, RATE) as clients:
                    time.sleep(3)
                    with StuckStore(folder / "live.db"):
                        time.sleep(2)
                        begin = time.monotonic()
                        os.kill(served.process.pid, signal.SIGTERM)
                        served.process.wait(60)
                        took.append(time.monotonic() - begin)
                sent += clients.answered
                doubtful += clients.failed
                stored += sum(counted(tally) for tally in totals(folder / "live.db").values())
                said += sum(int(found) for found in SAID.findall((folder / "said").read_text(encoding="utf-8")))
        lost = sent - stored
        report.ledger.add(Ledger(max(sent, stored), stored, 0, max(0, lost), said))
        report.check(
            27, f"SIGTERM with a stuck store, {server}", f"exit within {EXIT_S:g} s",
            f"slowest {max(took):.1f} s of {rounds} under {RATE:.0f} requests/s", holds=max(took) <= EXIT_S,
        )  # fmt: skip
        report.check(
            27, f"counts that were left, {server}", "every answered request is stored, or said to be lost",
            f"answered {sent:,} = stored {stored:,} + {lost:,}; said {said:,}", holds=0 <= lost <= said <= lost + doubtful,
        )  # fmt: skip


def time_outs(report: Report, scale: float) -> None:
    """`flush(timeout)` and `close(timeout)` keep their time-out, and a flush before `os._exit` keeps the counts."""
    rounds = max(3, int(20 * scale))
    with tempfile.TemporaryDirectory() as name:
        live = Path(name, "live.db")
        monitor = Monitor("flush", "1", ModelSchema(), live=live)
        monitor.flush(10)
        over: list[float] = []
        sent = 0
        with StuckStore(live):
            for timeout in (0.2, 0.5, 1.0, 2.0):
                for _ in range(rounds):
                    monitor.record("/p")
                    sent += 1
                    begin = time.perf_counter()
                    monitor.flush(timeout)
                    over.append((time.perf_counter() - begin) / timeout - 1)
        monitor.flush(30)
        children = rounds
        for _ in range(children):
            child = os.fork()
            if child == 0:
                for _ in range(1000):
                    monitor.record("/child")
                os._exit(0 if monitor.flush(20) else 1)
            os.waitpid(child, 0)
        monitor.close()
        n = counted(totals(live)[monitor.key])
    report.ledger.add(Ledger(sent + 1000 * children, n))
    report.check(
        27, "flush(timeout) with a stuck store", "within 10 % of its time-out",
        f"median {percentile(over, 0.5):+.1%}, worst {max(over, key=abs):+.1%} of {len(over)} at 0.2 to 2 s",
        holds=max(map(abs, over)) <= 0.1,
    )  # fmt: skip
    report.check(
        27, "os._exit after a flush", "nothing is lost",
        f"{n:,} of {sent + 1000 * children:,} events, {children} children", holds=n == sent + 1000 * children,
    )  # fmt: skip
