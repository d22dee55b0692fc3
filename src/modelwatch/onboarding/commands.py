"""The commands of the first minute: `init`, `check` and `doctor`."""

# ruff: noqa: FBT002 - typer makes options of them

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from modelwatch.config import load_config, parse_config
from modelwatch.errors import ConfigError

CONFIG = Path("modelwatch.yaml")
OK, FAILED = 0, 1
_Column = Annotated[str | None, typer.Option(help="Its column, where it has another name than usual.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command()(init)
    app.command()(check)
    app.command()(doctor)


def init(
    source: Annotated[
        Path | None, typer.Argument(help="Data (CSV, parquet), or a fitted scikit-learn estimator (.joblib, .pkl).")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Rows that the estimator answers, for its profile.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The configuration to write.")] = CONFIG,
    model: Annotated[str | None, typer.Option(help="Name of the model; by default that of the file.")] = None,
    service: Annotated[str | None, typer.Option(help="Name of the service; by default that of the folder.")] = None,
    prediction: _Column = None,
    confidence: _Column = None,
    label: _Column = None,
    segment: _Column = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
) -> None:
    """Write a commented configuration, and a reference profile, from what a data file or an estimator tells.

    An estimator is loaded, which runs the code in its file: give one that you trust.
    """
    given = {"prediction": prediction, "confidence": confidence, "label": label, "segment": segment}
    for line in _written(source, data, output, model, service, given, force=force):
        typer.echo(line)


def _written(
    source: Path | None, data: Path | None, output: Path, model: str | None, service: str | None,
    given: dict[str, str | None], *, force: bool,
) -> Iterator[str]:  # fmt: skip
    from modelwatch.batch.profile import write_profile
    from modelwatch.onboarding.inference import MODEL_FILES, Found, file_of, name_of, of_data, of_estimator
    from modelwatch.onboarding.writing import code_to_paste, config_text

    if output.exists() and not force:
        raise ConfigError(f"{output}: is there already; expected none. Name another with -o, or write --force.")
    if source is None:
        note = "the classes are an example: write your own, or give a data file or an estimator"
        found = Found(model or name_of(Path.cwd()), "classification", ("negative", "positive"), notes=(note,))
    elif source.suffix in MODEL_FILES:
        found = of_estimator(source, data, given, name=model, say=_progress)
    else:
        found = of_data(source, given, name=model, say=_progress)
    reference = None if found.reference is None else Path("reference") / file_of(found.name)
    text = config_text(found, service or name_of(Path.cwd()), None if reference is None else reference.as_posix())
    parse_config(text, str(output), root=output.resolve().parent)  # whatever is wrong is wrong before it is written
    if reference is not None and found.reference is not None:
        path = output.parent / reference
        _folder(path.parent)
        write_profile(found.reference, path)
        features = len(found.reference.numeric) + len(found.reference.categorical)
        yield f"{path}: {features} features of {found.reference.rows:,} rows; no raw row is in it"
    _folder(output.parent)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror}). Name another with -o.") from None
    yield f"{output}: {found.name}, {found.task}, {len(found.features)} features"
    yield from (f"  {note}" for note in found.notes)
    yield "\nPaste into the service (other frameworks: README):\n"
    yield code_to_paste(found, os.fspath(output))
    at = "" if output == CONFIG else f" --config {output}"
    yield f"\nThen: modelwatch check{'' if output == CONFIG else f' {output}'}, start the service, modelwatch serve{at}"


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made ({error.strerror}). Name another folder with -o.") from None


def _progress(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def check(
    config: Annotated[Path, typer.Argument(help="The configuration.")] = CONFIG,
    price: Annotated[float | None, typer.Option(help="What 1000 series cost a month, to show the sum.", min=0)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Validate a configuration and predict what it costs: series, disk, money."""
    from modelwatch.alerts import rules_of
    from modelwatch.onboarding.doctor import unprofiled
    from modelwatch.onboarding.footprint import footprint
    from modelwatch.record.monitor import schema_of
    from modelwatch.reference import Reference
    from modelwatch.slo import burn_notes

    found = load_config(config)
    rows = []
    for name, model in found.models.items():
        reference = Reference.load(model.reference) if model.reference else None
        schema = schema_of(model, reviewed=bool(found.store), reference=reference)
        costs, rules, notes = (
            footprint(found, model, schema, reference),
            len(rules_of(found, name)),
            [*burn_notes(model)],
        )
        absent = unprofiled(model, reference) if reference is not None else []
        if absent:
            notes.append(
                f"models.{name}.reference: has no profile of {', '.join(absent[:5])}: no drift of them is told"
            )
        rows.append({**costs.to_dict(price), "features": len(model.features), "alert_rules": rules, "notes": notes})
        if not as_json:
            typer.echo(f"{name} {model.version}: {model.task}, {len(model.features)} features, {rules} alert rules")
            typer.echo("\n".join([*costs.lines(price), *(f"  {note}" for note in notes)]))
    typer.echo(json.dumps({"valid": True, "models": rows}, indent=1) if as_json else f"{config}: valid")


def doctor(
    config: Annotated[Path, typer.Option(help="The configuration.")] = CONFIG,
    prometheus: Annotated[str | None, typer.Option(help="Address of Prometheus.")] = None,
    alertmanager: Annotated[
        str | None, typer.Option(help="Address of Alertmanager; by default alerting.alertmanager.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option(help="Address of the service's /metrics; by default beside its health_url.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Examine a running installation, and say what to do about what is wrong. Exit code 1 when something fails."""
    from modelwatch.onboarding.doctor import examine
    from modelwatch.onboarding.outside import Places

    found = []
    for finding in examine(config, Places(metrics, prometheus, alertmanager)):
        found.append(finding)
        if not as_json:
            typer.echo(finding.line())
    failed = sum(finding.state == "failure" for finding in found)
    if as_json:
        typer.echo(json.dumps({"healthy": not failed, "findings": [f.to_dict() for f in found]}, indent=1))
    else:
        warned = sum(finding.state == "warning" for finding in found)
        typer.echo(f"{len(found)} findings: {failed} failing, {warned} to be warned of")
    raise typer.Exit(FAILED if failed else OK)
