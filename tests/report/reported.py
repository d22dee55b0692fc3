"""A log of the tests and of the picture in the documents: a week of a shop's answers in which one feature goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from modelwatch.config import ModelConfig, parse_config

MONDAY = 1_767_571_200  # 2026-01-05, UTC
WEEK_S = 7 * 86_400
BROKEN = 0.6  # of the week is over when prices come in cents

CONFIG = """
service: {name: shop}
models:
  returns:
    version: "3"
    task: classification
    classes: [keep, return]
    features: {price: numeric, weight: numeric, age_days: numeric, country: categorical, channel: categorical}
    segment: country
    slos:
      latency: {threshold: 250ms, objective: 0.95}
      error_rate: {objective: 0.99}
      accuracy: {objective: 0.85}
"""


def model() -> ModelConfig:
    """Return the configuration of the model."""
    return parse_config(CONFIG, environ={}).model()


def rows(n: int, seed: int = 1, *, broken: bool = True) -> dict[str, Any]:
    """Return `n` answers of a week as columns; in the last two fifths, where `broken`, one price in three is in cents."""
    random = np.random.default_rng(seed)
    at = np.sort(random.random(n))
    country = random.choice(["de", "fr", "pl", "it"], n, p=[0.5, 0.25, 0.15, 0.1])
    price = random.lognormal(3.4, 0.6, n)
    confidence = np.clip(random.beta(9, 2, n), 0.5, 0.999)
    skill = confidence - np.where(country == "it", 0.14, 0.0)
    late = (at > BROKEN) & broken
    price[late & (random.random(n) < 0.33)] *= 100
    skill = np.where(late, skill - 0.12, skill)
    truth = random.choice(["keep", "return"], n, p=[0.8, 0.2])
    right = random.random(n) < skill
    prediction = np.where(right, truth, np.where(truth == "keep", "return", "keep"))
    weight = random.gamma(2.0, 1.3, n)
    weight[late & (random.random(n) < 0.2)] = np.nan
    channel = random.choice(["web", "app", "shop"], n, p=[0.6, 0.3, 0.1])
    channel = np.where(late & (random.random(n) < 0.08), "partner", channel)
    error = _some(random.random(n) < np.where(late, 0.02, 0.003), np.full(n, "TimeoutError"))
    return {
        "timestamp": MONDAY + at * WEEK_S,
        "price": price,
        "weight": weight,
        "age_days": random.exponential(200, n),
        "country": country,
        "channel": channel,
        "prediction": prediction,
        "confidence": confidence,
        "label": _some(random.random(n) < 0.4, truth),
        "duration": random.lognormal(-2.4, 0.5, n),
        "error": error,
    }


def _some(there: Any, values: Any) -> Any:
    """Return the values that are there, None for the others."""
    found = np.full(len(values), None, object)
    found[there] = values[there]
    return found


def write(folder: Path, n: int = 4000) -> tuple[Path, Path]:
    """Write a log and its training data as parquet; return their paths."""
    import pyarrow as pa
    from pyarrow import parquet

    log, training = folder / "week.parquet", folder / "training.parquet"
    parquet.write_table(pa.table(rows(n)), log)
    parquet.write_table(pa.table(rows(n, 2, broken=False)), training)
    return log, training
