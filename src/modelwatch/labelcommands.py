"""`modelwatch label`: write samples to a file, take labels from one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from modelwatch.commands import CONFIG, FAILED, OK
from modelwatch.config import load_config
from modelwatch.errors import ConfigError, ModelwatchError, UnknownLabel

CHUNK = 5000
MOST_PROBLEMS = 20  # lines on entries that cannot be taken

label = typer.Typer(no_args_is_help=True, help="Samples out, labels in: for Label Studio, or as CSV.")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(label, name="label")


@label.command("export")
def label_export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .csv, or .json for Label Studio.")],
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the oldest first.", min=1)] = 1000,
) -> None:
    """Write predictions that wait for a label, as tasks for Label Studio or as CSV with an empty column true_label."""
    n, left = export_labels(config, model, output, limit)
    typer.echo(f"{output}: {n:,} samples without a label, {left:,} more wait")


@label.command("import")
def label_import(
    file: Annotated[Path, typer.Argument(help="Annotations of Label Studio (JSON, JSON-MIN), or CSV.")],
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
) -> None:
    """Take the labels of a file. Taking them again does no harm.

    Exit code 1 when an entry could not be taken.
    """
    states, problems = import_labels(config, model, file)
    for line in problems[:MOST_PROBLEMS]:
        typer.echo(line, err=True)
    if len(problems) > MOST_PROBLEMS:
        typer.echo(f"{len(problems) - MOST_PROBLEMS:,} more entries could not be taken", err=True)
    found = ", ".join(f"{state} {n:,}" for state, n in sorted(states.items())) or "no labels"
    typer.echo(f"{file}: {found}")
    raise typer.Exit(FAILED if problems else OK)


def _store_of(config: Path) -> str:
    url = load_config(config, secrets=False).store
    if url is None:
        raise ConfigError(f"{config}: store is None; expected one for labels. Write store: sqlite:///modelwatch.db.")
    return url


def export_labels(config: Path, model: str | None, output: Path, limit: int) -> tuple[int, int]:
    """Write samples that wait for a label; return (how many, how many more wait).

    Raises
    ------
    ConfigError        the configuration has no store, or no such model.
    StoreUnavailable   the store cannot be read.
    ModelwatchError    the file has no known ending, or cannot be written.
    """
    from modelwatch.groundtruth.exchange import export
    from modelwatch.groundtruth.queue import waiting
    from modelwatch.groundtruth.store import Store

    form = {".csv": "csv", ".json": "label-studio"}.get(output.suffix.lower())
    if form is None:
        raise ModelwatchError(f"--output: ending is {output.suffix!r}; expected .json or .csv. Name the file so.")
    name = load_config(config, secrets=False).model(model).name
    store = Store(_store_of(config))
    try:
        samples = waiting(store, name, limit)
        left = store.counts(name).waiting - len(samples)
    finally:
        store.close()
    try:
        output.write_text(export(samples, "csv" if form == "csv" else "label-studio"), encoding="utf-8")
    except OSError as error:
        raise ModelwatchError(
            f"--output: {str(output)!r} cannot be written ({error.strerror}). Name another file."
        ) from None
    return len(samples), max(0, left)


def import_labels(config: Path, model: str | None, file: Path) -> tuple[Counter[str], list[str]]:
    """Take the labels of a file; return (how many of each state, a sentence for each entry that could not be taken).

    They are counted on this host, as those that come over HTTP are on theirs.

    Raises
    ------
    ConfigError        the configuration has no store, or no such model.
    StoreUnavailable   the store cannot be written; what was taken before is stored.
    ModelwatchError    the file cannot be read.
    """
    from modelwatch.groundtruth.exchange import read
    from modelwatch.record.monitor import Monitor
    from modelwatch.record.review import Said

    found = read(file)
    problems = list(found.problems)
    _store_of(config)
    states: Counter[str] = Counter()
    monitor = Monitor.from_config(config, model)
    try:
        review = monitor.review
        assert review is not None, "the configuration has a store"
        for start in range(0, len(found.labels), CHUNK):
            some = found.labels[start : start + CHUNK]
            said = [Said(one.request_id, one.value, one.reviewer, one.at, one.note) for one in some]
            for one, answer in zip(some, review.label_many(said, trusted=True), strict=True):
                if isinstance(answer, UnknownLabel):
                    problems.append(f"entry {one.line}: {answer}")
                else:
                    states[answer] += 1
    finally:
        monitor.close()
    return states, problems
