"""prometheus.yml: whom Prometheus asks, where its rules are, and whom it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelwatch.generate.context import RECORDED, SCRAPE_S, SHORTEST_S, TOKEN_FILE, Context
from modelwatch.generate.text import duration, slug, yaml_text

MONITOR_JOB, NODE_JOB = "modelwatch", "node"
APP_LABEL = "app.kubernetes.io/name"


def files(context: Context) -> dict[str, str]:
    """Return prometheus.yml, and with file discovery the list of replicas, which is yours to edit."""
    every = duration(max(SCRAPE_S / context.config.time_scale, SHORTEST_S))
    places = context.places
    jobs = [_service(context), *_others(context)]
    told = [{"targets": [places.alertmanager]}] if places.alertmanager else []
    whole = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": told}] if told else []},
        "scrape_configs": jobs,
    }
    made = {"prometheus.yml": context.header + yaml_text(whole)}
    if places.discovery == "file":
        made[_targets(context)] = (
            "# The replicas that Prometheus asks. Yours to edit: `modelwatch generate` writes it once.\n"
            + yaml_text([{"targets": [places.service]}])
        )
    return made


def _others(context: Context) -> Iterator[dict[str, Any]]:
    """Yield the jobs of the stack itself."""
    places = context.places
    if places.pages:
        job: dict[str, Any] = {
            "job_name": _other(MONITOR_JOB, context),
            "static_configs": [{"targets": [places.pages]}],
        }
        if places.pages_token:
            job["authorization"] = {"credentials_file": TOKEN_FILE}
        # the recording rules give these, over all replicas
        drop = {"source_labels": ["__name__"], "regex": "|".join(RECORDED), "action": "drop"}
        yield job | {"metric_relabel_configs": [drop]}
    for name, target in (
        (NODE_JOB, places.node), ("prometheus", places.prometheus), ("alertmanager", places.alertmanager),
    ):  # fmt: skip
        if target:
            yield {"job_name": _other(name, context), "static_configs": [{"targets": [target]}]}


def _other(job: str, context: Context) -> str:
    """Return the name of a job of the stack, which is never that of the service."""
    return f"stack-{job}" if job == context.config.service.name else job


def _targets(context: Context) -> str:
    return f"targets/{slug(context.config.service.name)}.yml"


def _service(context: Context) -> dict[str, Any]:
    service, places = context.config.service, context.places
    job: dict[str, Any] = {"job_name": service.name, "metrics_path": "/metrics"}
    if places.discovery == "file":
        return job | {"file_sd_configs": [{"files": [_targets(context)], "refresh_interval": "1m"}]}
    if places.discovery == "kubernetes":
        label = "__meta_kubernetes_pod_label_" + APP_LABEL.replace(".", "_").replace("/", "_")
        return job | {
            "kubernetes_sd_configs": [{"role": "pod"}],
            "relabel_configs": [
                {"source_labels": [label], "regex": _literal(slug(service.name)), "action": "keep"},
                {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "http", "action": "keep"},
                {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
                {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
            ],
        }
    host, _, port = places.service.rpartition(":")
    if service.replicas > 1 and host == "service":  # one name of several containers
        found = {"names": [host], "type": "A", "port": int(port), "refresh_interval": "15s"}
        return job | {"dns_sd_configs": [found]}
    return job | {"static_configs": [{"targets": [places.service]}]}


def _literal(text: str) -> str:
    return "".join(character if character.isalnum() or character == "_" else f"\\{character}" for character in text)
