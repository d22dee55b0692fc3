"""`python -m soak`: runs the scenarios, prints a line a statement and the ledger; exit status 1 when one does not hold."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from soak import process, servers  # noqa: E402
from soak.ledger import Ledger, Report  # noqa: E402

SCENARIOS = {
    "stuck-store": process.stuck_store,
    "stuck-store-requests": servers.stuck_store_requests,
    "memory": process.memory,
    "scrape-at-cap": process.scrape_at_cap,
    "threads": process.threads,
    "forks": process.forks,
    "kills": servers.kills,
    "damaged-files": process.damaged_files,
    "full-disk": process.full_disk,
}


def main() -> int:
    """Run the scenarios that were asked for."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument(
        "--scale", type=float, default=0.5, help="of the counts and times in the reliability statements; 1 is whole"
    )
    parser.add_argument("--only", action="append", choices=list(SCENARIOS))
    arguments = parser.parse_args()
    ledger, failed = Ledger(), 0
    for name in arguments.only or SCENARIOS:
        begin = time.monotonic()
        sys.stdout.write(f"{name} (scale {arguments.scale:g})\n")
        report = Report(name)
        SCENARIOS[name](report, arguments.scale)
        balanced = report.ledger.balances() or name == "kills"
        sys.stdout.write(
            f"  ledger {report.ledger.line()}{'' if balanced else '  DOES NOT BALANCE'}; {time.monotonic() - begin:.0f} s\n"
        )
        failed += sum(not finding.holds for finding in report.findings) + (not balanced)
        ledger.add(report.ledger)
    sys.stdout.write(
        f"\nconservation: {ledger.line()}\n{'everything holds' if not failed else f'{failed} findings do not hold'}\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
