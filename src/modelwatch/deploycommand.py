"""`modelwatch deploy`: tell of a deploy, so that pages show who changed what before a number moved."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Annotated

import typer

from modelwatch.config import load_config
from modelwatch.errors import ConfigError, fault

CONFIG = Path("modelwatch.yaml")


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(deploy)


def deploy(
    version: Annotated[str | None, typer.Option(help="What is deployed; by default the configuration's.")] = None,
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
    by: Annotated[str | None, typer.Option(help="Who; by default the user of this shell.")] = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
) -> None:
    """Tell of a deploy: its version, who did it and why stand on the pages beside what happened afterwards."""
    from modelwatch.groundtruth.deploys import Deploy
    from modelwatch.groundtruth.store import Store

    if version is not None and not (version.strip() and version.isprintable()):
        raise ConfigError(fault("deploy", "--version", version, "a line of text", "Write --version 1.2.3."))
    found = load_config(config, secrets=False)
    if found.store is None:
        raise ConfigError(
            fault("store", "store", None, "one, which keeps deploys", "Write store: sqlite:///modelwatch.db.")
        )
    chosen = found.model(model)
    told = Deploy(chosen.name, version or chosen.version, time.time(), by or getpass.getuser(), note)
    store = Store(found.store)
    try:
        store.tell_deploy(told)
    finally:
        store.close()
    typer.echo(f"{told.model} {told.version}: deployed by {told.by}{f', {note}' if note else ''}")
