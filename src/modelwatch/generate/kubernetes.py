"""Manifests for Kubernetes: ServiceMonitor and PrometheusRule of the Prometheus operator, and ConfigMaps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from modelwatch.generate.context import SCRAPE_S, SHORTEST_S, Context
from modelwatch.generate.text import duration, slug, yaml_text

MOUNTED = "/etc/alertmanager/secrets"  # where the operator puts the secrets that an Alertmanager names


def files(context: Context, made: Mapping[str, str]) -> dict[str, str]:
    """Return the manifests of what the other generators made.

    made : rules/*.yml, alertmanager.yml and grafana/dashboards/*.json, by path.
    """
    name = object_name(context.config.service.name)
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "modelwatch"}
    rules = {path: text for path, text in made.items() if path.startswith("rules/")}
    boards = {path: text for path, text in made.items() if path.startswith("grafana/dashboards/")}
    found = {
        "servicemonitor.yml": _monitor(context, name, labels),
        "prometheusrule.yml": _rules(name, labels, rules),
        "dashboards.yml": _boards(name, labels, boards),
        "alertmanager.yml": _alertmanager(name, labels, made.get("alertmanager.yml", "")),
    }
    return {f"kubernetes/{path}": context.header + yaml_text(value) for path, value in found.items() if value}


def object_name(name: str) -> str:
    """Return a name that Kubernetes takes.

    Examples
    --------
    >>> object_name("churn-api"), object_name("Déjà vu")[:6]
    ('churn-api', 'd-j-vu')
    """
    return slug(name).replace("_", "-")


def _object(kind: str, version: str, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": dict(labels)}}


def _monitor(context: Context, name: str, labels: Mapping[str, str]) -> dict[str, Any]:
    every = duration(max(SCRAPE_S / context.config.time_scale, SHORTEST_S))
    job = {"action": "replace", "targetLabel": "job", "replacement": _replacement(context.config.service.name)}
    endpoint = {"port": "http", "path": "/metrics", "interval": every, "scrapeTimeout": every, "relabelings": [job]}
    spec = {"selector": {"matchLabels": {"app.kubernetes.io/name": name}}, "endpoints": [endpoint]}
    return _object("ServiceMonitor", "monitoring.coreos.com/v1", name, labels) | {"spec": spec}


def _replacement(text: str) -> str:
    """Return a text that relabelling takes as it is."""
    return text.replace("$", "$$")


def _rules(name: str, labels: Mapping[str, str], rules: Mapping[str, str]) -> dict[str, Any]:
    groups = [group for text in rules.values() for group in yaml.safe_load(text)["groups"]]
    return _object("PrometheusRule", "monitoring.coreos.com/v1", name, labels) | {"spec": {"groups": groups}}


def _boards(name: str, labels: Mapping[str, str], boards: Mapping[str, str]) -> dict[str, Any]:
    """Return a ConfigMap that Grafana's sidecar finds by its label."""
    if not boards:
        return {}
    data = {PurePosixPath(path).name: json.dumps(json.loads(text)) for path, text in boards.items()}
    return _object("ConfigMap", "v1", f"{name}-dashboards", {**labels, "grafana_dashboard": "1"}) | {"data": data}


def _alertmanager(name: str, labels: Mapping[str, str], text: str) -> dict[str, Any]:
    """Return a ConfigMap of alertmanager.yml; its secrets are those of the Secret `<name>-receivers`."""
    if not text:
        return {}
    whole = _mounted(yaml.safe_load(text), f"{MOUNTED}/{name}-receivers")
    data = {"alertmanager.yml": yaml_text(whole)}
    return _object("ConfigMap", "v1", f"{name}-alertmanager", labels) | {"data": data}


def _mounted(value: Any, folder: str) -> Any:
    """Return the configuration with the secret files where they are mounted."""
    if isinstance(value, dict):
        return {
            key: f"{folder}/{PurePosixPath(each).name}" if str(key).endswith("_file") else _mounted(each, folder)
            for key, each in value.items()
        }
    return [_mounted(each, folder) for each in value] if isinstance(value, list) else value
