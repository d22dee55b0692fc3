"""Checks that every relative link of the Markdown files leads to a file of the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def pages() -> list[str]:
    """Return the Markdown files: those that git knows or would add, else (an unpacked archive) all not hidden."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "*.md"]
    try:
        names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = [str(page) for page in Path().rglob("*.md") if not any(part.startswith(".") for part in page.parts)]
    return [name for name in names if Path(name).exists()]


def main() -> int:
    """Return 1 when a link leads nowhere."""
    names = pages()
    broken = 0
    for name in names:
        page = Path(name)
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in target or target.startswith("mailto:") or (page.parent / target).exists():
                continue
            print(f"{name}: link is {target!r}; expected a file. Mend the link.")
            broken += 1
    print(f"links: {broken} broken in {len(names)} pages")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
