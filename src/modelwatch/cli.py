"""The commands. Each does one thing with the library and says in one line what was wrong with what it was given."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

from modelwatch.demo.incidents import SCRIPTS
from modelwatch.errors import ConfigError, ModelwatchError, NewerFormat, StoreUnavailable, fault

try:
    import typer
except ImportError:  # the core without [server]
    sys.exit("modelwatch: the commands need typer, which is not installed. Run `pip install 'modelwatch[server]'`.")

from modelwatch.backtest.command import register as register_backtest
from modelwatch.commands import CONFIG, FAILED, OK, USAGE, FromPrometheus, fail
from modelwatch.deploycommand import register as register_deploy
from modelwatch.drill.command import register as register_drill
from modelwatch.labelcommands import register as register_label
from modelwatch.livecommands import register as register_live
from modelwatch.onboarding.commands import register as register_first_minute
from modelwatch.report.command import register as register_report
from modelwatch.stackcommands import register as register_stack

app = typer.Typer(
    no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Production monitoring and alerting for machine-learning models.",
)  # fmt: skip


register_first_minute(app)
register_live(app)
register_drill(app)
register_deploy(app)
register_backtest(app)
register_report(app)
register_stack(app)
register_label(app)


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
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than this machine's needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 8080,
    live: Annotated[Path | None, typer.Option(help="The live.db to read, instead of the configuration's.")] = None,
    prometheus: FromPrometheus = None,
    pages_only: Annotated[
        bool, typer.Option("--pages-only", help="Tell nobody: rules of a Prometheus and its Alertmanager do.")
    ] = False,
) -> None:
    """Evaluate alerts and objectives, ask the service whether it answers, and show pages, API and metrics.

    Whoever reads needs the token in MODELWATCH_TOKEN, or one of the configuration, where there are any. With
    --prometheus it only shows: rules of that Prometheus and its Alertmanager tell. With --pages-only they tell, too,
    and it shows the counts of this host, reviews, and counts the minutes in which the service answers.
    """
    from modelwatch.config import load_config
    from modelwatch.serve.run import serve as run_server

    try:
        run_server(
            load_config(config), host=host, port=port, live=live, prometheus=prometheus, pages_only=pages_only,
            say=typer.echo,
        )  # fmt: skip
    except (StoreUnavailable, NewerFormat) as error:  # for ever
        fail(error)


@app.command()
def generate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go.")],
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
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


def _progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> None:
    """Run a command; an error is one line and an exit code."""
    try:
        app(standalone_mode=True)
    except ModelwatchError as error:
        fail(error, USAGE)
    except BrokenPipeError:
        sys.stderr.close()  # `modelwatch status | head`
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.filename is None:
            fail(error)
        words = f"{error.filename}: cannot be used ({error.strerror}). Name another, or see who may read and write it."
        fail(error, USAGE, words)
    except Exception as error:  # noqa: BLE001 - what nobody foresaw is a line, too
        fail(error)


if __name__ == "__main__":
    main()
