"""Generated files on the disk: a file that somebody has changed is never overwritten without being told."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from modelwatch.errors import ConfigError, fault

MANIFEST = ".modelwatch-generated.json"  # {path: digest of the text that was written}
ONCE = "targets/"  # files of this folder are yours once they are written


class Written(NamedTuple):
    """What became of the files: paths below the directory."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]
    removed: tuple[str, ...] = ()


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def write(files: Mapping[str, str], directory: Path, *, force: bool = False) -> Written:
    """Write the files below a directory; all of them, or none where one has been changed by hand.

    Parameters
    ----------
    force : overwrite what was changed by hand.

    Raises
    ------
    ConfigError   files that were changed by hand are in the way, or the directory cannot be written.
    """
    known = _manifest(directory)
    present = {path: _read(directory / path) for path in files}
    changed = [path for path in files if _by_hand(path, present[path], files[path], known)]
    if changed and not force:
        what = fault(str(directory), "file", changed[0], "one that modelwatch wrote and nobody changed", "")
        others = f" {len(changed) - 1} more are, too." if len(changed) > 1 else ""
        raise ConfigError(f"{what.rstrip()}{others} See the changes with --diff; take them back, or write --force.")
    kept = [path for path in files if present[path] == files[path] or (present[path] is not None and _once(path))]
    fresh = [path for path in files if path not in kept]
    try:
        for path in fresh:
            target = directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            _replace(target, files[path])
        digests = {**known, **{path: _digest(text) for path, text in files.items() if not _once(path)}}
        directory.mkdir(parents=True, exist_ok=True)
        _replace(directory / MANIFEST, json.dumps(digests, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        where = str(error.filename or directory)
        remedy = f"It says: {error.strerror}. Name another directory."
        raise ConfigError(fault("generate", "directory", where, "one that can be written", remedy)) from None
    return Written(tuple(fresh), tuple(kept))


def differences(files: Mapping[str, str], directory: Path) -> Iterator[str]:
    """Yield the lines of a unified diff from what is there to what would be written."""
    for path, text in files.items():
        before = _read(directory / path)
        if before is None or (before != text and not _once(path)):
            lines = [] if before is None else before.splitlines()
            name = "/dev/null" if before is None else f"a/{path}"
            yield from difflib.unified_diff(lines, text.splitlines(), name, f"b/{path}", lineterm="")


def _once(path: str) -> bool:
    return path.startswith(ONCE)


def _by_hand(path: str, present: str | None, text: str, known: Mapping[str, str]) -> bool:
    if present is None or present == text or _once(path):
        return False
    return known.get(path) != _digest(present)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        remedy = f"It says: {error}. Move it away."
        raise ConfigError(fault("generate", "file", str(path), "a text file that can be read", remedy)) from None


def _manifest(directory: Path) -> dict[str, str]:
    text = _read(directory / MANIFEST)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {str(path): str(digest) for path, digest in found.items()} if isinstance(found, dict) else {}


def _replace(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees the old text or the new one."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
