"""Take the picture of a report for the documents: a seeded week in which one feature goes wrong.

python scripts/report_picture.py
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from modelwatch.report import report  # noqa: E402 - the tests are no package
from report import reported  # noqa: E402
from server.conftest import Browser, chromium  # noqa: E402

PICTURE = ROOT / "docs" / "images" / "report.webp"
ROWS = 20_000


def main() -> int:
    """Write the picture."""
    program = chromium()
    if program is None:
        sys.exit("report_picture: there is no chromium on the PATH. Run: bash scripts/setup.sh test")
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        reported.write(folder, ROWS)
        os.chdir(folder)
        path = folder / "report.html"
        found = report("week.parquet", "training.parquet", model=reported.model())
        path.write_text(found.to_html(), encoding="utf-8")
        browser = Browser(program, folder / "chromium")
        try:
            browser.open(path.as_uri(), 1440, 1240, scripts=False)
            PICTURE.write_bytes(browser.small_picture())
        finally:
            browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
