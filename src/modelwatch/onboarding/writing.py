"""The text of a first `modelwatch.yaml`, what may be changed as comments, and the code that goes into the service."""

from __future__ import annotations

import json
import math

from modelwatch.onboarding.inference import SMALLER_BY, Found, file_of

MOST_SHOWN = 3  # features in the code to paste

_HEAD = """\
# What modelwatch watches. `modelwatch check` reads it and says what it costs; lines that begin with # are what may be
# added, with the defaults that hold without them. Secrets are written as ${VARIABLE}.

service:
  name: %(service)s
  # owner: ml-platform                            # whom to ask
  # health_url: http://127.0.0.1:8000/healthz     # `modelwatch serve` asks it: else nobody notices when it is down
  # replicas: 1

models:
  %(name)s:
    version: "1"                  # change it with every deploy; in quotes, since YAML reads 1.10 as the number 1.1
    task: %(task)s
"""

_SLOS = """\
    slos:
      latency: {threshold: 500ms, objective: 0.95}    # 95 %% of the requests within half a second
      error_rate: {objective: 0.99}
      # availability: {objective: 0.995}              # needs service.health_url
%(accuracy)s\
      # cost: {objective: 0.05, hourly: 1.20}         # per 1000 requests; what one replica costs an hour
    # ground_truth: {sampling_rate: 0.1, strategy: uniform}      # one prediction in ten is kept for review
    # alerts: {HighErrorRate: {critical: 0.05, warning: 0.02}}   # thresholds of any alert; null switches one off
"""

_TAIL = """
store: sqlite:///modelwatch.db    # what is kept for review, its labels, and the states of alerts
live: live.db                     # the counts of this host; on a local disk

# alerting:                       # who is told; `modelwatch alerts test team` sends one to try
#   receivers:
#     oncall: {pagerduty: "${PAGERDUTY_ROUTING_KEY}"}
#     team: {slack: "${SLACK_WEBHOOK_URL}"}
#   routes: {critical: [oncall, team], warning: [team]}
"""


def config_text(found: Found, service: str, reference: str | None) -> str:
    """Return the text of a configuration file.

    Parameters
    ----------
    service : its name.
    reference : path of the profile, relative to the file; None where there is none.
    """
    parts = [_HEAD % {"service": _scalar(service), "name": _scalar(found.name), "task": found.task}]
    if found.task == "classification":
        parts.append(f"    classes: [{', '.join(map(_scalar, found.classes))}]\n")
    if found.features:
        parts.append("    features:                     # what drift is watched on\n")
        parts += [f"      {_scalar(name)}: {kind}\n" for name, kind in found.features.items()]
    else:
        parts.append("    # features: {text_length: numeric, language: categorical}   # what drift is watched on\n")
    if reference is not None:
        parts.append(f"    reference: {_scalar(reference)}   # what they were in training: `modelwatch profile`\n")
    else:
        parts.append(
            f"    # reference: reference/{file_of(found.name)}   # `modelwatch profile DATA -o FILE`: drift needs it\n"
        )
    if found.segment is not None:
        parts.append(f"    segment: {_scalar(found.segment)}\n")
    else:
        parts.append("    # segment: category           # the field whose values are the segments\n")
    if found.task == "classification":
        parts.append("    low_confidence: 0.7           # a confidence below this is low\n")
    parts.append(_SLOS % {"accuracy": _accuracy(found)})
    return "".join(parts) + _TAIL


def code_to_paste(found: Found, config: str) -> str:
    """Return the lines that go into a FastAPI service."""
    shown = list(found.features)[:MOST_SHOWN]
    more = ", …" if len(found.features) > MOST_SHOWN else ""
    features = f", features={{{', '.join(f'{json.dumps(name)}: …' for name in shown)}{more}}}" if shown else ""
    confidence = ", confidence=score" if found.task == "classification" else ""
    segment = "\nmodelwatch.current_request().segment = …" if found.segment is not None else ""
    return f"""\
import modelwatch
from modelwatch.integrations.fastapi import instrument

monitor = modelwatch.Monitor.from_config({json.dumps(config)})
instrument(app, monitor)  # the middleware, /metrics, /healthz and /feedback

# in the endpoint, once the model has answered:
modelwatch.current_request().predicted(answer{confidence}{features}){segment}"""


def _accuracy(found: Found) -> str:
    if found.task == "regression":
        return ""
    if found.accuracy is None:
        return "      # accuracy: {objective: 0.85}                  # needs labels: /feedback, or the page Review\n"
    objective = math.floor(100 * max(found.accuracy - SMALLER_BY, 0.01)) / 100
    if not 0 < objective < 1:
        return ""
    measured = f"{100 * found.accuracy:.1f} %, which the data show, less {100 * SMALLER_BY:g} points"
    return f"      accuracy: {{objective: {objective:.2f}}}                    # {measured}\n"


def _scalar(text: str) -> str:
    """Return a text as YAML reads it back, with quotes only where it needs them."""
    import yaml

    plain = yaml.safe_dump(text, allow_unicode=True, width=10**6, default_flow_style=True).removesuffix("...\n").strip()
    flow_safe = not set(plain) & set("[]{},:#") or plain[0] in "'\""
    return plain if flow_safe and "\n" not in plain else json.dumps(text)
