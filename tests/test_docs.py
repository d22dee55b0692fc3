"""The documents: the site builds without a warning, and every block of code in them works."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

from modelwatch.config import parse_config
from support import free_port, require, script

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
DEMO = ROOT / "src" / "modelwatch" / "demo"
FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
SKIP = re.compile(r'data-skip="([^"]+)"')
SHOWN = ("text", "console", "promql", "")  # what is read and not run
ENVIRON = {
    "PAGERDUTY_ROUTING_KEY": "k" * 32, "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/a", "SMTP_PASSWORD": "p",
    "MODELWATCH_TOKEN": "t" * 32, "DEADMAN_URL": "https://deadman.example.com/ping", "WEBHOOK_URL": "https://example.com/a",
}  # fmt: skip


MARK = "MODELWATCH_TEST_OF_PAGE"  # in the environment of all processes that a page starts
PORTS = ("8000", "8080", "9099")  # replaced by free ones


class Block(NamedTuple):
    """A block of code. `skip`: why it is not run."""

    language: str
    skip: str | None
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    found = []
    for indent, head, body in FENCE.findall(page.read_text(encoding="utf-8")):
        language = head.strip().split(" ")[0].strip("{.")
        reason = SKIP.search(head)
        text = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        found.append(Block(language, reason.group(1) if reason else None, text))
    return found


def pages() -> Iterator[Path]:
    """Yield the pages that are written by hand."""
    for page in sorted(DOCS.rglob("*.md")):
        if "reference" not in page.relative_to(DOCS).parts:
            yield page


@pytest.fixture(scope="session")
def programs() -> str:
    """A PATH on which `modelwatch` and `python` are those of this environment."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("page", [pytest.param(page, id=page.relative_to(DOCS).as_posix()) for page in pages()])
def test_every_block_works(page: Path, tmp_path: Path, programs: str) -> None:
    """In one folder a page: files that a block names are written, configurations parsed, Python and commands run.

    The first line of a block may name its file, as `# FILE.py` or `# modelwatch.yaml`: it is written, Python is imported,
    and later blocks find it there. The folder begins with the configuration and the profile of the demo; that of the
    tutorial is empty.
    """
    for name in ("modelwatch.yaml", "reference.json") if page.name != "tutorial.md" else ():
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    environ = {**os.environ, **ENVIRON, "PATH": programs, "PYTHONPATH": str(tmp_path), MARK: str(tmp_path)}
    ports = {port: str(free_port()) for port in PORTS}
    try:
        _work(page, tmp_path, environ, ports)
    finally:
        _end(str(tmp_path))


def _work(page: Path, tmp_path: Path, environ: dict[str, str], ports: dict[str, str]) -> None:
    for number, block in enumerate(blocks(page), 1):
        where = f"{page.name}, block {number}"
        for port, free in ports.items():
            block = block._replace(text=block.text.replace(port, free))
        if block.skip is not None or block.language in SHOWN:
            continue
        named = re.match(r"# ([\w/]+\.(?:py|yaml|csv|json))\n", block.text)
        if named:
            (tmp_path / named.group(1)).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / named.group(1)).write_text(block.text, encoding="utf-8")
        if block.language == "yaml":
            if "models:" in block.text:
                parse_config(block.text, where, ENVIRON, tmp_path)
            else:
                yaml.safe_load(block.text)
        elif block.language == "json":
            yaml.safe_load(block.text)
        elif block.language == "python":
            module = Path(named.group(1)).stem if named else None
            _run([sys.executable, "-c", f"import {module}" if module else block.text], tmp_path, environ, where)
        elif block.language in {"sh", "bash"}:
            for program in re.findall(r"^(promtool|amtool|vmalert)\b", block.text, re.MULTILINE):
                require(program)
            _run(["bash", "-euo", "pipefail", "-c", block.text], tmp_path, environ, where)
        else:
            pytest.fail(f"{where}: language is {block.language!r}; expected yaml, json, python, sh or text")


def _end(mark: str) -> None:
    """End what the commands of a page have left running."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                process.kill()


def _run(command: list[str], folder: Path, environ: dict[str, str], where: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{where}:\n{command[-1]}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def test_skips_have_a_reason() -> None:
    """A block that is not run says why in words, and few are not."""
    skipped = [(page.name, block.skip) for page in pages() for block in blocks(page) if block.skip is not None]
    assert all(len(reason.split()) >= 2 for _, reason in skipped if reason is not None), skipped
    run = sum(block.skip is None and block.language not in SHOWN for page in pages() for block in blocks(page))
    assert len(skipped) <= run / 2


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Mkdocs in strict mode: every link leads somewhere, every page is in the navigation, every runbook has a page."""
    from modelwatch.catalogue import ALERTS

    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ALERTS:
        assert (tmp_path / "site" / "runbooks" / f"{name}.html").exists()
    html = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!github|squidfunk)[^"]+\.(?:js|css|woff2?)', html)


def test_figures_quoted_elsewhere_are_those_of_the_benchmarks() -> None:
    """README and docs quote docs/benchmarks.md as `make bench` leaves it; each quotation is in a page, once."""
    figures = script("scripts/figures.py")
    found = figures.passages(figures.rows_of((DOCS / "benchmarks.md").read_text(encoding="utf-8")))
    names = []
    for name in figures.PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        names += [match[2] for match in figures.PASSAGE.finditer(text)]
        assert figures.quoted(text, found) == text, f"{name}: run scripts/figures.py"
    assert sorted(names) == sorted(found)
