"""Grafana: the pages as dashboards, built with Grafana's own SDK, and their provisioning."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from modelwatch import names
from modelwatch.errors import MissingExtra
from modelwatch.generate.context import Context
from modelwatch.generate.panels import PAGES, RECORDED, TITLES, WORDS, Limits, Panel, page
from modelwatch.generate.text import yaml_text

UID = "modelwatch-{page}"
SOURCE_UID, SOURCE = "modelwatch-prometheus", "${datasource}"
TAG = "modelwatch"
GREEN, YELLOW, RED = "green", "yellow", "red"
IN_SIGHT: Any = None  # where the SDK puts links and annotations into a menu


def files(context: Context, records: Mapping[str, list[str]]) -> dict[str, str]:
    """Return the dashboards and what tells Grafana of them.

    records : names of what is recorded, by signal.

    Raises
    ------
    MissingExtra   grafana-foundation-sdk is not installed.
    """
    with warnings.catch_warnings():  # the SDK prefers a schema that older Grafanas, which people still run, cannot read
        warnings.simplefilter("ignore", DeprecationWarning)
        made = {f"grafana/dashboards/{name}.json": _dashboard(context, name, records) for name in PAGES}
    source = {
        "name": "Prometheus", "uid": SOURCE_UID, "type": "prometheus", "access": "proxy", "isDefault": True,
        "url": f"http://{context.places.prometheus}", "jsonData": {"timeInterval": "15s", "httpMethod": "POST"},
    }  # fmt: skip
    provider = {
        "name": TAG, "folder": "modelwatch", "type": "file", "allowUiUpdates": False, "disableDeletion": True,
        "options": {"path": "/etc/grafana/dashboards"},
    }  # fmt: skip
    told = {
        "datasources/modelwatch.yml": {"apiVersion": 1, "datasources": [source]},
        "dashboards/modelwatch.yml": {"apiVersion": 1, "providers": [provider]},
    }
    return made | {f"grafana/provisioning/{path}": context.header + yaml_text(value) for path, value in told.items()}


def _dashboard(context: Context, name: str, records: Mapping[str, list[str]]) -> str:
    try:
        from grafana_foundation_sdk.builders import dashboard
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.models.dashboard import DashboardCursorSync
    except ImportError:
        what = "generate: the dashboards need grafana-foundation-sdk, which is not installed."
        remedy = "Run `pip install 'modelwatch[grafana]'`, or name the other parts with --only."
        raise MissingExtra(f"{what} {remedy}") from None
    links = (
        dashboard.DashboardLink("Pages").type(_word("dashboards")).tags([TAG])
        .as_dropdown(False).include_vars(True).keep_time(True).placement(IN_SIGHT)
    )  # fmt: skip
    whole = (
        dashboard.Dashboard(f"modelwatch: {TITLES[name]}").uid(UID.format(page=name)).tags([TAG])
        .description(f"{WORDS[name]} {context.made_by}").readonly().refresh("30s").time("now-6h", "now")
        .timezone("browser").tooltip(DashboardCursorSync.CROSSHAIR).link(links)
    )  # fmt: skip
    for variable in _variables():
        whole = whole.with_variable(variable)
    for annotation in _annotations():
        whole = whole.annotation(annotation)
    for n, panel in enumerate(page(name, context.config.models, records), 1):
        whole = whole.with_panel(_panel(panel, n))
    return json.dumps(whole.build(), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _variables() -> list[Any]:
    from grafana_foundation_sdk.builders import dashboard
    from grafana_foundation_sdk.models.dashboard import VariableRefresh, VariableSort

    info = names.MODEL_INFO.name
    made: list[Any] = [dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus")]
    of = {
        "job": ("Job", f"label_values({info}, job)"),
        "instance": ("Instance", f'label_values({info}{{job=~"$job"}}, instance)'),
        "model": ("Model", f'label_values({info}{{job=~"$job"}}, model_name)'),
        "version": ("Version", f'label_values({info}{{job=~"$job",model_name=~"$model"}}, model_version)'),
    }
    for name, (label, query) in of.items():
        made.append(
            dashboard.QueryVariable(name).label(label).query(query).datasource(_source()).multi(True)
            .include_all(True).all_value(".+").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(VariableSort.ALPHABETICAL_ASC)
        )  # fmt: skip
    return made


def _annotations() -> list[Any]:
    from grafana_foundation_sdk.builders import dashboard

    of = {
        "Firing alerts": (f'ALERTS{{alertstate="firing",severity=~"critical|warning",{RECORDED}}}', RED),
        "New versions": (
            f"{names.MODEL_INFO.name}{{{RECORDED}}} unless {names.MODEL_INFO.name}{{{RECORDED}}} offset 5m",
            "blue",
        ),
    }
    return [
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(_source())
        .enable(True)
        .icon_color(colour)
        .expr(expression)
        .placement(IN_SIGHT)
        for name, (expression, colour) in of.items()
    ]


def _source() -> Any:
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    return DataSourceRef(type_val="prometheus", uid=SOURCE)


def _panel(panel: Panel, number: int) -> Any:
    from grafana_foundation_sdk.builders import prometheus
    from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

    made = _kind(panel).id(number).title(panel.title).description(panel.words).datasource(_source()).unit(panel.unit)
    made = made.span(panel.width).height(panel.height).no_value("no answer")
    for n, query in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(query.expression).legend_format(query.legend).ref_id(chr(ord("A") + n))
        made = made.with_target((target.instant() if query.instant else target.range()).datasource(_source()))
    by_model = dict(panel.limits)
    first = next(iter(by_model.values()), Limits())
    made = made.thresholds(_thresholds(first))
    for model, limits in by_model.items():
        if limits != first:  # a model with limits of its own
            steps = {"mode": "absolute", "steps": [step.to_json() for step in _steps(limits)]}
            made = made.override_by_name(model, [DynamicConfigValue("thresholds", steps)])
    return made


def _kind(panel: Panel) -> Any:
    from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries

    if panel.kind == "number":
        reduced = common.ReduceDataOptions().calcs(["lastNotNull"])
        return (
            stat.Panel().color_mode(_word("background")).graph_mode(_word("area"))
            .reduce_options(reduced)
        )  # fmt: skip
    if panel.kind in ("bars", "histogram"):
        return bargauge.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    style = _word("line" if panel.limits else "off")
    return timeseries.Panel().thresholds_style(common.GraphThresholdsStyleConfig().mode(style)).fill_opacity(8)


def _word(value: str) -> Any:
    """Return a word of an enumeration, whose name differs between the versions of the SDK."""
    return value


def _thresholds(limits: Limits) -> Any:
    from grafana_foundation_sdk.builders import dashboard

    return dashboard.ThresholdsConfig().mode(_word("absolute")).steps(_steps(limits))


def _steps(limits: Limits) -> list[Any]:
    """Return the colours of a value, the lowest first."""
    from grafana_foundation_sdk.models.dashboard import Threshold

    warning, critical = limits.warning, limits.critical
    if not limits.falling:
        rising = [(None, GREEN), (warning, YELLOW), (critical, RED)]
        return [Threshold(value, colour) for n, (value, colour) in enumerate(rising) if n == 0 or value is not None]
    lowest = RED if critical is not None else YELLOW if warning is not None else GREEN
    falling: list[tuple[float | None, str]] = [(None, lowest)]
    if critical is not None:
        falling.append((critical, YELLOW if warning is not None else GREEN))
    if warning is not None:
        falling.append((warning, GREEN))
    return [Threshold(value, colour) for value, colour in falling]
