"""`python -m soak`: runs the scenarios, prints every figure beside its bar, and the ledger; exit status 1 when one fails."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soak import accuracy, faults, labels, notices, page, process, servers, shutdown, watched  # noqa: E402
from soak.ledger import Finding, Ledger, Report  # noqa: E402

SCENARIOS = {
    "stuck-store": process.stuck_store,
    "stuck-store-requests": servers.stuck_store_requests,
    "drops": watched.drops,
    "silence": watched.silence,
    "memory": process.memory,
    "scrape-at-cap": process.scrape_at_cap,
    "threads": process.threads,
    "forks": faults.forks,
    "kills": servers.kills,
    "dead-workers": faults.dead_workers,
    "damaged-files": faults.damaged_files,
    "shutdown": shutdown.hung_store,
    "flush": shutdown.time_outs,
    "full-disk": faults.full_disk,
    "killed-labels": labels.kills,
    "full-disk-labels": labels.full_disk,
    "killed-notices": notices.kills,
    "accuracy": accuracy.labels,
}

PROVES = {  # the statement that each is for, the first of several
    "stuck-store": 3, "stuck-store-requests": 4, "drops": 8, "silence": 20, "memory": 9, "scrape-at-cap": 10, "threads": 21,
    "forks": 23, "kills": 24, "dead-workers": 24, "damaged-files": 25, "shutdown": 27, "flush": 27, "full-disk": 48,
    "killed-labels": 47, "full-disk-labels": 48, "killed-notices": 42, "accuracy": 32,
}  # fmt: skip


def main() -> int:
    """Run the scenarios that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=0.3, help="of the counts and times in the reliability statements; 1 is whole"
    )
    parser.add_argument("--only", action="append", choices=list(SCENARIOS))
    parser.add_argument("--write", type=Path, metavar="PATH", help="write the figures of a whole run as a page")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers of a scenario end, too
    if given.only and given.write:
        parser.error("--write: given with --only; expected a whole run. Leave one of them out.")
    begin, load = time.monotonic(), os.getloadavg()[0]
    findings, ledger = run(given.only or list(SCENARIOS), given.scale)
    failed = [finding for finding in findings if finding.holds is False]
    sys.stdout.write(f"\nconservation: {ledger.line()}\n")
    sys.stdout.write(f"{len(findings) - len(failed)} of {len(findings)} findings hold or cannot be told")
    sys.stdout.write(f", {len(failed)} FAIL\n" if failed else "\n")
    if given.write:
        about = page.Run(given.scale, time.monotonic() - begin, load)
        given.write.write_text(page.render(findings, ledger, about), encoding="utf-8")
        sys.stdout.write(f"Written: {given.write}\n")
    return 1 if failed else 0


def run(chosen: list[str], scale: float) -> tuple[list[Finding], Ledger]:
    """Run scenarios; return their findings and the sum of their ledgers."""
    findings: list[Finding] = []
    ledger = Ledger()
    for name in chosen:
        begin = time.monotonic()
        sys.stdout.write(f"{name} (scale {scale:g})\n")
        report = Report(name)
        try:
            SCENARIOS[name](report, scale)
        except Exception as error:  # noqa: BLE001 - the others are run all the same
            traceback.print_exc()
            why = f"{type(error).__name__}: {error}"
            report.check(PROVES[name], name, "it runs to its end", why, holds=False)
        took = time.monotonic() - begin
        sys.stdout.write(f"  {took:.0f} s; ledger {report.ledger.line()}\n")
        if not report.ledger.balances():
            report.check(PROVES[name], f"ledger of {name}", "in = out", report.ledger.line(), holds=False)
        findings += report.findings
        ledger.add(report.ledger)
    return findings, ledger


if __name__ == "__main__":
    sys.exit(main())
