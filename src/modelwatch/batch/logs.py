"""The inputs of a log: files, globs of files and frames, cut into parts that are read a batch at a time."""

from __future__ import annotations

import glob
import importlib.util
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from modelwatch.batch.columns import Text
from modelwatch.batch.reading import CSV, NULLS, PARQUET, ROW, ROWS, SEPARATORS
from modelwatch.errors import ConfigError, MissingExtra, ModelwatchError
from modelwatch.record.batch import host_values, named_columns

Batch: TypeAlias = Mapping[str, Any]
Read: TypeAlias = Callable[[Sequence[str]], Iterator[Batch]]

JSON = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz")
BUFFER = 65_536  # bytes; without, the whole file or whole columns of it are kept
BATCH_ROWS = 65_536  # twice as many take a third more memory and no less time
PART_ROWS = 1_000_000  # about as many rows are one part
_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Part:
    """Some rows of a log that are read by one thread.

    key : tells it from others, and from the same file with other content; empty for what is in memory.
    rows : how many, where that is known.
    columns : that it has.
    read : yields batches with those of the wanted columns that are there.
    """

    key: str
    rows: int | None
    columns: tuple[str, ...]
    read: Read


@dataclass(frozen=True)
class Logs:
    """All parts of a log. name : for messages."""

    name: str
    parts: tuple[Part, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that any part has, in order."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    @property
    def rows(self) -> int | None:
        """How many rows there are, where every part knows."""
        known = [part.rows for part in self.parts]
        return None if None in known else sum(n for n in known if n is not None)

    def named(self, key: str) -> Logs:
        """Return the parts with one more word in their keys."""
        return Logs(self.name, tuple(replace(part, key=f"{part.key} {key}") for part in self.parts))


def open_logs(data: Any) -> Logs:
    """Return the parts of a log.

    Parameters
    ----------
    data : path, glob or folder of parquet, CSV or JSON-lines files, or a list of these; or a pandas DataFrame, Arrow
        table, record batch or reader, or dict of arrays.

    Raises
    ------
    ConfigError   no such file, a file that cannot be read, or no such form.
    MissingExtra   files need pyarrow.
    """
    if isinstance(data, (str, Path)):
        data = [data]
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, (str, Path)) for one in data):
        files = [file for one in data for file in files_of(str(one))]
        name = str(data[0]) if len(data) == 1 else f"{data[0]} and {len(data) - 1} more"
        return Logs(name, tuple(part for file in files for part in _parts_of(file)))
    return Logs("logs", tuple(_parts_of_frame(data)))


def files_of(pattern: str) -> list[Path]:
    """Return the files that a path, a folder or a glob names, in order.

    Raises
    ------
    ConfigError   there is none.
    """
    path = Path(pattern)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file() and file.name.lower().endswith(_ENDINGS))
    elif path.exists():
        found = [path]
    else:
        found = sorted(Path(one) for one in glob.glob(pattern, recursive=True)) if _WILD & set(pattern) else []  # noqa: PTH207 - absolute patterns
    if not found:
        raise ConfigError(
            f"{pattern}: no file is there; expected a log. Name a file, a folder or a glob such as logs/*.parquet."
        )
    return found


_ENDINGS = (*PARQUET, *CSV, *JSON)


def _parts_of(path: Path) -> list[Part]:
    name = path.name.lower()
    reader = (
        _parquet if name.endswith(PARQUET) else _csv if name.endswith(CSV) else _json if name.endswith(JSON) else None
    )
    if reader is None:
        raise ConfigError(
            f"{path}: its name ends in {path.suffix!r}; expected {', '.join(_ENDINGS)}. Convert or rename it."
        )
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra(
            f"{path}: reading files needs pyarrow, which is not installed. Run `pip install 'modelwatch[batch]'`."
        )
    with readable(path):
        state = path.stat()
        return reader(path, f"{path.absolute()} {state.st_size} {state.st_mtime_ns}")


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever a reader raises says which file it was, in one line."""
    try:
        yield
    except ModelwatchError:
        raise
    except Exception as error:
        if isinstance(error, (OSError, ValueError, EOFError, RecursionError, zlib.error)) or type(
            error
        ).__module__.startswith("pyarrow"):
            what = " ".join(ROW.sub(r"\1", str(error)).split())[:300]
            raise ConfigError(
                f"{path}: cannot be read ({what}); expected parquet, CSV with a header, or JSON lines."
                " Mend it or leave it out."
            ) from None
        raise


def _parquet(path: Path, key: str) -> list[Part]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        metadata, columns = file.metadata, tuple(file.schema_arrow.names)
        texts = [one.name for one in file.schema_arrow if str(one.type) in ("string", "large_string")]
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    groups: list[list[int]] = []
    rows = 0
    for group, size in enumerate(sizes):
        if not groups or rows + size > PART_ROWS:
            groups.append([])
            rows = 0
        groups[-1].append(group)
        rows += size

    def reading(wanted_groups: list[int]) -> Read:
        def read(columns: Sequence[str]) -> Iterator[Batch]:
            known = [name for name in texts if name in set(columns)]  # as the codes that the file has, not as texts
            with (
                readable(path),
                parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER, read_dictionary=known) as opened,
            ):
                there = [name for name in opened.schema_arrow.names if name in set(columns)]
                for batch in opened.iter_batches(BATCH_ROWS, wanted_groups, there, use_threads=False):
                    yield (
                        dict(zip(batch.schema.names, batch.columns, strict=True))
                        if there
                        else {"": [None] * len(batch)}
                    )

        return read

    return [
        Part(f"{key} {some[0]}-{some[-1]}", sum(sizes[i] for i in some), columns, reading(some)) for some in groups
    ] or [Part(key, 0, columns, lambda _: iter(()))]


def _csv(path: Path, key: str) -> list[Part]:
    from pyarrow import csv, input_stream, string

    with input_stream(str(path)) as stream:
        header = stream.read(ROWS).partition(b"\n")[0]
    parse = csv.ParseOptions(
        delimiter=max(SEPARATORS, key=lambda one: header.count(one.encode())), newlines_in_values=True
    )
    names = tuple(csv.open_csv(path, parse_options=parse).schema.names)

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        wanted = [name for name in names if name in set(columns)] or list(names[:1])
        convert = csv.ConvertOptions(
            column_types=dict.fromkeys(names, string()), strings_can_be_null=True, null_values=NULLS,
            include_columns=wanted,
        )  # fmt: skip
        with readable(path):
            for batch in csv.open_csv(path, parse_options=parse, convert_options=convert):
                yield {name: Text(batch.column(i)) for i, name in enumerate(wanted)}

    return [Part(key, None, names, read)]


def _json(path: Path, key: str) -> list[Part]:
    """JSON lines, one object a row. Keys that come later in the file than its first block are read, too."""
    from modelwatch.batch.jsonlines import batches, columns_of

    names = columns_of(path)

    def read(columns: Sequence[str]) -> Iterator[Batch]:
        with readable(path):
            yield from batches(path, columns)

    return [Part(key, None, names, read)]


def _parts_of_frame(data: Any) -> list[Part]:
    if hasattr(data, "read_next_batch") and hasattr(data, "schema"):  # an Arrow reader: it is read once
        names = tuple(data.schema.names)

        def stream(columns: Sequence[str]) -> Iterator[Batch]:
            for batch in data:
                yield {name: batch.column(i) for i, name in enumerate(batch.schema.names) if name in set(columns)}

        return [Part("", None, names, stream)]
    try:
        named = {str(name): column for name, column in named_columns(data, "logs").items()}
        held = {name: column if hasattr(column, "to_pylist") else host_values(column) for name, column in named.items()}
        lengths = {len(column) for column in held.values()}
    except ModelwatchError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever the object's own code raises
        raise ConfigError(f"logs: the data raise {type(error).__name__} when read. Give a DataFrame.") from None
    if len(lengths) > 1:
        raise ConfigError(
            f"logs: lengths of the columns are {sorted(lengths)!r}; expected one. Give a value for every row."
        )
    n = lengths.pop() if lengths else 0

    def slicing(begin: int) -> Read:
        def read(columns: Sequence[str]) -> Iterator[Batch]:
            wanted = [name for name in columns if name in held] or list(held)[:1]
            yield {name: held[name][begin : begin + PART_ROWS] for name in wanted}

        return read

    return [
        Part("", min(PART_ROWS, n - begin), tuple(held), slicing(begin)) for begin in range(0, max(n, 1), PART_ROWS)
    ]
