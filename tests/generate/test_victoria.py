"""Remote write to VictoriaMetrics: the counts arrive, `--prometheus` reads them there, and vmalert runs the rules."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from generate.stacks import placed
from modelwatch.config import parse_config
from modelwatch.generate import generate
from modelwatch.sources.evaluated import host_slos
from modelwatch.sources.prometheus import Client, PrometheusCounts, prometheus_state
from modelwatch.testing import running_prometheus, running_service
from servers.service import running, send
from support import require

CONFIG = """
service: {name: api}
models: {served: {version: "1", task: classification, classes: [a, b], slos: {error_rate: {}}}}
time_scale: 60
"""
REQUESTS = 320


def _until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.3)


def test_remote_write_to_victoria_metrics(tmp_path: Path) -> None:
    """Two workers, a Prometheus that writes on, a VictoriaMetrics that counts each request once; alerts run there."""
    require("prometheus")
    config = parse_config(CONFIG, environ={}, secrets=False)
    placed(generate(config, ["vmalert"]), tmp_path)
    (tmp_path / "p").mkdir()
    victoria = [
        require("victoria-metrics"), f"-storageDataPath={tmp_path / 'vm'}", "-httpListenAddr=127.0.0.1:{port}",
        "-search.latencyOffset=0s", "-loggerLevel=ERROR",
    ]  # fmt: skip
    with running_service(victoria, ready="/health") as store, running(tmp_path, 2) as service:
        told = {
            "scrape_configs": [{"job_name": "api", "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]}],
            "remote_write": [{"url": f"{store.url}/api/v1/write", "queue_config": {"batch_send_deadline": "500ms"}}],
        }
        alerting = [
            require("vmalert"), f"-rule={tmp_path}/vmalert/*.yml", f"-datasource.url={store.url}",
            f"-remoteWrite.url={store.url}", f"-remoteRead.url={store.url}", "-notifier.url=http://127.0.0.1:9",
            "-httpListenAddr=127.0.0.1:{port}", "-remoteWrite.flushInterval=300ms", "-loggerLevel=FATAL",
        ]  # fmt: skip
        with running_prometheus(tmp_path / "p", config=told), running_service(alerting, ready="/health") as vmalert:
            client = Client(store.url)

            def count(expression: str) -> float:
                return sum(value for one in client.query(expression) for value in one.values.values())

            _until(lambda: count('ml_model_info{model_name="served"}') > 0, "no series arrived")
            send(service.port, REQUESTS)
            total = 'sum(ml_requests_total{endpoint="/predict"})'
            _until(lambda: count(total) == REQUESTS, "not every request arrived")
            (model,) = prometheus_state(config, client)["models"]
            assert (model["name"], model["version"]) == ("served", "1")
            (kept,) = host_slos(config, PrometheusCounts(config, client))["served"]
            assert (kept.state, kept.compliance, kept.valid) == ("meeting", 1.0, REQUESTS)
            _until(lambda: count('ALERTS{alertname="Watchdog",alertstate="firing"}') == 1, "no Watchdog")
            _until(lambda: count("ml_slo_compliance_percentage") == 100, "nothing is recorded")
            with urllib.request.urlopen(f"{vmalert.url}/api/v1/rules", timeout=10) as answer:
                rules = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
    assert [rule["lastError"] for rule in rules if rule["lastError"]] == []
    assert len(rules) > 20
