"""`modelwatch status`, `alerts` and `slo`: how things stand, by the counts of this host or of a Prometheus."""

# ruff: noqa: FBT002 - typer makes options of them

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from modelwatch.commands import CONFIG, FAILED, OK, FromPrometheus, fail
from modelwatch.errors import ConfigError, ModelwatchError, fault

if TYPE_CHECKING:
    from modelwatch.config import Config
    from modelwatch.sources.evaluated import Looked
    from modelwatch.sources.status import StatusSource

alerts_app = typer.Typer(invoke_without_command=True)
Matchers = Annotated[list[str], typer.Argument(help="alertname=…, model=…, severity=… or a label: all must hold.")]
By = Annotated[str | None, typer.Option(help="Who; by default the user of this shell.")]
ConfigFile = Annotated[Path, typer.Option(help="The configuration.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(status)
    app.add_typer(alerts_app, name="alerts")
    app.command()(slo)


def status(
    config: Annotated[Path, typer.Option(help="The configuration; may be missing when --live is given.")] = CONFIG,
    live: Annotated[Path | None, typer.Option(help="The live.db to read, instead of the configuration's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prometheus: FromPrometheus = None,
) -> None:
    """Show the live state of this host's models; with --prometheus that of all replicas it scrapes.

    Exit code 1 when something is beyond its objective, or no counts can be read.
    """
    from modelwatch.sources.render import is_failing, status_lines

    if prometheus is not None:
        state = _state_of(config, prometheus)
    else:
        source = _source(config, live)
        state = source.read()
        source.close()
    typer.echo(json.dumps(state, indent=1) if as_json else "\n".join(status_lines(state)))
    raise typer.Exit(FAILED if is_failing(state) else OK)


@alerts_app.callback()
def alerts(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    live: Annotated[Path | None, typer.Option(help="The live.db to read, instead of the configuration's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prometheus: FromPrometheus = None,
) -> None:
    """Evaluate all alerts over the counts of this host, or of a Prometheus: the state of each, and why it is quiet.

    States are those of the `modelwatch serve` that runs beside, else of one that had run for the last hour and a half.

    Exit code 1 when one fires; 0 when nothing does, also where it cannot be told.
    """
    if context.invoked_subcommand is not None:
        return
    from modelwatch.config import load_config
    from modelwatch.sources.evaluated import alert_lines, alerts_json, evaluate_host
    from modelwatch.sources.kept import fresh_states

    found = load_config(config, secrets=False)
    with _told():
        kept = fresh_states(found) if live is None and prometheus is None else None
        evaluated = evaluate_host(found, _counts(found, live, prometheus), kept)
    state = alerts_json(evaluated)
    typer.echo(json.dumps(state, indent=1) if as_json else "\n".join(alert_lines(evaluated)))
    raise typer.Exit(FAILED if state["firing"] else OK)


@alerts_app.command("test")
def alerts_test(
    receiver: Annotated[str, typer.Argument(help="Its name below alerting.receivers.")],
    config: ConfigFile = CONFIG,
) -> None:
    """Send one test notice to a receiver. Exit code 1 when it does not take it."""
    from modelwatch.notify.commands import send_test

    try:
        send_test(config, receiver)
    except ConfigError:
        raise
    except ModelwatchError as error:
        fail(error)
    typer.echo(f"{receiver}: delivered")


@alerts_app.command("acknowledge")
def alerts_acknowledge(
    alert: Annotated[str, typer.Argument(help="Its name.")],
    model: Annotated[str, typer.Option(help="Its model; empty for those of the service.")] = "",
    by: By = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Say that somebody looks after an alert: it is not escalated, nor repeated. Exit code 1 when it does not fire."""
    from modelwatch.notify.commands import acknowledge

    n = acknowledge(config, alert, model, by)
    if not n:
        fail(ModelwatchError(f"{alert}: does not fire, so nobody need look after it. See `modelwatch alerts`."))
    typer.echo(f"{alert}: {n} acknowledged")


@alerts_app.command("silence")
def alerts_silence(
    matchers: Matchers,
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 2h.")] = "1h",
    note: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
    config: ConfigFile = CONFIG,
) -> None:
    """Tell nobody of some alerts for a while."""
    from modelwatch.notify.commands import silence

    made = silence(config, matchers, lasts, by, note)
    typer.echo(f"{made.id}: silent for {lasts}")


@alerts_app.command("unsilence")
def alerts_unsilence(
    silence: Annotated[str, typer.Argument(help="Its id.")], by: By = None, config: ConfigFile = CONFIG
) -> None:
    """End a silence."""
    from modelwatch.notify.commands import end_silence

    end_silence(config, silence, by)
    typer.echo(f"{silence}: ended")


def slo(
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    live: Annotated[Path | None, typer.Option(help="The live.db to read, instead of the configuration's.")] = None,
    month: Annotated[bool, typer.Option("--month", help="This calendar month: --period month.")] = False,
    period: Annotated[
        str | None,
        typer.Option(help="month, week, or the last days, such as 7d, 28d or 90d, instead of the configuration's."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    document: Annotated[bool, typer.Option("--document", help="Print the objectives as a Markdown document.")] = False,
    prometheus: FromPrometheus = None,
) -> None:
    """Show how the objectives stand: kept, budget left, how fast it goes, how long it lasts.

    Exit code 1 when one is broken.
    """
    from modelwatch.config import load_config
    from modelwatch.slo import Period, slo_document
    from modelwatch.sources.evaluated import host_slos, is_broken, slo_json, slo_table

    if month and period is not None:
        raise ConfigError(fault("slo", "--period", period, "no other period beside --month", "Leave one of them out."))
    found, over = load_config(config, secrets=False), "month" if month else period
    with _told():
        standing = host_slos(found, _counts(found, live, prometheus), None if over is None else Period.of(over))
    if document:
        typer.echo("\n".join(slo_document(found, found.models[name], standing[name]) for name in found.models))
    else:
        typer.echo(json.dumps(slo_json(standing), indent=1) if as_json else "\n".join(slo_table(standing)))
    raise typer.Exit(FAILED if is_broken(standing) else OK)


def _source(config: Path, live: Path | None) -> StatusSource:
    from modelwatch.sources.status import StatusSource

    if live is not None and not config.exists():
        source = StatusSource(live)
    else:
        from modelwatch.config import load_config

        source = StatusSource.from_config(load_config(config, secrets=False), live)
    _must_exist(source.live)
    return source


def _must_exist(live: Path) -> None:
    if not live.exists():
        raise ConfigError(
            f"live: {str(live)!r} does not exist; expected the live.db of a service. "
            "Start the service, or name its file with --live."
        )


def _counts(config: Config, live: Path | None, prometheus: str | None) -> Looked:
    from modelwatch.sources.evaluated import HostCounts

    if prometheus is None:
        if live is not None:  # one that somebody named; that of the configuration may be yet to come
            _must_exist(live)
        try:
            return HostCounts(live or config.live)
        except sqlite3.Error as error:
            expected = "the live.db of a service"
            fail(ModelwatchError(fault("live", str(live or config.live), str(error), expected, "Name it with --live.")))
    from modelwatch.sources.prometheus import Client, PrometheusCounts

    return PrometheusCounts(config, Client(prometheus))


def _state_of(config: Path, prometheus: str) -> dict[str, Any]:
    from modelwatch.config import load_config
    from modelwatch.sources.prometheus import Client, prometheus_state

    with _told():
        return prometheus_state(load_config(config, secrets=False), Client(prometheus))


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say in a line, with exit code 1, that a Prometheus does not answer."""
    from modelwatch.sources.prometheus import PrometheusUnavailable

    try:
        yield
    except PrometheusUnavailable as error:
        fail(error)
