"""Statements of SQLAlchemy Core that are compiled once for each engine, and then handed to its driver as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.exc import DBAPIError

Compiled = tuple[str, Sequence[str] | None]  # the text, and the names of its places where the driver counts them


class Prepared:
    """A statement that is run again and again: at each label, say, where SQLAlchemy would cost more than the database.

    Values go to the driver as they are, and rows come back as tuples: only for texts, numbers and booleans.

    Parameters
    ----------
    make : returns the statement, by the name of the engine.
    """

    def __init__(self, make: Callable[[str], Executable]) -> None:
        self._make = make
        self._compiled: dict[str, Compiled] = {}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Run it once for each of one or more rows of named values; return what one row alone has found.

        Raises
        ------
        DBAPIError   as `Connection.execute` does.
        """
        text, names = self._compiled.get(connection.dialect.name) or self._compile(connection)
        cursor = connection.connection.cursor()
        try:
            if len(rows) > 1:
                cursor.executemany(text, [_given(row, names) for row in rows])
                return []
            cursor.execute(text, _given(rows[0], names))
            return list(cursor.fetchall()) if cursor.description else []
        except connection.dialect.loaded_dbapi.Error as error:
            raise as_sqlalchemy(connection, text, error) from error
        finally:
            cursor.close()

    def _compile(self, connection: Connection) -> Compiled:
        compiled: Any = self._make(connection.dialect.name).compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        found = self._compiled[connection.dialect.name] = (str(compiled), compiled.positiontup)
        return found


def _given(row: Mapping[str, Any], names: Sequence[str] | None) -> Any:
    """Return values as the driver takes them."""
    return row if names is None else [row[name] for name in names]


def as_sqlalchemy(connection: Connection, text: str, error: Exception) -> BaseException:
    """Return the driver's error as SQLAlchemy would raise it; a connection that is lost is not used again."""
    dialect = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)  # type: ignore[arg-type]
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(
        text, None, error, dialect.loaded_dbapi.Error, True, connection_invalidated=lost, dialect=dialect
    )
