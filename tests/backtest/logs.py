"""A log of the tests of back-tests: quiet hours, with spells in which requests fail or do not come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from modelwatch.config import Config, parse_config
from modelwatch.reference import CategoricalProfile, Reference, profile_numeric

DAY = 1_767_225_600  # 2026-01-01, UTC
HOUR = 3600.0
TEXT = """\
service: {name: api}
models:
  churn:
    version: "1"              # of the registry
    task: classification
    classes: [stay, go]
    features: {length: numeric, language: categorical}
    slos: {latency: {threshold: 200ms}, error_rate: {objective: 0.99}}
    alerts:
      HighErrorRate: {critical: 0.05, warning: 0.02, info: 0.01}   # as agreed in spring
"""
Spell = tuple[float, float, float]  # from and to, in hours, and the share of requests that fail; above 1: none come
REFERENCE = Reference(
    {"length": profile_numeric(np.random.default_rng(1).normal(80, 20, 4000).tolist())},
    {"language": CategoricalProfile({"de": 1000, "en": 3000})},
    4000,
    CategoricalProfile({"stay": 2000, "go": 2000}),
)


def config_of(text: str = TEXT) -> Config:
    """Return the configuration of the tests."""
    return parse_config(text, environ={})


def log_of(
    hours: float, spells: Sequence[Spell] = (), *, every_s: float = 12.0, scale: float = 1.0, begin: float = DAY
) -> Mapping[str, Any]:
    """Return columns: a request every so many seconds, by `scale` faster; the same for the same arguments."""
    chance = np.random.default_rng(7)
    at = np.arange(0, hours * HOUR, every_s)
    fail = np.full(len(at), 0.0005)
    for since, until, share in spells:
        fail[(at >= since * HOUR) & (at < until * HOUR)] = share
    at, fail = at[fail <= 1], fail[fail <= 1]
    n = len(at)
    failed = chance.random(n) < fail
    answers = np.where(chance.random(n) < 0.5, "stay", "go").astype(object)
    answers[failed] = None
    return {
        "timestamp": begin + at / scale,
        "duration": chance.lognormal(-3.5, 0.4, n),
        "error": [("Timeout" if bad else None) for bad in failed],
        "prediction": answers.tolist(),
        "length": chance.normal(80, 20, n),
        "language": np.where(chance.random(n) < 0.25, "de", "en").tolist(),
    }
