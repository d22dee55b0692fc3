"""Where columns come from: CSV and parquet files read in parts, DataFrames, Arrow tables, dicts of arrays."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelwatch.batch.columns import Part, Text
from modelwatch.errors import ConfigError, MissingExtra, ModelwatchError, NotEnoughData
from modelwatch.record.batch import host_values, named_columns

ROWS = 65_536  # of a part
CSV, PARQUET = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".csv.zst"), (".parquet", ".pq")
SEPARATORS = (",", "\t", ";", "|")
ROW = re.compile(r"(?<=columns, got )(\d+): .*", re.DOTALL)  # the row itself is nobody's business
NULLS = ["", "NA", "N/A", "null", "NULL", "None", "<NA>"]


@dataclass(frozen=True)
class Source:
    """Columns that can be read more than once, a part at a time.

    name : for messages.
    columns : their names, in order.
    parts : starts to read; yields {name: part of the column} of up to 65 536 rows.
    rows : how many there are, where that is known.
    """

    name: str
    columns: tuple[str, ...]
    parts: Callable[[], Iterator[Mapping[str, Part]]]
    rows: int | None = None


def open_source(data: Any) -> Source:
    """Return the columns of a file, by its path, or of a DataFrame, an Arrow table or a dict of arrays; or of a Source.

    Raises
    ------
    ConfigError   the file cannot be read, or is of another kind.
    NotEnoughData   it has no columns.
    MissingExtra   files need pyarrow.
    """
    if isinstance(data, Source):
        source = data
    else:
        source = _of_file(Path(data)) if isinstance(data, (str, Path)) else _of_frame(data)
    if not source.columns:
        raise NotEnoughData(f"{source.name}: has no columns; expected a column a feature. Give the training data.")
    if len(set(source.columns)) != len(source.columns):
        twice = next(name for name in source.columns if source.columns.count(name) > 1)
        raise ConfigError(f"{source.name}: two columns are named {twice!r}; expected names of their own. Rename one.")
    return source


def _of_file(path: Path) -> Source:
    name = path.name.lower()
    if name.endswith(CSV):
        read = _csv
    elif name.endswith(PARQUET):
        read = _parquet
    else:
        raise ConfigError(
            f"{path}: its name ends in {path.suffix!r}; expected {', '.join((*CSV, *PARQUET))}. Convert or rename it."
        )
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtra(
            f"{path}: reading files needs pyarrow, which is not installed. Run `pip install 'modelwatch[batch]'`."
        )
    with _readable(path):
        return read(path)


class _readable:  # noqa: N801  # a context, not a thing
    """Whatever a reader raises says which file it was, in one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise ConfigError(
                f"{self.path}: cannot be read (no file is there); expected a CSV file with a header, or parquet."
                " Name one."
            ) from None
        if isinstance(error, (OSError, ValueError)) or type(error).__module__.startswith("pyarrow"):
            what = " ".join(ROW.sub(r"\1", str(error)).split())
            raise ConfigError(
                f"{self.path}: cannot be read ({what}); expected a CSV file with a header, or parquet. Mend it."
            ) from None


def _csv(path: Path) -> Source:
    from pyarrow import csv, string

    parse = csv.ParseOptions(delimiter=_separator(path), newlines_in_values=True)
    names = tuple(csv.open_csv(path, parse_options=parse).schema.names)
    as_text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, string()), strings_can_be_null=True, null_values=NULLS
    )

    def parts() -> Iterator[Mapping[str, Part]]:
        with _readable(path):
            for batch in csv.open_csv(path, parse_options=parse, convert_options=as_text):
                yield {name: Text(batch.column(i)) for i, name in enumerate(names)}

    return Source(str(path), names, parts)


def _separator(path: Path) -> str:
    """Return the separator that is most often in the header."""
    from pyarrow import input_stream

    with input_stream(str(path)) as stream:
        header = stream.read(ROWS).partition(b"\n")[0]
    return max(SEPARATORS, key=lambda separator: header.count(separator.encode()))


def _parquet(path: Path) -> Source:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        names, rows = tuple(file.schema_arrow.names), int(file.metadata.num_rows)

    def parts() -> Iterator[Mapping[str, Part]]:
        with _readable(path), parquet.ParquetFile(path, pre_buffer=False) as opened:  # it would keep the whole file
            for batch in opened.iter_batches(batch_size=ROWS):
                yield {name: batch.column(i) for i, name in enumerate(names)}

    return Source(str(path), names, parts, rows)


def _of_frame(data: Any) -> Source:
    try:
        columns = {str(name): host_values(column) for name, column in named_columns(data, "profile").items()}
    except ModelwatchError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever the object's own code raises
        raise ConfigError(f"profile: the data raise {type(error).__name__} when read. Give a DataFrame.") from None
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ConfigError(
            f"profile: lengths of the columns are {sorted(lengths)!r}; expected one. Give a value for every row."
        )
    rows = lengths.pop() if lengths else 0

    def parts() -> Iterator[Mapping[str, Part]]:
        for begin in range(0, rows, ROWS):
            yield {name: column[begin : begin + ROWS] for name, column in columns.items()}

    return Source("data", tuple(columns), parts, rows)
