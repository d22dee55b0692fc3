"""Takes the pictures of the documents: every page in light, dark and on a phone, of a service that stands still.

Writes docs/images; give a folder to write there. tests/server/test_pictures.py compares the pages with what is kept.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from server.conftest import Browser, Served, chromium  # noqa: E402 - the tests are no package
from server.frozen import frozen, reviewed  # noqa: E402
from server.shots import SHOTS, take  # noqa: E402


def main(folder: Path) -> None:
    """Take all pictures."""
    program = chromium()
    if program is None:
        sys.exit("screenshots: there is no chromium on the PATH. Run: bash scripts/setup.sh test")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as held:
        app, monitor = reviewed(Path(held), frozen)
        served = Served(app)
        browser = Browser(program, Path(held) / "chromium")
        try:
            for shot in SHOTS:
                path = folder / f"{shot.name}.webp"
                path.write_bytes(take(browser, served.url, shot))
                print(f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}: {path.stat().st_size:,} bytes")
        finally:
            browser.close()
            served.close()
            monitor.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
