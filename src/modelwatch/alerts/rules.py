"""The catalogue: every alert of a model as data, made from its configuration. All thresholds come from there."""

from __future__ import annotations

from dataclasses import replace

from modelwatch.alerts.conditions import All, AnyOf, Clause, Condition
from modelwatch.alerts.ofmodel import accuracy, confidence, drift
from modelwatch.alerts.ofobjectives import objectives
from modelwatch.alerts.ofservice import errors, latency, monitor, service
from modelwatch.alerts.rule import Rule
from modelwatch.config import Config
from modelwatch.reference import Reference
from modelwatch.signals import Objectives


def rules_of(config: Config, name: str, reference: Reference | None = None) -> list[Rule]:
    """Return the rules of a model, the service's own included.

    Parameters
    ----------
    name : of the model.
    reference : profile of its training data; without one nothing is said of drift.

    Raises
    ------
    ConfigError   a factor of the latency that is no bucket's edge; an objective too low to be alerted on.
    """
    model, made = config.model(name), []
    for make in _MAKERS:
        made += [rule for rule in make(model, reference) if model.alerts.get(rule.name) is not None]
    return [_scaled(rule, config.time_scale) for rule in made]


def objectives_for(config: Config, name: str, reference: Reference | None = None) -> Objectives:
    """Return what the configuration promises of a model, with the constants of its rules."""
    return Objectives.of(config.model(name), config.service.name, reference)


def _scaled(rule: Rule, scale: float) -> Rule:
    if scale == 1:
        return rule
    return replace(
        rule, condition=_shorter(rule.condition, scale), for_s=rule.for_s / scale, keep_s=rule.keep_s / scale
    )


def _shorter(condition: Condition, scale: float) -> Condition:
    if isinstance(condition, Clause):
        return replace(condition, window_s=condition.window_s / scale, offset_s=condition.offset_s / scale)
    assert isinstance(condition, (All, AnyOf))
    return replace(condition, parts=tuple(_shorter(part, scale) for part in condition.parts))


_MAKERS = (errors, latency, service, accuracy, confidence, drift, objectives, monitor)
