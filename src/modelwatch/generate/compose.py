"""docker-compose.yml and the Dockerfile: the service, Prometheus, Alertmanager, Grafana and the node exporter."""

from __future__ import annotations

from typing import Any

from modelwatch.generate.context import (
    ALERTMANAGER_PORT,
    GRAFANA_PORT,
    NODE_PORT,
    PAGES_PORT,
    PROMETHEUS_PORT,
    SERVICE_PORT,
    TOKEN_FILE,
    Context,
)
from modelwatch.generate.text import slug, yaml_text
from modelwatch.slo import Period
from modelwatch.slo.burn import DAY_S

#: Versions are pinned: an image changes only when modelwatch is changed.
IMAGES = {
    "prometheus": "prom/prometheus:v2.53.4",
    "alertmanager": "prom/alertmanager:v0.28.1",
    "grafana": "grafana/grafana:13.2.3",
    "node-exporter": "prom/node-exporter:v1.9.0",
}
KEPT_DAYS = 15  # of counts, more than the longest period of an objective
HOME = "/etc"


def files(context: Context) -> dict[str, str]:
    """Return docker-compose.yml and the Dockerfile of the service."""
    services = {
        "service": _service(context),
        "pages": _pages(context),
        "prometheus": _prometheus(context),
        "alertmanager": _alertmanager(),
        "grafana": _grafana(),
        "node-exporter": _node(),
    }
    data: dict[str, Any] = {
        name: {} for name in ("service_data", "prometheus_data", "alertmanager_data", "grafana_data")
    }
    whole = {"version": "3.8", "services": services, "volumes": data}
    return {
        "docker-compose.yml": context.header + yaml_text(whole),
        "Dockerfile": context.header + _DOCKERFILE.format(port=SERVICE_PORT, version=context.version),
    }


_DOCKERFILE = """\
# Your service goes into app/ beside this file, with its requirements.txt; APP names it as uvicorn does.
FROM python:3.12.9-slim
ARG APP=app:app
ENV APP=${{APP}} PYTHONUNBUFFERED=1 MODELWATCH_LIVE=/data/live.db
RUN useradd --create-home --uid 10001 app && mkdir /data && chown app /data
WORKDIR /app
COPY app/requirements.txt ./
RUN pip install --no-cache-dir "modelwatch[server]=={version}" -r requirements.txt
COPY app/ ./
USER app
VOLUME /data
EXPOSE {port}
CMD ["sh", "-c", "exec uvicorn $APP --host 0.0.0.0 --port {port}"]
"""


def _asks(url: str) -> dict[str, Any]:
    """Return a health check that reads an address, of an image with busybox."""
    return _checked(["CMD", "wget", "-q", "-O", "/dev/null", url])


def _checked(test: list[str]) -> dict[str, Any]:
    return {"test": test, "interval": "15s", "timeout": "5s", "retries": 4, "start_period": "20s"}


def _python_asks(url: str) -> dict[str, Any]:
    return _checked(["CMD", "python", "-c", f"import urllib.request as r; r.urlopen('{url}', timeout=4)"])


def _asked(variable: str) -> str:
    return f"Write {variable}=... into .env, beside docker-compose.yml."


def _local(port: int) -> list[str]:
    """Return a port that only this machine sees."""
    return [f"127.0.0.1:{port}:{port}"]


def _service(context: Context) -> dict[str, Any]:
    service = context.config.service
    made: dict[str, Any] = {
        "image": f"{slug(service.name)}:latest",
        "build": {"context": "."},
        "volumes": ["service_data:/data", "./modelwatch.yaml:/app/modelwatch.yaml:ro"],
        "healthcheck": _python_asks(f"http://127.0.0.1:{SERVICE_PORT}/healthz"),
        "restart": "unless-stopped",
    }
    if service.replicas == 1:
        return made | {"ports": _local(SERVICE_PORT)}
    return made | {"expose": [str(SERVICE_PORT)], "deploy": {"replicas": service.replicas}}


def _pages(context: Context) -> dict[str, Any]:
    return {
        "image": f"{slug(context.config.service.name)}:latest",
        "command": ["modelwatch", "serve", "--pages-only", "--host", "0.0.0.0", "--port", str(PAGES_PORT)],  # noqa: S104
        "volumes": ["service_data:/data", "./modelwatch.yaml:/app/modelwatch.yaml:ro"],
        "environment": {"MODELWATCH_TOKEN": f"${{MODELWATCH_TOKEN:?{_asked('MODELWATCH_TOKEN')}}}"},
        "ports": _local(PAGES_PORT),
        "healthcheck": _python_asks(f"http://127.0.0.1:{PAGES_PORT}/healthz"),
        "depends_on": ["service"],
        "restart": "unless-stopped",
    }


def _retention(context: Context) -> str:
    longest = max(Period.of_model(model).days_s for model in context.config.models.values())
    return f"{round(longest / DAY_S) + KEPT_DAYS}d"


def _prometheus(context: Context) -> dict[str, Any]:
    targets = [f"./targets:{HOME}/prometheus/targets:ro"] if context.places.discovery == "file" else []
    return {
        "image": IMAGES["prometheus"],
        "command": [
            f"--config.file={HOME}/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
            f"--storage.tsdb.retention.time={_retention(context)}",
            context.resend_flag,
        ],
        "volumes": [
            f"./prometheus.yml:{HOME}/prometheus/prometheus.yml:ro",
            f"./rules:{HOME}/prometheus/rules:ro",
            *targets,
            f"./{TOKEN_FILE}:{HOME}/prometheus/{TOKEN_FILE}:ro",
            "prometheus_data:/prometheus",
        ],
        "ports": _local(PROMETHEUS_PORT),
        "healthcheck": _asks(f"http://127.0.0.1:{PROMETHEUS_PORT}/-/ready"),
        "depends_on": ["alertmanager"],
        "restart": "unless-stopped",
    }


def _alertmanager() -> dict[str, Any]:
    home = f"{HOME}/alertmanager"
    return {
        "image": IMAGES["alertmanager"],
        "command": [f"--config.file={home}/alertmanager.yml", "--storage.path=/alertmanager"],
        "working_dir": home,  # the secret files are named from here
        "volumes": [
            f"./alertmanager.yml:{home}/alertmanager.yml:ro",
            f"./secrets:{home}/secrets:ro",
            "alertmanager_data:/alertmanager",
        ],
        "ports": _local(ALERTMANAGER_PORT),
        "healthcheck": _asks(f"http://127.0.0.1:{ALERTMANAGER_PORT}/-/ready"),
        "restart": "unless-stopped",
    }


def _grafana() -> dict[str, Any]:
    return {
        "image": IMAGES["grafana"],
        "environment": {
            "GF_SECURITY_ADMIN_PASSWORD": f"${{GRAFANA_ADMIN_PASSWORD:?{_asked('GRAFANA_ADMIN_PASSWORD')}}}",
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_USERS_ALLOW_SIGN_UP": "false",
        },
        "volumes": [
            f"./grafana/provisioning:{HOME}/grafana/provisioning:ro",
            f"./grafana/dashboards:{HOME}/grafana/dashboards:ro",
            "grafana_data:/var/lib/grafana",
        ],
        "ports": _local(GRAFANA_PORT),
        "healthcheck": _asks(f"http://127.0.0.1:{GRAFANA_PORT}/api/health"),
        "depends_on": ["prometheus"],
        "restart": "unless-stopped",
    }


def _node() -> dict[str, Any]:
    return {
        "image": IMAGES["node-exporter"],
        "command": ["--path.rootfs=/host"],
        "pid": "host",
        "volumes": ["/:/host:ro,rslave"],
        "expose": [str(NODE_PORT)],
        "healthcheck": _asks(f"http://127.0.0.1:{NODE_PORT}/metrics"),
        "restart": "unless-stopped",
    }
