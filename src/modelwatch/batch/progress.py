"""The progress of a long count on a terminal: a bar, its rows and its rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with (rows so far, rows in all where that is known).
Progress = Callable[[int, "int | None"], None]


@contextmanager
def progress_bar(what: str, *, shown: bool | None = None) -> Iterator[Progress]:
    """Show a bar on the standard error while its context lasts.

    Parameters
    ----------
    what : is counted.
    shown : None: where the standard error is a terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, force_terminal=shown)
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} rows"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda rows, total: bar.update(task, completed=rows, total=total)
