"""The commands. Each does one thing with the library and says in one line what was wrong with what it was given."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from modelwatch.demo.incidents import SCRIPTS
from modelwatch.errors import ConfigError, ModelwatchError, fault

if TYPE_CHECKING:
    from modelwatch.config import Config
    from modelwatch.sources.evaluated import Looked
    from modelwatch.sources.status import StatusSource

try:
    import typer
except ImportError:  # the core without [server]
    sys.exit("modelwatch: the commands need typer, which is not installed. Run `pip install 'modelwatch[server]'`.")

from modelwatch.backtest.command import register as register_backtest
from modelwatch.deploycommand import register as register_deploy
from modelwatch.drill.command import register as register_drill
from modelwatch.onboarding.commands import register as register_first_minute
from modelwatch.report.command import register as register_report
from modelwatch.stackcommands import register as register_stack

CONFIG = "modelwatch.yaml"
FromPrometheus = Annotated[
    str | None, typer.Option("--prometheus", metavar="URL", help="Read the counts from this Prometheus instead.")
]
OK, FAILED, USAGE = 0, 1, 2
MOST_PROBLEMS = 20  # lines on entries that cannot be taken

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Production monitoring and alerting for machine-learning models.",
)  # fmt: skip


register_first_minute(app)
register_drill(app)
register_deploy(app)
register_backtest(app)
register_report(app)
register_stack(app)


def _tell_version(asked: bool) -> None:
    if asked:
        from modelwatch import __version__

        typer.echo(f"modelwatch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ["MODELWATCH_DEBUG"] = "1"


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the service on 127.0.0.1; 0 takes a free one.")] = 8000,
    incident: Annotated[str, typer.Option(help=f"What breaks: {', '.join(SCRIPTS)} (all of them in turn).")] = "none",
    seconds: Annotated[
        float | None, typer.Option(help="Send traffic for so long, print a summary and end.", min=0)
    ] = None,
    texts: Annotated[Path | None, typer.Option(help="CSV of your own: text, label, category.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of its live.db; by default a temporary one.")] = None,
    time_scale: Annotated[
        float | None, typer.Option(help="What divides its windows; by default 60: a minute is an hour.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Whose traffic, sample and labels are the same again; without it request ids are random."),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Write what is counted there, as JSON lines.")] = None,
    stack: Annotated[
        bool, typer.Option("--stack", help="Beside it the Prometheus and Alertmanager of the PATH.")
    ] = False,
    alerting: Annotated[Path | None, typer.Option(help="YAML with `alerting:`, whom the stack tells.")] = None,
) -> None:
    """Run a sentiment service under realistic traffic, with its live page at /."""
    from modelwatch.demo.run import run_demo

    summary = run_demo(
        port=port,
        incident=incident,
        seconds=seconds,
        texts=texts,
        data=data,
        time_scale=time_scale,
        seed=seed,
        log=log,
        stack=stack,
        alerting=alerting,
        say=typer.echo,
    )
    typer.echo("\n".join(summary.lines()))
    raise typer.Exit(OK if summary.is_exact else FAILED)


@app.command()
def status(
    config: Annotated[Path, typer.Option(help="The configuration; may be missing when --live is given.")] = Path(
        CONFIG
    ),
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


alerts_app = typer.Typer(invoke_without_command=True)
app.add_typer(alerts_app, name="alerts")
Matchers = Annotated[list[str], typer.Argument(help="alertname=…, model=…, severity=… or a label: all must hold.")]
By = Annotated[str | None, typer.Option(help="Who; by default the user of this shell.")]
ConfigFile = Annotated[Path, typer.Option(help="The configuration.")]


@alerts_app.callback()
def alerts(
    context: typer.Context,
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path(CONFIG),
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
    config: ConfigFile = Path(CONFIG),
) -> None:
    """Send one test notice to a receiver. Exit code 1 when it does not take it."""
    from modelwatch.notify.commands import send_test

    try:
        send_test(config, receiver)
    except ConfigError:
        raise
    except ModelwatchError as error:
        _fail(error)
    typer.echo(f"{receiver}: delivered")


@alerts_app.command("acknowledge")
def alerts_acknowledge(
    alert: Annotated[str, typer.Argument(help="Its name.")],
    model: Annotated[str, typer.Option(help="Its model; empty for those of the service.")] = "",
    by: By = None,
    config: ConfigFile = Path(CONFIG),
) -> None:
    """Say that somebody looks after an alert: it is not escalated, nor repeated. Exit code 1 when it does not fire."""
    from modelwatch.notify.commands import acknowledge

    n = acknowledge(config, alert, model, by)
    if not n:
        _fail(ModelwatchError(f"{alert}: does not fire, so nobody need look after it. See `modelwatch alerts`."))
    typer.echo(f"{alert}: {n} acknowledged")


@alerts_app.command("silence")
def alerts_silence(
    matchers: Matchers,
    lasts: Annotated[str, typer.Option("--for", help="How long, such as 2h.")] = "1h",
    note: Annotated[str, typer.Option(help="Why.")] = "",
    by: By = None,
    config: ConfigFile = Path(CONFIG),
) -> None:
    """Tell nobody of some alerts for a while."""
    from modelwatch.notify.commands import silence

    made = silence(config, matchers, lasts, by, note)
    typer.echo(f"{made.id}: silent for {lasts}")


@alerts_app.command("unsilence")
def alerts_unsilence(
    silence: Annotated[str, typer.Argument(help="Its id.")], by: By = None, config: ConfigFile = Path(CONFIG)
) -> None:
    """End a silence."""
    from modelwatch.notify.commands import end_silence

    end_silence(config, silence, by)
    typer.echo(f"{silence}: ended")


@app.command()
def slo(
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path(CONFIG),
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


@app.command()
def load(
    url: Annotated[str, typer.Argument(help="Address of the prediction endpoint.")],
    method: Annotated[str, typer.Option(help="GET or POST.")] = "GET",
    body: Annotated[str | None, typer.Option(help="JSON text that is sent with every request.")] = None,
    threshold: Annotated[float, typer.Option(help="Seconds within which a request must be answered.")] = 0.5,
    objective: Annotated[float, typer.Option(help="Share of requests that must be.")] = 0.95,
    start: Annotated[float, typer.Option(help="Requests per second of the first step.")] = 5.0,
    most: Annotated[float, typer.Option(help="Requests per second, at most.")] = 1000.0,
    step: Annotated[float, typer.Option(help="Seconds of a step.")] = 5.0,
    total: Annotated[float, typer.Option(help="Seconds, at most.")] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the request rate that a service holds within its latency objective.

    Sends real requests, in steps, within the bounds given. Exit code 1 when not even the first rate is held.
    """
    from modelwatch.load import Plan
    from modelwatch.load import load as find

    plan = Plan(
        url, "POST" if body is not None and method == "GET" else method.upper(), body, threshold, objective,
        start=start, most=most, step_s=step, total_s=total,
    )  # fmt: skip
    report = find(plan, _progress)
    typer.echo(json.dumps(report.to_dict(), indent=1) if as_json else "\n".join(report.lines()))
    raise typer.Exit(OK if report.held is not None else FAILED)


@app.command()
def profile(
    data: Annotated[str, typer.Argument(help="Training data (CSV, parquet); with --show a profile (.json), too.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The profile to write.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the profile readably.")] = False,
    numeric: Annotated[list[str] | None, typer.Option(help="A column of numbers; may be repeated.")] = None,
    categorical: Annotated[list[str] | None, typer.Option(help="A column of categories; may be repeated.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="A column that is no feature; may be repeated.")] = None,
    prediction: Annotated[str | None, typer.Option(help="The column of predictions; else one of this name.")] = None,
    confidence: Annotated[str | None, typer.Option(help="The column of confidences; else one of this name.")] = None,
    label: Annotated[str | None, typer.Option(help="The column of true labels; else label or true_label.")] = None,
) -> None:
    """Write the reference profile of training data: what drift is measured against. No raw rows are kept."""
    from modelwatch.batch.profile import profile_command

    columns = {"numeric": numeric or (), "categorical": categorical or (), "ignore": ignore or ()}
    roles = {"prediction": prediction, "confidence": confidence, "label": label}
    for line in profile_command(Path(data), output, show=show, say=_progress, **columns, **roles):
        typer.echo(line)


@app.command()
def serve(
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path(CONFIG),
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than this machine's needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8080,
    live: Annotated[Path | None, typer.Option(help="The live.db to read, instead of the configuration's.")] = None,
    prometheus: FromPrometheus = None,
) -> None:
    """Evaluate alerts and objectives, ask the service whether it answers, and show pages, API and metrics.

    Whoever reads needs the token in MODELWATCH_TOKEN, or one of the configuration, where there are any. With
    --prometheus it only shows: rules of that Prometheus and its Alertmanager tell.
    """
    from modelwatch.config import load_config
    from modelwatch.serve.run import serve as run_server

    run_server(load_config(config), host=host, port=port, live=live, prometheus=prometheus, say=typer.echo)


@app.command()
def generate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go.")],
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path(CONFIG),
    only: Annotated[list[str] | None, typer.Option(help="A part of the stack; may be repeated.")] = None,
    discovery: Annotated[
        str, typer.Option(help="How Prometheus finds the replicas: static, file, kubernetes.")
    ] = "static",
    pages_url: Annotated[str | None, typer.Option(help="Address of `modelwatch serve`, for links in alerts.")] = None,
    grafana_url: Annotated[str | None, typer.Option(help="Address of Grafana, for links in alerts.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show what would change; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what was changed by hand, too.")] = False,
) -> None:
    """Write the monitoring stack: Prometheus with rules and their tests, Alertmanager, Grafana, Compose, Kubernetes.

    Exit code 1 with --diff when something would change.
    """
    from modelwatch.stack import differences, generated, write

    for option, url in (("--pages-url", pages_url), ("--grafana-url", grafana_url)):
        if url is not None and not url.startswith(("http://", "https://")):
            expected = "an address that begins with http:// or https://"
            raise ConfigError(fault("generate", option, url, expected, "Write the whole address."))
    places = {"discovery": discovery, "pages_url": pages_url, "grafana_url": grafana_url}
    files = generated(config, only, **{name: value for name, value in places.items() if value is not None})
    if diff:
        lines = list(differences(files, directory))
        typer.echo("\n".join(lines) if lines else f"{directory}: nothing would change")
        raise typer.Exit(FAILED if lines else OK)
    done = write(files, directory, force=force)
    typer.echo(f"{directory}: {len(done.written)} files written, {len(done.unchanged)} as they were")


label = typer.Typer(no_args_is_help=True, help="Samples out, labels in: for Label Studio, or as CSV.")
app.add_typer(label, name="label")


@label.command("export")
def label_export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The file: .csv, or .json for Label Studio.")],
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path(CONFIG),
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, the oldest first.", min=1)] = 1000,
) -> None:
    """Write predictions that wait for a label, as tasks for Label Studio or as CSV with an empty column true_label."""
    from modelwatch.labelcommands import export_labels

    n, left = export_labels(config, model, output, limit)
    typer.echo(f"{output}: {n:,} samples without a label, {left:,} more wait")


@label.command("import")
def label_import(
    file: Annotated[Path, typer.Argument(help="Annotations of Label Studio (JSON, JSON-MIN), or CSV.")],
    config: Annotated[Path, typer.Option(help="The configuration.")] = Path(CONFIG),
    model: Annotated[str | None, typer.Option(help="The model; needed where there are several.")] = None,
) -> None:
    """Take the labels of a file. Taking them again does no harm.

    Exit code 1 when an entry could not be taken.
    """
    from modelwatch.labelcommands import import_labels

    states, problems = import_labels(config, model, file)
    for line in problems[:MOST_PROBLEMS]:
        typer.echo(line, err=True)
    if len(problems) > MOST_PROBLEMS:
        typer.echo(f"{len(problems) - MOST_PROBLEMS:,} more entries could not be taken", err=True)
    found = ", ".join(f"{state} {n:,}" for state, n in sorted(states.items())) or "no labels"
    typer.echo(f"{file}: {found}")
    raise typer.Exit(FAILED if problems else OK)


def _progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")


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
            _fail(
                ModelwatchError(fault("live", str(live or config.live), str(error), expected, "Name it with --live."))
            )
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
        _fail(error)


def main() -> None:
    """Run a command; an error is one line and an exit code."""
    try:
        app(standalone_mode=True)
    except ModelwatchError as error:
        _fail(error, USAGE)
    except BrokenPipeError:
        sys.stderr.close()  # `modelwatch status | head`
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is None:
            _fail(error)
        words = f"{error.filename}: cannot be used ({error.strerror}). Name another, or see who may read and write it."
        _fail(error, USAGE, words)
    except Exception as error:  # noqa: BLE001 - what nobody foresaw is a line, too
        _fail(error)


def _fail(error: Exception, code: int = FAILED, words: str = "") -> NoReturn:
    """End with one line: the words, those of an error of ours, or how to find out more of another."""
    if os.environ.get("MODELWATCH_DEBUG"):
        raise error
    if not words and not isinstance(error, ModelwatchError):
        told = " ".join(str(error).split())
        words = f"modelwatch: {type(error).__name__}: {told}. Run `modelwatch --debug …` to see where, and report it."
    sys.stderr.write(f"{words or error}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
