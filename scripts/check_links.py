"""Checks that every relative link of the Markdown files leads to a file of the repository."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def main() -> int:
    """Return 1 when a link leads nowhere."""
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], check=True, capture_output=True, text=True
    ).stdout
    broken = 0
    for name in names.splitlines():
        page = Path(name)
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            if "://" in target or target.startswith("mailto:") or (page.parent / target).exists():
                continue
            print(f"{name}: link is {target!r}; expected a file. Mend the link.")
            broken += 1
    print(f"links: {broken} broken in {len(names.splitlines())} pages")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
