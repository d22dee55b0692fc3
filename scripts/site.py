"""A hook of mkdocs: runbooks of the package become pages, links to other files of the repository become text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
RUNBOOKS = "src/modelwatch/alerts/runbooks/"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+)([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add a page a runbook, and the list of them."""
    names = sorted(path.stem for path in (ROOT / RUNBOOKS).glob("*.md"))
    for name in names:
        text = (ROOT / RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
        files.append(File.generated(config, f"runbooks/{name}.md", content=text))
    index = "\n".join(
        ["# Runbooks", "", "What to do about each alert.", "", *(f"- [{n}](runbooks/{n}.md)" for n in names)]
    )
    files.append(File.generated(config, "runbooks.md", content=index))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to runbooks to their pages; name the other files that lie outside the documents."""
    up = "../" * page.file.src_uri.count("/")

    def lead(found: re.Match[str]) -> str:
        mark, words, ups, path, anchor = found.groups()
        above = (ROOT / "docs" / page.file.src_uri).parent / ups / path
        inside = above.resolve().relative_to(ROOT).as_posix() if above.resolve().is_relative_to(ROOT) else path
        if inside.startswith("docs/"):
            return found.group()
        if inside.startswith(RUNBOOKS):
            return f"[{words}]({up}runbooks/{inside.removeprefix(RUNBOOKS)}{anchor or ''})"
        return words if mark else f"{words} (`{inside}`)"

    return LINK.sub(lead, markdown)
