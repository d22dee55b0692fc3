"""`modelwatch stack`: run the generated stack, see it, stop it."""

# ruff: noqa: FBT002 - typer makes options of them

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

CONFIG = Path("modelwatch.yaml")
OK, FAILED = 0, 1

stack = typer.Typer(no_args_is_help=True, help="Run the generated stack: in Docker, or as programs on this machine.")
_State = Annotated[Path, typer.Option(help="Directory of its files and data.")]
_STATE = Path(".modelwatch-stack")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(stack, name="stack")


@stack.command("up")
def stack_up(
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    state: _State = _STATE,
    docker: Annotated[bool, typer.Option("--docker/--no-docker", help="Use Docker when its engine answers.")] = True,
    prometheus_port: Annotated[
        int, typer.Option(help="Port of Prometheus on 127.0.0.1, without Docker.", min=1, max=65_535)
    ] = 9090,
    alertmanager_port: Annotated[
        int, typer.Option(help="Port of Alertmanager on 127.0.0.1, without Docker.", min=1, max=65_535)
    ] = 9093,
) -> None:
    """Start Prometheus and Alertmanager with all rules; with Docker also Grafana, the service and its pages."""
    from modelwatch.stack import up

    ports = {"prometheus": prometheus_port, "alertmanager": alertmanager_port}
    for part in up(config, state, say=_say, docker=docker, ports=ports):
        typer.echo(f"{part.name}: {part.url}")


@stack.command("down")
def stack_down(state: _State = _STATE) -> None:
    """Stop what `up` started. Its data stay."""
    from modelwatch.stack import down

    typer.echo(f"stopped: {', '.join(down(state)) or 'nothing was running'}")


@stack.command("status")
def stack_status(state: _State = _STATE) -> None:
    """Show which parts of the stack answer.

    Exit code 1 when one does not, or none was started.
    """
    from modelwatch.stack import status as status_of

    parts = status_of(state)
    for part in parts:
        typer.echo(f"{part.name}: {part.url} {'answers' if part.answers else 'does not answer'}")
    if not parts:
        typer.echo("nothing was started")
    raise typer.Exit(OK if parts and all(part.answers for part in parts) else FAILED)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
