"""`modelwatch report`: a log of predictions to a report as HTML, JSON or Markdown."""

# ruff: noqa: FBT002 - typer makes options of them

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelwatch.errors import ConfigError, NotEnoughData, fault

if TYPE_CHECKING:
    from modelwatch.config import ModelConfig
    from modelwatch.report.state import Report

CONFIG = Path("modelwatch.yaml")
FAILED = 1
FORMS = {".html": "to_html", ".htm": "to_html", ".json": "to_json", ".md": "to_markdown"}
SEVERITIES = ("info", "warning", "critical")
_Column = Annotated[str | None, typer.Option(help="Its column, where it has another name than usual.")]
_Files = Annotated[
    list[Path] | None,
    typer.Option("--output", "-o", help="File to write: .html, .json, .md; may be repeated. Else it is printed."),
]
_FailOn = Annotated[
    str | None, typer.Option(help="Exit code 1 when something is at least so bad: info, warning, critical.")
]
_Span = Annotated[
    str | None, typer.Option(help="Length of buckets: minute, hour, day; without it by the length of the log.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("report")(report)


def report(
    logs: Annotated[list[str], typer.Argument(help="Files, folders or globs (parquet, CSV, JSON lines), or SQL.")],
    reference: Annotated[
        str | None, typer.Option(help="Training data, or a profile of it (.json); by default the configuration's.")
    ] = None,
    output: _Files = None,
    config: Annotated[
        Path | None, typer.Option(help="The configuration; without it modelwatch.yaml where there is one.")
    ] = None,
    no_config: Annotated[
        bool, typer.Option("--no-config", help="Use no configuration: every column is a feature.")
    ] = False,
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
    labels: Annotated[str | None, typer.Option(help="A table of labels that came later, joined by request id.")] = None,
    fail_on: _FailOn = None,
    timestamp: _Column = None,
    prediction: _Column = None,
    confidence: _Column = None,
    label: _Column = None,
    segment: _Column = None,
    latency: _Column = None,
    error: _Column = None,
    request_id: _Column = None,
    endpoint: _Column = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column that is no feature; may be repeated.")] = None,
    engine: Annotated[str | None, typer.Option(help="arrow, duckdb or spark; without it what the log is of.")] = None,
    span: _Span = None,
    threads: Annotated[int | None, typer.Option(help="Without it one a processor.", min=1)] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="File that keeps what is done, to go on from there.")] = None,
) -> None:
    """Report on a log of predictions: quality, drift, segments, data quality and objectives.

    Without a configuration every column that has no usual name is a feature. Exit code 1 with --fail-on when something
    is found that is at least so bad.
    """
    given = {
        "timestamp": timestamp, "prediction": prediction, "confidence": confidence, "label": label, "segment": segment,
        "latency": latency, "error": error, "request_id": request_id, "endpoint": endpoint,
    }  # fmt: skip
    columns = {role: name for role, name in given.items() if name is not None}
    forms = [(path, _form(path)) for path in output or ()]
    if fail_on not in (None, *SEVERITIES):
        expected = f"one of {', '.join(SEVERITIES)}"
        raise ConfigError(fault("--fail-on", "severity", fail_on, expected, "Write --fail-on warning."))
    chosen = None if no_config else _configured(config, model, columns, tuple(ignore or ()))
    from modelwatch.batch.progress import progress_bar
    from modelwatch.report.making import report as make

    with progress_bar("counting") as progress:
        found = make(
            logs[0] if len(logs) == 1 else logs, reference, labels=labels, model=chosen, columns=columns,
            ignore=tuple(ignore or ()), engine=engine, span=span, threads=threads, checkpoint=checkpoint,
            progress=progress,
        )  # fmt: skip
    if not found.state["log"]["rows"]:
        raise NotEnoughData(f"{logs[0]}: has no rows; expected predictions. Name another log.")
    for path, form in forms:
        _write(path, getattr(found, form)())
    _tell(found, [path for path, _ in forms])
    raise typer.Exit(FAILED if fail_on is not None and found.fails_on(fail_on) else 0)


def _form(path: Path) -> str:
    form = FORMS.get(path.suffix.lower())
    if form is None:
        expected = "a name that ends in .html, .json or .md"
        raise ConfigError(fault("--output", "file", str(path), expected, "Write -o report.html."))
    if not path.absolute().parent.is_dir():
        expected = "a file in a folder that is there"
        raise ConfigError(fault("--output", "file", str(path), expected, "Make the folder, or name another."))
    return form


def _configured(
    config: Path | None, name: str | None, columns: dict[str, str], ignore: tuple[str, ...]
) -> ModelConfig | None:
    """Return the model of the configuration, with the columns that the command line names; None without one."""
    if config is None and not CONFIG.exists():
        return None
    from modelwatch.config import load_config

    path = config or CONFIG
    model = load_config(path, secrets=False).model(name)
    sys.stderr.write(f"model {model.name} of {path}; --no-config uses none\n" if config is None else "")
    logs = model.logs.model_copy(update=columns)
    features = {one: kind for one, kind in model.features.items() if one not in ignore}
    return model.model_copy(update={"logs": logs, "features": features})


def _write(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as problem:
        with contextlib.suppress(OSError):  # of a path that leads through a file
            draft.unlink(missing_ok=True)
        reason = f"cannot be written ({problem.strerror})"
        raise ConfigError(f"--output: {str(path)!r} {reason}. Name a file in a folder of yours.") from None


def _tell(found: Report, written: list[Path]) -> None:
    if not written:
        typer.echo(found.to_markdown(), nl=False)
        return
    verdict = found.state["verdict"]
    files = ", ".join(map(str, written))
    typer.echo(f"{files}: {verdict['state'].replace('_', ' ')}: {verdict['words']}")
