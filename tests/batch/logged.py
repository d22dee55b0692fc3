"""Logs of the tests: rows with everything that is awkward, their schema, and the counts that the live kernel makes of them."""

from __future__ import annotations

import math
from typing import Any

from modelwatch.batch import outcomes
from modelwatch.batch.counting import UNDATED
from modelwatch.config import ModelConfig, parse_config
from modelwatch.kernel import Kernel
from modelwatch.reference import CategoricalProfile, Reference, profile_numeric
from modelwatch.schema import ModelSchema

FIELDS = ("endpoint", "duration", "error", "segment", "prediction", "confidence")
NOW = 1_800_000_000.0  # of the tests: 2027-01-15
DAY = 1_767_225_600  # 2026-01-01, UTC

CONFIG = """
service: {name: api}
models:
  m:
    version: "1"
    task: classification
    classes: [a, b]
    features: {x: numeric, y: numeric, c: categorical}
"""
REFERENCE = Reference(
    {"x": profile_numeric([k / 8 for k in range(-8, 9)]), "y": profile_numeric([0.0, 1.0, 2.0])},
    {"c": CategoricalProfile({"red": 3, "blue": 2})},
)


def model_of(extra: str = "") -> ModelConfig:
    """Return the model of the tests, with more lines of its configuration."""
    return parse_config(CONFIG + extra, environ={}).model()


def by_events(
    columns: dict[str, list[Any]], schema: ModelSchema, features: tuple[str, ...], span: int = 60
) -> dict[int, dict[str, Any]]:
    """Return {bucket: counts} of one event a row, folded by a kernel as the service has it; times are Unix seconds."""
    rows = len(next(iter(columns.values())))
    absent = [None] * rows
    kernels: dict[int, Kernel] = {}
    for i in range(rows):
        time = columns.get("timestamp", absent)[i]
        start = UNDATED if time is None else int(time // span * span)
        kernel = kernels.setdefault(start, Kernel(schema))
        plain = [columns.get(name, ["batch"] * rows if name == "endpoint" else absent)[i] for name in FIELDS]
        here = {name: columns[name][i] for name in features if name in columns}
        asked = plain[4] is not None or "prediction" not in columns or any(v is not None for v in here.values())
        kernel.fold([(*plain, here if here and asked else None)])
        if "timestamp" in columns and time is None:
            kernel.refuse("timestamp", "missing", 1)
    return {start: kernel.tally.as_dict() for start, kernel in kernels.items()}


def counted(analysis: Any) -> dict[int, dict[str, Any]]:
    """Return {bucket: counts} of an analysis, without the tables that only logs have."""
    found = {start: tally.as_dict() for start, tally in analysis.tallies()}
    undated = analysis.undated.as_dict()
    if undated:
        found[UNDATED] = undated
    own = {schema.name for schema in outcomes.SCHEMAS}
    return {start: {name: rows for name, rows in tables.items() if name not in own} for start, tables in found.items()}


def rounded(counts: Any) -> Any:
    """Return counts with sums of floats to twelve digits: engines add them in other orders."""
    if isinstance(counts, dict):
        return {key: rounded(value) for key, value in counts.items()}
    bins, total = counts
    return (bins, float(f"{total:.12g}") if math.isfinite(total) else str(total))
