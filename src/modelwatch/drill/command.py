"""The command `modelwatch drill`."""

# ruff: noqa: FBT002 - typer makes options of them

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwatch.errors import ConfigError, fault

if TYPE_CHECKING:
    from modelwatch.drill.faults import Mode
    from modelwatch.drill.lab import Place

OK, FAILED = 0, 1
_RATE = 40.0


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(drill)


def drill(
    short: Annotated[bool, typer.Option("--short", help="In 50 seconds: the demo, two services at once.")] = False,
    mode: Annotated[
        str, typer.Option(help="Who evaluates: embedded (`serve`), stack (Prometheus) or both.")
    ] = "embedded",
    only: Annotated[list[str] | None, typer.Option("--fault", help="Break only this; may be given often.")] = None,
    at_once: Annotated[bool, typer.Option("--at-once", help="Break together what can be told apart.")] = False,
    time_scale: Annotated[float | None, typer.Option(help="Of the demo: what divides its windows.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration of a staging service of yours.")] = None,
    url: Annotated[str | None, typer.Option(help="Where that service answers, on this host.")] = None,
    path: Annotated[str, typer.Option(help="Path of its predictions.")] = "/predict",
    body: Annotated[list[str] | None, typer.Option(help="JSON of a request to it; may be given often.")] = None,
    rate: Annotated[float, typer.Option(help="Requests a second.", min=1)] = _RATE,
    consent: Annotated[
        bool, typer.Option("--i-know-this-breaks-it", help="Needed for a service that is not the demo.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Write a page (.html) or all values (.json).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all values.")] = False,
) -> None:
    """Break a service on purpose and prove that every alert fires, reaches its receiver and resolves.

    Receivers are the drill's own: nobody is paged. Exit code 1 when an alert did not do its part.
    """
    from modelwatch.drill import report as reports
    from modelwatch.drill.faults import chosen
    from modelwatch.drill.run import SERVICES, long_drill, short_drill, temporary

    faults, modes = chosen(only or ()), _modes(mode)
    if report is not None and report.suffix not in (".html", ".json"):
        raise ConfigError(fault("--report", "ending", report.suffix, ".html or .json", "Name the file so."))
    if short and (url or modes != ["embedded"]):
        raise ConfigError(fault("--short", "mode", mode, "the demo, embedded", "Leave --short away."))
    brief = {name for names in SERVICES for name in names}
    if short and not brief.issuperset(only or ()):
        raise ConfigError(fault("--short", "faults", only, "some that show in seconds", "Leave --short away."))

    def say(line: str) -> None:
        typer.echo(line, err=True)

    with temporary() as name:
        if short:
            done = short_drill(faults, Path(name), say)
        else:
            place = _place(Path(name), modes, time_scale, config, url, path, body or [], rate, consent=consent)
            done = long_drill(place, faults, modes, Path(name), say, at_once=at_once)
    if report is not None:
        text = reports.as_html(done) if report.suffix == ".html" else json.dumps(reports.as_json(done), indent=1)
        report.write_text(text, encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(reports.as_json(done)))
    else:
        reports.print_table(done)
    sys.exit(OK if done.passed else FAILED)


def _modes(mode: str) -> list[Mode]:
    known: dict[str, list[Mode]] = {"embedded": ["embedded"], "stack": ["stack"], "both": ["embedded", "stack"]}
    if mode not in known:
        raise ConfigError(fault("--mode", "mode", mode, f"one of {', '.join(known)}", "Choose one of them."))
    return known[mode]


def _place(
    folder: Path, modes: list[Mode], time_scale: float | None, config: Path | None, url: str | None, path: str,
    bodies: list[str], rate: float, *, consent: bool,
) -> Place:  # fmt: skip
    from modelwatch.drill.lab import demo_place, staging_place
    from modelwatch.drill.run import LONG_SCALE, STACK_SCALE

    if url is None and config is None:
        scale = time_scale or (STACK_SCALE if "stack" in modes else LONG_SCALE)
        return demo_place(folder / "demo", scale, rate)
    if not consent:
        expected = "consent: it fails requests, takes it down and says wrong labels"
        raise ConfigError(fault("drill", "a service", url or "yours", expected, "Add --i-know-this-breaks-it."))
    if url is None or config is None or not bodies:
        raise ConfigError(fault("drill", "a service", url, "--config, --url and --body of it", "Give all three."))
    requests: list[dict[str, Any]] = []
    for text in bodies:
        try:
            requests.append(json.loads(text))
        except ValueError:
            raise ConfigError(fault("--body", "body", text[:60], "JSON", "Quote it for your shell.")) from None
    return staging_place(config, url.rstrip("/"), path, requests, rate)
