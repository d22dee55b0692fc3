"""What a simulation says: printed as it comes, and put between its marks of a page of the documents."""

from __future__ import annotations

from pathlib import Path

ALERTS_PAGE = Path(__file__).resolve().parents[1] / "docs" / "alerts.md"


class Block:
    """The lines of one result.

    Parameters
    ----------
    name : of its marks in the page.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: list[str] = []
        self.begin, self.end = (f"<!-- simulated {name}: {side} -->" for side in ("begin", "end"))

    def say(self, text: str) -> None:
        """Print a line, and keep it for the page."""
        print(text, flush=True)
        self.lines.append(text)

    def write(self, page: Path) -> None:
        """Put the lines between the marks of a page, instead of what is there.

        Raises
        ------
        SystemExit   the page has no such marks.
        """
        head, begin, rest = page.read_text(encoding="utf-8").partition(self.begin)
        _, end, tail = rest.partition(self.end)
        if not begin or not end:
            raise SystemExit(f"{page}: has no {self.begin} … {self.end}; write both marks where the result belongs")
        text = "\n".join(self.lines)
        page.write_text(f"{head}{self.begin}\n\n```text\n{text}\n```\n\n{self.end}{tail}", encoding="utf-8")
