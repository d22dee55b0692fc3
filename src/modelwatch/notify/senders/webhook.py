"""A webhook that takes the JSON of Alertmanager's webhooks, version 4."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from modelwatch.notify.alert import Alert, Notice
from modelwatch.notify.client import Client
from modelwatch.notify.outcome import Outcome
from modelwatch.notify.words import rfc3339

NEVER = "0001-01-01T00:00:00Z"  # the end of what still fires


@dataclass(frozen=True)
class Webhook:
    """An address that takes what Alertmanager sends.

    References
    ----------
    https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
    """

    url: SecretStr
    token: SecretStr | None = None

    def send(self, notice: Notice, client: Client) -> Outcome:
        """Send a notice; its id is the header `Idempotency-Key`."""
        headers = {"Idempotency-Key": notice.id}
        secrets: tuple[str, ...] = ()
        if self.token is not None:
            secrets = (self.token.get_secret_value(),)
            headers["Authorization"] = f"Bearer {self.token.get_secret_value()}"
        return client.post(self.url.get_secret_value(), json.dumps(message(notice)).encode(), headers, secrets)


def message(notice: Notice) -> dict[str, Any]:
    """Return the body; `kind` and `notice` are ours, which Alertmanager does not have."""
    alerts = [_alert(alert) for alert in notice.alerts]
    group = {"alertname": notice.group.name, "model": notice.group.model}
    return {
        "version": "4",
        "groupKey": f"{{}}:{{alertname={json.dumps(notice.group.name)}, model={json.dumps(notice.group.model)}}}",
        "truncatedAlerts": notice.firing + notice.resolved - len(alerts),
        "status": "resolved" if notice.kind == "resolved" else "firing",
        "receiver": notice.group.receiver,
        "groupLabels": group,
        "commonLabels": _common(alert["labels"] for alert in alerts),
        "commonAnnotations": _common(alert["annotations"] for alert in alerts),
        "externalURL": next((alert.dashboard_url for alert in notice.alerts if alert.dashboard_url), ""),
        "alerts": alerts,
        "kind": notice.kind,
        "notice": notice.id,
    }


def labels_of(alert: Alert) -> dict[str, str]:
    """Return the labels of an alert as Alertmanager has them: none is empty."""
    own = {"alertname": alert.name, "severity": alert.severity, "model": alert.model, "version": alert.version}
    return {name: value for name, value in {**alert.labels, **own}.items() if value}


def annotations_of(alert: Alert) -> dict[str, str]:
    """Return its texts."""
    texts = {
        "summary": alert.summary, "description": alert.description,
        "runbook_url": alert.runbook_url, "dashboard_url": alert.dashboard_url,
    }  # fmt: skip
    return {name: text for name, text in texts.items() if text}


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "status": alert.status,
        "labels": labels_of(alert),
        "annotations": annotations_of(alert),
        "startsAt": rfc3339(alert.started_at),
        "endsAt": NEVER if alert.ended_at is None else rfc3339(alert.ended_at),
        "generatorURL": alert.dashboard_url,
        "fingerprint": alert.fingerprint,
    }


def _common(maps: Iterable[Mapping[str, str]]) -> dict[str, str]:
    every = list(maps)
    if not every:
        return {}
    return {name: value for name, value in every[0].items() if all(one.get(name) == value for one in every)}
