"""DuckDB carries a log: a query of the user's, or files that it reads; its batches are counted here as any others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from modelwatch.batch.columns import Text
from modelwatch.batch.logs import Batch, Logs, Part, files_of
from modelwatch.batch.reading import CSV, NULLS, PARQUET
from modelwatch.errors import ConfigError, MissingExtra

BATCH_ROWS = 131_072
_QUERY = re.compile(r"\s*(select|with|from|values)\s", re.IGNORECASE)


def is_query(text: object) -> bool:
    """Tell an SQL query from a path."""
    return isinstance(text, str) and bool(_QUERY.match(text)) and not Path(text).exists()


def open_duckdb(log: Any) -> Logs:
    """Return a log that DuckDB reads.

    Parameters
    ----------
    log : SQL query; or path, glob, folder or list of parquet, CSV or JSON-lines files.

    Raises
    ------
    ConfigError   the query or the files cannot be read.
    MissingExtra   DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: F401
    except ImportError:
        raise MissingExtra(
            "duckdb: it is not installed; expected it for this engine. Run `pip install 'modelwatch[batch]'`."
        ) from None
    as_text = False
    if is_query(log):
        name, query, key = "the query", str(log).rstrip().rstrip(";"), ""
    elif isinstance(log, (str, Path)) or (isinstance(log, (list, tuple)) and log):
        files = [file for one in ([log] if isinstance(log, (str, Path)) else log) for file in files_of(str(one))]
        name, query = str(log if isinstance(log, (str, Path)) else log[0]), _reading(files)
        as_text = files[0].name.lower().endswith(CSV)  # parsed as any CSV file is, by what a column is for
        key = " ".join(f"{file.absolute()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files)
    else:
        raise ConfigError(
            f"duckdb: type of the log is {type(log).__name__!r}; expected a query or paths of files. Name the files."
        )
    return Logs(
        name, (Part(key, None, _columns(query, name), lambda columns: _read(query, columns, name, as_text=as_text)),)
    )


def _reading(files: Sequence[Path]) -> str:
    listed = ", ".join(_text(str(file)) for file in files)
    lower = files[0].name.lower()
    if lower.endswith(PARQUET):
        return f"FROM read_parquet([{listed}], union_by_name = true)"
    if lower.endswith(CSV):
        nulls = ", ".join(map(_text, NULLS))
        return (
            f"FROM read_csv([{listed}], union_by_name = true, header = true, all_varchar = true, nullstr = [{nulls}])"
        )
    return f"FROM read_json([{listed}], union_by_name = true, format = 'newline_delimited')"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return the name of a column in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _columns(query: str, name: str) -> tuple[str, ...]:
    with _connected(name) as connection:
        return tuple(connection.sql(query).columns)


def _read(query: str, columns: Sequence[str], name: str, *, as_text: bool) -> Iterator[Batch]:
    with _connected(name) as connection:
        there = tuple(connection.sql(query).columns)
        wanted = [column for column in columns if column in there] or list(there[:1])
        chosen = ", ".join(map(quoted, wanted))
        found = connection.sql(f"FROM ({query}) SELECT {chosen}")
        reader = found.to_arrow_reader if hasattr(found, "to_arrow_reader") else found.fetch_arrow_reader  # before 1.5
        for batch in reader(BATCH_ROWS):
            found = [Text(column) for column in batch.columns] if as_text else batch.columns
            yield dict(zip(batch.schema.names, found, strict=True))


class _connected:  # noqa: N801  # a context, not a thing
    """A connection; whatever DuckDB raises becomes one line."""

    def __init__(self, name: str) -> None:
        import duckdb

        self.name, self.error = name, duckdb.Error
        self.connection = duckdb.connect()

    def __enter__(self) -> Any:
        self.connection.execute("SET TimeZone = 'UTC'")
        return self.connection

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self.connection.close()
        if isinstance(error, (self.error, OSError)):
            what = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"{self.name}: DuckDB cannot read it ({what}); expected rows of a log. Mend the query or the file."
            ) from None
