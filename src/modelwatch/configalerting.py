"""Who is told: receivers with their secrets, routes, escalation, grouping."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from modelwatch.catalogue import RECEIVERS
from modelwatch.configfields import (
    Duration,
    FrozenMap,
    Problem,
    Section,
    Shown,
    Text,
    Url,
    Wait,
    did_you_mean,
    fixed,
    or_empty,
    refuse,
    text,
    texts,
    url,
)


class Receiver(Section):
    """Where alerts go: one kind, its target and further options, all kept as secrets.

    In the file it is one key: `slack: "${SLACK_WEBHOOK_URL}"`, or `slack: {url: ..., channel: ...}`.
    """

    kind: Literal["pagerduty", "slack", "email", "webhook", "apprise"]
    target: SecretStr
    options: Annotated[dict[str, SecretStr], fixed] = FrozenMap()

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("target"), SecretStr):
            return given
        if not isinstance(given, dict) or len(given) != 1:
            raise refuse(
                Problem(f"one of {', '.join(RECEIVERS)}", 'Write one kind and its target: slack: "${VARIABLE}".')
            )
        (kind, value), *_ = given.items()
        if kind not in RECEIVERS:
            raise refuse(
                Problem("a kind of receiver", did_you_mean(kind, RECEIVERS, "kind"), (), "kind", Shown(repr(kind)))
            )
        known = RECEIVERS[kind]
        options = value if isinstance(value, dict) else {known[0]: value}
        problems = [
            Problem(
                "an option of this kind", did_you_mean(name, known, "option"), (kind, name), "option", Shown(repr(name))
            )
            for name in options
            if name not in known
        ]
        for name, option in options.items():
            if name in known and (not isinstance(option, (str, int, float)) or not str(option).strip()):
                problems.append(Problem("text", 'Write it in quotes: "${VARIABLE}".', (kind, name)))
            elif name == "url" and kind != "apprise" and "${" not in str(option):
                problems += _url_problems(option, (kind, name))
        if known[0] not in options:
            problems.append(
                Problem("a target", f"Write {known[0]}: and its value.", (kind, known[0]), given=Shown("missing"))
            )
        if problems:
            below = [problem.below if isinstance(value, dict) else problem.below[:1] for problem in problems]
            raise refuse(*(problem._replace(below=path) for problem, path in zip(problems, below, strict=True)))
        secrets = {name: SecretStr(_plain_text(option)) for name, option in options.items()}
        return {"kind": kind, "target": secrets.pop(known[0]), "options": secrets}


def _url_problems(value: object, below: tuple[str, ...]) -> list[Problem]:
    try:
        url(value)
    except Exception:  # noqa: BLE001 - pydantic's error holds the value, which is a secret
        return [Problem("an address that begins with http:// or https://", "Write the whole address.", below)]
    return []


def _plain_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _one_or_more(value: object) -> tuple[str, ...]:
    return (text(value),) if isinstance(value, str) else texts(value)


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]


class Routes(Section):
    """The receivers of every severity."""

    critical: Names = ()
    warning: Names = ()
    info: Names = ()


class Escalate(Section):
    """Who is told when a critical alert is still firing, and not acknowledged, after a while."""

    after_s: Duration = Field(default=900.0, validation_alias="after")
    to: Text


class Alerting(Section):
    """Who is told, how alerts are grouped, and how often they are repeated.

    Without `routes`, every receiver but those of `escalate` and `deadman` gets what is critical and what is a warning.
    deadman : the receiver that is told all the time that alerting works, and raises alarm itself when that stops.
    """

    receivers: Annotated[dict[Text, Receiver], or_empty, fixed] = FrozenMap()
    escalate: Escalate | None = None
    deadman: Text | None = None
    routes: Annotated[Routes, or_empty] = Routes()
    group_wait_s: Wait = Field(default=30.0, validation_alias="group_wait")
    group_interval_s: Duration = Field(default=300.0, validation_alias="group_interval")
    repeat_interval_s: Duration = Field(default=4 * 3600.0, validation_alias="repeat_interval")
    alertmanager: Url | None = Field(default=None, repr=False)  # may hold a password
    private_hosts: Names = ()  # names of receivers that may lead to an address of a private network

    @model_validator(mode="after")
    def _known_receivers(self) -> Alerting:
        problems = []
        for severity in Routes.model_fields:
            for index, name in enumerate(getattr(self.routes, severity)):
                if name not in self.receivers:
                    problems.append(self._unknown(name, ("routes", severity, index)))
        if self.escalate and self.escalate.to not in self.receivers:
            problems.append(self._unknown(self.escalate.to, ("escalate", "to")))
        if self.deadman and self.deadman not in self.receivers:
            problems.append(self._unknown(self.deadman, ("deadman",)))
        if problems:
            raise refuse(*problems)
        if not self.routes.model_fields_set:
            apart = {self.deadman, self.escalate.to if self.escalate else None}
            names = tuple(name for name in self.receivers if name not in apart)
            object.__setattr__(self, "routes", Routes(critical=names, warning=names))
        return self

    def _unknown(self, name: str, below: tuple[str | int, ...]) -> Problem:
        remedy = did_you_mean(name, self.receivers, "receiver")
        return Problem("the name of a receiver", remedy, below, "receiver", Shown(repr(name)))
