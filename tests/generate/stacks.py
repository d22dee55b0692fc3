"""Configurations that the tests of the generators share, and their files."""

from __future__ import annotations

import functools
from pathlib import Path

from modelwatch.config import Config, parse_config
from modelwatch.generate import generate

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "generate"

WHOLE = """
service: {name: sentiment-api, owner: ml, health_url: "http://127.0.0.1:8000/healthz", replicas: 2}
models:
  sentiment:
    version: "1.4.2"
    task: classification
    classes: [negative, positive]
    features: {length: numeric, language: categorical}
    segment: category
    slos: {latency: {threshold: 200ms}, availability: {}, error_rate: {}, accuracy: {}, throughput: {}, cost: {hourly: 1.2}}
    alerts: {HighLowConfidencePredictions: {info: 0.1}}
  price: {version: "3", task: regression, slos: {latency: {threshold: 1s}, error_rate: {}}, alerts: {HighErrorRate: {critical: 0.2}}}
alerting:
  receivers:
    oncall: {pagerduty: "${PAGERDUTY_ROUTING_KEY}"}
    team: {slack: {url: "${SLACK_WEBHOOK_URL}", channel: "#ml"}}
    log: {webhook: {url: "http://127.0.0.1:9/log", token: "${LOG_TOKEN}"}}
    backup: {pagerduty: "${BACKUP_ROUTING_KEY}"}
    alive: {webhook: "http://127.0.0.1:9/alive"}
  routes: {critical: [oncall, team], warning: [team], info: [log]}
  escalate: {after: 15m, to: backup}
  deadman: alive
"""

HOSTILE = r"""
service: {name: 'api "x" \ {{ .Boom }} $1 ü', owner: '{{ $labels.secret }}', health_url: "http://127.0.0.1:8000/h"}
models:
  'a b"c\n {{ fail }}': {version: '1"; {{ x }}', task: classification, classes: ['{{ "a" }}', 'b"\'], features: {'"} or vector(1) #': numeric, 'ключ {{': categorical}, slos: {latency: {}, availability: {}, error_rate: {}}}
  '../../etc': {version: "`id`", task: regression}
  '模型': {version: "1", task: regression}
  '%s $__all ${HOME}': {version: "1", task: regression}
alerting:
  receivers: {'team "a": {{ b }}': {slack: "${SLACK}"}, nobody: {webhook: "http://127.0.0.1:9/"}}
  routes: {critical: ['team "a": {{ b }}'], warning: nobody}
"""


def config_of(text: str) -> Config:
    """Read a configuration as `generate` does: without secrets."""
    return parse_config(text, environ={}, secrets=False)


@functools.cache
def files_of(text: str) -> dict[str, str]:
    """Return the files of a configuration, made once."""
    return generate(config_of(text), version="0.1.0")


def placed(files: dict[str, str], folder: Path) -> Path:
    """Write files below a folder, with a token for the pages."""
    for path, text in {**files, "secrets/MODELWATCH_TOKEN": "t"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder
