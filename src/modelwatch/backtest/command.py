"""`modelwatch backtest`: which alerts these logs would have raised, when, and how often."""

# ruff: noqa: FBT002 - typer makes options of them

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelwatch.configfields import seconds
from modelwatch.errors import ConfigError, fault

if TYPE_CHECKING:
    from modelwatch.backtest.backtesting import Progress
    from modelwatch.backtest.result import Backtest
    from modelwatch.config import Config

CONFIG = Path("modelwatch.yaml")
OK, FAILED = 0, 1
FORMS = (".html", ".json", ".md")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(backtest)


def backtest(
    logs: Annotated[list[str], typer.Argument(help="Files, globs or folders of logs, or an SQL query.")],
    config: Annotated[Path, typer.Option(help="The configuration; may be missing.")] = CONFIG,
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="Training data, or a reference.json, instead of the configuration's.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Labels of a table of their own, joined by request id.")] = None,
    incidents: Annotated[
        Path | None, typer.Option(help="CSV or JSON with start, end and name of each labelled incident.")
    ] = None,
    tune: Annotated[
        str | None, typer.Option(help="A budget, such as 'max 1 page/month': propose thresholds for it.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Put the proposal of --tune into the configuration.")] = False,
    every: Annotated[str | None, typer.Option(help="Time from one look to the next; by default a minute.")] = None,
    grace: Annotated[
        str | None, typer.Option(help="So long after an incident an alert is still of it; by default 30m.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="arrow, duckdb or spark.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it as .html, .md or .json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Replay logs through the exact rules: what would have been told, pages a month, incidents found and missed.

    Exit code 1 when a labelled incident is missed.
    """
    from modelwatch.backtest.show import print_tables

    if write and tune is None:
        raise ConfigError(fault("--write", "--tune", tune, "a budget to propose thresholds for", "Give --tune, too."))
    if output is not None and output.suffix.lower() not in FORMS:
        raise ConfigError(fault("--output", "ending", output.suffix, "one of " + ", ".join(FORMS), "Name the file so."))
    found = _run(logs, config, model, reference, labels, incidents, tune, every, grace, engine)
    if output is not None:
        _write(found, output)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=1))
    else:
        print_tables(found)
    if write and found.tuned is not None and found.tuned.proposed:
        from modelwatch.backtest.writing import write_thresholds

        write_thresholds(config, found.model, found.tuned.proposed)
        typer.echo(f"{config}: thresholds of {', '.join(found.tuned.proposed)} written", err=True)
    raise typer.Exit(FAILED if found.missed else OK)


def _run(
    logs: list[str],
    config: Path,
    model: str | None,
    reference: str | None,
    labels: str | None,
    incidents: Path | None,
    tune: str | None,
    every: str | None,
    grace: str | None,
    engine: str | None,
) -> Backtest:
    from modelwatch.backtest.backtesting import backtest as run
    from modelwatch.backtest.incidents import read_incidents
    from modelwatch.backtest.tuning import budget_of

    read = _config(config)
    zone = read.model(model).logs.time_zone if read else "UTC"
    every_s = _seconds("--every", every)
    with _progress() as progress:
        return run(
            logs[0] if len(logs) == 1 else logs, read, model=model, reference=reference, labels=labels,
            incidents=[] if incidents is None else read_incidents(incidents, zone),
            budget=None if tune is None else budget_of(tune), every_s=None if every_s is None else round(every_s),
            grace_s=_seconds("--grace", grace), engine=engine, progress=progress,
        )  # fmt: skip


def _config(path: Path) -> Config | None:
    from modelwatch.config import load_config

    if path == CONFIG and not path.exists():
        return None
    return load_config(path, secrets=False)


def _seconds(option: str, given: str | None) -> float | None:
    found = None if given is None else seconds(given)
    if given is not None and found is None:
        raise ConfigError(fault(option, "duration", given, "a duration such as 5m", "Write a number and s, m or h."))
    return found


@contextmanager
def _progress() -> Iterator[Callable[[str], Progress]]:
    from contextlib import ExitStack

    from modelwatch.batch.progress import progress_bar

    with ExitStack() as shown:

        def part(what: str) -> Progress:
            shown.close()  # the bar of the part before
            return shown.enter_context(progress_bar(what))

        yield part


def _write(found: Backtest, output: Path) -> None:
    from modelwatch.backtest.show import as_html, as_markdown

    form = output.suffix.lower()
    if form == ".json":
        text = json.dumps(found.to_dict(), indent=1) + "\n"
    else:
        text = as_html(found) if form == ".html" else as_markdown(found)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output: {str(output)!r} cannot be written ({error.strerror}). Name another.") from None
