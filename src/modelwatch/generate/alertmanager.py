"""alertmanager.yml: who is told of what, grouped, repeated, escalated. Secrets are files, never text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from modelwatch.alerts import ALWAYS_ON, SEVERITIES, Rule, rules_of
from modelwatch.alerts.evaluation import SILENCES
from modelwatch.config import Config
from modelwatch.configalerting import Receiver
from modelwatch.errors import ConfigError, fault
from modelwatch.generate.context import TOKEN_FILE, Context
from modelwatch.generate.text import duration, quoted, slug, yaml_text

SECRETS = "secrets"  # the folder of the secret files, beside alertmanager.yml
GROUP_BY = ("alertname", "service", "model_name")
#: Labels that tell alerts of one name apart; a worse severity silences only its own.
SAME = ("service", "model_name", "model_version", "slo", "kind", "what", "feature_name", "of", "segment")
_PASSWORD = re.compile(r"[a-z]+://[^/]*@")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Secret(NamedTuple):
    """A secret that Alertmanager reads from a file: its name, and the option of the receiver that holds its value."""

    name: str
    receiver: str
    option: str  # empty for the target


def files(context: Context) -> dict[str, str]:
    """Return alertmanager.yml.

    Raises
    ------
    ConfigError   a receiver that Alertmanager has not, or a variable that is not set.
    """
    alerting = context.config.alerting
    nobody = _unused("nobody", alerting.receivers)
    receivers = [_receiver(context, name, receiver) for name, receiver in alerting.receivers.items()]
    whole = {
        "route": {
            "receiver": next(iter((*alerting.routes.warning, *alerting.routes.critical)), nobody),
            "group_by": list(GROUP_BY),
            "group_wait": duration(alerting.group_wait_s / context.config.time_scale),
            "group_interval": duration(context.scaled(alerting.group_interval_s)),
            "repeat_interval": duration(context.scaled(alerting.repeat_interval_s)),
            "routes": list(_routes(context, nobody)),
        },
        "inhibit_rules": list(_inhibitions(context)),
        "receivers": [*receivers, {"name": nobody}],
    }
    made = {"alertmanager.yml": context.header + yaml_text(whole)}
    return made | _secret_files(context)


def _secret_files(context: Context) -> dict[str, str]:
    """Return what is in the folder of the secrets before they are: how to put them there, and to keep them there."""
    names = sorted({secret.name for secret in secrets_of(context.config)} | {PurePosixPath(TOKEN_FILE).name})
    lines = "".join(f'printf %s "${name}" > {SECRETS}/{name}\n' for name in names)
    readme = (
        f"<!-- {context.made_by} -->\n\n# Secrets\n\nAlertmanager and Prometheus read them from files of this folder, "
        "one each. Keep them out of version control.\n\n```sh\numask 077\n"
        + lines
        + "```\n\nIn containers the two run as "
        f"user 65534: `chown 65534 {SECRETS}/*`.\n"
    )
    return {f"{SECRETS}/README.md": readme, f"{SECRETS}/.gitignore": "*\n!.gitignore\n!README.md\n"}


def secrets_of(config: Config) -> Iterator[Secret]:
    """Yield the secrets of the receivers, with the names of their files."""
    for name, receiver in config.alerting.receivers.items():
        options = {"": receiver.target, **receiver.options}
        for option in _SECRET[receiver.kind]:
            given = options.get(option)
            if given is None or (option == "" and receiver.kind == "webhook" and _is_plain(given.get_secret_value())):
                continue
            found = _VARIABLE.fullmatch(given.get_secret_value())
            known = found.group(1) if found else f"{slug(name).replace('-', '_')}_{option or receiver.kind}".upper()
            yield Secret(known, name, option)


#: The options that are secrets, by kind; "" is the target.
_SECRET: Mapping[str, tuple[str, ...]] = {
    "pagerduty": ("",), "slack": ("",), "email": ("password",), "webhook": ("", "token"), "apprise": (),
}  # fmt: skip


def _is_plain(url: str) -> bool:
    """Return whether an address stands in the configuration itself, and no password in it."""
    return "${" not in url and not _PASSWORD.match(url)


def _unused(name: str, known: Mapping[str, object]) -> str:
    return next(each for n in itertools.count() if (each := name + "_" * n) not in known)


# -- receivers ---------------------------------------------------------------------------------------------------------


def _receiver(context: Context, name: str, receiver: Receiver) -> dict[str, Any]:
    paths = {s.option: f"{SECRETS}/{s.name}" for s in secrets_of(context.config) if s.receiver == name}
    options = {
        option: _plain(context, name, option, value.get_secret_value())
        for option, value in {"": receiver.target, **receiver.options}.items()
        if option not in paths
    }
    if receiver.kind not in _MAKERS:
        where = f"alerting.receivers.{name}"
        expected = f"one of {', '.join(_MAKERS)}, which Alertmanager can send to"
        raise ConfigError(fault(where, "kind", receiver.kind, expected, "Take another, or let modelwatch serve send."))
    key, made = _MAKERS[receiver.kind](options, paths)
    resolved = name != context.config.alerting.deadman  # what it is told never ends, but by silence
    return {"name": name, key: [{"send_resolved": resolved, **made}]}


def _plain(context: Context, name: str, option: str, value: str) -> str:
    """Return an option that is no secret, its variables filled in."""

    def filled(match: re.Match[str]) -> str:
        if match.group(1) not in context.environ:
            where = f"alerting.receivers.{name}"
            what, expected = option or "target", "an environment variable that is set"
            raise ConfigError(fault(where, what, match.group(0), expected, "Set it, or write the value itself."))
        return context.environ[match.group(1)]

    return _VARIABLE.sub(filled, value)


_SUMMARY = "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ end }}"
_TEXT = "{{ range .Alerts }}{{ .Annotations.description }}\n{{ .Annotations.runbook_url }}\n{{ end }}"
_TITLE = "{{ .Status | toUpper }}: {{ .CommonLabels.alertname }} ({{ .CommonLabels.severity }})"


def _pagerduty(options: Mapping[str, str], paths: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    made: dict[str, Any] = {
        "routing_key_file": paths[""],
        "severity": "{{ if .CommonLabels.severity }}{{ .CommonLabels.severity }}{{ else }}error{{ end }}",
        "description": _SUMMARY,
        "details": {"alerts": _TEXT},
        "links": [{"href": "{{ (index .Alerts 0).Annotations.dashboard_url }}", "text": "Dashboard"}],
    }
    return "pagerduty_configs", made | ({"url": options["url"]} if "url" in options else {})


def _slack(options: Mapping[str, str], paths: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    colour = '{{ if eq .Status "firing" }}{{ if eq .CommonLabels.severity "critical" }}danger{{ else }}warning'
    made: dict[str, Any] = {
        "api_url_file": paths[""],
        "title": _TITLE,
        "title_link": "{{ (index .Alerts 0).Annotations.dashboard_url }}",
        "text": f"{_SUMMARY}{_TEXT}",
        "color": colour + "{{ end }}{{ else }}good{{ end }}",
    }
    return "slack_configs", made | ({"channel": options["channel"]} if "channel" in options else {})


def _email(options: Mapping[str, str], paths: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    made: dict[str, Any] = {"to": options[""], "headers": {"Subject": _TITLE}}
    made |= {name: options[name] for name in ("from", "smarthost") if name in options}
    if "username" in options:
        made["auth_username"] = options["username"]
    if "password" in paths:
        made["auth_password_file"] = paths["password"]
    if "tls" in options:
        made["require_tls"] = options["tls"] == "true"
    return "email_configs", made


def _webhook(options: Mapping[str, str], paths: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    made: dict[str, Any] = {"url": options[""]} if "" in options else {"url_file": paths[""]}
    if "token" in paths:
        made["http_config"] = {"authorization": {"type": "Bearer", "credentials_file": paths["token"]}}
    return "webhook_configs", made


_MAKERS = {"pagerduty": _pagerduty, "slack": _slack, "email": _email, "webhook": _webhook}

# -- routes ------------------------------------------------------------------------------------------------------------


def _routes(context: Context, nobody: str) -> Iterator[dict[str, Any]]:
    """Yield a route for every receiver of every severity: each goes on to the next, so all of them are told."""
    alerting = context.config.alerting
    yield {
        "receiver": alerting.deadman or nobody,
        "matchers": [f"alertname = {ALWAYS_ON}"],
        "group_wait": "0s",
        "group_interval": duration(context.scaled(60)),
        "repeat_interval": duration(context.scaled(60)),
    }
    if alerting.escalate is not None:  # the first notification waits; what is resolved or silenced by then never comes
        yield {
            "receiver": alerting.escalate.to,
            "matchers": ["severity = critical"],
            "group_by": ["..."],
            "group_wait": duration(context.scaled(alerting.escalate.after_s)),
            "continue": True,
        }
    for severity in SEVERITIES[:3]:
        names = getattr(alerting.routes, severity) or (nobody,)
        for name in names:
            yield {"receiver": name, "matchers": [f"severity = {severity}"], "continue": name != names[-1]}


def _inhibitions(context: Context) -> Iterator[dict[str, Any]]:
    """Yield what silences what: the service that is down all of it, the worse severity the lesser of the same alert."""
    for name in SILENCES:
        yield {
            "source_matchers": [f"alertname = {name}"],
            "target_matchers": [f"alertname !~ {quoted(f'{name}|{ALWAYS_ON}')}"],
            "equal": ["service"],
        }
    for worse, lesser in (("critical", "warning|info"), ("warning", "info")):
        yield {
            "source_matchers": [f"severity = {worse}"],
            "target_matchers": [f"severity =~ {quoted(lesser)}"],
            "equal": ["alertname", *SAME],
        }
    seen = []
    for model in context.config.models:
        for rule in _by_urgency(rules_of(context.config, model, context.references.get(model))):
            if rule not in seen:
                seen.append(rule)
                yield rule


def _by_urgency(rules: list[Rule]) -> Iterator[dict[str, Any]]:
    """Yield what silences a rule of the same name and severity: the more urgent one."""
    for one, other in itertools.permutations(rules, 2):
        if (one.name, one.severity) != (other.name, other.severity) or one.urgency <= other.urgency:
            continue
        if any(one.labels.get(label) != other.labels.get(label) for label in SAME):
            continue
        differing = [name for name in (*one.labels, *other.labels) if one.labels.get(name) != other.labels.get(name)]
        both = [f"alertname = {one.name}", f"severity = {one.severity}"]
        yield {
            "source_matchers": [*both, *_matchers(one, differing)],
            "target_matchers": [*both, *_matchers(other, differing)],
            "equal": list(SAME),
        }


def _matchers(rule: Rule, names: list[str]) -> list[str]:
    return [f"{name} = {quoted(rule.labels.get(name, ''))}" for name in dict.fromkeys(names)]
