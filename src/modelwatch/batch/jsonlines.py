"""JSON lines: one object a row, in batches of columns; values keep the kinds that JSON gives them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modelwatch.errors import ConfigError

ROWS = 16_384  # of a batch
LOOKED_AT = 10_000  # rows whose keys name the columns


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.name.endswith(".gz") else path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ConfigError(
                    f"{path}:{number}: the line is no JSON ({error}); expected an object a line. Mend or remove it."
                ) from None
            if not isinstance(row, dict):
                raise ConfigError(
                    f"{path}:{number}: the line is of type {type(row).__name__}; expected an object. Mend or remove it."
                )
            yield row


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the keys of the first rows; those of objects within are joined by a point."""
    names: dict[str, None] = {}
    for number, row in enumerate(_lines(path)):
        if number >= LOOKED_AT:
            break
        names.update(dict.fromkeys(_flat(row)))
    return tuple(names)


def _flat(row: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat


def batches(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield batches of columns, None where a row has no such key."""
    rows: list[Mapping[str, Any]] = []
    for row in _lines(path):
        rows.append(_flat(row) if any(type(value) is dict for value in row.values()) else row)
        if len(rows) == ROWS:
            yield _columns(rows, columns)
            rows = []
    if rows:
        yield _columns(rows, columns)


def _columns(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> dict[str, list[Any]]:
    return {name: [row.get(name) for row in rows] for name in columns}
